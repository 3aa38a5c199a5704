/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A valid image's first cluster, to be spoilt, for the unit tests of kernel/format.c. */
#ifndef QCOW2_TESTS_FORMAT_IMAGE_H
#define QCOW2_TESTS_FORMAT_IMAGE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "qcow2_format.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define KiB 1024ULL
#define MiB (1024 * KiB)
#define GiB (1024 * MiB)
#define CLUSTER (64 * KiB)

/* The first cluster of an image in exactly as many bytes, so that ASan sees a step beyond. */
struct image {
	u8 *buf;
	size_t len;
	u64 file_size;
};

static inline void put(struct image *image, size_t off, size_t width, u64 value)
{
	assert_true(off + width <= image->len);
	for (size_t i = 0; i < width; i++)
		image->buf[off + i] = value >> (width - 1 - i) * 8;
}

#define FIELD(name) offsetof(struct qcow2_disk_header, name), \
	sizeof(((struct qcow2_disk_header *)0)->name)

/* As qemu-img makes it: 1 GiB; header, refcount table, refcount block, L1 table. */
static inline struct image make_image(u32 version, u32 cluster_bits)
{
	u64 cluster_size = 1ULL << cluster_bits;
	u64 l1_size = (1 * GiB + cluster_size * cluster_size / 8 - 1) /
		      (cluster_size * cluster_size / 8);
	struct image image = {
		.buf = calloc(1, cluster_size),
		.len = cluster_size,
		.file_size = 3 * cluster_size + l1_size * 8,
	};

	put(&image, FIELD(magic), QCOW2_MAGIC);
	put(&image, FIELD(version), version);
	put(&image, FIELD(cluster_bits), cluster_bits);
	put(&image, FIELD(size), 1 * GiB);
	put(&image, FIELD(l1_size), l1_size);
	put(&image, FIELD(l1_table_offset), 3 * cluster_size);
	put(&image, FIELD(refcount_table_offset), cluster_size);
	put(&image, FIELD(refcount_table_clusters), 1);
	if (version == 3) {
		put(&image, FIELD(refcount_order), 4);
		put(&image, FIELD(header_length), 112);
	}
	return image;
}

static inline int parse(const struct image *image, struct qcow2_header *h, struct qcow2_fault *fault)
{
	memset(fault, 0, sizeof(*fault));
	return qcow2_header_parse(image->buf, image->len, image->file_size, h, fault);
}

/* A fault says the same in parts and as one sentence. */
static inline void assert_fault(const struct qcow2_fault *fault, const char *sentence)
{
	char joined[256];

	assert_non_null(fault->sentence);
	snprintf(joined, sizeof(joined), "%s %s", fault->field, fault->why);
	assert_string_equal(joined, fault->sentence);
	assert_string_equal(fault->sentence, sentence);
}

#endif
