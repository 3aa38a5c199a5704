// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fuzz_attach COUNT SEED CASE-DIR SCRATCH-DIR IMAGE[,RAW-BACKING]...
 *
 * Attach COUNT mutants of the images, read each, detach. A mutant may be refused and
 * reads of it may fail with an I/O error; nothing else may happen. One that makes the
 * kernel complain is left in CASE-DIR, as the file and a line that names it. Should
 * the kernel not survive one: CASE-DIR/at-work-* name the mutants of that moment.
 *
 * A quarter of them is attached for writing, too, and changed at random. That changes
 * nothing in the file which is not the image's to change (fuzz_owned.h); and if the
 * mutant is in order, as some are, then it is so afterwards, and the disk holds what
 * it should. Half of them get another edit, which lures writes to metadata.
 *
 * But for that, seed and number mean the same as to tests/fuzz/mutate. To look at one again:
 * fuzz_attach --only NUMBER SEED CASE-DIR SCRATCH-DIR IMAGE...
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "fuzz_owned.h"
#include "fuzz_write.h"
#include "mutator.h"
#include "rig.h"

#define THREADS		8
#define KEY		"cbc(aes) 0 000102030405060708090a0b0c0d0e0f\n"
#define WRITE_EVERY	4
#define WRITE_OPS	24
#define MAX_GROWTH	(64U << 20)
#define READ_SIZE	(256U << 10)
#define READ_ALL	(2U << 20)	/* disks up to this size are read whole */

/* What all threads share; the counters under the lock. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static u64 next_number, last_number, seed, attached, refused, failed_reads, complaints;
static u64 written, whole, failed_changes;
static const char *case_dir, *scratch_dir;
static char key_path[PATH_MAX];	/* of some key, for images that are encrypted */
static char **image_args;
static int image_count;
static struct rig_log kernel_log;

struct worker {
	int id;
	pthread_t thread;
	struct mutator *images;
	u64 number;
	struct mutator *current;
	char *buf;
	struct session session;
};

static struct worker workers[THREADS];

static void write_file(const char *path, const void *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0 || write(fd, data, len) != (ssize_t)len)
		die("%s: %m", path);
	close(fd);
}

static void keep_case(const struct worker *w, const char *why)
{
	char path[4096], line[2048];

	snprintf(line, sizeof(line), "%s\nseed %llu number %llu image %s: %s\n", why,
		 (unsigned long long)seed, (unsigned long long)w->number,
		 w->current->name, w->current->what);
	fputs(line, stdout);
	snprintf(path, sizeof(path), "%s/attach-%llu-%llu.txt", case_dir,
		 (unsigned long long)seed, (unsigned long long)w->number);
	write_file(path, line, strlen(line));
	snprintf(path, sizeof(path), "%s/attach-%llu-%llu.qcow2", case_dir,
		 (unsigned long long)seed, (unsigned long long)w->number);
	write_file(path, w->current->data, w->current->len);
}

/* Under the lock: it is not known which of the mutants at work it was. */
static void keep_all_cases(const char *why)
{
	complaints++;
	for (int i = 0; i < THREADS; i++) {
		if (workers[i].current)
			keep_case(&workers[i], why);
	}
}

static void complain(const struct worker *w, const char *why)
{
	pthread_mutex_lock(&lock);
	complaints++;
	keep_case(w, why);
	pthread_mutex_unlock(&lock);
}

static void read_piece(struct worker *w, int disk, u64 off, size_t len)
{
	ssize_t done = pread(disk, w->buf, len, off);
	char why[128];

	if (done == (ssize_t)len)
		return;
	if (done < 0 && errno == EIO) {
		pthread_mutex_lock(&lock);
		failed_reads++;
		pthread_mutex_unlock(&lock);
		return;
	}
	snprintf(why, sizeof(why), "a read of %zu bytes at %llu gives %zd (%s)", len,
		 (unsigned long long)off, done, done < 0 ? strerror(errno) : "short");
	complain(w, why);
}

static void read_disk(struct worker *w, int index, u64 size)
{
	int disk = rig_open_disk(index, O_RDONLY | O_DIRECT);
	uint64_t random = w->number;
	u64 off;

	if (disk < 0) {
		complain(w, "the disk cannot be opened");
		return;
	}
	for (off = 0; off < size && off < READ_ALL; off += READ_SIZE)
		read_piece(w, disk, off, size - off < READ_SIZE ? size - off : READ_SIZE);
	if (size > READ_ALL) {
		read_piece(w, disk, size - 65536, 65536);
		for (int i = 0; i < 8; i++)
			read_piece(w, disk, rig_random(&random) % (size / 4096) * 4096, 4096);
	}
	close(disk);
}

static void note_work(struct worker *w)
{
	char path[4096], line[64];

	snprintf(path, sizeof(path), "%s/at-work-%d", case_dir, w->id);
	snprintf(line, sizeof(line), "seed %llu number %llu\n", (unsigned long long)seed,
		 (unsigned long long)w->number);
	write_file(path, line, strlen(line));
}

/* All images have their turn. */
static bool is_written(u64 number)
{
	return number / image_count % WRITE_EVERY == 0;
}

static void mutant_path(const struct worker *w, char *path)
{
	snprintf(path, PATH_MAX, "%s/mutant-%d", scratch_dir, w->id);
}

/* Return: index or negative errno. */
static int attach(struct worker *w, bool writable, u64 *size)
{
	struct rig_attach a = { .count = 1, .writable = writable };
	char path[PATH_MAX], *backing = strchr(image_args[w->number % image_count], ',');
	int index;

	mutant_path(w, path);
	a.fds[0] = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOATIME);
	if (backing) {
		a.raw[a.count] = true;
		a.fds[a.count++] = open(backing + 1, O_RDONLY | O_CLOEXEC | O_NOATIME);
	}
	index = rig_attach(&a);
	if (index == -ENOKEY) {
		a.key_file = key_path;
		index = rig_attach(&a);
	}
	for (unsigned int i = 0; i < a.count; i++)
		close(a.fds[i]);
	if (index < 0 && (!a.sentence[0] ||
			  (index != -EINVAL && index != -EOPNOTSUPP &&
			   !(writable && (index == -EUCLEAN || index == -EIO)))))
		complain(w, a.sentence[0] ? strerror(-index) : "refused without a word");
	*size = a.size;
	return index;
}

/* --- writing -------------------------------------------------------------------------------- */

/* Under the lock: the checker has one image at a time. */
static bool is_whole(const char *path, char *why)
{
	struct image img = { };
	struct check c;
	bool good;

	contents_start();
	if (!image_load(&img, path))
		die("%s: %m", path);
	check_image(&c, &img);
	good = c.opens && !c.corruptions && !c.strict && !c.leaks &&
	       !check_hidden_leaks(&img, &c.header) &&
	       !(c.header.incompatible_features & QCOW2_INCOMPAT_DIRTY);
	snprintf(why, 256, "%u corruptions, %u clusters used twice, %u leaks: %s", c.corruptions,
		 c.strict, c.leaks, c.what);
	image_free(&img);
	contents_free();
	return good;
}

static void check_file(struct worker *w, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	off_t len = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
	u8 *after = malloc(len + 1);
	const struct owned_image was = { w->current->data, w->current->len, w->session.grown };
	const char *why;
	char line[256];
	u64 at = len;

	if (!len || rig_pread(fd, after, len, 0))
		die("%s: %m", path);
	why = (size_t)len > w->current->len + MAX_GROWTH ? "the file has grown a lot" :
	      owned_violated(&was, after, len, &at);
	if (why) {
		snprintf(line, sizeof(line), "%s: %llu", why, (unsigned long long)at);
		complain(w, line);
	}
	free(after);
	close(fd);
}

/* @index: attached for writing. Return: by force only could it be detached. */
static bool change_disk(struct worker *w, int index, u64 size)
{
	int disk = rig_open_disk(index, O_RDWR | O_DIRECT), err;

	if (disk < 0) {
		complain(w, "the disk cannot be opened for writing");
		return rig_detach(index);
	}
	session_start(&w->session, disk, size, w->number);
	session_change(&w->session, WRITE_OPS);
	if (w->number % 4 == 0) {
		session_grow(&w->session, index);
		session_change(&w->session, WRITE_OPS / 4);
	}
	close(disk);
	err = rig_detach(index);
	if (err && err != -EIO)
		complain(w, "cannot detach what was written to");
	if (err && rig_force_detach(index))
		complain(w, "cannot detach by force");
	return err;
}

static void compare_disk(struct worker *w)
{
	u64 size;
	int index = attach(w, false, &size), disk = index < 0 ? index :
		rig_open_disk(index, O_RDONLY | O_DIRECT);

	if (disk < 0) {
		complain(w, "cannot be attached after it was written to");
		return;
	}
	session_compare(&w->session, disk);
	close(disk);
	if (rig_detach(index))
		complain(w, "cannot detach");
}

static void write_to_mutant(struct worker *w)
{
	char path[PATH_MAX], why[256];
	bool was_whole, still, stopped;
	int index;
	u64 size;

	mutant_path(w, path);
	pthread_mutex_lock(&lock);
	was_whole = is_whole(path, why);
	pthread_mutex_unlock(&lock);
	index = attach(w, true, &size);
	if (index < 0)
		return;
	stopped = change_disk(w, index, size);
	check_file(w, path);
	pthread_mutex_lock(&lock);
	written++;
	whole += was_whole;
	failed_changes += w->session.failed;
	still = !was_whole || is_whole(path, why);
	pthread_mutex_unlock(&lock);
	if (!still)
		complain(w, why);
	if (was_whole && stopped)
		complain(w, "was in order, and cannot be written");
	if (was_whole && !stopped)
		compare_disk(w);
	if (w->session.wrong[0])
		complain(w, w->session.wrong);
}

static void attach_mutant(struct worker *w)
{
	char path[PATH_MAX];
	int index;
	u64 size;

	mutant_path(w, path);
	write_file(path, w->current->data, w->current->len);
	index = attach(w, false, &size);
	pthread_mutex_lock(&lock);
	*(index < 0 ? &refused : &attached) += 1;
	pthread_mutex_unlock(&lock);
	if (index < 0)
		return;
	read_disk(w, index, size);
	if (rig_detach(index))
		complain(w, "cannot detach");
	if (is_written(w->number))
		write_to_mutant(w);
}

static void *work(void *data)
{
	struct worker *w = data;

	for (;;) {
		pthread_mutex_lock(&lock);
		rig_log_read(&kernel_log);
		if (kernel_log.splat[0])
			keep_all_cases(kernel_log.splat);
		if (w->current)
			mutator_undo(w->current);
		w->current = NULL;
		if (next_number == last_number || complaints > 20) {
			pthread_mutex_unlock(&lock);
			return NULL;
		}
		w->number = next_number++;
		w->current = &w->images[w->number % image_count];
		mutator_apply(w->current, seed, w->number);
		if (is_written(w->number) && w->number % 2)
			mutator_aim(w->current);
		pthread_mutex_unlock(&lock);
		note_work(w);
		attach_mutant(w);
	}
}

static void start(struct worker *w, int id)
{
	w->id = id;
	w->images = calloc(image_count, sizeof(*w->images));
	if (posix_memalign((void **)&w->buf, 4096, READ_SIZE))
		die("no memory");
	session_init(&w->session);
	for (int i = 0; i < image_count; i++) {
		char *path = strndup(image_args[i], strcspn(image_args[i], ","));

		if (mutator_load(&w->images[i], path))
			die("%s cannot be used", path);
		free(path);
	}
	pthread_create(&w->thread, NULL, work, w);
}

int main(int argc, char **argv)
{
	bool only = argc > 1 && !strcmp(argv[1], "--only");

	argv += only;
	argc -= only;
	if (argc < 6)
		die("usage: fuzz_attach COUNT SEED CASE-DIR SCRATCH-DIR IMAGE...");
	last_number = strtoull(argv[1], NULL, 0);
	if (only)
		next_number = last_number++;
	seed = strtoull(argv[2], NULL, 0);
	case_dir = argv[3];
	scratch_dir = argv[4];
	image_args = argv + 5;
	image_count = argc - 5;
	mkdir(case_dir, 0755);
	snprintf(key_path, sizeof(key_path), "%s/some-key", scratch_dir);
	write_file(key_path, KEY, strlen(KEY));

	rig_log_start(&kernel_log);
	for (int i = 0; i < THREADS; i++)
		start(&workers[i], i);
	for (int i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	printf("seed %llu: %llu mutants attached, %llu refused, %llu reads failed, %llu complaints\n",
	       (unsigned long long)seed, (unsigned long long)attached,
	       (unsigned long long)refused, (unsigned long long)failed_reads,
	       (unsigned long long)complaints);
	printf("%llu written to, %llu of them in order before, %llu changes failed\n",
	       (unsigned long long)written, (unsigned long long)whole,
	       (unsigned long long)failed_changes);
	return complaints ? 1 : 0;
}
