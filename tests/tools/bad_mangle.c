// SPDX-License-Identifier: GPL-2.0-or-later
/* The faults of bad_images.c that are more than a number. */
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "bad.h"
#include "rig.h"

void bad_put(struct image *image, size_t off, size_t width, uint64_t value)
{
	for (size_t i = 0; i < width; i++)
		image->data[off + i] = value >> (width - 1 - i) * 8;
}

/* --- streams ------------------------------------------------------------------------------ */

size_t bad_deflate(const void *src, size_t len, unsigned char *dst, size_t room)
{
	z_stream strm = { .next_in = (void *)src, .avail_in = len, .next_out = dst,
			  .avail_out = room };

	if (deflateInit2(&strm, Z_BEST_COMPRESSION, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY) ||
	    deflate(&strm, Z_FINISH) != Z_STREAM_END)
		die("deflate failed");
	deflateEnd(&strm);
	return room - strm.avail_out;
}

size_t bad_compress_zstd(const void *src, size_t len, unsigned char *dst, size_t room,
			 bool checksum)
{
	ZSTD_CCtx *cctx = ZSTD_createCCtx();
	size_t done;

	ZSTD_CCtx_setParameter(cctx, ZSTD_c_checksumFlag, checksum);
	done = ZSTD_compress2(cctx, dst, room, src, len);
	if (ZSTD_isError(done))
		die("zstd: %s", ZSTD_getErrorName(done));
	ZSTD_freeCCtx(cctx);
	return done;
}

uint64_t bad_compressed_entry(uint64_t off, size_t len)
{
	uint64_t sectors = (off + len - 1) / 512 - off / 512;

	return COMPRESSED | sectors << (62 - (BITS - 8)) | off;
}

/* Put another stream in the place of STREAM, and its entry; STREAM_TOO moves out of the way. */
static void replace_stream(struct image *image, const void *stream, size_t len)
{
	size_t off = 12 * CLUSTER;

	memcpy(image->data + off, stream, len);
	bad_put(image, L2_OFF + STREAM * 8, 8, bad_compressed_entry(off, len));
	if (image->len < off + len)
		image->len = off + len;
}

static unsigned char *stream_want(struct image *image)
{
	return image->want + STREAM * CLUSTER;
}

static void zlib_of(struct image *image, size_t len)
{
	unsigned char stream[2 * CLUSTER], text[2 * CLUSTER];

	memcpy(text, stream_want(image), CLUSTER);
	memcpy(text + CLUSTER, stream_want(image), CLUSTER);
	replace_stream(image, stream, bad_deflate(text, len, stream, sizeof(stream)));
}

void zlib_shorter(struct image *image)
{
	zlib_of(image, CLUSTER - 1);
}

void zlib_longer(struct image *image)
{
	zlib_of(image, CLUSTER + 1);
}

void zlib_twice(struct image *image)
{
	zlib_of(image, 2 * CLUSTER);
}

void zlib_empty(struct image *image)
{
	zlib_of(image, 0);
}

static void zlib_bytes(struct image *image, const char *bytes, size_t len)
{
	unsigned char stream[512] = { 0 };

	memcpy(stream, bytes, len);
	replace_stream(image, stream, sizeof(stream));
}

/* Bits of a deflate block, least significant first: last block, then two of type. */
void zlib_block_type_3(struct image *image)
{
	zlib_bytes(image, "\x07", 1);
}

void zlib_stored_bad_length(struct image *image)
{
	zlib_bytes(image, "\x01\x10\x00\x10\x00", 5);
}

void zlib_stored_short(struct image *image)
{
	zlib_bytes(image, "\x01\x04\x00\xfb\xff" "abcd", 9);
}

/* fixed codes: length 3 at distance 1, with nothing written yet */
void zlib_too_far_back(struct image *image)
{
	zlib_bytes(image, "\x03\x02\x00\x00", 4);
}

void zlib_bad_tree(struct image *image)
{
	zlib_bytes(image, "\xff\xff\xff\xff\xff\xff", 6);
}

void zlib_zeros(struct image *image)
{
	zlib_bytes(image, "", 0);
}

void zlib_header(struct image *image)
{
	zlib_bytes(image, "\x78\x9c\x03\x00", 4);
}

/* The stream's first half. */
void stream_cut(struct image *image)
{
	memset(image->data + STREAM_OFF + 100, 0, 60);
}

void one_sector_of_two(struct image *image)
{
	unsigned char noise[CLUSTER], stream[2 * CLUSTER];
	uint64_t state = 5;
	size_t len;

	for (size_t i = 0; i < CLUSTER; i++)
		noise[i] = i < 1200 ? rig_random(&state) : 'x';
	memcpy(stream_want(image), noise, CLUSTER);
	len = bad_deflate(noise, CLUSTER, stream, sizeof(stream));
	replace_stream(image, stream, len);
	bad_put(image, L2_OFF + STREAM * 8, 8, bad_compressed_entry(12 * CLUSTER, 512));
}

static void zstd_of(struct image *image, size_t len, bool checksum)
{
	unsigned char stream[4 * CLUSTER], text[2 * CLUSTER];

	memcpy(text, stream_want(image), CLUSTER);
	memcpy(text + CLUSTER, stream_want(image), CLUSTER);
	replace_stream(image, stream, bad_compress_zstd(text, len, stream, sizeof(stream), checksum));
}

void zstd_shorter(struct image *image)
{
	zstd_of(image, CLUSTER - 1, false);
}

void zstd_longer(struct image *image)
{
	zstd_of(image, CLUSTER + 1, false);
}

void zstd_empty(struct image *image)
{
	zstd_of(image, 0, false);
}

void zstd_checksum(struct image *image)
{
	zstd_of(image, CLUSTER, true);
}

void zstd_bad_checksum(struct image *image)
{
	unsigned char stream[2 * CLUSTER];
	size_t len = bad_compress_zstd(stream_want(image), CLUSTER, stream, sizeof(stream), true);

	stream[len - 1] ^= 1;
	replace_stream(image, stream, len);
}

void zstd_two_frames(struct image *image)
{
	unsigned char stream[2 * CLUSTER];
	size_t len = bad_compress_zstd(stream_want(image), 1000, stream, sizeof(stream), false);

	len += bad_compress_zstd(stream_want(image) + 1000, CLUSTER - 1000, stream + len,
			     sizeof(stream) - len, false);
	replace_stream(image, stream, len);
}

void zstd_one_frame_of_two(struct image *image)
{
	unsigned char stream[2 * CLUSTER];
	size_t len = bad_compress_zstd(stream_want(image), 1000, stream, sizeof(stream), false);

	replace_stream(image, stream, len);
}

static void zstd_bytes(struct image *image, const char *bytes, size_t len)
{
	unsigned char stream[512] = { 0 };

	memcpy(stream, bytes, len);
	replace_stream(image, stream, sizeof(stream));
}

#define ZSTD_MAGIC "\x28\xb5\x2f\xfd"

void zstd_zeros(struct image *image)
{
	zstd_bytes(image, "", 0);
}

void zstd_bad_magic(struct image *image)
{
	zstd_bytes(image, "\x28\xb5\x2f\xfe\x20\x00", 6);
}

/* frame header: descriptor, window; 0xff is a window of 3.75 TiB */
void zstd_huge_window(struct image *image)
{
	zstd_bytes(image, ZSTD_MAGIC "\x00\xff\x03\x00\x08x", 10);
}

void zstd_reserved_bit(struct image *image)
{
	zstd_bytes(image, ZSTD_MAGIC "\x28\x04\x01\x00\x00", 9);
}

void zstd_wants_dictionary(struct image *image)
{
	zstd_bytes(image, ZSTD_MAGIC "\x21\x2a\x04\x01\x00\x00", 10);
}

/* block header, 3 bytes: last, type 3 is reserved */
void zstd_block_type_3(struct image *image)
{
	zstd_bytes(image, ZSTD_MAGIC "\x20\x04\x07\x00\x00", 9);
}

/* an RLE block of 2 MiB - 1 in a frame that says it has one byte */
void zstd_block_too_big(struct image *image)
{
	zstd_bytes(image, ZSTD_MAGIC "\x20\x01\xfb\xff\xffx", 10);
}

void zstd_skippable_only(struct image *image)
{
	zstd_bytes(image, "\x50\x2a\x4d\x18\x10\x00\x00\x00", 8);
}

void zstd_skippable_endless(struct image *image)
{
	zstd_bytes(image, "\x50\x2a\x4d\x18\xff\xff\xff\xff", 8);
}

void zlib_in_zstd(struct image *image)
{
	zlib_of(image, CLUSTER);
}

void zstd_in_zlib(struct image *image)
{
	zstd_of(image, CLUSTER, false);
}

/* --- cut files ---------------------------------------------------------------------------- */

void cut_to_nothing(struct image *image)
{
	image->len = 0;
}

void cut_in_magic(struct image *image)
{
	image->len = 3;
}

void cut_in_v2_header(struct image *image)
{
	image->len = 71;
}

void cut_in_v3_header(struct image *image)
{
	image->len = 103;
}

void cut_after_header(struct image *image)
{
	image->len = 512;
}

void cut_at_refcount_table(struct image *image)
{
	image->len = CLUSTER;
}

void cut_in_refcount_table(struct image *image)
{
	image->len = 2 * CLUSTER - 1;
}

void cut_at_l1(struct image *image)
{
	image->len = L1_OFF;
}

void cut_in_l1(struct image *image)
{
	image->len = L1_OFF + 7;
}

void cut_at_l2(struct image *image)
{
	image->len = L2_OFF;
}

void cut_in_l2(struct image *image)
{
	image->len = L2_OFF + 512;
}

void cut_before_end_stream(struct image *image)
{
	image->len = 11 * CLUSTER;
}

void cut_in_end_stream(struct image *image)
{
	image->len = 11 * CLUSTER + 20;
}

/* The header's cluster alone may be shorter than it says; but no table lies before its end. */
void cut_before_plain_too(struct image *image)
{
	image->len = 10 * CLUSTER;
	bad_put(image, L2_OFF + STREAM_END * 8, 8, 0);
	memset(image->want + STREAM_END * CLUSTER, 0, CLUSTER);
}

/* A file may end within its last cluster: the rest of it is zeros. */
void cut_in_plain_too(struct image *image)
{
	cut_before_plain_too(image);
	image->len = 10 * CLUSTER + 1000;
	memset(image->want + PLAIN_TOO * CLUSTER + 1000, 0, CLUSTER - 1000);
}

/* --- other edits -------------------------------------------------------------------------- */

void victim_reads_zeros(struct image *image)
{
	memset(image->want + VICTIM * CLUSTER, 0, CLUSTER);
}

void plain_reads_zeros(struct image *image)
{
	memset(image->want + PLAIN * CLUSTER, 0, CLUSTER);
}

/* As cut_before_plain_too(). */
void cut_data_file(struct image *image)
{
	image->file_len = PLAIN_TOO * CLUSTER;
	bad_put(image, L2_OFF + STREAM_END * 8, 8, 0);
	memset(image->want + STREAM_END * CLUSTER, 0, CLUSTER);
}

void x_victim_reads_zeros(struct image *image)
{
	memset(image->want + X_CLUSTER, 0, X_CLUSTER);
}

void victim_reads_plain(struct image *image)
{
	memcpy(image->want + VICTIM * CLUSTER, image->want + PLAIN * CLUSTER, CLUSTER);
}

void sixty_five_extensions(struct image *image)
{
	for (int i = 0; i < 65; i++)
		bad_put(image, 112 + i * 8, 4, 0x12340000 + i);
}
