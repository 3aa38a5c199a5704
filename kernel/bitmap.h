/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Persistent dirty bitmaps: they stay true while the image is written.
 *
 * Each bitmap that is enabled ("auto") and consistent is in memory, whole, from attach to
 * detach, and every request that changes the disk sets its bits there, before the change.
 * On disk the bitmap is marked IN_USE, durably, before the first change of the image, and is
 * what it was. At detach:
 *
 *	1	what has changed is written, to the clusters that the bitmap has, or to new ones;
 *		a commit makes that durable, with the refcounts of these
 *	2	tables are written in place; fsync
 *	3	IN_USE is cleared in the directory, in place; fsync
 *
 * So after a crash a bitmap says IN_USE, and then nobody trusts it, or it is true; and its table
 * is well-formed, and names no cluster that is free. Bits are set only, never cleared, as long as
 * the device exists: a cluster that the bitmap has it keeps. It holds what it holds, all ones too,
 * so that nothing needs to be freed. (A size that shrinks clears bits, and keeps the table.)
 *
 * Bitmaps that are disabled or IN_USE are left alone. So are all of an image without the
 * autoclear bit: somebody wrote to it who knows none.
 */
#ifndef _QCOW2_BITMAP_H
#define _QCOW2_BITMAP_H

#include "alloc.h"

/**
 * struct qcow2_dirty_bitmap - a bitmap that is kept true
 * @next: in the list.
 * @name: for log lines.
 * @flags_off: where the directory has its flags, bytes.
 * @flags: those, without IN_USE.
 * @granularity_bits: log2 of the bytes that a bit stands for.
 * @nr_bits: for the disk as it is.
 * @table: the bitmap table. Changed at detach only.
 * @bits: as on disk: the first bit of a byte is its least significant one. Whole clusters.
 *	Bits are set by anybody, atomically.
 * @changed: bit n: the nth cluster of @bits is not what is on disk. Likewise.
 * @err: (at detach) why it cannot be stored, or 0.
 */
struct qcow2_dirty_bitmap {
	struct qcow2_dirty_bitmap *next;
	char *name;
	u64 flags_off;
	u32 flags;
	u32 granularity_bits;
	u64 nr_bits;
	struct qcow2_table table;
	void *bits;
	unsigned long *changed;
	int err;
};

/**
 * struct qcow2_dirty_bitmaps - those of an image
 * @name: of the device, for log lines.
 * @alloc: with all that it names.
 * @first: of those that are kept true; NULL: there are none.
 * @last: where the next one is linked.
 * @bytes: of memory for their bits.
 * @others: consistent ones that are disabled.
 * @in_use: those in the list say so on disk. Under the lock of who calls qcow2_bitmaps_begin().
 */
struct qcow2_dirty_bitmaps {
	const char *name;
	struct qcow2_alloc *alloc;
	struct qcow2_dirty_bitmap *first;
	struct qcow2_dirty_bitmap **last;
	u64 bytes;
	u32 others;
	bool in_use;
};

/**
 * qcow2_bitmaps_load() - read those of an image that will be written
 * @name: of the device.
 * @alloc: ready; its overlap learns where the bitmaps lie.
 * @why: (out) a sentence, constant, on error. Details go to the log.
 *
 * All memory that is ever needed is allocated here. Writes nothing. Context: may sleep.
 * Return: 0; -EEXIST something else lies there; or another errno. Needs
 * qcow2_bitmaps_free() in any case.
 */
int qcow2_bitmaps_load(struct qcow2_dirty_bitmaps *b, const char *name,
		       struct qcow2_alloc *alloc, const char **why);

/** qcow2_bitmaps_free() - all zeros are fine. Context: may sleep. */
void qcow2_bitmaps_free(struct qcow2_dirty_bitmaps *b);

/**
 * qcow2_bitmaps_begin() - before the first change of the image
 * Context: may sleep. Return: 0: what is kept true says IN_USE on disk, durably; or an errno.
 */
int qcow2_bitmaps_begin(struct qcow2_dirty_bitmaps *b);

void qcow2_bitmaps_set(struct qcow2_dirty_bitmaps *b, u64 off, u64 len);

/**
 * qcow2_bitmaps_mark() - these guest bytes are going to change
 * @off: guest offset, bytes.  @len: bytes, at least 1, within the disk.
 * A bit too many does no harm. Context: any.
 */
static inline void qcow2_bitmaps_mark(struct qcow2_dirty_bitmaps *b, u64 off, u64 len)
{
	if (b->first)
		qcow2_bitmaps_set(b, off, len);
}

/**
 * qcow2_bitmaps_may_resize() - can the bitmaps go with another size of the disk?
 * @size: bytes.  @why: (out) a sentence, constant, if not.
 * Nothing changes yet. Context: any. Return: 0, -EOPNOTSUPP.
 *
 * They can as long as no table needs more or fewer entries: one of 8 bytes is there for each
 * cluster_size * 8 << granularity_bits bytes of the disk, 32 GiB in an image as qemu-img
 * makes them. More would need, in qcow2_bitmaps_resize(), larger @bits and @changed; at
 * detach, a larger table in a new place if its clusters are full, and the entry's offset,
 * size and flags in an order in which no crash leaves a size that the place is too small for.
 */
int qcow2_bitmaps_may_resize(const struct qcow2_dirty_bitmaps *b, u64 size, const char **why);

/**
 * qcow2_bitmaps_resize() - the disk has another size, which qcow2_bitmaps_may_resize() allowed
 * Bits for what is new are clear: writes to it set them. Without requests, and after
 * qcow2_bitmaps_begin(). Context: any.
 */
void qcow2_bitmaps_resize(struct qcow2_dirty_bitmaps *b, u64 size);

/**
 * qcow2_bitmaps_store() - write them, at detach
 * No requests any more. Bitmaps that cannot be written stay IN_USE, and a line in the log
 * names each. Context: may sleep. Return: 0 or the first error.
 */
int qcow2_bitmaps_store(struct qcow2_dirty_bitmaps *b);

#endif /* _QCOW2_BITMAP_H */
