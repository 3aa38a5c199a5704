// SPDX-License-Identifier: GPL-2.0-or-later
#include "checker.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_CLUSTERS	(1ULL << 40)

static const char *const use_names[QCOW2_NR_USES] = {
	[QCOW2_USE_NONE] = "nothing",
	[QCOW2_USE_HEADER] = "the header",
	[QCOW2_USE_REFCOUNT_TABLE] = "the refcount table",
	[QCOW2_USE_REFCOUNT_BLOCK] = "a refcount block",
	[QCOW2_USE_L1] = "an L1 table",
	[QCOW2_USE_SNAPSHOT_TABLE] = "the snapshot table",
	[QCOW2_USE_ENCRYPTION] = "the encryption header",
	[QCOW2_USE_BITMAP_DIRECTORY] = "the bitmap directory",
	[QCOW2_USE_BITMAP_TABLE] = "a bitmap table",
	[QCOW2_USE_BITMAP] = "a bitmap",
	[QCOW2_USE_L2] = "an L2 table",
	[QCOW2_USE_L2_ACTIVE] = "an L2 table",
	[QCOW2_USE_DATA] = "data",
	[QCOW2_USE_COMPRESSED] = "compressed data",
};

static void __attribute__((format(printf, 4, 5)))
fault(struct qcow2_checker *c, enum qcow2_fault_kind kind, u64 where, const char *format, ...)
{
	char what[512];
	va_list ap;

	if (kind != QCOW2_FAULT_LEAK)
		c->found[kind]++;
	if (!c->report)
		return;
	va_start(ap, format);
	vsnprintf(what, sizeof(what), format, ap);
	va_end(ap);
	c->report(c->data, kind, where, what);
}

u64 qcow2_checker_corruptions(const struct qcow2_checker *c)
{
	u64 sum = 0;
	int kind;

	for (kind = QCOW2_FAULT_LEAK + 1; kind < QCOW2_NR_FAULT_KINDS; kind++)
		sum += c->found[kind];
	return sum;
}

u64 qcow2_checker_clusters(const struct qcow2_checker *c)
{
	return (c->file_size + c->h->cluster_size - 1) >> c->h->cluster_bits;
}

u64 qcow2_checker_refcounts(const struct qcow2_checker *c)
{
	return 1ULL << (c->h->cluster_bits + 3 - c->h->refcount_order);
}

/* --- reading ------------------------------------------------------------------------------- */

/* What lies past the end of the file reads as zeros. */
static int read_at(struct qcow2_checker *c, void *buf, size_t len, u64 off)
{
	ssize_t n = qcow2_image_pread(c->fd, buf, len, off);

	if (n < 0)
		return qcow2_error_set(c->err, QCOW2_EXIT_FAILED, c->file,
				       "cannot read it at %llu: %s", off, strerror(-n));
	memset((char *)buf + n, 0, len - n);
	return 0;
}

static int write_at(struct qcow2_checker *c, const void *buf, size_t len, u64 off)
{
	return qcow2_image_pwrite(c->fd, c->file, buf, len, off, c->err);
}

static int read_cluster(struct qcow2_checker *c, u64 off)
{
	qcow2_progress_update(c->progress, ++c->done, c->total);
	return read_at(c, c->buf, c->h->cluster_size, off);
}

/* A table of 8-byte numbers, in CPU byte order; to be freed. */
static int read_table(struct qcow2_checker *c, u64 off, u64 entries, u64 **table)
{
	u64 i;

	*table = malloc(entries * sizeof(**table));
	if (!*table)
		qcow2_error_nomem();
	if (read_at(c, *table, entries * sizeof(**table), off)) {
		free(*table);
		*table = NULL;
		return QCOW2_EXIT_FAILED;
	}
	for (i = 0; i < entries; i++)
		(*table)[i] = be64toh((*table)[i]);
	return 0;
}

/* --- references ---------------------------------------------------------------------------- */

static bool is_of_refcounts(enum qcow2_use use)
{
	return use == QCOW2_USE_REFCOUNT_TABLE || use == QCOW2_USE_REFCOUNT_BLOCK;
}

/* Return: there was no other use. */
static bool refer_cluster(struct qcow2_checker *c, u64 cluster, enum qcow2_use use,
			  u64 times)
{
	enum qcow2_use before = qcow2_refs_add(c->refs, cluster, use, times);

	if (before)
		fault(c, is_of_refcounts(before) || is_of_refcounts(use) ?
		      QCOW2_FAULT_REFCOUNT_TABLE : QCOW2_FAULT_STRUCTURE, cluster,
		      "cluster %llu is used as %s and as %s", cluster, use_names[before],
		      use_names[use]);
	return !before && !qcow2_refs_is_mixed(c->refs, cluster);
}

/*
 * These bytes are referred to by what lies at @where. The file may end within its last cluster.
 * Return: they are there, and used for nothing else.
 */
static bool refer(struct qcow2_checker *c, u64 off, u64 len, enum qcow2_use use,
		  u64 times, u64 where)
{
	u64 cluster, last;
	bool alone = true;

	if (!len)
		return true;
	if (off > c->whole_sectors || len >= c->whole_sectors - off + c->h->cluster_size) {
		fault(c, QCOW2_FAULT_STRUCTURE, where,
		      "%s at %llu lies past the end of the file", use_names[use], off);
		return false;
	}
	last = (off + len - 1) >> c->h->cluster_bits;
	for (cluster = off >> c->h->cluster_bits; cluster <= last; cluster++)
		alone &= refer_cluster(c, cluster, use, times);
	return alone;
}

/* --- refcounts ----------------------------------------------------------------------------- */

/* Note which refcounts are one. */
static int note_block(struct qcow2_checker *c, uint32_t idx)
{
	u64 n = qcow2_checker_refcounts(c), first = idx * n, i;
	u64 end = qcow2_refs_end(c->refs);

	if (read_cluster(c, c->reftable[idx]))
		return QCOW2_EXIT_FAILED;
	for (i = 0; i < n && first + i < end; i++)
		if (qcow2_refcount_get(c->buf, c->h->refcount_order, i) == 1)
			qcow2_refs_set_single(c->refs, first + i);
	return 0;
}

static int note_reftable_entry(struct qcow2_checker *c, uint32_t idx)
{
	u64 where = c->h->refcount_table_offset + idx * sizeof(__be64);
	u64 entry = c->reftable[idx];
	struct qcow2_fault why;
	u64 off;

	c->reftable[idx] = 0;
	c->unknown[idx] = true;
	if (qcow2_reftable_decode(c->h, entry, &off, &why)) {
		fault(c, QCOW2_FAULT_REFCOUNT_TABLE, where,
		      "refcount table entry %u (0x%llx): %s", idx, entry, why.sentence);
		return 0;
	}
	if (off >= c->whole_sectors) {
		fault(c, QCOW2_FAULT_REFCOUNT_TABLE, where,
		      "refcount block %u at %llu lies past the end of the file", idx, off);
		return 0;
	}
	if (off && !refer(c, off, c->h->cluster_size, QCOW2_USE_REFCOUNT_BLOCK, 1, where))
		return 0;
	c->reftable[idx] = off;
	c->unknown[idx] = false;
	return off ? note_block(c, idx) : 0;
}

static int note_refcounts(struct qcow2_checker *c)
{
	u64 len = (u64)c->h->refcount_table_clusters << c->h->cluster_bits;
	uint32_t i;

	c->reftable_entries = len / sizeof(__be64);
	c->unknown = calloc(c->reftable_entries, sizeof(*c->unknown));
	if (!c->unknown)
		qcow2_error_nomem();
	if (read_table(c, c->h->refcount_table_offset, c->reftable_entries, &c->reftable))
		return QCOW2_EXIT_FAILED;
	for (i = 0; i < c->reftable_entries; i++)
		c->total += 2 * !!c->reftable[i];
	refer(c, c->h->refcount_table_offset, len, QCOW2_USE_REFCOUNT_TABLE, 1, 0);
	for (i = 0; i < c->reftable_entries; i++)
		if (note_reftable_entry(c, i))
			return QCOW2_EXIT_FAILED;
	return 0;
}

static bool refcount_is_unknown(const struct qcow2_checker *c, u64 cluster)
{
	u64 idx = cluster / qcow2_checker_refcounts(c);

	return idx < c->reftable_entries && c->unknown[idx];
}

/* The flag of an entry at @where that refers to @cluster is wrong: set it right, if asked to. */
static bool fix_copied(struct qcow2_checker *c, u64 *entry, u64 where, bool once)
{
	if (!c->fix_copied) {
		fault(c, QCOW2_FAULT_COPIED, where,
		      "the entry at %llu (0x%llx) has the flag COPIED %s, but the refcount is %s",
		      where, *entry, once ? "clear" : "set", once ? "one" : "not one");
		return false;
	}
	*entry ^= QCOW2_ENTRY_COPIED;
	c->fixed++;
	return true;
}

/* Return: @entry was changed. */
static bool check_copied(struct qcow2_checker *c, u64 *entry, u64 where,
			 u64 cluster)
{
	bool once = qcow2_refs_is_single(c->refs, cluster);
	bool copied = *entry & QCOW2_ENTRY_COPIED;

	if (c->count_only || once == copied || refcount_is_unknown(c, cluster))
		return false;
	return fix_copied(c, entry, where, once);
}

/* --- L1 tables ----------------------------------------------------------------------------- */

/* Return: @entry was changed. */
static bool check_l1_entry(struct qcow2_checker *c, u64 *entry, u64 where, bool active)
{
	u64 off = *entry & QCOW2_ENTRY_OFFSET_MASK;
	struct qcow2_fault why;
	u64 ignored;

	if (!*entry)
		return false;
	if (qcow2_l1_decode(c->h, *entry, &ignored, &why))
		fault(c, QCOW2_FAULT_STRUCTURE, where, "the L1 entry at %llu (0x%llx): %s",
		      where, *entry, why.sentence);
	else if (!off)
		fault(c, QCOW2_FAULT_STRUCTURE, where,
		      "the L1 entry at %llu (0x%llx) has flags, but no L2 table", where,
		      *entry);
	/* Reserved bits do not hide where the table is. */
	if (!off || off & (c->h->cluster_size - 1))
		return false;
	refer(c, off, c->h->cluster_size, active ? QCOW2_USE_L2_ACTIVE : QCOW2_USE_L2, 1, where);
	return active && off < c->whole_sectors &&
	       check_copied(c, entry, where, off >> c->h->cluster_bits);
}

static int write_entry(struct qcow2_checker *c, u64 entry, u64 where)
{
	__be64 disk = htobe64(entry);

	return write_at(c, &disk, sizeof(disk), where);
}

static int walk_l1(struct qcow2_checker *c, u64 off, uint32_t entries, bool active)
{
	u64 *table;
	int ret = 0;
	uint32_t i;

	if (!refer(c, off, (u64)entries * sizeof(*table), QCOW2_USE_L1, 1, off) || !entries)
		return 0;
	if (read_table(c, off, entries, &table))
		return QCOW2_EXIT_FAILED;
	for (i = 0; i < entries && !ret; i++) {
		u64 where = off + i * sizeof(*table);

		if (check_l1_entry(c, &table[i], where, active))
			ret = write_entry(c, table[i], where);
	}
	free(table);
	return ret;
}

/* --- what else an image has ---------------------------------------------------------------- */

/* A list that cannot be read: the sentence begins with the file's name. */
static void broken_list(struct qcow2_checker *c, u64 where, const struct qcow2_error *broken)
{
	fault(c, QCOW2_FAULT_STRUCTURE, where, "%s", broken->text + strlen(c->file) + 2);
}

static int walk_snapshots(struct qcow2_checker *c)
{
	struct qcow2_snapshot *snapshots;
	struct qcow2_error broken;
	uint32_t i, count = c->h->nb_snapshots;
	struct qcow2_fault why;
	int ret = 0;

	if (qcow2_image_snapshots(c->image, c->fd, c->file_size, c->file, &snapshots, &broken)) {
		broken_list(c, c->h->snapshots_offset, &broken);
		return 0;
	}
	if (!count)
		return 0;
	if (c->h->incompatible_features & QCOW2_INCOMPAT_DATA_FILE)
		fault(c, QCOW2_FAULT_STRUCTURE, 0,
		      "there are %u snapshots, which an image with a data file cannot have", count);
	refer(c, c->h->snapshots_offset, snapshots[count - 1].end - c->h->snapshots_offset,
	      QCOW2_USE_SNAPSHOT_TABLE, 1, 0);
	for (i = 0; i < count && !ret; i++) {
		struct qcow2_snapshot *s = &snapshots[i];

		if (qcow2_snapshot_check_l1(c->h, s->l1_table_offset, s->l1_size, c->file_size,
					    &why))
			fault(c, QCOW2_FAULT_STRUCTURE, i, "snapshot %s: %s (%llu)", s->id,
			      why.sentence, (u64)why.value);
		else
			ret = walk_l1(c, s->l1_table_offset, s->l1_size, false);
	}
	qcow2_image_snapshots_free(snapshots, count);
	return ret;
}

static int walk_bitmap(struct qcow2_checker *c, const struct qcow2_bitmap *bitmap)
{
	u64 off = bitmap->entry.table_offset, len = bitmap->entry.table_size;
	struct qcow2_fault why;
	u64 *table;
	u64 cluster_off;
	bool ones;
	uint32_t i;

	if (!refer(c, off, len * sizeof(*table), QCOW2_USE_BITMAP_TABLE, 1, off))
		return 0;
	if (read_table(c, off, len, &table))
		return QCOW2_EXIT_FAILED;
	for (i = 0; i < len; i++) {
		u64 where = off + i * sizeof(*table);

		if (qcow2_bitmap_decode(c->h, table[i], &cluster_off, &ones, &why))
			fault(c, QCOW2_FAULT_STRUCTURE, where,
			      "the bitmap table entry at %llu (0x%llx): %s", where,
			      table[i], why.sentence);
		else if (cluster_off)
			refer(c, cluster_off, c->h->cluster_size, QCOW2_USE_BITMAP, 1, where);
	}
	free(table);
	return 0;
}

static int walk_bitmaps(struct qcow2_checker *c)
{
	struct qcow2_bitmap *bitmaps;
	struct qcow2_error broken;
	struct qcow2_bitmaps b;
	struct qcow2_fault why;
	uint32_t i, count;
	int ret = 0;

	if (qcow2_image_bitmaps(c->image, c->fd, c->file_size, c->file, &bitmaps, &count,
				&broken)) {
		broken_list(c, 1, &broken);
		return 0;
	}
	if (!count)
		return 0;
	if (!qcow2_bitmaps_parse(c->image->buf, c->h, c->file_size, &b, &why))
		refer(c, b.directory_offset, b.directory_size, QCOW2_USE_BITMAP_DIRECTORY, 1, 0);
	for (i = 0; i < count && !ret; i++)
		ret = walk_bitmap(c, &bitmaps[i]);
	qcow2_image_bitmaps_free(bitmaps, count);
	return ret;
}

static void note_encryption(struct qcow2_checker *c)
{
	if (c->h->crypto_len)
		refer(c, c->h->crypto_off, c->h->crypto_len, QCOW2_USE_ENCRYPTION, 1, 0);
}

/* --- L2 tables ----------------------------------------------------------------------------- */

/**
 * struct table - an L2 table
 * @off: where it lies.
 * @times: how often it is referred to.
 * @active: by the disk, too.
 * @next_off: where a cluster lies that continues the one before; 0: there is none before.
 */
struct table {
	u64 off;
	u64 times;
	bool active;
	u64 next_off;
};

/**
 * struct mapping - what an L2 entry refers to
 * @off: where; in the data file, if there is one.
 * @len: bytes; 0: it refers to nothing.
 * @compressed: a compressed cluster.
 */
struct mapping {
	u64 off;
	u64 len;
	bool compressed;
};

/* The only place here that knows how an L2 entry is laid out. */
static void map_entry(struct qcow2_checker *c, u64 entry, u64 bitmap, u64 where,
		      struct mapping *m)
{
	bool data_file = c->h->incompatible_features & QCOW2_INCOMPAT_DATA_FILE;
	const struct qcow2_l2_entry words = { .word = entry, .bitmap = bitmap };
	struct qcow2_cluster cluster;
	struct qcow2_fault why;

	m->compressed = entry & QCOW2_ENTRY_COMPRESSED;
	m->off = entry & QCOW2_ENTRY_OFFSET_MASK;
	m->len = m->off || (data_file && entry & QCOW2_ENTRY_COPIED) ? c->h->cluster_size : 0;
	if (qcow2_l2_decode(c->h, words, &cluster, &why)) {
		fault(c, QCOW2_FAULT_STRUCTURE, where, "the L2 entry at %llu (0x%llx): %s",
		      where, entry, why.sentence);
		/* Reserved bits do not hide where a cluster is. */
		if (m->compressed || m->off & (c->h->cluster_size - 1))
			m->len = 0;
	} else {
		m->off = cluster.host_off;
		m->len = m->compressed ? cluster.csize : cluster.mapped ? c->h->cluster_size : 0;
	}
}

static void count_guest_cluster(struct qcow2_checker *c, struct table *t, const struct mapping *m)
{
	if (!t->active)
		return;
	c->allocated++;
	if (m->compressed) {
		c->compressed++;
		c->fragmented++;
		return;
	}
	if (t->next_off && t->next_off != m->off)
		c->fragmented++;
	t->next_off = m->off + c->h->cluster_size;
}

/* Return: @entry was changed. */
static bool check_l2_entry(struct qcow2_checker *c, struct table *t, u64 *entry,
			   u64 bitmap, u64 where)
{
	bool data_file = c->h->incompatible_features & QCOW2_INCOMPAT_DATA_FILE;
	struct mapping m;

	map_entry(c, *entry, bitmap, where, &m);
	if (m.len)
		count_guest_cluster(c, t, &m);
	if (m.compressed) {
		refer(c, m.off, m.len, QCOW2_USE_COMPRESSED, t->times, where);
		return *entry & QCOW2_ENTRY_COPIED && fix_copied(c, entry, where, false);
	}
	if (!m.len)
		return false;
	/* Clusters of a data file have no refcounts: each belongs to one guest cluster. */
	if (data_file)
		return t->active && !(*entry & QCOW2_ENTRY_COPIED) &&
		       fix_copied(c, entry, where, true);
	refer(c, m.off, m.len, QCOW2_USE_DATA, t->times, where);
	return t->active && m.off < c->whole_sectors &&
	       check_copied(c, entry, where, m.off >> c->h->cluster_bits);
}

static int walk_l2(struct qcow2_checker *c, struct table *t)
{
	unsigned int words = c->h->l2_entry_size / sizeof(__be64);
	unsigned int i, n = c->h->cluster_size / sizeof(__be64);
	__be64 *table = c->buf;
	bool changed = false;

	if (read_cluster(c, t->off))
		return QCOW2_EXIT_FAILED;
	for (i = 0; i < n; i += words) {
		u64 entry = be64toh(table[i]), bitmap = words > 1 ? be64toh(table[i + 1]) : 0;

		if (!entry && !bitmap)
			continue;
		if (check_l2_entry(c, t, &entry, bitmap, t->off + i * sizeof(*table))) {
			table[i] = htobe64(entry);
			changed = true;
		}
	}
	return changed ? write_at(c, table, c->h->cluster_size, t->off) : 0;
}

static u64 count_l2(const struct qcow2_checker *c)
{
	u64 cluster, count = 0;
	bool active;

	for (cluster = qcow2_refs_next(c->refs, 0); cluster != UINT64_MAX;
	     cluster = qcow2_refs_next(c->refs, cluster + 1))
		count += !!qcow2_refs_l2(c->refs, cluster, &active);
	return count;
}

/*
 * In the order in which they lie in the file, each one once: what it refers to has as many
 * references more as it has itself.
 */
static int walk_l2_tables(struct qcow2_checker *c)
{
	u64 cluster;

	c->total += count_l2(c);
	for (cluster = qcow2_refs_next(c->refs, 0); cluster != UINT64_MAX;
	     cluster = qcow2_refs_next(c->refs, cluster + 1)) {
		struct table t = { .off = cluster << c->h->cluster_bits };

		t.times = qcow2_refs_l2(c->refs, cluster, &t.active);
		if (t.times && walk_l2(c, &t))
			return QCOW2_EXIT_FAILED;
	}
	return 0;
}

/* --- comparing ----------------------------------------------------------------------------- */

static void add_leaked(struct qcow2_checker *c, u64 first, u64 count)
{
	/* The array grows at powers of two. */
	if (!(c->nr_leaked & (c->nr_leaked - 1)))
		c->leaked = reallocarray(c->leaked, c->nr_leaked ? c->nr_leaked * 2 : 1,
					 sizeof(*c->leaked));
	if (!c->leaked)
		qcow2_error_nomem();
	c->leaked[c->nr_leaked++] = (struct qcow2_run) { first, count };
}

/**
 * struct leak - leaked clusters, one after the other
 * @refcount: of each.
 * @references: to each.
 */
struct leak {
	struct qcow2_run run;
	u64 refcount;
	u64 references;
};

static void report_leak(struct qcow2_checker *c, struct leak *leak)
{
	u64 first = leak->run.first, count = leak->run.count;

	if (!count)
		return;
	c->found[QCOW2_FAULT_LEAK] += count;
	if (!leak->references)
		add_leaked(c, first, count);
	if (leak->references == 1)
		c->lowered += count;
	if (count == 1)
		fault(c, QCOW2_FAULT_LEAK, first,
		      "cluster %llu is leaked: refcount %llu, %llu references",
		      first, leak->refcount, leak->references);
	else
		fault(c, QCOW2_FAULT_LEAK, first,
		      "clusters %llu to %llu are leaked: refcount %llu, %llu references",
		      first, first + count - 1, leak->refcount, leak->references);
	leak->run.count = 0;
}

static void compare_cluster(struct qcow2_checker *c, u64 cluster, u64 refcount,
			    struct leak *leak)
{
	u64 references = qcow2_refs_count(c->refs, cluster);

	if (refcount || references)
		c->image_end = (cluster + 1) << c->h->cluster_bits;
	if (leak->run.count && (refcount <= references || refcount != leak->refcount ||
				references != leak->references))
		report_leak(c, leak);
	if (refcount > references) {
		if (!leak->run.count)
			*leak = (struct leak) { { cluster, 0 }, refcount, references };
		leak->run.count++;
	} else if (refcount < references && !qcow2_refs_is_mixed(c->refs, cluster)) {
		fault(c, QCOW2_FAULT_REFCOUNT, cluster,
		      "cluster %llu has refcount %llu, but %llu references",
		      cluster, refcount, references);
	}
}

static int compare_block(struct qcow2_checker *c, u64 off, u64 first, u64 end)
{
	struct leak leak = { };
	u64 i;

	if (read_cluster(c, off))
		return QCOW2_EXIT_FAILED;
	for (i = first; i < end; i++)
		compare_cluster(c, i, qcow2_refcount_get(c->buf, c->h->refcount_order, i - first),
				&leak);
	report_leak(c, &leak);
	return 0;
}

/* Where there is no refcount block all refcounts are 0. */
static void compare_absent(struct qcow2_checker *c, u64 first, u64 end)
{
	struct leak leak = { };
	u64 i;

	for (i = qcow2_refs_next(c->refs, first); i < end; i = qcow2_refs_next(c->refs, i + 1))
		compare_cluster(c, i, 0, &leak);
}

/* Refcounts of what lies past the end of the file are nobody's loss, unless it is referred to. */
static u64 compare_end(const struct qcow2_checker *c)
{
	u64 next, end = qcow2_checker_clusters(c);

	while ((next = qcow2_refs_next(c->refs, end)) != UINT64_MAX)
		end = next + 1;
	return end;
}

static int compare(struct qcow2_checker *c)
{
	u64 n = qcow2_checker_refcounts(c), end = compare_end(c), idx;

	for (idx = 0; idx < c->reftable_entries && idx * n < end; idx++) {
		u64 first = idx * n, last = first + n < end ? first + n : end;

		if (c->reftable[idx]) {
			if (compare_block(c, c->reftable[idx], first, last))
				return QCOW2_EXIT_FAILED;
		} else if (!c->unknown[idx]) {
			compare_absent(c, first, last);
		}
	}
	compare_absent(c, idx * n, end);
	return 0;
}

/* --- all of it ----------------------------------------------------------------------------- */

int qcow2_checker_run(struct qcow2_checker *c, struct qcow2_error *err)
{
	u64 end;

	c->err = err;
	c->h = &c->image->header;
	c->whole_sectors = (c->file_size + QCOW2_SECTOR_SIZE - 1) & ~(QCOW2_SECTOR_SIZE - 1ULL);
	c->guest_clusters = (c->h->size + c->h->cluster_size - 1) >> c->h->cluster_bits;
	/* A compressed cluster may reach into one that is not there. */
	end = (c->whole_sectors >> c->h->cluster_bits) + 2 + c->spare;
	if (end > MAX_CLUSTERS)
		return qcow2_error_set(err, QCOW2_EXIT_FAILED, c->file,
				       "the file is too big to be checked: 2^40 clusters are the most");
	c->refs = qcow2_refs_new(end);
	c->buf = malloc(c->h->cluster_size);
	if (!c->buf)
		qcow2_error_nomem();

	if (!c->count_only && note_refcounts(c))
		return QCOW2_EXIT_FAILED;
	refer(c, 0, c->h->cluster_size, QCOW2_USE_HEADER, 1, 0);
	note_encryption(c);
	return walk_l1(c, c->h->l1_table_offset, c->h->l1_size, true) ?: walk_snapshots(c) ?:
	       walk_bitmaps(c) ?: walk_l2_tables(c) ?:
	       (c->count_only ? 0 : compare(c));
}

void qcow2_checker_free(struct qcow2_checker *c)
{
	qcow2_refs_free(c->refs);
	free(c->leaked);
	free(c->reftable);
	free(c->unknown);
	free(c->buf);
	c->refs = NULL;
	c->leaked = NULL;
	c->reftable = NULL;
	c->unknown = NULL;
	c->buf = NULL;
}
