/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The one place that orders metadata writes and flushes.
 *
 * A commit makes durable all that was completed before it began. Rounds of:
 *
 *	freeze	take the dirty sectors of L2 slices and the L1 table, as they are now;
 *		what changes later belongs to the next commit
 *	1	write refcounts; fsync. Data, file size and refcounts of what is frozen
 *		are durable then: an entry is published in memory only after its data was
 *		written and its refcount raised, and refcounts are frozen last
 *	2	write what is frozen; fsync
 *
 * and only when all rounds are done:
 *
 *	3	clusters whose last entry was removed before the first freeze may be
 *		released (alloc.c waits for requests that still use them, then drops
 *		their refcounts, in memory; a later commit writes that)
 *
 * Refcounts may be written at any time: those in memory are never below what the
 * entries on disk need. So a crash leaks clusters at worst.
 *
 * Where data lie in a file of their own, that is synced first, in round 1; or once, where
 * nothing is ordered. No entry that points there is unordered: two files have no common
 * order.
 *
 * One fsync, with entries and refcounts written before it, is enough for a round
 * without *ordered* changes: an entry that points from a hole, which reads zero through
 * the whole chain, to space of a regular file that was never written since it was
 * reserved by a growth whose fsync returned, with a refcount that is durable. Whichever
 * of its writes are lost, the cluster reads as zeros or as data that was written. Not so where it
 * is decrypted: there all entries are ordered.
 *
 * A failed fsync or metadata write is final: nothing is written any more, waiting and
 * later flushes fail. What is on disk then is what some commit left, plus a part of one.
 */
#ifndef _QCOW2_COMMIT_H
#define _QCOW2_COMMIT_H

#include <linux/workqueue.h>

#include "cache.h"
#include "table.h"

struct qcow2_commit;

/**
 * struct qcow2_commit_waiter - who waits for a commit
 * @list: in the commit's.
 * @done: called once, from the commit's worker, @err 0 or -EIO; may free the waiter.
 */
struct qcow2_commit_waiter {
	struct list_head list;
	void (*done)(struct qcow2_commit_waiter *w, int err);
};

/**
 * struct qcow2_commit_ops - whom a commit tells; from its worker, may sleep
 * @begin: a commit begins: what was removed before now is removed by it.
 * @durable: that commit is durable.
 * @stopped: writing has stopped, with @err; once, any process context.
 */
struct qcow2_commit_ops {
	void (*begin)(struct qcow2_commit *c);
	void (*durable)(struct qcow2_commit *c);
	void (*stopped)(struct qcow2_commit *c, int err);
};

/**
 * struct qcow2_commit - the durability of one writable image file
 * @file: the file.
 * @data: where data lie: @file, or the external data file.
 * @l1: the L1 table; NULL for a raw file, as are the caches.
 * @l2: slices of L2 tables.
 * @refs: slices of refcount blocks.
 * @ops: see there.
 * @wq: of its own: commits wait for no request, and requests for commits.
 * @work: a commit.
 * @timer: begins one a few seconds after a change.
 * @lock: protects @waiting.
 * @waiting: for a commit that begins later than they came.
 * @stopped: 0, or why writing has stopped: a negative errno, for good.
 * @begun: number of the last commit that has begun.
 * @done: number of the last one that is durable. Space that was reserved when @begun
 *	was n is durable when @done is above n.
 * @commits: that wrote metadata.  @fast: of these, with one fsync.  @nsec: what they took.
 * @buffer: for frozen sectors.
 * @frozen: whose they are.
 * @header_lock: protects @header. Held across file I/O.
 * @header: the header's sector, as on disk.
 */
struct qcow2_commit {
	struct qcow2_file *file;
	struct qcow2_file *data;
	struct qcow2_table *l1;
	struct qcow2_cache *l2;
	struct qcow2_cache *refs;
	const struct qcow2_commit_ops *ops;
	struct workqueue_struct *wq;
	struct work_struct work;
	struct delayed_work timer;
	spinlock_t lock;	/* see above */
	struct list_head waiting;
	int stopped;
	u64 begun;
	u64 done;
	u64 commits;
	u64 fast;
	u64 nsec;
	void *buffer;
	struct qcow2_frozen *frozen;
	struct mutex header_lock;	/* see above */
	u8 header[SECTOR_SIZE];
};

/**
 * qcow2_commit_init() - make it ready
 * @name: of the device, for its worker.
 * Context: may sleep. Return: 0, -ENOMEM.
 */
int qcow2_commit_init(struct qcow2_commit *c, const char *name, struct qcow2_file *file,
		      struct qcow2_file *data, struct qcow2_table *l1, struct qcow2_cache *l2,
		      struct qcow2_cache *refs, const struct qcow2_commit_ops *ops);

/** qcow2_commit_exit() - nobody may wait or make changes. Context: may sleep. */
void qcow2_commit_exit(struct qcow2_commit *c);

/** qcow2_commit_add() - wait for a commit, and begin one. Context: any. */
void qcow2_commit_add(struct qcow2_commit *c, struct qcow2_commit_waiter *w);

/** qcow2_commit_wait() - commit now. Context: may sleep, not in the commit's worker. */
int qcow2_commit_wait(struct qcow2_commit *c);

/** qcow2_commit_idle() - wait for the commit that has begun, if one has. Context: may sleep. */
void qcow2_commit_idle(struct qcow2_commit *c);

/** qcow2_commit_kick() - begin a commit soon, for nobody in particular. Context: any. */
void qcow2_commit_kick(struct qcow2_commit *c);

/** qcow2_commit_changed() - something changed: begin a commit in a few seconds. Context: any. */
void qcow2_commit_changed(struct qcow2_commit *c);

/**
 * qcow2_commit_write() - write something that nothing refers to yet
 * Context: may sleep. Return: as qcow2_file_write(); -EIO when writing has stopped.
 */
int qcow2_commit_write(struct qcow2_commit *c, const void *buf, u64 off, u32 len);

/**
 * qcow2_commit_sync() - make durable what was written before
 * Of what is dirty in memory it knows nothing. Context: may sleep. Return: 0 or -EIO; then
 * writing has stopped.
 */
int qcow2_commit_sync(struct qcow2_commit *c);

/**
 * qcow2_commit_publish() - write something that makes older writes reachable
 * @buf: kernel memory.  @off: host offset, bytes.  @len: bytes, within one sector.
 *
 * For a refcount block's entry in its table, and for the header: all that was written
 * before is made durable first, then this is. Context: may sleep. Return: 0 or -EIO;
 * then writing has stopped.
 */
int qcow2_commit_publish(struct qcow2_commit *c, const void *buf, u64 off, u32 len);

/**
 * qcow2_commit_header() - change the image's header
 * @at: first byte.  @buf: the new bytes.  @len: how many.
 *
 * All roots of the image are in one sector, so such a change is all or nothing. All that was
 * written before is made durable first. Context: may sleep. Return: as
 * qcow2_commit_publish().
 */
int qcow2_commit_header(struct qcow2_commit *c, u32 at, const void *buf, u32 len);

/** qcow2_commit_stop() - stop writing for good. @err: why. Context: process. */
void qcow2_commit_stop(struct qcow2_commit *c, int err);

/** qcow2_commit_stopped() - 0, or -EIO when writing has stopped. Context: any. */
static inline int qcow2_commit_stopped(const struct qcow2_commit *c)
{
	return READ_ONCE(c->stopped) ? -EIO : 0;
}

#endif /* _QCOW2_COMMIT_H */
