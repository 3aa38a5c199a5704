// SPDX-License-Identifier: GPL-2.0
/*
 * The qcow2 format: parse and check the header, its extensions and the entries
 * of L1 and L2 tables. Pure: bytes in, numbers or a fault out. Compiled into the
 * module, the tool, the unit tests and the fuzzers.
 *
 * Source: the qcow2 specification. Where it leaves a choice, or where programs
 * write what it does not allow, QEMU's reading of such an image is kept; each
 * such place says so.
 */
#include "qcow2_format.h"

#ifdef __KERNEL__
#include <linux/errno.h>
#include <linux/string.h>
#else
#include <errno.h>
#define __cold
#endif

/* As QEMU's: a format name longer than this is none that anybody knows. */
#define MAX_FORMAT_NAME		15U
#define BITMAPS_EXT_LENGTH	24U
#define CRYPTO_EXT_LENGTH	16U
#define LUKS_HEADER_LENGTH	592U
/* Eight slots of the longest key take 2 MiB; more is none that QEMU has made. */
#define LUKS_MAX_LENGTH		(16U << 20)
#define SNAPSHOT_ENTRY_LENGTH	40U
#define FORMAT_SIZE_MAX		((1ULL << 63) - 1)

#define KNOWN_INCOMPAT	(QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT | \
			 QCOW2_INCOMPAT_DATA_FILE | QCOW2_INCOMPAT_COMPRESSION | \
			 QCOW2_INCOMPAT_EXTL2)

/* Cold, so that the compiler keeps it off the hot path of the entry decoders. */
static int __cold set_fault(struct qcow2_fault *fault, int err, u64 value, const char *field,
			    const char *why, const char *sentence)
{
	fault->field = field;
	fault->why = why;
	fault->sentence = sentence;
	fault->value = value;
	return err;
}

/* @field and @why must be string literals. */
#define bad(fault, value, field, why) \
	set_fault(fault, -EINVAL, value, field, why, field " " why)
#define unsupported(fault, value, field, why) \
	set_fault(fault, -EOPNOTSUPP, value, field, why, field " " why)

static u64 round_up_to(u64 n, u32 power_of_two)
{
	return (n + power_of_two - 1) & ~((u64)power_of_two - 1);
}

/* @off and @len are bounded by the caller so that their sum does not overflow. */
static bool overlaps(u64 off, u64 len, u64 other_off, u64 other_len)
{
	return off < other_off + other_len && other_off < off + len;
}

static int check_start(const struct qcow2_disk_header *d, size_t len, struct qcow2_fault *fault)
{
	u32 version, cluster_bits;

	if (len < QCOW2_V2_HEADER_LENGTH)
		return bad(fault, len, "file length", "is too small for a qcow2 header");
	if (be32_to_cpu(d->magic) != QCOW2_MAGIC)
		return bad(fault, be32_to_cpu(d->magic), "magic",
			   "is not that of a qcow2 image: is it a raw image?");

	version = be32_to_cpu(d->version);
	if (version < 2 || version > 3)
		return bad(fault, version, "version", "is not known: 2 and 3 are");

	cluster_bits = be32_to_cpu(d->cluster_bits);
	if (cluster_bits < QCOW2_MIN_CLUSTER_BITS || cluster_bits > QCOW2_MAX_CLUSTER_BITS)
		return bad(fault, cluster_bits, "cluster_bits",
			   "is out of range: 9 (512 bytes) to 21 (2 MiB) are valid");
	return 0;
}

int qcow2_header_probe(const void *buf, size_t len, u32 *cluster_size,
		       struct qcow2_fault *fault)
{
	const struct qcow2_disk_header *d = buf;
	int err;

	err = check_start(d, len, fault);
	if (err)
		return err;
	*cluster_size = 1U << be32_to_cpu(d->cluster_bits);
	return 0;
}

/* What only version 3 has: feature fields, refcount width, header length, compression type. */
static int parse_v3(const struct qcow2_disk_header *d, size_t len, struct qcow2_header *h,
		    struct qcow2_fault *fault)
{
	if (h->version == 2) {
		h->refcount_order = 4;
		h->header_length = QCOW2_V2_HEADER_LENGTH;
		return 0;
	}
	if (len < QCOW2_V3_HEADER_LENGTH)
		return bad(fault, len, "file length", "is too small for a version 3 header");

	h->incompatible_features = be64_to_cpu(d->incompatible_features);
	h->compatible_features = be64_to_cpu(d->compatible_features);
	h->autoclear_features = be64_to_cpu(d->autoclear_features);
	h->refcount_order = be32_to_cpu(d->refcount_order);
	h->header_length = be32_to_cpu(d->header_length);

	if (h->header_length < QCOW2_V3_HEADER_LENGTH)
		return bad(fault, h->header_length, "header_length",
			   "is too small: version 3 needs 104 bytes");
	if (h->header_length % 8)
		return bad(fault, h->header_length, "header_length", "is not a multiple of 8");
	if (h->header_length > h->cluster_size)
		return bad(fault, h->header_length, "header_length",
			   "reaches past the first cluster");
	if (h->header_length > len)
		return bad(fault, h->header_length, "header_length",
			   "reaches past the end of the file");

	if (h->refcount_order > QCOW2_MAX_REFCOUNT_ORDER)
		return bad(fault, h->refcount_order, "refcount_order",
			   "is out of range: 0 to 6 (64 bits) are valid");

	/* Absent, where the header ends before it, means the same as zero. */
	if (h->header_length > offsetof(struct qcow2_disk_header, compression_type))
		h->compression_type = d->compression_type;
	return 0;
}

static int check_features(const struct qcow2_header *h, struct qcow2_fault *fault)
{
	bool compression_bit = h->incompatible_features & QCOW2_INCOMPAT_COMPRESSION;

	if (h->compression_type > QCOW2_COMPRESSION_ZSTD)
		return bad(fault, h->compression_type, "compression_type",
			   "is not known: 0 (zlib) and 1 (zstd) are");
	if (compression_bit && h->compression_type == QCOW2_COMPRESSION_ZLIB)
		return bad(fault, h->compression_type, "compression_type",
			   "is zlib, but incompatible feature bit 3 says that it is not");
	if (!compression_bit && h->compression_type != QCOW2_COMPRESSION_ZLIB)
		return bad(fault, h->compression_type, "compression_type",
			   "is not zlib, but incompatible feature bit 3 is clear");

	if ((h->incompatible_features & QCOW2_INCOMPAT_EXTL2) &&
	    h->cluster_bits < QCOW2_MIN_CLUSTER_BITS_EXTL2)
		return bad(fault, h->cluster_bits, "cluster_bits",
			   "is too small for extended L2 entries: 14 to 21 are valid");
	if ((h->autoclear_features & QCOW2_AUTOCLEAR_DATA_FILE_RAW) &&
	    !(h->incompatible_features & QCOW2_INCOMPAT_DATA_FILE))
		return bad(fault, h->autoclear_features, "autoclear_features",
			   "has the raw data file bit, but the image has no data file");
	if (h->crypt_method > QCOW2_CRYPT_LUKS)
		return bad(fault, h->crypt_method, "crypt_method",
			   "is not known: 0 (none), 1 (AES) and 2 (LUKS) are");
	return 0;
}

static void derive(struct qcow2_header *h)
{
	bool extended = h->incompatible_features & QCOW2_INCOMPAT_EXTL2;

	h->l2_entry_size = extended ? 16 : 8;
	h->l2_bits = h->cluster_bits - (extended ? 4 : 3);
	h->subclusters = extended ? QCOW2_EXTL2_SUBCLUSTERS : 1;
	h->subcluster_size = h->cluster_size / h->subclusters;
	h->subcluster_bits = h->cluster_bits - (extended ? 5 : 0);
	h->csize_shift = 62 - (h->cluster_bits - 8);
	h->csize_mask = (1ULL << (h->cluster_bits - 8)) - 1;
	h->coffset_mask = (1ULL << h->csize_shift) - 1;
}

static int check_l1(struct qcow2_header *h, u64 disk_size, u64 file_size,
		    struct qcow2_fault *fault)
{
	u32 guest_bits = h->cluster_bits + h->l2_bits;	/* that one L1 entry covers */
	u64 l1_len = (u64)h->l1_size * sizeof(__be64);
	u64 needed;

	if (disk_size > FORMAT_SIZE_MAX)
		return bad(fault, disk_size, "size", "is too big: 2^63 - 1 bytes are the most");
	needed = (disk_size + (1ULL << guest_bits) - 1) >> guest_bits;

	if (l1_len > QCOW2_MAX_L1_BYTES)
		return bad(fault, h->l1_size, "l1_size",
			   "is too big: 4194304 entries (32 MiB) are the most");
	if (needed > h->l1_size)
		return bad(fault, h->l1_size, "l1_size", "is too small for the size of the disk");
	h->l1_entries_needed = needed;

	if (h->l1_table_offset & (h->cluster_size - 1))
		return bad(fault, h->l1_table_offset, "l1_table_offset",
			   "is not a multiple of the cluster size");
	if (!h->l1_size)
		return 0;
	if (!h->l1_table_offset)
		return bad(fault, h->l1_table_offset, "l1_table_offset",
			   "puts the L1 table on top of the header");
	if (h->l1_table_offset > file_size || l1_len > file_size - h->l1_table_offset)
		return bad(fault, h->l1_table_offset, "l1_table_offset",
			   "puts the L1 table past the end of the file: is the file truncated?");
	return 0;
}

static int check_refcount_table(const struct qcow2_header *h, u64 file_size,
				struct qcow2_fault *fault)
{
	u64 table_len = (u64)h->refcount_table_clusters << h->cluster_bits;

	if (!h->refcount_table_clusters)
		return bad(fault, 0, "refcount_table_clusters",
			   "is zero: there is no refcount table");
	if (table_len > QCOW2_MAX_REFTABLE_BYTES)
		return bad(fault, h->refcount_table_clusters, "refcount_table_clusters",
			   "is too big: 8 MiB are the most");
	if (h->refcount_table_offset & (h->cluster_size - 1))
		return bad(fault, h->refcount_table_offset, "refcount_table_offset",
			   "is not a multiple of the cluster size");
	if (!h->refcount_table_offset)
		return bad(fault, 0, "refcount_table_offset",
			   "puts the refcount table on top of the header");
	if (h->refcount_table_offset > file_size ||
	    table_len > file_size - h->refcount_table_offset)
		return bad(fault, h->refcount_table_offset, "refcount_table_offset",
			   "puts the refcount table past the end of the file: is the file truncated?");

	/* Both lie inside the file by now. */
	if (h->l1_size &&
	    overlaps(h->refcount_table_offset, table_len, h->l1_table_offset,
		     round_up_to((u64)h->l1_size * sizeof(__be64), h->cluster_size)))
		return bad(fault, h->refcount_table_offset, "refcount_table_offset",
			   "puts the refcount table on top of the L1 table");
	return 0;
}

static int check_snapshots(const struct qcow2_header *h, u64 file_size,
			   struct qcow2_fault *fault)
{
	/* Entries have any length; this is the least they take. */
	u64 least_len = (u64)h->nb_snapshots * SNAPSHOT_ENTRY_LENGTH;

	if (h->nb_snapshots > QCOW2_MAX_SNAPSHOTS)
		return bad(fault, h->nb_snapshots, "nb_snapshots",
			   "is too big: 65536 are the most");
	if (h->snapshots_offset & (h->cluster_size - 1))
		return bad(fault, h->snapshots_offset, "snapshots_offset",
			   "is not a multiple of the cluster size");
	if (!h->nb_snapshots)
		return 0;
	if (qcow2_has_data_file(h))
		return bad(fault, h->nb_snapshots, "nb_snapshots",
			   "is not zero, but there is an external data file, which allows no snapshots");
	if (!h->snapshots_offset)
		return bad(fault, 0, "snapshots_offset",
			   "puts the snapshot table on top of the header");
	if (h->snapshots_offset > file_size || least_len > file_size - h->snapshots_offset)
		return bad(fault, h->snapshots_offset, "snapshots_offset",
			   "puts the snapshot table past the end of the file: is the file truncated?");
	return 0;
}

static int parse_backing_name(const struct qcow2_disk_header *d, size_t len,
			      struct qcow2_header *h, struct qcow2_fault *fault)
{
	u64 off = be64_to_cpu(d->backing_file_offset);
	u32 name_len = be32_to_cpu(d->backing_file_size);

	/* The length is undefined where there is no name. */
	if (!off)
		return 0;
	if (off < h->header_length)
		return bad(fault, off, "backing_file_offset", "points into the header");
	if (off > h->cluster_size)
		return bad(fault, off, "backing_file_offset", "points past the first cluster");
	if (name_len > QCOW2_MAX_BACKING_NAME)
		return bad(fault, name_len, "backing_file_size",
			   "is too big: 1023 bytes are the most");
	if (name_len > h->cluster_size - off)
		return bad(fault, name_len, "backing_file_size", "reaches past the first cluster");
	if (off > len || name_len > len - off)
		return bad(fault, name_len, "backing_file_size",
			   "reaches past the end of the file");
	h->backing_file.off = off;
	h->backing_file.len = name_len;
	return 0;
}

static int parse_extension(struct qcow2_header *h, u32 type, const struct qcow2_span *data,
			   struct qcow2_fault *fault)
{
	switch (type) {
	case QCOW2_EXT_BACKING_FORMAT:
		if (data->len > MAX_FORMAT_NAME)
			return bad(fault, data->len, "backing file format name extension length",
				   "is too big: 15 bytes are the most");
		h->backing_format = *data;
		break;
	case QCOW2_EXT_FEATURE_NAMES:
		if (data->len % sizeof(struct qcow2_disk_feature_name))
			return bad(fault, data->len, "feature name table length",
				   "is not a multiple of 48");
		h->feature_names = *data;
		break;
	case QCOW2_EXT_BITMAPS:
		if (data->len != BITMAPS_EXT_LENGTH)
			return bad(fault, data->len, "bitmaps extension length", "is not 24");
		h->bitmaps = *data;
		break;
	case QCOW2_EXT_CRYPTO:
		if (h->crypt_method != QCOW2_CRYPT_LUKS)
			return bad(fault, h->crypt_method, "crypt_method",
				   "is not LUKS, but there is a full disk encryption header");
		if (data->len != CRYPTO_EXT_LENGTH)
			return bad(fault, data->len, "full disk encryption header pointer length",
				   "is not 16");
		h->crypto = *data;
		break;
	case QCOW2_EXT_DATA_FILE:
		h->data_file = *data;
		break;
	}
	return 0;
}

/* The specification wants each type at most once; of several QEMU takes the last, and so here. */
static int parse_extensions(const void *buf, size_t len, struct qcow2_header *h,
			    struct qcow2_fault *fault)
{
	u32 end = h->backing_file.off ? h->backing_file.off : h->cluster_size;
	u64 off = h->header_length;
	unsigned int n;

	for (n = 0; off < end; n++) {
		const struct qcow2_disk_extension *ext = buf + off;
		struct qcow2_span data;
		u32 type;
		int err;

		if (end - off < sizeof(*ext))
			return bad(fault, off, "header extension",
				   "does not fit before the end of its area");
		if (off > len || len - off < sizeof(*ext))
			return bad(fault, off, "header extension", "lies past the end of the file");

		type = be32_to_cpu(ext->type);
		data.off = off + sizeof(*ext);
		data.len = be32_to_cpu(ext->length);
		if (data.len > end - data.off)
			return bad(fault, data.len, "header extension length",
				   "reaches past the first cluster or into the backing file name");
		if (type == QCOW2_EXT_END)
			return 0;
		if (n == QCOW2_MAX_EXTENSIONS)
			return bad(fault, off, "header extension",
				   "is one too many: 64 are the most");
		if (data.len > len - data.off)
			return bad(fault, data.len, "header extension length",
				   "reaches past the end of the file");

		err = parse_extension(h, type, &data, fault);
		if (err)
			return err;
		off = data.off + round_up_to(data.len, 8);
	}
	return 0;
}

static int check_crypto(const void *buf, struct qcow2_header *h, u64 file_size,
			struct qcow2_fault *fault)
{
	__be64 pointer[2];
	u64 off, len;

	if (h->crypt_method != QCOW2_CRYPT_LUKS)
		return 0;
	if (!h->crypto.len)
		return bad(fault, h->crypt_method, "crypt_method",
			   "is LUKS, but there is no full disk encryption header");

	memcpy(pointer, buf + h->crypto.off, sizeof(pointer));
	off = be64_to_cpu(pointer[0]);
	len = be64_to_cpu(pointer[1]);
	if (!off || (off & (h->cluster_size - 1)))
		return bad(fault, off, "full disk encryption header offset",
			   "is not a multiple of the cluster size");
	if (len < LUKS_HEADER_LENGTH)
		return bad(fault, len, "full disk encryption header length",
			   "is too small: a LUKS header has 592 bytes, and key material");
	if (len > LUKS_MAX_LENGTH)
		return bad(fault, len, "full disk encryption header length",
			   "is too big: 16 MiB are the most");
	if (off > file_size || len > file_size - off)
		return bad(fault, len, "full disk encryption header length",
			   "reaches past the end of the file");
	h->crypto_off = off;
	h->crypto_len = len;
	return 0;
}

int qcow2_header_parse(const void *buf, size_t len, u64 file_size,
		       struct qcow2_header *h, struct qcow2_fault *fault)
{
	const struct qcow2_disk_header *d = buf;
	u64 disk_size;
	int err;

	err = check_start(d, len, fault);
	if (err)
		return err;

	memset(h, 0, sizeof(*h));
	h->version = be32_to_cpu(d->version);
	h->cluster_bits = be32_to_cpu(d->cluster_bits);
	h->cluster_size = 1U << h->cluster_bits;
	h->crypt_method = be32_to_cpu(d->crypt_method);
	h->l1_size = be32_to_cpu(d->l1_size);
	h->l1_table_offset = be64_to_cpu(d->l1_table_offset);
	h->refcount_table_offset = be64_to_cpu(d->refcount_table_offset);
	h->refcount_table_clusters = be32_to_cpu(d->refcount_table_clusters);
	h->nb_snapshots = be32_to_cpu(d->nb_snapshots);
	h->snapshots_offset = be64_to_cpu(d->snapshots_offset);

	disk_size = be64_to_cpu(d->size);
	h->size = disk_size & ~((u64)QCOW2_SECTOR_SIZE - 1);

	err = parse_v3(d, len, h, fault);
	if (err)
		return err;
	err = check_features(h, fault);
	if (err)
		return err;
	derive(h);

	err = check_l1(h, disk_size, file_size, fault);
	if (err)
		return err;
	err = check_refcount_table(h, file_size, fault);
	if (err)
		return err;
	err = check_snapshots(h, file_size, fault);
	if (err)
		return err;
	err = parse_backing_name(d, len, h, fault);
	if (err)
		return err;
	err = parse_extensions(buf, len, h, fault);
	if (err)
		return err;
	return check_crypto(buf, h, file_size, fault);
}

int qcow2_header_unsupported(const struct qcow2_header *h, struct qcow2_fault *fault)
{
	u64 unknown = h->incompatible_features & ~KNOWN_INCOMPAT;

	if (unknown) {
		unsigned int bit = 0;

		while (!(unknown >> bit & 1))
			bit++;
		return unsupported(fault, bit, "incompatible feature bit", "is not known");
	}
	return 0;
}

bool qcow2_feature_name(const void *buf, const struct qcow2_header *h,
			enum qcow2_feature_type type, unsigned int bit, char *name)
{
	const struct qcow2_disk_feature_name *entry = buf + h->feature_names.off;
	u32 left = h->feature_names.len / sizeof(*entry);
	size_t i;

	for (; left; left--, entry++) {
		if (entry->type != type || entry->bit != bit || !entry->name[0])
			continue;
		for (i = 0; i < sizeof(entry->name) && entry->name[i]; i++) {
			bool printable = entry->name[i] >= ' ' && entry->name[i] <= '~';

			name[i] = printable ? entry->name[i] : '?';
		}
		name[i] = '\0';
		return true;
	}
	return false;
}

int qcow2_l1_decode(const struct qcow2_header *h, u64 entry, u64 *l2_off,
		    struct qcow2_fault *fault)
{
	u64 off = entry & QCOW2_ENTRY_OFFSET_MASK;

	if (entry & QCOW2_L1_RESERVED_MASK)
		return bad(fault, entry, "L1 entry", "has reserved bits set");
	if (off & (h->cluster_size - 1))
		return bad(fault, off, "L2 table offset", "is not a multiple of the cluster size");
	*l2_off = off;
	return 0;
}

/*
 * COPIED has no meaning here. QEMU calls a compressed entry that has it corrupt
 * when it checks an image, and reads the cluster all the same.
 */
static int decode_compressed(const struct qcow2_header *h, struct qcow2_l2_entry entry,
			     struct qcow2_cluster *c, struct qcow2_fault *fault)
{
	u64 off = entry.word & h->coffset_mask;
	u32 more_sectors = entry.word >> h->csize_shift & h->csize_mask;

	if (qcow2_has_data_file(h))
		return bad(fault, entry.word, "L2 entry",
			   "is compressed, which is not possible with an external data file");
	if (off & ~(QCOW2_ENTRY_OFFSET_MASK | (QCOW2_SECTOR_SIZE - 1)))
		return bad(fault, off, "compressed cluster offset", "has reserved bits set");
	if (off < h->cluster_size)
		return bad(fault, off, "compressed cluster offset", "points into the header");
	if (entry.bitmap)
		return bad(fault, entry.bitmap, "subcluster bitmap",
			   "is not zero, but the cluster is compressed");
	*c = (struct qcow2_cluster) {
		.compressed = true,
		.mapped = true,
		.host_off = off,
		.csize = (more_sectors + 1) * QCOW2_SECTOR_SIZE - (off & (QCOW2_SECTOR_SIZE - 1)),
	};
	return 0;
}

/* QEMU does not look at the zero bit of an extended entry; the specification wants none. */
static int decode_extended(struct qcow2_l2_entry entry, struct qcow2_cluster *c,
			   struct qcow2_fault *fault)
{
	c->alloc = entry.bitmap;
	c->zero = entry.bitmap >> QCOW2_EXTL2_ZERO_SHIFT;
	if (entry.word & QCOW2_ENTRY_ZERO)
		return bad(fault, entry.word, "L2 entry",
			   "has the zero bit, which extended entries lack");
	if (c->alloc & c->zero)
		return bad(fault, entry.bitmap, "subcluster bitmap",
			   "has subclusters that are allocated and read as zeros");
	if (c->alloc && !c->mapped)
		return bad(fault, entry.bitmap, "subcluster bitmap",
			   "has allocated subclusters, but there is no cluster");
	return 0;
}

static int decode_standard(const struct qcow2_header *h, struct qcow2_l2_entry entry,
			   struct qcow2_cluster *c, struct qcow2_fault *fault)
{
	c->zero = entry.word & QCOW2_ENTRY_ZERO;
	c->mapped = c->host_off || (c->mapped && !c->zero);
	c->alloc = c->mapped && !c->zero;
	if (c->zero && h->version < 3)
		return bad(fault, entry.word, "L2 entry",
			   "has the zero bit, which version 2 lacks");
	return 0;
}

int qcow2_l2_decode(const struct qcow2_header *h, struct qcow2_l2_entry entry,
		    struct qcow2_cluster *c, struct qcow2_fault *fault)
{
	u64 off = entry.word & QCOW2_ENTRY_OFFSET_MASK;
	bool data_file = qcow2_has_data_file(h);
	int err;

	if (entry.word & QCOW2_ENTRY_COMPRESSED)
		return decode_compressed(h, entry, c, fault);

	if (entry.word & QCOW2_L2_RESERVED_MASK)
		return bad(fault, entry.word, "L2 entry", "has reserved bits set");
	if (off & (h->cluster_size - 1))
		return bad(fault, off, "cluster offset", "is not a multiple of the cluster size");
	c->compressed = false;
	/* A data file begins with data, an image with its header. */
	c->mapped = off || (data_file && (entry.word & QCOW2_ENTRY_COPIED));
	c->host_off = off;
	c->csize = 0;
	err = h->subclusters > 1 ? decode_extended(entry, c, fault) :
				   decode_standard(h, entry, c, fault);
	c->copied = c->mapped && (data_file || (entry.word & QCOW2_ENTRY_COPIED));
	return err;
}

struct qcow2_l2_entry qcow2_l2_encode(const struct qcow2_header *h, const struct qcow2_cluster *c)
{
	struct qcow2_l2_entry entry = {
		.word = c->host_off | (c->copied ? QCOW2_ENTRY_COPIED : 0),
	};

	if (h->subclusters > 1)
		entry.bitmap = c->alloc | (u64)c->zero << QCOW2_EXTL2_ZERO_SHIFT;
	else if (c->zero)
		entry.word |= QCOW2_ENTRY_ZERO;
	return entry;
}

int qcow2_check_place(const struct qcow2_header *h, const struct qcow2_cluster *c,
		      u64 guest_off, struct qcow2_fault *fault)
{
	if (qcow2_has_data_file(h) && c->mapped && c->host_off != guest_off)
		return bad(fault, c->host_off, "cluster offset",
			   "is not the guest offset, as it must be in an external data file");
	return 0;
}

int qcow2_reftable_decode(const struct qcow2_header *h, u64 entry, u64 *block_off,
			  struct qcow2_fault *fault)
{
	u64 off = entry & QCOW2_REFTABLE_OFFSET_MASK;

	if (entry & QCOW2_REFTABLE_RESERVED_MASK)
		return bad(fault, entry, "refcount table entry", "has reserved bits set");
	if (off & (h->cluster_size - 1))
		return bad(fault, off, "refcount block offset",
			   "is not a multiple of the cluster size");
	*block_off = off;
	return 0;
}

u64 qcow2_refcount_get(const void *block, u32 order, u32 i)
{
	const u8 *bytes = block;
	u32 bits = 1U << order;

	switch (order) {
	case 3:
		return bytes[i];
	case 4:
		return be16_to_cpu(((const __be16 *)block)[i]);
	case 5:
		return be32_to_cpu(((const __be32 *)block)[i]);
	case 6:
		return be64_to_cpu(((const __be64 *)block)[i]);
	default:
		return bytes[(i << order) / 8] >> ((i << order) % 8) & ((1U << bits) - 1);
	}
}

void qcow2_refcount_set(void *block, u32 order, u32 i, u64 value)
{
	u8 *bytes = block;
	u32 mask, shift;

	switch (order) {
	case 3:
		bytes[i] = value;
		break;
	case 4:
		((__be16 *)block)[i] = cpu_to_be16(value);
		break;
	case 5:
		((__be32 *)block)[i] = cpu_to_be32(value);
		break;
	case 6:
		((__be64 *)block)[i] = cpu_to_be64(value);
		break;
	default:
		mask = (1U << (1U << order)) - 1;
		shift = (i << order) % 8;
		bytes += (i << order) / 8;
		*bytes = (*bytes & ~(mask << shift)) | value << shift;
	}
}

u64 qcow2_refcount_max(u32 order)
{
	return ~0ULL >> (64 - (1U << order));
}
