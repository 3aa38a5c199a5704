// SPDX-License-Identifier: GPL-2.0
/* One extent of a write. See cow.h for the contract. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/printk.h>
#include <linux/sched/mm.h>

#include "charge.h"
#include "copy.h"
#include "cow.h"
#include "mutant.h"
#include "trace.h"

/* Not an error: the entries changed before they were claimed. */
#define LOOK_AGAIN	2

/* --- parking -------------------------------------------------------------------------- */

static void go_on(struct qcow2_request *req)
{
	queue_work(req->target->wq, &req->work);
}

static void claim_released(struct qcow2_claim_waiter *w)
{
	go_on(container_of(w, struct qcow2_request, wait.claim));
}

static void space_came(struct qcow2_alloc_waiter *w, int err)
{
	struct qcow2_request *req = container_of(w, struct qcow2_request, wait.alloc);

	if (!err) {
		go_on(req);
		return;
	}
	req->target->failed(req->target, err, req->off, 0);
	qcow2_request_put(req, err);
}

/* @err: -EAGAIN: for space; -EBUSY: for a commit. */
int qcow2_cow_park(struct qcow2_request *req, int err)
{
	req->wait.alloc.resume = space_came;
	req->wait.alloc.space = err == -EAGAIN;
	qcow2_alloc_park(&qcow2_request_top(req)->alloc, &req->wait.alloc);
	return QCOW2_PARKED;
}

bool qcow2_cow_claim(struct qcow2_request *req, struct qcow2_claim *c, u64 first, u64 last)
{
	req->wait.claim.resume = claim_released;
	return qcow2_claim(&qcow2_request_top(req)->claims, c, first, last, &req->wait.claim);
}

/* May the next @len bytes be written where they are? Return: false: the request is parked. */
static bool pass_fence(struct qcow2_request *req, u64 len)
{
	struct qcow2_layer *l = qcow2_request_top(req);

	if (l->format == QCOW2BLK_FORMAT_RAW || qcow2_is_mutant(MERGE_UNFENCED))
		return true;
	req->wait.claim.resume = claim_released;
	return qcow2_fence_pass(&l->claims, req->off >> l->h.subcluster_bits,
				(req->off + len - 1) >> l->h.subcluster_bits, &req->wait.claim);
}

/* --- the file's answer ------------------------------------------------------------------ */

/* Dirty tables that are not yet being written: begin to, and wait for that. */
#define MANY_DIRTY_SLICES	512U
#define MAX_DIRTY_SLICES	1024U

void qcow2_cow_entries_changed(struct qcow2_layer *l)
{
	if (READ_ONCE(l->map.cache.nr_dirty) > MANY_DIRTY_SLICES)
		qcow2_commit_kick(&l->commit);
	else
		qcow2_commit_changed(&l->commit);
}

bool qcow2_cow_too_many_dirty(const struct qcow2_layer *l)
{
	return READ_ONCE(l->map.cache.nr_dirty) > MAX_DIRTY_SLICES;
}

static void publish(struct qcow2_part *p)
{
	struct qcow2_layer *l = qcow2_request_top(p->req);
	struct qcow2_allocation *a = &p->a;

	if (a->published)
		return;
	a->published = true;
	qcow2_map_publish(&l->map, &a->place, a->first, a->end,
			  a->run.start << l->h.cluster_bits, a->ordered);
	if (!a->reuse)
		qcow2_alloc_published(&l->alloc, a->run.nr);
	qcow2_alloc_free(&l->alloc, a->batch);
	a->batch = NULL;
	qcow2_cow_entries_changed(l);
}

static void end_allocation(struct qcow2_part *p, int err)
{
	struct qcow2_layer *l = qcow2_request_top(p->req);
	struct qcow2_allocation *a = &p->a;

	if (!err) {
		publish(p);
	} else if (!a->published) {
		if (!a->reuse)
			qcow2_alloc_give_back(&l->alloc, &a->run, true);
		qcow2_alloc_batch_drop(&l->alloc, a->batch);
	}
	qcow2_map_put(&a->place);
	qcow2_claim_release(&l->claims, &a->claim);
}

/* The part's data are in the file, or will not be. Any context. */
static void write_done(struct qcow2_part *p, int err)
{
	struct qcow2_request *req = p->req;
	struct qcow2_layer *l = qcow2_request_top(req);

	if (err) {
		qcow2_layer_err(l, "guest offset %llu: host offset %llu cannot be written: error %d\n",
				p->off, p->ext.host_off, err);
		if (err != -ENOSPC && err != -EDQUOT)
			err = -EIO;
		else
			err = -ENOSPC;
		req->target->failed(req->target, err, p->off, 0);
	}
	if (p->allocates)
		end_allocation(p, err);
	if (p->copy)
		qcow2_copy_put(req->target->copies, p->copy);
	qcow2_layer_leave(l, p->gen);
	qcow2_request_put(req, err);
}

static void source_iter(const struct qcow2_part *p, struct iov_iter *from)
{
	if (p->copy)
		iov_iter_bvec(from, ITER_SOURCE, p->copy->vecs, p->copy->nr_vecs, p->bytes);
	else
		qcow2_part_iter(p, ITER_SOURCE, from);
}

/* In a worker: all of it, and wait. Also what was written by half before. */
static void write_now(struct qcow2_part *p)
{
	struct qcow2_file *f = qcow2_request_top(p->req)->data;
	struct iov_iter from;

	source_iter(p, &from);
	write_done(p, qcow2_file_write_iter(f, &from, p->ext.host_off));
}

static void write_again(struct work_struct *work)
{
	struct qcow2_part *p = container_of(work, struct qcow2_part, work);
	unsigned int noio = memalloc_noio_save();
	bool charged = qcow2_charge_begin(p->req->charged);

	write_now(p);
	qcow2_charge_end(charged);
	memalloc_noio_restore(noio);
}

/* The file has answered. Any context. */
static void write_complete(struct kiocb *iocb, long ret)
{
	struct qcow2_part *p = container_of(iocb, struct qcow2_part, iocb);

	qcow2_file_end_write(qcow2_request_top(p->req)->data);
	if (ret == p->bytes) {
		write_done(p, 0);
	} else if (ret >= 0 || ret == -EAGAIN || ret == -ENOMEM) {
		INIT_WORK(&p->work, write_again);
		queue_work(p->req->target->part_wq, &p->work);
	} else {
		write_done(p, ret);
	}
}

/* Send a part that is all filled in. */
static void submit(struct qcow2_part *p)
{
	struct qcow2_file *f = qcow2_request_top(p->req)->data;
	struct iov_iter from;

	atomic_inc(&p->req->pending);
	this_cpu_inc(p->req->target->stats->file_writes);
	trace_qcow2_write(qcow2_request_top(p->req)->name, p->off, p->bytes, p->ext.host_off,
			  p->allocates, p->copy);
	p->iocb.ki_ioprio = p->req->ioprio;
	/* Once writing has stopped, nothing is written that a crash could show. */
	if (qcow2_commit_stopped(&qcow2_request_top(p->req)->commit)) {
		write_done(p, -EIO);
		return;
	}
	if (p->allocates && (p->copy ? qcow2_is_mutant(COPY_AFTER_ENTRY) :
				       qcow2_is_mutant(DATA_AFTER_ENTRY)))
		publish(p);
	source_iter(p, &from);
	p->iocb.ki_complete = write_complete;
	if (qcow2_file_may_submit_write(f, &from, p->ext.host_off))
		qcow2_file_submit_write(f, &p->iocb, &from, p->ext.host_off);
	else
		write_now(p);
}

/* --- in place --------------------------------------------------------------------------- */

static struct qcow2_part *get_part(struct qcow2_request *req)
{
	struct qcow2_part *p = qcow2_part_get(req);

	if (!p) {
		qcow2_request_wait_idle(req);
		p = qcow2_part_get(req);
	}
	p->gen = -1;
	p->allocates = false;
	p->copy = NULL;
	return p;
}

/* May these bytes of the file be written? A broken entry can point anywhere. */
static int check_target(struct qcow2_layer *l, u64 off, u64 host_off, u64 len)
{
	if (l->format == QCOW2BLK_FORMAT_RAW)
		return 0;
	if (!qcow2_layer_has_data_file(l) && qcow2_overlap_hit(&l->overlap, host_off, len)) {
		qcow2_layer_corrupt(l, host_off, "is mapped to the disk, but holds metadata");
		return -EIO;
	}
	if (host_off + len > round_up(qcow2_file_size(l->data), l->h.cluster_size)) {
		qcow2_layer_err(l, "guest offset %llu: host offset %llu lies past the end of the file: is it truncated?\n",
				off, host_off);
		return -EIO;
	}
	return 0;
}

/* The guest's bytes, or the zeros that it wants, in memory of ours. */
static void copy_guest(const struct qcow2_part *p, void *to, u32 len)
{
	struct iov_iter from;

	if (p->req->op != QCOW2_WRITE) {
		memset(to, 0, len);
		return;
	}
	qcow2_part_iter(p, ITER_SOURCE, &from);
	WARN_ON_ONCE(copy_from_iter(to, len, &from) != len);
}

/*
 * All that the part writes, from guest offset @off on, is in its copy's head, as the guest is
 * to read it.
 */
static int finish_copy(struct qcow2_part *p, u64 off)
{
	struct qcow2_layer *l = p->ext.layer;

	qcow2_copy_add(p->copy, p->copy->head, p->bytes);
	if (!l->crypt)
		return 0;
	return qcow2_crypt_buffer(l->crypt, true, p->copy->head, p->bytes, off, p->ext.host_off);
}

/* What a part writes, where. */
static int fill_in_place(struct qcow2_part *p, const struct qcow2_extent *ext)
{
	p->ext = *ext;
	p->off = p->req->off;
	p->bytes = ext->len;
	if (p->req->op == QCOW2_WRITE)
		qcow2_part_fill(p, ext);
	if (!p->copy)
		return 0;
	copy_guest(p, p->copy->head, ext->len);
	return finish_copy(p, p->off);
}

/* @gen is given up. */
static int write_in_place(struct qcow2_request *req, const struct qcow2_extent *ext, int gen)
{
	struct qcow2_layer *l = qcow2_request_top(req);
	struct qcow2_part *p = get_part(req);
	int err;

	err = check_target(l, req->off, ext->host_off, ext->len);
	if (!err && (req->op != QCOW2_WRITE || l->crypt)) {
		p->copy = qcow2_copy_get(req->target->copies, req);
		if (!p->copy)
			err = QCOW2_PARKED;
	}
	if (!err)
		err = fill_in_place(p, ext);
	if (err) {
		if (p->copy)
			qcow2_copy_put(req->target->copies, p->copy);
		qcow2_layer_leave(l, gen);
		qcow2_part_unget(p);
		return err;
	}
	p->gen = gen;
	submit(p);
	return 0;
}

/* --- allocating ------------------------------------------------------------------------- */

/**
 * struct plan - what an allocating write is going to do
 * @off: guest offset, bytes.
 * @len: bytes; shortened to what one part does.
 * @first: the first guest cluster.
 * @nr: how many of them.
 * @whole: they are claimed whole, or else only the subclusters that are written.
 * @zeroed: bytes that are not written read as zeros.
 * @head: bytes that lie before the guest's in what becomes allocated.
 * @tail: bytes that lie behind them there.
 * @copy_head: @head must be written, too.
 * @copy_tail: likewise.
 */
struct plan {
	u64 off;
	u32 len;
	u64 first;
	u32 nr;
	bool whole;
	bool zeroed;
	u32 head;
	u32 tail;
	bool copy_head;
	bool copy_tail;
};

enum action { IN_PLACE, REUSE, ALLOCATE };

static enum action action_for(const struct qcow2_cluster *c, u32 sc)
{
	if (!c->copied)
		return ALLOCATE;
	return c->alloc >> sc & 1 ? IN_PLACE : REUSE;
}

void qcow2_cow_free_cluster(struct qcow2_layer *l, struct qcow2_free_batch *b,
			    const struct qcow2_cluster *c)
{
	u64 first = c->host_off >> l->h.cluster_bits, last = first;

	if (!c->mapped)
		return;
	if (c->compressed)
		last = (c->host_off + c->csize - 1) >> l->h.cluster_bits;
	qcow2_alloc_batch_add(b, first, last - first + 1);
}

int qcow2_cow_bad_entry(struct qcow2_layer *l, u64 off, const struct qcow2_fault *fault)
{
	qcow2_layer_err(l, "guest offset %llu: %s %#llx %s\n", off, fault->field, fault->value,
			fault->why);
	return -EIO;
}

/* Get at entries; what is wrong is logged, and an error that a request may have. */
int qcow2_cow_hold(struct qcow2_request *req, u64 cluster, bool create, struct qcow2_place *place)
{
	struct qcow2_layer *l = qcow2_request_top(req);
	struct qcow2_fault fault;
	int err = qcow2_map_hold(&l->map, cluster, create, place, &fault);

	switch (err) {
	case 0:
	case -EAGAIN:
	case -EBUSY:
	case -ENOENT:
	case -ENOSPC:
		return err;
	default:
		return qcow2_lookup_failed(l, req->off, err, &fault);
	}
}

/* Subclusters from @sc on to which an action applies. */
static u32 reach(const struct qcow2_header *h, enum action action, const struct qcow2_cluster *c,
		 u32 sc)
{
	u32 used = c->alloc >> sc;

	return action == REUSE && used ? __ffs(used) : h->subclusters - sc;
}

/*
 * Look at the entries, under the claim: how much, from the first subcluster on, wants the
 * same done? Return: what, or an errno. @old: (out) the first entry. @frees: (out) some
 * lose clusters.
 */
static int choose_action(struct qcow2_layer *l, struct qcow2_part *p, struct plan *plan,
			 struct qcow2_cluster *old, bool *frees)
{
	const struct qcow2_header *h = &l->h;
	u32 sc = (plan->off & (h->cluster_size - 1)) >> h->subcluster_bits;
	struct qcow2_fault fault;
	struct qcow2_cluster c;
	enum action action;
	u32 i, end;

	if (qcow2_map_entry(&l->map, &p->a.place, 0, old, &fault))
		return qcow2_cow_bad_entry(l, plan->off, &fault);
	action = action_for(old, sc);
	end = sc + reach(h, action, old, sc);
	*frees = old->mapped;
	plan->nr = min(plan->nr, p->a.place.left);
	for (i = 1; i < plan->nr && end == i * h->subclusters; i++) {
		if (qcow2_map_entry(&l->map, &p->a.place, i, &c, &fault) ||
		    action_for(&c, 0) != action ||
		    (action == REUSE && c.host_off != old->host_off + ((u64)i << h->cluster_bits)))
			break;
		end += reach(h, action, &c, 0);
		*frees |= c.mapped;
	}
	plan->nr = i;
	plan->len = min_t(u64, plan->len, (plan->first << h->cluster_bits) +
			  ((u64)end << h->subcluster_bits) - plan->off);
	return action;
}

static int take_clusters(struct qcow2_layer *l, struct qcow2_part *p, struct plan *plan, bool frees)
{
	struct qcow2_fault fault;
	struct qcow2_cluster c;
	u32 i;
	int err;

	if (frees) {
		p->a.batch = qcow2_alloc_batch(&l->alloc);
		if (!p->a.batch)
			return -EBUSY;
	}
	err = qcow2_alloc_take(&l->alloc, plan->nr, &p->a.run);
	if (err) {
		qcow2_alloc_batch_drop(&l->alloc, p->a.batch);
		return err;
	}
	plan->nr = p->a.run.nr;
	for (i = 0; p->a.batch && i < plan->nr; i++)
		if (!qcow2_map_entry(&l->map, &p->a.place, i, &c, &fault))
			qcow2_cow_free_cluster(l, p->a.batch, &c);
	/* Zeros of the file are no zeros of an encrypted disk. */
	plan->zeroed = p->a.run.zero && !l->crypt;
	return 0;
}

static int reuse_clusters(struct qcow2_layer *l, struct qcow2_part *p, struct plan *plan,
			  const struct qcow2_cluster *old)
{
	int err = check_target(l, plan->off, old->host_off, (u64)plan->nr << l->h.cluster_bits);

	p->a.reuse = true;
	/* What they hold is anybody's guess. */
	plan->zeroed = false;
	p->a.run = (struct qcow2_run) {
		.start = old->host_off >> l->h.cluster_bits, .nr = plan->nr, .number = U64_MAX,
	};
	return err;
}

/*
 * Clusters in the data file, where the guest's offset is the host's. They need no refcount and
 * wait for nobody: what lay there before was these very guest clusters' own, so whoever still
 * reads or writes that does so at the same time as the request that took it away. What it holds
 * is anybody's guess, but for a hole. Where some of it is not written the file system makes zeros
 * of it, if it can: then what a cluster of 2 MiB costs is not 2 MiB. That waits for all I/O on the
 * file; a look for a hole does not.
 */
static int place_clusters(struct qcow2_layer *l, struct qcow2_part *p, struct plan *plan)
{
	u64 begin = round_down(plan->off, (u64)l->h.subcluster_size);
	u64 end = min(round_up(plan->off + plan->len, (u64)l->h.subcluster_size), l->size);

	p->a.reuse = true;
	p->a.run = (struct qcow2_run) {
		.start = plan->first, .nr = plan->nr, .number = U64_MAX,
	};
	/* Zeros of the file are no zeros of an encrypted disk. */
	plan->zeroed = !l->crypt && (plan->off > begin || plan->off + plan->len < end) &&
		       (qcow2_file_is_hole(l->data, begin, end - begin) ||
			!qcow2_file_zero(l->data, begin, end - begin));
	if (qcow2_is_mutant(DATA_AS_ZERO))
		plan->zeroed = !l->crypt;
	return 0;
}

/* Do these guest bytes, clipped to the disk, read as zeros? */
int qcow2_cow_reads_zero(struct qcow2_request *req, u64 off, u64 len, bool *zero)
{
	struct qcow2_layer *l = qcow2_request_top(req);
	struct qcow2_extent ext;
	int err;

	*zero = true;
	len = min(len, l->size - min(off, l->size));
	while (len && *zero) {
		err = qcow2_chain_lookup(&req->target->chain, off, len, true, &ext);
		if (err)
			return err;
		*zero = ext.type == QCOW2_CLUSTER_ZERO_PLAIN;
		off += ext.len;
		len -= ext.len;
	}
	return 0;
}

/* The subclusters of an old cluster that must be in the new one. */
static u32 kept(const struct qcow2_layer *l, const struct qcow2_part *p, u32 i)
{
	struct qcow2_fault fault;
	struct qcow2_cluster c;

	if (p->a.reuse || qcow2_map_entry(&l->map, &p->a.place, i, &c, &fault))
		return 0;
	return c.compressed ? U32_MAX : c.alloc;
}

/* What becomes allocated: the guest's bytes, whole subclusters, and what must be kept. */
static void plan_range(const struct qcow2_layer *l, struct qcow2_part *p, struct plan *plan)
{
	const struct qcow2_header *h = &l->h;
	u64 base = plan->first << h->cluster_bits, end;
	u32 last = (plan->nr - 1) * h->subclusters, keep;

	plan->len = min_t(u64, plan->len, base + ((u64)plan->nr << h->cluster_bits) - plan->off);
	p->a.first = (plan->off - base) >> h->subcluster_bits;
	p->a.end = ((plan->off + plan->len - 1 - base) >> h->subcluster_bits) + 1;
	keep = kept(l, p, 0);
	if (keep)
		p->a.first = min_t(u32, p->a.first, __ffs(keep));
	keep = kept(l, p, plan->nr - 1);
	if (keep)
		p->a.end = max(p->a.end, last + min_t(u32, fls(keep), h->subclusters));
	plan->head = plan->off - base - ((u64)p->a.first << h->subcluster_bits);
	end = base + ((u64)p->a.end << h->subcluster_bits);
	/* A data file ends with the disk, not with its last cluster. */
	if (qcow2_layer_has_data_file(l))
		end = min(end, l->size);
	plan->tail = end - plan->off - plan->len;
}

/* Which of the old bytes must be kept, and whether the order of durability matters. */
static int plan_copies(struct qcow2_request *req, struct qcow2_part *p, struct plan *plan,
		       bool frees)
{
	struct qcow2_layer *l = qcow2_request_top(req);
	u64 begin, end;
	bool zero = false;
	int err = 0;

	plan_range(l, p, plan);
	begin = plan->off - plan->head;
	end = plan->off + plan->len + plan->tail;
	/* A hole that reads as zeros through the whole chain? */
	if (!frees && !p->a.reuse)
		err = qcow2_cow_reads_zero(req, begin, end - begin, &zero);
	/* Fresh space does not read as zeros where it would be decrypted. */
	p->a.ordered = !zero || (l->crypt && !qcow2_is_mutant(FAST_ENCRYPTED)) ||
		       !qcow2_alloc_virgin(&l->alloc, &p->a.run);
	if (qcow2_is_mutant(FAST_OVER_DATA))
		p->a.ordered = !qcow2_alloc_virgin(&l->alloc, &p->a.run);
	if (qcow2_is_mutant(SUBCLUSTER_FAST) && p->a.reuse)
		p->a.ordered = false;
	if (!err && plan->head) {
		err = qcow2_cow_reads_zero(req, begin, plan->head, &zero);
		plan->copy_head = !zero || !plan->zeroed;
	}
	if (!err && plan->tail) {
		err = qcow2_cow_reads_zero(req, plan->off + plan->len, plan->tail, &zero);
		plan->copy_tail = !zero || !plan->zeroed;
	}
	return err;
}

/* Guest bytes, and what goes with them. */
static int fill_copy(struct qcow2_request *req, struct qcow2_part *p, const struct plan *plan)
{
	struct qcow2_copy *copy = p->copy;
	int err = 0;

	if (plan->copy_head) {
		err = qcow2_io_read_guest(req->target, copy->head, plan->off - plan->head,
					  plan->head);
		qcow2_copy_add(copy, copy->head, plan->head);
	}
	if (req->op == QCOW2_WRITE) {
		qcow2_copy_add_guest(copy, p);
	} else {
		memset(copy->head + plan->head, 0, plan->len);
		qcow2_copy_add(copy, copy->head + plan->head, plan->len);
	}
	if (!err && plan->copy_tail) {
		err = qcow2_io_read_guest(req->target, copy->tail, plan->off + plan->len,
					  plan->tail);
		qcow2_copy_add(copy, copy->tail, plan->tail);
	}
	this_cpu_inc(req->target->stats->copies);
	return err;
}

/* The same with all that becomes allocated, in one piece, to be encrypted. */
static int fill_whole(struct qcow2_request *req, struct qcow2_part *p, const struct plan *plan)
{
	void *bytes = p->copy->head;
	u64 begin = plan->off - plan->head, end = plan->off + plan->len;
	int err;

	err = qcow2_io_read_guest(req->target, bytes, begin, plan->head) ?:
	      qcow2_io_read_guest(req->target, bytes + plan->head + plan->len, end, plan->tail);
	if (err)
		return err;
	if (plan->head || plan->tail)
		this_cpu_inc(req->target->stats->copies);
	copy_guest(p, bytes + plan->head, plan->len);
	return finish_copy(p, begin);
}

static void undo_plan(struct qcow2_part *p)
{
	struct qcow2_layer *l = qcow2_request_top(p->req);

	if (p->copy)
		qcow2_copy_put(p->req->target->copies, p->copy);
	if (p->a.reuse)
		return;
	qcow2_alloc_give_back(&l->alloc, &p->a.run, false);
	qcow2_alloc_batch_drop(&l->alloc, p->a.batch);
}

/* The old entries' clusters, or new ones. */
static int get_clusters(struct qcow2_request *req, struct qcow2_part *p, struct plan *plan,
			bool *frees)
{
	struct qcow2_layer *l = qcow2_request_top(req);
	bool data_file = qcow2_layer_has_data_file(l);
	struct qcow2_cluster old;
	int action;

	p->a.reuse = false;
	p->a.published = false;
	p->a.batch = NULL;
	action = choose_action(l, p, plan, &old, frees);
	switch (action) {
	case ALLOCATE:
		if (!plan->whole)
			return LOOK_AGAIN;
		return data_file ? place_clusters(l, p, plan) :
				   take_clusters(l, p, plan, *frees);
	case REUSE:
		return data_file ? place_clusters(l, p, plan) : reuse_clusters(l, p, plan, &old);
	case IN_PLACE:
		/* Somebody was here before us. */
		return LOOK_AGAIN;
	default:
		return action;
	}
}

/* Fill in all but the submission. The claim and the entries are held. */
static int prepare(struct qcow2_request *req, struct qcow2_part *p, struct plan *plan)
{
	struct qcow2_layer *l = qcow2_request_top(req);
	struct qcow2_extent ext = { .type = QCOW2_CLUSTER_NORMAL, .layer = l };
	bool frees;
	int err;

	err = get_clusters(req, p, plan, &frees);
	if (err)
		return err;
	err = plan_copies(req, p, plan, frees);
	ext.len = plan->len;
	ext.host_off = (p->a.run.start << l->h.cluster_bits) + plan->off -
		       (plan->first << l->h.cluster_bits) - (plan->copy_head ? plan->head : 0);
	if (req->op == QCOW2_WRITE)
		qcow2_part_fill(p, &ext);
	p->ext = ext;
	p->off = req->off;
	p->bytes = plan->len + (plan->copy_head ? plan->head : 0) +
		   (plan->copy_tail ? plan->tail : 0);
	if (!err && (plan->copy_head || plan->copy_tail || req->op != QCOW2_WRITE || l->crypt)) {
		p->copy = qcow2_copy_get(req->target->copies, req);
		if (!p->copy)
			err = QCOW2_PARKED;
		else
			err = l->crypt ? fill_whole(req, p, plan) : fill_copy(req, p, plan);
	}
	if (err)
		undo_plan(p);
	return err;
}

static bool claim(struct qcow2_request *req, struct qcow2_claim *c, const struct plan *plan)
{
	const struct qcow2_header *h = &qcow2_request_top(req)->h;
	u64 first = plan->first * h->subclusters;
	u64 last = (plan->first + plan->nr) * h->subclusters - 1;

	if (!plan->whole) {
		first = plan->off >> h->subcluster_bits;
		last = min(last, (plan->off + plan->len - 1) >> h->subcluster_bits);
	}
	return qcow2_cow_claim(req, c, first, last);
}

/*
 * Write @len bytes, or the first of them, to guest subclusters that are not allocated.
 * @whole: so are their clusters.
 */
static int write_allocating(struct qcow2_request *req, u32 *len, bool whole)
{
	struct qcow2_layer *l = qcow2_request_top(req);
	struct plan plan = { .off = req->off, .len = *len, .whole = whole };
	struct qcow2_part *p = get_part(req);
	int err;

	plan.first = plan.off >> l->h.cluster_bits;
	plan.nr = ((plan.off + plan.len - 1) >> l->h.cluster_bits) - plan.first + 1;
	plan.nr = min(plan.nr, QCOW2_MAX_FREES);
	if (l->crypt)
		plan.nr = min(plan.nr, qcow2_copies_room(req->target->copies) >> l->h.cluster_bits);
	err = qcow2_cow_too_many_dirty(l) ? -EBUSY : 0;
	if (!err && !claim(req, &p->a.claim, &plan))
		err = QCOW2_PARKED;
	if (err) {
		qcow2_part_unget(p);
		return err;
	}
	err = qcow2_cow_hold(req, plan.first, true, &p->a.place);
	if (!err) {
		err = prepare(req, p, &plan);
		if (err)
			qcow2_map_put(&p->a.place);
	}
	if (err) {
		qcow2_claim_release(&l->claims, &p->a.claim);
		qcow2_part_unget(p);
		*len = 0;
		return err == LOOK_AGAIN ? 0 : err;
	}
	p->allocates = true;
	*len = plan.len;
	submit(p);
	return 0;
}

/* --- either ---------------------------------------------------------------------------------- */

/* Raw: the bytes are where they are. */
static int lookup(struct qcow2_request *req, u64 len, struct qcow2_extent *ext)
{
	struct qcow2_layer *l = qcow2_request_top(req);
	struct qcow2_fault fault;
	int err;

	ext->layer = l;
	if (l->format == QCOW2BLK_FORMAT_RAW) {
		ext->type = QCOW2_CLUSTER_NORMAL;
		ext->host_off = req->off;
		ext->len = len;
		return 0;
	}
	err = qcow2_map_lookup(&l->map, req->off, len, true, true, ext, &fault);
	return err ? qcow2_lookup_failed(l, req->off, err, &fault) : 0;
}

/* The next extent, of at most @len bytes; what was done of it in @len. */
int qcow2_cow_write(struct qcow2_request *req, u32 *len)
{
	struct qcow2_layer *l = qcow2_request_top(req);
	int gen = qcow2_layer_enter(l);
	struct qcow2_extent ext;
	int err;

	err = lookup(req, *len, &ext);
	if (!err && ext.type == QCOW2_CLUSTER_NORMAL) {
		if (l->crypt)
			ext.len = min_t(u64, ext.len, qcow2_copies_room(req->target->copies));
		*len = ext.len;
		if (pass_fence(req, ext.len))
			return write_in_place(req, &ext, gen);
		err = QCOW2_PARKED;
	}
	qcow2_layer_leave(l, gen);
	if (err)
		return err;
	*len = ext.len;
	return write_allocating(req, len, !ext.host_off);
}
