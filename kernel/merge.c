// SPDX-License-Identifier: GPL-2.0
/* Merging an overlay into its backing file. See merge.h for the contract. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/completion.h>
#include <linux/mm.h>
#include <linux/printk.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "cow.h"
#include "merge.h"
#include "mutant.h"
#include "send.h"
#include "write.h"

/* Writes to the base that are under way, and bytes of each. */
#define NR_SLOTS	4
#define SLOT_BYTES	(1024U << 10)
#define SLOT_PAGES	(SLOT_BYTES / PAGE_SIZE)

/* A batch: bytes that are copied, guest bytes that are fenced. Writes to these wait for it. */
#define BATCH_BYTES	(8ULL << 20)
#define FENCE_BYTES	(256ULL << 20)

/* Of L2 tables that one lookup goes over. */
#define LOOKUP_TABLES	256ULL

/* Who writes faster than that keeps what he writes in the overlay. */
#define MAX_PASSES	3

/**
 * struct slot - a write to the base
 * @m: the merge.
 * @req: the request.
 * @idle: completed: it may be used.
 * @bio: its memory.
 * @vecs: of that: @buf.
 * @buf: SLOT_BYTES of vmalloc memory.
 */
struct slot {
	struct qcow2_merge *m;
	struct qcow2_request req;
	struct completion idle;
	struct bio *bio;
	struct bio_vec vecs[SLOT_PAGES];
	void *buf;
};

/**
 * struct qcow2_merge - a merge
 * @t: the device's.
 * @base: what is written to.
 * @ended: see qcow2_merge_create().
 * @owner: see there.
 * @wq: where it is done: writes wait for it, so memory must not.
 * @work: all of it.
 * @stop: end soon.
 * @interrupted: it did, before it was through.
 * @error: the first one of a write to the base.
 * @lock: protects @progress.
 * @progress: for those who ask.
 * @fence: of the batch.
 * @next_slot: the one to be used next; writes are begun in order.
 * @slots: these writes.
 */
struct qcow2_merge {
	struct qcow2_io_target *t;
	struct qcow2_io_target *base;
	void (*ended)(void *owner, int err);
	void *owner;
	struct workqueue_struct *wq;
	struct work_struct work;
	bool stop;
	bool interrupted;
	int error;
	spinlock_t lock;	/* protects progress */
	struct qcow2_merge_progress progress;
	struct qcow2_claim fence;
	unsigned int next_slot;
	struct slot slots[NR_SLOTS];
};

static struct qcow2_layer *overlay(const struct qcow2_merge *m)
{
	return m->t->chain.layers[0];
}

/* --- waiting, in our worker ------------------------------------------------------------------ */

struct claim_waiter {
	struct qcow2_claim_waiter w;
	struct completion done;
};

static void claim_released(struct qcow2_claim_waiter *w)
{
	complete(&container_of(w, struct claim_waiter, w)->done);
}

static void raise_fence(struct qcow2_merge *m, u64 first_cluster, u64 end_cluster)
{
	struct qcow2_layer *l = overlay(m);
	struct claim_waiter c = { .w.resume = claim_released };
	u32 n = l->h.subclusters;

	qcow2_fence_begin(&l->claims, &m->fence, first_cluster * n, end_cluster * n - 1);
	init_completion(&c.done);
	while (!qcow2_fence_wait(&l->claims, &c.w)) {
		wait_for_completion(&c.done);
		reinit_completion(&c.done);
	}
	/* Those who write in place and have not seen it. */
	synchronize_srcu_expedited(l->alloc.gen);
}

/* --- writes to the base ------------------------------------------------------------------ */

static void write_done(struct qcow2_request *req, int err)
{
	struct slot *s = container_of(req, struct slot, req);

	if (err)
		cmpxchg(&s->m->error, 0, err);
	complete(&s->idle);
}

/* The request fails; that is enough. */
static void write_failed(struct qcow2_io_target *t, int err, u64 off, unsigned int layer)
{
}

static struct slot *get_slot(struct qcow2_merge *m)
{
	struct slot *s = &m->slots[m->next_slot];

	m->next_slot = (m->next_slot + 1) % NR_SLOTS;
	wait_for_completion(&s->idle);
	reinit_completion(&s->idle);
	return s;
}

static void put_slot(struct slot *s)
{
	complete(&s->idle);
}

/* All writes are done. Return: 0, or the first error. */
static int wait_for_slots(struct qcow2_merge *m)
{
	unsigned int i;

	for (i = 0; i < NR_SLOTS; i++)
		wait_for_completion(&m->slots[i].idle);
	for (i = 0; i < NR_SLOTS; i++)
		complete(&m->slots[i].idle);
	return READ_ONCE(m->error);
}

static void write_slot(struct slot *s, u64 off, u32 len)
{
	bio_init(s->bio, NULL, s->vecs, SLOT_PAGES, REQ_OP_WRITE);
	s->bio->bi_vcnt = DIV_ROUND_UP(len, PAGE_SIZE);
	s->bio->bi_iter.bi_size = len;
	qcow2_request_write(&s->req, QCOW2_WRITE, s->bio, off, len, 0);
}

static int copy_data(struct qcow2_merge *m, u64 off, u64 len)
{
	struct slot *s;
	int err = 0, gen;
	u32 n;

	for (; len && !err; off += n, len -= n) {
		s = get_slot(m);
		n = min_t(u64, len, SLOT_BYTES);
		/* Others may change the table that is looked at, and the base is being changed. */
		gen = qcow2_layer_enter(overlay(m));
		err = READ_ONCE(m->error) ?: qcow2_io_read_guest(m->t, s->buf, off, n);
		qcow2_layer_leave(overlay(m), gen);
		if (err)
			put_slot(s);
		else
			write_slot(s, off, n);
	}
	return err;
}

/* Where the file below cannot make holes. */
static int write_zeros(struct qcow2_merge *m, u64 off, u64 len)
{
	struct slot *s;
	u32 n;

	for (; len && !READ_ONCE(m->error); off += n, len -= n) {
		s = get_slot(m);
		n = min_t(u64, len, SLOT_BYTES);
		memset(s->buf, 0, n);
		write_slot(s, off, n);
	}
	return READ_ONCE(m->error);
}

static int make_zero(struct qcow2_merge *m, u64 off, u64 len)
{
	bool keep = !m->base->chain.layers[0]->discard;
	struct slot *s = get_slot(m);

	qcow2_request_write(&s->req, keep ? QCOW2_ZERO_KEEP : QCOW2_ZERO, NULL, off, len, 0);
	wait_for_completion(&s->idle);
	complete(&s->idle);
	if (s->req.error != -EOPNOTSUPP)
		return READ_ONCE(m->error);
	cmpxchg(&m->error, -EOPNOTSUPP, 0);
	return write_zeros(m, off, len);
}

/* --- a batch --------------------------------------------------------------------------------- */

static void count(struct qcow2_merge *m, u64 copied, u64 zeroed)
{
	spin_lock(&m->lock);
	m->progress.copied += copied;
	m->progress.zeroed += zeroed;
	m->progress.left += copied + zeroed;
	spin_unlock(&m->lock);
}

/*
 * What has the overlay itself got from @off on? A lookup goes on as long as the answer is the same,
 * and must not sleep on its way: so not over more than some of its tables at a time.
 */
static int look_up(struct qcow2_merge *m, u64 off, u64 len, struct qcow2_extent *ext)
{
	struct qcow2_layer *l = overlay(m);
	u64 most = LOOKUP_TABLES << (l->h.l2_bits + l->h.cluster_bits);
	struct qcow2_fault fault;
	int gen = qcow2_layer_enter(l);
	int err = qcow2_map_lookup(&l->map, off, min(len, most), true, false, ext, &fault);

	qcow2_layer_leave(l, gen);
	return err ? qcow2_lookup_failed(l, off, err, &fault) : 0;
}

/* Guest bytes from *@off up to @end, or to when it is enough for a batch; (out) where it ended. */
static int copy_range(struct qcow2_merge *m, u64 *off, u64 end)
{
	u32 mask = overlay(m)->h.cluster_size - 1;
	struct qcow2_extent ext;
	u64 copied = 0, enough;
	int err = 0;

	/* Whole clusters, since they go whole. */
	while (*off < end && (copied < BATCH_BYTES || *off & mask) && !err) {
		enough = (*off + max(BATCH_BYTES, copied + 1) - copied + mask) & ~(u64)mask;
		err = look_up(m, *off, min(end, enough) - *off, &ext);
		if (err)
			break;
		if (ext.type == QCOW2_CLUSTER_ZERO_PLAIN) {
			err = make_zero(m, *off, ext.len);
			count(m, 0, ext.len);
		} else if (ext.type != QCOW2_CLUSTER_UNALLOCATED) {
			err = copy_data(m, *off, ext.len);
			copied += ext.len;
			count(m, ext.len, 0);
		}
		*off += ext.len;
	}
	return err;
}

/* Drop entries from @place on, of up to @nr clusters; (out) those that are done. */
static int drop_entries(struct qcow2_layer *l, struct qcow2_place *place, u64 *nr)
{
	struct qcow2_free_batch *batch = qcow2_alloc_batch(&l->alloc);
	const struct qcow2_cluster none = { };
	struct qcow2_cluster c;
	struct qcow2_fault fault;
	u32 i;

	if (!batch)
		return -EBUSY;
	*nr = min3(*nr, (u64)place->left, (u64)qcow2_alloc_max_frees(&l->alloc));
	for (i = 0; i < *nr; i++) {
		/* A bad one was found by who copied. */
		if (qcow2_map_entry(&l->map, place, i, &c, &fault) ||
		    !(c.mapped || c.zero))
			continue;
		qcow2_map_set(&l->map, place, i, &none);
		if (!qcow2_layer_has_data_file(l))
			qcow2_cow_free_cluster(l, batch, &c);
	}
	qcow2_alloc_free(&l->alloc, batch);
	qcow2_send_entries_changed(l);
	return 0;
}

static u64 clusters_up_to(const struct qcow2_layer *l, u64 off)
{
	return (off + l->h.cluster_size - 1) >> l->h.cluster_bits;
}

/* Clusters from @cluster to the end of what its L2 table maps. */
static u64 left_in_table(const struct qcow2_layer *l, u64 cluster)
{
	return (1ULL << l->h.l2_bits) - (cluster & ((1ULL << l->h.l2_bits) - 1));
}

static int drop_some(struct qcow2_layer *l, u64 cluster, u64 *nr)
{
	struct qcow2_place place;
	struct qcow2_fault fault;
	int err;

	if (qcow2_send_too_many_dirty(l))
		return -EBUSY;
	err = qcow2_map_hold(&l->map, cluster, false, &place, &fault);
	switch (err) {
	case 0:
		err = drop_entries(l, &place, nr);
		qcow2_map_put(&place);
		return err;
	case -ENOENT:
		*nr = min(*nr, left_in_table(l, cluster));
		return 0;
	case -EAGAIN:
	case -EBUSY:
	case -ENOSPC:
		return err;
	default:
		return qcow2_lookup_failed(l, cluster << l->h.cluster_bits, err, &fault);
	}
}

static int drop_range(struct qcow2_merge *m, u64 cluster, u64 end)
{
	struct qcow2_layer *l = overlay(m);
	int err = 0;
	u64 nr;

	while (cluster < end && !err) {
		nr = end - cluster;
		err = drop_some(l, cluster, &nr);
		if (!err)
			cluster += nr;
		else
			err = qcow2_alloc_wait(&l->alloc, err);
	}
	return err;
}

/*
 * In a data file each cluster has its place: who allocates it again may begin with zeros there,
 * so the entry must be gone for good, and those who read it; also where only some could be dropped.
 */
static int empty_places(struct qcow2_layer *l, u64 cluster, u64 end, bool all)
{
	int err;

	if (!qcow2_layer_has_data_file(l))
		return 0;
	err = qcow2_commit_wait(&l->commit);
	synchronize_srcu_expedited(l->alloc.gen);
	if (!err && all && l->discard)
		qcow2_file_punch(l->data, cluster << l->h.cluster_bits,
				 (end - cluster) << l->h.cluster_bits);
	return err;
}

/* From the cluster at *@off on; (out) up to where it is done. */
static int merge_batch(struct qcow2_merge *m, u64 *off)
{
	struct qcow2_commit *base = &m->base->chain.layers[0]->commit;
	struct qcow2_layer *l = overlay(m);
	u64 first = *off >> l->h.cluster_bits, end = min(*off + FENCE_BYTES, l->size);
	u64 end_cluster;
	int err, err2;

	raise_fence(m, first, clusters_up_to(l, end));
	err = copy_range(m, off, end);
	err2 = wait_for_slots(m);
	err = err ?: err2;
	if (!err && !qcow2_is_mutant(MERGE_UNFLUSHED))
		err = qcow2_commit_wait(base);
	end_cluster = clusters_up_to(l, *off);
	if (!err) {
		err = drop_range(m, first, end_cluster);
		err2 = empty_places(l, first, end_cluster, !err);
		err = err ?: err2;
	}
	qcow2_fence_end(&l->claims);
	return err;
}

/* --- all of it ---------------------------------------------------------------------------- */

/* The next cluster of which the overlay has something, or the end. */
static int find_next(struct qcow2_merge *m, u64 *off)
{
	struct qcow2_layer *l = overlay(m);
	struct qcow2_extent ext = { .type = QCOW2_CLUSTER_UNALLOCATED };
	int err = 0;

	while (*off < l->size && !err) {
		err = look_up(m, *off, l->size - *off, &ext);
		if (err || ext.type != QCOW2_CLUSTER_UNALLOCATED)
			break;
		*off += ext.len;
		cond_resched();
	}
	if (*off < l->size)
		*off = round_down(*off, l->h.cluster_size);
	return err;
}

static void show_progress(struct qcow2_merge *m, unsigned int pass, u64 off)
{
	spin_lock(&m->lock);
	m->progress.done = pass ? m->progress.total : off;
	spin_unlock(&m->lock);
}

static void nothing_left(struct qcow2_merge *m)
{
	spin_lock(&m->lock);
	m->progress.left = 0;
	spin_unlock(&m->lock);
}

static int merge_pass(struct qcow2_merge *m, unsigned int pass)
{
	struct qcow2_layer *l = overlay(m);
	u64 off = 0;
	int err;

	nothing_left(m);
	err = find_next(m, &off);
	while (!err && off < l->size && !READ_ONCE(m->stop)) {
		err = merge_batch(m, &off) ?: find_next(m, &off);
		show_progress(m, pass, off);
	}
	m->interrupted = !err && off < l->size;
	return err;
}

static int merge(struct qcow2_merge *m)
{
	struct qcow2_layer *l = overlay(m);
	unsigned int pass;
	int err = qcow2_layer_begin_writing(l);

	for (pass = 0; pass < MAX_PASSES && !err && !READ_ONCE(m->stop); pass++) {
		err = merge_pass(m, pass);
		if (!m->progress.left)
			break;
	}
	/* Stopped, after the first one, which finds what there was. */
	if (pass == 1)
		nothing_left(m);
	if (!err)
		err = qcow2_commit_wait(&l->commit);
	if (!err && l->discard)
		qcow2_alloc_may_shrink(&l->alloc);
	return err;
}

void qcow2_merge_ended(struct qcow2_merge *m, int err)
{
	spin_lock(&m->lock);
	m->progress.err = err;
	if (err)
		m->progress.state = QCOW2BLK_COMMIT_FAILED;
	else if (m->interrupted)
		m->progress.state = QCOW2BLK_COMMIT_INTERRUPTED;
	else
		m->progress.state = QCOW2BLK_COMMIT_DONE;
	spin_unlock(&m->lock);
}

static void merge_work(struct work_struct *work)
{
	struct qcow2_merge *m = container_of(work, struct qcow2_merge, work);
	unsigned int noio = memalloc_noio_save();
	int err = merge(m);

	if (err)
		pr_err("%s: the overlay is not merged into its backing file: error %d\n",
		       overlay(m)->name, err);
	m->ended(m->owner, err);
	memalloc_noio_restore(noio);
}

static int init_slot(struct slot *s, struct qcow2_merge *m)
{
	unsigned int i;

	s->m = m;
	s->bio = kmalloc(sizeof(*s->bio), GFP_KERNEL);
	s->buf = vmalloc(SLOT_BYTES);
	if (!s->bio || !s->buf)
		return -ENOMEM;
	for (i = 0; i < SLOT_PAGES; i++)
		s->vecs[i] = (struct bio_vec) {
			.bv_page = vmalloc_to_page(s->buf + i * PAGE_SIZE), .bv_len = PAGE_SIZE,
		};
	qcow2_request_init(&s->req, m->base);
	init_completion(&s->idle);
	complete(&s->idle);
	return 0;
}

struct qcow2_merge *qcow2_merge_create(struct qcow2_io_target *target,
				       struct qcow2_io_target *base,
				       void (*ended)(void *owner, int err), void *owner)
{
	struct qcow2_merge *m = kvzalloc(sizeof(*m), GFP_KERNEL);
	unsigned int i;
	int err = 0;

	if (!m)
		return ERR_PTR(-ENOMEM);
	m->t = target;
	m->base = base;
	m->ended = ended;
	m->owner = owner;
	spin_lock_init(&m->lock);
	INIT_WORK(&m->work, merge_work);
	base->done = write_done;
	base->failed = write_failed;
	m->progress.total = overlay(m)->size;
	m->wq = alloc_workqueue("%s-merge", WQ_UNBOUND | WQ_MEM_RECLAIM, 1, overlay(m)->name);
	for (i = 0; i < NR_SLOTS && !err; i++)
		err = init_slot(&m->slots[i], m);
	if (m->wq && !err)
		return m;
	qcow2_merge_destroy(m);
	return ERR_PTR(-ENOMEM);
}

void qcow2_merge_start(struct qcow2_merge *m)
{
	m->progress.state = QCOW2BLK_COMMIT_RUNNING;
	queue_work(m->wq, &m->work);
}

void qcow2_merge_stop(struct qcow2_merge *m)
{
	WRITE_ONCE(m->stop, true);
}

void qcow2_merge_get_progress(struct qcow2_merge *m, struct qcow2_merge_progress *p)
{
	spin_lock(&m->lock);
	*p = m->progress;
	spin_unlock(&m->lock);
}

void qcow2_merge_destroy(struct qcow2_merge *m)
{
	unsigned int i;

	if (!m)
		return;
	if (m->wq)
		destroy_workqueue(m->wq);
	for (i = 0; i < NR_SLOTS; i++) {
		kfree(m->slots[i].bio);
		vfree(m->slots[i].buf);
	}
	kvfree(m);
}
