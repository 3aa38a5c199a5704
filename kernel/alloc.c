// SPDX-License-Identifier: GPL-2.0
/* Free space. See alloc.h for the contract. */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "alloc.h"
#include "mutant.h"
#include "trace.h"

/* What a crash may leak: the pool, and LEAK_BYTES. Together less than 64 MiB. */
#define POOL_BYTES	(16ULL << 20)
#define LEAK_BYTES	(32ULL << 20)
#define MIN_POOL	4U

#define NEVER		U64_MAX

static void refill_work(struct work_struct *work);
static void release_work(struct work_struct *work);

/* Clusters for the pool: an eighth of the file. What a crash may leak, too. */
static u32 wanted_pool(const struct qcow2_alloc *a)
{
	unsigned int bits = a->h->cluster_bits;
	u64 bytes = clamp((a->end << bits) / 8, QCOW2_MIN_GROWTH, POOL_BYTES);

	return max_t(u32, MIN_POOL, bytes >> bits);
}

int qcow2_alloc_init(struct qcow2_alloc *a, const char *name, struct qcow2_refcounts *refs,
		     bool punch, struct srcu_struct *gen, const struct qcow2_alloc_ops *ops)
{
	const struct qcow2_header *h = refs->h;
	u64 size = qcow2_file_size(refs->file);
	bool regular = qcow2_file_regular(refs->file);

	memset(a, 0, sizeof(*a));
	a->refs = refs;
	a->commit = refs->commit;
	a->overlap = refs->overlap;
	a->file = refs->file;
	a->h = h;
	a->ops = ops;
	a->punch = punch;
	/* A device's last, partial cluster is of no use; a file can grow. */
	a->end = (size + (regular ? h->cluster_size - 1 : 0)) >> h->cluster_bits;
	a->fresh = regular ? a->end : NEVER;
	a->floor = a->end;
	a->pool_target = wanted_pool(a);
	a->limit = LEAK_BYTES >> h->cluster_bits;
	spin_lock_init(&a->lock);
	INIT_LIST_HEAD(&a->open);
	INIT_LIST_HEAD(&a->removing);
	INIT_LIST_HEAD(&a->drained);
	INIT_LIST_HEAD(&a->waiting);
	INIT_WORK(&a->refill, refill_work);
	INIT_WORK(&a->release, release_work);
	a->batches = mempool_create_kmalloc_pool(4, sizeof(struct qcow2_free_batch));
	if (!a->batches)
		return -ENOMEM;
	a->wq = alloc_workqueue("%s-alloc", WQ_UNBOUND | WQ_MEM_RECLAIM, 0, name);
	a->gen = gen ?: &a->own_gen;
	if (a->wq && (gen || !init_srcu_struct(&a->own_gen)))
		return 0;
	if (a->wq)
		destroy_workqueue(a->wq);
	mempool_destroy(a->batches);
	a->wq = NULL;
	return -ENOMEM;
}

static void free_list_of_batches(struct qcow2_alloc *a, struct list_head *list)
{
	struct qcow2_free_batch *b, *next;

	list_for_each_entry_safe(b, next, list, list)
		mempool_free(b, a->batches);
}

void qcow2_alloc_quiesce(struct qcow2_alloc *a)
{
	if (!a->wq)
		return;
	srcu_barrier(a->gen);
	drain_workqueue(a->wq);
}

void qcow2_alloc_exit(struct qcow2_alloc *a)
{
	if (!a->wq)
		return;
	destroy_workqueue(a->wq);
	if (a->gen == &a->own_gen)
		cleanup_srcu_struct(a->gen);
	/* Where writing has stopped: they leak. */
	free_list_of_batches(a, &a->open);
	free_list_of_batches(a, &a->removing);
	free_list_of_batches(a, &a->drained);
	mempool_destroy(a->batches);
	a->wq = NULL;
}

/* --- taking --------------------------------------------------------------------------- */

/* A crash now would leak too much: a commit first. */
static bool throttled(const struct qcow2_alloc *a)
{
	lockdep_assert_held(&a->lock);
	return a->taken + a->freed >= a->limit;
}

/* The oldest run that is long enough, or the longest. */
static struct qcow2_run *best_run(struct qcow2_alloc *a, u32 want)
{
	struct qcow2_run *best = a->runs;
	u32 i;

	for (i = 0; i < a->nr_runs; i++) {
		if (a->runs[i].nr >= want)
			return &a->runs[i];
		if (a->runs[i].nr > best->nr)
			best = &a->runs[i];
	}
	return best;
}

static void cut_run(struct qcow2_alloc *a, struct qcow2_run *from, u32 want,
		    struct qcow2_run *run)
{
	*run = *from;
	run->nr = min(want, from->nr);
	from->start += run->nr;
	from->nr -= run->nr;
	if (!from->nr) {
		a->nr_runs--;
		memmove(from, from + 1, (a->runs + a->nr_runs - from) * sizeof(*from));
	}
	a->pool -= run->nr;
	a->taken += run->nr;
	a->total += run->nr;
}

int qcow2_alloc_take(struct qcow2_alloc *a, u32 want, struct qcow2_run *run)
{
	unsigned long flags;
	bool low, commit;
	int err;

	spin_lock_irqsave(&a->lock, flags);
	err = qcow2_commit_stopped(a->commit);
	if (!err && throttled(a))
		err = -EBUSY;
	else if (!err && !a->nr_runs)
		err = -EAGAIN;
	if (!err)
		cut_run(a, best_run(a, want), want, run);
	/* A few long runs, or many short ones, will do. */
	low = a->pool < a->pool_target / 2 && a->nr_runs < QCOW2_POOL_RUNS / 4;
	commit = a->taken + a->freed >= a->limit / 2;
	trace_qcow2_alloc(qcow2_file_inode(a->file)->i_ino, err ? 0 : run->start, err ? 0 : run->nr,
			  a->pool, err);
	spin_unlock_irqrestore(&a->lock, flags);
	if (low)
		queue_work(a->wq, &a->refill);
	if (commit)
		qcow2_commit_kick(a->commit);
	return err;
}

bool qcow2_alloc_virgin(const struct qcow2_alloc *a, const struct qcow2_run *run)
{
	return run->zero && READ_ONCE(a->commit->done) >= run->number;
}

/* Make a run longer by one that adjoins it and is of the same kind. */
static bool merge(struct qcow2_run *to, const struct qcow2_run *run)
{
	if (to->zero != run->zero || to->number != run->number)
		return false;
	if (to->start == run->start + run->nr)
		to->start = run->start;
	else if (to->start + to->nr != run->start)
		return false;
	to->nr += run->nr;
	return true;
}

/* Return: false: no room for another run. */
static bool add_run(struct qcow2_alloc *a, const struct qcow2_run *run)
{
	u32 i;

	lockdep_assert_held(&a->lock);
	for (i = 0; i < a->nr_runs; i++)
		if (merge(&a->runs[i], run))
			break;
	if (i == QCOW2_POOL_RUNS)
		return false;
	if (i == a->nr_runs)
		a->runs[a->nr_runs++] = *run;
	a->pool += run->nr;
	return true;
}

static void drop_run(struct qcow2_alloc *a, const struct qcow2_run *run);

void qcow2_alloc_give_back(struct qcow2_alloc *a, const struct qcow2_run *run, bool written)
{
	struct qcow2_run back = *run;
	unsigned long flags;
	bool fits, waiting;

	if (written) {
		back.zero = false;
		back.number = NEVER;
	}
	spin_lock_irqsave(&a->lock, flags);
	a->taken -= back.nr;
	fits = add_run(a, &back);
	waiting = !list_empty(&a->waiting);
	spin_unlock_irqrestore(&a->lock, flags);
	if (!fits)
		drop_run(a, &back);
	if (waiting)
		queue_work(a->wq, &a->refill);
}

void qcow2_alloc_published(struct qcow2_alloc *a, u32 nr)
{
	unsigned long flags;
	bool waiting;

	spin_lock_irqsave(&a->lock, flags);
	a->published += nr;
	waiting = !list_empty(&a->waiting);
	spin_unlock_irqrestore(&a->lock, flags);
	if (waiting)
		qcow2_commit_kick(a->commit);
}

/* --- waiting --------------------------------------------------------------------------- */

void qcow2_alloc_park(struct qcow2_alloc *a, struct qcow2_alloc_waiter *w)
{
	bool space = w->space;
	unsigned long flags;
	int err;

	spin_lock_irqsave(&a->lock, flags);
	err = qcow2_commit_stopped(a->commit);
	if (!err)
		list_add_tail(&w->list, &a->waiting);
	spin_unlock_irqrestore(&a->lock, flags);
	if (err)
		w->resume(w, err);
	else if (space)
		queue_work(a->wq, &a->refill);
	else
		qcow2_commit_kick(a->commit);
}

/* A task that waits. */
struct sync_waiter {
	struct qcow2_alloc_waiter w;
	struct completion done;
	int err;
};

static void wake_task(struct qcow2_alloc_waiter *w, int err)
{
	struct sync_waiter *s = container_of(w, struct sync_waiter, w);

	s->err = err;
	complete(&s->done);
}

int qcow2_alloc_wait(struct qcow2_alloc *a, int err)
{
	struct sync_waiter s = { .w.resume = wake_task, .w.space = err == -EAGAIN };

	if (err != -EAGAIN && err != -EBUSY)
		return err;
	init_completion(&s.done);
	qcow2_alloc_park(a, &s.w);
	wait_for_completion(&s.done);
	return s.err;
}

/* Those who wait for space, or for a commit, or both kinds. */
enum { FOR_COMMIT = 1, FOR_SPACE = 2 };

static void resume(struct qcow2_alloc *a, unsigned int kinds, int err)
{
	struct qcow2_alloc_waiter *w, *next;
	LIST_HEAD(ready);

	spin_lock_irq(&a->lock);
	list_for_each_entry_safe(w, next, &a->waiting, list)
		if (kinds & (w->space ? FOR_SPACE : FOR_COMMIT))
			list_move_tail(&w->list, &ready);
	spin_unlock_irq(&a->lock);
	list_for_each_entry_safe(w, next, &ready, list)
		w->resume(w, err);
}

void qcow2_alloc_stopped(struct qcow2_alloc *a)
{
	resume(a, FOR_COMMIT | FOR_SPACE, -EIO);
}

/* --- filling the pool -------------------------------------------------------------------- */

static u32 room_in_pool(struct qcow2_alloc *a)
{
	u32 room = 0;

	spin_lock_irq(&a->lock);
	a->pool_target = wanted_pool(a);
	if (!a->finishing && a->nr_runs < QCOW2_POOL_RUNS / 2 && a->pool < a->pool_target)
		room = a->pool_target - a->pool;
	spin_unlock_irq(&a->lock);
	return room;
}

static void add_to_pool(struct qcow2_alloc *a, const struct qcow2_run *run)
{
	bool fits;

	spin_lock_irq(&a->lock);
	fits = add_run(a, run);
	spin_unlock_irq(&a->lock);
	if (!fits)
		drop_run(a, run);
}

/*
 * Who waits for space goes on if it is worth to try, or hears of @err if nothing will
 * become free by itself.
 */
static void settle_waiting(struct qcow2_alloc *a, int err)
{
	bool try, hope;

	spin_lock_irq(&a->lock);
	try = a->nr_runs && !throttled(a);
	hope = !err || err == -ENOMEM || a->nr_runs || a->freed;
	spin_unlock_irq(&a->lock);
	if (try) {
		resume(a, FOR_SPACE, 0);
	} else if (hope) {
		qcow2_commit_kick(a->commit);
	} else if (err == -ENOSPC || err == -EDQUOT || err == -EFBIG) {
		a->ops->full(a);
		resume(a, FOR_SPACE, -ENOSPC);
	} else {
		resume(a, FOR_SPACE, -EIO);
	}
}

static void refill_work(struct work_struct *work)
{
	struct qcow2_alloc *a = container_of(work, struct qcow2_alloc, refill);
	unsigned int noio = memalloc_noio_save();
	struct qcow2_run run;
	int err = 0;
	u32 room;

	mutex_lock(&a->refs->lock);
	while (!err && (room = room_in_pool(a))) {
		err = qcow2_alloc_find(a, room, &run);
		if (!err)
			add_to_pool(a, &run);
	}
	mutex_unlock(&a->refs->lock);
	qcow2_commit_changed(a->commit);
	settle_waiting(a, err);
	if (err == -ENOMEM) {
		msleep(20);
		queue_work(a->wq, &a->refill);
	}
	memalloc_noio_restore(noio);
}

/* --- freeing ----------------------------------------------------------------------------- */

struct qcow2_free_batch *qcow2_alloc_batch(struct qcow2_alloc *a)
{
	struct qcow2_free_batch *b = NULL;
	unsigned long flags;
	bool wait;

	spin_lock_irqsave(&a->lock, flags);
	wait = throttled(a);
	spin_unlock_irqrestore(&a->lock, flags);
	if (!wait)
		b = mempool_alloc(a->batches, GFP_NOWAIT | __GFP_NOWARN);
	if (b) {
		b->alloc = a;
		b->clusters = 0;
		b->nr = 0;
	}
	return b;
}

void qcow2_alloc_batch_add(struct qcow2_free_batch *b, u64 start, u64 nr)
{
	u32 last = b->nr - 1;

	b->clusters += nr;
	if (b->nr && b->ranges[last].start + b->ranges[last].nr == start) {
		b->ranges[last].nr += nr;
	} else {
		b->ranges[b->nr].start = start;
		b->ranges[b->nr++].nr = nr;
	}
}

void qcow2_alloc_batch_drop(struct qcow2_alloc *a, struct qcow2_free_batch *b)
{
	if (b)
		mempool_free(b, a->batches);
}

/* A run that was reserved and finds no room in the pool: nobody uses it. */
static void drop_run(struct qcow2_alloc *a, const struct qcow2_run *run)
{
	struct qcow2_free_batch *b = mempool_alloc(a->batches, GFP_NOWAIT | __GFP_NOWARN);
	unsigned long flags;

	/* Then it leaks. */
	if (!b)
		return;
	b->alloc = a;
	b->nr = 0;
	b->clusters = 0;
	qcow2_alloc_batch_add(b, run->start, run->nr);
	spin_lock_irqsave(&a->lock, flags);
	a->freed += b->clusters;
	list_add_tail(&b->list, &a->drained);
	spin_unlock_irqrestore(&a->lock, flags);
	queue_work(a->wq, &a->release);
}

void qcow2_alloc_free(struct qcow2_alloc *a, struct qcow2_free_batch *b)
{
	unsigned long flags;
	bool kick;

	if (!b || !b->nr) {
		qcow2_alloc_batch_drop(a, b);
		return;
	}
	spin_lock_irqsave(&a->lock, flags);
	list_add_tail(&b->list, qcow2_is_mutant(EARLY_DROP) || qcow2_is_mutant(EARLY_PUNCH) ?
				&a->drained : &a->open);
	a->freed += b->clusters;
	kick = a->taken + a->freed >= a->limit / 2;
	spin_unlock_irqrestore(&a->lock, flags);
	if (qcow2_is_mutant(EARLY_DROP) || qcow2_is_mutant(EARLY_PUNCH))
		queue_work(a->wq, &a->release);
	if (kick)
		qcow2_commit_kick(a->commit);
}

void qcow2_alloc_begin(struct qcow2_alloc *a)
{
	spin_lock_irq(&a->lock);
	/* After an error there are some from before; they stay. */
	list_splice_tail_init(&a->open, &a->removing);
	a->committing = a->published;
	a->published = 0;
	a->dropping = a->dropped;
	a->dropped = 0;
	spin_unlock_irq(&a->lock);
}

static void batch_drained(struct rcu_head *rcu)
{
	struct qcow2_free_batch *b = container_of(rcu, struct qcow2_free_batch, rcu);
	struct qcow2_alloc *a = b->alloc;
	unsigned long flags;

	spin_lock_irqsave(&a->lock, flags);
	list_add_tail(&b->list, &a->drained);
	spin_unlock_irqrestore(&a->lock, flags);
	queue_work(a->wq, &a->release);
}

void qcow2_alloc_durable(struct qcow2_alloc *a)
{
	struct qcow2_free_batch *b, *next;
	LIST_HEAD(removed);
	bool try, waiting;

	spin_lock_irq(&a->lock);
	list_splice_init(&a->removing, &removed);
	a->taken -= a->committing;
	a->committing = 0;
	a->freed -= a->dropping;
	a->dropping = 0;
	try = !throttled(a);
	waiting = !list_empty(&a->waiting);
	spin_unlock_irq(&a->lock);
	/* The entries are gone for good; whoever found them before may still be at it. */
	list_for_each_entry_safe(b, next, &removed, list) {
		if (qcow2_is_mutant(NO_DRAIN))
			batch_drained(&b->rcu);
		else
			call_srcu(a->gen, &b->rcu, batch_drained);
	}
	if (try)
		resume(a, FOR_COMMIT, 0);
	if (waiting)
		queue_work(a->wq, &a->refill);
}

/* The clusters of a range that lose their last reference lose their space, too. */
static void release_last(struct qcow2_alloc *a, u64 start, u64 nr)
{
	unsigned int bits = a->h->cluster_bits;

	if (a->punch && !qcow2_commit_stopped(a->commit))
		qcow2_file_punch(a->file, start << bits, nr << bits);
	a->next = min(a->next, start);
	/* What lay ahead of the data is no longer as it was when the file grew. */
	qcow2_alloc_used_up_to(a, start + nr);
}

static int release_range(struct qcow2_alloc *a, u64 start, u64 nr)
{
	unsigned int bits = a->h->cluster_bits;
	u64 refcount, first = start, end = start + nr, c;
	int err = 0;

	if (qcow2_overlap_hit(a->overlap, start << bits, nr << bits))
		return -EUCLEAN;

	/* Runs of last references, punched before anyone can take them. */
	for (c = start; c < end && !err; c++) {
		err = qcow2_refcount_read(a->refs, c, &refcount);
		if (err || refcount != 1) {
			if (first < c)
				release_last(a, first, c - first);
			first = c + 1;
		}
	}
	if (!err && first < end)
		release_last(a, first, end - first);
	if (err || qcow2_is_mutant(EARLY_PUNCH))
		return err;
	return qcow2_refcount_change(a->refs, start, nr, -1);
}

static void release_batch(struct qcow2_alloc *a, struct qcow2_free_batch *b)
{
	u32 i;
	int err;

	for (i = 0; i < b->nr; i++) {
		err = qcow2_commit_stopped(a->commit) ?:
		      release_range(a, b->ranges[i].start, b->ranges[i].nr);
		trace_qcow2_release(qcow2_file_inode(a->file)->i_ino, b->ranges[i].start,
				    b->ranges[i].nr, err);
		if (err == -ERANGE)
			a->ops->corrupt(a, b->ranges[i].start, "was in use, but its refcount is 0");
		else if (err == -EUCLEAN)
			a->ops->corrupt(a, b->ranges[i].start, "was mapped, but holds metadata");
	}
	spin_lock_irq(&a->lock);
	a->dropped += b->clusters;
	spin_unlock_irq(&a->lock);
	mempool_free(b, a->batches);
}

static void release_work(struct work_struct *work)
{
	struct qcow2_alloc *a = container_of(work, struct qcow2_alloc, release);
	unsigned int noio = memalloc_noio_save();
	struct qcow2_free_batch *b, *next;
	LIST_HEAD(drained);
	bool waiting;

	spin_lock_irq(&a->lock);
	list_splice_init(&a->drained, &drained);
	spin_unlock_irq(&a->lock);
	mutex_lock(&a->refs->lock);
	list_for_each_entry_safe(b, next, &drained, list)
		release_batch(a, b);
	mutex_unlock(&a->refs->lock);
	/* Now: a commit that one of them kicked meanwhile knew nothing of these. */
	spin_lock_irq(&a->lock);
	waiting = !list_empty(&a->waiting);
	spin_unlock_irq(&a->lock);
	qcow2_commit_changed(a->commit);
	/* There is room now, and more when this is durable. */
	if (waiting) {
		queue_work(a->wq, &a->refill);
		qcow2_commit_kick(a->commit);
	}
	memalloc_noio_restore(noio);
}

void qcow2_alloc_released(struct qcow2_alloc *a, u64 start, u64 nr)
{
	unsigned int bits = a->h->cluster_bits;

	qcow2_overlap_remove(a->overlap, start << bits, nr << bits);
	release_last(a, start, nr);
}

/* --- the end ------------------------------------------------------------------------------ */

static bool anything_freed(struct qcow2_alloc *a)
{
	bool any;

	spin_lock_irq(&a->lock);
	any = a->freed;
	spin_unlock_irq(&a->lock);
	return any;
}

int qcow2_alloc_settle(struct qcow2_alloc *a)
{
	int err;

	do {
		err = qcow2_commit_wait(a->commit);
		srcu_barrier(a->gen);
		flush_work(&a->release);
	} while (!err && anything_freed(a));
	return err;
}

static int empty_pool(struct qcow2_alloc *a)
{
	struct qcow2_run *run;
	int err = 0;

	mutex_lock(&a->refs->lock);
	for (run = a->runs; run < a->runs + a->nr_runs && !err; run++)
		err = qcow2_refcount_change(a->refs, run->start, run->nr, -1);
	a->nr_runs = 0;
	a->pool = 0;
	mutex_unlock(&a->refs->lock);
	return err;
}

/* Cut off what the file grew and nobody uses. */
static int cut_tail(struct qcow2_alloc *a)
{
	u64 refcount = 0, end = a->end;
	int err = 0;

	if (!qcow2_file_regular(a->file) || a->end == a->floor)
		return 0;
	mutex_lock(&a->refs->lock);
	while (!err && end > a->floor) {
		err = qcow2_refcount_read(a->refs, end - 1, &refcount);
		if (refcount)
			break;
		end--;
	}
	mutex_unlock(&a->refs->lock);
	end <<= a->h->cluster_bits;
	if (err || end >= qcow2_file_size(a->file))
		return err;
	return qcow2_file_truncate(a->file, end) ?: qcow2_file_sync(a->file);
}

void qcow2_alloc_may_shrink(struct qcow2_alloc *a)
{
	mutex_lock(&a->refs->lock);
	a->floor = 0;
	mutex_unlock(&a->refs->lock);
}

int qcow2_alloc_finish(struct qcow2_alloc *a)
{
	spin_lock_irq(&a->lock);
	a->finishing = true;
	spin_unlock_irq(&a->lock);
	flush_work(&a->refill);
	return qcow2_alloc_settle(a) ?: empty_pool(a) ?: qcow2_commit_wait(a->commit) ?:
	       cut_tail(a);
}
