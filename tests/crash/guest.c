// SPDX-License-Identifier: GPL-2.0-or-later
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "decrypt.h"
#include "guest.h"
#include "rig.h"

bool base_load(struct base *base, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	uint32_t first;
	char *data;

	if (fd < 0 || fstat(fd, &st))
		return false;
	data = malloc(st.st_size + 1);
	if (!data || rig_pread(fd, data, st.st_size, 0))
		return false;
	close(fd);
	first = contents_add_copy(data, st.st_size);
	free(data);
	base->sectors = (st.st_size + SECTOR - 1) / SECTOR;
	base->ids = calloc(base->sectors + 1, sizeof(*base->ids));
	if (!base->ids)
		return false;
	for (uint64_t i = 0; i < base->sectors; i++)
		base->ids[i] = contents[first + i].hash ? first + i : CONTENT_ZEROS;
	return true;
}

/* --- compressed clusters, each decompressed once -------------------------------------------- */

#define STREAM_SLOTS	(1U << 16)

/* By a hash of the stream; an empty slot has 0 there. */
static struct {
	uint64_t hash;
	uint32_t first;
} streams[STREAM_SLOTS];

void guest_forget(void)
{
	memset(streams, 0, sizeof(streams));
}

static bool inflate_raw(const void *src, size_t len, void *dst, size_t room)
{
	z_stream strm = { .next_in = (void *)src, .avail_in = len, .next_out = dst,
			  .avail_out = room };
	int ret;

	if (inflateInit2(&strm, -12) != Z_OK)
		return false;
	ret = inflate(&strm, Z_FINISH);
	inflateEnd(&strm);
	/* What follows the stream, up to the end of its sectors, is none of its. */
	return !strm.avail_out && (ret == Z_STREAM_END || ret == Z_BUF_ERROR);
}

static bool decompress_zstd(const void *src, size_t len, void *dst, size_t room)
{
	size_t frame = ZSTD_findFrameCompressedSize(src, len);

	return !ZSTD_isError(frame) && ZSTD_decompress(dst, room, src, frame) == room;
}

/* Return: number of the first content. */
static uint32_t decompress(const struct image *img, const struct qcow2_header *h,
			   const struct qcow2_cluster *c)
{
	char *src = malloc(c->csize), *dst = malloc(h->cluster_size);
	uint32_t first = CONTENT_POISON;
	bool good;

	if (!src || !dst)
		die("no memory");
	image_read(img, c->host_off, src, c->csize);
	if (h->compression_type == QCOW2_COMPRESSION_ZSTD)
		good = decompress_zstd(src, c->csize, dst, h->cluster_size);
	else
		good = inflate_raw(src, c->csize, dst, h->cluster_size);
	if (good)
		first = contents_add_copy(dst, h->cluster_size);
	free(src);
	free(dst);
	return first;
}

static uint32_t stream(const struct image *img, const struct qcow2_header *h,
		       const struct qcow2_cluster *c)
{
	uint64_t hash = c->host_off % SECTOR << 32 | c->csize;
	uint32_t slot;

	for (uint64_t off = c->host_off / SECTOR * SECTOR; off < c->host_off + c->csize; off += SECTOR)
		hash = (hash ^ image_sector(img, off)->hash) * 0xff51afd7ed558ccdULL + 1;
	hash = hash ? hash : 1;
	slot = (hash ^ hash >> 32) % STREAM_SLOTS;
	if (streams[slot].hash != hash) {
		streams[slot].first = decompress(img, h, c);
		streams[slot].hash = hash;
	}
	return streams[slot].first;
}

/* --- clusters ------------------------------------------------------------------------------ */

static void fill(uint32_t *ids, uint32_t content, uint64_t count, bool same)
{
	for (uint64_t i = 0; i < count; i++)
		ids[i] = content && !same ? content + i : content;
}

static void read_base(const struct base *base, uint64_t sector, uint32_t *ids, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		ids[i] = sector + i < base->sectors ? base->ids[sector + i] : CONTENT_ZEROS;
}

static void read_file(const struct image *img, uint64_t off, uint32_t *ids, uint64_t count)
{
	uint64_t sector = off / SECTOR;

	for (uint64_t i = 0; i < count; i++)
		ids[i] = decrypt(sector + i < img->sectors ? img->ids[sector + i] : CONTENT_ZEROS,
				 sector + i);
}

/* @count sectors from the start of a cluster, which is at @sector of the disk. */
static void read_cluster(const struct image *img, const struct qcow2_header *h,
			 const struct base *base, struct qcow2_l2_entry entry, uint64_t sector,
			 uint32_t *ids, uint64_t count)
{
	const struct image *data = qcow2_has_data_file(h) ? img->data : img;
	uint64_t step = h->subcluster_size / SECTOR;
	struct qcow2_cluster c;
	struct qcow2_fault why;
	uint32_t first;

	if (qcow2_l2_decode(h, entry, &c, &why)) {
		fill(ids, CONTENT_POISON, count, true);
		return;
	}
	if (c.compressed) {
		first = stream(img, h, &c);
		fill(ids, first, count, first == CONTENT_POISON);
		return;
	}
	for (uint64_t at = 0; at < count; at += step) {
		uint64_t part = at + step < count ? step : count - at;

		switch (qcow2_subcluster_type(&c, at / step)) {
		case QCOW2_CLUSTER_UNALLOCATED:
			read_base(base, sector + at, ids + at, part);
			break;
		case QCOW2_CLUSTER_NORMAL:
			read_file(data, c.host_off + at * SECTOR, ids + at, part);
			break;
		default:
			fill(ids + at, CONTENT_ZEROS, part, true);
		}
	}
}

void guest_read(const struct image *img, const struct qcow2_header *h, const struct base *base,
		uint32_t *ids)
{
	uint64_t total = h->size / SECTOR, step = h->cluster_size / SECTOR;
	uint64_t per_table = step << h->l2_bits;
	struct qcow2_fault why;

	for (uint64_t start = 0; start < total; start += per_table) {
		uint64_t end = start + per_table < total ? start + per_table : total;
		u64 l2_off, entry = image_be64(img, h->l1_table_offset + start / per_table * 8);

		if (qcow2_l1_decode(h, entry, &l2_off, &why)) {
			fill(ids + start, CONTENT_POISON, end - start, true);
			continue;
		}
		if (!l2_off) {
			read_base(base, start, ids + start, end - start);
			continue;
		}
		for (uint64_t at = start; at < end; at += step) {
			u64 off = l2_off + (at - start) / step * h->l2_entry_size;

			read_cluster(img, h, base, image_l2_entry(img, h, off), at, ids + at,
				     at + step < end ? step : end - at);
		}
	}
}
