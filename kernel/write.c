// SPDX-License-Identifier: GPL-2.0
/* Requests that change the disk. See write.h for the contract. */
#include <linux/sched/mm.h>

#include "cow.h"
#include "mutant.h"
#include "write.h"

static int write_all(struct qcow2_request *req)
{
	int err = 0;
	u32 len;

	while (req->bio && !err) {
		len = req->iter.bi_size;
		err = qcow2_cow_write(req, &len);
		if (!err && len)
			qcow2_request_advance(req, len);
	}
	return err;
}

/* --- entries that change without data ------------------------------------------------------ */

/*
 * What becomes of an entry, as in QEMU: a discarded cluster reads as zeros, or from
 * nowhere where there is no backing file; one that is made zero keeps its cluster
 * unless that may be given up.
 */
static u64 new_entry(const struct qcow2_request *req, u64 old, const struct qcow2_cluster *c)
{
	const struct qcow2_layer *l = qcow2_request_top(req);
	bool backed = req->target->chain.nr > 1;
	u64 zero = l->h.version >= 3 ? QCOW2_ENTRY_ZERO : 0;

	if (req->op == QCOW2_DISCARD)
		return backed || qcow2_cluster_is_allocated(c) ? zero : old;
	if (c->type == QCOW2_CLUSTER_UNALLOCATED)
		return backed ? zero : old;
	if (c->type == QCOW2_CLUSTER_COMPRESSED ||
	    (req->op == QCOW2_ZERO && qcow2_cluster_is_allocated(c)))
		return zero;
	return old | zero;
}

/**
 * struct unmapped - clusters that have lost their entries
 * @batch: references to drop.
 * @off: instead of that: where in the data file they are.
 * @len: bytes.
 *
 * In a data file nobody else's data ever lie there, so their space need not wait for a commit:
 * what a crash shows is what was discarded, or zeros, whatever the entry says. The claim keeps
 * those away who would allocate them again.
 */
struct unmapped {
	struct qcow2_free_batch *batch;
	u64 off;
	u64 len;
};

static void punch_data(const struct qcow2_layer *l, struct unmapped *u)
{
	if (u->len && l->discard)
		qcow2_file_punch(l->data, u->off, u->len);
	u->len = 0;
}

static void unmap_cluster(struct qcow2_layer *l, struct unmapped *u,
			  const struct qcow2_cluster *c)
{
	if (!qcow2_layer_has_data_file(l)) {
		qcow2_cow_free_cluster(l, u->batch, c);
	} else if (qcow2_cluster_is_allocated(c)) {
		if (u->off + u->len != c->host_off)
			punch_data(l, u);
		if (!u->len)
			u->off = c->host_off;
		u->len += l->h.cluster_size;
	}
}

/* Change the entries of clusters that are claimed and held. @nr: how many; (out) done. */
static int change_entries(struct qcow2_request *req, struct qcow2_place *place, u32 *nr)
{
	struct qcow2_layer *l = qcow2_request_top(req);
	struct unmapped u = { .batch = qcow2_alloc_batch(&l->alloc) };
	struct qcow2_fault fault;
	struct qcow2_cluster c;
	u64 old, new, off;
	int err = 0;
	u32 i;

	if (!u.batch)
		return -EBUSY;
	*nr = min(*nr, place->left);
	for (i = 0; i < *nr && !err; i++) {
		err = qcow2_map_entry(&l->map, place, i, &c, &fault);
		if (err) {
			off = req->off + ((u64)i << l->h.cluster_bits);
			err = qcow2_cow_bad_entry(l, off, &fault);
			break;
		}
		old = qcow2_map_raw(place, i);
		new = new_entry(req, old, &c);
		if (new == old)
			continue;
		qcow2_map_set(&l->map, place, i, new);
		if (!(new & QCOW2_ENTRY_OFFSET_MASK))
			unmap_cluster(l, &u, &c);
	}
	punch_data(l, &u);
	qcow2_alloc_free(&l->alloc, u.batch);
	qcow2_cow_entries_changed(l);
	return err;
}

/* Clusters from @off to the end of what its L2 table maps. */
static u64 clusters_in_table(const struct qcow2_layer *l, u64 off)
{
	u64 entries = 1ULL << l->h.l2_bits;

	return entries - (off >> l->h.cluster_bits & (entries - 1));
}

/* @nr whole clusters at the cursor; (out) those that are done. */
static int change_clusters(struct qcow2_request *req, u64 *nr)
{
	struct qcow2_layer *l = qcow2_request_top(req);
	u64 first = req->off >> l->h.cluster_bits;
	bool backed = req->target->chain.nr > 1;
	struct qcow2_claim c;
	struct qcow2_place place;
	u32 n = min_t(u64, *nr, qcow2_alloc_max_frees(&l->alloc));
	int err;

	if (qcow2_cow_too_many_dirty(l))
		return -EBUSY;
	if (!qcow2_cow_claim(req, &c, first, first + n - 1))
		return QCOW2_PARKED;
	err = qcow2_cow_hold(req, first, backed, &place);
	if (!err) {
		err = change_entries(req, &place, &n);
		qcow2_map_put(&place);
		*nr = n;
	} else if (err == -ENOENT) {
		/* No table, nothing behind: all of it reads as zeros. */
		*nr = min(*nr, clusters_in_table(l, req->off));
		err = 0;
	}
	qcow2_claim_release(&l->claims, &c);
	return err;
}

/* Must the data file hold zeros where the disk does? */
static bool has_raw_data(const struct qcow2_layer *l)
{
	return qcow2_data_file_is_raw(&l->h) && !qcow2_is_mutant(RAW_BY_ENTRY);
}

/* Can zeros be a matter of entries? Version 2 has none for them, a raw data file must hold them. */
static bool has_zero_entries(const struct qcow2_request *req)
{
	const struct qcow2_layer *l = qcow2_request_top(req);

	if (l->h.version < 3)
		return req->op == QCOW2_ZERO && req->target->chain.nr == 1;
	return !has_raw_data(l);
}

static void skip(struct qcow2_request *req, u64 len)
{
	req->off += len;
	req->left -= len;
}

/* Whole clusters at the cursor; the disk's last one counts as whole. */
static u64 whole_clusters(const struct qcow2_request *req)
{
	const struct qcow2_layer *l = qcow2_request_top(req);
	u64 len = req->left;

	if (req->off & (l->h.cluster_size - 1))
		return 0;
	if (req->off + len == l->size)
		len = round_up(len, l->h.cluster_size);
	return len >> l->h.cluster_bits;
}

/* What lies within one cluster, of which the rest stays. */
static int change_piece(struct qcow2_request *req)
{
	struct qcow2_layer *l = qcow2_request_top(req);
	u32 in_cluster = req->off & (l->h.cluster_size - 1);
	u32 len = min_t(u64, req->left, l->h.cluster_size - in_cluster);
	bool zero = true;
	int err = 0, gen;

	if (req->op != QCOW2_DISCARD) {
		gen = qcow2_layer_enter(l);
		err = qcow2_cow_reads_zero(req, req->off, len, &zero);
		qcow2_layer_leave(l, gen);
	}
	if (!err && !zero)
		err = qcow2_cow_write(req, &len);
	if (!err)
		skip(req, len);
	return err;
}

static int change_all(struct qcow2_request *req)
{
	struct qcow2_layer *l = qcow2_request_top(req);
	bool entries = req->op == QCOW2_DISCARD || has_zero_entries(req);
	int err = 0;
	u64 nr;

	/* The backing file would show. */
	if (req->op == QCOW2_DISCARD && l->h.version < 3 && req->target->chain.nr > 1)
		return 0;
	while (req->left && !err) {
		nr = whole_clusters(req);
		if (nr && entries) {
			err = change_clusters(req, &nr);
			if (!err)
				skip(req, min(nr << l->h.cluster_bits, req->left));
		} else {
			err = change_piece(req);
		}
	}
	return err;
}

/*
 * A file that reads as the disk does: zeros are made there. A raw data file is one: its entries
 * stay, and those that say zero have zeros in the file.
 */
static int change_raw(struct qcow2_request *req)
{
	struct qcow2_layer *l = qcow2_request_top(req);
	u64 off = req->off, end = off + req->left;
	int err = -EOPNOTSUPP;

	/* Of clusters, whole ones are given up; the disk's last one counts as whole. */
	if (req->op == QCOW2_DISCARD && l->format == QCOW2BLK_FORMAT_QCOW2) {
		off = round_up(off, l->h.cluster_size);
		if (end != l->size)
			end = round_down(end, l->h.cluster_size);
		if (off >= end)
			return 0;
	}
	if (req->op == QCOW2_ZERO_KEEP)
		err = qcow2_file_zero(l->data, off, end - off);
	if (err == -EOPNOTSUPP)
		err = qcow2_file_punch(l->data, off, end - off);
	switch (err) {
	case 0:
	case -EOPNOTSUPP:
	case -ENOSPC:
		return err;
	case -EINVAL:
		/* Less than a block of a device. */
		return -EOPNOTSUPP;
	default:
		return err == -EDQUOT ? -ENOSPC : -EIO;
	}
}

/* --- requests ---------------------------------------------------------------------------- */

static void flush_done(struct qcow2_commit_waiter *w, int err)
{
	qcow2_request_put(container_of(w, struct qcow2_request, wait.commit), err);
}

static int serve(struct qcow2_request *req)
{
	struct qcow2_layer *l = qcow2_request_top(req);
	bool raw = l->format == QCOW2BLK_FORMAT_RAW;
	int err = qcow2_layer_begin_writing(l);

	if (err)
		return err;
	if (req->op == QCOW2_WRITE)
		return write_all(req);
	if (!raw && !has_raw_data(l))
		return change_all(req);
	err = change_raw(req);
	/* Where nothing can make zeros for us, they are written: into clusters. */
	return err == -EOPNOTSUPP && !raw && req->op != QCOW2_DISCARD ? change_all(req) : err;
}

static void write_work(struct work_struct *work)
{
	struct qcow2_request *req = container_of(work, struct qcow2_request, work);
	unsigned int noio = memalloc_noio_save();
	int err = serve(req);

	if (err == -EAGAIN || err == -EBUSY)
		err = qcow2_cow_park(req, err);
	if (err < 0)
		req->target->failed(req->target, err, req->off, 0);
	if (err != QCOW2_PARKED)
		qcow2_request_put(req, err);
	memalloc_noio_restore(noio);
}

void qcow2_request_write(struct qcow2_request *req, enum qcow2_write_op op, struct bio *bio,
			 u64 off, u64 len, u16 ioprio)
{
	qcow2_request_begin(req, bio, off, ioprio);
	req->op = op;
	req->left = len;
	if (op == QCOW2_FLUSH) {
		req->wait.commit.done = flush_done;
		qcow2_commit_add(&qcow2_request_top(req)->commit, &req->wait.commit);
		return;
	}
	INIT_WORK(&req->work, write_work);
	queue_work(req->target->wq, &req->work);
}
