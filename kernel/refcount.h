/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The refcounts of one qcow2 image: the refcount table, in memory whole, and its
 * blocks, through a slice cache of their own.
 *
 * Refcounts in memory are never below what entries on disk and in memory need; see
 * commit.h for when they are written. Only alloc.c raises and drops them, in its
 * worker, one task at a time: @lock.
 *
 * A new block describes itself, and becomes reachable by one sector of the table when it
 * is durable. A new table becomes reachable, with blocks that describe it, by the one
 * sector of the header that names it.
 */
#ifndef _QCOW2_REFCOUNT_H
#define _QCOW2_REFCOUNT_H

#include <linux/mutex.h>
#include <qcow2_format.h>

#include "commit.h"
#include "overlap.h"

/**
 * struct qcow2_refcounts - the refcounts of an image
 * @h: the header; this room changes where it says the table is.
 * @file: the image file.
 * @commit: what makes changes durable.
 * @overlap: where metadata lie; new blocks and tables are added.
 * @lock: taken by all that looks at refcounts or changes them. Held across file I/O.
 * @table: the refcount table.
 * @block_bits: log2 of the refcounts in a block.
 * @cache: slices of blocks.
 * @buffer: a cluster, for new blocks.
 */
struct qcow2_refcounts {
	struct qcow2_header *h;
	struct qcow2_file *file;
	struct qcow2_commit *commit;
	struct qcow2_overlap *overlap;
	struct mutex lock;	/* see above */
	struct qcow2_table table;
	unsigned int block_bits;
	struct qcow2_cache cache;
	void *buffer;
};

/**
 * qcow2_refcounts_open() - read the table
 * @cache_bytes: room for slices of blocks.
 * @why: (out) a sentence, constant, on error.
 * Context: may sleep. Return: 0 or an errno.
 */
int qcow2_refcounts_open(struct qcow2_refcounts *r, struct qcow2_header *h,
			 struct qcow2_file *file, struct qcow2_commit *commit,
			 struct qcow2_overlap *overlap, u64 cache_bytes, const char **why);

/** qcow2_refcounts_close() - Context: may sleep. */
void qcow2_refcounts_close(struct qcow2_refcounts *r);

/**
 * qcow2_refcount_read() - the refcount of a cluster
 * Context: may sleep, under @r->lock. Return: 0 or an errno.
 */
int qcow2_refcount_read(struct qcow2_refcounts *r, u64 cluster, u64 *refcount);

/**
 * qcow2_refcount_find_free() - clusters that nobody uses
 * @from: first cluster to look at.  @to: the one behind the last.
 * @max: no more than this many.
 * @slices: (in, out) how many slices of blocks to look at, at most; what is left.
 * @start: (out) the first free one, or where the search ended.
 * @nr: (out) how many, side by side; 0: none found.
 *
 * Where there is no refcount block, all is free.
 * Context: may sleep, under @r->lock. Return: 0 or the error of a block.
 */
int qcow2_refcount_find_free(struct qcow2_refcounts *r, u64 from, u64 to, u32 max,
			     unsigned int *slices, u64 *start, u32 *nr);

/** qcow2_refcount_has_blocks() - are there blocks for the refcounts of all these clusters? */
bool qcow2_refcount_has_blocks(const struct qcow2_refcounts *r, u64 start, u64 nr);

/**
 * qcow2_refcount_add_blocks() - make blocks for a range that has none
 * @from: first cluster; free, and in the file, as is all up to @to.
 * @to: behind the last one.
 * @limit: behind the last cluster of the file.
 * @limit_needed: (out) with -ENOSPC: what @limit must be for a larger table; else 0.
 *
 * Blocks, and a new table, lie at the start of what they describe: they show in the
 * refcounts.
 * Grows the table where it must. Several blocks cost no more fsyncs than one.
 * Context: may sleep, under @r->lock. Return: 0; -EFBIG the table cannot be larger;
 * -ENOSPC see @limit_needed; -EUCLEAN metadata lie there; or another errno.
 */
int qcow2_refcount_add_blocks(struct qcow2_refcounts *r, u64 from, u64 to, u64 limit,
			      u64 *limit_needed);

/**
 * qcow2_refcount_change() - add to the refcounts of clusters
 * @start: the first.  @nr: how many.  @delta: 1 or -1.
 * Context: may sleep, under @r->lock.
 * Return: 0; -ERANGE a refcount would leave its range, nothing from that one on is
 * changed; or the error of a block.
 */
int qcow2_refcount_change(struct qcow2_refcounts *r, u64 start, u64 nr, int delta);

#endif /* _QCOW2_REFCOUNT_H */
