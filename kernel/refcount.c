// SPDX-License-Identifier: GPL-2.0
/* The refcounts of an image. See refcount.h for the contract. */
#include <linux/mm.h>
#include <linux/vmalloc.h>

#include "mutant.h"
#include "refcount.h"

int qcow2_refcounts_open(struct qcow2_refcounts *r, struct qcow2_header *h,
			 struct qcow2_file *file, struct qcow2_commit *commit,
			 struct qcow2_overlap *overlap, u64 cache_bytes, const char **why)
{
	u32 entries = (h->refcount_table_clusters << h->cluster_bits) / sizeof(__be64);
	int err;

	r->h = h;
	r->file = file;
	r->commit = commit;
	r->overlap = overlap;
	mutex_init(&r->lock);
	r->block_bits = h->cluster_bits + 3 - h->refcount_order;
	*why = "out of memory";
	r->buffer = vmalloc(h->cluster_size);
	if (!r->buffer)
		return -ENOMEM;
	err = qcow2_cache_init(&r->cache, file, min(h->cluster_bits, QCOW2_SLICE_MAX_BITS),
			       cache_bytes);
	if (err)
		goto free_buffer;
	err = qcow2_table_read(&r->table, file, h->refcount_table_offset, entries);
	if (!err)
		return 0;
	if (err != -ENOMEM)
		*why = "the refcount table cannot be read";
	qcow2_cache_destroy(&r->cache);
free_buffer:
	vfree(r->buffer);
	r->buffer = NULL;
	return err;
}

void qcow2_refcounts_close(struct qcow2_refcounts *r)
{
	qcow2_table_free(&r->table);
	qcow2_cache_destroy(&r->cache);
	vfree(r->buffer);
	r->buffer = NULL;
}

/* Refcounts in one slice of a block, log2. */
static unsigned int slice_refs_bits(const struct qcow2_refcounts *r)
{
	return r->cache.slice_bits + 3 - r->h->refcount_order;
}

/* Host offset of the block for a cluster, 0 for none, in @off. */
static int block_of(const struct qcow2_refcounts *r, u64 cluster, u64 *off)
{
	u64 i = cluster >> r->block_bits;
	struct qcow2_fault fault;

	*off = 0;
	if (i >= r->table.nr)
		return 0;
	return qcow2_reftable_decode(r->h, qcow2_table_get(&r->table, i), off, &fault) ?
	       -EUCLEAN : 0;
}

/* The slice with a cluster's refcount, held, or NULL where there is no block. */
static struct qcow2_slice *get_slice(struct qcow2_refcounts *r, u64 cluster)
{
	u64 in_block = cluster & ((1ULL << r->block_bits) - 1);
	struct qcow2_slice *s;
	u64 off;
	int err;

	lockdep_assert_held(&r->lock);
	err = block_of(r, cluster, &off);
	if (err)
		return ERR_PTR(err);
	if (!off)
		return NULL;
	s = qcow2_cache_get(&r->cache,
			    off + (in_block >> slice_refs_bits(r) << r->cache.slice_bits));
	/* Past the end of the file: a table that points nowhere. */
	return s == ERR_PTR(-ENODATA) ? ERR_PTR(-EUCLEAN) : s;
}

static u32 index_in_slice(const struct qcow2_refcounts *r, u64 cluster)
{
	return cluster & ((1ULL << slice_refs_bits(r)) - 1);
}

static bool has_block(const struct qcow2_refcounts *r, u64 region)
{
	u64 off;

	return block_of(r, region << r->block_bits, &off) || off;
}

bool qcow2_refcount_has_blocks(const struct qcow2_refcounts *r, u64 start, u64 nr)
{
	u64 region = start >> r->block_bits, last = (start + nr - 1) >> r->block_bits;

	while (region <= last && has_block(r, region))
		region++;
	return region > last;
}

int qcow2_refcount_read(struct qcow2_refcounts *r, u64 cluster, u64 *refcount)
{
	struct qcow2_slice *s = get_slice(r, cluster);

	*refcount = 0;
	if (IS_ERR(s))
		return PTR_ERR(s);
	if (!s)
		return 0;
	*refcount = qcow2_refcount_get(qcow2_slice_data(s), r->h->refcount_order,
				       index_in_slice(r, cluster));
	qcow2_cache_put(s);
	return 0;
}

/*
 * Walk the refcounts from @cluster to the end of its slice, or to @end: skip those in use
 * until a run is begun, then count it. Return: the cluster where the walk ended.
 */
static u64 scan_slice(const struct qcow2_refcounts *r, const void *refs, u64 cluster, u64 end,
		      u32 max, u64 *start, u32 *nr)
{
	u64 slice_end = (cluster | ((1ULL << slice_refs_bits(r)) - 1)) + 1;
	bool free;

	for (end = min(end, slice_end); cluster < end && *nr < max; cluster++) {
		free = !refs || !qcow2_refcount_get(refs, r->h->refcount_order,
						    index_in_slice(r, cluster));
		if (!free && *nr)
			break;
		if (free && !(*nr)++)
			*start = cluster;
	}
	return cluster;
}

int qcow2_refcount_find_free(struct qcow2_refcounts *r, u64 from, u64 to, u32 max,
			     unsigned int *slices, u64 *start, u32 *nr)
{
	u64 cluster = from, next;
	struct qcow2_slice *s;

	*nr = 0;
	while (cluster < to && *nr < max && *slices) {
		s = get_slice(r, cluster);
		/* What was found so far is good. */
		if (IS_ERR(s))
			return *nr ? 0 : PTR_ERR(s);
		next = scan_slice(r, s ? qcow2_slice_data(s) : NULL, cluster, to, max, start, nr);
		if (s)
			qcow2_cache_put(s);
		--*slices;
		/* The run ended inside of the slice, or right before it. */
		if (*nr && (next == cluster || next & ((1ULL << slice_refs_bits(r)) - 1)))
			break;
		cluster = next;
	}
	if (!*nr)
		*start = min(cluster, to);
	return 0;
}

/* The part of a change that lies in one slice. Return: how many, or an errno. */
static s64 change_slice(struct qcow2_refcounts *r, u64 start, u64 nr, int delta)
{
	u32 order = r->h->refcount_order, i = index_in_slice(r, start), n, done;
	struct qcow2_slice *s = get_slice(r, start);
	unsigned long flags;
	u64 value;
	void *refs;

	if (IS_ERR_OR_NULL(s))
		return s ? PTR_ERR(s) : -ERANGE;
	n = min_t(u64, nr, (1U << slice_refs_bits(r)) - i);
	qcow2_cache_change_begin(&r->cache, flags);
	refs = qcow2_slice_change(&r->cache, s, (i << order) / 8,
				  (((i + n - 1) << order) / 8) - ((i << order) / 8) +
				  DIV_ROUND_UP(1U << order, 8), true);
	refs -= (i << order) / 8;
	for (done = 0; done < n; done++) {
		value = qcow2_refcount_get(refs, order, i + done);
		if (value == (delta < 0 ? 0 : qcow2_refcount_max(order)))
			break;
		qcow2_refcount_set(refs, order, i + done, value + delta);
	}
	qcow2_cache_change_end(&r->cache, flags);
	qcow2_cache_put(s);
	return done ? (s64)done : -ERANGE;
}

int qcow2_refcount_change(struct qcow2_refcounts *r, u64 start, u64 nr, int delta)
{
	s64 done;

	while (nr) {
		done = change_slice(r, start, nr, delta);
		if (done < 0)
			return done;
		start += done;
		nr -= done;
	}
	return 0;
}

/* --- new blocks ---------------------------------------------------------------------- */

/*
 * Write a block that lies at cluster @at and says of the clusters from @first to before
 * @end, those of its region, that they are used once.
 */
static int write_block(struct qcow2_refcounts *r, u64 region, u64 at, u64 first, u64 end)
{
	u64 base = region << r->block_bits, c;

	/* The header is in there, too. */
	if (qcow2_overlap_hit(r->overlap, at << r->h->cluster_bits, 1))
		return -EUCLEAN;
	memset(r->buffer, 0, r->h->cluster_size);
	for (c = max(first, base); c < min(end, base + (1ULL << r->block_bits)); c++)
		qcow2_refcount_set(r->buffer, r->h->refcount_order, c - base, 1);
	return qcow2_commit_write(r->commit, r->buffer, at << r->h->cluster_bits,
				  r->h->cluster_size) ?:
	       qcow2_overlap_add(r->overlap, at << r->h->cluster_bits, r->h->cluster_size);
}

/* The table's sectors with the entries from @first to @last, as they are in memory. */
static int publish_entries(struct qcow2_refcounts *r, u64 first, u64 last)
{
	u64 begin = round_down(first * sizeof(__be64), SECTOR_SIZE);
	u64 end = round_up((last + 1) * sizeof(__be64), SECTOR_SIZE);

	return qcow2_commit_publish(r->commit, (void *)r->table.entries + begin,
				    r->table.off + begin, end - begin);
}

/* Blocks for the regions from @first to @last that have none, each at its region's start. */
static int add_blocks_within_table(struct qcow2_refcounts *r, u64 from, u64 first, u64 last)
{
	u64 region, at, end = first, begin = last + 1;
	int err = 0;

	for (region = first; region <= last && !err; region++) {
		at = max(from, region << r->block_bits);
		if (has_block(r, region))
			continue;
		err = write_block(r, region, at, at, at + 1);
		if (err)
			break;
		r->table.entries[region] = cpu_to_be64(at << r->h->cluster_bits);
		begin = min(begin, region);
		end = region + 1;
	}
	/* Those before a failure are good. */
	if (begin >= end)
		return err;
	return publish_entries(r, begin, end - 1) ?: err;
}

/*
 * A larger table. It and the blocks for the regions it lies in come first in a region
 * that has no block, behind all that the old table describes; so nothing of what is
 * reachable changes before the header does.
 *
 *	@at: the table, @table_clusters; then the blocks, one a region
 */
static int build_table(struct qcow2_refcounts *r, u64 at, u64 table_clusters, u64 blocks,
		       struct qcow2_table *t)
{
	u64 end = at + table_clusters + blocks, region = at >> r->block_bits, i;
	u64 bytes = table_clusters << r->h->cluster_bits;
	int err;

	if (qcow2_overlap_hit(r->overlap, at << r->h->cluster_bits,
			      (end - at) << r->h->cluster_bits))
		return -EUCLEAN;
	err = qcow2_table_alloc(t, at << r->h->cluster_bits, bytes / sizeof(__be64));
	if (err)
		return err;
	memcpy(t->entries, r->table.entries, (size_t)r->table.nr * sizeof(__be64));
	for (i = 0; i < blocks && !err; i++) {
		t->entries[region + i] =
			cpu_to_be64((at + table_clusters + i) << r->h->cluster_bits);
		err = write_block(r, region + i, at + table_clusters + i, at, end);
	}
	err = err ?: qcow2_commit_write(r->commit, t->entries, t->off, bytes) ?:
	      qcow2_overlap_add(r->overlap, t->off, bytes);
	if (err) {
		qcow2_overlap_remove(r->overlap, t->off, (end - at) << r->h->cluster_bits);
		qcow2_table_free(t);
	}
	return err;
}

/* Bytes 48 to 59 of the header: where the refcount table is, and how many clusters. */
static int publish_table(struct qcow2_refcounts *r, u64 off, u32 clusters)
{
	struct {
		__be64 off;
		__be32 clusters;
	} __packed root = { cpu_to_be64(off), cpu_to_be32(clusters) };

	return qcow2_commit_header(r->commit,
				   offsetof(struct qcow2_disk_header, refcount_table_offset),
				   &root, sizeof(root));
}

/* A table of more than @regions entries, at @from. */
static int grow_table(struct qcow2_refcounts *r, u64 from, u64 regions, u64 limit,
		      u64 *limit_needed)
{
	u64 per_cluster = r->h->cluster_size / sizeof(__be64), clusters, blocks, need = 1, end;
	u64 old_off = r->table.off, old_clusters = r->h->refcount_table_clusters;
	struct qcow2_table t;
	int err;

	/* By half, so that it does not happen often; at least what is asked for. */
	clusters = min_t(u64, r->table.nr + r->table.nr / 2,
			 QCOW2_MAX_REFTABLE_BYTES / sizeof(__be64));
	clusters = DIV_ROUND_UP(max(regions, clusters), per_cluster);
	do {
		blocks = need;
		end = from + clusters + blocks;
		need = ((end - 1) >> r->block_bits) - (from >> r->block_bits) + 1;
		clusters = max(clusters, DIV_ROUND_UP((from >> r->block_bits) + need, per_cluster));
	} while (need != blocks || end != from + clusters + blocks);
	if (clusters << r->h->cluster_bits > QCOW2_MAX_REFTABLE_BYTES)
		return -EFBIG;
	*limit_needed = end;
	if (end > limit)
		return -ENOSPC;

	err = build_table(r, from, clusters, blocks, &t);
	if (err)
		return err;
	err = publish_table(r, t.off, clusters);
	if (err) {
		qcow2_table_free(&t);
		return err;
	}
	qcow2_table_free(&r->table);
	r->table = t;
	r->h->refcount_table_offset = t.off;
	r->h->refcount_table_clusters = clusters;
	qcow2_overlap_remove(r->overlap, old_off, old_clusters << r->h->cluster_bits);
	/* At worst, that leaks. */
	qcow2_refcount_change(r, old_off >> r->h->cluster_bits, old_clusters, -1);
	return 0;
}

int qcow2_refcount_add_blocks(struct qcow2_refcounts *r, u64 from, u64 to, u64 limit,
			      u64 *limit_needed)
{
	u64 first = from >> r->block_bits, last = (to - 1) >> r->block_bits;
	int err = 0;

	*limit_needed = 0;

	lockdep_assert_held(&r->lock);
	if (first < r->table.nr)
		err = add_blocks_within_table(r, from, first, min(last, (u64)r->table.nr - 1));
	if (err || last < r->table.nr)
		return err;
	from = max(from, (u64)r->table.nr << r->block_bits);
	err = grow_table(r, from, last + 1, limit, limit_needed);
	if (err)
		return err;
	return add_blocks_within_table(r, from, first, last);
}
