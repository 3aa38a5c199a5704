// SPDX-License-Identifier: GPL-2.0-or-later
#include <endian.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image.h"
#include "rig.h"

struct content *contents;
static uint32_t content_count, content_room;
/* Copies, each with a pointer to the one before in front. */
static void **copies;

/* --- contents ----------------------------------------------------------------------------- */

static uint32_t add(const void *data)
{
	struct content *c;

	if (content_count == content_room) {
		content_room = content_room ? content_room * 2 : 65536;
		contents = realloc(contents, content_room * sizeof(*contents));
		if (!contents)
			die("no memory");
	}
	c = &contents[content_count];
	c->data = data;
	c->hash = sector_hash(data);
	c->kind = sector_identify(data, &c->id);
	return content_count++;
}

uint32_t contents_add_copy(const void *data, size_t len)
{
	size_t padded = (len + SECTOR - 1) / SECTOR * SECTOR;
	void **copy = calloc(1, sizeof(*copy) + padded);
	uint32_t first = content_count;

	if (!copy)
		die("no memory");
	*copy = copies;
	copies = copy;
	memcpy(copy + 1, data, len);
	for (size_t at = 0; at < padded; at += SECTOR)
		add((char *)(copy + 1) + at);
	return first;
}

uint32_t contents_add(const void *data, size_t len)
{
	uint32_t first = content_count;
	size_t at;

	for (at = 0; at + SECTOR <= len; at += SECTOR)
		add((const char *)data + at);
	if (at < len)
		contents_add_copy((const char *)data + at, len - at);
	return first;
}

void contents_start(void)
{
	char poison[SECTOR] = { 0 };

	contents_add_copy(poison, SECTOR);
	sector_poison(poison);
	contents_add_copy(poison, SECTOR);
}

void contents_free(void)
{
	while (copies) {
		void **copy = copies;

		copies = *copy;
		free(copy);
	}
	free(contents);
	contents = NULL;
	content_count = 0;
	content_room = 0;
}

/* --- images ------------------------------------------------------------------------------- */

static void set(struct image *img, uint64_t sector, uint32_t content)
{
	uint32_t *id = &img->ids[sector];

	if (!contents[content].hash)
		content = CONTENT_ZEROS;
	if (*id == content)
		return;
	img->hash ^= sector_mix(sector, contents[*id].hash) ^
		     sector_mix(sector, contents[content].hash);
	*id = content;
}

static uint64_t size_hash(uint64_t size)
{
	return sector_mix(~0ULL, size);
}

void image_init(struct image *img, uint64_t max_size)
{
	img->sectors = (max_size + SECTOR - 1) / SECTOR;
	img->ids = calloc(img->sectors + 1, sizeof(*img->ids));
	if (!img->ids)
		die("no memory");
	img->size = 0;
	img->hash = size_hash(0);
}

void image_init_data(struct image *img, uint64_t max_size)
{
	img->data = calloc(1, sizeof(*img->data));
	if (!img->data)
		die("no memory");
	image_init(img->data, max_size);
}

void image_free(struct image *img)
{
	if (img->data)
		image_free(img->data);
	free(img->data);
	free(img->ids);
}

void image_copy(struct image *to, const struct image *from)
{
	memcpy(to->ids, from->ids, from->sectors * sizeof(*to->ids));
	to->size = from->size;
	to->hash = from->hash;
	if (to->data)
		image_copy(to->data, from->data);
}

static void set_size(struct image *img, uint64_t size)
{
	img->hash ^= size_hash(img->size) ^ size_hash(size);
	img->size = size;
}

void image_resize(struct image *img, uint64_t size)
{
	if (size < img->size)
		image_zero(img, size, img->size - size);
	set_size(img, size);
}

void image_put(struct image *img, uint64_t off, uint32_t content, uint64_t len, bool same)
{
	uint64_t count = len / SECTOR;

	for (uint64_t i = 0; i < count; i++)
		set(img, off / SECTOR + i, same ? content : content + i);
	if (off + len > img->size)
		set_size(img, off + len);
}

/* Change part of a sector. */
static void patch(struct image *img, uint64_t off, const void *data, uint64_t len)
{
	uint8_t buf[SECTOR];

	memcpy(buf, image_sector(img, off)->data, SECTOR);
	if (data)
		memcpy(buf + off % SECTOR, data, len);
	else
		memset(buf + off % SECTOR, 0, len);
	set(img, off / SECTOR, contents_add_copy(buf, SECTOR));
}

/* Call patch() for what is no whole sector at the edges. Return: bytes at the start. */
static uint64_t patch_edges(struct image *img, uint64_t off, const char *data, uint64_t len)
{
	uint64_t head = -off % SECTOR, tail;

	if (head > len)
		head = len;
	tail = (len - head) % SECTOR;
	if (head)
		patch(img, off, data, head);
	if (tail)
		patch(img, off + len - tail, data ? data + len - tail : NULL, tail);
	return head;
}

void image_write(struct image *img, uint64_t off, const void *data, uint64_t len)
{
	uint64_t head = patch_edges(img, off, data, len);
	uint64_t whole = (len - head) / SECTOR * SECTOR;

	if (whole)
		image_put(img, off + head, contents_add((const char *)data + head, whole), whole,
			  false);
	if (off + len > img->size)
		set_size(img, off + len);
}

void image_zero(struct image *img, uint64_t off, uint64_t len)
{
	uint64_t head, whole;

	if (off >= img->size)
		return;
	if (len > img->size - off)
		len = img->size - off;
	head = patch_edges(img, off, NULL, len);
	whole = (len - head) / SECTOR * SECTOR;
	if (whole)
		image_put(img, off + head, CONTENT_ZEROS, whole, true);
}

void image_read(const struct image *img, uint64_t off, void *buf, size_t len)
{
	while (len) {
		size_t skip = off % SECTOR;
		size_t part = len < SECTOR - skip ? len : SECTOR - skip;

		memcpy(buf, image_sector(img, off)->data + skip, part);
		buf = (char *)buf + part;
		off += part;
		len -= part;
	}
}

uint64_t image_be64(const struct image *img, uint64_t off)
{
	uint64_t value;

	memcpy(&value, image_sector(img, off)->data + off % SECTOR, sizeof(value));
	return be64toh(value);
}

struct qcow2_l2_entry image_l2_entry(const struct image *img, const struct qcow2_header *h,
				     uint64_t off)
{
	return (struct qcow2_l2_entry) {
		.word = image_be64(img, off),
		.bitmap = h->subclusters > 1 ? image_be64(img, off + 8) : 0,
	};
}

bool image_load(struct image *img, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	char *data;
	bool good;

	if (fd < 0 || fstat(fd, &st))
		return false;
	data = malloc(st.st_size + 1);
	good = data && !rig_pread(fd, data, st.st_size, 0);
	close(fd);
	if (good) {
		if (!img->ids)
			image_init(img, st.st_size);
		image_put(img, 0, contents_add_copy(data, st.st_size),
			  (st.st_size + SECTOR - 1) / SECTOR * SECTOR, false);
		set_size(img, st.st_size);
	}
	free(data);
	return good;
}

/* Holes where there are zeros, and few system calls. */
static bool save(const struct image *img, const char *path)
{
	static char buf[1 << 16];
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	bool good = fd >= 0 && !ftruncate(fd, img->size);

	for (uint64_t off = 0; good && off < img->size;) {
		size_t len = 0;

		while (len < sizeof(buf) && off + len < img->size &&
		       img->ids[(off + len) / SECTOR] != CONTENT_ZEROS) {
			memcpy(buf + len, image_sector(img, off + len)->data, SECTOR);
			len += SECTOR;
		}
		if (len > img->size - off)
			len = img->size - off;
		if (len)
			good = pwrite(fd, buf, len, off) == (ssize_t)len;
		off += len ? len : SECTOR;
	}
	if (fd >= 0)
		close(fd);
	return good;
}

static void data_path(char *text, size_t room, const char *path)
{
	snprintf(text, room, "%s.data", path);
}

bool image_save(const struct image *img, const char *path)
{
	char data[4096];

	data_path(data, sizeof(data), path);
	return save(img, path) && (!img->data || save(img->data, data));
}

void image_unlink(const struct image *img, const char *path)
{
	char data[4096];

	unlink(path);
	data_path(data, sizeof(data), path);
	if (img->data)
		unlink(data);
}
