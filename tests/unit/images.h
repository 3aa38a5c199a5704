/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Small qcow2 images, written by hand: four clusters of 512 bytes, and what follows. */
#ifndef UNIT_IMAGES_H
#define UNIT_IMAGES_H

#include "qcow2_format.h"

#include <fcntl.h>
#include <unistd.h>

#define IMAGE_CLUSTER	512U
#define IMAGE_SIZE	(16U * 1024)
#define IMAGE_TAIL	(4 * IMAGE_CLUSTER)	/* where tail goes: the snapshot table */

/**
 * struct small_image - what the header says
 * @backing: name of the backing file or NULL.
 * @backing_len: its length; 0 means strlen.
 * @format: backing format or NULL.
 * @data: name of the external data file or NULL; not with @format.
 * @incompatible: incompatible features.
 * @crypt_method: none or AES.
 * @nb_snapshots: entries in the snapshot table, which lies at IMAGE_TAIL.
 * @tail: what stands there.
 * @tail_len: bytes in it.
 */
struct small_image {
	const char *backing;
	size_t backing_len;
	const char *format;
	const char *data;
	u64 incompatible;
	u32 crypt_method;
	u32 nb_snapshots;
	const void *tail;
	size_t tail_len;
};

static inline void write_image(const char *path, const struct small_image *image)
{
	char file[IMAGE_TAIL] = { 0 };
	struct qcow2_disk_header h = {
		.magic = htobe32(QCOW2_MAGIC),
		.version = htobe32(3),
		.cluster_bits = htobe32(9),
		.size = htobe64(IMAGE_SIZE),
		.crypt_method = htobe32(image->crypt_method),
		.l1_size = htobe32(1),
		.l1_table_offset = htobe64(3 * IMAGE_CLUSTER),
		.refcount_table_offset = htobe64(1 * IMAGE_CLUSTER),
		.refcount_table_clusters = htobe32(1),
		.nb_snapshots = htobe32(image->nb_snapshots),
		.snapshots_offset = htobe64(image->nb_snapshots ? IMAGE_TAIL : 0),
		.incompatible_features = htobe64(image->incompatible),
		.refcount_order = htobe32(4),
		.header_length = htobe32(sizeof(h)),
	};
	size_t len = image->backing_len ? image->backing_len :
		image->backing ? strlen(image->backing) : 0;
	struct qcow2_disk_extension *ext = (void *)(file + sizeof(h));
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

	if (image->format) {
		ext->type = htobe32(QCOW2_EXT_BACKING_FORMAT);
		ext->length = htobe32(strlen(image->format));
		memcpy(ext + 1, image->format, strlen(image->format));
	}
	if (image->data) {
		ext->type = htobe32(QCOW2_EXT_DATA_FILE);
		ext->length = htobe32(strlen(image->data));
		memcpy(ext + 1, image->data, strlen(image->data));
	}
	if (image->backing) {
		h.backing_file_offset = htobe64(IMAGE_CLUSTER - len);
		h.backing_file_size = htobe32(len);
		memcpy(file + IMAGE_CLUSTER - len, image->backing, len);
	}
	memcpy(file, &h, sizeof(h));
	assert_true(fd >= 0);
	assert_int_equal(write(fd, file, sizeof(file)), sizeof(file));
	if (image->tail_len)
		assert_int_equal(write(fd, image->tail, image->tail_len), image->tail_len);
	close(fd);
}

#endif /* UNIT_IMAGES_H */
