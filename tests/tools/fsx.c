// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fsx [--ops N] [--seed S] [--files N] [--size BYTES] DIRECTORY
 *
 * What a file system makes of a disk: random reads, writes, truncations, mapped reads and writes,
 * holes, zeroes, allocations and syncs of files in DIRECTORY, each in a thread of its own, against
 * copies in memory. Now and then a file's pages are thrown away, so that reads come from the disk.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rig.h"

#define MAX_IO	(64U << 10)
#define BLOCK	4096ULL	/* at least the block size of the file system */

struct file {
	pthread_t thread;
	unsigned int number;
	char path[4096];
	int fd;
	unsigned int op;
	uint64_t random;
	uint64_t size;		/* as it should be */
	unsigned char *want;	/* and what it should hold, zeros beyond */
	unsigned char *buf;
	bool failed;
};

static unsigned int ops = 5000, file_count = 4;
static uint64_t seed = 1, max_size = 1 << 20;
static uint64_t op_count;

static void fail(struct file *f, const char *what, uint64_t off, uint64_t len, const char *why)
{
	if (!f->failed)
		printf("file %u operation %u: %s of %llu bytes at %llu, size %llu: %s\n", f->number,
		       f->op, what, (unsigned long long)len, (unsigned long long)off,
		       (unsigned long long)f->size, why);
	f->failed = true;
}

static void compare(struct file *f, const char *what, const unsigned char *got, uint64_t off,
		    uint64_t len)
{
	char why[128];

	for (uint64_t i = 0; i < len; i++) {
		if (got[i] != f->want[off + i]) {
			snprintf(why, sizeof(why), "byte %02x instead of %02x at %llu", got[i],
				 f->want[off + i], (unsigned long long)(off + i));
			fail(f, what, off, len, why);
			return;
		}
	}
}

/* Bytes that tell the operation and the place. */
static void make_bytes(struct file *f, unsigned char *to, uint64_t off, uint64_t len)
{
	for (uint64_t i = 0; i < len; i++)
		to[i] = (off + i) * 7 + f->op * 31 + ((off + i) >> 9);
}

static void grow_to(struct file *f, uint64_t size)
{
	if (size > f->size)
		f->size = size;
}

/* --- operations --------------------------------------------------------------------------- */

static void do_read(struct file *f, uint64_t off, uint64_t len)
{
	uint64_t there = off < f->size ? f->size - off : 0;
	ssize_t done = pread(f->fd, f->buf, len, off);

	if (done != (ssize_t)(len < there ? len : there))
		fail(f, "read", off, len, done < 0 ? strerror(errno) : "wrong length");
	else
		compare(f, "read", f->buf, off, done);
}

static void do_write(struct file *f, uint64_t off, uint64_t len)
{
	make_bytes(f, f->want + off, off, len);
	if (pwrite(f->fd, f->want + off, len, off) != (ssize_t)len)
		fail(f, "write", off, len, strerror(errno));
	grow_to(f, off + len);
}

static void do_truncate(struct file *f, uint64_t off, uint64_t len)
{
	if (ftruncate(f->fd, off))
		fail(f, "truncate", off, len, strerror(errno));
	if (off < f->size)
		memset(f->want + off, 0, f->size - off);
	f->size = off;
}

/* The part of the range that is in the file, mapped. Return: NULL if there is nothing. */
static unsigned char *map(struct file *f, uint64_t off, uint64_t *len, int prot, uint64_t *lead)
{
	unsigned char *mapped;

	if (off >= f->size)
		return NULL;
	if (*len > f->size - off)
		*len = f->size - off;
	*lead = off % BLOCK;
	mapped = mmap(NULL, *len + *lead, prot, MAP_SHARED, f->fd, off - *lead);
	if (mapped == MAP_FAILED) {
		fail(f, "mmap", off, *len, strerror(errno));
		return NULL;
	}
	return mapped;
}

static void do_map_read(struct file *f, uint64_t off, uint64_t len)
{
	uint64_t lead;
	unsigned char *mapped = map(f, off, &len, PROT_READ, &lead);

	if (!mapped)
		return;
	compare(f, "mapped read", mapped + lead, off, len);
	munmap(mapped, len + lead);
}

static void do_map_write(struct file *f, uint64_t off, uint64_t len)
{
	uint64_t lead;
	unsigned char *mapped = map(f, off, &len, PROT_READ | PROT_WRITE, &lead);

	if (!mapped)
		return;
	make_bytes(f, f->want + off, off, len);
	memcpy(mapped + lead, f->want + off, len);
	if (rig_random(&f->random) % 4 == 0 && msync(mapped, len + lead, MS_SYNC))
		fail(f, "msync", off, len, strerror(errno));
	munmap(mapped, len + lead);
}

static bool allocate(struct file *f, const char *what, int mode, uint64_t off, uint64_t len)
{
	if (!fallocate(f->fd, mode, off, len))
		return true;
	if (errno != EOPNOTSUPP)
		fail(f, what, off, len, strerror(errno));
	return false;
}

static void do_punch(struct file *f, uint64_t off, uint64_t len)
{
	if (allocate(f, "punch", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len))
		memset(f->want + off, 0, len);
}

static void do_zero(struct file *f, uint64_t off, uint64_t len)
{
	bool keep_size = rig_random(&f->random) % 2;

	if (!allocate(f, "zero range", FALLOC_FL_ZERO_RANGE |
		      (keep_size ? FALLOC_FL_KEEP_SIZE : 0), off, len))
		return;
	memset(f->want + off, 0, len);
	if (!keep_size)
		grow_to(f, off + len);
}

static void do_allocate(struct file *f, uint64_t off, uint64_t len)
{
	bool keep_size = rig_random(&f->random) % 2;

	if (allocate(f, "allocate", keep_size ? FALLOC_FL_KEEP_SIZE : 0, off, len) && !keep_size)
		grow_to(f, off + len);
}

/* Blocks taken out of the middle; what lies behind moves up. */
static void do_collapse(struct file *f, uint64_t off, uint64_t len)
{
	off = off / BLOCK * BLOCK;
	len = (len / BLOCK + 1) * BLOCK;
	if (off + len >= f->size || !allocate(f, "collapse", FALLOC_FL_COLLAPSE_RANGE, off, len))
		return;
	memmove(f->want + off, f->want + off + len, f->size - off - len);
	memset(f->want + f->size - len, 0, len);
	f->size -= len;
}

static void do_insert(struct file *f, uint64_t off, uint64_t len)
{
	off = off / BLOCK * BLOCK;
	len = (len / BLOCK + 1) * BLOCK;
	if (off >= f->size || f->size + len > max_size ||
	    !allocate(f, "insert", FALLOC_FL_INSERT_RANGE, off, len))
		return;
	memmove(f->want + off + len, f->want + off, f->size - off);
	memset(f->want + off, 0, len);
	f->size += len;
}

static void do_sync(struct file *f, uint64_t off, uint64_t len)
{
	if (rig_random(&f->random) % 2 ? fsync(f->fd) : fdatasync(f->fd))
		fail(f, "sync", off, len, strerror(errno));
}

/* Next time it must be read from the disk. */
static void do_forget(struct file *f, uint64_t off, uint64_t len)
{
	do_sync(f, off, len);
	posix_fadvise(f->fd, 0, 0, POSIX_FADV_DONTNEED);
	for (off = 0; off < f->size && !f->failed; off += MAX_IO)
		do_read(f, off, MAX_IO);
}

static void do_reopen(struct file *f, uint64_t off, uint64_t len)
{
	close(f->fd);
	f->fd = open(f->path, O_RDWR | O_CLOEXEC);
	if (f->fd < 0)
		fail(f, "open", off, len, strerror(errno));
}

static const struct {
	void (*run)(struct file *f, uint64_t off, uint64_t len);
	unsigned int percent;
} kinds[] = {
	{ do_read, 20 }, { do_write, 24 }, { do_truncate, 6 }, { do_map_read, 10 },
	{ do_map_write, 14 }, { do_punch, 7 }, { do_zero, 5 }, { do_allocate, 3 },
	{ do_collapse, 2 }, { do_insert, 2 }, { do_sync, 4 }, { do_forget, 2 }, { do_reopen, 1 },
};

static void run_op(struct file *f)
{
	unsigned int percent = rig_random(&f->random) % 100, kind = 0;
	uint64_t off, len;

	while (percent >= kinds[kind].percent)
		percent -= kinds[kind++].percent;
	off = rig_random(&f->random) % max_size;
	len = 1 + rig_random(&f->random) % (rig_random(&f->random) % 4 ? MAX_IO / 8 : MAX_IO);
	if (rig_random(&f->random) % 4 == 0) {
		off = off / BLOCK * BLOCK;
		len = (len / BLOCK + 1) * BLOCK;
	}
	if (len > max_size - off)
		len = max_size - off;
	kinds[kind].run(f, off, len);
}

static void check_size(struct file *f)
{
	struct stat st;

	if (fstat(f->fd, &st) || (uint64_t)st.st_size != f->size)
		fail(f, "size", st.st_size, 0, "not what it should be");
}

static void *work(void *data)
{
	struct file *f = data;

	f->fd = open(f->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (f->fd < 0)
		die("%s: %m", f->path);
	f->want = calloc(1, max_size);
	f->buf = malloc(MAX_IO);
	if (!f->want || !f->buf)
		die("no memory");
	for (f->op = 0; f->op < ops && !f->failed; f->op++) {
		run_op(f);
		if (!f->failed)
			check_size(f);
	}
	if (!f->failed)
		do_forget(f, 0, 0);
	__atomic_add_fetch(&op_count, f->op, __ATOMIC_RELAXED);
	close(f->fd);
	free(f->want);
	free(f->buf);
	return NULL;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "ops", required_argument, NULL, 'o' },
		{ "seed", required_argument, NULL, 's' },
		{ "files", required_argument, NULL, 'f' },
		{ "size", required_argument, NULL, 'z' },
		{ }
	};
	static struct file files[64];
	unsigned int failed = 0;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'o':
			ops = strtoul(optarg, NULL, 0);
			break;
		case 's':
			seed = strtoull(optarg, NULL, 0);
			break;
		case 'f':
			file_count = strtoul(optarg, NULL, 0);
			break;
		case 'z':
			max_size = strtoull(optarg, NULL, 0);
			break;
		default:
			die("fsx: see the head of fsx.c");
		}
	}
	if (optind + 1 != argc || file_count > ARRAY_SIZE(files) || max_size < MAX_IO)
		die("fsx: see the head of fsx.c");
	for (unsigned int i = 0; i < file_count; i++) {
		struct file *f = &files[i];

		f->number = i;
		f->random = seed * 1000003 + i;
		snprintf(f->path, sizeof(f->path), "%s/fsx-%u", argv[optind], i);
		pthread_create(&f->thread, NULL, work, f);
	}
	for (unsigned int i = 0; i < file_count; i++) {
		pthread_join(files[i].thread, NULL);
		failed += files[i].failed;
	}
	printf("seed %llu: %llu operations, %u of %u files wrong\n", (unsigned long long)seed,
	       (unsigned long long)op_count, failed, file_count);
	return failed ? 1 : 0;
}
