// SPDX-License-Identifier: GPL-2.0-or-later
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz_owned.h"
#include "fuzz_write.h"

struct owned {
	const u8 *data;
	size_t len;
	struct qcow2_header h;
	u64 clusters;
	u8 *keep;	/* of each cluster: hands off */
	u8 *table;	/* of each cluster: is one, and will be, whatever else refers to it */
	bool grown;
};

static u64 get_be64(const struct owned *o, u64 off)
{
	__be64 value = 0;

	if (off < o->len && o->len - off >= sizeof(value))
		memcpy(&value, o->data + off, sizeof(value));
	return be64toh(value);
}

static void note_table(struct owned *o, u64 off, u64 len)
{
	u64 c = off >> o->h.cluster_bits, last = (off + len - 1) >> o->h.cluster_bits;

	for (; len && c <= last && c < o->clusters; c++)
		o->table[c] = 1;
}

static void release(struct owned *o, u64 off, u64 len)
{
	u64 c = off >> o->h.cluster_bits, last = (off + len - 1) >> o->h.cluster_bits;

	for (; len && c <= last && c < o->clusters; c++)
		o->keep[c] = 0;
}

static u64 table_entries(const struct owned *o)
{
	return (u64)o->h.refcount_table_clusters << o->h.cluster_bits >> 3;
}

/* 0 also where it cannot be known. */
static u64 refcount_of(const struct owned *o, u64 cluster)
{
	u32 bits = o->h.cluster_bits + 3 - o->h.refcount_order;
	u64 entry = get_be64(o, o->h.refcount_table_offset + (cluster >> bits) * 8), block;
	struct qcow2_fault fault;

	if (cluster >> bits >= table_entries(o) ||
	    qcow2_reftable_decode(&o->h, entry, &block, &fault) || !block ||
	    block >= o->len || o->len - block < o->h.cluster_size)
		return 0;
	return qcow2_refcount_get(o->data + block, o->h.refcount_order,
				  cluster & ((1ULL << bits) - 1));
}

/* What has a refcount is somebody's. */
static void keep_referenced(struct owned *o)
{
	u64 entries = table_entries(o), block;
	struct qcow2_fault fault;

	for (u64 c = 0; c < o->clusters; c++)
		o->keep[c] = !!refcount_of(o, c);
	for (u64 i = 0; i < entries && i * 8 < o->len; i++) {
		u64 entry = get_be64(o, o->h.refcount_table_offset + i * 8);

		if (qcow2_reftable_decode(&o->h, entry, &block, &fault) || !block)
			continue;
		release(o, block, o->h.cluster_size);
		note_table(o, block, o->h.cluster_size);
	}
	release(o, o->h.refcount_table_offset, entries * 8);
}

static void release_table(struct owned *o, u64 off)
{
	struct qcow2_cluster c;
	struct qcow2_fault fault;

	release(o, off, o->h.cluster_size);
	for (u32 i = 0; i < 1U << o->h.l2_bits; i++) {
		u64 at = off + i * o->h.l2_entry_size;
		struct qcow2_l2_entry entry = { .word = get_be64(o, at) };

		if (o->h.subclusters > 1)
			entry.bitmap = get_be64(o, at + 8);
		if (qcow2_l2_decode(&o->h, entry, &c, &fault) || !c.mapped)
			continue;
		release(o, c.host_off, c.compressed ? c.csize : o->h.cluster_size);
	}
}

static void release_active(struct owned *o)
{
	struct qcow2_fault fault;
	u64 l2_off;

	release(o, o->h.l1_table_offset, (u64)o->h.l1_size * 8);
	note_table(o, o->h.l1_table_offset, (u64)o->h.l1_size * 8);
	for (u32 i = 0; i < o->h.l1_size && i < o->len / 8; i++) {
		u64 entry = get_be64(o, o->h.l1_table_offset + i * 8);

		if (qcow2_l1_decode(&o->h, entry, &l2_off, &fault) || !l2_off)
			continue;
		release_table(o, l2_off);
		/* One that is shared is copied, and may be free then. */
		if (entry & QCOW2_ENTRY_COPIED)
			note_table(o, l2_off, o->h.cluster_size);
	}
}

static void note_bitmap_part(struct owned *o, u64 off, u64 len)
{
	release(o, off, len);
	note_table(o, off, len);
}

/* Directory, tables and clusters of bitmaps. */
static void release_bitmaps(struct owned *o)
{
	struct qcow2_bitmap_entry e;
	struct qcow2_bitmaps b;
	struct qcow2_fault fault;
	bool ones;
	u64 at, off;

	if (!qcow2_header_has_bitmaps(&o->h) ||
	    qcow2_bitmaps_parse(o->data, &o->h, o->len, &b, &fault))
		return;
	note_bitmap_part(o, b.directory_offset, b.directory_size);
	at = b.directory_offset;
	for (u32 i = 0; i < b.nb_bitmaps; i++, at += e.entry_len) {
		u64 left = b.directory_offset + b.directory_size - at;

		if (qcow2_bitmap_parse(&o->h, o->data + at, left, &e, &fault))
			return;
		note_bitmap_part(o, e.table_offset, (u64)e.table_size * 8);
		for (u32 n = 0; n < e.table_size; n++)
			if (!qcow2_bitmap_decode(&o->h, get_be64(o, e.table_offset + n * 8ULL), &off,
						 &ones, &fault) && off)
				note_bitmap_part(o, off, o->h.cluster_size);
	}
}

/*
 * The refcount table's place; the bit that says corrupt; the autoclear bits, but to be cleared. Of a
 * disk that has grown its size and the L1 table's.
 */
static bool header_may_change(const struct owned *o, size_t off, u8 from, u8 to)
{
	if (off >= 48 && off < 60)
		return true;
	if ((off >= 24 && off < 32) || (off >= 36 && off < 48))
		return o->grown;
	if (o->h.version < 3)
		return false;
	if (off == 79)
		return (from | QCOW2_INCOMPAT_CORRUPT) == to;
	return off >= 88 && off < 96 && !to;
}

/* Is there something that the disk's user has written? */
static bool has_marks(const u8 *at, size_t len)
{
	u64 word;

	for (size_t i = 0; i + sizeof(word) <= len; i += sizeof(word)) {
		memcpy(&word, at + i, sizeof(word));
		if (word >> 32 == SESSION_MARK)
			return true;
	}
	return false;
}

static bool parse(struct owned *o, const u8 *data, size_t len)
{
	size_t first = 1UL << data[23];
	struct qcow2_fault fault;

	o->data = data;
	o->len = len;
	return !qcow2_header_parse(data, len < first ? len : first, len, &o->h, &fault);
}

static const char *header_violated(const struct owned *o, const u8 *after, u64 *at)
{
	for (*at = 0; *at < o->h.cluster_size && *at < o->len; ++*at) {
		if (o->data[*at] != after[*at] &&
		    !header_may_change(o, *at, o->data[*at], after[*at]))
			return "the header has changed";
	}
	return NULL;
}

static void survey(struct owned *o)
{
	o->clusters = (o->len + o->h.cluster_size - 1) >> o->h.cluster_bits;
	o->keep = calloc(2, o->clusters);
	o->table = o->keep + o->clusters;
	keep_referenced(o);
	release_active(o);
	release_bitmaps(o);
}

/* A disk that grows takes its tables to other clusters. */
static bool is_table(const struct owned *o, const struct owned *now, u64 c)
{
	return o->grown ? now->table[c] : o->table[c];
}

static const char *cluster_violated(const struct owned *o, const struct owned *now, u64 c)
{
	u64 at = c << o->h.cluster_bits;
	size_t len = o->len - at < o->h.cluster_size ? o->len - at : o->h.cluster_size;

	if (o->keep[c] && memcmp(o->data + at, now->data + at, len))
		return "a cluster has changed that is not the image's to change";
	if (is_table(o, now, c) && has_marks(now->data + at, len))
		return "guest data lie in a table";
	if (is_table(o, now, c) && refcount_of(o, c) && !refcount_of(now, c))
		return "a table is free";
	return NULL;
}

const char *owned_violated(const struct owned_image *before, const u8 *after, size_t len, u64 *at)
{
	struct owned o = { .grown = before->grown }, now = { };
	const char *why;

	*at = len;
	if (len < before->len)
		return "the file has become shorter";
	if (!parse(&o, before->data, before->len))
		return "the header cannot be understood";
	why = header_violated(&o, after, at);
	if (why)
		return why;
	if (!parse(&now, after, len))
		return "the header cannot be understood any more";
	survey(&o);
	survey(&now);
	for (u64 c = 1; c < o.clusters && !why; c++) {
		*at = c << o.h.cluster_bits;
		why = cluster_violated(&o, &now, c);
	}
	free(o.keep);
	free(now.keep);
	return why;
}
