// SPDX-License-Identifier: GPL-2.0-or-later
#include "image.h"

#include <stdlib.h>
#include <string.h>

/* Where in the directory the walk stands. */
struct walk {
	const struct qcow2_header *h;
	const char *file;
	const char *bytes;
	uint64_t left;
	uint32_t idx;
	struct qcow2_error *err;
};

static int bad_directory(const struct walk *walk, const struct qcow2_fault *fault)
{
	return qcow2_error_set(walk->err, QCOW2_EXIT_FAILED, walk->file,
			       "bitmap directory entry %u: %s %llu %s", walk->idx, fault->field,
			       (unsigned long long)fault->value, fault->why);
}

static int take_entry(struct walk *walk, struct qcow2_bitmap *bitmap)
{
	struct qcow2_fault fault;

	if (qcow2_bitmap_parse(walk->h, walk->bytes, walk->left, &bitmap->entry, &fault))
		return bad_directory(walk, &fault);
	bitmap->name = strndup(walk->bytes + bitmap->entry.name_off, bitmap->entry.name_len);
	if (!bitmap->name)
		qcow2_error_nomem();
	walk->bytes += bitmap->entry.entry_len;
	walk->left -= bitmap->entry.entry_len;
	return 0;
}

static int take_entries(struct walk *walk, struct qcow2_bitmap *bitmaps, uint32_t count)
{
	for (; walk->idx < count; walk->idx++)
		if (take_entry(walk, &bitmaps[walk->idx]))
			return QCOW2_EXIT_FAILED;
	if (walk->left)
		return qcow2_error_set(walk->err, QCOW2_EXIT_FAILED, walk->file,
				       "the bitmap directory is longer than its %u entries", count);
	return 0;
}

static int read_directory(const struct qcow2_bitmaps *b, int fd, struct walk *walk, char *bytes)
{
	ssize_t n = qcow2_image_pread(fd, bytes, b->directory_size, b->directory_offset);

	if (n < 0)
		return qcow2_error_set(walk->err, QCOW2_EXIT_FAILED, walk->file,
				       "cannot read the bitmap directory: %s", strerror(-n));
	/* What the file lost since it was measured is missed by the parser. */
	walk->bytes = bytes;
	walk->left = n;
	return 0;
}

int qcow2_image_bitmaps(const struct qcow2_image *image, int fd, uint64_t file_size,
			const char *file, struct qcow2_bitmap **bitmaps, uint32_t *count,
			struct qcow2_error *err)
{
	struct walk walk = { .h = &image->header, .file = file, .err = err };
	struct qcow2_bitmap *list;
	struct qcow2_bitmaps b;
	struct qcow2_fault fault;
	char *bytes;
	int ret;

	*bitmaps = NULL;
	*count = 0;
	if (!qcow2_header_has_bitmaps(&image->header))
		return 0;
	if (qcow2_bitmaps_parse(image->buf, &image->header, file_size, &b, &fault))
		return qcow2_error_set(err, QCOW2_EXIT_FAILED, file, "%s %llu %s", fault.field,
				       (unsigned long long)fault.value, fault.why);
	bytes = malloc(b.directory_size);
	list = calloc(b.nb_bitmaps, sizeof(*list));
	if (!bytes || !list)
		qcow2_error_nomem();
	ret = read_directory(&b, fd, &walk, bytes) ?: take_entries(&walk, list, b.nb_bitmaps);
	free(bytes);
	if (ret) {
		qcow2_image_bitmaps_free(list, b.nb_bitmaps);
		return ret;
	}
	*bitmaps = list;
	*count = b.nb_bitmaps;
	return 0;
}

void qcow2_image_bitmaps_free(struct qcow2_bitmap *bitmaps, uint32_t count)
{
	uint32_t i;

	if (!bitmaps)
		return;
	for (i = 0; i < count; i++)
		free(bitmaps[i].name);
	free(bitmaps);
}
