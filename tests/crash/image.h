/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An image file as a list of sector contents. Thousands of states of one image differ in a few
 * sectors each: a state is an array of numbers, each of which stands for 512 bytes that are kept
 * once, with what was found out about them.
 */
#ifndef CRASH_IMAGE_H
#define CRASH_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "log.h"
#include "qcow2_format.h"
#include "sector.h"

/**
 * struct content - 512 bytes
 * @hash: sector_hash() of them.
 * @id: if @kind is SECTOR_DATA.
 */
struct content {
	const uint8_t *data;
	uint64_t hash;
	struct sector_id id;
	enum sector_kind kind;
};

#define CONTENT_ZEROS	0U
#define CONTENT_POISON	1U

/* All there are; grows, so that pointers into it do not last. */
extern struct content *contents;

void contents_start(void);
void contents_free(void);
/* @data must stay; a last, partial sector is copied and padded. Return: number of the first. */
uint32_t contents_add(const void *data, size_t len);
/* Like it, but of memory that does not stay. */
uint32_t contents_add_copy(const void *data, size_t len);

/**
 * struct image - one state of the file
 * @size: bytes; of a block device, its size.
 * @ids: the contents of each sector; those past @size are zeros.
 * @sectors: how many @ids there are.
 * @hash: of all contents and of the size, up to date after each change.
 * @data: the external data file that goes with it, or NULL.
 */
struct image {
	uint64_t size;
	uint32_t *ids;
	uint32_t sectors;
	uint64_t hash;
	struct image *data;
};

void image_init(struct image *img, uint64_t max_size);
/* Give it an external data file of so many bytes at most. */
void image_init_data(struct image *img, uint64_t max_size);
/* With its data file, as the next two. */
void image_free(struct image *img);
/* Of the same @sectors. */
void image_copy(struct image *to, const struct image *from);
void image_resize(struct image *img, uint64_t size);
/* Whole sectors; may reach past the end, which is moved. */
void image_put(struct image *img, uint64_t off, uint32_t content, uint64_t len, bool same);
/* Any bytes. */
void image_write(struct image *img, uint64_t off, const void *data, uint64_t len);
/* Within the file; the end stays. */
void image_zero(struct image *img, uint64_t off, uint64_t len);
/* Past the end are zeros. */
void image_read(const struct image *img, uint64_t off, void *buf, size_t len);
/* Into an image that has room for it, or none (all zeros in the structure). */
bool image_load(struct image *img, const char *path);
/* An external data file becomes PATH.data. */
bool image_save(const struct image *img, const char *path);
void image_unlink(const struct image *img, const char *path);

/* Of all that makes the state. */
static inline uint64_t image_hash(const struct image *img)
{
	return img->data ? img->hash ^ sector_mix(~1ULL, img->data->hash) : img->hash;
}

static inline const struct content *image_sector(const struct image *img, uint64_t off)
{
	uint64_t sector = off / SECTOR;

	return &contents[sector < img->sectors ? img->ids[sector] : CONTENT_ZEROS];
}

/* The big-endian number of 8 bytes at an aligned offset. */
uint64_t image_be64(const struct image *img, uint64_t off);
/* One or two of them. */
struct qcow2_l2_entry image_l2_entry(const struct image *img, const struct qcow2_header *h,
				     uint64_t off);

#endif
