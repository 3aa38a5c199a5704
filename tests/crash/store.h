/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A sparse file in memory, with a limit on what it may occupy; and what shall go wrong with it.
 */
#ifndef CRASH_STORE_H
#define CRASH_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STORE_BLOCK	4096U

/**
 * struct store - the file
 * @data: all of it, holes read as zeros.
 * @max: bytes that @data has room for.
 * @size: of the file.
 * @used: bytes allocated, a multiple of STORE_BLOCK.
 * @capacity: most bytes that may be allocated.
 * @allocated: a byte for each block.
 * @top: no block from this one on is allocated.
 */
struct store {
	char *data;
	uint64_t max;
	uint64_t size;
	uint64_t used;
	uint64_t capacity;
	char *allocated;
	uint64_t top;
};

/* Return: false if there is no memory. */
bool store_open(struct store *s, uint64_t max);

/* These return 0 or an errno, -ENOSPC or -EFBIG, and change nothing then. */
int store_write(struct store *s, const void *data, uint64_t len, uint64_t off);
int store_truncate(struct store *s, uint64_t size);

/* As fallocate(2); -EOPNOTSUPP for a mode that is not known. */
int store_allocate(struct store *s, int mode, uint64_t off, uint64_t len);

/* Bytes that can be read at @off. */
size_t store_readable(const struct store *s, uint64_t off, size_t len);

enum fault_kind {
	FAULT_READ,
	FAULT_WRITE,
	FAULT_FSYNC,
	FAULT_ALLOCATE,
	FAULT_TRUNCATE,
	FAULT_ANY,
	FAULT_KINDS,
};

extern const char *const fault_names[FAULT_KINDS];

/**
 * struct faults - what shall go wrong
 * @done: operations of each kind since the start, and of all kinds.
 * @at: the operation of this kind, counted from 1, that fails; 0: none.
 * @err: with this errno; 0: it is cut short.
 * @ever: all later ones fail, too.
 * @hits: operations that have failed.
 */
struct faults {
	uint64_t done[FAULT_KINDS];
	uint64_t at[FAULT_KINDS];
	int err[FAULT_KINDS];
	bool ever[FAULT_KINDS];
	uint64_t hits;
};

/*
 * Count an operation. Return: 0, or the negative errno it shall fail with, or 1 where a
 * write shall be short.
 */
int faults_next(struct faults *f, enum fault_kind kind);

/*
 * Take a command: "fail KIND N ERRNO [ever]", "short N", "clear". N counts from now on.
 * Return: false if it is none.
 */
bool faults_command(struct faults *f, const char *text);

#endif
