// SPDX-License-Identifier: GPL-2.0-or-later
/* Malformed images: the table of faults, and the good image they are put into. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bad.h"
#include "rig.h"

/* --- the table ---------------------------------------------------------------------------- */

#define REFUSE(nm, words_, ...) { .name = nm, .outcome = REFUSED, .words = words_, \
	.edits = { __VA_ARGS__ } }
#define SET(field, v) { FIELD(field), v }
#define AT(off, width, v) { off, width, v }
#define CUT(nm, words_, how) { .name = nm, .outcome = REFUSED, .words = words_, .mangle = how }

#define VICTIM_ENTRY(v) { L2_OFF + VICTIM * 8, 8, v }
#define BAD_L2(nm, words_, v) { .name = "l2-" nm, .outcome = ERROR, .words = words_, \
	.guest = VICTIM, .edits = { VICTIM_ENTRY(v) } }
#define BAD_L2_V2(nm, words_, v) { .name = "l2-v2-" nm, .outcome = ERROR, .words = words_, \
	.guest = VICTIM, .version = 2, .edits = { VICTIM_ENTRY(v) } }
#define BAD_L1(nm, words_, v) { .name = "l1-" nm, .outcome = ERROR, .words = words_, \
	.guest = EVERYTHING, .edits = { AT(L1_OFF, 8, v) } }
#define BAD_ZLIB(nm, how) { .name = "zlib-" nm, .outcome = ERROR, .words = "bad zlib stream", \
	.guest = STREAM, .mangle = how }
#define BAD_ZSTD(nm, how) { .name = "zstd-" nm, .outcome = ERROR, .words = "bad zstd stream", \
	.guest = STREAM, .zstd = true, .mangle = how }

#define DATA_L2(nm, outcome_, words_, v) { .name = "data-l2-" nm, .outcome = outcome_, \
	.words = words_, .guest = VICTIM, .data_file = true, .edits = { VICTIM_ENTRY(v) } }

#define X_VICTIM_ENTRY(word, bitmap) { X_L2_OFF + 16, 8, word }, { X_L2_OFF + 24, 8, bitmap }
#define BAD_X(nm, words_, word, bitmap) { .name = "extl2-" nm, .outcome = ERROR, \
	.words = words_, .guest = X_VICTIM, .extended = true, \
	.edits = { X_VICTIM_ENTRY(word, bitmap) } }
#define FINE_X(nm, how, ...) { .name = "fine-extl2-" nm, .outcome = FINE, .extended = true, \
	.mangle = how, .edits = { __VA_ARGS__ } }
#define SUB_ALLOC(sc) (1ULL << (sc))
#define SUB_ZERO(sc) (1ULL << (32 + (sc)))
#define ALL_ALLOC 0xffffffffULL
#define ALL_ZERO (ALL_ALLOC << 32)

#define BAD_B(nm, words_, ...) { .name = "bitmaps-" nm, .outcome = REFUSED, .words = words_, \
	.bitmaps = true, .edits = { __VA_ARGS__ } }
#define FINE_B(nm, ...) { .name = "fine-bitmaps-" nm, .outcome = FINE, .bitmaps = true, \
	.edits = { __VA_ARGS__ } }
#define OVERLAP \
	"bitmaps overlap other metadata: run qemu-img check -r all, or attach read-only"
#define DIR_SIZE \
	"bitmap_directory_size is out of range: 1 to 67107840 bytes (65535 KiB) are valid"
#define NAME_SIZE "bitmap's name_size is out of range: 1 to 1023 bytes are valid"
#define GRANULARITY \
	"bitmap's granularity_bits is out of range: 9 (512 bytes) to 31 (2 GiB) are valid"

#define L1_EOF "l1_table_offset puts the L1 table past the end of the file: is the file truncated?"
#define RT_EOF "refcount_table_offset puts the refcount table past the end of the file: " \
	"is the file truncated?"
#define SNAP_EOF "snapshots_offset puts the snapshot table past the end of the file: " \
	"is the file truncated?"
#define BAD_BITS "cluster_bits is out of range: 9 (512 bytes) to 21 (2 MiB) are valid"
#define EXT_PAST \
	"header extension length reaches past the first cluster or into the backing file name"
#define LUKS(luks_off, luks_len) SET(crypt_method, 2), AT(112, 4, QCOW2_EXT_CRYPTO), \
	AT(116, 4, 16), AT(120, 8, luks_off), AT(128, 8, luks_len)
#define LUKS_SMALL "full disk encryption header length is too small: a LUKS header has 592 bytes, " \
	"and key material"
#define LUKS_BIG "full disk encryption header length is too big: 16 MiB are the most"
#define LUKS_EOF "full disk encryption header length reaches past the end of the file"
#define RESERVED "has reserved bits set"
#define ELSEWHERE "is not the guest offset, as it must be in an external data file"
#define UNALIGNED "is not a multiple of the cluster size"

const struct row bad_rows[] = {
	REFUSE("magic-qed", "magic is not that of a qcow2 image: is it a raw image?",
	       SET(magic, 0x51454400)),
	REFUSE("magic-zero",
	       "magic is not that of a qcow2 image: is it a raw image?", SET(magic, 0)),
	REFUSE("version-1", "version is not known: 2 and 3 are", SET(version, 1)),
	REFUSE("version-4", "version is not known: 2 and 3 are", SET(version, 4)),
	REFUSE("version-huge", "version is not known: 2 and 3 are", SET(version, 0x80000003)),
	REFUSE("cluster-bits-0", BAD_BITS,
	       SET(cluster_bits, 0)),
	REFUSE("cluster-bits-8", BAD_BITS,
	       SET(cluster_bits, 8)),
	REFUSE("cluster-bits-22", BAD_BITS,
	       SET(cluster_bits, 22)),
	REFUSE("cluster-bits-64", BAD_BITS,
	       SET(cluster_bits, 64)),
	REFUSE("cluster-bits-extl2",
	       "cluster_bits is too small for extended L2 entries: 14 to 21 are valid",
	       SET(incompatible_features, QCOW2_INCOMPAT_EXTL2)),
	REFUSE("size-2-63", "size is too big: 2^63 - 1 bytes are the most", SET(size, 1ULL << 63)),
	REFUSE("size-max", "size is too big: 2^63 - 1 bytes are the most", SET(size, ~0ULL)),
	REFUSE("size-beyond-l1", "l1_size is too small for the size of the disk",
	       SET(size, 512 * CLUSTER + 1)),
	REFUSE("size-wraps-l1", "l1_size is too small for the size of the disk",
	       SET(size, (1ULL << 63) - 1)),
	REFUSE("crypt-method-3", "crypt_method is not known: 0 (none), 1 (AES) and 2 (LUKS) are",
	       SET(crypt_method, 3)),
	REFUSE("crypt-method-luks-bare",
	       "crypt_method is LUKS, but there is no full disk encryption header",
	       SET(crypt_method, 2)),
	REFUSE("l1-size-0", "l1_size is too small for the size of the disk", SET(l1_size, 0)),
	REFUSE("l1-size-past-end", L1_EOF, SET(l1_size, 1 << 20)),
	REFUSE("l1-size-too-big", "l1_size is too big: 4194304 entries (32 MiB) are the most",
	       SET(l1_size, (4 << 20) + 1)),
	REFUSE("l1-size-max", "l1_size is too big: 4194304 entries (32 MiB) are the most",
	       SET(l1_size, 0xffffffff)),
	REFUSE("l1-offset-0", "l1_table_offset puts the L1 table on top of the header",
	       SET(l1_table_offset, 0)),
	REFUSE("l1-offset-plus-8", "l1_table_offset is not a multiple of the cluster size",
	       SET(l1_table_offset, L1_OFF + 8)),
	REFUSE("l1-offset-plus-512", "l1_table_offset is not a multiple of the cluster size",
	       SET(l1_table_offset, L1_OFF + 512)),
	REFUSE("l1-offset-past-end", L1_EOF, SET(l1_table_offset, PAST_END)),
	REFUSE("l1-offset-2-63", L1_EOF, SET(l1_table_offset, 1ULL << 63)),
	REFUSE("l1-offset-wraps", L1_EOF, SET(l1_table_offset, 0 - CLUSTER)),
	REFUSE("refcount-offset-0",
	       "refcount_table_offset puts the refcount table on top of the header",
	       SET(refcount_table_offset, 0)),
	REFUSE("refcount-offset-plus-1",
	       "refcount_table_offset is not a multiple of the cluster size",
	       SET(refcount_table_offset, CLUSTER + 1)),
	REFUSE("refcount-offset-plus-512",
	       "refcount_table_offset is not a multiple of the cluster size",
	       SET(refcount_table_offset, CLUSTER + 512)),
	REFUSE("refcount-offset-past-end", RT_EOF, SET(refcount_table_offset, PAST_END)),
	REFUSE("refcount-offset-wraps", RT_EOF, SET(refcount_table_offset, 0 - CLUSTER)),
	REFUSE("refcount-offset-on-l1",
	       "refcount_table_offset puts the refcount table on top of the L1 table",
	       SET(refcount_table_offset, L1_OFF)),
	REFUSE("refcount-clusters-0", "refcount_table_clusters is zero: there is no refcount table",
	       SET(refcount_table_clusters, 0)),
	REFUSE("refcount-clusters-over-l1",
	       "refcount_table_offset puts the refcount table on top of the L1 table",
	       SET(refcount_table_clusters, 3)),
	REFUSE("refcount-clusters-past-end", RT_EOF, SET(refcount_table_clusters, 2048)),
	REFUSE("refcount-clusters-too-big",
	       "refcount_table_clusters is too big: 8 MiB are the most",
	       SET(refcount_table_clusters, 2049)),
	REFUSE("refcount-clusters-max", "refcount_table_clusters is too big: 8 MiB are the most",
	       SET(refcount_table_clusters, 0xffffffff)),
	REFUSE("snapshots-65537", "nb_snapshots is too big: 65536 are the most",
	       SET(nb_snapshots, 65537), SET(snapshots_offset, CLUSTER)),
	REFUSE("snapshots-max", "nb_snapshots is too big: 65536 are the most",
	       SET(nb_snapshots, 0xffffffff), SET(snapshots_offset, CLUSTER)),
	REFUSE("snapshots-at-0", "snapshots_offset puts the snapshot table on top of the header",
	       SET(nb_snapshots, 1)),
	REFUSE("snapshots-unaligned", "snapshots_offset is not a multiple of the cluster size",
	       SET(nb_snapshots, 1), SET(snapshots_offset, CLUSTER + 8)),
	REFUSE("snapshots-unaligned-none", "snapshots_offset is not a multiple of the cluster size",
	       SET(snapshots_offset, 8)),
	REFUSE("snapshots-past-end", SNAP_EOF,
	       SET(nb_snapshots, 1), SET(snapshots_offset, PAST_END)),
	REFUSE("snapshots-wrap", SNAP_EOF,
	       SET(nb_snapshots, 1), SET(snapshots_offset, 0 - CLUSTER)),
	REFUSE("snapshots-many-past-end", SNAP_EOF, SET(nb_snapshots, 65536),
	       SET(snapshots_offset, CLUSTER)),
	REFUSE("backing-name-in-header", "backing_file_offset points into the header",
	       SET(backing_file_offset, 64), SET(backing_file_size, 8)),
	REFUSE("backing-name-past-cluster", "backing_file_offset points past the first cluster",
	       SET(backing_file_offset, CLUSTER + 8), SET(backing_file_size, 8)),
	REFUSE("backing-name-past-everything", "backing_file_offset points past the first cluster",
	       SET(backing_file_offset, ~0ULL), SET(backing_file_size, 8)),
	REFUSE("backing-name-1024", "backing_file_size is too big: 1023 bytes are the most",
	       SET(backing_file_offset, 1024), SET(backing_file_size, 1024)),
	REFUSE("backing-name-max", "backing_file_size is too big: 1023 bytes are the most",
	       SET(backing_file_offset, 1024), SET(backing_file_size, 0xffffffff)),
	REFUSE("backing-name-over-end", "backing_file_size reaches past the first cluster",
	       SET(backing_file_offset, CLUSTER - 8), SET(backing_file_size, 9)),
	REFUSE("feature-5",
	       "incompatible feature bit is not known", SET(incompatible_features, 1 << 5)),
	REFUSE("feature-63", "incompatible feature bit is not known",
	       SET(incompatible_features, 1ULL << 63)),
	REFUSE("data-file-with-snapshots",
	       "nb_snapshots is not zero, but there is an external data file, which allows no snapshots",
	       SET(incompatible_features, QCOW2_INCOMPAT_DATA_FILE), SET(nb_snapshots, 1),
	       SET(snapshots_offset, 2 * CLUSTER)),
	REFUSE("feature-raw-without-data-file",
	       "autoclear_features has the raw data file bit, but the image has no data file",
	       SET(autoclear_features, QCOW2_AUTOCLEAR_DATA_FILE_RAW)),
	REFUSE("refcount-order-7", "refcount_order is out of range: 0 to 6 (64 bits) are valid",
	       SET(refcount_order, 7)),
	REFUSE("refcount-order-max", "refcount_order is out of range: 0 to 6 (64 bits) are valid",
	       SET(refcount_order, 0xffffffff)),
	REFUSE("header-length-0", "header_length is too small: version 3 needs 104 bytes",
	       SET(header_length, 0)),
	REFUSE("header-length-72", "header_length is too small: version 3 needs 104 bytes",
	       SET(header_length, 72)),
	REFUSE("header-length-109",
	       "header_length is not a multiple of 8", SET(header_length, 109)),
	REFUSE("header-length-past-cluster", "header_length reaches past the first cluster",
	       SET(header_length, CLUSTER + 8)),
	REFUSE("header-length-max", "header_length reaches past the first cluster",
	       SET(header_length, 0xfffffff8)),
	REFUSE("compression-type-2", "compression_type is not known: 0 (zlib) and 1 (zstd) are",
	       SET(compression_type, 2), SET(incompatible_features, QCOW2_INCOMPAT_COMPRESSION)),
	REFUSE("compression-bit-zlib",
	       "compression_type is zlib, but incompatible feature bit 3 says that it is not",
	       SET(incompatible_features, QCOW2_INCOMPAT_COMPRESSION)),
	REFUSE("compression-zstd-no-bit",
	       "compression_type is not zlib, but incompatible feature bit 3 is clear",
	       SET(compression_type, 1)),
	REFUSE("extension-past-cluster", EXT_PAST, AT(112, 4, 0x12345678), AT(116, 4, CLUSTER)),
	REFUSE("extension-max", EXT_PAST, AT(112, 4, 0x12345678), AT(116, 4, 0xffffffff)),
	REFUSE("extension-end-with-length", EXT_PAST, AT(116, 4, 0xfffffff0)),
	REFUSE("extension-into-name", EXT_PAST, AT(112, 4, 0x12345678), AT(116, 4, 100),
	       SET(backing_file_offset, 200)),
	REFUSE("extension-without-room", "header extension does not fit before the end of its area",
	       SET(backing_file_offset, 116)),
	REFUSE("extension-format-16",
	       "backing file format name extension length is too big: 15 bytes are the most",
	       AT(112, 4, QCOW2_EXT_BACKING_FORMAT), AT(116, 4, 16)),
	REFUSE("extension-feature-names-47", "feature name table length is not a multiple of 48",
	       AT(112, 4, QCOW2_EXT_FEATURE_NAMES), AT(116, 4, 47)),
	REFUSE("extension-bitmaps-32", "bitmaps extension length is not 24",
	       AT(112, 4, QCOW2_EXT_BITMAPS), AT(116, 4, 32)),
	REFUSE("extension-crypto-without-luks",
	       "crypt_method is not LUKS, but there is a full disk encryption header",
	       AT(112, 4, QCOW2_EXT_CRYPTO), AT(116, 4, 16)),
	REFUSE("extension-crypto-8", "full disk encryption header pointer length is not 16",
	       AT(112, 4, QCOW2_EXT_CRYPTO), AT(116, 4, 8), SET(crypt_method, 2)),
	REFUSE("extension-crypto-at-0",
	       "full disk encryption header offset is not a multiple of the cluster size",
	       AT(112, 4, QCOW2_EXT_CRYPTO), AT(116, 4, 16), SET(crypt_method, 2)),
	REFUSE("luks-offset-unaligned",
	       "full disk encryption header offset is not a multiple of the cluster size",
	       LUKS(CLUSTER + 512, 592)),
	REFUSE("luks-length-0", LUKS_SMALL, LUKS(CLUSTER, 0)),
	REFUSE("luks-length-591", LUKS_SMALL, LUKS(CLUSTER, 591)),
	REFUSE("luks-length-past-end", LUKS_EOF, LUKS(CLUSTER, 1 << 20)),
	REFUSE("luks-length-16-mib", LUKS_EOF, LUKS(CLUSTER, 16 << 20)),
	REFUSE("luks-length-too-big", LUKS_BIG, LUKS(CLUSTER, (16 << 20) + 1)),
	REFUSE("luks-length-max", LUKS_BIG, LUKS(CLUSTER, ~0ULL)),
	REFUSE("luks-offset-past-end", LUKS_EOF, LUKS(1ULL << 40, 592)),
	REFUSE("luks-offset-max", LUKS_EOF, LUKS(~0ULL << 16, 592)),
	CUT("extension-65", "header extension is one too many: 64 are the most",
	    sixty_five_extensions),

	CUT("cut-to-nothing", "file length is too small for a qcow2 header", cut_to_nothing),
	CUT("cut-in-magic", "file length is too small for a qcow2 header", cut_in_magic),
	CUT("cut-in-v2-header", "file length is too small for a qcow2 header", cut_in_v2_header),
	CUT("cut-in-v3-header",
	    "file length is too small for a version 3 header", cut_in_v3_header),
	CUT("cut-after-header", L1_EOF, cut_after_header),
	CUT("cut-at-refcount-table", L1_EOF, cut_at_refcount_table),
	CUT("cut-in-refcount-table", L1_EOF, cut_in_refcount_table),
	CUT("cut-at-l1", L1_EOF, cut_at_l1),
	CUT("cut-in-l1", L1_EOF, cut_in_l1),

	BAD_L1("reserved-bit-0", RESERVED, COPIED | L2_OFF | 1 << 0),
	BAD_L1("reserved-bit-4", RESERVED, COPIED | L2_OFF | 1 << 4),
	BAD_L1("reserved-bit-8", RESERVED, COPIED | L2_OFF | 1 << 8),
	BAD_L1("reserved-bit-56", RESERVED, COPIED | L2_OFF | 1ULL << 56),
	BAD_L1("reserved-bit-62", RESERVED, COPIED | L2_OFF | 1ULL << 62),
	BAD_L1("unaligned-512", UNALIGNED, COPIED | (L2_OFF + 512)),
	BAD_L1("unaligned-2048", UNALIGNED, COPIED | (L2_OFF + 2048)),
	BAD_L1("past-end", BEYOND, COPIED | PAST_END),
	BAD_L1("past-any-end", BEYOND, COPIED | (QCOW2_ENTRY_OFFSET_MASK & ~(CLUSTER - 1))),
	{ .name = "l1-cut-at-l2", .outcome = ERROR, .words = BEYOND, .guest = EVERYTHING,
	  .mangle = cut_at_l2 },
	{ .name = "l1-cut-in-l2", .outcome = ERROR, .words = BEYOND, .guest = EVERYTHING,
	  .mangle = cut_in_l2 },

	BAD_L2("reserved-bit-1", RESERVED, COPIED | 6 * CLUSTER | 1 << 1),
	BAD_L2("reserved-bit-2", RESERVED, COPIED | 6 * CLUSTER | 1 << 2),
	BAD_L2("reserved-bit-8", RESERVED, COPIED | 6 * CLUSTER | 1 << 8),
	BAD_L2("reserved-bit-56", RESERVED, COPIED | 6 * CLUSTER | 1ULL << 56),
	BAD_L2("reserved-bit-61", RESERVED, COPIED | 6 * CLUSTER | 1ULL << 61),
	BAD_L2("reserved-all", RESERVED, QCOW2_L2_RESERVED_MASK),
	BAD_L2("unaligned-512", UNALIGNED, COPIED | (6 * CLUSTER + 512)),
	BAD_L2("unaligned-2048", UNALIGNED, COPIED | (6 * CLUSTER + 2048)),
	BAD_L2("unaligned-in-header", UNALIGNED, 1024),
	BAD_L2("unaligned-zero", UNALIGNED, ZERO | (6 * CLUSTER + 1024)),
	BAD_L2("past-end", BEYOND, COPIED | PAST_END),
	BAD_L2("past-any-end", BEYOND, COPIED | (QCOW2_ENTRY_OFFSET_MASK & ~(CLUSTER - 1))),
	BAD_L2("compressed-reserved-56", RESERVED, COMPRESSED | 1ULL << 56 | STREAM_OFF),
	BAD_L2("compressed-reserved-57", RESERVED, COMPRESSED | 1ULL << 57 | STREAM_OFF),
	BAD_L2("compressed-at-0", "points into the header", COMPRESSED),
	BAD_L2("compressed-in-header", "points into the header", COMPRESSED | (CLUSTER - 1)),
	BAD_L2("compressed-past-end", "bad zlib stream", COMPRESSED | PAST_END),
	BAD_L2("compressed-past-any-end", "compressed cluster", COMPRESSED | ((1ULL << 56) - 1)),
	BAD_L2("compressed-of-plain", "bad zlib stream", COMPRESSED | 5 * CLUSTER),
	BAD_L2_V2("zero", "zero bit", ZERO),
	BAD_L2_V2("zero-allocated", "zero bit", COPIED | 6 * CLUSTER | ZERO),
	{ .name = "l2-cut-before-data", .outcome = ERROR, .words = BEYOND, .guest = PLAIN_TOO,
	  .mangle = cut_before_plain_too },

	BAD_X("both-first", "allocated and read as zeros", COPIED | X_VICTIM_OFF,
	      ALL_ALLOC | SUB_ZERO(0)),
	BAD_X("both-last", "allocated and read as zeros", COPIED | X_VICTIM_OFF,
	      ALL_ZERO | SUB_ALLOC(31)),
	BAD_X("both-all", "allocated and read as zeros", X_VICTIM_OFF, ~0ULL),
	BAD_X("allocated-nowhere", "there is no cluster", 0, SUB_ALLOC(0)),
	BAD_X("allocated-nowhere-last", "there is no cluster", 0, SUB_ALLOC(31) | SUB_ZERO(3)),
	BAD_X("allocated-nowhere-copied", "there is no cluster", COPIED, ALL_ALLOC),
	BAD_X("zero-bit", "zero bit", COPIED | X_VICTIM_OFF | ZERO, ALL_ALLOC),
	BAD_X("zero-bit-alone", "zero bit", ZERO, 0),
	BAD_X("compressed-bitmap", "the cluster is compressed", COMPRESSED | X_STREAM_OFF,
	      SUB_ALLOC(0)),
	BAD_X("compressed-zero-bitmap", "the cluster is compressed", COMPRESSED | X_STREAM_OFF,
	      SUB_ZERO(31)),
	BAD_X("reserved-bit-1", RESERVED, COPIED | X_VICTIM_OFF | 1 << 1, ALL_ALLOC),
	BAD_X("reserved-bit-61", RESERVED, COPIED | X_VICTIM_OFF | 1ULL << 61, ALL_ALLOC),
	BAD_X("unaligned-4096", UNALIGNED, COPIED | (X_VICTIM_OFF + 4096), ALL_ALLOC),
	BAD_X("past-end", BEYOND, COPIED | PAST_END, ALL_ALLOC),

	BAD_ZLIB("shorter", zlib_shorter),
	BAD_ZLIB("empty", zlib_empty),
	BAD_ZLIB("block-type-3", zlib_block_type_3),
	BAD_ZLIB("stored-bad-length", zlib_stored_bad_length),
	BAD_ZLIB("stored-short", zlib_stored_short),
	BAD_ZLIB("too-far-back", zlib_too_far_back),
	BAD_ZLIB("bad-tree", zlib_bad_tree),
	BAD_ZLIB("zeros", zlib_zeros),
	BAD_ZLIB("with-zlib-header", zlib_header),
	BAD_ZLIB("second-half-zeroed", stream_cut),
	BAD_ZLIB("one-sector-of-two", one_sector_of_two),
	BAD_ZLIB("is-zstd", zstd_in_zlib),
	{ .name = "zlib-cut-before", .outcome = ERROR, .words = "bad zlib stream",
	  .guest = STREAM_END, .mangle = cut_before_end_stream },
	{ .name = "zlib-cut-within", .outcome = ERROR, .words = "bad zlib stream",
	  .guest = STREAM_END, .mangle = cut_in_end_stream },

	BAD_ZSTD("shorter", zstd_shorter),
	BAD_ZSTD("longer", zstd_longer),
	BAD_ZSTD("empty", zstd_empty),
	BAD_ZSTD("bad-checksum", zstd_bad_checksum),
	BAD_ZSTD("one-frame-of-two", zstd_one_frame_of_two),
	BAD_ZSTD("zeros", zstd_zeros),
	BAD_ZSTD("bad-magic", zstd_bad_magic),
	BAD_ZSTD("huge-window", zstd_huge_window),
	BAD_ZSTD("reserved-bit", zstd_reserved_bit),
	BAD_ZSTD("wants-dictionary", zstd_wants_dictionary),
	BAD_ZSTD("block-type-3", zstd_block_type_3),
	BAD_ZSTD("block-too-big", zstd_block_too_big),
	BAD_ZSTD("skippable-only", zstd_skippable_only),
	BAD_ZSTD("skippable-endless", zstd_skippable_endless),
	BAD_ZSTD("second-half-zeroed", stream_cut),
	BAD_ZSTD("is-zlib", zlib_in_zstd),
	{ .name = "zstd-cut-before", .outcome = ERROR, .words = "bad zstd stream",
	  .guest = STREAM_END, .zstd = true, .mangle = cut_before_end_stream },
	{ .name = "zstd-cut-within", .outcome = ERROR, .words = "bad zstd stream",
	  .guest = STREAM_END, .zstd = true, .mangle = cut_in_end_stream },

	BAD_B("reserved", "bitmaps extension has reserved bits set", AT(B_EXT + 4, 4, 1)),
	BAD_B("none", "nb_bitmaps is zero, but there is a bitmaps extension", AT(B_EXT, 4, 0)),
	BAD_B("65536", "nb_bitmaps is too big: 65535 are the most", AT(B_EXT, 4, 65536)),
	BAD_B("directory-size-0", DIR_SIZE, AT(B_EXT + 8, 8, 0)),
	BAD_B("directory-size-max", DIR_SIZE, AT(B_EXT + 8, 8, 65535 * 1024 + 1)),
	BAD_B("directory-at-0", "bitmap_directory_offset is not a multiple of the cluster size",
	      AT(B_EXT + 16, 8, 0)),
	BAD_B("directory-unaligned",
	      "bitmap_directory_offset is not a multiple of the cluster size",
	      AT(B_EXT + 16, 8, B_DIR + 512)),
	BAD_B("directory-past-end",
	      "bitmap_directory_offset puts the bitmap directory past the end of the file",
	      AT(B_EXT + 16, 8, 16 * CLUSTER)),
	BAD_B("directory-on-l1", OVERLAP, AT(B_EXT + 16, 8, L1_OFF)),
	BAD_B("one-more", "bitmap directory ends within an entry", AT(B_EXT, 4, 3)),
	BAD_B("one-less", "bitmap_directory_size is more than its entries need", AT(B_EXT, 4, 1)),
	BAD_B("table-at-0", "bitmap_table_offset is not a multiple of the cluster size",
	      AT(B_DIR, 8, 0)),
	BAD_B("table-unaligned", "bitmap_table_offset is not a multiple of the cluster size",
	      AT(B_DIR, 8, B_TABLE + 512)),
	BAD_B("table-past-end", "bitmap_table_offset puts the bitmap table past the end of the file",
	      AT(B_DIR, 8, PAST_END)),
	BAD_B("table-of-disabled-past-end",
	      "bitmap_table_offset puts the bitmap table past the end of the file",
	      AT(B_DIR_2, 8, PAST_END)),
	BAD_B("table-on-header", OVERLAP, AT(B_DIR, 8, L2_OFF)),
	BAD_B("table-on-directory", OVERLAP, AT(B_DIR, 8, B_DIR)),
	BAD_B("table-of-two", OVERLAP, AT(B_DIR_2, 8, B_TABLE)),
	BAD_B("table-size-0",
	      "bitmap_table_size is out of range: a bitmap takes 512 MiB at most",
	      AT(B_DIR + 8, 4, 0)),
	BAD_B("table-size-max",
	      "bitmap_table_size is out of range: a bitmap takes 512 MiB at most",
	      AT(B_DIR + 8, 4, 0xffffffff)),
	BAD_B("table-size-2", "bitmap_table_size does not fit the size of the disk",
	      AT(B_DIR + 8, 4, 2)),
	BAD_B("flags", "bitmap's flags has reserved bits set", AT(B_DIR + 12, 4, 1U << 31)),
	BAD_B("type-0", "bitmap's type is not known: 1 (dirty tracking) is", AT(B_DIR + 16, 1, 0)),
	BAD_B("type-2", "bitmap's type is not known: 1 (dirty tracking) is", AT(B_DIR + 16, 1, 2)),
	BAD_B("granularity-8", GRANULARITY, AT(B_DIR + 17, 1, 8)),
	BAD_B("granularity-32", GRANULARITY, AT(B_DIR + 17, 1, 32)),
	BAD_B("name-0", NAME_SIZE, AT(B_DIR + 18, 2, 0)),
	BAD_B("name-over-end",
	      "bitmap directory entry's length reaches past the end of the directory",
	      AT(B_DIR_2 + 18, 2, 64)),
	BAD_B("name-1024", NAME_SIZE, AT(B_DIR_2 + 18, 2, 1024), AT(B_EXT + 8, 8, 32 + 1048)),
	BAD_B("extra-data",
	      "bitmap's extra_data_size is not 0: what keeps the bitmap true is not known; attach read-only",
	      AT(B_DIR + 20, 4, 8), AT(B_EXT, 4, 1), AT(B_EXT + 8, 8, 40)),
	BAD_B("extra-data-max",
	      "bitmap directory entry's length reaches past the end of the directory",
	      AT(B_DIR + 20, 4, 0xffffffff)),
	BAD_B("entry-reserved", "bitmap table entry has reserved bits set",
	      AT(B_TABLE, 8, B_BITS | 1 << 1)),
	BAD_B("entry-reserved-63", "bitmap table entry has reserved bits set",
	      AT(B_TABLE, 8, B_BITS | 1ULL << 63)),
	BAD_B("entry-ones-somewhere", "bitmap table entry has reserved bits set",
	      AT(B_TABLE, 8, B_BITS | 1)),
	BAD_B("entry-unaligned", "bitmap cluster offset is not a multiple of the cluster size",
	      AT(B_TABLE, 8, B_BITS + 512)),
	BAD_B("entry-past-end",
	      "bitmap cluster offset lies past the end of the file: is it truncated?",
	      AT(B_TABLE, 8, PAST_END)),
	BAD_B("entry-of-disabled-past-end",
	      "bitmap cluster offset lies past the end of the file: is it truncated?",
	      AT(B_TABLE_2, 8, PAST_END)),
	BAD_B("bits-on-refcounts", OVERLAP, AT(B_TABLE, 8, 2 * CLUSTER)),
	BAD_B("bits-of-two", OVERLAP, AT(B_TABLE_2, 8, B_BITS)),
	FINE_B("as-they-are"),
	FINE_B("ones", AT(B_TABLE, 8, 1), AT(B_TABLE_2, 8, 1)),
	FINE_B("in-use-of-another-size", AT(B_DIR + 12, 4, 3), AT(B_DIR + 8, 4, 9)),
	FINE_B("in-use-and-broken", AT(B_DIR + 12, 4, 3), AT(B_TABLE, 8, B_BITS + 512)),
	FINE_B("in-use-and-past-end", AT(B_DIR + 12, 4, 3), AT(B_DIR, 8, PAST_END)),
	FINE_B("extra-data", AT(B_DIR + 12, 4, QCOW2_BITMAP_AUTO | QCOW2_BITMAP_EXTRA_COMPATIBLE),
	       AT(B_DIR + 20, 4, 8), AT(B_EXT, 4, 1), AT(B_EXT + 8, 8, 40)),
	FINE_B("void", SET(autoclear_features, 0), AT(B_DIR, 8, 1)),
	DATA_L2("elsewhere", ERROR, ELSEWHERE, COPIED | 7 * CLUSTER),
	DATA_L2("at-the-start", ERROR, ELSEWHERE, COPIED),
	DATA_L2("past-end", ERROR, ELSEWHERE, COPIED | PAST_END),
	DATA_L2("zero-elsewhere", ERROR, ELSEWHERE, COPIED | 7 * CLUSTER | ZERO),
	DATA_L2("unaligned", ERROR, UNALIGNED, COPIED | (CLUSTER + 512)),
	DATA_L2("reserved", ERROR, RESERVED, COPIED | CLUSTER | 1 << 3),
	DATA_L2("compressed", ERROR, "is compressed, which is not possible",
		COMPRESSED | STREAM_OFF),
	{ .name = "data-file-cut", .outcome = ERROR, .words = BEYOND, .guest = PLAIN_TOO,
	  .data_file = true, .mangle = cut_data_file },

	/* Odd, but QEMU reads it. */
	{ .name = "data-fine", .outcome = FINE, .data_file = true },
	DATA_L2("fine-without-copied", FINE, NULL, CLUSTER),
	{ .name = "data-fine-first-without-copied", .outcome = FINE, .data_file = true,
	  .edits = { AT(L2_OFF + PLAIN * 8, 8, 0) }, .mangle = plain_reads_zeros },
	{ .name = "fine", .outcome = FINE },
	{ .name = "fine-v2", .outcome = FINE, .version = 2,
	  .edits = { AT(L2_OFF + ZEROS * 8, 8, 0), AT(L2_OFF + ZEROS_ALLOC * 8, 8, 0) } },
	{ .name = "fine-zstd", .outcome = FINE, .zstd = true },
	{ .name = "fine-l1-without-copied", .outcome = FINE, .edits = { AT(L1_OFF, 8, L2_OFF) } },
	{ .name = "fine-l2-without-copied", .outcome = FINE,
	  .edits = { VICTIM_ENTRY(6 * CLUSTER) } },
	{ .name = "fine-l2-shared", .outcome = FINE, .edits = { VICTIM_ENTRY(5 * CLUSTER) },
	  .mangle = victim_reads_plain },
	{ .name = "fine-l2-copied-on-nothing", .outcome = FINE, .edits = { VICTIM_ENTRY(COPIED) },
	  .mangle = victim_reads_zeros },
	{ .name = "fine-l2-copied-on-zero", .outcome = FINE,
	  .edits = { VICTIM_ENTRY(COPIED | ZERO) }, .mangle = victim_reads_zeros },
	{ .name = "fine-l2-zero-past-end", .outcome = FINE,
	  .edits = { VICTIM_ENTRY(COPIED | PAST_END | ZERO) }, .mangle = victim_reads_zeros },
	{ .name = "fine-cut-in-last-cluster", .outcome = FINE, .mangle = cut_in_plain_too },
	{ .name = "fine-zlib-longer", .outcome = FINE, .mangle = zlib_longer },
	{ .name = "fine-zlib-twice", .outcome = FINE, .mangle = zlib_twice },
	{ .name = "fine-zstd-two-frames", .outcome = FINE, .zstd = true,
	  .mangle = zstd_two_frames },
	{ .name = "fine-zstd-checksum", .outcome = FINE, .zstd = true, .mangle = zstd_checksum },
	FINE_X("as-it-is", NULL),
	FINE_X("without-copied", NULL, X_VICTIM_ENTRY(X_VICTIM_OFF, ALL_ALLOC)),
	FINE_X("nothing", x_victim_reads_zeros, X_VICTIM_ENTRY(0, 0)),
	FINE_X("zero-past-end", x_victim_reads_zeros, X_VICTIM_ENTRY(COPIED | PAST_END, ALL_ZERO)),
	FINE_X("unallocated-past-end", x_victim_reads_zeros,
	       X_VICTIM_ENTRY(COPIED | PAST_END, 0)),
	FINE_X("zero-nowhere", x_victim_reads_zeros, X_VICTIM_ENTRY(0, ALL_ZERO)),
	{ .name = "fine-dirty", .outcome = FINE,
	  .edits = { SET(incompatible_features, QCOW2_INCOMPAT_DIRTY) } },
	{ .name = "fine-corrupt", .outcome = FINE,
	  .edits = { SET(incompatible_features, QCOW2_INCOMPAT_CORRUPT) } },
};

const size_t bad_row_count = ARRAY_SIZE(bad_rows);

/* --- one good image ----------------------------------------------------------------------- */

void bad_make_text(unsigned char *cluster, int guest)
{
	char line[64];

	for (size_t i = 0; i < CLUSTER; i += 32) {
		snprintf(line, sizeof(line), "guest cluster %2d, byte %4zu......", guest, i);
		memcpy(cluster + i, line, 32);
	}
}

/* Data go where the guest has them, in a file of their own; nothing is compressed. */
static void move_data(struct image *image)
{
	bad_put(image, FIELD(incompatible_features), QCOW2_INCOMPAT_DATA_FILE);
	memcpy(image->file, image->want, sizeof(image->file));
	memset(image->file + ZEROS_ALLOC * CLUSTER, 0xdb, CLUSTER);
	image->file_len = sizeof(image->file);
	for (int guest = 0; guest <= STREAM_END; guest++) {
		uint64_t zero = guest == ZEROS_ALLOC ? ZERO : 0;

		if (guest != ZEROS && guest != NOTHING)
			bad_put(image, L2_OFF + guest * 8, 8, COPIED | guest * CLUSTER | zero);
	}
}

static void build_standard(struct image *image, const struct row *row)
{
	int version = row->version ?: 3;
	size_t off = STREAM_OFF;

	bad_put(image, FIELD(magic), QCOW2_MAGIC);
	bad_put(image, FIELD(version), version);
	bad_put(image, FIELD(cluster_bits), BITS);
	bad_put(image, FIELD(size), GUEST_CLUSTERS * CLUSTER);
	bad_put(image, FIELD(l1_size), 1);
	bad_put(image, FIELD(l1_table_offset), L1_OFF);
	bad_put(image, FIELD(refcount_table_offset), CLUSTER);
	bad_put(image, FIELD(refcount_table_clusters), 1);
	if (version == 3) {
		bad_put(image, FIELD(refcount_order), 4);
		bad_put(image, FIELD(header_length), 112);
	}
	if (row->zstd) {
		bad_put(image, FIELD(incompatible_features), QCOW2_INCOMPAT_COMPRESSION);
		bad_put(image, FIELD(compression_type), QCOW2_COMPRESSION_ZSTD);
	}
	bad_put(image, CLUSTER, 8, 2 * CLUSTER);
	for (int i = 0; i < 12; i++)
		bad_put(image, 2 * CLUSTER + i * 2, 2, 1);
	bad_put(image, L1_OFF, 8, COPIED | L2_OFF);

	for (int guest = 0; guest <= STREAM_END; guest++) {
		unsigned char *want = image->want + guest * CLUSTER;
		static const int host[] = { [PLAIN] = 5, [VICTIM] = 6, [PLAIN_TOO] = 10 };
		size_t len;

		switch (guest) {
		case PLAIN:
		case VICTIM:
		case PLAIN_TOO:
			bad_make_text(want, guest);
			memcpy(image->data + host[guest] * CLUSTER, want, CLUSTER);
			bad_put(image, L2_OFF + guest * 8, 8, COPIED | host[guest] * CLUSTER);
			break;
		case STREAM_END:
			off = 11 * CLUSTER;
			/* fall through */
		case STREAM:
		case STREAM_TOO:
			bad_make_text(want, guest);
			len = row->zstd ?
				bad_compress_zstd(want, CLUSTER, image->data + off, CLUSTER,
						  false) :
				bad_deflate(want, CLUSTER, image->data + off, CLUSTER);
			bad_put(image, L2_OFF + guest * 8, 8, bad_compressed_entry(off, len));
			off += len;
			break;
		case ZEROS:
			bad_put(image, L2_OFF + guest * 8, 8, version == 3 ? ZERO : 0);
			break;
		case ZEROS_ALLOC:
			memset(image->data + 9 * CLUSTER, 0xdb, CLUSTER);
			if (version == 3)
				bad_put(image, L2_OFF + guest * 8, 8, COPIED | 9 * CLUSTER | ZERO);
			break;
		}
	}
	image->len = off;
	if (row->data_file)
		move_data(image);
}

void bad_build(struct image *image, const struct row *row)
{
	memset(image, 0, sizeof(*image));
	if (row->extended)
		bad_build_extended(image);
	else
		build_standard(image, row);
	if (row->bitmaps)
		bad_add_bitmaps(image);
	for (size_t i = 0; i < ARRAY_SIZE(row->edits) && row->edits[i].width; i++)
		bad_put(image, row->edits[i].off, row->edits[i].width, row->edits[i].value);
	if (row->mangle)
		row->mangle(image);
}
