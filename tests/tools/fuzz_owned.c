// SPDX-License-Identifier: GPL-2.0-or-later
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz_owned.h"

struct owned {
	const u8 *data;
	size_t len;
	struct qcow2_header h;
	u64 clusters;
	u8 *keep;	/* of each cluster: hands off */
};

static u64 get_be64(const struct owned *o, u64 off)
{
	__be64 value = 0;

	if (off < o->len && o->len - off >= sizeof(value))
		memcpy(&value, o->data + off, sizeof(value));
	return be64toh(value);
}

static void release(struct owned *o, u64 off, u64 len)
{
	u64 c = off >> o->h.cluster_bits, last = (off + len - 1) >> o->h.cluster_bits;

	for (; len && c <= last && c < o->clusters; c++)
		o->keep[c] = 0;
}

/* What has a refcount is somebody's. */
static void keep_referenced(struct owned *o)
{
	u64 entries = (u64)o->h.refcount_table_clusters << o->h.cluster_bits >> 3;
	u32 bits = o->h.cluster_bits + 3 - o->h.refcount_order;
	struct qcow2_fault fault;
	u64 block;

	for (u64 c = 0; c < o->clusters && c >> bits < entries; c++) {
		u64 entry = get_be64(o, o->h.refcount_table_offset + (c >> bits) * 8);

		if (!qcow2_reftable_decode(&o->h, entry, &block, &fault) && block &&
		    block < o->len && o->len - block >= o->h.cluster_size)
			o->keep[c] = !!qcow2_refcount_get(o->data + block, o->h.refcount_order,
							  c & ((1ULL << bits) - 1));
	}
	for (u64 i = 0; i < entries && i * 8 < o->len; i++) {
		u64 entry = get_be64(o, o->h.refcount_table_offset + i * 8);

		if (!qcow2_reftable_decode(&o->h, entry, &block, &fault) && block)
			release(o, block, o->h.cluster_size);
	}
	release(o, o->h.refcount_table_offset, entries * 8);
}

static void release_table(struct owned *o, u64 off)
{
	struct qcow2_cluster c;
	struct qcow2_fault fault;

	release(o, off, o->h.cluster_size);
	for (u32 i = 0; i < o->h.cluster_size / 8; i++) {
		if (qcow2_l2_decode(&o->h, get_be64(o, off + i * 8), &c, &fault) ||
		    !qcow2_cluster_is_allocated(&c))
			continue;
		release(o, c.host_off, c.type == QCOW2_CLUSTER_COMPRESSED ? c.csize :
			o->h.cluster_size);
	}
}

static void release_active(struct owned *o)
{
	struct qcow2_fault fault;
	u64 l2_off;

	release(o, o->h.l1_table_offset, (u64)o->h.l1_size * 8);
	for (u32 i = 0; i < o->h.l1_size && i < o->len / 8; i++) {
		u64 entry = get_be64(o, o->h.l1_table_offset + i * 8);

		if (!qcow2_l1_decode(&o->h, entry, &l2_off, &fault) && l2_off)
			release_table(o, l2_off);
	}
}

/* The refcount table's place; the bit that says corrupt; the autoclear bits, but to be cleared. */
static bool header_may_change(const struct owned *o, size_t off, u8 from, u8 to)
{
	if (off >= 48 && off < 60)
		return true;
	if (o->h.version < 3)
		return false;
	if (off == 79)
		return (from | QCOW2_INCOMPAT_CORRUPT) == to;
	return off >= 88 && off < 96 && !to;
}

const char *owned_violated(const u8 *before, size_t len, const u8 *after, size_t after_len, u64 *at)
{
	struct owned o = { .data = before, .len = len };
	struct qcow2_fault fault;
	const char *why = NULL;
	size_t room = 1UL << before[23], c;

	*at = after_len;
	if (after_len < len)
		return "the file has become shorter";
	if (qcow2_header_parse(before, len < room ? len : room, len, &o.h, &fault))
		return "the header cannot be understood";
	for (c = 0; c < room && c < len; c++) {
		*at = c;
		if (before[c] != after[c] && !header_may_change(&o, c, before[c], after[c]))
			return "the header has changed";
	}
	o.clusters = (len + o.h.cluster_size - 1) >> o.h.cluster_bits;
	o.keep = calloc(o.clusters, 1);
	keep_referenced(&o);
	release_active(&o);
	for (c = 1; c < o.clusters && !why; c++) {
		*at = c << o.h.cluster_bits;
		room = len - *at < o.h.cluster_size ? len - *at : o.h.cluster_size;
		if (o.keep[c] && memcmp(before + *at, after + *at, room))
			why = "a cluster has changed that is not the image's to change";
	}
	free(o.keep);
	return why;
}
