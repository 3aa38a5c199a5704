// SPDX-License-Identifier: GPL-2.0
/* A change of the active tables, by a shadow. See change.h for the contracts. */
#include <linux/mm.h>
#include <linux/vmalloc.h>

#include "change.h"

/* --- begin and end -------------------------------------------------------------------------- */

int qcow2_change_begin(struct qcow2_change *c, struct qcow2_shadow *s, struct qcow2_layer *l,
		       const char **why)
{
	int err;

	memset(c, 0, sizeof(*c));
	c->s = s;
	c->l = l;
	*why = "writing has stopped";
	err = qcow2_shadow_begin(s, l);
	if (err)
		return err;
	c->roots = (struct qcow2_roots) {
		.size = l->h.size,
		.l1_size = l->h.l1_size,
		.l1_table_offset = l->h.l1_table_offset,
		.nb_snapshots = l->h.nb_snapshots,
		.snapshots_offset = l->h.snapshots_offset,
	};
	return 0;
}

int qcow2_change_memory(struct qcow2_change *c, u32 l1_size)
{
	c->l1_size = l1_size;
	c->l1 = vzalloc(max_t(size_t, (size_t)l1_size * sizeof(__be64), 1));
	c->l2 = vmalloc(c->l->h.cluster_size);
	return c->l1 && c->l2 ? 0 : -ENOMEM;
}

static const char *reason(int err)
{
	switch (err) {
	case -EOVERFLOW:
		return "refcounts of this width cannot count one more: see qemu-img amend";
	case -EUCLEAN:
		return "the image contradicts itself: run qemu-img check -r all";
	case -ENOSPC:
	case -EDQUOT:
		return "there is no room for the new tables";
	case -EFBIG:
		return "there would be too many snapshots, or the refcount table too large";
	case -ENOMEM:
		return "out of memory";
	default:
		return "the image file cannot be read or written";
	}
}

int qcow2_change_end(struct qcow2_change *c, int err, const char **why)
{
	if (!err)
		err = qcow2_shadow_switch(c->s, &c->roots);
	if (err) {
		*why = reason(err);
		qcow2_shadow_end(c->s);
	} else {
		qcow2_map_replace(&c->l->map, &c->active);
		c->l->size = c->l->h.size;
	}
	vfree(c->l1);
	vfree(c->l2);
	qcow2_table_free(&c->active);
	return err;
}

/* --- places ------------------------------------------------------------------------------ */

int qcow2_change_read(struct qcow2_change *c, void *buf, u64 off, size_t len)
{
	ssize_t got = qcow2_file_read(&c->l->file, buf, off, len);

	return got == len ? 0 : got < 0 ? got : -EUCLEAN;
}

int qcow2_change_place(struct qcow2_change *c, const void *buf, u64 bytes, u64 *off)
{
	u64 start = 0;
	int err = 0;

	if (bytes)
		err = qcow2_shadow_take(c->s, qcow2_change_clusters(c, bytes), &start) ?:
		      qcow2_commit_write(&c->l->commit, buf, start << c->l->h.cluster_bits, bytes);
	*off = start << c->l->h.cluster_bits;
	return err;
}

int qcow2_change_place_l1(struct qcow2_change *c)
{
	u64 bytes = (u64)c->l1_size * sizeof(__be64), off;
	u32 nr;
	int err;

	/* Without entries, any place will do. */
	err = qcow2_change_place(c, c->l1, bytes, &off);
	if (err)
		return err;
	c->roots.l1_size = c->l1_size;
	c->roots.l1_table_offset = off ?: c->l->h.l1_table_offset;
	nr = qcow2_map_l1_entries(&c->l->h, c->roots.size, c->l1_size);
	err = qcow2_table_alloc(&c->active, c->roots.l1_table_offset, nr);
	if (!err)
		memcpy(c->active.entries, c->l1, (size_t)nr * sizeof(__be64));
	return err;
}

int qcow2_change_drop_l1(struct qcow2_change *c, u64 off, u32 size)
{
	return qcow2_shadow_ref(c->s, off >> c->l->h.cluster_bits,
				qcow2_change_clusters(c, (u64)size * sizeof(__be64)), -1);
}

/* --- L2 tables --------------------------------------------------------------------------- */

int qcow2_change_load_l2(struct qcow2_change *c, __be64 l1_entry, u64 *off)
{
	struct qcow2_fault fault;

	if (qcow2_l1_decode(&c->l->h, be64_to_cpu(l1_entry), off, &fault))
		return -EUCLEAN;
	return *off ? qcow2_change_read(c, c->l2, *off, c->l->h.cluster_size) : 0;
}

int qcow2_change_write_l2(struct qcow2_change *c, __be64 *l1_entry)
{
	u64 start;
	int err = qcow2_shadow_take(c->s, 1, &start);

	if (err)
		return err;
	*l1_entry = cpu_to_be64(start << c->l->h.cluster_bits | QCOW2_ENTRY_COPIED);
	return qcow2_commit_write(&c->l->commit, c->l2, start << c->l->h.cluster_bits,
				  c->l->h.cluster_size);
}

int qcow2_change_decode(struct qcow2_change *c, u32 i, struct qcow2_cluster *cluster, u64 *start,
			u64 *nr)
{
	unsigned int bits = c->l->h.cluster_bits;
	const __be64 *words = qcow2_change_entry(c, i);
	struct qcow2_l2_entry entry = { .word = be64_to_cpu(words[0]) };
	struct qcow2_fault fault;

	*nr = 0;
	if (c->l->h.subclusters > 1)
		entry.bitmap = be64_to_cpu(words[1]);
	if (qcow2_l2_decode(&c->l->h, entry, cluster, &fault))
		return -EUCLEAN;
	if (!cluster->mapped)
		return 0;
	*start = cluster->host_off >> bits;
	*nr = 1;
	if (cluster->compressed)
		*nr = ((cluster->host_off + cluster->csize - 1) >> bits) - *start + 1;
	return 0;
}

int qcow2_change_count(struct qcow2_change *c, int delta)
{
	struct qcow2_cluster cluster;
	u64 start, nr;
	u32 i;
	int err = 0;

	for (i = 0; i < qcow2_change_l2_entries(c) && !err; i++) {
		err = qcow2_change_decode(c, i, &cluster, &start, &nr);
		if (!err && nr)
			err = qcow2_shadow_ref(c->s, start, nr, delta);
	}
	cond_resched();
	return err;
}

int qcow2_change_drop_l2(struct qcow2_change *c, __be64 l1_entry)
{
	u64 off;
	int err = qcow2_change_load_l2(c, l1_entry, &off);

	if (err || !off)
		return err;
	return qcow2_change_count(c, -1) ?:
	       qcow2_shadow_ref(c->s, off >> c->l->h.cluster_bits, 1, -1);
}
