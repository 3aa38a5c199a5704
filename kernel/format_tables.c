// SPDX-License-Identifier: GPL-2.0
/*
 * The qcow2 format beyond clusters: what lists snapshots and bitmaps. Pure, as format.c is.
 *
 * Source: the qcow2 specification, sections "Snapshots" and "Bitmaps". Limits are QEMU's.
 */
#include "qcow2_format.h"

#ifdef __KERNEL__
#include <linux/errno.h>
#include <linux/string.h>
#else
#include <errno.h>
#define __cold
#endif

#define MIN_GRANULARITY_BITS	9U
#define MAX_GRANULARITY_BITS	31U

static int __cold set_fault(struct qcow2_fault *fault, u64 value, const char *field,
			    const char *why, const char *sentence)
{
	fault->field = field;
	fault->why = why;
	fault->sentence = sentence;
	fault->value = value;
	return -EINVAL;
}

/* @field and @why must be string literals. */
#define bad(fault, value, field, why) \
	set_fault(fault, value, field, why, field " " why)

static bool is_aligned(const struct qcow2_header *h, u64 off)
{
	return !(off & (h->cluster_size - 1));
}

int qcow2_snapshot_check_l1(const struct qcow2_header *h, u64 l1_table_offset, u32 l1_size,
			    u64 file_size, struct qcow2_fault *fault)
{
	u64 len = (u64)l1_size * sizeof(__be64);

	if (!is_aligned(h, l1_table_offset))
		return bad(fault, l1_table_offset, "snapshot's l1_table_offset",
			   "is not a multiple of the cluster size");
	if (len > QCOW2_MAX_L1_BYTES)
		return bad(fault, l1_size, "snapshot's l1_size",
			   "is too big: 4194304 entries (32 MiB) are the most");
	if (l1_table_offset > file_size || len > file_size - l1_table_offset)
		return bad(fault, l1_table_offset, "snapshot's l1_table_offset",
			   "puts the L1 table past the end of the file");
	return 0;
}

int qcow2_bitmaps_parse(const void *buf, const struct qcow2_header *h, u64 file_size,
			struct qcow2_bitmaps *b, struct qcow2_fault *fault)
{
	struct qcow2_disk_bitmaps d;

	memcpy(&d, buf + h->bitmaps.off, sizeof(d));
	b->nb_bitmaps = be32_to_cpu(d.nb_bitmaps);
	b->directory_size = be64_to_cpu(d.directory_size);
	b->directory_offset = be64_to_cpu(d.directory_offset);

	if (d.reserved)
		return bad(fault, be32_to_cpu(d.reserved), "bitmaps extension",
			   "has reserved bits set");
	if (!b->nb_bitmaps)
		return bad(fault, 0, "nb_bitmaps", "is zero, but there is a bitmaps extension");
	if (b->nb_bitmaps > QCOW2_MAX_BITMAPS)
		return bad(fault, b->nb_bitmaps, "nb_bitmaps", "is too big: 65535 are the most");
	if (!b->directory_size || b->directory_size > QCOW2_MAX_BITMAP_DIRECTORY)
		return bad(fault, b->directory_size, "bitmap_directory_size",
			   "is out of range: 1 to 67107840 bytes (65535 KiB) are valid");
	if (!b->directory_offset || !is_aligned(h, b->directory_offset))
		return bad(fault, b->directory_offset, "bitmap_directory_offset",
			   "is not a multiple of the cluster size");
	if (b->directory_offset > file_size ||
	    b->directory_size > file_size - b->directory_offset)
		return bad(fault, b->directory_offset, "bitmap_directory_offset",
			   "puts the bitmap directory past the end of the file");
	return 0;
}

static int check_bitmap_table(const struct qcow2_header *h, const struct qcow2_bitmap_entry *e,
			      struct qcow2_fault *fault)
{
	u64 bytes = (u64)e->table_size << h->cluster_bits;

	if (!e->table_offset || !is_aligned(h, e->table_offset))
		return bad(fault, e->table_offset, "bitmap_table_offset",
			   "is not a multiple of the cluster size");
	if (!e->table_size || bytes > QCOW2_MAX_BITMAP_BYTES)
		return bad(fault, e->table_size, "bitmap_table_size",
			   "is out of range: a bitmap takes 512 MiB at most");
	/* One that was in use may be of another size: it is of no use any more. */
	if (!(e->flags & QCOW2_BITMAP_IN_USE) && h->size > bytes * 8 << e->granularity_bits)
		return bad(fault, e->table_size, "bitmap_table_size",
			   "is too small for the size of the disk");
	return 0;
}

int qcow2_bitmap_parse(const struct qcow2_header *h, const void *buf, u64 len,
		       struct qcow2_bitmap_entry *e, struct qcow2_fault *fault)
{
	const struct qcow2_disk_bitmap *d = buf;

	if (len < sizeof(*d))
		return bad(fault, len, "bitmap directory", "ends within an entry");
	e->table_offset = be64_to_cpu(d->table_offset);
	e->table_size = be32_to_cpu(d->table_size);
	e->flags = be32_to_cpu(d->flags);
	e->type = d->type;
	e->granularity_bits = d->granularity_bits;
	e->name_len = be16_to_cpu(d->name_len);
	e->extra_len = be32_to_cpu(d->extra_len);
	e->name_off = sizeof(*d) + (u64)e->extra_len;
	e->entry_len = (e->name_off + e->name_len + 7) & ~7ULL;

	if (e->entry_len > len)
		return bad(fault, e->entry_len, "bitmap directory entry's length",
			   "reaches past the end of the directory");
	if (e->flags & ~QCOW2_BITMAP_KNOWN_FLAGS)
		return bad(fault, e->flags, "bitmap's flags", "has reserved bits set");
	if (e->type != QCOW2_BITMAP_TYPE_DIRTY)
		return bad(fault, e->type, "bitmap's type", "is not known: 1 (dirty tracking) is");
	if (e->granularity_bits < MIN_GRANULARITY_BITS ||
	    e->granularity_bits > MAX_GRANULARITY_BITS)
		return bad(fault, e->granularity_bits, "bitmap's granularity_bits",
			   "is out of range: 9 (512 bytes) to 31 (2 GiB) are valid");
	if (!e->name_len || e->name_len > QCOW2_MAX_BITMAP_NAME)
		return bad(fault, e->name_len, "bitmap's name_size",
			   "is out of range: 1 to 1023 bytes are valid");
	return check_bitmap_table(h, e, fault);
}

int qcow2_bitmap_decode(const struct qcow2_header *h, u64 entry, u64 *off, bool *ones,
			struct qcow2_fault *fault)
{
	*off = entry & QCOW2_ENTRY_OFFSET_MASK;
	*ones = !*off && (entry & QCOW2_BITMAP_ALL_ONES);
	if (entry & QCOW2_BITMAP_RESERVED_MASK || (*off && (entry & QCOW2_BITMAP_ALL_ONES)))
		return bad(fault, entry, "bitmap table entry", "has reserved bits set");
	if (!is_aligned(h, *off))
		return bad(fault, *off, "bitmap cluster offset",
			   "is not a multiple of the cluster size");
	return 0;
}
