// SPDX-License-Identifier: GPL-2.0-or-later
/* A good image with extended L2 entries, for the faults of bad_images.c. */
#include <string.h>

#include "bad.h"
#include "rig.h"

static void put_header(struct image *image)
{
	bad_put(image, FIELD(magic), QCOW2_MAGIC);
	bad_put(image, FIELD(version), 3);
	bad_put(image, FIELD(cluster_bits), X_BITS);
	bad_put(image, FIELD(size), GUEST_CLUSTERS * CLUSTER);
	bad_put(image, FIELD(l1_size), 1);
	bad_put(image, FIELD(l1_table_offset), 3 * X_CLUSTER);
	bad_put(image, FIELD(refcount_table_offset), X_CLUSTER);
	bad_put(image, FIELD(refcount_table_clusters), 1);
	bad_put(image, FIELD(incompatible_features), QCOW2_INCOMPAT_EXTL2);
	bad_put(image, FIELD(refcount_order), 4);
	bad_put(image, FIELD(header_length), 112);
	bad_put(image, X_CLUSTER, 8, 2 * X_CLUSTER);
	for (int i = 0; i < 9; i++)
		bad_put(image, 2 * X_CLUSTER + i * 2, 2, 1);
	bad_put(image, 3 * X_CLUSTER, 8, COPIED | X_L2_OFF);
}

static void put_entry(struct image *image, int i, uint64_t word, uint64_t bitmap)
{
	bad_put(image, X_L2_OFF + i * 16, 8, word);
	bad_put(image, X_L2_OFF + i * 16 + 8, 8, bitmap);
}

/* Every third subcluster is allocated, every third reads as zeros; the rest is nowhere. */
static uint64_t mix(unsigned char *want)
{
	size_t size = X_CLUSTER / 32;
	uint64_t bitmap = 0;

	for (int sc = 0; sc < 32; sc++) {
		if (sc % 3 < 2)
			bitmap |= 1ULL << (sc % 3 ? sc + 32 : sc);
		if (sc % 3)
			memset(want + sc * size, 0, size);
	}
	return bitmap;
}

/* All of two clusters, some of the third, and one that is compressed. */
void bad_build_extended(struct image *image)
{
	unsigned char *want = image->want, *data = image->data;
	size_t len;

	put_header(image);
	for (int guest = 0; guest < GUEST_CLUSTERS; guest++)
		bad_make_text(want + guest * CLUSTER, guest);
	for (int i = 0; i < 3; i++)
		memcpy(data + (5 + i) * X_CLUSTER, want + i * X_CLUSTER, X_CLUSTER);
	put_entry(image, 0, COPIED | 5 * X_CLUSTER, 0xffffffff);
	put_entry(image, 1, COPIED | X_VICTIM_OFF, 0xffffffff);
	put_entry(image, 2, COPIED | 7 * X_CLUSTER, mix(want + 2 * X_CLUSTER));

	len = bad_deflate(want + 3 * X_CLUSTER, X_CLUSTER, data + X_STREAM_OFF, X_CLUSTER);
	put_entry(image, 3, COMPRESSED | (uint64_t)(len - 1) / 512 << (62 - (X_BITS - 8)) | X_STREAM_OFF, 0);
	image->len = X_STREAM_OFF + len;
}
