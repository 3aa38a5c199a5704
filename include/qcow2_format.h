/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The qcow2 on-disk format: structures, masks, limits, and the pure functions
 * of kernel/format.c that parse and check them. Shared by the module, the tool,
 * the unit tests and the fuzzers; nothing here knows of files, locks or memory.
 *
 * Source: the qcow2 specification (docs/interop/qcow2 of QEMU). "Section" in
 * comments names one of its headings.
 */
#ifndef _QCOW2_FORMAT_H
#define _QCOW2_FORMAT_H

#ifdef __KERNEL__
#include <linux/build_bug.h>
#include <linux/types.h>
#include <asm/byteorder.h>
#else
#include <assert.h>
#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <linux/types.h>
typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
#define be16_to_cpu(x)	be16toh(x)
#define be32_to_cpu(x)	be32toh(x)
#define be64_to_cpu(x)	be64toh(x)
#define cpu_to_be16(x)	htobe16(x)
#define cpu_to_be32(x)	htobe32(x)
#define cpu_to_be64(x)	htobe64(x)
#define __packed	__attribute__((packed))
#endif

#define QCOW2_MAGIC			0x514649fbU	/* "QFI\xfb" */

/* Limits: those of QEMU, so that what one refuses the other does too. */
#define QCOW2_MIN_CLUSTER_BITS		9
#define QCOW2_MAX_CLUSTER_BITS		21
#define QCOW2_MIN_CLUSTER_BITS_EXTL2	14
#define QCOW2_MAX_L1_BYTES		(32U << 20)
#define QCOW2_MAX_REFTABLE_BYTES	(8U << 20)
#define QCOW2_MAX_SNAPSHOTS		65536U
#define QCOW2_MAX_BACKING_NAME		1023U
#define QCOW2_MAX_REFCOUNT_ORDER	6U
#define QCOW2_MAX_EXTENSIONS		64U

#define QCOW2_SECTOR_SIZE		512U

/* Section "Header". Version 2 ends after snapshots_offset. */
struct qcow2_disk_header {
	__be32 magic;
	__be32 version;
	__be64 backing_file_offset;
	__be32 backing_file_size;
	__be32 cluster_bits;
	__be64 size;
	__be32 crypt_method;
	__be32 l1_size;
	__be64 l1_table_offset;
	__be64 refcount_table_offset;
	__be32 refcount_table_clusters;
	__be32 nb_snapshots;
	__be64 snapshots_offset;
	__be64 incompatible_features;
	__be64 compatible_features;
	__be64 autoclear_features;
	__be32 refcount_order;
	__be32 header_length;
	__u8 compression_type;
	__u8 padding[7];
} __packed;
static_assert(sizeof(struct qcow2_disk_header) == 112, "header layout");

#define QCOW2_V2_HEADER_LENGTH		72U
#define QCOW2_V3_HEADER_LENGTH		104U

/* Bits of incompatible_features. */
#define QCOW2_INCOMPAT_DIRTY		(1ULL << 0)
#define QCOW2_INCOMPAT_CORRUPT		(1ULL << 1)
#define QCOW2_INCOMPAT_DATA_FILE	(1ULL << 2)
#define QCOW2_INCOMPAT_COMPRESSION	(1ULL << 3)
#define QCOW2_INCOMPAT_EXTL2		(1ULL << 4)

/* Bits of compatible_features and autoclear_features. */
#define QCOW2_COMPAT_LAZY_REFCOUNTS	(1ULL << 0)
#define QCOW2_AUTOCLEAR_BITMAPS		(1ULL << 0)
#define QCOW2_AUTOCLEAR_DATA_FILE_RAW	(1ULL << 1)

enum qcow2_crypt_method {
	QCOW2_CRYPT_NONE,
	QCOW2_CRYPT_AES,
	QCOW2_CRYPT_LUKS,
};

enum qcow2_compression_type {
	QCOW2_COMPRESSION_ZLIB,
	QCOW2_COMPRESSION_ZSTD,
};

/* Section "Header extensions". Data is padded to a multiple of 8 bytes. */
struct qcow2_disk_extension {
	__be32 type;
	__be32 length;
} __packed;
static_assert(sizeof(struct qcow2_disk_extension) == 8, "extension layout");

#define QCOW2_EXT_END			0x00000000U
#define QCOW2_EXT_BACKING_FORMAT	0xe2792acaU
#define QCOW2_EXT_FEATURE_NAMES		0x6803f857U
#define QCOW2_EXT_BITMAPS		0x23852875U
#define QCOW2_EXT_CRYPTO		0x0537be77U
#define QCOW2_EXT_DATA_FILE		0x44415441U

/* Section "Feature name table": one entry. The name is padded with zeros. */
struct qcow2_disk_feature_name {
	__u8 type;
	__u8 bit;
	char name[46];
} __packed;
static_assert(sizeof(struct qcow2_disk_feature_name) == 48, "feature name layout");

enum qcow2_feature_type {
	QCOW2_FEATURE_INCOMPATIBLE,
	QCOW2_FEATURE_COMPATIBLE,
	QCOW2_FEATURE_AUTOCLEAR,
};

/* Section "Cluster mapping": L1 and L2 entries. */
#define QCOW2_ENTRY_COPIED		(1ULL << 63)
#define QCOW2_ENTRY_COMPRESSED		(1ULL << 62)
#define QCOW2_ENTRY_ZERO		(1ULL << 0)
#define QCOW2_ENTRY_OFFSET_MASK		0x00fffffffffffe00ULL
#define QCOW2_L1_RESERVED_MASK		0x7f000000000001ffULL
#define QCOW2_L2_RESERVED_MASK		0x3f000000000001feULL

/* Section "Extended L2 Entries": the bits of the second word. */
#define QCOW2_EXTL2_SUBCLUSTERS		32U
#define QCOW2_EXTL2_ZERO_SHIFT		32

/* Section "Snapshots": the fixed part of an entry; extra data, ID and name follow. */
struct qcow2_disk_snapshot {
	__be64 l1_table_offset;
	__be32 l1_size;
	__be16 id_len;
	__be16 name_len;
	__be32 date_sec;
	__be32 date_nsec;
	__be64 vm_clock_nsec;
	__be32 vm_state_size;
	__be32 extra_len;
} __packed;
static_assert(sizeof(struct qcow2_disk_snapshot) == 40, "snapshot layout");

/* The extra data that is known; a writer may leave some of it out, or add to it. */
struct qcow2_disk_snapshot_extra {
	__be64 vm_state_size;
	__be64 disk_size;
	__be64 icount;
} __packed;
static_assert(sizeof(struct qcow2_disk_snapshot_extra) == 24, "snapshot extra data layout");

/* QEMU's limit for the extra data of an entry. */
#define QCOW2_MAX_SNAPSHOT_EXTRA	1024U

/* Section "Bitmaps extension". */
struct qcow2_disk_bitmaps {
	__be32 nb_bitmaps;
	__be32 reserved;
	__be64 directory_size;
	__be64 directory_offset;
} __packed;
static_assert(sizeof(struct qcow2_disk_bitmaps) == 24, "bitmaps extension layout");

/* Section "Bitmap directory": the fixed part of an entry; extra data and name follow. */
struct qcow2_disk_bitmap {
	__be64 table_offset;
	__be32 table_size;
	__be32 flags;
	__u8 type;
	__u8 granularity_bits;
	__be16 name_len;
	__be32 extra_len;
} __packed;
static_assert(sizeof(struct qcow2_disk_bitmap) == 24, "bitmap directory entry layout");

#define QCOW2_BITMAP_IN_USE		(1U << 0)
#define QCOW2_BITMAP_AUTO		(1U << 1)
#define QCOW2_BITMAP_EXTRA_COMPATIBLE	(1U << 2)
#define QCOW2_BITMAP_KNOWN_FLAGS	(QCOW2_BITMAP_IN_USE | QCOW2_BITMAP_AUTO | \
					 QCOW2_BITMAP_EXTRA_COMPATIBLE)
#define QCOW2_BITMAP_TYPE_DIRTY		1U

/* Section "Bitmap table": an entry. */
#define QCOW2_BITMAP_ALL_ONES		(1ULL << 0)
#define QCOW2_BITMAP_RESERVED_MASK	0xff000000000001feULL

/* QEMU's limits. */
#define QCOW2_MAX_BITMAPS		65535U
#define QCOW2_MAX_BITMAP_DIRECTORY	(1024ULL * QCOW2_MAX_BITMAPS)
#define QCOW2_MAX_BITMAP_NAME		1023U
#define QCOW2_MAX_BITMAP_BYTES		(512ULL << 20)

/* Section "Refcounts": an entry of the refcount table. */
#define QCOW2_REFTABLE_RESERVED_MASK	0x00000000000001ffULL
#define QCOW2_REFTABLE_OFFSET_MASK	0xfffffffffffffe00ULL

/**
 * struct qcow2_fault - what is wrong with an image, and where
 * @field: name of the field in the specification's spelling.
 * @why: the rest of a sentence that begins with the field and its value.
 * @sentence: "@field @why" as one constant string, for callers that cannot format.
 * @value: the field's value.
 *
 * All strings are constants. A reader prints "FILE: FIELD VALUE WHY".
 */
struct qcow2_fault {
	const char *field;
	const char *why;
	const char *sentence;
	u64 value;
};

/**
 * struct qcow2_span - a byte range within the image's first cluster
 * @off: offset from the start of the file.
 * @len: bytes; 0 where the thing is absent.
 */
struct qcow2_span {
	u32 off;
	u32 len;
};

/**
 * struct qcow2_header - the header and its extensions, checked, in CPU byte order
 *
 * Names are those of the specification. Every number that is an offset, a size
 * or a count was checked against the limits above and the size of the file.
 * @size is rounded down to a multiple of 512 bytes, as QEMU does.
 */
struct qcow2_header {
	u32 version;
	u32 cluster_bits;
	u32 cluster_size;
	u64 size;
	u32 crypt_method;
	u32 l1_size;
	u64 l1_table_offset;
	u64 refcount_table_offset;
	u32 refcount_table_clusters;
	u32 nb_snapshots;
	u64 snapshots_offset;
	u64 incompatible_features;
	u64 compatible_features;
	u64 autoclear_features;
	u32 refcount_order;
	u32 header_length;
	u32 compression_type;

	/* Derived: how a guest offset splits, and how a compressed entry does. */
	u32 l2_bits;			/* log2 of the entries in an L2 table */
	u32 l2_entry_size;		/* bytes: 8, or 16 with extended L2 */
	u32 subclusters;		/* of a cluster: 1, or 32 with extended L2 */
	u32 subcluster_bits;		/* log2 of their size */
	u32 subcluster_size;
	u32 l1_entries_needed;		/* for @size; l1_size is at least this */
	u32 csize_shift;		/* 62 - (cluster_bits - 8) */
	u64 csize_mask;
	u64 coffset_mask;

	struct qcow2_span backing_file;	/* name, not terminated */
	struct qcow2_span backing_format;
	struct qcow2_span feature_names;
	struct qcow2_span data_file;
	struct qcow2_span bitmaps;
	struct qcow2_span crypto;

	/* The LUKS header, a range of the file; 0 where there is none. */
	u64 crypto_off;
	u64 crypto_len;
};

/**
 * enum qcow2_cluster_type - what an L2 entry says of a subcluster
 * @QCOW2_CLUSTER_UNALLOCATED: ask the backing file.
 * @QCOW2_CLUSTER_ZERO_PLAIN: reads as zeros, no host cluster.
 * @QCOW2_CLUSTER_ZERO_ALLOC: reads as zeros, a host cluster is kept.
 * @QCOW2_CLUSTER_NORMAL: the bytes at the host offset.
 * @QCOW2_CLUSTER_COMPRESSED: a compressed stream.
 */
enum qcow2_cluster_type {
	QCOW2_CLUSTER_UNALLOCATED,
	QCOW2_CLUSTER_ZERO_PLAIN,
	QCOW2_CLUSTER_ZERO_ALLOC,
	QCOW2_CLUSTER_NORMAL,
	QCOW2_CLUSTER_COMPRESSED,
};

/**
 * struct qcow2_l2_entry - an L2 entry, in CPU byte order
 * @word: the standard entry, or the first half of an extended one.
 * @bitmap: the second half; 0 in a standard one.
 */
struct qcow2_l2_entry {
	u64 word;
	u64 bitmap;
};

/**
 * struct qcow2_cluster - an L2 entry, decoded
 * @compressed: a compressed stream; the bitmaps are 0 then.
 * @mapped: there is a host cluster, or a compressed stream.
 * @copied: the refcount is exactly one. In a data file each cluster counts as that.
 * @host_off: bytes; of the cluster (a multiple of the cluster size), or of the
 *	first byte of a compressed stream (any value); 0 where there is none. In the data
 *	file, if there is one: that begins with a cluster at 0.
 * @csize: bytes that a compressed stream occupies at most: up to the end of its
 *	last 512-byte sector. May reach past the end of the file.
 * @alloc: bit n: the bytes of subcluster n are in the cluster.
 * @zero: bit n: subcluster n reads as zeros. Never a bit of @alloc.
 *
 * With standard entries the cluster is its only subcluster. What is in neither bitmap is
 * not allocated, whether there is a host cluster or not.
 */
struct qcow2_cluster {
	bool compressed;
	bool mapped;
	bool copied;
	u64 host_off;
	u32 csize;
	u32 alloc;
	u32 zero;
};

/** qcow2_has_data_file() - do data lie in a file of their own? */
static inline bool qcow2_has_data_file(const struct qcow2_header *h)
{
	return h->incompatible_features & QCOW2_INCOMPAT_DATA_FILE;
}

/**
 * qcow2_data_file_is_raw() - must that file read as the disk does, without the image?
 *
 * Not where there is a backing file: what that holds is not in the data file, whatever the
 * bit says; nor where it is encrypted. QEMU opens such images, too.
 */
static inline bool qcow2_data_file_is_raw(const struct qcow2_header *h)
{
	return qcow2_has_data_file(h) && !h->backing_file.len && !h->crypt_method &&
	       (h->autoclear_features & QCOW2_AUTOCLEAR_DATA_FILE_RAW);
}

/** qcow2_subcluster_type() - of subcluster @sc. */
static inline enum qcow2_cluster_type qcow2_subcluster_type(const struct qcow2_cluster *c, u32 sc)
{
	if (c->compressed)
		return QCOW2_CLUSTER_COMPRESSED;
	if (c->zero >> sc & 1)
		return c->mapped ? QCOW2_CLUSTER_ZERO_ALLOC : QCOW2_CLUSTER_ZERO_PLAIN;
	return c->alloc >> sc & 1 ? QCOW2_CLUSTER_NORMAL : QCOW2_CLUSTER_UNALLOCATED;
}

/**
 * qcow2_header_probe() - how many bytes qcow2_header_parse() wants to see
 * @buf: the first bytes of the file.
 * @len: how many there are; at least QCOW2_V2_HEADER_LENGTH for a valid image.
 * @cluster_size: (out) bytes of the first cluster, which holds the header, its
 *	extensions and the backing file's name.
 * @fault: (out) filled in on error.
 *
 * Context: any. Return: 0, or -EINVAL (no qcow2 image, or fields out of range).
 */
int qcow2_header_probe(const void *buf, size_t len, u32 *cluster_size,
		       struct qcow2_fault *fault);

/**
 * qcow2_header_parse() - check and convert the header and its extensions
 * @buf: the first cluster of the file, or the whole file where it is shorter.
 * @len: bytes in @buf.
 * @file_size: bytes in the file; for a block device, its size.
 * @h: (out) the header; undefined on error.
 * @fault: (out) filled in on error.
 *
 * Features are parsed, not judged: see qcow2_header_unsupported().
 * Context: any. Return: 0, -EINVAL.
 */
int qcow2_header_parse(const void *buf, size_t len, u64 file_size,
		       struct qcow2_header *h, struct qcow2_fault *fault);

/**
 * qcow2_header_unsupported() - is there something in the image we cannot read yet?
 * @h: a parsed header.
 * @fault: (out) filled in if so.
 *
 * Context: any. Return: 0 or -EOPNOTSUPP. For an unknown incompatible feature
 * @fault->value is the lowest unknown bit's number; its name may stand in the image's
 * feature name table (qcow2_feature_name()).
 */
int qcow2_header_unsupported(const struct qcow2_header *h, struct qcow2_fault *fault);

/**
 * qcow2_feature_name() - look a feature bit up in the image's feature name table
 * @buf: the first cluster, as given to qcow2_header_parse().
 * @h: the header parsed from it.
 * @type: which feature field.
 * @bit: 0 to 63.
 * @name: (out) at least 47 bytes, terminated; unprintable bytes become '?'.
 *
 * Context: any. Return: true if the table names the bit.
 */
bool qcow2_feature_name(const void *buf, const struct qcow2_header *h,
			enum qcow2_feature_type type, unsigned int bit, char *name);

/**
 * qcow2_l1_decode() - check an L1 entry
 * @h: the image's header.
 * @entry: in CPU byte order.
 * @l2_off: (out) host offset of the L2 table, bytes; 0 where there is none.
 * @fault: (out) filled in on error.
 *
 * Context: any. Return: 0, -EINVAL.
 */
int qcow2_l1_decode(const struct qcow2_header *h, u64 entry, u64 *l2_off,
		    struct qcow2_fault *fault);

/**
 * qcow2_l2_decode() - check and take apart an L2 entry
 * @h: the image's header.
 * @entry: as the header's l2_entry_size has it.
 * @c: (out) what it says.
 * @fault: (out) filled in on error.
 *
 * Context: any. Return: 0, -EINVAL.
 */
int qcow2_l2_decode(const struct qcow2_header *h, struct qcow2_l2_entry entry,
		    struct qcow2_cluster *c, struct qcow2_fault *fault);

/** qcow2_l2_encode() - the opposite, but for compressed clusters. Context: any. */
struct qcow2_l2_entry qcow2_l2_encode(const struct qcow2_header *h, const struct qcow2_cluster *c);

/** qcow2_subcluster_mask() - the bits of subclusters @first to @end - 1. Context: any. */
static inline u32 qcow2_subcluster_mask(u32 first, u32 end)
{
	return (u32)((1ULL << end) - (1ULL << first));
}

/**
 * qcow2_check_place() - does a cluster lie where it must?
 * @h: the image's header.
 * @c: what its entry says.
 * @guest_off: of its first byte.
 * @fault: (out) filled in on error.
 *
 * In an external data file guest offset and host offset are the same.
 * Context: any. Return: 0, -EINVAL.
 */
int qcow2_check_place(const struct qcow2_header *h, const struct qcow2_cluster *c,
		      u64 guest_off, struct qcow2_fault *fault);

/**
 * qcow2_reftable_decode() - check an entry of the refcount table
 * @h: the image's header.
 * @entry: in CPU byte order.
 * @block_off: (out) host offset of the refcount block, bytes; 0 where there is none.
 * @fault: (out) filled in on error.
 *
 * Context: any. Return: 0, -EINVAL.
 */
int qcow2_reftable_decode(const struct qcow2_header *h, u64 entry, u64 *block_off,
			  struct qcow2_fault *fault);

/**
 * qcow2_refcount_get() - a refcount of a block, or of a part of one
 * @block: its bytes, of which the first is of refcount 0.
 * @order: refcount_order: refcounts are 1 << @order bits wide.
 * @i: which one.
 *
 * Widths below a byte begin at the least significant bit. Context: any.
 */
u64 qcow2_refcount_get(const void *block, u32 order, u32 i);

/** qcow2_refcount_set() - the opposite; @value must fit. Context: any; not atomic. */
void qcow2_refcount_set(void *block, u32 order, u32 i, u64 value);

/** qcow2_refcount_max() - the largest refcount of that width. Context: any. */
u64 qcow2_refcount_max(u32 order);

/* --- what lists snapshots and bitmaps (format_tables.c) ----------------------------------- */

/**
 * qcow2_snapshot_check_l1() - check what a snapshot says of its L1 table
 * @h: the image's header.
 * @l1_table_offset: as the entry has it.
 * @l1_size: as the entry has it.
 * @file_size: bytes in the file.
 * @fault: (out) filled in on error.
 *
 * Context: any. Return: 0, -EINVAL.
 */
int qcow2_snapshot_check_l1(const struct qcow2_header *h, u64 l1_table_offset, u32 l1_size,
			    u64 file_size, struct qcow2_fault *fault);

/**
 * qcow2_header_has_bitmaps() - are there persistent bitmaps?
 * @h: the image's header.
 *
 * A program that does not know bitmaps clears the autoclear bit when it writes the image: then
 * they are of no use, whatever the extension says.
 */
static inline bool qcow2_header_has_bitmaps(const struct qcow2_header *h)
{
	return h->bitmaps.len && (h->autoclear_features & QCOW2_AUTOCLEAR_BITMAPS);
}

/**
 * struct qcow2_bitmaps - the bitmaps extension, in CPU byte order
 * @nb_bitmaps: entries in the directory.
 * @directory_size: bytes.
 * @directory_offset: where it lies; a multiple of the cluster size.
 */
struct qcow2_bitmaps {
	u32 nb_bitmaps;
	u64 directory_size;
	u64 directory_offset;
};

/**
 * qcow2_bitmaps_parse() - check and convert the bitmaps extension
 * @buf: the first cluster, as given to qcow2_header_parse().
 * @h: the header parsed from it; has bitmaps.
 * @file_size: bytes in the file.
 * @b: (out) undefined on error.
 * @fault: (out) filled in on error.
 *
 * Context: any. Return: 0, -EINVAL.
 */
int qcow2_bitmaps_parse(const void *buf, const struct qcow2_header *h, u64 file_size,
			struct qcow2_bitmaps *b, struct qcow2_fault *fault);

/**
 * struct qcow2_bitmap_entry - an entry of the bitmap directory, in CPU byte order
 * @table_offset: of the bitmap table; a multiple of the cluster size.
 * @table_size: entries in that.
 * @flags: QCOW2_BITMAP_...
 * @type: QCOW2_BITMAP_TYPE_DIRTY.
 * @granularity_bits: log2 of the bytes that a bit stands for.
 * @name_off: where the name begins, from the start of the entry.
 * @name_len: bytes; not terminated.
 * @extra_len: bytes of extra data, which nobody knows.
 * @entry_len: bytes from this entry to the next one.
 */
struct qcow2_bitmap_entry {
	u64 table_offset;
	u32 table_size;
	u32 flags;
	u32 type;
	u32 granularity_bits;
	u64 name_off;
	u32 name_len;
	u32 extra_len;
	u64 entry_len;
};

/**
 * qcow2_bitmap_parse() - check and convert an entry of the bitmap directory
 * @h: the image's header.
 * @buf: the rest of the directory, which begins with the entry.
 * @len: bytes in @buf.
 * @e: (out) undefined on error.
 * @fault: (out) filled in on error.
 *
 * Context: any. Return: 0, -EINVAL.
 */
int qcow2_bitmap_parse(const struct qcow2_header *h, const void *buf, u64 len,
		       struct qcow2_bitmap_entry *e, struct qcow2_fault *fault);

/** qcow2_bitmap_bits() - bits for so many bytes of a disk. Context: any. */
static inline u64 qcow2_bitmap_bits(u64 size, u32 granularity_bits)
{
	return (size >> granularity_bits) + !!(size & ((1ULL << granularity_bits) - 1));
}

/** qcow2_bitmap_table_size() - entries of a bitmap table for so many bytes. Context: any. */
static inline u64 qcow2_bitmap_table_size(const struct qcow2_header *h, u64 size,
					  u32 granularity_bits)
{
	u64 bytes = (qcow2_bitmap_bits(size, granularity_bits) + 7) / 8;

	return (bytes + h->cluster_size - 1) >> h->cluster_bits;
}

/**
 * qcow2_bitmap_decode() - check an entry of a bitmap table
 * @h: the image's header.
 * @entry: in CPU byte order.
 * @off: (out) host offset of a cluster of the bitmap; 0 where all its bits are the same.
 * @ones: (out) where @off is 0: all bits are ones.
 * @fault: (out) filled in on error.
 *
 * Context: any. Return: 0, -EINVAL.
 */
int qcow2_bitmap_decode(const struct qcow2_header *h, u64 entry, u64 *off, bool *ones,
			struct qcow2_fault *fault);

#endif /* _QCOW2_FORMAT_H */
