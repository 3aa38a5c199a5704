// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "fuzz_write.h"
#include "rig.h"

#define SECTOR		512U
#define MAX_REQUEST	(128U << 10)
#define STEP		4096U	/* is read at once */

void session_init(struct session *s)
{
	s->known = calloc(SESSION_BYTES / SECTOR, sizeof(*s->known));
	s->want = malloc(SESSION_BYTES);
	if (!s->known || !s->want || posix_memalign((void **)&s->buf, 4096, MAX_REQUEST))
		die("no memory");
}

static void __attribute__((format(printf, 2, 3))) wrong(struct session *s, const char *format, ...)
{
	va_list args;

	if (s->wrong[0])
		return;
	va_start(args, format);
	vsnprintf(s->wrong, sizeof(s->wrong), format, args);
	va_end(args);
}

static uint64_t followed(const struct session *s)
{
	return s->size < SESSION_BYTES ? s->size : SESSION_BYTES;
}

/* Errors that come of a broken image, or of a disk that takes no writes any more. */
static bool is_fair(int err)
{
	return err == EIO || err == ENOSPC || err == EPERM || err == EROFS;
}

void session_start(struct session *s, int disk, uint64_t size, uint64_t seed)
{
	uint64_t off;
	size_t len;

	s->disk = disk;
	s->size = size;
	s->random = seed;
	s->failed = 0;
	s->grown = false;
	s->wrong[0] = '\0';
	for (off = 0; off < followed(s); off += len) {
		bool good;

		len = followed(s) - off < STEP ? followed(s) - off : STEP;
		good = !rig_pread(disk, s->buf, len, off);
		memcpy(s->want + off, s->buf, len);
		memset(s->known + off / SECTOR, good, len / SECTOR * sizeof(*s->known));
	}
}

/* @bytes, or zeros for NULL, are there now; or, if not @known, who knows what. */
static void expect(struct session *s, uint64_t off, size_t len, const void *bytes, bool known)
{
	if (off >= followed(s))
		return;
	if (len > followed(s) - off)
		len = followed(s) - off;
	memset(s->known + off / SECTOR, known, len / SECTOR * sizeof(*s->known));
	if (bytes)
		memcpy(s->want + off, bytes, len);
	else
		memset(s->want + off, 0, len);
}

/* What was discarded is as before, or zeros. */
static void look_at_discarded(struct session *s, uint64_t off, size_t len)
{
	static const unsigned char zeros[SECTOR];

	for (uint64_t end = off + len; off < end && off < followed(s); off += SECTOR) {
		if (!s->known[off / SECTOR])
			continue;
		if (rig_pread(s->disk, s->buf, SECTOR, off))
			s->known[off / SECTOR] = false;
		else if (!memcmp(s->buf, zeros, SECTOR))
			memset(s->want + off, 0, SECTOR);
	}
}

static void fill(struct session *s, size_t len)
{
	for (size_t i = 0; i < len; i += sizeof(uint64_t)) {
		uint64_t word = (uint64_t)SESSION_MARK << 32 | (uint32_t)rig_random(&s->random);

		memcpy(s->buf + i, &word, sizeof(word));
	}
}

static void change(struct session *s, unsigned int op, uint64_t off, size_t len)
{
	uint64_t range[2] = { off, len };
	ssize_t done = 0;

	if (op < 5) {
		fill(s, len);
		done = pwrite(s->disk, s->buf, len, off);
		expect(s, off, len, s->buf, done == (ssize_t)len);
	} else if (op < 7) {
		done = ioctl(s->disk, BLKDISCARD, range);
		if (!done)
			look_at_discarded(s, off, len);
		else
			expect(s, off, len, NULL, false);
	} else if (op < 8) {
		done = ioctl(s->disk, BLKZEROOUT, range);
		expect(s, off, len, NULL, !done);
	} else {
		done = fsync(s->disk);
	}
	if (done >= 0)
		return;
	s->failed++;
	if (!is_fair(errno))
		wrong(s, "operation %u of %zu bytes at %llu: %m", op, len, (unsigned long long)off);
}

void session_change(struct session *s, unsigned int ops)
{
	uint64_t off, reach;
	size_t len, unit;

	for (; ops-- && s->size; ) {
		/* Mostly where there is something; half of them in whole pages. */
		reach = rig_random(&s->random) % 8 ? followed(s) : s->size;
		unit = rig_random(&s->random) % 2 && reach > 4096 ? 4096 : SECTOR;
		off = rig_random(&s->random) % (reach / unit) * unit;
		len = (1 + rig_random(&s->random) % (rig_random(&s->random) % 4 ? 8 : 32)) * unit;
		if (len > s->size - off)
			len = s->size - off;
		change(s, rig_random(&s->random) % 9, off, len);
	}
	fsync(s->disk);
}

void session_grow(struct session *s, int index)
{
	uint64_t size = s->size + (1 + rig_random(&s->random) % 4096) * SECTOR;
	static const unsigned char zeros[SECTOR];

	s->grown = true;
	if (rig_resize(index, size))
		return;
	for (uint64_t off = s->size; off < size; off += size - off > 65536 ? 16384 : SECTOR) {
		if (!rig_pread(s->disk, s->buf, SECTOR, off) && memcmp(s->buf, zeros, SECTOR)) {
			wrong(s, "sector %llu is new, and holds something",
			      (unsigned long long)off / SECTOR);
			return;
		}
	}
	for (uint64_t off = s->size; off < size && off < SESSION_BYTES; off += SECTOR)
		s->known[off / SECTOR] = false;
	s->size = size;
}

void session_compare(struct session *s, int disk)
{
	for (uint64_t off = 0; off < followed(s); off += SECTOR) {
		int err;

		if (!s->known[off / SECTOR])
			continue;
		err = rig_pread(disk, s->buf, SECTOR, off);
		if (err)
			wrong(s, "sector %llu, once read or written: %s",
			      (unsigned long long)off / SECTOR, strerror(-err));
		else if (memcmp(s->buf, s->want + off, SECTOR))
			wrong(s, "sector %llu is not what it was, or what was written",
			      (unsigned long long)off / SECTOR);
	}
}
