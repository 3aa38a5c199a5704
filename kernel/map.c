// SPDX-License-Identifier: GPL-2.0
/* The mapping of one qcow2 image. See map.h for the contract. */
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/vmalloc.h>

#include "map.h"

/* Bytes of a slice, log2: 4 KiB, or a whole table where clusters are smaller. */
static unsigned int slice_bits(const struct qcow2_header *h)
{
	return min(h->cluster_bits, 12U);
}

u64 qcow2_map_bytes(const struct qcow2_header *h)
{
	u64 clusters = DIV_ROUND_UP_ULL(h->size, h->cluster_size);

	return round_up(clusters * h->l2_entry_size, 1ULL << slice_bits(h));
}

int qcow2_map_open(struct qcow2_map *m, const struct qcow2_header *h,
		   const struct qcow2_file *file, u64 cache_bytes, const char **why)
{
	size_t bytes = (size_t)h->l1_entries_needed * sizeof(*m->l1);
	ssize_t ret;
	int err;

	*why = "out of memory";
	m->h = h;
	m->l1 = vmalloc(max_t(size_t, bytes, 1));
	if (!m->l1)
		return -ENOMEM;
	err = qcow2_cache_init(&m->cache, file, slice_bits(h), cache_bytes);
	if (err)
		goto free_l1;
	ret = qcow2_file_read(file, m->l1, h->l1_table_offset, bytes);
	if (ret != bytes) {
		*why = "the L1 table cannot be read";
		err = ret < 0 ? ret : -ENODATA;
		goto destroy_cache;
	}
	return 0;

destroy_cache:
	qcow2_cache_destroy(&m->cache);
free_l1:
	vfree(m->l1);
	m->l1 = NULL;
	return err;
}

void qcow2_map_close(struct qcow2_map *m)
{
	qcow2_cache_destroy(&m->cache);
	vfree(m->l1);
	m->l1 = NULL;
}

/* A place in the L2 tables: a slice, and the first entry of interest in it. */
struct place {
	u64 slice_off;	/* host offset, bytes; 0 where there is no table */
	u32 idx;	/* entry within the slice */
	u32 left;	/* entries from @idx to the slice's end */
};

static int find_place(const struct qcow2_map *m, u64 cluster, struct place *p,
		      struct qcow2_fault *fault)
{
	const struct qcow2_header *h = m->h;
	u32 per_slice = (1U << slice_bits(h)) / h->l2_entry_size;
	u32 l2_idx = cluster & ((1U << h->l2_bits) - 1);
	u64 l1_entry = be64_to_cpu(READ_ONCE(m->l1[cluster >> h->l2_bits]));
	u64 l2_off;
	int err;

	err = qcow2_l1_decode(h, l1_entry, &l2_off, fault);
	if (err)
		return err;
	p->idx = l2_idx & (per_slice - 1);
	p->left = per_slice - p->idx;
	p->slice_off = l2_off;
	if (l2_off)
		p->slice_off += round_down((u64)l2_idx * h->l2_entry_size, 1U << slice_bits(h));
	return 0;
}

/* What one cluster adds to a run: @ext from scratch, for the first. */
static void begin_run(const struct qcow2_header *h, const struct qcow2_cluster *c,
		      u32 in_cluster, struct qcow2_extent *ext)
{
	ext->type = c->type == QCOW2_CLUSTER_ZERO_ALLOC ? QCOW2_CLUSTER_ZERO_PLAIN : c->type;
	ext->len = h->cluster_size - in_cluster;
	ext->host_off = c->host_off;
	ext->csize = c->csize;
	ext->skip = in_cluster;
	if (c->type == QCOW2_CLUSTER_NORMAL)
		ext->host_off += in_cluster;
}

static bool continues_run(const struct qcow2_cluster *c, const struct qcow2_extent *ext)
{
	switch (c->type) {
	case QCOW2_CLUSTER_NORMAL:
		return ext->type == c->type && ext->host_off + ext->len == c->host_off;
	case QCOW2_CLUSTER_UNALLOCATED:
		return ext->type == c->type;
	case QCOW2_CLUSTER_ZERO_PLAIN:
	case QCOW2_CLUSTER_ZERO_ALLOC:
		return ext->type == QCOW2_CLUSTER_ZERO_PLAIN;
	default:
		return false;
	}
}

/*
 * Lengthen the run by the entries of one slice. Return: true if the slice ended
 * before the run or the need did. A bad entry ends the run; it is an error only
 * when it is asked for itself.
 */
static bool extend_run(const struct qcow2_header *h, const __be64 *entries, u32 nr,
		       u64 len, struct qcow2_extent *ext)
{
	struct qcow2_cluster c;
	struct qcow2_fault fault;
	u32 i;

	for (i = 0; i < nr && ext->len < len; i++) {
		if (qcow2_l2_decode(h, be64_to_cpu(READ_ONCE(entries[i])), &c, &fault) ||
		    !continues_run(&c, ext))
			return false;
		ext->len += h->cluster_size;
	}
	return ext->len < len;
}

/* The same for an L2 table that does not exist. */
static bool extend_hole(const struct qcow2_header *h, u32 nr, u64 len,
			struct qcow2_extent *ext)
{
	if (ext->type != QCOW2_CLUSTER_UNALLOCATED)
		return false;
	ext->len += min_t(u64, (u64)nr << h->cluster_bits,
			  round_up(len - ext->len, h->cluster_size));
	return ext->len < len;
}

/* Go on in the slices that follow, as long as they are here. */
static void extend_over_slices(struct qcow2_map *m, u64 cluster, u64 len,
			       struct qcow2_extent *ext)
{
	const struct qcow2_header *h = m->h;
	struct qcow2_fault fault;
	const __be64 *entries;
	struct place p;
	bool more = true;

	while (more) {
		if (find_place(m, cluster, &p, &fault))
			return;
		if (p.slice_off) {
			entries = qcow2_cache_find(&m->cache, p.slice_off);
			if (!entries)
				return;
			more = extend_run(h, entries, p.left, len, ext);
		} else {
			more = extend_hole(h, p.left, len, ext);
		}
		cluster += p.left;
	}
}

/* The run from the first entry at @p on; @entries is its slice, or NULL for none. */
static int map_run(struct qcow2_map *m, const __be64 *entries, const struct place *p,
		   u64 off, u64 len, struct qcow2_extent *ext, struct qcow2_fault *fault)
{
	const struct qcow2_header *h = m->h;
	u32 in_cluster = off & (h->cluster_size - 1);
	struct qcow2_cluster c = { .type = QCOW2_CLUSTER_UNALLOCATED };
	bool more;
	int err;

	if (entries) {
		err = qcow2_l2_decode(h, be64_to_cpu(READ_ONCE(entries[p->idx])), &c, fault);
		if (err)
			return err;
	}
	begin_run(h, &c, in_cluster, ext);
	if (ext->len < len && c.type != QCOW2_CLUSTER_COMPRESSED) {
		if (entries)
			more = extend_run(h, entries + p->idx + 1, p->left - 1, len, ext);
		else
			more = extend_hole(h, p->left - 1, len, ext);
		if (more)
			extend_over_slices(m, (off >> h->cluster_bits) + p->left, len, ext);
	}
	ext->len = min(ext->len, len);
	return 0;
}

static int lookup_loaded(struct qcow2_map *m, const struct place *p, u64 off, u64 len,
			 struct qcow2_extent *ext, struct qcow2_fault *fault)
{
	struct qcow2_slice *s = qcow2_cache_get(&m->cache, p->slice_off);
	int err;

	if (IS_ERR(s))
		return PTR_ERR(s);
	rcu_read_lock();
	err = map_run(m, qcow2_slice_data(s), p, off, len, ext, fault);
	rcu_read_unlock();
	qcow2_cache_put(s);
	return err;
}

int qcow2_map_lookup(struct qcow2_map *m, u64 off, u64 len, bool may_sleep,
		     struct qcow2_extent *ext, struct qcow2_fault *fault)
{
	const __be64 *entries = NULL;
	struct place p;
	int err;

	err = find_place(m, off >> m->h->cluster_bits, &p, fault);
	if (err)
		return err;
	rcu_read_lock();
	if (p.slice_off)
		entries = qcow2_cache_find(&m->cache, p.slice_off);
	if (entries || !p.slice_off)
		err = map_run(m, entries, &p, off, len, ext, fault);
	else
		err = -EAGAIN;
	rcu_read_unlock();
	if (err == -EAGAIN && may_sleep)
		return lookup_loaded(m, &p, off, len, ext, fault);
	return err;
}
