// SPDX-License-Identifier: GPL-2.0
/* A layer that is written: its parts, its last resort. See layer.h for the contracts. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/fs.h>
#include <linux/printk.h>
#include <linux/slab.h>

#include "layer.h"
#include "mutant.h"

/* Slices of refcount blocks: each tells of 2048 clusters, or so. */
#define REFS_CACHE_BYTES	(1024ULL << 10)

static struct qcow2_layer *of_commit(struct qcow2_commit *c)
{
	return container_of(c, struct qcow2_layer, commit);
}

static void commit_begins(struct qcow2_commit *c)
{
	if (of_commit(c)->alloc.wq)
		qcow2_alloc_begin(&of_commit(c)->alloc);
}

static void commit_durable(struct qcow2_commit *c)
{
	if (of_commit(c)->alloc.wq)
		qcow2_alloc_durable(&of_commit(c)->alloc);
}

static void commit_stopped(struct qcow2_commit *c, int err)
{
	struct qcow2_layer *l = of_commit(c);

	pr_err("%s: layer %u (%pD): metadata cannot be written or made durable, error %d: nothing is written any more; what was not flushed before is lost\n",
	       l->name, l->index, l->file.filp, err);
	if (l->alloc.wq)
		qcow2_alloc_stopped(&l->alloc);
	l->ops->stopped(l, err);
}

static const struct qcow2_commit_ops commit_ops = {
	.begin	 = commit_begins,
	.durable = commit_durable,
	.stopped = commit_stopped,
};

static void alloc_full(struct qcow2_alloc *a)
{
	struct qcow2_layer *l = container_of(a, struct qcow2_layer, alloc);

	qcow2_layer_err(l, "the file cannot grow: is the disk full?\n");
}

static void alloc_corrupt(struct qcow2_alloc *a, u64 cluster, const char *why)
{
	struct qcow2_layer *l = container_of(a, struct qcow2_layer, alloc);

	qcow2_layer_corrupt(l, cluster << l->h.cluster_bits, why);
}

static const struct qcow2_alloc_ops alloc_ops = {
	.full	 = alloc_full,
	.corrupt = alloc_corrupt,
};

void qcow2_layer_corrupt(struct qcow2_layer *l, u64 off, const char *why)
{
	__be64 features = cpu_to_be64(l->h.incompatible_features | QCOW2_INCOMPAT_CORRUPT);

	/* One line and one change of the header, however many notice. */
	if (qcow2_commit_stopped(&l->commit))
		return;
	pr_err("%s: layer %u (%pD): host offset %llu %s: the image is corrupt; run qemu-img check\n",
	       l->name, l->index, l->file.filp, off, why);
	if (l->h.version >= 3)
		qcow2_commit_header(&l->commit,
				    offsetof(struct qcow2_disk_header, incompatible_features),
				    &features, sizeof(features));
	qcow2_commit_stop(&l->commit, -EUCLEAN);
}

/* Bits that stay true: we see to what they promise. */
static u64 kept_autoclear(const struct qcow2_layer *l)
{
	return (qcow2_data_file_is_raw(&l->h) ? QCOW2_AUTOCLEAR_DATA_FILE_RAW : 0) |
	       (qcow2_header_has_bitmaps(&l->h) ? QCOW2_AUTOCLEAR_BITMAPS : 0);
}

static int clear_autoclear(struct qcow2_layer *l)
{
	u64 kept = l->h.autoclear_features & kept_autoclear(l);
	__be64 disk = cpu_to_be64(kept);

	if (kept == l->h.autoclear_features || qcow2_is_mutant(AUTOCLEAR_LATE))
		return 0;
	return qcow2_commit_header(&l->commit,
				   offsetof(struct qcow2_disk_header, autoclear_features),
				   &disk, sizeof(disk));
}

int qcow2_layer_begin_writing(struct qcow2_layer *l)
{
	int err = qcow2_commit_stopped(&l->commit);

	if (err || !READ_ONCE(l->untouched))
		return err;
	mutex_lock(&l->first_lock);
	if (l->untouched)
		err = qcow2_bitmaps_begin(&l->bitmaps) ?: clear_autoclear(l);
	if (!err)
		WRITE_ONCE(l->untouched, false);
	mutex_unlock(&l->first_lock);
	return err;
}

/* --- where metadata lie ----------------------------------------------------------------- */

/* The snapshot table, and each snapshot's L1 table. */
static int protect_snapshots(struct qcow2_layer *l)
{
	struct qcow2_disk_snapshot s;
	struct qcow2_fault fault;
	u64 off = l->h.snapshots_offset, l1_off;
	u32 i, extra, l1_size;
	int err = 0;

	for (i = 0; i < l->h.nb_snapshots && !err; i++) {
		if (qcow2_file_read(&l->file, &s, off, sizeof(s)) != sizeof(s))
			return -EUCLEAN;
		l1_off = be64_to_cpu(s.l1_table_offset);
		l1_size = be32_to_cpu(s.l1_size);
		extra = be32_to_cpu(s.extra_len);
		if (extra > QCOW2_MAX_SNAPSHOT_EXTRA ||
		    qcow2_snapshot_check_l1(&l->h, l1_off, l1_size, qcow2_file_size(&l->file),
					    &fault))
			return -EUCLEAN;
		err = qcow2_overlap_add(&l->overlap, l1_off, (u64)l1_size * sizeof(__be64));
		off += round_up(sizeof(s) + extra + be16_to_cpu(s.id_len) +
				be16_to_cpu(s.name_len), 8);
	}
	return err ?: qcow2_overlap_add(&l->overlap, l->h.snapshots_offset,
					off - l->h.snapshots_offset);
}

static int protect_refcounts(struct qcow2_layer *l, struct qcow2_fault *fault)
{
	struct qcow2_table *t = &l->refs.table;
	u64 off;
	u32 i;
	int err = 0;

	for (i = 0; i < t->nr && !err; i++) {
		err = qcow2_reftable_decode(&l->h, qcow2_table_get(t, i), &off, fault);
		if (!err && off)
			err = qcow2_overlap_add(&l->overlap, off, l->h.cluster_size);
	}
	return err ?: qcow2_overlap_add(&l->overlap, t->off, (u64)t->nr * sizeof(__be64));
}

static int protect_metadata(struct qcow2_layer *l, struct qcow2_fault *fault, const char **why)
{
	int err;

	err = qcow2_overlap_add(&l->overlap, 0, 1) ?:
	      qcow2_overlap_add(&l->overlap, l->h.l1_table_offset,
				(u64)l->h.l1_size * sizeof(__be64)) ?:
	      qcow2_overlap_add(&l->overlap, l->h.crypto_off, l->h.crypto_len) ?:
	      protect_refcounts(l, fault) ?:
	      qcow2_map_make_writable(&l->map, &l->alloc, &l->overlap, fault);
	if (err == -EINVAL && fault->sentence)
		*why = fault->sentence;
	if (!err)
		err = protect_snapshots(l);
	if (err == -EEXIST) {
		*why = "metadata overlap: run qemu-img check -r all, or attach read-only";
		err = -EUCLEAN;
	} else if (err == -EUCLEAN) {
		*why = "the snapshot table is broken: run qemu-img check -r all, or use -r";
	}
	return err;
}

/* --- begin and end ---------------------------------------------------------------------- */

static int make_qcow2_writable(struct qcow2_layer *l, struct qcow2_layer *reader, const char **why)
{
	struct qcow2_fault fault = { };
	int err;

	err = qcow2_overlap_init(&l->overlap, l->h.cluster_bits) ?:
	      qcow2_commit_init(&l->commit, l->name, &l->file, l->data, &l->map.l1,
				&l->map.cache, &l->refs.cache, &commit_ops) ?:
	      qcow2_refcounts_open(&l->refs, &l->h, &l->file, &l->commit, &l->overlap,
				   REFS_CACHE_BYTES, why) ?:
	      qcow2_alloc_init(&l->alloc, l->name, &l->refs, l->discard,
			       reader ? reader->alloc.gen : NULL, &alloc_ops);
	if (!err) {
		*why = "its metadata cannot be read";
		err = protect_metadata(l, &fault, why);
	}
	l->untouched = true;
	err = err ?: qcow2_bitmaps_load(&l->bitmaps, l->name, &l->alloc, why);
	if (!err)
		qcow2_overlap_filled(&l->overlap);
	return err;
}

int qcow2_layer_make_writable(struct qcow2_layer *l, bool discard, struct qcow2_layer *reader,
			      const struct qcow2_layer_ops *ops, const char **why)
{
	int err;

	*why = "its metadata cannot be read";
	l->writable = true;
	l->discard = discard;
	l->ops = ops;
	mutex_init(&l->first_lock);
	mutex_init(&l->fill_lock);
	qcow2_claims_init(&l->claims);
	if (l->format == QCOW2BLK_FORMAT_QCOW2)
		err = make_qcow2_writable(l, reader, why);
	else
		err = qcow2_commit_init(&l->commit, l->name, &l->file, &l->file, NULL, NULL,
					NULL, &commit_ops);
	if (err == -ENOMEM)
		*why = "out of memory";
	else if (err == -EINTR)
		*why = "interrupted";
	else if (err == -E2BIG)
		*why = "there is more metadata than can be protected: attach read-only";
	return err;
}

int qcow2_layer_finish(struct qcow2_layer *l)
{
	int err;

	if (!l->alloc.wq)
		return qcow2_commit_wait(&l->commit);
	/* The first of all changes of the image was that they are in use, the last is this. */
	err = qcow2_bitmaps_store(&l->bitmaps);
	if (err)
		l->ops->bitmaps_stale(l, err);
	return qcow2_alloc_finish(&l->alloc);
}

void qcow2_layer_end_writing(struct qcow2_layer *l)
{
	/* The allocator's workers begin commits, so they go first. */
	qcow2_alloc_quiesce(&l->alloc);
	qcow2_commit_exit(&l->commit);
	qcow2_bitmaps_free(&l->bitmaps);
	qcow2_alloc_exit(&l->alloc);
	qcow2_refcounts_close(&l->refs);
	qcow2_overlap_exit(&l->overlap);
}
