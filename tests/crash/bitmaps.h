/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Persistent bitmaps of a state of an image: are they what they should be? */
#ifndef CRASH_BITMAPS_H
#define CRASH_BITMAPS_H

#include "guest.h"
#include "image.h"
#include "journal.h"

#define MAX_BITMAPS	8

/**
 * struct bitmap - one of them
 * @name: as much of it as there is room for.
 * @bits: as on disk, or NULL as long as nobody asked.
 * @count: how many.
 */
struct bitmap {
	struct qcow2_bitmap_entry entry;
	char name[32];
	uint8_t *bits;
	uint64_t count;
};

/**
 * struct bitmaps - those of an image
 * @nr: how many; 0 where there are none, or none that one may use.
 * @dir: where they are listed.
 */
struct bitmaps {
	unsigned int nr;
	struct bitmap list[MAX_BITMAPS];
	struct qcow2_bitmaps dir;
};

/* Return: false if something is malformed, with a sentence in @why. */
bool bitmaps_list(struct bitmaps *b, const struct image *img, const struct qcow2_header *h,
		  const char **why);

/* Entry @i of a bitmap's table. Return: false if it is malformed. */
bool bitmaps_entry(const struct image *img, const struct qcow2_header *h,
		   const struct bitmap *bitmap, uint32_t i, u64 *off, bool *ones);

/* List them and read their bits. Return: false if something is malformed. */
bool bitmaps_read(struct bitmaps *b, const struct image *img, const struct qcow2_header *h,
		  const char **why);
void bitmaps_free(struct bitmaps *b);

/**
 * bitmaps_judge() - hold those of a state against what has happened
 * @was, @guest_was: the bitmaps before the log, and what the guest read.
 * @guest: what it reads now.
 * @sectors: of both.
 * @journal: of the disk; NULL where the image is below it.
 * @end: detach is done: nobody uses them, and no bit is set for nothing.
 *
 * A bitmap that was consistent says that it is in use, or has a bit for each sector that is not
 * what it was. Return: NULL, or what is wrong.
 */
const char *bitmaps_judge(const struct bitmaps *was, const uint32_t *guest_was,
			  const struct image *img, const struct qcow2_header *h,
			  const uint32_t *guest, uint64_t sectors, const struct journal *journal,
			  bool end);

#endif
