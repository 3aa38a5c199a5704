// SPDX-License-Identifier: GPL-2.0
/* The mapping of one qcow2 image. See map.h for the contract. */
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/vmalloc.h>

#include "map.h"

/* Of a table that is copied or cleared, at a time. */
#define BUFFER_SIZE	(64U << 10)

/* Bytes of a slice, log2: 4 KiB, or a whole table where clusters are smaller. */
static unsigned int slice_bits(const struct qcow2_header *h)
{
	return min(h->cluster_bits, QCOW2_SLICE_MAX_BITS);
}

u64 qcow2_map_bytes(const struct qcow2_header *h)
{
	u64 clusters = DIV_ROUND_UP_ULL(h->size, h->cluster_size);

	return round_up(clusters * h->l2_entry_size, 1ULL << slice_bits(h));
}

/* Whole sectors: what lies behind, of a VM's state, is written back as it is. */
u32 qcow2_map_l1_entries(const struct qcow2_header *h, u64 size, u32 l1_size)
{
	u64 needed = qcow2_map_l1_needed(h, size);

	return min_t(u64, l1_size, round_up(needed, 64));
}

void qcow2_map_replace(struct qcow2_map *m, struct qcow2_table *l1)
{
	qcow2_table_swap(&m->l1, l1);
	qcow2_cache_clear(&m->cache);
}

int qcow2_map_open(struct qcow2_map *m, const struct qcow2_header *h,
		   struct qcow2_file *file, u64 cache_bytes, const char **why)
{
	int err;

	*why = "out of memory";
	m->h = h;
	m->file = file;
	m->not_plain = ~0ULL;
	if (h->subclusters == 1 && !qcow2_has_data_file(h))
		m->not_plain = ~(QCOW2_ENTRY_OFFSET_MASK | QCOW2_ENTRY_COPIED) |
			       (h->cluster_size - 1);
	mutex_init(&m->table_lock);
	err = qcow2_cache_init(&m->cache, file, slice_bits(h), cache_bytes);
	if (err)
		return err;
	err = qcow2_table_read(&m->l1, file, h->l1_table_offset,
			       qcow2_map_l1_entries(h, h->size, h->l1_size));
	if (!err)
		return 0;
	if (err != -ENOMEM)
		*why = "the L1 table cannot be read";
	qcow2_cache_destroy(&m->cache);
	return err;
}

void qcow2_map_close(struct qcow2_map *m)
{
	qcow2_cache_destroy(&m->cache);
	qcow2_table_free(&m->l1);
	vfree(m->buffer);
	m->buffer = NULL;
}

/* Where an entry is: a slice, which may not be here, and the first entry of interest in it. */
struct spot {
	u64 slice_off;	/* host offset, bytes; 0 where there is no table */
	u32 idx;	/* entry within the slice */
	u32 left;	/* entries from @idx to the slice's end, or the table's that is not there */
};

static int find_spot(const struct qcow2_map *m, u64 cluster, struct spot *p,
		     struct qcow2_fault *fault)
{
	const struct qcow2_header *h = m->h;
	u32 per_slice = (1U << slice_bits(h)) / h->l2_entry_size;
	u32 l2_idx = cluster & ((1U << h->l2_bits) - 1);
	u64 l1_entry = qcow2_table_get(&m->l1, cluster >> h->l2_bits);
	u64 l2_off;
	int err;

	err = qcow2_l1_decode(h, l1_entry, &l2_off, fault);
	if (err)
		return err;
	p->idx = l2_idx & (per_slice - 1);
	p->left = (1U << h->l2_bits) - l2_idx;
	p->slice_off = l2_off;
	if (l2_off) {
		p->left = per_slice - p->idx;
		p->slice_off += round_down((u64)l2_idx * h->l2_entry_size, 1U << slice_bits(h));
	}
	return 0;
}

static struct qcow2_l2_entry load_entry(const struct qcow2_header *h, const struct qcow2_slice *s,
					u32 idx)
{
	const __be64 *words = qcow2_slice_data(s);
	__be64 pair[2];

	if (h->l2_entry_size == sizeof(*words))
		return (struct qcow2_l2_entry) { .word = be64_to_cpu(READ_ONCE(words[idx])) };
	qcow2_slice_read_pair(s, 2 * idx, pair);
	return (struct qcow2_l2_entry) {
		.word = be64_to_cpu(pair[0]), .bitmap = be64_to_cpu(pair[1]),
	};
}

static int decode_entry(const struct qcow2_header *h, const struct qcow2_slice *s, u32 idx,
			bool for_write, struct qcow2_cluster *c, struct qcow2_fault *fault)
{
	int err = qcow2_l2_decode(h, load_entry(h, s, idx), c, fault);

	/* In place, or not? */
	if (!err && for_write) {
		c->compressed = false;
		c->mapped = c->copied;
		c->host_off = c->copied ? c->host_off : 0;
		c->alloc = c->copied ? c->alloc : 0;
		c->zero = 0;
	}
	return err;
}

/* Subclusters from @sc on with the same answer. */
static u32 alike(const struct qcow2_header *h, const struct qcow2_cluster *c, u32 sc)
{
	u32 bit = 1U << sc, others = c->alloc | c->zero;

	if (c->alloc & bit)
		others = ~c->alloc;
	else if (c->zero & bit)
		others = ~c->zero;
	others >>= sc;
	return min_t(u32, others ? __ffs(others) : U32_MAX, h->subclusters - sc);
}

/*
 * What the first cluster adds to a run: @ext from scratch. Return: true if the cluster
 * ends before the run does.
 */
static bool begin_run(const struct qcow2_header *h, const struct qcow2_cluster *c,
		      u32 in_cluster, struct qcow2_extent *ext)
{
	u32 sc = in_cluster >> h->subcluster_bits, end = sc + alike(h, c, sc);

	ext->type = qcow2_subcluster_type(c, sc);
	if (ext->type == QCOW2_CLUSTER_ZERO_ALLOC)
		ext->type = QCOW2_CLUSTER_ZERO_PLAIN;
	ext->len = (end << h->subcluster_bits) - in_cluster;
	ext->host_off = c->host_off;
	ext->csize = c->csize;
	ext->skip = in_cluster;
	if (ext->type == QCOW2_CLUSTER_NORMAL)
		ext->host_off += in_cluster;
	return end == h->subclusters && !c->compressed;
}

static bool continues_run(const struct qcow2_cluster *c, const struct qcow2_extent *ext)
{
	switch (qcow2_subcluster_type(c, 0)) {
	case QCOW2_CLUSTER_NORMAL:
		return ext->type == QCOW2_CLUSTER_NORMAL &&
		       ext->host_off + ext->len == c->host_off;
	case QCOW2_CLUSTER_UNALLOCATED:
		return ext->type == QCOW2_CLUSTER_UNALLOCATED;
	case QCOW2_CLUSTER_ZERO_PLAIN:
	case QCOW2_CLUSTER_ZERO_ALLOC:
		return ext->type == QCOW2_CLUSTER_ZERO_PLAIN;
	default:
		return false;
	}
}

/*
 * Lengthen the run by @nr entries of a slice. Return: true if the slice ended
 * before the run or the need did. A bad entry ends the run; it is an error only
 * when it is asked for itself.
 */
static bool extend_run(const struct qcow2_header *h, const struct qcow2_slice *s, u32 idx, u32 nr,
		       u64 len, bool for_write, struct qcow2_extent *ext)
{
	u32 end = idx + nr, n = h->subclusters;
	struct qcow2_cluster c;
	struct qcow2_fault fault;

	for (; idx < end && ext->len < len && n == h->subclusters; idx++) {
		if (decode_entry(h, s, idx, for_write, &c, &fault) || !continues_run(&c, ext))
			return false;
		n = alike(h, &c, 0);
		ext->len += n << h->subcluster_bits;
	}
	return ext->len < len && n == h->subclusters;
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
static void extend_over_slices(struct qcow2_map *m, u64 cluster, u64 len, bool for_write,
			       struct qcow2_extent *ext)
{
	const struct qcow2_header *h = m->h;
	const struct qcow2_slice *s;
	struct qcow2_fault fault;
	struct spot p;
	bool more = true;

	while (more) {
		if (find_spot(m, cluster, &p, &fault))
			return;
		if (p.slice_off) {
			s = qcow2_cache_find(&m->cache, p.slice_off);
			if (!s)
				return;
			more = extend_run(h, s, p.idx, p.left, len, for_write, ext);
		} else {
			more = extend_hole(h, p.left, len, ext);
		}
		cluster += p.left;
	}
}

/* The run from the first entry at @p on; @s is its slice, or NULL for none. */
static int map_run(struct qcow2_map *m, const struct qcow2_slice *s, const struct spot *p,
		   u64 off, u64 len, bool for_write, struct qcow2_extent *ext,
		   struct qcow2_fault *fault)
{
	const struct qcow2_header *h = m->h;
	struct qcow2_cluster c = { };
	bool more;
	int err;

	if (s) {
		err = decode_entry(h, s, p->idx, for_write, &c, fault) ?:
		      qcow2_check_place(h, &c, round_down(off, (u64)h->cluster_size), fault);
		if (err)
			return err;
	}
	more = begin_run(h, &c, off & (h->cluster_size - 1), ext);
	if (more && ext->len < len) {
		if (s)
			more = extend_run(h, s, p->idx + 1, p->left - 1, len, for_write, ext);
		else
			more = extend_hole(h, p->left - 1, len, ext);
		if (more)
			extend_over_slices(m, (off >> h->cluster_bits) + p->left, len, for_write,
					   ext);
	}
	ext->len = min(ext->len, len);
	return 0;
}

static int lookup_loaded(struct qcow2_map *m, const struct spot *p, u64 off, u64 len,
			 bool for_write, struct qcow2_extent *ext, struct qcow2_fault *fault)
{
	struct qcow2_slice *s = qcow2_cache_get(&m->cache, p->slice_off);
	int err;

	if (IS_ERR(s))
		return PTR_ERR(s);
	rcu_read_lock();
	err = map_run(m, s, p, off, len, for_write, ext, fault);
	rcu_read_unlock();
	qcow2_cache_put(s);
	return err;
}

bool qcow2_map_lookup_plain(struct qcow2_map *m, u64 off, u64 len, bool for_write,
			    struct qcow2_extent *ext)
{
	const struct qcow2_header *h = m->h;
	u32 in_cluster = off & (h->cluster_size - 1), l2_idx;
	u64 cluster = off >> h->cluster_bits, word, l2_off;
	__be64 entry = 0;

	if (in_cluster + len > h->cluster_size)
		return false;
	word = qcow2_table_get(&m->l1, cluster >> h->l2_bits);
	if (word & m->not_plain)
		return false;
	l2_off = word & QCOW2_ENTRY_OFFSET_MASK;
	l2_idx = cluster & ((1U << h->l2_bits) - 1);
	if (l2_off && !qcow2_cache_peek(&m->cache, l2_off + l2_idx * sizeof(entry), &entry))
		return false;
	word = be64_to_cpu(entry);
	if (word & m->not_plain)
		return false;
	if (!word) {
		ext->type = QCOW2_CLUSTER_UNALLOCATED;
		ext->host_off = 0;
	} else {
		if (word == QCOW2_ENTRY_COPIED || (for_write && !(word & QCOW2_ENTRY_COPIED)))
			return false;
		ext->type = QCOW2_CLUSTER_NORMAL;
		ext->host_off = (word & QCOW2_ENTRY_OFFSET_MASK) + in_cluster;
	}
	ext->len = len;
	return true;
}

int qcow2_map_lookup(struct qcow2_map *m, u64 off, u64 len, bool may_sleep, bool for_write,
		     struct qcow2_extent *ext, struct qcow2_fault *fault)
{
	const struct qcow2_slice *s = NULL;
	struct spot p;
	int err;

	if (qcow2_map_lookup_plain(m, off, len, for_write, ext))
		return 0;
	err = find_spot(m, off >> m->h->cluster_bits, &p, fault);
	if (err)
		return err;
	rcu_read_lock();
	if (p.slice_off)
		s = qcow2_cache_find(&m->cache, p.slice_off);
	if (s || !p.slice_off)
		err = map_run(m, s, &p, off, len, for_write, ext, fault);
	else
		err = -EAGAIN;
	rcu_read_unlock();
	if (err == -EAGAIN && may_sleep)
		return lookup_loaded(m, &p, off, len, for_write, ext, fault);
	return err;
}

/* --- changes --------------------------------------------------------------------------- */

static int protect_tables(struct qcow2_map *m, const __be64 *l1, u32 nr,
			  struct qcow2_fault *fault)
{
	u64 l2_off;
	u32 i;
	int err = 0;

	for (i = 0; i < nr && !err; i++) {
		err = qcow2_l1_decode(m->h, be64_to_cpu(l1[i]), &l2_off, fault);
		if (!err && l2_off)
			err = qcow2_overlap_add(m->overlap, l2_off, m->h->cluster_size);
	}
	return err;
}

int qcow2_map_make_writable(struct qcow2_map *m, struct qcow2_alloc *alloc,
			    struct qcow2_overlap *overlap, struct qcow2_fault *fault)
{
	u32 i, nr;
	size_t bytes;
	int err;

	m->alloc = alloc;
	m->overlap = overlap;
	m->buffer = vmalloc(BUFFER_SIZE);
	if (!m->buffer)
		return -ENOMEM;
	err = protect_tables(m, m->l1.entries, m->l1.nr, fault);
	/* There may be many more than the disk needs. */
	for (i = m->l1.nr; i < m->h->l1_size && !err; i += nr) {
		nr = min_t(u32, m->h->l1_size - i, BUFFER_SIZE / sizeof(__be64));
		bytes = nr * sizeof(__be64);
		if (fatal_signal_pending(current))
			return -EINTR;
		if (qcow2_file_read(m->file, m->buffer, m->l1.off + (u64)i * sizeof(__be64),
				    bytes) != bytes)
			return -EIO;
		err = protect_tables(m, m->buffer, nr, fault);
		cond_resched();
	}
	return err;
}

/* Fill a new table with the bytes of @from, or with zeros where that is 0. */
static int fill_table(struct qcow2_map *m, u64 to, u64 from)
{
	u32 size = m->h->cluster_size, step = min(size, BUFFER_SIZE), done;
	ssize_t got = step;
	int err = 0;

	memset(m->buffer, 0, step);
	for (done = 0; done < size && !err; done += step) {
		if (from)
			got = qcow2_file_read(m->file, m->buffer, from + done, step);
		if (got != step)
			return got < 0 ? got : -ENODATA;
		err = qcow2_commit_write(m->alloc->commit, m->buffer, to + done, step);
	}
	return err;
}

/*
 * A table of our own: a new one, or a copy of one that snapshots share. It is on disk,
 * if not durable, before the L1 entry points to it in memory.
 */
static int new_table(struct qcow2_map *m, u32 l1_idx, u64 old_off)
{
	struct qcow2_free_batch *batch = NULL;
	struct qcow2_run run;
	bool zero;
	u64 off;
	int err;

	if (old_off) {
		batch = qcow2_alloc_batch(m->alloc);
		if (!batch)
			return -EBUSY;
		qcow2_alloc_batch_add(batch, old_off >> m->h->cluster_bits, 1);
	}
	err = qcow2_alloc_take(m->alloc, 1, &run);
	if (err) {
		qcow2_alloc_batch_drop(m->alloc, batch);
		return err;
	}
	off = run.start << m->h->cluster_bits;
	/* Where space could not be reserved, find out now whether there is some. */
	zero = run.zero && m->file->can_grow;
	if (old_off || !zero)
		err = fill_table(m, off, old_off);
	if (err) {
		qcow2_alloc_give_back(m->alloc, &run, true);
		qcow2_alloc_batch_drop(m->alloc, batch);
		return err == -ENOSPC || err == -EDQUOT ? -ENOSPC : -EIO;
	}
	qcow2_overlap_add(m->overlap, off, m->h->cluster_size);
	if (old_off)
		qcow2_overlap_remove(m->overlap, old_off, m->h->cluster_size);
	/* From an earlier life as a table of that cluster. */
	qcow2_cache_forget(&m->cache, off, m->h->cluster_size);
	qcow2_table_set(&m->l1, l1_idx, off | QCOW2_ENTRY_COPIED,
			old_off || !qcow2_alloc_virgin(m->alloc, &run));
	qcow2_alloc_published(m->alloc, 1);
	qcow2_alloc_free(m->alloc, batch);
	return 0;
}

/* Is there an L2 table, and does nothing else refer to it? */
static bool is_owned(u64 l1_entry)
{
	return (l1_entry & QCOW2_ENTRY_COPIED) && (l1_entry & QCOW2_ENTRY_OFFSET_MASK);
}

/* Make sure that a cluster's L2 table, if it has one or must have one, is our own. */
static int own_table(struct qcow2_map *m, u64 cluster, bool create, struct qcow2_fault *fault)
{
	u32 l1_idx = cluster >> m->h->l2_bits;
	u64 entry = qcow2_table_get(&m->l1, l1_idx), l2_off;
	int err;

	if (is_owned(entry))
		return 0;
	mutex_lock(&m->table_lock);
	entry = qcow2_table_get(&m->l1, l1_idx);
	err = qcow2_l1_decode(m->h, entry, &l2_off, fault);
	if (!err && !l2_off && !create)
		err = -ENOENT;
	if (!err && !is_owned(entry))
		err = new_table(m, l1_idx, l2_off);
	mutex_unlock(&m->table_lock);
	return err;
}

int qcow2_map_hold(struct qcow2_map *m, u64 cluster, bool create, struct qcow2_place *p,
		   struct qcow2_fault *fault)
{
	struct spot spot;
	int err;

	err = own_table(m, cluster, create, fault) ?: find_spot(m, cluster, &spot, fault);
	if (err)
		return err;
	p->slice = qcow2_cache_get(&m->cache, spot.slice_off);
	p->cluster = cluster;
	p->idx = spot.idx;
	p->left = spot.left;
	return PTR_ERR_OR_ZERO(p->slice);
}

void qcow2_map_put(struct qcow2_place *p)
{
	qcow2_cache_put(p->slice);
}

int qcow2_map_entry(const struct qcow2_map *m, const struct qcow2_place *p, u32 i,
		    struct qcow2_cluster *c, struct qcow2_fault *fault)
{
	return qcow2_l2_decode(m->h, load_entry(m->h, p->slice, p->idx + i), c, fault) ?:
	       qcow2_check_place(m->h, c, (p->cluster + i) << m->h->cluster_bits, fault);
}

/* Under the cache's lock; lookups see all of the new entry, or all of the old one. */
static void store_entry(struct qcow2_map *m, const struct qcow2_place *p, u32 i,
			const struct qcow2_cluster *c, bool ordered)
{
	u32 idx = p->idx + i, size = m->h->l2_entry_size;
	struct qcow2_l2_entry entry = qcow2_l2_encode(m->h, c);
	__be64 pair[2] = { cpu_to_be64(entry.word), cpu_to_be64(entry.bitmap) };
	__be64 *at = qcow2_slice_change(&m->cache, p->slice, idx * size, size, ordered);

	if (size == sizeof(*at))
		WRITE_ONCE(*at, pair[0]);
	else
		qcow2_slice_write_pair(p->slice, 2 * idx, pair);
}

void qcow2_map_publish(struct qcow2_map *m, const struct qcow2_place *p, u32 first, u32 end,
		       u64 host_off, bool ordered)
{
	u32 n = m->h->subclusters, i, begin, mask;
	struct qcow2_cluster c;
	struct qcow2_fault fault;
	unsigned long flags;

	qcow2_cache_change_begin(&m->cache, flags);
	for (i = 0; i * n < end; i++, host_off += m->h->cluster_size) {
		/* Its claimer has decoded it before. */
		qcow2_map_entry(m, p, i, &c, &fault);
		begin = max(first, i * n) - i * n;
		mask = qcow2_subcluster_mask(begin, min(end - i * n, n));
		c.compressed = false;
		c.mapped = true;
		c.copied = true;
		c.host_off = host_off;
		c.alloc |= mask;
		c.zero &= ~mask;
		store_entry(m, p, i, &c, ordered);
	}
	qcow2_cache_change_end(&m->cache, flags);
}

void qcow2_map_set(struct qcow2_map *m, const struct qcow2_place *p, u32 i,
		   const struct qcow2_cluster *c)
{
	unsigned long flags;

	qcow2_cache_change_begin(&m->cache, flags);
	store_entry(m, p, i, c, true);
	qcow2_cache_change_end(&m->cache, flags);
}
