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
 *	4	clusters are freed that belong to no entry of a table that has shrunk
 *
 * So after a crash a bitmap says IN_USE, and then nobody trusts it, or it is true; and its table
 * is well-formed, and names no cluster that is free. But for another size of the disk bits are
 * set only, never cleared: an entry that has a cluster keeps it, also for nothing but ones, so
 * that nothing else needs to be freed.
 *
 * Bitmaps that are disabled or IN_USE are left alone. So are all of an image without the
 * autoclear bit: somebody wrote to it who knows none. But for another size of the disk a disabled
 * one needs another table: from there on it is in memory like the others, and no request sets
 * its bits.
 */
#ifndef _QCOW2_BITMAP_H
#define _QCOW2_BITMAP_H

#include "alloc.h"

/**
 * struct qcow2_dirty_bitmap - a bitmap that is kept true
 * @next: in the list.
 * @name: for log lines.
 * @entry_off: where its directory entry is, bytes.
 * @flags: of that, without IN_USE. Without AUTO it is disabled.
 * @granularity_bits: log2 of the bytes that a bit stands for.
 * @nr_bits: for the disk as it is.
 * @nr: entries of the table for these.
 * @room: entries that the clusters of the table have room for.
 * @table: the bitmap table, which is that of the largest disk there was.
 * @bits: as on disk: the first bit of a byte is its least significant one. A cluster for each
 *	entry of @table. Bits are set by anybody, atomically.
 * @changed: bit n: the nth cluster of @bits is not what is on disk. Likewise.
 * @larger: @table, @bits and @changed of a larger disk, for qcow2_bitmaps_resize(); or NULL.
 * @err, @table_err: (at detach) why its bits, and why its table, cannot be stored; or 0.
 */
struct qcow2_dirty_bitmap {
	struct qcow2_dirty_bitmap *next;
	char *name;
	u64 entry_off;
	u32 flags;
	u32 granularity_bits;
	u64 nr_bits;
	u32 nr;
	u32 room;
	struct qcow2_table table;
	void *bits;
	unsigned long *changed;
	struct qcow2_dirty_bitmap *larger;
	int err;
	int table_err;
};

/**
 * struct qcow2_dirty_bitmaps - those of an image
 * @name: of the device, for log lines.
 * @alloc: with all that it names.
 * @first: of those that are kept true; NULL: there are none.
 * @last: where the next one is linked.
 * @bytes: of memory for their bits.
 * @disabled: those of which the next size would be another; on disk they are what they were.
 * @others: consistent ones that are disabled, and in no list.
 * @in_use: those in the list say so on disk. Under the lock of who calls qcow2_bitmaps_begin().
 */
struct qcow2_dirty_bitmaps {
	const char *name;
	struct qcow2_alloc *alloc;
	struct qcow2_dirty_bitmap *first;
	struct qcow2_dirty_bitmap **last;
	struct qcow2_dirty_bitmap *disabled;
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
 * qcow2_bitmaps_prepare_resize() - get ready for another size of the disk
 * @size: bytes.  @why: (out) a sentence, constant, on error.
 * No bit changes yet, and it may come to nothing. One at a time. Context: may sleep.
 * Disabled bitmaps are read. Return: 0; -ENOMEM; -EOPNOTSUPP a table does not fit into its
 * clusters any more; or an errno of the file.
 */
int qcow2_bitmaps_prepare_resize(struct qcow2_dirty_bitmaps *b, u64 size, const char **why);

/**
 * qcow2_bitmaps_begin_resize() - before the image gets the size that was prepared for
 * After qcow2_bitmaps_begin(). Without requests. Context: may sleep.
 * Return: 0: disabled bitmaps say IN_USE on disk as well, durably; or an errno.
 */
int qcow2_bitmaps_begin_resize(struct qcow2_dirty_bitmaps *b);

/**
 * qcow2_bitmaps_resize() - the disk has the size that was prepared for
 * Bits for what is new are clear: writes to it set them. Without requests, and after
 * qcow2_bitmaps_begin_resize(): what is on disk has the old size, which is fine as long as it says
 * IN_USE. Context: may sleep.
 */
void qcow2_bitmaps_resize(struct qcow2_dirty_bitmaps *b, u64 size);

/**
 * qcow2_bitmaps_store() - write them, at detach
 * No requests any more. Bitmaps that cannot be written stay IN_USE, and a line in the log
 * names each. Context: may sleep. Return: 0 or the first error.
 */
int qcow2_bitmaps_store(struct qcow2_dirty_bitmaps *b);

#endif /* _QCOW2_BITMAP_H */
