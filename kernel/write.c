// SPDX-License-Identifier: GPL-2.0
/* Requests that change the disk. See write.h for the contract. */
#include <linux/mm.h>
#include <linux/sched/mm.h>

#include "charge.h"
#include "cow.h"
#include "inplace.h"
#include "mutant.h"
#include "send.h"
#include "write.h"

/* --- a raw data file ------------------------------------------------------------------------ */

/*
 * It is the disk after a crash, too. So nothing is written to it where the entries on disk do not
 * say that there are data: those say so first, while the file still reads as zeros there. QEMU
 * makes such images with all of their entries; only what it wrote zeros to since then is without.
 * So a write that meets one changes all that are near, and waits for a commit.
 */

/* Must the data file hold zeros where the disk does? */
static bool has_raw_data(const struct qcow2_layer *l)
{
	return qcow2_data_file_is_raw(&l->h) && !qcow2_is_mutant(RAW_BY_ENTRY);
}

/* See to it that a piece of the data file reads as zeros. */
static int make_zeros(struct qcow2_layer *l, u64 off, u64 len)
{
	u32 step;
	int err = 0;

	if (qcow2_file_is_hole(l->data, off, len) || !qcow2_file_zero(l->data, off, len) ||
	    !qcow2_file_punch(l->data, off, len))
		return 0;
	for (; len && !err; off += step, len -= step) {
		step = min_t(u64, len, PAGE_SIZE);
		err = qcow2_file_write(l->data, page_address(ZERO_PAGE(0)), off, step);
	}
	return err;
}

/* The subclusters of @mask of the cluster at @off, run by run. */
static int make_zero_subclusters(struct qcow2_layer *l, u64 off, u32 mask)
{
	u32 first, end = 0;
	u64 from, to;
	int err = 0;

	while (!err && end < l->h.subclusters && mask >> end) {
		first = end + __ffs(mask >> end);
		for (end = first; end < l->h.subclusters && mask >> end & 1; end++)
			;
		from = off + ((u64)first << l->h.subcluster_bits);
		to = min(off + ((u64)end << l->h.subcluster_bits), l->size);
		if (from < to)
			err = make_zeros(l, from, to - from);
	}
	return err;
}

/* All entries from a place to the end of its slice. One that is bad is left to who wants it. */
static int fill_entries(struct qcow2_layer *l, const struct qcow2_place *place, bool *changed)
{
	u32 all = qcow2_subcluster_mask(0, l->h.subclusters), i;
	struct qcow2_fault fault;
	struct qcow2_cluster c;
	int err = 0;

	for (i = 0; i < place->left; i++) {
		u64 off = (place->cluster + i) << l->h.cluster_bits;

		if (off >= l->size)
			break;
		if (qcow2_map_entry(&l->map, place, i, &c, &fault) || c.alloc == all)
			continue;
		err = make_zero_subclusters(l, off, all & ~c.alloc);
		c = (struct qcow2_cluster) {
			.mapped = true, .copied = true, .host_off = off, .alloc = all,
		};
		if (err)
			break;
		qcow2_map_set(&l->map, place, i, &c);
		*changed = true;
	}
	return err;
}

/* The entries near the cursor. What is mapped may not lie past the end of the file. */
static int fill(struct qcow2_request *req)
{
	struct qcow2_layer *l = qcow2_request_top(req);
	struct qcow2_place place;
	bool changed = false;
	u64 before;
	int err = 0;

	mutex_lock(&l->fill_lock);
	before = l->filled;
	WRITE_ONCE(l->filled, U64_MAX);
	/* Who sees one of these entries sees that it is not durable. */
	smp_wmb();
	if (qcow2_file_regular(l->data) && qcow2_file_size(l->data) < l->size)
		err = qcow2_file_truncate(l->data, l->size);
	if (!err)
		err = qcow2_cow_hold(req, req->off >> l->h.cluster_bits, true, &place);
	if (!err) {
		err = fill_entries(l, &place, &changed);
		qcow2_map_put(&place);
		qcow2_send_entries_changed(l);
	}
	/* A commit that begins later than this says has them. */
	smp_mb();
	WRITE_ONCE(l->filled, changed ? READ_ONCE(l->commit.begun) + 1 : before);
	mutex_unlock(&l->fill_lock);
	return err;
}

static int io_error(int err)
{
	switch (err) {
	case 0:
	case -EAGAIN:
	case -EBUSY:
	case -ENOSPC:
		return err;
	default:
		return err == -EDQUOT || err == -EFBIG ? -ENOSPC : -EIO;
	}
}

/* May the data file be written, and how much of @len? Else -EBUSY: not before a commit. */
static int may_write_raw(struct qcow2_request *req, u32 *len)
{
	struct qcow2_layer *l = qcow2_request_top(req);
	int gen = qcow2_layer_enter(l);
	struct qcow2_extent ext;
	struct qcow2_fault fault;
	int err;

	err = qcow2_map_lookup(&l->map, req->off, *len, true, true, &ext, &fault);
	qcow2_layer_leave(l, gen);
	if (err)
		return qcow2_lookup_failed(l, req->off, err, &fault);
	if (ext.type != QCOW2_CLUSTER_NORMAL)
		return io_error(fill(req)) ?: -EBUSY;
	/* Pairs with that in fill(). */
	smp_rmb();
	if (READ_ONCE(l->commit.done) < READ_ONCE(l->filled))
		return -EBUSY;
	*len = ext.len;
	return 0;
}

/* The next extent of a request. */
static int write_next(struct qcow2_request *req, u32 *len)
{
	int err = 0;

	if (has_raw_data(qcow2_request_top(req)) && !qcow2_is_mutant(RAW_ENTRY_LATE))
		err = may_write_raw(req, len);
	return err ?: qcow2_cow_write(req, len);
}

/* --- data ----------------------------------------------------------------------------------- */

static int write_all(struct qcow2_request *req)
{
	int err = 0;
	u32 len;

	while (req->bio && !err) {
		len = req->iter.bi_size;
		err = write_next(req, &len);
		if (!err && len)
			qcow2_request_advance(req, len);
	}
	return err;
}

/* --- entries that change without data ------------------------------------------------------ */

/*
 * What becomes of subclusters, as in QEMU: discarded ones read as zeros, or from
 * nowhere where there is no backing file; those that are made zero keep their cluster
 * unless that may be given up. A cluster goes when nothing in it is in use.
 * Return: false: @c stays as it is.
 */
static bool change_cluster(const struct qcow2_request *req, u32 mask, struct qcow2_cluster *c)
{
	const struct qcow2_layer *l = qcow2_request_top(req);
	struct qcow2_cluster old = *c;

	if (!c->mapped && req->target->chain.nr == 1)
		return false;
	c->alloc &= ~mask;
	if (l->h.version >= 3)
		c->zero |= mask;
	if (c->compressed || (!c->alloc && req->op != QCOW2_ZERO_KEEP)) {
		c->compressed = false;
		c->mapped = false;
		c->copied = false;
		c->host_off = 0;
	}
	return c->mapped != old.mapped || c->alloc != old.alloc || c->zero != old.zero;
}

/**
 * struct unmapped - clusters that have lost their entries
 * @batch: references to drop.
 * @off: instead of that: where in the data file they are.
 * @len: bytes.
 *
 * In a data file nobody else's data ever lie there, so their space need not wait for a commit:
 * what a crash shows is what was discarded, or zeros, whatever the entry says. The claim keeps
 * those away who would allocate them again. Where it is encrypted a hole reads as noise: that
 * space is kept for what is written there next.
 */
struct unmapped {
	struct qcow2_free_batch *batch;
	u64 off;
	u64 len;
};

static void punch_data(const struct qcow2_layer *l, struct unmapped *u)
{
	if (u->len && l->discard && !l->crypt)
		qcow2_file_punch(l->data, u->off, u->len);
	u->len = 0;
}

static void unmap_cluster(struct qcow2_layer *l, struct unmapped *u,
			  const struct qcow2_cluster *c)
{
	if (!qcow2_layer_has_data_file(l)) {
		qcow2_cow_free_cluster(l, u->batch, c);
	} else if (c->mapped) {
		if (u->off + u->len != c->host_off)
			punch_data(l, u);
		if (!u->len)
			u->off = c->host_off;
		u->len += l->h.cluster_size;
	}
}

/* Subclusters @first to @end - 1, counted from a place: those of its @i-th cluster. */
static u32 mask_in_cluster(const struct qcow2_header *h, u32 i, u32 first, u32 end)
{
	u32 start = i * h->subclusters;

	return qcow2_subcluster_mask(max(first, start) - start, min(end - start, h->subclusters));
}

/*
 * Change subclusters of clusters that are claimed and held, from @first up to @end, counted
 * from @place on; (out) up to which it is done. A compressed cluster goes whole or not at all.
 */
static int change_entries(struct qcow2_request *req, struct qcow2_place *place, u32 first, u32 *end)
{
	struct qcow2_layer *l = qcow2_request_top(req);
	struct unmapped u = { .batch = qcow2_alloc_batch(&l->alloc) };
	u32 n = l->h.subclusters, all = qcow2_subcluster_mask(0, n), i, mask;
	struct qcow2_fault fault;
	struct qcow2_cluster c, old;
	int err = 0;

	if (!u.batch)
		return -EBUSY;
	*end = min(*end, place->left * n);
	for (i = 0; i * n < *end; i++) {
		err = qcow2_map_entry(&l->map, place, i, &old, &fault);
		mask = mask_in_cluster(&l->h, i, first, *end);
		if (err || (old.compressed && mask != all)) {
			*end = max(first, i * n);
			break;
		}
		c = old;
		if (!change_cluster(req, mask, &c))
			continue;
		qcow2_map_set(&l->map, place, i, &c);
		if (!c.mapped)
			unmap_cluster(l, &u, &old);
	}
	punch_data(l, &u);
	qcow2_alloc_free(&l->alloc, u.batch);
	qcow2_send_entries_changed(l);
	return err ? qcow2_cow_bad_entry(l, round_down(req->off, l->h.cluster_size) +
					 ((u64)i << l->h.cluster_bits), &fault) : 0;
}

/* Subclusters from @off to the end of what its L2 table maps. */
static u64 left_in_table(const struct qcow2_layer *l, u64 off)
{
	u64 reach = 1ULL << (l->h.l2_bits + l->h.cluster_bits);

	return (reach - (off & (reach - 1))) >> l->h.subcluster_bits;
}

/* @nr whole subclusters at the cursor; (out) those that are done. */
static int change_subclusters(struct qcow2_request *req, u64 *nr)
{
	struct qcow2_layer *l = qcow2_request_top(req);
	u64 cluster = req->off >> l->h.cluster_bits;
	u32 first = (req->off & (l->h.cluster_size - 1)) >> l->h.subcluster_bits;
	u32 n = l->h.subclusters;
	u32 end = min_t(u64, first + *nr, (u64)qcow2_alloc_max_frees(&l->alloc) * n);
	bool backed = req->target->chain.nr > 1;
	struct qcow2_claim c;
	struct qcow2_place place;
	u32 from, to;
	int err;

	if (qcow2_send_too_many_dirty(l))
		return -EBUSY;
	/* Whole clusters, since they may go. */
	from = qcow2_is_mutant(PART_CLAIMED) ? first : 0;
	to = qcow2_is_mutant(PART_CLAIMED) ? end : round_up(end, n);
	if (!qcow2_send_claim(req, &c, cluster * n + from, cluster * n + to - 1))
		return QCOW2_PARKED;
	err = qcow2_cow_hold(req, cluster, backed, &place);
	if (!err) {
		err = change_entries(req, &place, first, &end);
		qcow2_map_put(&place);
		*nr = end - first;
	} else if (err == -ENOENT) {
		/* No table, nothing behind: all of it reads as zeros. */
		*nr = min(*nr, left_in_table(l, req->off));
		err = 0;
	}
	qcow2_claim_release(&l->claims, &c);
	return err;
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

/* Whole subclusters at the cursor; what lies behind the disk's end goes with its last one. */
static u64 whole_subclusters(const struct qcow2_request *req)
{
	const struct qcow2_layer *l = qcow2_request_top(req);
	u64 end = req->off + req->left;

	if (req->off & (l->h.subcluster_size - 1))
		return 0;
	if (end == l->size)
		end = round_up(end, l->h.cluster_size);
	return (end - req->off) >> l->h.subcluster_bits;
}

/* What lies within one subcluster, of which the rest stays, or within a compressed cluster. */
static int change_piece(struct qcow2_request *req)
{
	struct qcow2_layer *l = qcow2_request_top(req);
	u32 in_subcluster = req->off & (l->h.subcluster_size - 1);
	u32 len = min_t(u64, req->left, l->h.subcluster_size - in_subcluster);
	bool zero = true;
	int err = 0, gen;

	if (req->op != QCOW2_DISCARD) {
		gen = qcow2_layer_enter(l);
		err = qcow2_cow_reads_zero(req, req->off, len, &zero);
		qcow2_layer_leave(l, gen);
	}
	if (!err && !zero)
		err = write_next(req, &len);
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
		nr = entries ? whole_subclusters(req) : 0;
		if (nr)
			err = change_subclusters(req, &nr);
		if (!err && nr)
			skip(req, min(nr << l->h.subcluster_bits, req->left));
		else if (!err)
			err = change_piece(req);
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

	/* Of subclusters, whole ones are given up; the disk's last one counts as whole. */
	if (req->op == QCOW2_DISCARD && l->format == QCOW2BLK_FORMAT_QCOW2) {
		off = round_up(off, l->h.subcluster_size);
		if (end != l->size)
			end = round_down(end, l->h.subcluster_size);
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
	bool charged = qcow2_charge_begin(req->charged);
	int err = serve(req);

	if (err == -EAGAIN || err == -EBUSY)
		err = qcow2_send_park(req, err);
	if (err < 0)
		req->target->failed(req->target, err, req->off, 0);
	if (err != QCOW2_PARKED)
		qcow2_request_put(req, err);
	qcow2_charge_end(charged);
	memalloc_noio_restore(noio);
}

/*
 * Most writes go to clusters that are there already: the task that has come with one sends it. Not
 * the first of all, and not where there is more to do: see serve().
 */
static int write_inline(struct qcow2_request *req)
{
	const struct qcow2_layer *l = qcow2_request_top(req);
	struct qcow2_file_context context;
	int err = 0;

	if (READ_ONCE(l->untouched) || l->crypt || has_raw_data(l) ||
	    !qcow2_file_may_write_inline(l->data) || !qcow2_file_may_enter() ||
	    qcow2_charge_misplaced(req->charged))
		return -EAGAIN;
	qcow2_file_enter(&context);
	while (req->bio && !err)
		err = qcow2_inplace_write_inline(req);
	qcow2_file_leave(&context);
	return err;
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
	qcow2_bitmaps_mark(&qcow2_request_top(req)->bitmaps, off, len);
	INIT_WORK(&req->work, write_work);
	if (op != QCOW2_WRITE || write_inline(req)) {
		queue_work(req->target->wq, &req->work);
		return;
	}
	this_cpu_inc(req->target->stats->served_inline);
	qcow2_request_put(req, 0);
}
