/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Merging: what an overlay has goes into its backing file, while both are in use.
 *
 * Where the overlay has something, of its own or zeros, nobody sees what the base holds. So
 * that can be written first, and the overlay's entries be dropped then. In batches:
 *
 *	fence	nobody begins to change these guest subclusters of the overlay (claim.h); who did
 *		has ended
 *	copy	what the overlay has there is written to the base, as to the top of a device
 *	flush	the base is made durable
 *	drop	the overlay's entries go; their clusters are freed by the rules of alloc.h
 *
 * The base is durable before an entry is gone in memory, the more on disk. So whatever of it
 * a crash leaves reads the same; and who merges again goes on with what is left. Reads never
 * wait; writes to a batch do, for the time that it takes.
 */
#ifndef _QCOW2_MERGE_H
#define _QCOW2_MERGE_H

#include "io.h"

struct qcow2_merge;

/**
 * struct qcow2_merge_progress - how far it is
 * @state: RUNNING, or how it has ended.
 * @err: FAILED: a negative errno.
 * @done: guest bytes that were looked at, of
 * @total: the disk's.
 * @copied: bytes that were written to the base.
 * @zeroed: bytes that were made zero there.
 * @left: of both, those that the last pass has found: the disk is being written.
 */
struct qcow2_merge_progress {
	enum qcow2blk_commit_state state;
	int err;
	u64 done;
	u64 total;
	u64 copied;
	u64 zeroed;
	u64 left;
};

/**
 * qcow2_merge_create() - prepare to merge
 * @target: of the device; its top is writable, qcow2, without snapshots.
 * @base: the chain below, writable, with all that writes need but @base->done and ->failed. Both
 *	outlive the merge.
 * @ended: called once, in the merge's worker, when nothing writes to @base any more; calls
 *	qcow2_merge_ended().
 * @owner: theirs.
 * Context: may sleep. Return: or ERR_PTR(-ENOMEM).
 */
struct qcow2_merge *qcow2_merge_create(struct qcow2_io_target *target,
				       struct qcow2_io_target *base,
				       void (*ended)(void *owner, int err), void *owner);

/** qcow2_merge_start() - begin, in a worker. Context: may sleep. */
void qcow2_merge_start(struct qcow2_merge *m);

/** qcow2_merge_stop() - end after the batch that is under way. Context: any. */
void qcow2_merge_stop(struct qcow2_merge *m);

/** qcow2_merge_ended() - tell who asks; @err: 0, or why not all is merged. Context: process. */
void qcow2_merge_ended(struct qcow2_merge *m, int err);

/** qcow2_merge_get_progress() - (out) @p. Context: process. */
void qcow2_merge_get_progress(struct qcow2_merge *m, struct qcow2_merge_progress *p);

/** qcow2_merge_destroy() - wait for the end, and forget it; NULL is fine. Context: may sleep. */
void qcow2_merge_destroy(struct qcow2_merge *m);

#endif /* _QCOW2_MERGE_H */
