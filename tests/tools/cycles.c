// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * cycles COUNT BASE IMAGE...	attach and detach COUNT times altogether, all images at once, while each
 *				is written to, flushed, discarded
 *
 * IMAGEs are overlays of the raw file BASE and get changed. What has happened is remembered from one
 * attachment to the next: what was written is there. Some cycles keep the disk open, and a detach, by
 * force or not, says so and does no harm. In the others writers open, write and close all the time, and
 * the detach comes when it can: whoever has the disk open then can write to it. Every CHECK_EVERY
 * cycles, and at last, the image is in order.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "check.h"
#include "rig.h"

#define KIB		1024U
#define BLOCK		(2 * KIB)	/* written at once: with most clusters, less than one */
#define CHUNK		(64 * KIB)	/* discarded at once */
#define REGION		(1024 * KIB)	/* of each writer */
#define WRITERS		2
#define BLOCKS		(REGION / BLOCK)
#define MAX_IMAGES	16
#define OPS		8
#define PATIENCE	20		/* failing detaches until the writers come to an end */
#define CHECK_EVERY	20

struct image_state;

/**
 * struct writer - somebody who writes to a part of a disk
 * @off: where that begins.
 * @disk: descriptor, or -1: opens it himself, again and again.
 * @version: of each block, as last written; 0: not yet; ZEROED: discarded.
 */
struct writer {
	struct image_state *image;
	pthread_t thread;
	uint64_t random;
	uint64_t off;
	int disk;
	uint32_t version[BLOCKS];
	unsigned char *buf;
};

#define ZEROED UINT32_MAX

struct image_state {
	const char *path;
	int index;
	pthread_t thread;
	uint64_t random;
	bool stop;	/* writers, come to an end */
	unsigned int cycles;
	struct writer writers[WRITERS];
};

static struct image_state images[MAX_IMAGES];
static const char *base;
static unsigned int todo, begun, done, refusals, op_count, failures;
static pthread_mutex_t check_lock = PTHREAD_MUTEX_INITIALIZER;

static void __attribute__((format(printf, 2, 3))) wrong(const struct image_state *s,
							const char *format, ...)
{
	char line[512];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	printf("%s, cycle %u: %s\n", s->path, s->cycles, line);
	__atomic_add_fetch(&failures, 1, __ATOMIC_RELAXED);
}

/* --- writers ------------------------------------------------------------------------------- */

static void fill(const struct writer *w, unsigned int block, uint32_t version, unsigned char *buf)
{
	uint64_t word = version == ZEROED ? 0 : (w->off + block * BLOCK) << 32 | version;

	for (unsigned int i = 0; i < BLOCK; i += sizeof(word))
		memcpy(buf + i, &word, sizeof(word));
}

static void write_block(struct writer *w, int disk)
{
	unsigned int block = rig_random(&w->random) % BLOCKS;
	uint32_t version = 1 + rig_random(&w->random) % 1000000;
	ssize_t len;

	fill(w, block, version, w->buf);
	len = pwrite(disk, w->buf, BLOCK, w->off + block * BLOCK);
	if (len != BLOCK)
		wrong(w->image, "a write gives %zd: %m", len);
	w->version[block] = version;
}

static void discard_chunk(struct writer *w, int disk)
{
	unsigned int first = rig_random(&w->random) % (REGION / CHUNK) * (CHUNK / BLOCK);
	uint64_t range[2] = { w->off + first * BLOCK, CHUNK };

	if (ioctl(disk, rig_random(&w->random) % 2 ? BLKDISCARD : BLKZEROOUT, range))
		wrong(w->image, "a discard: %m");
	for (unsigned int i = first; i < first + CHUNK / BLOCK; i++)
		w->version[i] = ZEROED;
}

static void read_block(struct writer *w, int disk, unsigned int block)
{
	unsigned char want[BLOCK] __attribute__((aligned(8)));
	int err = rig_pread(disk, w->buf, BLOCK, w->off + block * BLOCK);

	fill(w, block, w->version[block], want);
	if (err)
		wrong(w->image, "a read: %s", strerror(-err));
	else if (w->version[block] && memcmp(w->buf, want, BLOCK))
		wrong(w->image, "the block at %llu is %#llx instead of %#llx",
		      (unsigned long long)(w->off + block * BLOCK),
		      *(unsigned long long *)w->buf, *(unsigned long long *)want);
}

static void work(struct writer *w, int disk)
{
	for (unsigned int i = 0; i < OPS; i++) {
		switch (rig_random(&w->random) % 12) {
		case 0:
			discard_chunk(w, disk);
			break;
		case 1:
			if (fsync(disk))
				wrong(w->image, "a flush: %m");
			break;
		case 2: case 3:
			read_block(w, disk, rig_random(&w->random) % BLOCKS);
			break;
		default:
			write_block(w, disk);
		}
		__atomic_add_fetch(&op_count, 1, __ATOMIC_RELAXED);
	}
}

static bool stopping(const struct image_state *s)
{
	return __atomic_load_n(&s->stop, __ATOMIC_ACQUIRE);
}

/*
 * The name is looked up, the disk goes, another one comes and gets its number, the number is opened:
 * that is how an open can give somebody else's disk. Ours does not come again while we are here.
 */
static bool is_ours(const struct image_state *s, int disk)
{
	unsigned int major, minor;
	struct stat st;
	char path[64];
	bool found;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/block/" QCOW2BLK_DISK_NAME "%d/dev", s->index);
	f = fopen(path, "re");
	found = f && fscanf(f, "%u:%u", &major, &minor) == 2;
	if (f)
		fclose(f);
	return found && !fstat(disk, &st) && st.st_rdev == makedev(major, minor);
}

/* Until there is no disk any longer, or it is enough. */
static void work_while_there(struct writer *w)
{
	bool there;
	int disk;

	do {
		disk = rig_open_disk(w->image->index, O_RDWR | O_DIRECT);
		if (disk < 0 && disk != -ENXIO && disk != -ENOENT && disk != -ENODEV)
			wrong(w->image, "open: %s", strerror(-disk));
		there = disk >= 0 && is_ours(w->image, disk);
		if (there)
			work(w, disk);
		if (disk >= 0)
			close(disk);
	} while (there && !stopping(w->image));
}

static void *write_it(void *data)
{
	struct writer *w = data;

	if (w->disk >= 0)
		work(w, w->disk);
	else
		work_while_there(w);
	return NULL;
}

static void start_writers(struct image_state *s, int disk)
{
	s->stop = false;
	for (unsigned int i = 0; i < WRITERS; i++) {
		s->writers[i].disk = disk;
		pthread_create(&s->writers[i].thread, NULL, write_it, &s->writers[i]);
	}
}

static void join_writers(struct image_state *s)
{
	__atomic_store_n(&s->stop, true, __ATOMIC_RELEASE);
	for (unsigned int i = 0; i < WRITERS; i++)
		pthread_join(s->writers[i].thread, NULL);
}

/* --- cycles -------------------------------------------------------------------------------- */

static bool attach(struct image_state *s)
{
	struct rig_attach a = {
		.count = 2, .raw = { false, true }, .writable = true,
		.want_index = s - images + 1, .flags = QCOW2BLK_F_NO_PARTSCAN,
	};

	a.fds[0] = open(s->path, O_RDWR | O_CLOEXEC);
	a.fds[1] = open(base, O_RDONLY | O_CLOEXEC);
	if (a.fds[0] < 0 || a.fds[1] < 0)
		die("%s or %s: %m", s->path, base);
	s->index = rig_attach(&a);
	close(a.fds[0]);
	close(a.fds[1]);
	if (s->index < 0)
		wrong(s, "not attached: %s: %s", strerror(-s->index), a.sentence);
	return s->index >= 0;
}

static int try_detach(const struct image_state *s, bool force)
{
	return force ? rig_force_detach(s->index) : rig_try_detach(s->index);
}

/* Nobody of ours has it open; others may, see is_ours(). */
static void detach(struct image_state *s, bool force)
{
	int err = -EBUSY;

	for (unsigned int tries = 0; tries < 500 && err == -EBUSY; tries++) {
		if (tries)
			usleep(10000);
		err = try_detach(s, force);
	}
	if (err)
		wrong(s, "detach: %s", strerror(-err));
}

/* While it is open: not even by force. */
static void detach_after_use(struct image_state *s, int disk, bool force)
{
	int err;

	start_writers(s, disk);
	for (unsigned int i = 0; i < 3; i++) {
		err = try_detach(s, force);
		if (err != -EBUSY)
			wrong(s, "is open, and detach says: %s", strerror(-err));
		__atomic_add_fetch(&refusals, 1, __ATOMIC_RELAXED);
	}
	join_writers(s);
	close(disk);
	detach(s, force);
}

/* Between one who closes it and the next who opens it. */
static void detach_in_use(struct image_state *s, bool force)
{
	unsigned int tries = 0;
	int err;

	start_writers(s, -1);
	while ((err = try_detach(s, force)) == -EBUSY && tries++ < PATIENCE) {
		__atomic_add_fetch(&refusals, 1, __ATOMIC_RELAXED);
		usleep(rig_random(&s->random) % 2000);
	}
	join_writers(s);
	if (err)
		detach(s, force);
}

static void check_file(struct image_state *s)
{
	struct image img = { };
	struct check c;

	pthread_mutex_lock(&check_lock);
	contents_start();
	if (!image_load(&img, s->path))
		die("%s: %m", s->path);
	check_image(&c, &img);
	if (!c.opens || c.corruptions || c.strict || c.leaks)
		wrong(s, "%u corruptions, %u clusters used twice, %u leaks: %s", c.corruptions,
		      c.strict, c.leaks, c.what);
	image_free(&img);
	contents_free();
	pthread_mutex_unlock(&check_lock);
}

static void cycle(struct image_state *s)
{
	uint64_t kind = rig_random(&s->random);
	int disk;

	if (!attach(s))
		return;
	disk = rig_open_disk(s->index, O_RDWR | O_DIRECT);
	if (disk < 0)
		die("/dev/qcow%d: %s", s->index, strerror(-disk));
	for (unsigned int i = 0; i < 8; i++)
		read_block(&s->writers[i % WRITERS], disk, rig_random(&s->random) % BLOCKS);
	if (kind % 2) {
		detach_after_use(s, disk, kind & 2);
	} else {
		close(disk);
		detach_in_use(s, kind & 2);
	}
	if (++s->cycles % CHECK_EVERY == 0)
		check_file(s);
}

/* All that was ever written. */
static void look_at_all(struct image_state *s)
{
	int disk;

	if (!attach(s))
		return;
	disk = rig_open_disk(s->index, O_RDONLY | O_DIRECT);
	for (unsigned int i = 0; disk >= 0 && i < WRITERS * BLOCKS; i++)
		read_block(&s->writers[i % WRITERS], disk, i / WRITERS);
	close(disk);
	detach(s, false);
}

static void *run_image(void *data)
{
	struct image_state *s = data;

	while (__atomic_fetch_add(&begun, 1, __ATOMIC_RELAXED) < todo && failures < 20) {
		cycle(s);
		__atomic_add_fetch(&done, 1, __ATOMIC_RELAXED);
	}
	look_at_all(s);
	check_file(s);
	return NULL;
}

static void start(struct image_state *s, const char *path)
{
	s->path = path;
	s->random = s - images;
	for (unsigned int i = 0; i < WRITERS; i++) {
		s->writers[i].image = s;
		s->writers[i].random = (s - images) * WRITERS + i;
		s->writers[i].off = i * REGION;
		if (posix_memalign((void **)&s->writers[i].buf, 4096, BLOCK))
			die("no memory");
	}
	pthread_create(&s->thread, NULL, run_image, s);
}

int main(int argc, char **argv)
{
	int count = argc - 3;

	if (count < 1 || count > MAX_IMAGES)
		die("usage: cycles COUNT BASE IMAGE...");
	setvbuf(stdout, NULL, _IOLBF, 0);
	todo = atoi(argv[1]);
	base = argv[2];
	for (int i = 0; i < count; i++)
		start(&images[i], argv[i + 3]);
	for (int i = 0; i < count; i++)
		pthread_join(images[i].thread, NULL);
	printf("%u cycles, %u operations, %u detaches refused, %u complaints\n", done, op_count,
	       refusals, failures);
	return failures || !refusals || done != todo;
}
