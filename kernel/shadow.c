// SPDX-License-Identifier: GPL-2.0
/* A change of many tables, all or nothing. See shadow.h for the contract. */
#include <linux/bitmap.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "mutant.h"
#include "shadow.h"

/**
 * struct block - the refcounts of one region, of the new state
 * @old_off: host offset of the block in the old state, bytes; 0: there is none.
 * @new_off: in the new state; 0 as long as nothing changes, or it has no place yet.
 * @dirty: they differ.
 * @refs: a cluster's worth.
 * @used: bit n: the nth refcount was not 0 in the old state.
 */
struct block {
	u64 old_off;
	u64 new_off;
	bool dirty;
	void *refs;
	unsigned long *used;
};

static struct qcow2_refcounts *refs_of(struct qcow2_shadow *s)
{
	return &s->l->refs;
}

static u64 refs_per_block(struct qcow2_shadow *s)
{
	return 1ULL << refs_of(s)->block_bits;
}

/* --- begin and end -------------------------------------------------------------------------- */

static bool is_clean(struct qcow2_layer *l)
{
	return !qcow2_cache_nr_dirty(&l->refs.cache) && !qcow2_cache_nr_dirty(&l->map.cache) &&
	       !READ_ONCE(l->map.l1.nr_dirty);
}

/*
 * Is the image on disk what it is in memory? Nothing changes now, but a commit may have taken
 * what was dirty and not have written it yet, or fail to.
 */
static bool is_written(struct qcow2_layer *l)
{
	if (!is_clean(l))
		return false;
	qcow2_commit_idle(&l->commit);
	return is_clean(l);
}

int qcow2_shadow_begin(struct qcow2_shadow *s, struct qcow2_layer *l)
{
	int err;

	memset(s, 0, sizeof(*s));
	s->l = l;
	xa_init(&s->blocks);
	for (;;) {
		err = qcow2_alloc_settle(&l->alloc);
		if (err)
			return err;
		mutex_lock(&l->refs.lock);
		/* The allocator's workers may have come first: once more. */
		if (is_written(l)) {
			s->cursor = l->alloc.next;
			return 0;
		}
		mutex_unlock(&l->refs.lock);
	}
}

static void free_block(struct block *b)
{
	kvfree(b->refs);
	kvfree(b->used);
	kfree(b);
}

/* Runs of clusters of one region that the old state used and the new one does not. */
static void release_freed(struct qcow2_shadow *s, u64 region, const struct block *b)
{
	u32 order = s->l->h.refcount_order;
	u64 n = refs_per_block(s), base = region * n, i, first = 0;
	bool free;

	for (i = 0; i <= n; i++) {
		free = i < n && test_bit(i, b->used) && !qcow2_refcount_get(b->refs, order, i);
		if (free)
			continue;
		if (first < i)
			qcow2_alloc_released(&s->l->alloc, base + first, i - first);
		first = i + 1;
	}
}

/* All that the old state used and the new one does not. */
static void release_all_freed(struct qcow2_shadow *s)
{
	unsigned long region;
	struct block *b;

	xa_for_each(&s->blocks, region, b) {
		if (b->dirty)
			release_freed(s, region, b);
		cond_resched();
	}
}

/* Nothing came of it: what was taken is free as before, but no longer blank. */
static void give_up(struct qcow2_shadow *s, u64 region, const struct block *b)
{
	unsigned int bits = s->l->h.cluster_bits;
	u64 n = refs_per_block(s), i, cluster;

	for (i = 0; i < n; i++) {
		cluster = (region << refs_of(s)->block_bits) + i;
		if (!test_bit(i, b->used) &&
		    qcow2_refcount_get(b->refs, s->l->h.refcount_order, i))
			qcow2_overlap_remove(&s->l->overlap, cluster << bits, 1);
	}
}

void qcow2_shadow_end(struct qcow2_shadow *s)
{
	struct block *b;
	unsigned long region;

	if (s->switched)
		release_all_freed(s);
	xa_for_each(&s->blocks, region, b) {
		if (b->dirty && !s->switched)
			give_up(s, region, b);
		free_block(b);
		cond_resched();
	}
	xa_destroy(&s->blocks);
	qcow2_table_free(&s->table);
	qcow2_alloc_used_up_to(&s->l->alloc, s->top);
	mutex_unlock(&refs_of(s)->lock);
}

/* --- refcounts ------------------------------------------------------------------------------- */

static int load_block(struct qcow2_shadow *s, u64 region, struct block *b)
{
	struct qcow2_refcounts *r = refs_of(s);
	u32 size = s->l->h.cluster_size;
	struct qcow2_fault fault;
	u64 i;

	if (region < r->table.nr &&
	    qcow2_reftable_decode(&s->l->h, qcow2_table_get(&r->table, region), &b->old_off,
				  &fault))
		return -EUCLEAN;
	b->refs = kvzalloc(size, GFP_KERNEL);
	b->used = kvcalloc(BITS_TO_LONGS(refs_per_block(s)), sizeof(long), GFP_KERNEL);
	if (!b->refs || !b->used)
		return -ENOMEM;
	if (b->old_off && qcow2_file_read(&s->l->file, b->refs, b->old_off, size) != size)
		return -EIO;
	for (i = 0; i < refs_per_block(s); i++)
		if (qcow2_refcount_get(b->refs, s->l->h.refcount_order, i))
			__set_bit(i, b->used);
	return 0;
}

static struct block *get_block(struct qcow2_shadow *s, u64 region)
{
	struct block *b = xa_load(&s->blocks, region);
	int err;

	if (b)
		return b;
	b = kzalloc(sizeof(*b), GFP_KERNEL);
	if (!b)
		return ERR_PTR(-ENOMEM);
	err = load_block(s, region, b) ?: xa_err(xa_store(&s->blocks, region, b, GFP_KERNEL));
	if (!err)
		return b;
	free_block(b);
	return ERR_PTR(err);
}

/* @taken: the cluster is one that this change has taken: nobody else raises it from nothing. */
static int change_ref(struct qcow2_shadow *s, u64 cluster, int delta, bool taken)
{
	u32 order = s->l->h.refcount_order, i = cluster & (refs_per_block(s) - 1);
	struct block *b = get_block(s, cluster >> refs_of(s)->block_bits);
	u64 value;

	if (IS_ERR(b))
		return PTR_ERR(b);
	value = qcow2_refcount_get(b->refs, order, i);
	if (delta < 0 ? !value : !taken && !test_bit(i, b->used))
		return -EUCLEAN;
	if (delta > 0 && value == qcow2_refcount_max(order))
		return -EOVERFLOW;
	qcow2_refcount_set(b->refs, order, i, value + delta);
	b->dirty = true;
	return 0;
}

static int change_refs(struct qcow2_shadow *s, u64 start, u64 nr, int delta, bool taken)
{
	int err = 0;

	for (; nr && !err; start++, nr--)
		err = change_ref(s, start, delta, taken);
	return err;
}

int qcow2_shadow_ref(struct qcow2_shadow *s, u64 start, u64 nr, int delta)
{
	if (start >= s->l->alloc.end || nr > s->l->alloc.end - start)
		return -EUCLEAN;
	return change_refs(s, start, nr, delta, false);
}

int qcow2_shadow_refcount(struct qcow2_shadow *s, u64 cluster, u64 *refcount)
{
	struct block *b = xa_load(&s->blocks, cluster >> refs_of(s)->block_bits);

	*refcount = 0;
	if (cluster >= s->l->alloc.end)
		return 0;
	/*
	 * Blocks are kept for what changes only: wrong entries may ask for any of them, wherever
	 * the file has none. Of others the old state is the new one, too.
	 */
	if (!b)
		return qcow2_refcount_read(refs_of(s), cluster, refcount);
	*refcount = qcow2_refcount_get(b->refs, s->l->h.refcount_order,
				       cluster & (refs_per_block(s) - 1));
	return 0;
}

/* --- space ------------------------------------------------------------------------------ */

/*
 * Clusters that are free in the old state; what the new one frees is still needed. The
 * cursor only moves up, so none is found twice.
 */
static int find_free(struct qcow2_shadow *s, u64 nr, u64 *start)
{
	struct qcow2_alloc *a = &s->l->alloc;
	unsigned int any;
	u32 got;
	int err;

	for (;;) {
		any = UINT_MAX;
		err = qcow2_refcount_find_free(refs_of(s), s->cursor, a->end, nr, &any, start,
					       &got);
		if (err || got == nr)
			return err;
		s->cursor = *start;
		if (got && *start + got < a->end)
			s->cursor += got;
		else
			err = qcow2_alloc_extend(a, nr - got);
		if (err)
			return err;
	}
}

int qcow2_shadow_take(struct qcow2_shadow *s, u64 nr, u64 *start)
{
	unsigned int bits = s->l->h.cluster_bits;
	int err = find_free(s, nr, start);

	if (err)
		return err;
	s->cursor = *start + nr;
	s->top = max(s->top, s->cursor);
	if (qcow2_overlap_add(&s->l->overlap, *start << bits, nr << bits) == -EEXIST)
		return -EUCLEAN;
	err = change_refs(s, *start, nr, 1, true);
	/* Those whose refcounts cannot be read nobody would give up later. */
	if (err)
		qcow2_overlap_remove(&s->l->overlap, *start << bits, nr << bits);
	return err;
}

/* --- the switch ------------------------------------------------------------------------- */

/* A new place for each block that changes. That changes others, so: until none is left. */
static int place_blocks(struct qcow2_shadow *s)
{
	unsigned int bits = s->l->h.cluster_bits;
	unsigned long region;
	struct block *b;
	bool again;
	u64 start;
	int err;

	do {
		again = false;
		xa_for_each(&s->blocks, region, b) {
			if (!b->dirty || b->new_off)
				continue;
			err = qcow2_shadow_take(s, 1, &start);
			if (!err && b->old_off)
				err = qcow2_shadow_ref(s, b->old_off >> bits, 1, -1);
			if (err)
				return err;
			b->new_off = start << bits;
			again = true;
		}
	} while (again);
	return 0;
}

/* Regions that have a block in the new state: one behind the last. */
static u64 regions_needed(struct qcow2_shadow *s)
{
	u64 nr = refs_of(s)->table.nr;
	unsigned long region;
	struct block *b;

	xa_for_each(&s->blocks, region, b)
		if (b->dirty)
			nr = max_t(u64, nr, region + 1);
	return nr;
}

/* Clusters for a table of so many entries: a new one, in place of one that was too small. */
static int take_table(struct qcow2_shadow *s, u64 entries)
{
	struct qcow2_header *h = &s->l->h;
	u64 clusters = DIV_ROUND_UP(entries, h->cluster_size / sizeof(__be64)), start;
	int err;

	if (clusters << h->cluster_bits > QCOW2_MAX_REFTABLE_BYTES)
		return -EFBIG;
	err = qcow2_shadow_take(s, clusters, &start);
	if (err)
		return err;
	return qcow2_table_alloc(&s->table, start << h->cluster_bits,
				 (clusters << h->cluster_bits) / sizeof(__be64));
}

/* It was free before, and is again. */
static int give_table_back(struct qcow2_shadow *s)
{
	u64 off = s->table.off, bytes = (u64)s->table.nr * sizeof(__be64);

	qcow2_table_free(&s->table);
	qcow2_overlap_remove(&s->l->overlap, off, bytes);
	return change_refs(s, off >> s->l->h.cluster_bits, bytes >> s->l->h.cluster_bits, -1, true);
}

/*
 * A new refcount table, with room for the blocks of all that is taken. It does not shrink, and
 * grows only if it must: by what itself may need, too, if it is the second try.
 */
static int place_table(struct qcow2_shadow *s)
{
	struct qcow2_header *h = &s->l->h;
	u64 room = 0;
	int err;

	err = qcow2_shadow_ref(s, h->refcount_table_offset >> h->cluster_bits,
			       h->refcount_table_clusters, -1) ?: place_blocks(s);
	while (!err && s->table.nr < regions_needed(s)) {
		if (s->table.nr) {
			room = 2 * room + 1;
			err = give_table_back(s);
		}
		err = err ?: take_table(s, regions_needed(s) + room) ?: place_blocks(s);
	}
	return err;
}

static int write_blocks(struct qcow2_shadow *s)
{
	struct qcow2_refcounts *r = refs_of(s);
	unsigned long region;
	struct block *b;
	int err = 0;

	memcpy(s->table.entries, r->table.entries, (size_t)r->table.nr * sizeof(__be64));
	xa_for_each(&s->blocks, region, b) {
		if (!b->dirty)
			continue;
		err = qcow2_commit_write(&s->l->commit, b->refs, b->new_off, s->l->h.cluster_size);
		if (err)
			return err;
		s->table.entries[region] = cpu_to_be64(b->new_off);
	}
	return qcow2_commit_write(&s->l->commit, s->table.entries, s->table.off,
				  s->table.nr * sizeof(__be64));
}

/* Bytes 24 to 71 of the header: all in its first sector. */
static int write_roots(struct qcow2_shadow *s, const struct qcow2_roots *roots)
{
	u32 table_clusters = (s->table.nr * sizeof(__be64)) >> s->l->h.cluster_bits;
	struct {
		__be64 size;
		__be32 crypt_method;
		__be32 l1_size;
		__be64 l1_table_offset;
		__be64 refcount_table_offset;
		__be32 refcount_table_clusters;
		__be32 nb_snapshots;
		__be64 snapshots_offset;
	} __packed disk;
	const u32 at = offsetof(struct qcow2_disk_header, size);

	memcpy(&disk, s->l->commit.header + at, sizeof(disk));
	/* Ours is rounded down to sectors: leave alone what stays. */
	if (roots->size != s->l->h.size)
		disk.size = cpu_to_be64(roots->size);
	disk.l1_size = cpu_to_be32(roots->l1_size);
	disk.l1_table_offset = cpu_to_be64(roots->l1_table_offset);
	disk.refcount_table_offset = cpu_to_be64(s->table.off);
	disk.refcount_table_clusters = cpu_to_be32(table_clusters);
	disk.nb_snapshots = cpu_to_be32(roots->nb_snapshots);
	disk.snapshots_offset = cpu_to_be64(roots->snapshots_offset);
	return qcow2_commit_header(&s->l->commit, at, &disk, sizeof(disk));
}

/* In memory, too. Nothing here fails. */
static void adopt_roots(struct qcow2_shadow *s, const struct qcow2_roots *roots)
{
	struct qcow2_header *h = &s->l->h;

	h->size = roots->size;
	h->l1_entries_needed = qcow2_map_l1_needed(h, h->size);
	h->l1_size = roots->l1_size;
	h->l1_table_offset = roots->l1_table_offset;
	h->refcount_table_offset = s->table.off;
	h->refcount_table_clusters = (s->table.nr * sizeof(__be64)) >> h->cluster_bits;
	h->nb_snapshots = roots->nb_snapshots;
	h->snapshots_offset = roots->snapshots_offset;
	qcow2_table_swap(&refs_of(s)->table, &s->table);
	qcow2_cache_clear(&refs_of(s)->cache);
	s->switched = true;
}

int qcow2_shadow_switch(struct qcow2_shadow *s, const struct qcow2_roots *roots)
{
	int err = place_table(s) ?: write_blocks(s);

	if (!err && qcow2_is_mutant(SWITCH_PUNCHED))
		release_all_freed(s);
	err = err ?: write_roots(s, roots);
	if (!err)
		adopt_roots(s, roots);
	return err;
}
