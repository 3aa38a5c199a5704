// SPDX-License-Identifier: GPL-2.0
/* One extent of a write. See cow.h for the contract. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/delay.h>
#include <linux/printk.h>

#include "copy.h"
#include "cow.h"
#include "inplace.h"
#include "mutant.h"
#include "send.h"

/* Not an error: the entries changed before they were claimed. */
#define LOOK_AGAIN	2

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
	int err = qcow2_send_check(l, plan->off, old->host_off, (u64)plan->nr << l->h.cluster_bits);

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
	qcow2_send_copy_guest(p, bytes + plan->head, plan->len);
	return qcow2_send_finish_copy(p, begin);
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
	return qcow2_send_claim(req, c, first, last);
}

/*
 * Write @len bytes, or the first of them, to guest subclusters that are not allocated.
 * @whole: so are their clusters.
 */
static int write_allocating(struct qcow2_request *req, u32 *len, bool whole)
{
	struct qcow2_layer *l = qcow2_request_top(req);
	struct plan plan = { .off = req->off, .len = *len, .whole = whole };
	struct qcow2_part *p = qcow2_send_part(req);
	int err, gen;

	plan.first = plan.off >> l->h.cluster_bits;
	plan.nr = ((plan.off + plan.len - 1) >> l->h.cluster_bits) - plan.first + 1;
	plan.nr = min(plan.nr, QCOW2_MAX_FREES);
	if (l->crypt)
		plan.nr = min(plan.nr, qcow2_copies_room(req->target->copies) >> l->h.cluster_bits);
	err = qcow2_send_too_many_dirty(l) ? -EBUSY : 0;
	if (!err && !claim(req, &p->a.claim, &plan))
		err = QCOW2_PARKED;
	if (err) {
		qcow2_part_unget(p);
		return err;
	}
	err = qcow2_cow_hold(req, plan.first, true, &p->a.place);
	if (!err) {
		/* The claim keeps what is ours; a merge may free what is read below. */
		gen = qcow2_layer_enter(l);
		err = prepare(req, p, &plan);
		qcow2_layer_leave(l, gen);
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
	qcow2_send(p);
	return 0;
}

/* A mistake needs one that lasts as long as the merge of a batch. */
static void outlast_fence(struct qcow2_layer *l)
{
	unsigned int i;

	for (i = 0; i < 100 && qcow2_fence_is_up(&l->claims); i++)
		usleep_range(5000, 6000);
}

/* The next extent, of at most @len bytes; what was done of it in @len. */
int qcow2_cow_write(struct qcow2_request *req, u32 *len)
{
	struct qcow2_layer *l = qcow2_request_top(req);
	int gen = qcow2_layer_enter(l);
	struct qcow2_extent ext;
	int err;

	/* Before the lookup: what is found without a fence no merge drops. */
	if (!qcow2_is_mutant(FENCE_LATE) && !qcow2_send_pass_fence(req, *len)) {
		qcow2_layer_leave(l, gen);
		return QCOW2_PARKED;
	}
	err = qcow2_inplace_lookup(req, *len, true, &ext);
	if (qcow2_is_mutant(FENCE_LATE))
		outlast_fence(l);
	if (!err && ext.type == QCOW2_CLUSTER_NORMAL) {
		if (l->crypt)
			ext.len = min_t(u64, ext.len, qcow2_copies_room(req->target->copies));
		*len = ext.len;
		return qcow2_inplace_write(req, &ext, gen);
	}
	qcow2_layer_leave(l, gen);
	if (err)
		return err;
	*len = ext.len;
	return write_allocating(req, len, !ext.host_off);
}
