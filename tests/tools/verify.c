// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * verify [OPTION...] MANIFEST [PATTERN...]
 *
 * Attach each image of the manifest whose name matches a pattern, and compare what
 * the disk reads with what qemu-img says it is: first everything once, then random
 * pieces again, by several threads at a time.
 *
 *	--direct-io auto|on|off		how the driver reads image files
 *	--images DIR			where images are, if not beside the manifest
 *	--buffered			read the disk through the page cache
 *	--cache-size BYTES		room for table slices
 *	--jobs N			images at a time; most of an attach is waiting
 *	--threads N, --random N, --seed S
 *	--list, --files			only print the names, or the layers' files
 *
 * A line of the manifest: NAME SIZE LAYER... CHECK...
 *	LAYER: qcow2:FILE or raw:FILE, top first
 *	CHECK: OFFSET+LENGTH=FILE: these bytes of the disk are the whole of FILE
 */
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <getopt.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "rig.h"

#define MAX_CHECKS	16
#define MAX_READ	(1U << 20)
#define SECTOR		512U

struct check {
	uint64_t off;
	uint64_t len;
	int fd;
	const char *file;
};

/* What the threads that read one disk share. */
struct job {
	const char *name;
	int index;
	struct check checks[MAX_CHECKS];
	unsigned int check_count;
	pthread_mutex_t lock;
	unsigned int next_check;	/* these four under @lock */
	uint64_t next_off;
	unsigned int random_left;
	bool failed;
	uint64_t seed;
};

static const char *images = ".", *oracles = ".";
static uint8_t direct_io = QCOW2BLK_DIRECT_IO_AUTO;
static uint64_t cache_size, seed = 1;
static unsigned int job_count = 4, thread_count = 2, random_count = 100;
static int disk_flags = O_RDONLY | O_DIRECT;
static bool list_only, files_only;

/* The manifest, and what came of it so far; under the lock. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static FILE *manifest;
static char **patterns;
static int pattern_count;
static unsigned int image_count, failed_count;
static uint64_t total_bytes;

static int open_in(const char *dir, const char *file)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	/* O_NOATIME as the tool does: a read must not write. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOATIME);
	if (fd < 0)
		die("%s: %m", path);
	return fd;
}

static void complain(struct job *job, uint64_t off, const char *what)
{
	pthread_mutex_lock(&job->lock);
	if (!job->failed)
		printf("%s: offset %llu: %s\n", job->name, (unsigned long long)off, what);
	job->failed = true;
	pthread_mutex_unlock(&job->lock);
}

/* Compare @len bytes at @off of a check. Reads of the disk are whole sectors. */
static void compare(struct job *job, const struct check *check, int disk, char *got, char *want,
		    uint64_t off, size_t len)
{
	char what[256];
	int err;

	err = rig_pread(disk, got, len, check->off + off);
	if (err) {
		snprintf(what, sizeof(what), "a read of %zu bytes: %s", len, strerror(-err));
		complain(job, check->off + off, what);
		return;
	}
	err = rig_pread(check->fd, want, len, off);
	if (err)
		die("%s: %s", check->file, strerror(-err));
	if (!memcmp(got, want, len))
		return;
	for (size_t i = 0; i < len; i++) {
		if (got[i] != want[i]) {
			snprintf(what, sizeof(what),
				 "byte %02x instead of %02x, in a read of %zu bytes, %zu from its start",
				 (unsigned char)got[i], (unsigned char)want[i], len, i);
			complain(job, check->off + off + i, what);
			return;
		}
	}
}

/* The next megabyte nobody has looked at, or a random piece. False: all done. */
static bool next_piece(struct job *job, uint64_t *random, const struct check **check,
		       uint64_t *off, uint64_t *len, bool *in_order)
{
	bool found = false;

	pthread_mutex_lock(&job->lock);
	if (job->next_check < job->check_count) {
		*check = &job->checks[job->next_check];
		*off = job->next_off;
		*len = (*check)->len - *off;
		if (*len > MAX_READ)
			*len = MAX_READ;
		job->next_off += *len;
		if (job->next_off == (*check)->len) {
			job->next_off = 0;
			job->next_check++;
		}
		*in_order = true;
		found = true;
	} else if (job->random_left) {
		job->random_left--;
		*check = &job->checks[rig_random(random) % job->check_count];
		*off = rig_random(random) % ((*check)->len / SECTOR) * SECTOR;
		*len = (1 + rig_random(random) % (rig_random(random) % 4 ? 16 : 512)) * SECTOR;
		if (*len > (*check)->len - *off)
			*len = (*check)->len - *off;
		*in_order = false;
		found = true;
	}
	found = found && !job->failed;
	pthread_mutex_unlock(&job->lock);
	return found;
}

static void *reader(void *data)
{
	struct job *job = data;
	const struct check *check;
	uint64_t off, len, random;
	char *got, *want;
	bool in_order;
	int disk;

	pthread_mutex_lock(&job->lock);
	random = job->seed++ * 1000003;
	pthread_mutex_unlock(&job->lock);
	disk = rig_open_disk(job->index, disk_flags);
	if (disk < 0)
		die("%s: cannot open the disk: %s", job->name, strerror(-disk));
	if (posix_memalign((void **)&got, 4096, MAX_READ) ||
	    posix_memalign((void **)&want, 4096, MAX_READ))
		die("no memory");
	while (next_piece(job, &random, &check, &off, &len, &in_order)) {
		while (len) {
			size_t part = len;

			/* Now and then in pieces that begin and end anywhere in a cluster. */
			if (in_order && rig_random(&random) % 2)
				part = (1 + rig_random(&random) % 256) * SECTOR;
			if (part > len)
				part = len;
			compare(job, check, disk, got, want, off, part);
			off += part;
			len -= part;
		}
	}
	close(disk);
	free(got);
	free(want);
	return NULL;
}

static void check_size(struct job *job, const struct rig_attach *a, uint64_t size)
{
	uint64_t bytes = 0;
	char what[128];
	int disk = rig_open_disk(job->index, O_RDONLY);

	if (disk < 0 || ioctl(disk, BLKGETSIZE64, &bytes)) {
		complain(job, 0, "cannot open the disk");
	} else if (bytes != size || a->size != size) {
		snprintf(what, sizeof(what), "the disk has %llu bytes, the answer says %llu, not %llu",
			 (unsigned long long)bytes, (unsigned long long)a->size,
			 (unsigned long long)size);
		complain(job, 0, what);
	}
	close(disk);
}

/* Returns true if the image reads as it should. */
static bool verify_one(const char *name, uint64_t size, struct rig_attach *a, struct job *job)
{
	pthread_t threads[64];
	unsigned int started = 0;
	int err;

	a->direct_io = direct_io;
	a->cache_size = cache_size;
	job->name = name;
	job->index = rig_attach(a);
	if (job->index < 0) {
		printf("%s: not attached: %s: %s\n", name, strerror(-job->index), a->sentence);
		return false;
	}
	check_size(job, a, size);
	if (!job->failed && job->check_count) {
		for (; started < thread_count; started++)
			pthread_create(&threads[started], NULL, reader, job);
	}
	while (started)
		pthread_join(threads[--started], NULL);
	err = rig_detach(job->index);
	if (err)
		complain(job, 0, "cannot detach");
	return !job->failed;
}

static bool run_line(char *line)
{
	struct rig_attach a = { 0 };
	struct job job = { .lock = PTHREAD_MUTEX_INITIALIZER, .random_left = random_count };
	char *rest, *name = strtok_r(line, " ", &rest), *word;
	uint64_t size = strtoull(strtok_r(NULL, " ", &rest) ?: "0", NULL, 0);
	bool good;

	job.seed = seed;
	while ((word = strtok_r(NULL, " ", &rest))) {
		struct check *check = &job.checks[job.check_count];
		int used;

		if (!strncmp(word, "qcow2:", 6) || !strncmp(word, "raw:", 4)) {
			if (a.count == QCOW2BLK_MAX_LAYERS)
				die("%s: too many layers", name);
			a.raw[a.count] = word[0] == 'r';
			a.fds[a.count++] = open_in(images, strchr(word, ':') + 1);
		} else if (sscanf(word, "%llu+%llu=%n", (unsigned long long *)&check->off,
				  (unsigned long long *)&check->len, &used) == 2) {
			check->file = word + used;
			check->fd = open_in(oracles, check->file);
			__atomic_add_fetch(&total_bytes, check->len, __ATOMIC_RELAXED);
			job.check_count++;
		} else {
			die("%s: what is %s?", name, word);
		}
	}
	good = verify_one(name, size, &a, &job);
	for (unsigned int i = 0; i < a.count; i++)
		close(a.fds[i]);
	for (unsigned int i = 0; i < job.check_count; i++)
		close(job.checks[i].fd);
	return good;
}

static bool wanted(const char *line)
{
	char name[256];

	if (line[0] == '#' || sscanf(line, "%255s", name) != 1)
		return false;
	for (int i = 0; i < pattern_count; i++) {
		if (!fnmatch(patterns[i], name, 0))
			return true;
	}
	return !pattern_count;
}

/* The next line that is wanted, to be freed, or NULL. */
static char *next_line(void)
{
	char *line = NULL;
	size_t room = 0;

	pthread_mutex_lock(&lock);
	do {
		if (getline(&line, &room, manifest) <= 0) {
			free(line);
			line = NULL;
			break;
		}
		line[strcspn(line, "\n")] = '\0';
	} while (!wanted(line));
	image_count += !!line;
	pthread_mutex_unlock(&lock);
	return line;
}

static void print_files(char *line)
{
	char *rest, *word = strtok_r(line, " ", &rest);

	while ((word = strtok_r(NULL, " ", &rest))) {
		if (!strncmp(word, "qcow2:", 6) || !strncmp(word, "raw:", 4))
			puts(strchr(word, ':') + 1);
	}
}

static void *run_lines(void *unused)
{
	char *line;

	while ((line = next_line())) {
		if (list_only)
			printf("%.*s\n", (int)strcspn(line, " "), line);
		else if (files_only)
			print_files(line);
		else if (!run_line(line))
			__atomic_add_fetch(&failed_count, 1, __ATOMIC_RELAXED);
		free(line);
	}
	return unused;
}

static char *directory_of(const char *path)
{
	char *dir = strdup(path), *slash = strrchr(dir, '/');

	if (!slash)
		return strcpy(dir, ".");
	*slash = '\0';
	return dir;
}

static uint8_t parse_direct_io(const char *word)
{
	static const char *const modes[] = { "auto", "on", "off" };

	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		if (!strcmp(word, modes[i]))
			return i;
	}
	die("--direct-io: auto, on or off");
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "direct-io", required_argument, NULL, 'd' },
		{ "images", required_argument, NULL, 'i' },
		{ "buffered", no_argument, NULL, 'b' },
		{ "cache-size", required_argument, NULL, 'c' },
		{ "threads", required_argument, NULL, 't' },
		{ "random", required_argument, NULL, 'r' },
		{ "seed", required_argument, NULL, 's' },
		{ "jobs", required_argument, NULL, 'j' },
		{ "list", no_argument, NULL, 'l' },
		{ "files", no_argument, NULL, 'f' },
		{ }
	};
	const char *images_option = NULL;
	pthread_t jobs[64];
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'd':
			direct_io = parse_direct_io(optarg);
			break;
		case 'i':
			images_option = optarg;
			break;
		case 'b':
			disk_flags &= ~O_DIRECT;
			break;
		case 'c':
			cache_size = strtoull(optarg, NULL, 0);
			break;
		case 't':
			thread_count = strtoul(optarg, NULL, 0) % 65;
			break;
		case 'r':
			random_count = strtoul(optarg, NULL, 0);
			break;
		case 's':
			seed = strtoull(optarg, NULL, 0);
			break;
		case 'j':
			job_count = strtoul(optarg, NULL, 0) % 65;
			break;
		case 'l':
			list_only = true;
			break;
		case 'f':
			files_only = true;
			break;
		default:
			die("verify: see the head of verify.c");
		}
	}
	if (optind == argc)
		die("verify: no manifest");
	manifest = fopen(argv[optind], "r");
	if (!manifest)
		die("%s: %m", argv[optind]);
	oracles = directory_of(argv[optind]);
	images = images_option ?: oracles;

	patterns = argv + optind + 1;
	pattern_count = argc - optind - 1;

	for (unsigned int i = 0; i < job_count; i++)
		pthread_create(&jobs[i], NULL, run_lines, NULL);
	for (unsigned int i = 0; i < job_count; i++)
		pthread_join(jobs[i], NULL);
	if (list_only || files_only)
		return 0;
	printf("%u images, %llu MiB compared, %u images failed\n", image_count,
	       (unsigned long long)total_bytes >> 20, failed_count);
	return failed_count || !image_count;
}
