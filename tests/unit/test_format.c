// SPDX-License-Identifier: GPL-2.0-or-later
/* kernel/format.c: each header field on both sides of its bounds, and extensions. */
#include "format_image.h"

struct field_value {
	size_t off;
	size_t width;
	u64 value;
};

/* Up to four fields changed in a valid image, and what comes of it. */
struct row {
	struct field_value set[4];
	const char *sentence;	/* NULL: it stays valid */
	u64 file_size;		/* 0: as it was */
};

#define SET(name, v) { FIELD(name), v }
#define GOOD(...) { .set = { __VA_ARGS__ } }
#define BAD(why, ...) { .set = { __VA_ARGS__ }, .sentence = why }
#define GOOD_IN(size, ...) { .set = { __VA_ARGS__ }, .file_size = size }
#define BAD_IN(size, why, ...) { .set = { __VA_ARGS__ }, .sentence = why, .file_size = size }

#define NOT_QCOW2 "magic is not that of a qcow2 image: is it a raw image?"
#define VERSION "version is not known: 2 and 3 are"
#define CLUSTER_BITS "cluster_bits is out of range: 9 (512 bytes) to 21 (2 MiB) are valid"
#define EXTL2_BITS "cluster_bits is too small for extended L2 entries: 14 to 21 are valid"
#define DISK_SIZE "size is too big: 2^63 - 1 bytes are the most"
#define L1_SMALL "l1_size is too small for the size of the disk"
#define L1_BIG "l1_size is too big: 4194304 entries (32 MiB) are the most"
#define L1_ALIGN "l1_table_offset is not a multiple of the cluster size"
#define L1_HEADER "l1_table_offset puts the L1 table on top of the header"
#define L1_EOF "l1_table_offset puts the L1 table past the end of the file: is the file truncated?"
#define RT_NONE "refcount_table_clusters is zero: there is no refcount table"
#define RT_BIG "refcount_table_clusters is too big: 8 MiB are the most"
#define RT_ALIGN "refcount_table_offset is not a multiple of the cluster size"
#define RT_HEADER "refcount_table_offset puts the refcount table on top of the header"
#define RT_EOF "refcount_table_offset puts the refcount table past the end of the file: " \
	"is the file truncated?"
#define RT_L1 "refcount_table_offset puts the refcount table on top of the L1 table"
#define SNAP_BIG "nb_snapshots is too big: 65536 are the most"
#define SNAP_ALIGN "snapshots_offset is not a multiple of the cluster size"
#define SNAP_HEADER "snapshots_offset puts the snapshot table on top of the header"
#define SNAP_EOF "snapshots_offset puts the snapshot table past the end of the file: " \
	"is the file truncated?"
#define NAME_HEADER "backing_file_offset points into the header"
#define NAME_CLUSTER "backing_file_offset points past the first cluster"
#define NAME_LONG "backing_file_size is too big: 1023 bytes are the most"
#define NAME_PAST "backing_file_size reaches past the first cluster"
#define HLEN_SMALL "header_length is too small: version 3 needs 104 bytes"
#define HLEN_ALIGN "header_length is not a multiple of 8"
#define HLEN_BIG "header_length reaches past the first cluster"
#define REFCOUNT_ORDER "refcount_order is out of range: 0 to 6 (64 bits) are valid"
#define CTYPE "compression_type is not known: 0 (zlib) and 1 (zstd) are"
#define CTYPE_ZLIB "compression_type is zlib, but incompatible feature bit 3 says that it is not"
#define CTYPE_BIT "compression_type is not zlib, but incompatible feature bit 3 is clear"
#define RAW_BIT "autoclear_features has the raw data file bit, but the image has no data file"
#define CRYPT "crypt_method is not known: 0 (none), 1 (AES) and 2 (LUKS) are"
#define LUKS_BARE "crypt_method is LUKS, but there is no full disk encryption header"

#define COMPRESSION SET(incompatible_features, QCOW2_INCOMPAT_COMPRESSION)

/* Version 3, 64 KiB clusters, 1 GiB, two L1 entries, 3 * 64 KiB + 16 bytes. */
static const struct row header_rows[] = {
	GOOD(),
	BAD(NOT_QCOW2, SET(magic, QCOW2_MAGIC - 1)),
	BAD(NOT_QCOW2, SET(magic, QCOW2_MAGIC + 1)),
	BAD(NOT_QCOW2, SET(magic, 0)),
	BAD(VERSION, SET(version, 0)),
	BAD(VERSION, SET(version, 1)),
	GOOD(SET(version, 2)),
	BAD(VERSION, SET(version, 4)),
	BAD(VERSION, SET(version, UINT32_MAX)),

	BAD(CLUSTER_BITS, SET(cluster_bits, 0)),
	BAD(CLUSTER_BITS, SET(cluster_bits, 8)),
	BAD(CLUSTER_BITS, SET(cluster_bits, 22)),
	BAD(CLUSTER_BITS, SET(cluster_bits, 63)),
	BAD(CLUSTER_BITS, SET(cluster_bits, UINT32_MAX)),
	GOOD(SET(cluster_bits, 14), SET(incompatible_features, QCOW2_INCOMPAT_EXTL2),
	     SET(size, 8 * MiB)),
	BAD(EXTL2_BITS, SET(cluster_bits, 13), SET(incompatible_features, QCOW2_INCOMPAT_EXTL2)),

	GOOD(SET(size, 0)),
	GOOD(SET(size, 1)),
	GOOD(SET(size, 1 * GiB - 1)),
	BAD(L1_SMALL, SET(size, 1 * GiB + 1)),
	BAD(L1_SMALL, SET(size, INT64_MAX)),
	BAD(DISK_SIZE, SET(size, 1ULL << 63)),
	BAD(DISK_SIZE, SET(size, UINT64_MAX)),

	GOOD(SET(crypt_method, QCOW2_CRYPT_AES)),
	BAD(LUKS_BARE, SET(crypt_method, QCOW2_CRYPT_LUKS)),
	BAD(CRYPT, SET(crypt_method, 3)),
	BAD(CRYPT, SET(crypt_method, UINT32_MAX)),

	BAD(L1_SMALL, SET(l1_size, 1)),
	BAD(L1_SMALL, SET(l1_size, 0)),
	GOOD(SET(l1_size, 0), SET(size, 0)),
	GOOD(SET(l1_size, 0), SET(size, 0), SET(l1_table_offset, 0)),
	GOOD(SET(l1_size, 0), SET(size, 0), SET(l1_table_offset, 1ULL << 60)),
	GOOD(SET(l1_size, 0), SET(size, 0), SET(l1_table_offset, CLUSTER)),
	BAD(L1_EOF, SET(l1_size, 3)),
	GOOD_IN(3 * CLUSTER + 24, SET(l1_size, 3)),
	GOOD_IN(3 * CLUSTER + 32 * MiB, SET(l1_size, 4 * MiB)),
	BAD_IN(1 * GiB, L1_BIG, SET(l1_size, 4 * MiB + 1)),
	BAD_IN(1ULL << 62, L1_BIG, SET(l1_size, UINT32_MAX)),

	BAD(L1_HEADER, SET(l1_table_offset, 0)),
	BAD(L1_ALIGN, SET(l1_table_offset, 3 * CLUSTER - 8)),
	BAD(L1_ALIGN, SET(l1_table_offset, 3 * CLUSTER + 1)),
	BAD(L1_ALIGN, SET(l1_table_offset, 3 * CLUSTER + 8)),
	BAD(L1_ALIGN, SET(l1_table_offset, 3 * CLUSTER + 512)),
	BAD(L1_ALIGN, SET(l1_table_offset, UINT64_MAX)),
	GOOD(SET(l1_table_offset, 2 * CLUSTER)),
	BAD(L1_EOF, SET(l1_table_offset, 4 * CLUSTER)),
	BAD(L1_EOF, SET(l1_table_offset, 1ULL << 63)),
	BAD(L1_EOF, SET(l1_table_offset, 0 - CLUSTER)),
	BAD_IN(3 * CLUSTER + 15, L1_EOF, SET(magic, QCOW2_MAGIC)),
	BAD_IN(3 * CLUSTER, L1_EOF, SET(magic, QCOW2_MAGIC)),
	BAD_IN(3 * CLUSTER - 1, L1_EOF, SET(magic, QCOW2_MAGIC)),

	BAD(RT_HEADER, SET(refcount_table_offset, 0)),
	GOOD(SET(refcount_table_offset, 2 * CLUSTER)),
	BAD(RT_ALIGN, SET(refcount_table_offset, CLUSTER - 512)),
	BAD(RT_ALIGN, SET(refcount_table_offset, CLUSTER + 1)),
	BAD(RT_EOF, SET(refcount_table_offset, 3 * CLUSTER)),
	BAD(RT_EOF, SET(refcount_table_offset, 4 * CLUSTER)),
	BAD(RT_EOF, SET(refcount_table_offset, 0 - CLUSTER)),
	BAD_IN(4 * CLUSTER, RT_L1, SET(refcount_table_offset, 3 * CLUSTER)),
	GOOD_IN(5 * CLUSTER, SET(refcount_table_offset, 4 * CLUSTER)),
	BAD_IN(5 * CLUSTER - 1, RT_EOF, SET(refcount_table_offset, 4 * CLUSTER)),

	BAD(RT_NONE, SET(refcount_table_clusters, 0)),
	GOOD(SET(refcount_table_clusters, 2)),
	BAD_IN(4 * CLUSTER, RT_L1, SET(refcount_table_clusters, 3)),
	GOOD_IN(10 * MiB, SET(refcount_table_clusters, 128), SET(refcount_table_offset, 4 * CLUSTER)),
	BAD_IN(10 * MiB, RT_BIG, SET(refcount_table_clusters, 129),
	       SET(refcount_table_offset, 4 * CLUSTER)),
	BAD(RT_EOF, SET(refcount_table_clusters, 128)),
	BAD(RT_BIG, SET(refcount_table_clusters, UINT32_MAX)),

	/* L1 of 2 entries in front of the refcount table, and one that runs into it */
	GOOD(SET(l1_table_offset, CLUSTER), SET(refcount_table_offset, 2 * CLUSTER)),
	BAD_IN(4 * CLUSTER, RT_L1, SET(l1_table_offset, CLUSTER), SET(l1_size, 8193),
	       SET(refcount_table_offset, 2 * CLUSTER)),
	GOOD_IN(4 * CLUSTER, SET(l1_table_offset, CLUSTER), SET(l1_size, 8192),
		SET(refcount_table_offset, 2 * CLUSTER)),

	GOOD(SET(nb_snapshots, 1), SET(snapshots_offset, CLUSTER)),
	BAD(SNAP_HEADER, SET(nb_snapshots, 1)),
	BAD(SNAP_ALIGN, SET(nb_snapshots, 1), SET(snapshots_offset, CLUSTER + 8)),
	BAD(SNAP_ALIGN, SET(snapshots_offset, CLUSTER + 8)),
	BAD(SNAP_ALIGN, SET(snapshots_offset, CLUSTER + 1)),
	GOOD(SET(snapshots_offset, 100 * CLUSTER)),
	BAD(SNAP_EOF, SET(nb_snapshots, 1), SET(snapshots_offset, 3 * CLUSTER)),
	GOOD_IN(3 * CLUSTER + 40, SET(nb_snapshots, 1), SET(snapshots_offset, 3 * CLUSTER)),
	BAD(SNAP_EOF, SET(nb_snapshots, 1), SET(snapshots_offset, 0 - CLUSTER)),
	BAD(SNAP_EOF, SET(nb_snapshots, 65536), SET(snapshots_offset, CLUSTER)),
	GOOD_IN(3 * MiB, SET(nb_snapshots, 65536), SET(snapshots_offset, CLUSTER)),
	BAD_IN(3 * MiB, SNAP_BIG, SET(nb_snapshots, 65537), SET(snapshots_offset, CLUSTER)),
	BAD(SNAP_BIG, SET(nb_snapshots, UINT32_MAX), SET(snapshots_offset, CLUSTER)),

	GOOD(SET(backing_file_size, UINT32_MAX)),
	GOOD(SET(backing_file_offset, 112), SET(backing_file_size, 1)),
	GOOD(SET(backing_file_offset, 112), SET(backing_file_size, 0)),
	BAD(NAME_HEADER, SET(backing_file_offset, 111), SET(backing_file_size, 1)),
	BAD(NAME_HEADER, SET(backing_file_offset, 1), SET(backing_file_size, 1)),
	GOOD(SET(backing_file_offset, 1024), SET(backing_file_size, 1023)),
	BAD(NAME_LONG, SET(backing_file_offset, 1024), SET(backing_file_size, 1024)),
	BAD(NAME_LONG, SET(backing_file_offset, 1024), SET(backing_file_size, UINT32_MAX)),
	GOOD(SET(backing_file_offset, CLUSTER - 1), SET(backing_file_size, 1)),
	BAD(NAME_PAST, SET(backing_file_offset, CLUSTER - 1), SET(backing_file_size, 2)),
	GOOD(SET(backing_file_offset, CLUSTER), SET(backing_file_size, 0)),
	BAD(NAME_PAST, SET(backing_file_offset, CLUSTER), SET(backing_file_size, 1)),
	BAD(NAME_CLUSTER, SET(backing_file_offset, CLUSTER + 1), SET(backing_file_size, 0)),
	BAD(NAME_CLUSTER, SET(backing_file_offset, UINT64_MAX), SET(backing_file_size, 1)),

	GOOD(SET(incompatible_features, UINT64_MAX & ~QCOW2_INCOMPAT_COMPRESSION),
	     SET(size, 512 * MiB)),
	GOOD(SET(compatible_features, UINT64_MAX)),
	GOOD(SET(autoclear_features, UINT64_MAX & ~QCOW2_AUTOCLEAR_DATA_FILE_RAW)),
	BAD(RAW_BIT, SET(autoclear_features, QCOW2_AUTOCLEAR_DATA_FILE_RAW)),
	GOOD(SET(autoclear_features, QCOW2_AUTOCLEAR_DATA_FILE_RAW),
	     SET(incompatible_features, QCOW2_INCOMPAT_DATA_FILE)),

	GOOD(SET(refcount_order, 0)),
	GOOD(SET(refcount_order, 6)),
	BAD(REFCOUNT_ORDER, SET(refcount_order, 7)),
	BAD(REFCOUNT_ORDER, SET(refcount_order, UINT32_MAX)),

	GOOD(SET(header_length, 104)),
	BAD(HLEN_SMALL, SET(header_length, 103)),
	BAD(HLEN_SMALL, SET(header_length, 72)),
	BAD(HLEN_SMALL, SET(header_length, 0)),
	BAD(HLEN_ALIGN, SET(header_length, 105)),
	BAD(HLEN_ALIGN, SET(header_length, 108)),
	GOOD(SET(header_length, 120)),
	GOOD(SET(header_length, CLUSTER)),
	BAD(HLEN_BIG, SET(header_length, CLUSTER + 8)),
	BAD(HLEN_BIG, SET(header_length, UINT32_MAX & ~7U)),

	GOOD(SET(compression_type, QCOW2_COMPRESSION_ZSTD), COMPRESSION),
	BAD(CTYPE, SET(compression_type, 2), COMPRESSION),
	BAD(CTYPE, SET(compression_type, 255), COMPRESSION),
	BAD(CTYPE_ZLIB, SET(compression_type, QCOW2_COMPRESSION_ZLIB), COMPRESSION),
	BAD(CTYPE_BIT, SET(compression_type, QCOW2_COMPRESSION_ZSTD)),
	/* not present in a header of 104 bytes: an extension begins there */
	BAD(CTYPE_ZLIB, SET(header_length, 104), COMPRESSION),
	GOOD(SET(header_length, 104), SET(compression_type, 255)),
};

static void header_fields(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(header_rows); i++) {
		const struct row *row = &header_rows[i];
		struct image image = make_image(3, 16);
		struct qcow2_header h;
		struct qcow2_fault fault;
		int err;

		for (size_t j = 0; j < ARRAY_SIZE(row->set) && row->set[j].width; j++)
			put(&image, row->set[j].off, row->set[j].width, row->set[j].value);
		if (row->file_size)
			image.file_size = row->file_size;

		err = parse(&image, &h, &fault);
		if (!row->sentence != !err)
			fail_msg("row %zu: wanted \"%s\", got %d \"%s\"", i,
				 row->sentence ?: "valid", err, fault.sentence ?: "valid");
		if (err) {
			assert_int_equal(err, -EINVAL);
			assert_fault(&fault, row->sentence);
		}
		free(image.buf);
	}
}

/* What a valid header says arrives in the right fields, for each version and cluster size. */
static void every_geometry(void **state)
{
	for (u32 version = 2; version <= 3; version++) {
		for (u32 bits = QCOW2_MIN_CLUSTER_BITS; bits <= QCOW2_MAX_CLUSTER_BITS; bits++) {
			struct image image = make_image(version, bits);
			struct qcow2_header h;
			struct qcow2_fault fault;
			u32 cluster_size = 0;

			assert_int_equal(qcow2_header_probe(image.buf, image.len, &cluster_size,
							    &fault), 0);
			assert_int_equal(cluster_size, 1U << bits);
			assert_int_equal(parse(&image, &h, &fault), 0);
			assert_int_equal(h.version, version);
			assert_int_equal(h.cluster_bits, bits);
			assert_int_equal(h.cluster_size, 1U << bits);
			assert_int_equal(h.size, 1 * GiB);
			assert_int_equal(h.l1_table_offset, 3ULL << bits);
			assert_int_equal(h.refcount_table_offset, 1ULL << bits);
			assert_int_equal(h.refcount_table_clusters, 1);
			assert_int_equal(h.refcount_order, 4);
			assert_int_equal(h.header_length, version == 2 ? 72 : 112);
			assert_int_equal(h.l2_bits, bits - 3);
			assert_int_equal(h.l2_entry_size, 8);
			assert_int_equal(h.subclusters, 1);
			assert_int_equal(h.subcluster_bits, bits);
			assert_int_equal(h.subcluster_size, 1U << bits);
			assert_int_equal(h.l1_entries_needed, h.l1_size);
			assert_int_equal(h.csize_shift, 70 - bits);
			assert_int_equal(h.csize_mask, (1ULL << (bits - 8)) - 1);
			assert_int_equal(h.coffset_mask, (1ULL << (70 - bits)) - 1);
			assert_int_equal(qcow2_header_unsupported(&h, &fault), 0);
			free(image.buf);
		}
	}
}

static void extended_l2_geometry(void **state)
{
	struct image image = make_image(3, 16);
	struct qcow2_header h;
	struct qcow2_fault fault;

	put(&image, FIELD(incompatible_features), QCOW2_INCOMPAT_EXTL2);
	put(&image, FIELD(size), 512 * MiB);
	assert_int_equal(parse(&image, &h, &fault), 0);
	assert_int_equal(h.l2_entry_size, 16);
	assert_int_equal(h.subclusters, 32);
	assert_int_equal(h.subcluster_bits, 11);
	assert_int_equal(h.subcluster_size, 2048);
	assert_int_equal(h.l2_bits, 12);
	assert_int_equal(h.l1_entries_needed, 2);
	put(&image, FIELD(size), 512 * MiB + 1);
	assert_int_equal(parse(&image, &h, &fault), -EINVAL);
	assert_fault(&fault, L1_SMALL);
	free(image.buf);
}

static void size_is_rounded_down(void **state)
{
	static const u64 sizes[] = { 0, 1, 511, 512, 513, 1023, 65536, 65536 + 700 };
	struct image image = make_image(3, 16);
	struct qcow2_header h;
	struct qcow2_fault fault;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		put(&image, FIELD(size), sizes[i]);
		assert_int_equal(parse(&image, &h, &fault), 0);
		assert_int_equal(h.size, sizes[i] / 512 * 512);
	}
	free(image.buf);
}

/* The 32 MiB of L1 table bound the disk: 2 EiB with 2 MiB clusters, 128 GiB with 512 bytes. */
static void biggest_disks(void **state)
{
	static const struct {
		u32 bits;
		u64 size;
	} disks[] = { { 21, 1ULL << 61 }, { 9, 1ULL << 37 } };

	for (size_t i = 0; i < ARRAY_SIZE(disks); i++) {
		struct image image = make_image(3, disks[i].bits);
		struct qcow2_header h;
		struct qcow2_fault fault;

		image.file_size = 1 * GiB;
		put(&image, FIELD(l1_size), 4 * MiB);
		put(&image, FIELD(size), disks[i].size);
		assert_int_equal(parse(&image, &h, &fault), 0);
		assert_int_equal(h.l1_entries_needed, 4 * MiB);
		put(&image, FIELD(size), disks[i].size + 1);
		assert_int_equal(parse(&image, &h, &fault), -EINVAL);
		assert_fault(&fault, L1_SMALL);
		free(image.buf);
	}
}

/* Version 2 ends at byte 72: what follows are extensions, whatever it looks like. */
static void version_2_has_no_features(void **state)
{
	struct image image = make_image(2, 16);
	struct qcow2_header h;
	struct qcow2_fault fault;

	put(&image, 72, 4, 0);		/* end of extensions */
	memset(image.buf + 80, 0xff, 40);
	assert_int_equal(parse(&image, &h, &fault), 0);
	assert_int_equal(h.incompatible_features, 0);
	assert_int_equal(h.compatible_features, 0);
	assert_int_equal(h.autoclear_features, 0);
	assert_int_equal(h.refcount_order, 4);
	assert_int_equal(h.compression_type, QCOW2_COMPRESSION_ZLIB);
	free(image.buf);
}

/* Every prefix of an image's first cluster is refused, or what is cut off was not needed. */
static void short_buffers(void **state)
{
	struct image image = make_image(3, 9);
	struct qcow2_header h;
	struct qcow2_fault fault;
	u32 cluster_size;

	put(&image, 112, 4, QCOW2_EXT_BACKING_FORMAT);
	put(&image, 116, 4, 5);
	put(&image, FIELD(backing_file_offset), 500);
	put(&image, FIELD(backing_file_size), 12);
	for (size_t len = 0; len <= image.len; len++) {
		u8 *prefix = malloc(len ?: 1);
		int err;

		memcpy(prefix, image.buf, len);
		err = qcow2_header_probe(prefix, len, &cluster_size, &fault);
		assert_int_equal(err, len < QCOW2_V2_HEADER_LENGTH ? -EINVAL : 0);
		err = qcow2_header_parse(prefix, len, image.file_size, &h, &fault);
		assert_int_equal(err, len < image.len ? -EINVAL : 0);
		free(prefix);
	}
	free(image.buf);
}

static void short_file_sentences(void **state)
{
	struct image image = make_image(3, 16);
	struct qcow2_header h;
	struct qcow2_fault fault;
	u32 cluster_size;

	assert_int_equal(qcow2_header_probe(image.buf, 71, &cluster_size, &fault), -EINVAL);
	assert_fault(&fault, "file length is too small for a qcow2 header");
	image.len = 103;
	assert_int_equal(parse(&image, &h, &fault), -EINVAL);
	assert_fault(&fault, "file length is too small for a version 3 header");
	image.len = 104;
	assert_int_equal(parse(&image, &h, &fault), -EINVAL);
	assert_fault(&fault, "header_length reaches past the end of the file");
	free(image.buf);
}

static size_t add_extension(struct image *image, size_t off, u32 type, u32 len, const void *data)
{
	put(image, off, 4, type);
	put(image, off + 4, 4, len);
	if (data)
		memcpy(image->buf + off + 8, data, len);
	return off + 8 + (len + 7) / 8 * 8;
}

static void assert_span(struct qcow2_span span, size_t off, size_t len)
{
	assert_int_equal(span.off, off);
	assert_int_equal(span.len, len);
}

static void all_extensions(void **state)
{
	struct image image = make_image(3, 16);
	struct qcow2_header h;
	struct qcow2_fault fault;
	size_t off = 112;

	off = add_extension(&image, off, QCOW2_EXT_BACKING_FORMAT, 5, "qcow2");
	off = add_extension(&image, off, 0x12345678, 1, "?");
	off = add_extension(&image, off, QCOW2_EXT_FEATURE_NAMES, 96, NULL);
	off = add_extension(&image, off, QCOW2_EXT_BITMAPS, 24, NULL);
	off = add_extension(&image, off, QCOW2_EXT_DATA_FILE, 8, "data.raw");
	off = add_extension(&image, off, QCOW2_EXT_END, 0, NULL);
	/* after the end: not an extension any more */
	add_extension(&image, off, QCOW2_EXT_BACKING_FORMAT, 60000, NULL);

	assert_int_equal(parse(&image, &h, &fault), 0);
	assert_span(h.backing_format, 120, 5);
	assert_span(h.feature_names, 152, 96);
	assert_span(h.bitmaps, 256, 24);
	assert_span(h.data_file, 288, 8);
	assert_span(h.crypto, 0, 0);
	assert_span(h.backing_file, 0, 0);
	free(image.buf);
}

static void luks_extension(void **state)
{
	struct image image = make_image(3, 16);
	struct qcow2_header h;
	struct qcow2_fault fault;

	put(&image, FIELD(crypt_method), QCOW2_CRYPT_LUKS);
	add_extension(&image, 112, QCOW2_EXT_CRYPTO, 16, NULL);
	put(&image, 120, 8, CLUSTER);
	put(&image, 128, 8, image.file_size - CLUSTER);
	assert_int_equal(parse(&image, &h, &fault), 0);
	assert_span(h.crypto, 120, 16);
	assert_int_equal(h.crypto_off, CLUSTER);
	assert_int_equal(h.crypto_len, image.file_size - CLUSTER);

	put(&image, 128, 8, image.file_size - CLUSTER + 1);
	assert_int_equal(parse(&image, &h, &fault), -EINVAL);
	assert_fault(&fault, "full disk encryption header length reaches past the end of the file");
	put(&image, 128, 8, UINT64_MAX);
	assert_int_equal(parse(&image, &h, &fault), -EINVAL);
	assert_fault(&fault, "full disk encryption header length is too big: 16 MiB are the most");
	put(&image, 128, 8, 591);
	assert_int_equal(parse(&image, &h, &fault), -EINVAL);
	assert_fault(&fault,
		     "full disk encryption header length is too small: a LUKS header has 592 bytes, and key material");
	put(&image, 128, 8, 592);
	assert_int_equal(parse(&image, &h, &fault), 0);
	put(&image, 120, 8, CLUSTER + 8);
	assert_int_equal(parse(&image, &h, &fault), -EINVAL);
	assert_fault(&fault,
		     "full disk encryption header offset is not a multiple of the cluster size");
	put(&image, 120, 8, 0);
	assert_int_equal(parse(&image, &h, &fault), -EINVAL);
	put(&image, 120, 8, CLUSTER);
	put(&image, 116, 4, 15);
	assert_int_equal(parse(&image, &h, &fault), -EINVAL);
	assert_fault(&fault, "full disk encryption header pointer length is not 16");
	put(&image, FIELD(crypt_method), QCOW2_CRYPT_NONE);
	assert_int_equal(parse(&image, &h, &fault), -EINVAL);
	assert_fault(&fault, "crypt_method is not LUKS, but there is a full disk encryption header");
	free(image.buf);
}

static void extension_lengths(void **state)
{
	static const struct {
		u32 type;
		u32 len;
		const char *sentence;
	} rows[] = {
		{ QCOW2_EXT_BACKING_FORMAT, 0, NULL },
		{ QCOW2_EXT_BACKING_FORMAT, 15, NULL },
		{ QCOW2_EXT_BACKING_FORMAT, 16,
		  "backing file format name extension length is too big: 15 bytes are the most" },
		{ QCOW2_EXT_FEATURE_NAMES, 0, NULL },
		{ QCOW2_EXT_FEATURE_NAMES, 47, "feature name table length is not a multiple of 48" },
		{ QCOW2_EXT_FEATURE_NAMES, 48, NULL },
		{ QCOW2_EXT_FEATURE_NAMES, 49, "feature name table length is not a multiple of 48" },
		{ QCOW2_EXT_BITMAPS, 23, "bitmaps extension length is not 24" },
		{ QCOW2_EXT_BITMAPS, 24, NULL },
		{ QCOW2_EXT_BITMAPS, 25, "bitmaps extension length is not 24" },
		{ 0xdeadbeef, 0, NULL },
		{ 0xdeadbeef, CLUSTER - 120, NULL },
		{ 0xdeadbeef, CLUSTER - 119,
		  "header extension length reaches past the first cluster or into the backing file name" },
		{ 0xdeadbeef, UINT32_MAX,
		  "header extension length reaches past the first cluster or into the backing file name" },
		{ QCOW2_EXT_END, UINT32_MAX,
		  "header extension length reaches past the first cluster or into the backing file name" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct image image = make_image(3, 16);
		struct qcow2_header h;
		struct qcow2_fault fault;
		int err;

		add_extension(&image, 112, rows[i].type, rows[i].len, NULL);
		err = parse(&image, &h, &fault);
		if (!rows[i].sentence != !err)
			fail_msg("row %zu: %s", i, fault.sentence ?: "valid");
		if (err)
			assert_fault(&fault, rows[i].sentence);
		free(image.buf);
	}
}

/* Extensions end where the backing file's name begins. */
static void extensions_before_the_name(void **state)
{
	struct image image = make_image(3, 16);
	struct qcow2_header h;
	struct qcow2_fault fault;

	put(&image, FIELD(backing_file_offset), 136);
	put(&image, FIELD(backing_file_size), 9);
	add_extension(&image, 112, QCOW2_EXT_BACKING_FORMAT, 15, "qcow2 or not so");
	assert_int_equal(parse(&image, &h, &fault), 0);
	assert_span(h.backing_file, 136, 9);
	assert_span(h.backing_format, 120, 15);

	put(&image, FIELD(backing_file_offset), 135);
	assert_int_equal(parse(&image, &h, &fault), 0);
	put(&image, FIELD(backing_file_offset), 134);
	assert_int_equal(parse(&image, &h, &fault), -EINVAL);
	assert_fault(&fault,
		     "header extension length reaches past the first cluster or into the backing file name");
	put(&image, FIELD(backing_file_offset), 119);
	assert_int_equal(parse(&image, &h, &fault), -EINVAL);
	assert_fault(&fault, "header extension does not fit before the end of its area");
	add_extension(&image, 112, QCOW2_EXT_BACKING_FORMAT, 0, NULL);
	put(&image, FIELD(backing_file_offset), 120);
	assert_int_equal(parse(&image, &h, &fault), 0);
	/* A name right behind the header leaves no room for extensions. */
	put(&image, FIELD(backing_file_offset), 112);
	assert_int_equal(parse(&image, &h, &fault), 0);
	assert_span(h.backing_format, 0, 0);
	free(image.buf);
}

static void at_most_64_extensions(void **state)
{
	struct image image = make_image(3, 16);
	struct qcow2_header h;
	struct qcow2_fault fault;
	size_t off = 112;

	for (unsigned int i = 0; i < QCOW2_MAX_EXTENSIONS; i++)
		off = add_extension(&image, off, 0xdead0000 + i, 4, "abcd");
	assert_int_equal(parse(&image, &h, &fault), 0);
	add_extension(&image, off, 0xdeadffff, 4, "abcd");
	assert_int_equal(parse(&image, &h, &fault), -EINVAL);
	assert_fault(&fault, "header extension is one too many: 64 are the most");
	free(image.buf);
}

/* As QEMU does; the specification leaves it open by forbidding it. */
static void last_of_two_extensions_counts(void **state)
{
	struct image image = make_image(3, 16);
	struct qcow2_header h;
	struct qcow2_fault fault;
	size_t off;

	off = add_extension(&image, 112, QCOW2_EXT_BACKING_FORMAT, 3, "raw");
	add_extension(&image, off, QCOW2_EXT_BACKING_FORMAT, 5, "qcow2");
	assert_int_equal(parse(&image, &h, &fault), 0);
	assert_span(h.backing_format, off + 8, 5);
	free(image.buf);
}

static void put_feature_name(struct image *image, size_t off, u8 type, u8 bit, const char *name)
{
	put(image, off, 1, type);
	put(image, off + 1, 1, bit);
	memset(image->buf + off + 2, 0, 46);
	memcpy(image->buf + off + 2, name, strlen(name));
}

static void feature_names(void **state)
{
	static const char full[] = "0123456789012345678901234567890123456789012345";
	struct image image = make_image(3, 16);
	struct qcow2_header h;
	struct qcow2_fault fault;
	char name[47];

	add_extension(&image, 112, QCOW2_EXT_FEATURE_NAMES, 4 * 48, NULL);
	put_feature_name(&image, 120, QCOW2_FEATURE_INCOMPATIBLE, 7, "time ~ travel");
	put_feature_name(&image, 168, QCOW2_FEATURE_COMPATIBLE, 63, full);
	put_feature_name(&image, 216, QCOW2_FEATURE_AUTOCLEAR, 0, "\x1b[31m\x7f\xff!");
	put_feature_name(&image, 264, QCOW2_FEATURE_AUTOCLEAR, 1, "");
	assert_int_equal(parse(&image, &h, &fault), 0);

	assert_true(qcow2_feature_name(image.buf, &h, QCOW2_FEATURE_INCOMPATIBLE, 7, name));
	assert_string_equal(name, "time ~ travel");
	assert_true(qcow2_feature_name(image.buf, &h, QCOW2_FEATURE_COMPATIBLE, 63, name));
	assert_string_equal(name, full);
	assert_true(qcow2_feature_name(image.buf, &h, QCOW2_FEATURE_AUTOCLEAR, 0, name));
	assert_string_equal(name, "?[31m?" "?!");
	assert_false(qcow2_feature_name(image.buf, &h, QCOW2_FEATURE_AUTOCLEAR, 1, name));
	assert_false(qcow2_feature_name(image.buf, &h, QCOW2_FEATURE_COMPATIBLE, 7, name));
	assert_false(qcow2_feature_name(image.buf, &h, QCOW2_FEATURE_INCOMPATIBLE, 8, name));

	put(&image, 112, 4, 0);
	assert_int_equal(parse(&image, &h, &fault), 0);
	assert_false(qcow2_feature_name(image.buf, &h, QCOW2_FEATURE_INCOMPATIBLE, 7, name));
	free(image.buf);
}

static void unsupported_features(void **state)
{
	static const struct {
		u64 incompatible;
		const char *sentence;	/* NULL: supported */
		u64 value;
	} rows[] = {
		{ 0, NULL, 0 },
		{ QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT, NULL, 0 },
		{ QCOW2_INCOMPAT_DATA_FILE | QCOW2_INCOMPAT_EXTL2, NULL, 0 },
		{ 1ULL << 5, "incompatible feature bit is not known", 5 },
		{ 1ULL << 63, "incompatible feature bit is not known", 63 },
		{ 1ULL << 40 | 1ULL << 63 | QCOW2_INCOMPAT_EXTL2,
		  "incompatible feature bit is not known", 40 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct image image = make_image(3, 16);
		struct qcow2_header h;
		struct qcow2_fault fault;

		put(&image, FIELD(size), 1 * MiB);
		put(&image, FIELD(incompatible_features), rows[i].incompatible);
		assert_int_equal(parse(&image, &h, &fault), 0);
		assert_int_equal(h.incompatible_features, rows[i].incompatible);
		assert_int_equal(qcow2_header_unsupported(&h, &fault),
				 rows[i].sentence ? -EOPNOTSUPP : 0);
		if (rows[i].sentence) {
			assert_fault(&fault, rows[i].sentence);
			assert_int_equal(fault.value, rows[i].value);
		}
		free(image.buf);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(header_fields),
		cmocka_unit_test(every_geometry),
		cmocka_unit_test(extended_l2_geometry),
		cmocka_unit_test(size_is_rounded_down),
		cmocka_unit_test(biggest_disks),
		cmocka_unit_test(version_2_has_no_features),
		cmocka_unit_test(short_buffers),
		cmocka_unit_test(short_file_sentences),
		cmocka_unit_test(all_extensions),
		cmocka_unit_test(luks_extension),
		cmocka_unit_test(extension_lengths),
		cmocka_unit_test(extensions_before_the_name),
		cmocka_unit_test(at_most_64_extensions),
		cmocka_unit_test(last_of_two_extensions_counts),
		cmocka_unit_test(feature_names),
		cmocka_unit_test(unsupported_features),
	};

	return cmocka_run_group_tests_name("format", tests, NULL, NULL);
}
