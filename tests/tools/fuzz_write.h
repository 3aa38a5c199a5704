/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Random changes of a disk whose image may be broken, and what it should hold then. */
#ifndef TEST_FUZZ_WRITE_H
#define TEST_FUZZ_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SESSION_MARK	0x66757a7aU	/* the upper half of each word that is written */
#define SESSION_BYTES	(2U << 20)	/* of the disk, from its start, are followed */

/**
 * struct session - a disk while it is changed
 * @disk: descriptor.
 * @size: of the disk, bytes.
 * @random: the seed, and on from there.
 * @want: what its first bytes should be, as far as is known.
 * @known: of each sector.
 * @buf: room for a request.
 * @failed: requests that have got an errno.
 * @wrong: what has happened that must not, or "".
 */
struct session {
	int disk;
	uint64_t size;
	uint64_t random;
	unsigned char *want;
	bool *known;
	unsigned char *buf;
	unsigned int failed;
	bool grown;	/* or it was tried */
	char wrong[160];
};

void session_init(struct session *s);

/* Learn what the disk holds. */
void session_start(struct session *s, int disk, uint64_t size, uint64_t seed);

/* Writes, discards, zeroes, flushes; each may fail with an errno for bad images and disks. */
void session_change(struct session *s, unsigned int ops);

/* Let it grow, which may fail. @index: of the device. Sizes matter to the next session only. */
void session_grow(struct session *s, int index);

/* Does it hold what it should? Only of an image in which no two entries share a cluster. */
void session_compare(struct session *s, int disk);

#endif
