/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Free space of one qcow2 image: a pool of clusters to take, and the way of a freed
 * cluster until it can be taken again.
 *
 * The pool holds runs of clusters whose refcounts are 1 already. Taking some is a matter
 * of a spinlock; a worker fills the pool again, from clusters with refcount 0 or by
 * growing the file, which reserves space before anything uses it: a full disk shows
 * here, and not when metadata is written. What is left in the pool is given back at
 * detach, and leaks in a crash.
 *
 * The reuse rule: a freed cluster can be taken again when the commit that removed its
 * last entry is durable AND every request that was looking up or using a mapping when
 * that commit began has ended. For requests that is the *generation*: a read-side
 * section of SRCU from before the lookup until the file I/O is done. Only then is the
 * refcount dropped, in memory too, and the space punched out; so a refcount of 0 means
 * that it is free, now.
 *
 * A cluster is thus reserved for its old content as long as a read or an in-place write
 * that was mapped to it can be under way, and as long as the entry on disk may be found
 * after a crash.
 */
#ifndef _QCOW2_ALLOC_H
#define _QCOW2_ALLOC_H

#include <linux/mempool.h>
#include <linux/srcu.h>

#include "compat.h"
#include "refcount.h"

/* Clusters that one operation may free. */
#define QCOW2_MAX_FREES		120U

/* Bytes that a file grows by at least. */
#define QCOW2_MIN_GROWTH	(1024ULL << 10)

/* Runs that the pool can hold. */
#define QCOW2_POOL_RUNS		64

/**
 * struct qcow2_run - clusters side by side
 * @start: the first.
 * @nr: how many.
 * @zero: they read as zeros.
 * @number: with @zero: of the commit after which they are known to do so after a crash
 *	too, with durable refcounts; U64_MAX: never.
 */
struct qcow2_run {
	u64 start;
	u32 nr;
	bool zero;
	u64 number;
};

/**
 * struct qcow2_free_batch - what one operation has freed
 * @list: in one of the allocator's lists.
 * @rcu: waits for the generation.
 * @alloc: whose clusters these are.
 * @clusters: how many, summed up.
 * @nr: ranges.
 * @ranges: first cluster, and how many; each loses one reference.
 */
struct qcow2_free_batch {
	struct list_head list;
	struct rcu_head rcu;
	struct qcow2_alloc *alloc;
	u32 clusters;
	u32 nr;
	struct {
		u64 start;
		u64 nr;
	} ranges[2 * QCOW2_MAX_FREES];
};

/**
 * struct qcow2_alloc_waiter - who waits for space
 * @list: in the allocator's.
 * @space: for clusters; else for a commit, to free memory or to bound what may leak.
 * @resume: called once, from any task: @err 0: try again; else there is none to be had.
 */
struct qcow2_alloc_waiter {
	struct list_head list;
	bool space;
	void (*resume)(struct qcow2_alloc_waiter *w, int err);
};

/**
 * struct qcow2_alloc_ops - whom the allocator tells; from its workers, may sleep
 * @full: the file cannot grow.
 * @corrupt: refcounts are wrong; @why is a sentence about @cluster.
 */
struct qcow2_alloc_ops {
	void (*full)(struct qcow2_alloc *a);
	void (*corrupt)(struct qcow2_alloc *a, u64 cluster, const char *why);
};

/**
 * struct qcow2_alloc - the free space of an image
 * @refs, @commit, @overlap, @file, @h, @ops: constant.
 * @punch: give the space of freed clusters back.
 * @pool_target: clusters that the pool is filled to.
 * @limit: clusters that a crash may leak on top of the pool, at most.
 * @gen: the generation: @own_gen, or that of the layer whose requests read this one, too.
 * @batches: memory for struct qcow2_free_batch.
 *
 * Under @refs->lock, in the workers:
 * @next: no cluster below is free and not known.
 * @end: clusters in the file, or on the device.
 * @fresh: from here on clusters were never used since the file has grown.
 * @floor: @end at attach.
 *
 * @lock: protects all below; taken by completions of I/O, with interrupts off.
 * @runs: the pool, oldest first.  @nr_runs: of them.  @pool: clusters in them.
 * @taken: clusters that were taken and whose entries are not durable.
 * @published: those of @taken that have entries.  @committing: that a commit writes.
 * @freed: clusters in batches, or dropped but not durably so.
 * @dropped: those of @freed whose refcounts were dropped.  @dropping: that a commit writes.
 * @open: batches that the next commit takes along.  @removing: that one does.
 * @drained: that nobody uses any more.
 * @waiting: struct qcow2_alloc_waiter.
 * @total: clusters taken since attach.
 * @finishing: the pool stays empty.
 * @wq: for @refill and @release.
 */
struct qcow2_alloc {
	struct qcow2_refcounts *refs;
	struct qcow2_commit *commit;
	struct qcow2_overlap *overlap;
	struct qcow2_file *file;
	const struct qcow2_header *h;
	const struct qcow2_alloc_ops *ops;
	bool punch;
	u32 pool_target;
	u32 limit;
	struct srcu_struct own_gen;
	struct srcu_struct *gen;
	mempool_t *batches;

	u64 next;
	u64 end;
	u64 fresh;
	u64 floor;

	spinlock_t lock;	/* see above */
	struct qcow2_run runs[QCOW2_POOL_RUNS];
	u32 nr_runs;
	u32 pool;
	u32 taken;
	u32 published;
	u32 committing;
	u32 freed;
	u32 dropped;
	u32 dropping;
	struct list_head open;
	struct list_head removing;
	struct list_head drained;
	struct list_head waiting;
	u64 total;
	bool finishing;

	struct workqueue_struct *wq;
	struct work_struct refill;
	struct work_struct release;
};

/**
 * qcow2_alloc_init() - an empty pool
 * @refs: open; must outlive the allocator, as must all that it names.
 * @punch: see struct qcow2_alloc.
 * @gen: the generation to wait for, which must outlive the allocator; NULL: one of its own.
 * Context: may sleep. Return: 0, -ENOMEM.
 */
int qcow2_alloc_init(struct qcow2_alloc *a, const char *name, struct qcow2_refcounts *refs,
		     bool punch, struct srcu_struct *gen, const struct qcow2_alloc_ops *ops);

/**
 * qcow2_alloc_may_shrink() - what is free at the file's end may be cut off
 * Also what was there when it was opened. Context: may sleep.
 */
void qcow2_alloc_may_shrink(struct qcow2_alloc *a);

/**
 * qcow2_alloc_finish() - give back what is in the pool and what the file grew too far
 * Nothing may be written any more. Commits. Context: may sleep. Return: 0 or -EIO.
 */
int qcow2_alloc_finish(struct qcow2_alloc *a);

/**
 * qcow2_alloc_settle() - commit, until nothing that was freed is on its way
 * Nothing may be written meanwhile. Context: may sleep. Return: 0 or -EIO.
 */
int qcow2_alloc_settle(struct qcow2_alloc *a);

/**
 * qcow2_alloc_find() - free clusters, or a larger file (find.c)
 * @want: how many; @run->nr are had, at least 1, with refcounts of 1, in memory.
 * Context: may sleep, under @a->refs->lock. Return: 0; -ENOSPC, -EDQUOT, -EFBIG there are
 * none; or another errno.
 */
int qcow2_alloc_find(struct qcow2_alloc *a, u32 want, struct qcow2_run *run);

/**
 * qcow2_alloc_extend() - let the file grow by @nr clusters or more
 * Context: may sleep, under @a->refs->lock. Return: 0, -ENOSPC, or another errno.
 */
int qcow2_alloc_extend(struct qcow2_alloc *a, u64 nr);

/**
 * qcow2_alloc_used_up_to() - clusters below @cluster may have been written
 * For who takes clusters by himself. Context: under @a->refs->lock.
 */
void qcow2_alloc_used_up_to(struct qcow2_alloc *a, u64 cluster);

/**
 * qcow2_alloc_released() - these clusters were released: their refcounts are 0, durably
 * Gives their space back. Context: may sleep, under @a->refs->lock.
 */
void qcow2_alloc_released(struct qcow2_alloc *a, u64 start, u64 nr);

/** qcow2_alloc_quiesce() - wait for the workers; nothing gives them work now. May sleep. */
void qcow2_alloc_quiesce(struct qcow2_alloc *a);

/** qcow2_alloc_exit() - after the last commit. Context: may sleep. */
void qcow2_alloc_exit(struct qcow2_alloc *a);

/**
 * qcow2_alloc_take() - clusters for new data or a new table
 * @want: how many; @run->nr are had, at least 1, side by side.
 * @run: (out) with refcounts of 1.
 * Context: any. Return: 0; -EAGAIN none now, -EBUSY not before a commit: see
 * qcow2_alloc_park(); -EIO writing has stopped.
 */
int qcow2_alloc_take(struct qcow2_alloc *a, u32 want, struct qcow2_run *run);

/** qcow2_alloc_virgin() - is the space of a run known to read as zeros after a crash? */
bool qcow2_alloc_virgin(const struct qcow2_alloc *a, const struct qcow2_run *run);

/**
 * qcow2_alloc_give_back() - of what was taken nothing was published
 * @written: something of it may have been written.
 * Context: any.
 */
void qcow2_alloc_give_back(struct qcow2_alloc *a, const struct qcow2_run *run, bool written);

/** qcow2_alloc_published() - entries for @nr clusters were published. Context: any. */
void qcow2_alloc_published(struct qcow2_alloc *a, u32 nr);

/**
 * qcow2_alloc_park() - wait for space, or for a commit
 * @w: its @resume and @space are set. It may be resumed before this returns. Context: any.
 */
void qcow2_alloc_park(struct qcow2_alloc *a, struct qcow2_alloc_waiter *w);

/**
 * qcow2_alloc_wait() - the same, for a task of its own
 * @err: what was returned: -EAGAIN or -EBUSY; anything else is not waited for.
 * Context: may sleep; not in a worker that commits or allocates. Return: 0: try again; @err, or
 * what ended the wait.
 */
int qcow2_alloc_wait(struct qcow2_alloc *a, int err);

/**
 * qcow2_alloc_batch() - memory to free clusters with
 * Taken before an entry is removed, so that nothing can fail afterwards.
 * Context: any. Return: NULL: not before a commit: see qcow2_alloc_park().
 */
struct qcow2_free_batch *qcow2_alloc_batch(struct qcow2_alloc *a);

/** qcow2_alloc_max_frees() - clusters that one operation may free. Context: any. */
static inline u32 qcow2_alloc_max_frees(const struct qcow2_alloc *a)
{
	return clamp(a->limit / 4, 1U, QCOW2_MAX_FREES);
}

/** qcow2_alloc_batch_add() - one more reference, of each of @nr clusters, to be dropped */
void qcow2_alloc_batch_add(struct qcow2_free_batch *b, u64 start, u64 nr);

/** qcow2_alloc_batch_drop() - nothing is freed after all; NULL is fine. Context: any. */
void qcow2_alloc_batch_drop(struct qcow2_alloc *a, struct qcow2_free_batch *b);

/**
 * qcow2_alloc_free() - the entries were removed, in memory: drop these references
 * @b: given up; NULL and an empty one are fine. Context: any.
 */
void qcow2_alloc_free(struct qcow2_alloc *a, struct qcow2_free_batch *b);

/** qcow2_alloc_begin(), qcow2_alloc_durable() - from the commit: see qcow2_commit_ops */
void qcow2_alloc_begin(struct qcow2_alloc *a);
void qcow2_alloc_durable(struct qcow2_alloc *a);

/** qcow2_alloc_stopped() - writing has stopped: nobody waits any longer. Context: process. */
void qcow2_alloc_stopped(struct qcow2_alloc *a);

#endif /* _QCOW2_ALLOC_H */
