// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "differ.h"
#include "rig.h"

#define MAX_LEN		(2U << 20)
#define SNAPSHOT_EVERY	70	/* operations, or so, a change of snapshots, or of the size */
#define PHASE		128	/* operations of a thread before all move elsewhere */

struct worker {
	struct disk *disk;
	pthread_t thread;
	unsigned int id;
	unsigned int ops;
	unsigned int op;
	uint64_t random;
	uint64_t stream;	/* where this thread's sequential writes go on */
	int fd;
	unsigned char *buf;
	unsigned char *seen;	/* MAX_LEN bytes to read into, what @buf holds is needed */
};

void disk_fail(struct disk *disk, const char *format, ...)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	va_list args;

	pthread_mutex_lock(&lock);
	if (!disk->failed) {
		va_start(args, format);
		printf("%s: round %u: ", disk->name, disk->round);
		vprintf(format, args);
		printf("\n");
		va_end(args);
	}
	disk->failed = true;
	pthread_mutex_unlock(&lock);
}

static void fail_op(struct worker *w, const char *what, uint64_t off, uint64_t len, const char *why)
{
	disk_fail(w->disk, "thread %u operation %u: %s of %llu sectors at %llu: %s", w->id, w->op,
		  what, (unsigned long long)len / SECTOR, (unsigned long long)off / SECTOR, why);
}

/* --- operations: the range is claimed, and whole sectors ---------------------------------- */

/* One to four vectors, which begin at any sector of a page. */
static int split(struct worker *w, struct iovec *vectors, uint64_t len)
{
	unsigned char *at = w->buf;
	int count = 0;

	while (len) {
		uint64_t part = len;

		if (count < 3 && rig_random(&w->random) % 4 == 0)
			part = (1 + rig_random(&w->random) % (len / SECTOR)) * SECTOR;
		vectors[count++] = (struct iovec){ at, part };
		at += part;
		len -= part;
	}
	return count;
}

/*
 * There was no space: each sector of the range holds what it held, or what it was to hold: @wanted,
 * NULL for zeros. That is what it holds from now on. Return: false if it was another error.
 */
static bool was_refused(struct worker *w, uint64_t off, uint64_t len, const unsigned char *wanted)
{
	static const unsigned char zeros[SECTOR];
	struct disk *disk = w->disk;

	if (errno != ENOSPC || !disk->may_be_full)
		return false;
	__atomic_add_fetch(&disk->refusals, 1, __ATOMIC_RELAXED);
	if (pread(w->fd, w->seen, len, off) != (ssize_t)len)
		fail_op(w, "read after ENOSPC", off, len, strerror(errno));
	for (uint64_t i = 0; i < len && !disk->failed; i += SECTOR) {
		unsigned char *held = oracle_at(&disk->oracle, off + i);

		if (!memcmp(w->seen + i, held, SECTOR))
			continue;
		if (memcmp(w->seen + i, wanted ? wanted + i : zeros, SECTOR))
			fail_op(w, "what ENOSPC left", off + i, SECTOR, "neither old nor new");
		memcpy(held, w->seen + i, SECTOR);
	}
	return true;
}

static void do_read(struct worker *w, uint64_t off, uint64_t len)
{
	struct iovec vectors[4];
	int count = split(w, vectors, len);
	ssize_t done = preadv(w->fd, vectors, count, off);
	char what[512];

	if (done != (ssize_t)len)
		fail_op(w, "read", off, len, done < 0 ? strerror(errno) : "short");
	else if (!oracle_compare(&w->disk->oracle, off, w->buf, len, what))
		fail_op(w, "read", off, len, what);
}

static void do_write(struct worker *w, uint64_t off, uint64_t len)
{
	uint64_t version = (uint64_t)w->disk->round << 56 | (uint64_t)w->id << 48 | w->op;
	struct iovec vectors[4];
	int count = split(w, vectors, len);
	ssize_t done;

	if (rig_random(&w->random) % 16)
		oracle_make(w->buf, off, len, version);
	else
		memset(w->buf, 0, len);
	done = pwritev2(w->fd, vectors, count, off, rig_random(&w->random) % 64 ? 0 : RWF_DSYNC);
	if (done < 0 && was_refused(w, off, len, w->buf))
		return;
	if (done != (ssize_t)len)
		fail_op(w, "write", off, len, done < 0 ? strerror(errno) : "short");
	else
		memcpy(oracle_at(&w->disk->oracle, off), w->buf, len);
}

/* A disk of which we do not know what a discard does: look. */
static void learn(struct worker *w, uint64_t off, uint64_t len)
{
	if (pread(w->fd, w->buf, len, off) != (ssize_t)len)
		fail_op(w, "read after discard", off, len, strerror(errno));
	memcpy(oracle_at(&w->disk->oracle, off), w->buf, len);
}

/* Part of a cluster, of which it is not known whether it is compressed: all of that stays, or none. */
static void learn_discard(struct worker *w, uint64_t off, uint64_t len)
{
	unsigned char *want = oracle_at(&w->disk->oracle, off);
	int err = rig_pread(w->fd, w->buf, len, off);

	if (err)
		fail_op(w, "read after discard", off, len, strerror(-err));
	else if (!w->buf[0] && !memcmp(w->buf, w->buf + 1, len - 1))
		memset(want, 0, len);
	else if (memcmp(w->buf, want, len))
		fail_op(w, "discard", off, len, "neither zeros nor what it held");
}

/* Subclusters from @start to @end were discarded. */
static void take_discard(struct worker *w, uint64_t start, uint64_t end)
{
	struct disk *disk = w->disk;
	uint64_t size = disk->cluster_size, stop;

	for (; start < end; start = stop) {
		stop = (start / size + 1) * size;
		if (stop > end)
			stop = end;
		if (disk->subcluster_size < size && stop - start < size)
			learn_discard(w, start, stop - start);
		else
			memset(oracle_at(&disk->oracle, start), 0, stop - start);
	}
}

/* Subclusters that are covered read as zeros, what is covered of others stays. */
static void do_discard(struct worker *w, uint64_t off, uint64_t len)
{
	struct disk *disk = w->disk;
	const struct oracle_window *last = &disk->oracle.windows[disk->oracle.window_count - 1];
	uint64_t mask = disk->subcluster_size - 1, range[] = { off, len };
	uint64_t start = (off + mask) & ~mask, end = (off + len) & ~mask;
	bool is_nothing = disk->is_v2 && disk->has_backing;

	if (ioctl(w->fd, BLKDISCARD, range)) {
		if (was_refused(w, off, len, NULL))
			return;
		if (errno != EOPNOTSUPP || !(disk->no_discard || is_nothing || disk->is_other))
			fail_op(w, "discard", off, len, strerror(errno));
		return;
	}
	if (disk->no_discard)
		fail_op(w, "discard", off, len, "accepted, though there should be none");
	if (disk->is_other) {
		learn(w, off, len);
		return;
	}
	if (off + len == last->off + last->len)
		end = off + len;	/* the disk ends in this cluster */
	if (start < end && !is_nothing)
		take_discard(w, start, end);
}

static void take_zeroes(struct worker *w, const char *what, uint64_t off, uint64_t len, int err)
{
	if (!err) {
		memset(oracle_at(&w->disk->oracle, off), 0, len);
		return;
	}
	if (was_refused(w, off, len, NULL))
		return;
	/* Without zero clusters nothing is freed by zeroing it. */
	if (errno != EOPNOTSUPP || !(w->disk->is_v2 || w->disk->is_other || w->disk->no_discard))
		fail_op(w, what, off, len, strerror(errno));
}

static void do_zeroout(struct worker *w, uint64_t off, uint64_t len)
{
	uint64_t range[] = { off, len };

	take_zeroes(w, "BLKZEROOUT", off, len, ioctl(w->fd, BLKZEROOUT, range));
}

static void do_punch(struct worker *w, uint64_t off, uint64_t len)
{
	take_zeroes(w, "punch", off, len,
		    fallocate(w->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len));
}

static void do_zero_range(struct worker *w, uint64_t off, uint64_t len)
{
	take_zeroes(w, "zero range", off, len,
		    fallocate(w->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, off, len));
}

static void do_flush(struct worker *w, uint64_t off, uint64_t len)
{
	if (fsync(w->fd))
		fail_op(w, "flush", off, len, strerror(errno));
}

static const struct kind {
	void (*run)(struct worker *w, uint64_t off, uint64_t len);
	bool changes;
	unsigned int percent;
} kinds[] = {
	{ do_read, false, 27 },
	{ do_write, true, 46 },
	{ do_discard, true, 9 },
	{ do_zeroout, true, 5 },
	{ do_punch, true, 5 },
	{ do_zero_range, true, 4 },
	{ do_flush, false, 4 },
};

static const struct kind *pick_kind(struct worker *w)
{
	unsigned int percent = rig_random(&w->random) % 100;
	const struct kind *kind = kinds;

	while (percent >= kind->percent)
		percent -= kind++->percent;
	return kind;
}

/* --- places ------------------------------------------------------------------------------- */

/*
 * Where all threads work during this phase: everywhere, in one cluster, a few, where two tables
 * meet, or where the disk ends. Return: whether each thread writes a stream of its own.
 */
static bool pick_region(struct worker *w, uint64_t *start, uint64_t *end)
{
	const struct disk *disk = w->disk;
	uint64_t shared = disk->seed + w->op / PHASE, cluster = disk->cluster_size;
	const struct oracle_window *window =
		&disk->oracle.windows[rig_random(&shared) % disk->oracle.window_count];
	uint64_t reach = cluster * cluster / 8, last = window->off + window->len, middle, size;

	*start = window->off;
	*end = last;
	switch (rig_random(&shared) % 8) {
	case 0:
	case 1:
		size = cluster < 4096 ? 4096 : cluster;
		middle = *start + rig_random(&shared) % (window->len / SECTOR) * SECTOR;
		*start = middle / size * size;
		*end = *start + size;
		break;
	case 2:
		middle = *start + rig_random(&shared) % (window->len / SECTOR) * SECTOR;
		*start = middle / cluster * cluster;
		*end = *start + 8 * cluster;
		break;
	case 3:
		middle = (window->off + rig_random(&shared) % window->len) / reach * reach;
		if (middle >= window->off + 3 * cluster) {
			*start = middle - 3 * cluster;
			*end = middle + 3 * cluster;
		}
		break;
	case 4:
		if (window->len > 2 * cluster)
			*start = last - 2 * cluster;
		break;
	case 5:
		return true;
	}
	if (*start < window->off)
		*start = window->off;
	if (*end > last)
		*end = last;
	return false;
}

/* A cluster, or a subcluster; bytes. */
static uint64_t pick_unit(struct worker *w)
{
	const struct disk *disk = w->disk;

	if (disk->subcluster_size == disk->cluster_size)
		return disk->cluster_size;
	return rig_random(&w->random) % 3 ? disk->subcluster_size : disk->cluster_size;
}

static uint64_t pick_len(struct worker *w)
{
	uint64_t clusters = 1 + rig_random(&w->random) % 8, unit = pick_unit(w);

	switch (rig_random(&w->random) % 16) {
	case 0 ... 3:
		return SECTOR;
	case 4 ... 7:
		return (1 + rig_random(&w->random) % 8) * SECTOR;
	case 8 ... 10:
		return (1 + rig_random(&w->random) % (unit / SECTOR)) * SECTOR;
	case 11 ... 12:
		return clusters * unit;
	case 13 ... 14:
		return (1 + rig_random(&w->random) % 128) * SECTOR;
	default:
		return (1 + rig_random(&w->random) % (MAX_LEN / SECTOR)) * SECTOR;
	}
}

static void pick_place(struct worker *w, uint64_t *off, uint64_t *len)
{
	uint64_t mask = pick_unit(w) - 1, start, end, random;
	bool is_stream = pick_region(w, &start, &end);

	*len = pick_len(w);
	if (*len > MAX_LEN)
		*len = MAX_LEN;
	random = rig_random(&w->random);
	if (is_stream) {
		if (w->stream < start || w->stream >= end)
			w->stream = start + random % ((end - start) / SECTOR) * SECTOR;
		*off = w->stream;
		w->stream += *len;
	} else {
		*off = start + random % ((end - start) / SECTOR) * SECTOR;
		/* A third begins with a cluster; lengths that are clusters then fit. */
		if (rig_random(&w->random) % 3 == 0 && (*off & ~mask) >= start)
			*off &= ~mask;
	}
	if (*len > end - *off)
		*len = end - *off;
}

/* --- threads ------------------------------------------------------------------------------ */

static void *work(void *data)
{
	struct worker *w = data;
	struct disk *disk = w->disk;
	uint64_t off, len, bytes = 0;
	unsigned char *memory;

	w->random = disk->seed + w->id * 7919;
	w->fd = open(disk->path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (w->fd < 0) {
		disk_fail(disk, "cannot be opened: %m");
		return NULL;
	}
	if (posix_memalign((void **)&memory, 4096, MAX_LEN + 4096) ||
	    posix_memalign((void **)&w->seen, 4096, MAX_LEN))
		die("no memory");
	for (w->op = 0; w->op < w->ops && !disk->failed; w->op++) {
		const struct kind *kind = pick_kind(w);

		if (rig_random(&w->random) % SNAPSHOT_EVERY == 0) {
			oracle_claim(&disk->oracle, w->id, 0, UINT64_MAX, true);
			if (rig_random(&w->random) % 3)
				disk_change_snapshots(disk, rig_random(&w->random));
			else
				disk_grow(disk, rig_random(&w->random));
			oracle_release(&disk->oracle, w->id);
		}
		pick_place(w, &off, &len);
		w->buf = memory + rig_random(&w->random) % 8 * SECTOR;
		oracle_claim(&disk->oracle, w->id, off, len, kind->changes);
		/* A snapshot of a smaller disk may have come before. */
		if (oracle_has(&disk->oracle, off, len))
			kind->run(w, off, len);
		oracle_release(&disk->oracle, w->id);
		bytes += len;
	}
	free(memory);
	free(w->seen);
	close(w->fd);
	__atomic_add_fetch(&disk->ops_done, w->op, __ATOMIC_RELAXED);
	__atomic_add_fetch(&disk->bytes_done, bytes, __ATOMIC_RELAXED);
	return NULL;
}

void disk_change(struct disk *disk, unsigned int ops)
{
	struct worker workers[ORACLE_MAX_THREADS] = { 0 };

	if (!disk->oracle.window_count)
		return;		/* an empty disk */
	for (unsigned int i = 0; i < disk->threads; i++) {
		workers[i].disk = disk;
		workers[i].id = i;
		workers[i].ops = ops / disk->threads;
		pthread_create(&workers[i].thread, NULL, work, &workers[i]);
	}
	for (unsigned int i = 0; i < disk->threads; i++)
		pthread_join(workers[i].thread, NULL);
}

void disk_compare(struct disk *disk)
{
	int fd = open(disk->path, O_RDONLY | O_DIRECT | O_CLOEXEC), err;
	unsigned char *buf;
	char what[512];

	if (fd < 0) {
		disk_fail(disk, "cannot be opened: %m");
		return;
	}
	if (posix_memalign((void **)&buf, 4096, MAX_LEN))
		die("no memory");
	for (unsigned int i = 0; i < disk->oracle.window_count; i++) {
		const struct oracle_window *window = &disk->oracle.windows[i];

		for (uint64_t off = 0; off < window->len && !disk->failed; off += MAX_LEN) {
			uint64_t len = window->len - off < MAX_LEN ? window->len - off : MAX_LEN;

			err = rig_pread(fd, buf, len, window->off + off);
			if (err)
				disk_fail(disk, "in the end, a read: %s", strerror(-err));
			else if (!oracle_compare(&disk->oracle, window->off + off, buf, len, what))
				disk_fail(disk, "in the end, %s", what);
		}
	}
	free(buf);
	close(fd);
}
