/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Malformed images: what bad.c tries, bad_images.c lists and bad_mangle.c makes. */
#ifndef QCOW2_TESTS_BAD_H
#define QCOW2_TESTS_BAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "qcow2_format.h"

#define BITS		12
#define CLUSTER		4096ULL
#define L1_OFF		(3 * CLUSTER)
#define L2_OFF		(4 * CLUSTER)
#define STREAM_OFF	(7 * CLUSTER)
#define GUEST_CLUSTERS	16
#define FILE_ROOM	(64 * CLUSTER)
#define COPIED		QCOW2_ENTRY_COPIED
#define COMPRESSED	QCOW2_ENTRY_COMPRESSED
#define ZERO		QCOW2_ENTRY_ZERO
#define PAST_END	(64 * CLUSTER)

/* Images with extended L2 entries: clusters of 16 KiB, four guest clusters each. */
#define X_BITS		14
#define X_CLUSTER	(1ULL << X_BITS)
#define X_PER_CLUSTER	(X_CLUSTER / CLUSTER)
#define X_L2_OFF	(4 * X_CLUSTER)
#define X_VICTIM_OFF	(6 * X_CLUSTER)
#define X_STREAM_OFF	(8 * X_CLUSTER)
#define X_VICTIM	5	/* guest cluster, in the one whose entry the rows change */

/* Images with bitmaps: the extension, the directory and its second entry, tables, bits. */
#define B_EXT		120
#define B_DIR		(12 * CLUSTER)
#define B_DIR_2		(B_DIR + 32)
#define B_TABLE		(13 * CLUSTER)
#define B_BITS		(14 * CLUSTER)
#define B_TABLE_2	(15 * CLUSTER)

/* What an image holds, guest cluster by guest cluster. */
enum guest {
	PLAIN,		/* at host cluster 5 */
	VICTIM,		/* at host cluster 6: the one whose L2 entry the rows change */
	STREAM,		/* compressed, at host cluster 7: the one whose stream they change */
	STREAM_TOO,	/* compressed, right behind it */
	ZEROS,
	ZEROS_ALLOC,	/* at host cluster 9 */
	PLAIN_TOO,	/* at host cluster 10 */
	NOTHING,
	STREAM_END,	/* compressed, at the end of the file, which ends with the stream */
	EVERYTHING = -1,
};

/* @file: an external data file, of @file_len bytes; 0: there is none. */
struct image {
	unsigned char data[FILE_ROOM];
	size_t len;
	unsigned char want[GUEST_CLUSTERS * CLUSTER];
	unsigned char file[GUEST_CLUSTERS * CLUSTER];
	size_t file_len;
};

struct edit {
	size_t off;
	size_t width;
	uint64_t value;
};

enum outcome {
	REFUSED,	/* with @words */
	ERROR,		/* reads of @guest fail, with @words in the log */
	FINE,
};

struct row {
	const char *name;
	enum outcome outcome;
	const char *words;
	enum guest guest;
	int version;		/* 0: 3 */
	bool zstd;
	bool data_file;
	bool extended;
	bool bitmaps;		/* attached for writing, then */
	struct edit edits[5];
	void (*mangle)(struct image *image);
};

#define FIELD(name) offsetof(struct qcow2_disk_header, name), \
	sizeof(((struct qcow2_disk_header *)0)->name)

/* What the log says of a cluster that lies past the end of the file. */
#define BEYOND "past the end of the file"

extern const struct row bad_rows[];
extern const size_t bad_row_count;

/* A big-endian number of @width bytes. */
void bad_put(struct image *image, size_t off, size_t width, uint64_t value);

/* The good image that a row's fault is then put into, and with the fault in it. */
void bad_build(struct image *image, const struct row *row);

/* The same with extended entries. */
void bad_build_extended(struct image *image);

/* Bitmaps for an image of standard entries. */
void bad_add_bitmaps(struct image *image);

/* What guest cluster @guest holds. */
void bad_make_text(unsigned char *cluster, int guest);

/* Streams, without a header, of @len bytes at @src. Return: their length. */
size_t bad_deflate(const void *src, size_t len, unsigned char *dst, size_t room);
size_t bad_compress_zstd(const void *src, size_t len, unsigned char *dst, size_t room,
			 bool checksum);

/* The L2 entry of a stream of @len bytes at host offset @off. */
uint64_t bad_compressed_entry(uint64_t off, size_t len);

/* What a table of numbers cannot say. */
void zlib_shorter(struct image *image);
void zlib_longer(struct image *image);
void zlib_twice(struct image *image);
void zlib_empty(struct image *image);
void zlib_block_type_3(struct image *image);
void zlib_stored_bad_length(struct image *image);
void zlib_stored_short(struct image *image);
void zlib_too_far_back(struct image *image);
void zlib_bad_tree(struct image *image);
void zlib_zeros(struct image *image);
void zlib_header(struct image *image);
void stream_cut(struct image *image);
void one_sector_of_two(struct image *image);
void zstd_shorter(struct image *image);
void zstd_longer(struct image *image);
void zstd_empty(struct image *image);
void zstd_checksum(struct image *image);
void zstd_bad_checksum(struct image *image);
void zstd_two_frames(struct image *image);
void zstd_one_frame_of_two(struct image *image);
void zstd_zeros(struct image *image);
void zstd_bad_magic(struct image *image);
void zstd_huge_window(struct image *image);
void zstd_reserved_bit(struct image *image);
void zstd_wants_dictionary(struct image *image);
void zstd_block_type_3(struct image *image);
void zstd_block_too_big(struct image *image);
void zstd_skippable_only(struct image *image);
void zstd_skippable_endless(struct image *image);
void zlib_in_zstd(struct image *image);
void zstd_in_zlib(struct image *image);
void cut_to_nothing(struct image *image);
void cut_in_magic(struct image *image);
void cut_in_v2_header(struct image *image);
void cut_in_v3_header(struct image *image);
void cut_after_header(struct image *image);
void cut_at_refcount_table(struct image *image);
void cut_in_refcount_table(struct image *image);
void cut_at_l1(struct image *image);
void cut_in_l1(struct image *image);
void cut_at_l2(struct image *image);
void cut_in_l2(struct image *image);
void cut_before_end_stream(struct image *image);
void cut_in_end_stream(struct image *image);
void cut_before_plain_too(struct image *image);
void cut_in_plain_too(struct image *image);
void victim_reads_zeros(struct image *image);
void victim_reads_plain(struct image *image);
void plain_reads_zeros(struct image *image);
void cut_data_file(struct image *image);
void x_victim_reads_zeros(struct image *image);
void sixty_five_extensions(struct image *image);

#endif
