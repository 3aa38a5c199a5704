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
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "manifest.h"
#include "rig.h"

#define MAX_READ	(1U << 20)
#define SECTOR		512U

struct check {
	struct manifest_check what;
	int fd;
};

/* What the threads that read one disk share. */
struct job {
	const char *name;
	int index;
	struct check checks[MANIFEST_MAX_CHECKS];
	unsigned int check_count;
	pthread_mutex_t lock;
	unsigned int next_check;	/* these four under @lock */
	uint64_t next_off;
	unsigned int random_left;
	bool failed;
	uint64_t seed;
};

static const char *images;
static uint8_t direct_io = QCOW2BLK_DIRECT_IO_AUTO;
static uint64_t cache_size, seed = 1;
static unsigned int job_count = 4, thread_count = 2, random_count = 100;
static int disk_flags = O_RDONLY | O_DIRECT;
static bool list_only, files_only;

/* What came of it so far; updated by many. */
static unsigned int image_count, failed_count;
static uint64_t total_bytes;

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

	err = rig_pread(disk, got, len, check->what.off + off);
	if (err) {
		snprintf(what, sizeof(what), "a read of %zu bytes: %s", len, strerror(-err));
		complain(job, check->what.off + off, what);
		return;
	}
	err = rig_pread(check->fd, want, len, off);
	if (err)
		die("%s: %s", check->what.file, strerror(-err));
	if (!memcmp(got, want, len))
		return;
	for (size_t i = 0; i < len; i++) {
		if (got[i] != want[i]) {
			snprintf(what, sizeof(what),
				 "byte %02x instead of %02x, in a read of %zu bytes, %zu from its start",
				 (unsigned char)got[i], (unsigned char)want[i], len, i);
			complain(job, check->what.off + off + i, what);
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
		*len = (*check)->what.len - *off;
		if (*len > MAX_READ)
			*len = MAX_READ;
		job->next_off += *len;
		if (job->next_off == (*check)->what.len) {
			job->next_off = 0;
			job->next_check++;
		}
		*in_order = true;
		found = true;
	} else if (job->random_left) {
		job->random_left--;
		*check = &job->checks[rig_random(random) % job->check_count];
		*off = rig_random(random) % ((*check)->what.len / SECTOR) * SECTOR;
		*len = (1 + rig_random(random) % (rig_random(random) % 4 ? 16 : 512)) * SECTOR;
		if (*len > (*check)->what.len - *off)
			*len = (*check)->what.len - *off;
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

static bool run_image(const struct manifest_image *image)
{
	struct rig_attach a = { .count = image->layer_count };
	struct job job = {
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.random_left = random_count,
		.check_count = image->check_count,
		.seed = seed,
	};
	bool good;

	for (unsigned int i = 0; i < a.count; i++) {
		a.raw[i] = image->layers[i].raw;
		a.fds[i] = manifest_open_file(images, image->layers[i].file, O_RDONLY);
		if (image->layers[i].data)
			a.data_fds[i] = manifest_open_file(images, image->layers[i].data, O_RDONLY);
	}
	for (unsigned int i = 0; i < job.check_count; i++) {
		job.checks[i].what = image->checks[i];
		job.checks[i].fd = manifest_open_file(manifest_dir, image->checks[i].file, O_RDONLY);
		__atomic_add_fetch(&total_bytes, image->checks[i].len, __ATOMIC_RELAXED);
	}
	good = verify_one(image->name, image->size, &a, &job);
	for (unsigned int i = 0; i < a.count; i++) {
		close(a.fds[i]);
		if (a.data_fds[i])
			close(a.data_fds[i]);
	}
	for (unsigned int i = 0; i < job.check_count; i++)
		close(job.checks[i].fd);
	return good;
}

/* A layer's, and that with its key. */
static void print_files(const char *file)
{
	char key[4096];

	puts(file);
	snprintf(key, sizeof(key), "%s/%s.key", manifest_dir, file);
	if (!access(key, F_OK))
		printf("%s.key\n", file);
}

static void *run_images(void *unused)
{
	struct manifest_image image;

	while (manifest_next(&image)) {
		__atomic_add_fetch(&image_count, 1, __ATOMIC_RELAXED);
		if (list_only) {
			puts(image.name);
		} else if (files_only) {
			for (unsigned int i = 0; i < image.layer_count; i++) {
				print_files(image.layers[i].file);
				if (image.layers[i].data)
					puts(image.layers[i].data);
			}
		} else if (!run_image(&image)) {
			__atomic_add_fetch(&failed_count, 1, __ATOMIC_RELAXED);
		}
		manifest_free(&image);
	}
	return unused;
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
			direct_io = rig_parse_direct_io(optarg);
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
	manifest_open(argv[optind], argv + optind + 1, argc - optind - 1);
	images = images_option ?: manifest_dir;

	for (unsigned int i = 0; i < job_count; i++)
		pthread_create(&jobs[i], NULL, run_images, NULL);
	for (unsigned int i = 0; i < job_count; i++)
		pthread_join(jobs[i], NULL);
	if (list_only || files_only)
		return 0;
	printf("%u images, %llu MiB compared, %u images failed\n", image_count,
	       (unsigned long long)total_bytes >> 20, failed_count);
	return failed_count || !image_count;
}
