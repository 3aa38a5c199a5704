// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * memory requests DIR IMAGE BASE STEP	all allocations that the module's workers make for a request
 *					fail, then each of them, one after the other
 * memory control DIR IMAGE BASE STEP	each allocation of an attach, a question, a detach
 * memory random own|all PERCENT	from now on so many allocations fail at random: those of the
 *					workers, or also those of the file systems below; 0: none
 *
 * IMAGE, made by tests/test_memory_01.sh, is copied to DIR each time; BASE is its raw backing file;
 * each STEPth allocation is one of "each".
 *
 * A trial of requests: attach, and for each kind of request: let the Nth allocation fail, send some
 * at once, flush; then likewise for the detach. All succeed, nothing hangs, the disk holds what it
 * should, and the image is whole. An attach fails with ENOMEM or succeeds; in the first case there is
 * no device.
 */
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <limits.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "check.h"
#include "failmem.h"
#include "rig.h"

#define KIB		1024ULL
#define SIZE		(1024 * KIB)
#define ALIGN		4096
#define MAX_TRIALS	100
#define MAX_NTH		1000	/* an attach makes fewer allocations */
#define MAX_AT_ONCE	8
#define THREADS		6

enum op { READ, WRITE, DISCARD, ZEROES };

/* So many requests at once, @stride apart. Zones of the image: see the script. */
static const struct kind {
	const char *name;
	enum op op;
	uint64_t off, len, stride;
	unsigned int count;
} kinds[] = {
	{ "read", READ, 0, 128 * KIB, 128 * KIB, 8 },
	{ "read compressed", READ, 128 * KIB, 4 * KIB, 8 * KIB, 8 },
	{ "write in place", WRITE, 512, 60 * KIB, 0, 1 },
	{ "write shared", WRITE, 64 * KIB + 512, 1536, 8 * KIB, 8 },
	{ "write compressed", WRITE, 128 * KIB + 512, 1536, 8 * KIB, 8 },
	{ "write zero", WRITE, 192 * KIB + 512, 1536, 8 * KIB, 8 },
	{ "copy from base", WRITE, 256 * KIB + 512, 1536, 8 * KIB, 8 },
	{ "allocate", WRITE, 320 * KIB, 32 * KIB, 32 * KIB, 6 },
	{ "write to all zones", WRITE, 544 * KIB + 512, 130 * KIB, 130 * KIB, 2 },
	{ "discard", DISCARD, 0, 64 * KIB, 64 * KIB, 3 },
	{ "zeroes", ZEROES, 256 * KIB + 512, 100 * KIB, 100 * KIB, 4 },
};

/* Right before the detach, and not flushed. */
static const struct kind at_last[] = {
	{ "last writes", WRITE, 832 * KIB + 512, 16 * KIB, 32 * KIB, 4 },
	{ "last discards", DISCARD, 512 * KIB, 32 * KIB, 64 * KIB, 4 },
};

static const struct kind the_detach = { .name = "detach" };

/**
 * struct trial - one trial
 * @kind: requests.
 * @id: of the file and the device that it uses.
 * @nth: which allocation fails; 0: all.
 * @index, @disk: the device.
 */
struct trial {
	const struct kind *kind;
	unsigned int id;
	unsigned int nth;
	int index;
	int disk;
};

static const char *dir, *base;
static unsigned int step;
static char *image_data;
static size_t image_size;
static unsigned char *held, *meant, *got;	/* the disk: before, as meant, as read */
static unsigned int trials, met_count, failures;
static __thread unsigned int asked_for;

static void __attribute__((format(printf, 2, 3))) wrong(const struct trial *t, const char *format,
							...)
{
	char line[512];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (t->nth)
		printf("%s, allocation %u: %s\n", t->kind->name, t->nth, line);
	else
		printf("%s, no allocation: %s\n", t->kind->name, line);
	__atomic_add_fetch(&failures, 1, __ATOMIC_RELAXED);
}

static void count_trial(bool met)
{
	__atomic_add_fetch(&trials, 1, __ATOMIC_RELAXED);
	__atomic_add_fetch(&met_count, met, __ATOMIC_RELAXED);
}

/* --- the image ----------------------------------------------------------------------------- */

static void copy_path(const struct trial *t, char *path)
{
	snprintf(path, PATH_MAX, "%s/image-%u", dir, t->id);
}

static void load_image(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	image_size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
	image_data = malloc(image_size);
	held = aligned_alloc(ALIGN, SIZE);
	meant = aligned_alloc(ALIGN, SIZE);
	got = aligned_alloc(ALIGN, SIZE);
	if (!image_size || rig_pread(fd, image_data, image_size, 0))
		die("%s: %m", path);
	close(fd);
}

static void reset_image(const struct trial *t)
{
	char path[PATH_MAX];
	int fd;

	copy_path(t, path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, image_data, image_size) != (ssize_t)image_size)
		die("%s: %m", path);
	close(fd);
}

static void check_copy(const struct trial *t)
{
	struct image img = { };
	char path[PATH_MAX];
	struct check c;

	copy_path(t, path);
	contents_start();
	if (!image_load(&img, path))
		die("%s: %m", path);
	check_image(&c, &img);
	if (!c.opens || c.corruptions || c.strict || c.leaks)
		wrong(t, "%u corruptions, %u clusters used twice, %u leaks: %s", c.corruptions,
		      c.strict, c.leaks, c.what);
	image_free(&img);
	contents_free();
}

/* --- the device ---------------------------------------------------------------------------- */

/* @nth: let that allocation of ours fail. Return: 0 or negative errno. */
static int attach(struct trial *t, bool writable, unsigned int nth, bool *met)
{
	struct rig_attach a = {
		.count = 2, .raw = { false, true }, .writable = writable, .want_index = t->id + 1,
		.flags = QCOW2BLK_F_NO_PARTSCAN,
	};
	char path[PATH_MAX];

	copy_path(t, path);
	a.fds[0] = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	a.fds[1] = open(base, O_RDONLY | O_CLOEXEC);
	if (a.fds[0] < 0 || a.fds[1] < 0)
		die("%s or %s: %m", path, base);
	if (nth)
		failmem_nth(nth);
	t->index = rig_attach(&a);
	if (nth)
		*met = failmem_nth_met();
	/* device_add() does not tell that there was no memory for the disk's name. */
	if (t->index < 0 && t->index != -ENOMEM &&
	    !(nth && t->index == -EINVAL && strstr(a.sentence, "the disk cannot be added")))
		wrong(t, "not attached: %s: %s", strerror(-t->index), a.sentence);
	close(a.fds[0]);
	close(a.fds[1]);
	return t->index < 0 ? t->index : 0;
}

static void open_device(struct trial *t, bool writable)
{
	if (attach(t, writable, 0, NULL))
		die("not attached: %s", strerror(-t->index));
	t->disk = rig_open_disk(t->index, (writable ? O_RDWR : O_RDONLY) | O_DIRECT);
	if (t->disk < 0)
		die("/dev/qcow%d: %s", t->index, strerror(-t->disk));
}

static void compare(const struct trial *t, const char *when)
{
	int err = rig_pread(t->disk, got, SIZE, 0);

	if (err) {
		wrong(t, "%s: reading: %s", when, strerror(-err));
		return;
	}
	for (uint64_t off = 0; off < SIZE; off += SECTOR) {
		if (!memcmp(got + off, meant + off, SECTOR))
			continue;
		wrong(t, "%s: sector %llu is wrong", when, (unsigned long long)off / SECTOR);
		return;
	}
}

/* --- requests ------------------------------------------------------------------------------ */

struct request {
	const struct trial *t;
	uint64_t off;
	pthread_t thread;
	int err;
};

static pthread_barrier_t all_ready;

static int send_one(const struct trial *t, uint64_t off)
{
	uint64_t range[2] = { off, t->kind->len };
	ssize_t done;

	switch (t->kind->op) {
	case READ:
		return rig_pread(t->disk, got + off, range[1], off);
	case WRITE:
		done = pwrite(t->disk, meant + off, range[1], off);
		return done < 0 ? -errno : done == (ssize_t)range[1] ? 0 : -EIO;
	case DISCARD:
		return ioctl(t->disk, BLKDISCARD, range) ? -errno : 0;
	case ZEROES:
		return ioctl(t->disk, BLKZEROOUT, range) ? -errno : 0;
	}
	return -EINVAL;
}

static void *run_request(void *data)
{
	struct request *r = data;

	pthread_barrier_wait(&all_ready);
	r->err = send_one(r->t, r->off);
	if (!r->err && r->t->kind->op == READ &&
	    memcmp(got + r->off, meant + r->off, r->t->kind->len))
		r->err = -EILSEQ;
	return NULL;
}

/* What the requests make of the disk. */
static void intend(const struct kind *k)
{
	uint64_t random = trials, word;

	for (unsigned int i = 0; k->op != READ && i < k->count; i++) {
		unsigned char *at = meant + k->off + i * k->stride;

		memset(at, 0, k->len);
		for (uint64_t j = 0; k->op == WRITE && j < k->len; j += sizeof(word)) {
			word = rig_random(&random);
			memcpy(at + j, &word, sizeof(word));
		}
	}
}

static void run_requests(struct trial *t)
{
	struct request requests[MAX_AT_ONCE];

	intend(t->kind);
	pthread_barrier_init(&all_ready, NULL, t->kind->count);
	for (unsigned int i = 0; i < t->kind->count; i++) {
		requests[i] = (struct request){ .t = t, .off = t->kind->off + i * t->kind->stride };
		pthread_create(&requests[i].thread, NULL, run_request, &requests[i]);
	}
	for (unsigned int i = 0; i < t->kind->count; i++) {
		pthread_join(requests[i].thread, NULL);
		if (requests[i].err)
			wrong(t, "request %u: %s", i, strerror(-requests[i].err));
	}
	pthread_barrier_destroy(&all_ready);
}

/* How far the kinds are, and last the detach: allocations that failed; trials since the last one. */
static struct progress {
	unsigned int met;
	unsigned int missed;
} progress[ARRAY_SIZE(kinds) + 1];

/* Which worker makes how many allocations is never quite the same. */
static bool is_done(const struct progress *p)
{
	return p->missed >= 2;
}

static void arm(const struct trial *t, const struct progress *p)
{
	if (!t->nth)
		failmem_random(100);
	else if (!is_done(p))
		failmem_nth_of_workers(t->nth);
}

static void disarm(const struct trial *t, struct progress *p)
{
	bool met;

	if (!t->nth) {
		failmem_random(0);
	} else if (!is_done(p)) {
		met = failmem_nth_of_workers_met();
		p->met += met;
		p->missed = met ? 0 : p->missed + 1;
		count_trial(met);
	}
}

static void run_kind(struct trial *t, const struct kind *k, struct progress *p)
{
	t->kind = k;
	arm(t, p);
	run_requests(t);
	if (fsync(t->disk))
		wrong(t, "flush: %m");
	disarm(t, p);
	compare(t, "attached");
}

static void run_detach(struct trial *t, struct progress *p)
{
	for (size_t i = 0; i < ARRAY_SIZE(at_last); i++) {
		t->kind = &at_last[i];
		run_requests(t);
	}
	t->kind = &the_detach;
	arm(t, p);
	close(t->disk);
	if (rig_detach(t->index))
		die("the device cannot be detached");
	disarm(t, p);
}

/* One trial of all kinds. Return: none of them makes so many allocations. */
static bool run_all(unsigned int nth)
{
	struct trial t = { .nth = nth };
	bool all_done = true;
	size_t i;

	memcpy(meant, held, SIZE);
	reset_image(&t);
	open_device(&t, true);
	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		run_kind(&t, &kinds[i], &progress[i]);
	run_detach(&t, &progress[i]);
	check_copy(&t);
	open_device(&t, false);
	compare(&t, "attached anew");
	close(t.disk);
	rig_detach(t.index);
	for (i = 0; i < ARRAY_SIZE(progress); i++)
		all_done &= is_done(&progress[i]);
	return all_done;
}

static bool requests(void)
{
	struct trial t = { };
	unsigned int nth = 0;

	if (!failmem_start(false))
		die("the kernel has no fault injection");
	reset_image(&t);
	open_device(&t, false);
	if (rig_pread(t.disk, held, SIZE, 0))
		die("the image cannot be read");
	close(t.disk);
	rig_detach(t.index);
	while (!run_all(nth) && nth < MAX_TRIALS && failures < 10)
		nth += nth ? step : 1;
	for (size_t i = 0; i < ARRAY_SIZE(progress); i++)
		printf("%s: %u allocations\n",
		       i < ARRAY_SIZE(kinds) ? kinds[i].name : the_detach.name, progress[i].met);
	return nth < MAX_TRIALS && met_count > 50 / step;
}

/* --- control ------------------------------------------------------------------------------- */

static void name_device(struct nlmsghdr *nlh)
{
	mnl_attr_put_u32(nlh, QCOW2BLK_A_INDEX, asked_for);
}

/* Each returns: the failure was met. The device is gone in any case. */
static bool try_attach(struct trial *t)
{
	bool met;
	int err = attach(t, true, t->nth, &met), detach_err = rig_detach(t->id);

	if (detach_err != (err ? -ENODEV : 0))
		wrong(t, "%s, then detach: %s", strerror(-err), strerror(-detach_err));
	return met;
}

static bool try_question(struct trial *t)
{
	bool met;
	int err;

	attach(t, false, 0, NULL);
	failmem_nth(t->nth);
	asked_for = t->id;
	err = rig_send(QCOW2BLK_CMD_GET, name_device, NULL);
	met = failmem_nth_met();
	if (err && err != -ENOMEM)
		wrong(t, "%s", strerror(-err));
	rig_detach(t->id);
	return met;
}

static bool try_detach(struct trial *t)
{
	bool met;
	int err;

	attach(t, true, 0, NULL);
	failmem_nth(t->nth);
	err = rig_detach(t->id);
	met = failmem_nth_met();
	if (err)
		wrong(t, "%s", strerror(-err));
	return met;
}

static const struct control {
	struct kind kind;
	bool (*try)(struct trial *t);
} controls[] = {
	{ { .name = "attach" }, try_attach },
	{ { .name = "question" }, try_question },
	{ { .name = "detach" }, try_detach },
};

static const struct control *control_now;
static unsigned int next_nth, last_nth;

static void *run_control(void *data)
{
	struct trial t = { .kind = &control_now->kind, .id = (uintptr_t)data };
	bool met;

	while ((t.nth = __atomic_fetch_add(&next_nth, step, __ATOMIC_RELAXED)) < last_nth) {
		met = control_now->try(&t);
		count_trial(met);
		if (!met)
			last_nth = t.nth;
	}
	return NULL;
}

/* The kernel waits more than it works here. */
static bool control(void)
{
	struct trial copies[THREADS] = { };
	pthread_t threads[THREADS];

	if (!failmem_start(true))
		die("the kernel has no fault injection");
	for (uintptr_t i = 0; i < THREADS; i++) {
		copies[i] = (struct trial){ .kind = &controls[0].kind, .id = i };
		reset_image(&copies[i]);
	}
	for (control_now = controls; control_now < controls + ARRAY_SIZE(controls); control_now++) {
		next_nth = 1;
		last_nth = MAX_NTH;
		for (uintptr_t i = 0; i < THREADS; i++)
			pthread_create(&threads[i], NULL, run_control, (void *)i);
		for (unsigned int i = 0; i < THREADS; i++)
			pthread_join(threads[i], NULL);
		printf("%s: %u allocations\n", control_now->kind.name, last_nth - 1);
	}
	for (unsigned int i = 0; i < THREADS; i++)
		check_copy(&copies[i]);
	return met_count > 100 / step;
}

int main(int argc, char **argv)
{
	bool enough = false;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 4 && !strcmp(argv[1], "random")) {
		if (!failmem_start(!strcmp(argv[2], "all")))
			die("the kernel has no fault injection");
		failmem_random(atoi(argv[3]));
		return 0;
	}
	step = argc == 6 ? atoi(argv[5]) : 0;
	if (!step)
		die("memory: see the head of memory.c");
	dir = argv[2];
	base = argv[4];
	load_image(argv[3]);
	if (!strcmp(argv[1], "requests"))
		enough = requests();
	else if (!strcmp(argv[1], "control"))
		enough = control();
	else
		die("memory: see the head of memory.c");
	printf("%u allocations to fail, %u failed, %u complaints\n", trials, met_count, failures);
	return failures || !enough;
}
