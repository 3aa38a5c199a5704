// SPDX-License-Identifier: GPL-2.0
/* The order of metadata writes. See commit.h for the contract. */
#include <linux/completion.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "commit.h"
#include "mutant.h"
#include "trace.h"

/* What one round freezes at most; more rounds follow if there is more. */
#define MAX_SLICES	256U
#define MAX_L1_SECTORS	64U
#define L1_ROOM		(MAX_L1_SECTORS * SECTOR_SIZE)
#define BUFFER_BYTES	(REFS_COPY + QCOW2_SLICE_MAX_SIZE)

/* Changes that nobody flushes become durable after so many seconds. */
#define PERIOD		(5 * HZ)

/* The buffer: L1 sectors, then slices, then one slice of refcounts. */
#define REFS_COPY	(L1_ROOM + MAX_SLICES * QCOW2_SLICE_MAX_SIZE)

/**
 * struct round - what a round has frozen
 * @nr_l1: L1 sectors.
 * @nr_slices: slices, in commit.frozen.
 * @ordered: the round needs two fsyncs.
 * @l1_off: host offsets of the L1 sectors.
 */
struct round {
	unsigned int nr_l1;
	unsigned int nr_slices;
	bool ordered;
	u64 l1_off[MAX_L1_SECTORS];
};

static void trace_phase(const struct qcow2_commit *c, enum qcow2_commit_phase phase, int err)
{
	trace_qcow2_commit(qcow2_file_inode(c->file)->i_ino, c->begun, phase, err);
}

static void *slice_copy(const struct qcow2_commit *c, unsigned int i)
{
	return c->buffer + L1_ROOM + ((size_t)i << c->l2->slice_bits);
}

void qcow2_commit_stop(struct qcow2_commit *c, int err)
{
	/* Once, whoever comes first. */
	if (!cmpxchg(&c->stopped, 0, err))
		c->ops->stopped(c, err);
}

static int sync_one(struct qcow2_commit *c, struct qcow2_file *f)
{
	int err = qcow2_commit_stopped(c) ?: qcow2_file_sync(f);

	if (err)
		qcow2_commit_stop(c, err);
	return err;
}

int qcow2_commit_sync(struct qcow2_commit *c)
{
	return sync_one(c, c->file);
}

/* Data that lie elsewhere, too. */
static int sync_all(struct qcow2_commit *c)
{
	int err = 0;

	if (c->data != c->file && !qcow2_is_mutant(NO_DATA_SYNC))
		err = sync_one(c, c->data);
	return err ?: qcow2_commit_sync(c);
}

int qcow2_commit_write(struct qcow2_commit *c, const void *buf, u64 off, u32 len)
{
	return qcow2_commit_stopped(c) ?: qcow2_file_write(c->file, buf, off, len);
}

static int write_metadata(struct qcow2_commit *c, const void *buf, u64 off, u32 len)
{
	int err = qcow2_commit_write(c, buf, off, len);

	if (err)
		qcow2_commit_stop(c, err);
	return err;
}

/* The sectors of a slice's copy, those that lie side by side in one write. */
static int write_slice(struct qcow2_commit *c, const struct qcow2_frozen *fr, const void *copy)
{
	unsigned long sectors = fr->sectors;
	unsigned int first, nr;
	int err = 0;

	while (sectors && !err) {
		first = __ffs(sectors);
		nr = ffz(sectors >> first);
		sectors &= ~(((1UL << nr) - 1) << first);
		err = write_metadata(c, copy + first * SECTOR_SIZE,
				     fr->off + first * SECTOR_SIZE, nr * SECTOR_SIZE);
	}
	return err;
}

static void freeze(struct qcow2_commit *c, struct round *r)
{
	struct qcow2_frozen *fr;

	r->nr_l1 = 0;
	r->nr_slices = 0;
	r->ordered = false;
	if (!c->l1)
		return;
	while (r->nr_l1 < MAX_L1_SECTORS &&
	       qcow2_table_freeze(c->l1, c->buffer + r->nr_l1 * SECTOR_SIZE,
				  &r->l1_off[r->nr_l1], &r->ordered))
		r->nr_l1++;
	while (r->nr_slices < MAX_SLICES) {
		fr = &c->frozen[r->nr_slices];
		if (!qcow2_cache_freeze(c->l2, fr, slice_copy(c, r->nr_slices)))
			break;
		r->ordered |= fr->ordered;
		r->nr_slices++;
	}
}

/* The slices are as good as the file, or, after an error, better. */
static void thaw(struct qcow2_commit *c, struct round *r, int err)
{
	struct qcow2_frozen again;
	unsigned int i;

	for (i = 0; i < r->nr_slices; i++) {
		if (err)
			qcow2_cache_unfreeze(c->l2, &c->frozen[i]);
		else
			qcow2_cache_put(c->frozen[i].slice);
	}
	if (qcow2_is_mutant(REDIRTIED_CLEAN))
		while (c->l2 && qcow2_cache_freeze(c->l2, &again, c->buffer + REFS_COPY))
			qcow2_cache_put(again.slice);
}

/* All that are dirty now; those that become so meanwhile may stay. */
static int write_refcounts(struct qcow2_commit *c)
{
	unsigned int n = c->refs ? qcow2_cache_nr_dirty(c->refs) : 0;
	void *copy = c->buffer + REFS_COPY;
	struct qcow2_frozen fr;
	int err = 0;

	while (n-- && !err && qcow2_cache_freeze(c->refs, &fr, copy)) {
		err = write_slice(c, &fr, copy);
		if (err)
			qcow2_cache_unfreeze(c->refs, &fr);
		else
			qcow2_cache_put(fr.slice);
	}
	return err;
}

static int write_frozen(struct qcow2_commit *c, const struct round *r)
{
	unsigned int i;
	int err = 0;

	for (i = 0; i < r->nr_l1 && !err; i++)
		err = write_metadata(c, c->buffer + i * SECTOR_SIZE, r->l1_off[i], SECTOR_SIZE);
	for (i = 0; i < r->nr_slices && !err; i++)
		err = write_slice(c, &c->frozen[i], qcow2_is_mutant(THAWED) ?
				  qcow2_slice_data(c->frozen[i].slice) : slice_copy(c, i));
	return err;
}

/* Return: 0 or -EIO. @more: (out) something may be left. */
static int commit_round(struct qcow2_commit *c, bool *more)
{
	struct round r;
	bool metadata;
	int err;

	freeze(c, &r);
	metadata = r.nr_l1 || r.nr_slices;
	*more = r.nr_l1 == MAX_L1_SECTORS || r.nr_slices == MAX_SLICES;

	trace_phase(c, QCOW2_PHASE_FREEZE, 0);
	err = write_refcounts(c);
	trace_phase(c, QCOW2_PHASE_REFCOUNTS, err);
	if (!err && r.ordered && !qcow2_is_mutant(NO_FIRST_SYNC)) {
		err = sync_all(c);
		trace_phase(c, QCOW2_PHASE_FIRST_SYNC, err);
	}
	if (!err) {
		err = write_frozen(c, &r);
		trace_phase(c, QCOW2_PHASE_ENTRIES, err);
	}
	if (!err && !(metadata && qcow2_is_mutant(NO_LAST_SYNC))) {
		err = r.ordered ? qcow2_commit_sync(c) : sync_all(c);
		trace_phase(c, QCOW2_PHASE_LAST_SYNC, err);
	}
	thaw(c, &r, err);
	if (metadata) {
		c->commits++;
		c->fast += !r.ordered;
	}
	return err;
}

static int commit_all(struct qcow2_commit *c)
{
	u64 number = c->begun + 1;
	bool more = true;
	int err;

	WRITE_ONCE(c->begun, number);
	trace_phase(c, QCOW2_PHASE_BEGIN, 0);
	c->ops->begin(c);
	err = qcow2_commit_stopped(c);
	while (!err && more)
		err = commit_round(c, &more);
	if (err)
		return err;
	WRITE_ONCE(c->done, number);
	trace_phase(c, QCOW2_PHASE_DURABLE, 0);
	c->ops->durable(c);
	return 0;
}

static void tell_waiters(struct list_head *waiting, int err)
{
	struct qcow2_commit_waiter *w;

	while ((w = list_first_entry_or_null(waiting, struct qcow2_commit_waiter, list))) {
		list_del(&w->list);
		w->done(w, err);
	}
}

static void commit_work(struct work_struct *work)
{
	struct qcow2_commit *c = container_of(work, struct qcow2_commit, work);
	unsigned int noio = memalloc_noio_save();
	LIST_HEAD(waiting);

	/* Who comes from here on waits for the next commit, which coming has queued. */
	spin_lock_irq(&c->lock);
	list_splice_init(&c->waiting, &waiting);
	spin_unlock_irq(&c->lock);
	if (qcow2_is_mutant(FLUSH_EARLY))
		tell_waiters(&waiting, 0);
	tell_waiters(&waiting, commit_all(c));
	memalloc_noio_restore(noio);
}

static void timer_work(struct work_struct *work)
{
	struct qcow2_commit *c = container_of(work, struct qcow2_commit, timer.work);

	qcow2_commit_kick(c);
}

int qcow2_commit_init(struct qcow2_commit *c, const char *name, struct qcow2_file *file,
		      struct qcow2_file *data, struct qcow2_table *l1, struct qcow2_cache *l2,
		      struct qcow2_cache *refs, const struct qcow2_commit_ops *ops)
{
	memset(c, 0, sizeof(*c));
	c->file = file;
	c->data = data;
	c->l1 = l1;
	c->l2 = l2;
	c->refs = refs;
	c->ops = ops;
	spin_lock_init(&c->lock);
	INIT_LIST_HEAD(&c->waiting);
	INIT_WORK(&c->work, commit_work);
	INIT_DELAYED_WORK(&c->timer, timer_work);
	mutex_init(&c->header_lock);
	if (l1) {
		if (qcow2_file_read(file, c->header, 0, SECTOR_SIZE) != SECTOR_SIZE)
			return -EIO;
		c->buffer = vmalloc(BUFFER_BYTES);
		c->frozen = kvmalloc_array(MAX_SLICES, sizeof(*c->frozen), GFP_KERNEL);
		if (!c->buffer || !c->frozen)
			goto no_memory;
	}
	/* One thing at a time, and never for want of memory not at all. */
	c->wq = alloc_workqueue("%s-commit", WQ_UNBOUND | WQ_MEM_RECLAIM, 1, name);
	if (c->wq)
		return 0;
no_memory:
	vfree(c->buffer);
	kvfree(c->frozen);
	return -ENOMEM;
}

void qcow2_commit_exit(struct qcow2_commit *c)
{
	if (!c->wq)
		return;
	cancel_delayed_work_sync(&c->timer);
	destroy_workqueue(c->wq);
	vfree(c->buffer);
	kvfree(c->frozen);
	c->wq = NULL;
}

void qcow2_commit_kick(struct qcow2_commit *c)
{
	queue_work(c->wq, &c->work);
}

void qcow2_commit_changed(struct qcow2_commit *c)
{
	if (!delayed_work_pending(&c->timer))
		queue_delayed_work(c->wq, &c->timer, PERIOD);
}

void qcow2_commit_add(struct qcow2_commit *c, struct qcow2_commit_waiter *w)
{
	unsigned long flags;

	spin_lock_irqsave(&c->lock, flags);
	list_add_tail(&w->list, &c->waiting);
	spin_unlock_irqrestore(&c->lock, flags);
	qcow2_commit_kick(c);
}

/* A task that waits. */
struct sync_waiter {
	struct qcow2_commit_waiter w;
	struct completion done;
	int err;
};

static void wake_task(struct qcow2_commit_waiter *w, int err)
{
	struct sync_waiter *s = container_of(w, struct sync_waiter, w);

	s->err = err;
	complete(&s->done);
}

int qcow2_commit_wait(struct qcow2_commit *c)
{
	struct sync_waiter s = { .w.done = wake_task };

	init_completion(&s.done);
	qcow2_commit_add(c, &s.w);
	wait_for_completion(&s.done);
	return s.err;
}

void qcow2_commit_idle(struct qcow2_commit *c)
{
	flush_work(&c->work);
}

int qcow2_commit_publish(struct qcow2_commit *c, const void *buf, u64 off, u32 len)
{
	bool first = !qcow2_is_mutant(REFTABLE_EARLY) && (off || !qcow2_is_mutant(SWITCH_EARLY));
	bool last = off || !qcow2_is_mutant(SWITCH_UNSYNCED);
	int err = 0;

	if (first)
		err = qcow2_commit_sync(c);
	err = err ?: write_metadata(c, buf, off, len);
	if (!err && last)
		err = qcow2_commit_sync(c);
	return err;
}

int qcow2_commit_header(struct qcow2_commit *c, u32 at, const void *buf, u32 len)
{
	int err;

	mutex_lock(&c->header_lock);
	memcpy(c->header + at, buf, len);
	err = qcow2_commit_publish(c, c->header, 0, SECTOR_SIZE);
	mutex_unlock(&c->header_lock);
	return err;
}
