// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../tools/rig.h"
#include "store.h"

/* --- the file ----------------------------------------------------------------------------- */

bool store_open(struct store *s, uint64_t max)
{
	memset(s, 0, sizeof(*s));
	max = (max + STORE_BLOCK - 1) / STORE_BLOCK * STORE_BLOCK;
	s->data = mmap(NULL, max, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (s->data == MAP_FAILED)
		return false;
	s->allocated = mmap(NULL, max / STORE_BLOCK, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	s->max = max;
	s->capacity = max;
	return s->allocated != MAP_FAILED;
}

/* Allocate the blocks of a range, all or none. */
static int allocate(struct store *s, uint64_t off, uint64_t len)
{
	uint64_t first = off / STORE_BLOCK, end = (off + len + STORE_BLOCK - 1) / STORE_BLOCK;
	uint64_t more = 0;

	if (off > s->max || len > s->max - off)
		return -EFBIG;
	for (uint64_t i = first; i < end; i++)
		more += s->allocated[i] ? 0 : STORE_BLOCK;
	if (more && (more > s->capacity || s->used > s->capacity - more))
		return -ENOSPC;
	memset(s->allocated + first, 1, end - first);
	s->used += more;
	if (s->top < end)
		s->top = end;
	return 0;
}

/* Free the blocks that lie within a range. */
static void release(struct store *s, uint64_t off, uint64_t len)
{
	uint64_t end = (off + len) / STORE_BLOCK;

	end = end < s->top ? end : s->top;
	for (uint64_t i = (off + STORE_BLOCK - 1) / STORE_BLOCK; i < end; i++) {
		s->used -= s->allocated[i] ? STORE_BLOCK : 0;
		s->allocated[i] = 0;
	}
}

static void grow_to(struct store *s, uint64_t end)
{
	if (s->size < end)
		s->size = end;
}

int store_write(struct store *s, const void *data, uint64_t len, uint64_t off)
{
	int err = allocate(s, off, len);

	if (err)
		return err;
	memcpy(s->data + off, data, len);
	grow_to(s, off + len);
	return 0;
}

/* Within the file: past its end all is zeros anyway. */
static void clear(struct store *s, uint64_t off, uint64_t len)
{
	if (off < s->size)
		memset(s->data + off, 0, len < s->size - off ? len : s->size - off);
}

int store_truncate(struct store *s, uint64_t size)
{
	if (size > s->max)
		return -EFBIG;
	if (size < s->size) {
		clear(s, size, s->size - size);
		release(s, size, s->max - size);
	}
	s->size = size;
	return 0;
}

int store_allocate(struct store *s, int mode, uint64_t off, uint64_t len)
{
	int err;

	switch (mode & ~FALLOC_FL_KEEP_SIZE) {
	case 0:
	case FALLOC_FL_ZERO_RANGE:
		err = allocate(s, off, len);
		if (err)
			return err;
		if (mode & FALLOC_FL_ZERO_RANGE)
			clear(s, off, len);
		if (!(mode & FALLOC_FL_KEEP_SIZE))
			grow_to(s, off + len);
		return 0;
	case FALLOC_FL_PUNCH_HOLE:
		if (!(mode & FALLOC_FL_KEEP_SIZE))
			return -EOPNOTSUPP;
		if (off > s->max || len > s->max - off)
			return -EFBIG;
		clear(s, off, len);
		release(s, off, len);
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

size_t store_readable(const struct store *s, uint64_t off, size_t len)
{
	if (off >= s->size)
		return 0;
	return len < s->size - off ? len : s->size - off;
}

/* --- what goes wrong ---------------------------------------------------------------------- */

const char *const fault_names[FAULT_KINDS] = {
	"read", "write", "fsync", "fallocate", "truncate", "any",
};

static const struct {
	const char *name;
	int err;
} errnos[] = {
	{ "EIO", EIO }, { "ENOSPC", ENOSPC }, { "EDQUOT", EDQUOT }, { "EOPNOTSUPP", EOPNOTSUPP },
	{ "ENOMEM", ENOMEM }, { "EINVAL", EINVAL }, { "EFBIG", EFBIG }, { "EROFS", EROFS },
	{ "EINTR", EINTR }, { "EAGAIN", EAGAIN }, { "EACCES", EACCES },
};

static bool strikes(struct faults *f, enum fault_kind kind)
{
	if (!f->at[kind] || f->done[kind] < f->at[kind])
		return false;
	return f->ever[kind] || f->done[kind] == f->at[kind];
}

int faults_next(struct faults *f, enum fault_kind kind)
{
	enum fault_kind hit;

	f->done[kind]++;
	f->done[FAULT_ANY]++;
	if (strikes(f, kind))
		hit = kind;
	else if (strikes(f, FAULT_ANY))
		hit = FAULT_ANY;
	else
		return 0;
	f->hits++;
	return f->err[hit] ? -f->err[hit] : 1;
}

static bool errno_by_name(const char *name, int *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(errnos); i++) {
		if (!strcmp(errnos[i].name, name)) {
			*err = errnos[i].err;
			return true;
		}
	}
	return false;
}

static bool kind_by_name(const char *name, enum fault_kind *kind)
{
	for (*kind = 0; *kind < FAULT_KINDS; (*kind)++) {
		if (!strcmp(fault_names[*kind], name))
			return true;
	}
	return false;
}

static bool fail_command(struct faults *f, const char *text)
{
	char kind_name[16], err_name[16], ever[8] = "";
	enum fault_kind kind;
	unsigned long long n;
	int err;

	if (sscanf(text, "fail %15s %llu %15s %7s", kind_name, &n, err_name, ever) < 3)
		return false;
	if (!kind_by_name(kind_name, &kind) || !errno_by_name(err_name, &err) || !n)
		return false;
	if (ever[0] && strcmp(ever, "ever"))
		return false;
	f->at[kind] = f->done[kind] + n;
	f->err[kind] = err;
	f->ever[kind] = ever[0];
	return true;
}

bool faults_command(struct faults *f, const char *text)
{
	unsigned long long n;

	if (!strcmp(text, "clear")) {
		memset(f->at, 0, sizeof(f->at));
		f->hits = 0;
		return true;
	}
	if (sscanf(text, "short %llu", &n) == 1 && n) {
		f->at[FAULT_WRITE] = f->done[FAULT_WRITE] + n;
		f->err[FAULT_WRITE] = 0;
		f->ever[FAULT_WRITE] = false;
		return true;
	}
	return fail_command(f, text);
}
