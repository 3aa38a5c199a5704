// SPDX-License-Identifier: GPL-2.0
/* Another size for the disk. See resize.h for the contract. */
#include <linux/mm.h>
#include <linux/string.h>
#include <linux/vmalloc.h>

#include "change.h"
#include "mutant.h"
#include "resize.h"
#include "snapshot.h"

/**
 * struct resize - a change of size that is being made
 * @c: of the active tables.
 * @t: what they are part of.
 * @below: the layers below.
 * @from: guest offset: what lies before stays.
 * @to: guest offset: so does what lies from here on.
 * @shown: up to here the backing file would show, if it were not hidden. 0: nowhere.
 * @grows: the disk does.
 * @buf: a cluster.
 */
struct resize {
	struct qcow2_change c;
	struct qcow2_io_target *t;
	struct qcow2_chain below;
	u64 from;
	u64 to;
	u64 shown;
	bool grows;
	void *buf;
};

static bool is_shown(const struct resize *r, u64 off)
{
	return r->shown > off;
}

/* Do guest bytes read as zeros in the layers below? */
static int below_reads_zero(struct resize *r, u64 off, u64 end, bool *zero)
{
	struct qcow2_extent ext;
	int err = 0;

	*zero = true;
	for (; off < end && *zero && !err; off += ext.len) {
		err = qcow2_chain_lookup(&r->below, off, end - off, true, &ext);
		*zero = !err && ext.type == QCOW2_CLUSTER_ZERO_PLAIN;
		cond_resched();
	}
	return err;
}

/* --- data -------------------------------------------------------------------------------- */

/* Guest bytes from @r->buf, which does not hold them any longer. @off: guest offset. */
static int write_data(struct resize *r, u64 off, u64 host_off, u32 len)
{
	struct qcow2_layer *l = r->c.l;
	int err = qcow2_commit_stopped(&l->commit);

	if (!err && l->crypt)
		err = qcow2_crypt_buffer(l->crypt, true, r->buf, len, off, host_off);
	return err ?: qcow2_file_write(l->data, r->buf, host_off, len);
}

/* Where the cluster of a guest offset can lie, anew. */
static int take_cluster(struct resize *r, u64 off, u64 *host_off)
{
	struct qcow2_layer *l = r->c.l;
	u64 start;
	int err;

	*host_off = off;
	if (qcow2_layer_has_data_file(l))
		return 0;
	err = qcow2_shadow_take(r->c.s, 1, &start);
	if (err)
		return err;
	*host_off = start << l->h.cluster_bits;
	/* Not a table. */
	qcow2_overlap_remove(&l->overlap, *host_off, l->h.cluster_size);
	return 0;
}

/* An entry has lost its clusters. */
static int drop_clusters(struct resize *r, u64 start, u64 nr)
{
	if (!nr || qcow2_layer_has_data_file(r->c.l))
		return 0;
	return qcow2_shadow_ref(r->c.s, start, nr, -1);
}

/*
 * A data file is as long as the disk; what it held behind that was nobody's. A device must be
 * zeroed, if it has to read as the disk does.
 */
static int extend_data_file(struct resize *r)
{
	struct qcow2_file *f = r->c.l->data;
	int err = 0;

	if (!qcow2_layer_has_data_file(r->c.l) || !r->grows)
		return 0;
	if (!qcow2_file_regular(f))
		return qcow2_data_file_is_raw(&r->c.l->h) ?
		       qcow2_file_punch(f, r->from, r->to - r->from) : 0;
	if (qcow2_file_size(f) > r->from)
		err = qcow2_file_truncate(f, r->from);
	return err ?: qcow2_file_truncate(f, r->to);
}

/* Nobody needs its end any more; if it stays, it is only space. */
static void cut_data_file(struct qcow2_layer *l)
{
	if (qcow2_layer_has_data_file(l) && qcow2_file_regular(l->data) &&
	    qcow2_file_size(l->data) > l->size)
		qcow2_file_truncate(l->data, l->size);
}

/* --- entries ----------------------------------------------------------------------------- */

/* Put @cluster in place of the entry @i of @r->c.l2. @change: (out) or-ed to. */
static void set_entry(struct resize *r, u32 i, const struct qcow2_cluster *cluster, bool *change)
{
	struct qcow2_l2_entry entry = qcow2_l2_encode(&r->c.l->h, cluster);
	__be64 *at = qcow2_change_entry(&r->c, i);
	__be64 words[2] = { cpu_to_be64(entry.word), cpu_to_be64(entry.bitmap) };
	size_t len = r->c.l->h.l2_entry_size;

	*change |= memcmp(at, words, len);
	memcpy(at, words, len);
}

/* A cluster that lies behind the end, or did. @off: its guest offset. */
static int clear_entry(struct resize *r, u32 i, u64 off, bool *change)
{
	struct qcow2_header *h = &r->c.l->h;
	struct qcow2_cluster cluster, none = { };
	u64 start, nr;
	int err = qcow2_change_decode(&r->c, i, &cluster, &start, &nr);

	err = err ?: drop_clusters(r, start, nr);
	if (is_shown(r, off) && !qcow2_is_mutant(BACKING_SHOWN)) {
		if (h->version < 3)
			err = err ?: -EOPNOTSUPP;
		none.zero = qcow2_subcluster_mask(0, h->subclusters);
	}
	if (!err)
		set_entry(r, i, &none, change);
	return err;
}

/* Zeros for a part of a cluster of our own that nobody can read yet: from the old end on. */
static int zero_in_place(struct resize *r, u64 host_off, u32 len)
{
	struct qcow2_layer *l = r->c.l;

	/* A broken entry can point anywhere. */
	if (qcow2_layer_has_data_file(l) ? host_off != r->from :
					   qcow2_overlap_hit(&l->overlap, host_off, len))
		return -EUCLEAN;
	if (host_off + len > round_up(qcow2_file_size(l->data), l->h.cluster_size))
		return -EUCLEAN;
	memset(r->buf, 0, len);
	return qcow2_is_mutant(TAIL_SHOWN) ? 0 : write_data(r, r->from, host_off, len);
}

/*
 * Put a cluster in place of what cannot be changed: with its guest bytes up to the old end,
 * zeros behind. @off: its guest offset. @cluster: (in) what it is, (out) what it will be.
 */
static int copy_last(struct resize *r, u64 off, struct qcow2_cluster *cluster, u64 old, u64 nr)
{
	struct qcow2_layer *l = r->c.l;
	u32 len = r->from - off;
	u64 host_off;
	int err;

	err = qcow2_io_read_guest(r->t, r->buf, off, len) ?: take_cluster(r, off, &host_off);
	if (err)
		return err;
	memset(r->buf + len, 0, l->h.cluster_size - len);
	err = write_data(r, off, host_off, l->h.cluster_size) ?: drop_clusters(r, old, nr);
	*cluster = (struct qcow2_cluster) {
		.mapped = true,
		.copied = true,
		.host_off = host_off,
		.alloc = qcow2_subcluster_mask(0, l->h.subclusters),
	};
	return err;
}

/* Of the cluster that the old end is in: does the rest read as zeros when its entry says so? */
static bool must_copy_last(const struct resize *r, const struct qcow2_cluster *cluster, u32 sc)
{
	switch (qcow2_subcluster_type(cluster, sc)) {
	case QCOW2_CLUSTER_COMPRESSED:
		return true;
	case QCOW2_CLUSTER_NORMAL:
		return !cluster->copied;
	case QCOW2_CLUSTER_UNALLOCATED:
		return is_shown(r, r->from);
	default:
		return false;
	}
}

/*
 * The cluster that the end of what stays is in. Its subclusters behind that are not allocated
 * any more; a larger disk must find zeros there, and in the rest of the last one.
 */
static int clear_rest(struct resize *r, u32 i, u64 off, bool *change)
{
	struct qcow2_header *h = &r->c.l->h;
	u32 len = r->from - off, sc = (len - 1) >> h->subcluster_bits;
	u32 behind = qcow2_subcluster_mask(sc + 1, h->subclusters);
	u32 rest = ((sc + 1) << h->subcluster_bits) - len;
	struct qcow2_cluster cluster;
	u64 start, nr;
	int err = qcow2_change_decode(&r->c, i, &cluster, &start, &nr);

	if (err || (!r->grows && cluster.compressed))
		return err;
	if (r->grows && (rest || cluster.compressed)) {
		if (must_copy_last(r, &cluster, sc))
			err = copy_last(r, off, &cluster, start, nr);
		else if (rest && qcow2_subcluster_type(&cluster, sc) == QCOW2_CLUSTER_NORMAL)
			err = zero_in_place(r, cluster.host_off + len, rest);
	}
	cluster.alloc &= ~behind;
	cluster.zero &= ~behind;
	if (is_shown(r, r->from))
		cluster.zero |= behind;
	if (!err && !cluster.compressed)
		set_entry(r, i, &cluster, change);
	return err;
}

/* --- tables ------------------------------------------------------------------------------ */

/* Where no L2 table is: must there be one now? @start, @end: what it would map. */
static int find_need(struct resize *r, u64 start, u64 end, bool *needed)
{
	bool zero = true;
	int err = 0;

	start = max(start, r->from);
	if (is_shown(r, start))
		err = below_reads_zero(r, start, min(end, r->shown), &zero);
	*needed = !zero;
	return err;
}

static int clear_table(struct resize *r, u32 l1_idx)
{
	struct qcow2_header *h = &r->c.l->h;
	u64 reach = 1ULL << (h->l2_bits + h->cluster_bits), base = l1_idx * reach;
	u64 off, l2_off;
	bool change, needed = true;
	u32 i = 0;
	int err = qcow2_change_load_l2(&r->c, r->c.l1[l1_idx], &l2_off);

	if (!err && !l2_off) {
		memset(r->c.l2, 0, h->cluster_size);
		err = find_need(r, base, base + reach, &needed);
	}
	if (!needed)
		return 0;
	/* One that maps nothing goes, too, or the smaller L1 table would forget it. */
	change = l2_off && !r->grows && base >= r->from;
	if (base < r->from)
		i = (r->from - base) >> h->cluster_bits;
	for (; i < qcow2_change_l2_entries(&r->c) && !err; i++) {
		off = base + ((u64)i << h->cluster_bits);
		if (off >= r->to)
			break;
		err = off < r->from ? clear_rest(r, i, off, &change) :
				      clear_entry(r, i, off, &change);
	}
	cond_resched();
	if (err || !change)
		return err;
	if (l2_off)
		err = qcow2_shadow_ref(r->c.s, l2_off >> h->cluster_bits, 1, -1);
	r->c.l1[l1_idx] = 0;
	if (!err && memchr_inv(r->c.l2, 0, h->cluster_size))
		err = qcow2_change_write_l2(&r->c, &r->c.l1[l1_idx]);
	return err;
}

/* All tables, from the one that maps the end of what stays. */
static int clear_tables(struct resize *r, u32 l1_size)
{
	struct qcow2_header *h = &r->c.l->h;
	u64 i;
	int err = 0;

	for (i = r->from >> (h->l2_bits + h->cluster_bits); i < l1_size && !err; i++)
		err = clear_table(r, i);
	return err;
}

/* --- either way -------------------------------------------------------------------------- */

/* What is in the image that would be wrong with another size? */
static int check(struct qcow2_layer *l, u64 size, const char **why)
{
	struct qcow2_header *h = &l->h;

	*why =
		"its L1 table would be larger than 32 MiB: see qemu-img convert -o cluster_size";
	if (size > LLONG_MAX || qcow2_map_l1_needed(h, size) > QCOW2_MAX_L1_BYTES / sizeof(__be64))
		return -EFBIG;
	*why =
		"the data file is a block device that is smaller than that; make it larger first";
	if (!qcow2_file_regular(l->data) && qcow2_layer_has_data_file(l) &&
	    size > qcow2_file_size(l->data))
		return -ENOSPC;
	*why =
		"snapshots of version 2 have no size: delete them, or qemu-img amend -o compat=1.1";
	if (h->nb_snapshots && h->version < 3)
		return -EOPNOTSUPP;
	return qcow2_snapshots_have_size(l, why) ?:
	       qcow2_bitmaps_prepare_resize(&l->bitmaps, size, why);
}

static void find_range(struct resize *r, u64 size)
{
	struct qcow2_chain *chain = &r->t->chain;

	r->grows = size > r->c.l->size;
	r->from = min(size, r->c.l->size);
	r->to = r->grows ? size : U64_MAX;
	r->below.nr = chain->nr - 1;
	memcpy(r->below.layers, chain->layers + 1, r->below.nr * sizeof(*r->below.layers));
	if (r->grows && r->below.nr)
		r->shown = min(size, r->below.layers[0]->size);
}

/* The L1 table: larger where it must be; and as small as it can be, where the disk shrinks. */
static int change_tables(struct resize *r, u64 size)
{
	struct qcow2_header *h = &r->c.l->h;
	u32 needed = qcow2_map_l1_needed(h, size);
	int err;

	r->buf = vmalloc(h->cluster_size);
	if (!r->buf)
		return -ENOMEM;
	err = qcow2_change_memory(&r->c, max(needed, h->l1_size)) ?:
	      extend_data_file(r) ?:
	      qcow2_change_read(&r->c, r->c.l1, h->l1_table_offset,
				(size_t)h->l1_size * sizeof(__be64)) ?:
	      clear_tables(r, r->grows ? needed : h->l1_size) ?:
	      (qcow2_layer_has_data_file(r->c.l) ? qcow2_file_sync(r->c.l->data) : 0) ?:
	      qcow2_change_drop_l1(&r->c, h->l1_table_offset, h->l1_size);
	if (err)
		return err;
	if (!r->grows)
		r->c.l1_size = needed;
	r->c.roots.size = size;
	return qcow2_change_place_l1(&r->c);
}

int qcow2_resize(struct qcow2_shadow *s, struct qcow2_io_target *t, u64 size, const char **why)
{
	struct qcow2_layer *l = t->chain.layers[0];
	struct resize r = { .t = t };
	int err = check(l, size, why);

	if (err)
		return err;
	*why = "writing has stopped";
	err = qcow2_layer_begin_writing(l) ?: qcow2_bitmaps_begin_resize(&l->bitmaps) ?:
	      qcow2_change_begin(&r.c, s, l, why);
	if (err)
		return err;
	find_range(&r, size);
	err = qcow2_change_end(&r.c, change_tables(&r, size), why);
	vfree(r.buf);
	if (!err) {
		qcow2_bitmaps_resize(&l->bitmaps, size);
		cut_data_file(l);
	}
	if (err == -EOPNOTSUPP && qcow2_layer_has_data_file(l))
		*why = "the data file is a block device that cannot be zeroed";
	else if (err == -EOPNOTSUPP)
		*why =
			"a longer backing file would show: see qemu-img amend -o compat=1.1";
	return err;
}

int qcow2_resize_raw(struct qcow2_io_target *t, u64 size, const char **why)
{
	struct qcow2_layer *l = t->chain.layers[0];
	int err;

	*why =
		"the image is a block device of another size; give that the size of the disk first";
	if (!qcow2_file_regular(&l->file) && qcow2_file_size(&l->file) != size)
		return -EOPNOTSUPP;
	*why = "the image file cannot get this size";
	if (size > LLONG_MAX)
		return -EFBIG;
	err = qcow2_commit_wait(&l->commit);
	if (!err && qcow2_file_regular(&l->file))
		err = qcow2_file_truncate(&l->file, size) ?: qcow2_file_sync(&l->file);
	if (!err)
		l->size = size;
	return err;
}
