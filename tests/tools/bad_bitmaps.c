// SPDX-License-Identifier: GPL-2.0-or-later
/* Bitmaps in a good image, for the faults of bad_images.c: one that is kept true, one disabled. */
#include <string.h>

#include "bad.h"

static void put_bitmap(struct image *image, size_t at, uint64_t table, uint32_t flags,
		       const char *name)
{
	bad_put(image, at, 8, table);
	bad_put(image, at + 8, 4, 1);
	bad_put(image, at + 12, 4, flags);
	bad_put(image, at + 16, 1, QCOW2_BITMAP_TYPE_DIRTY);
	bad_put(image, at + 17, 1, 9);
	bad_put(image, at + 18, 2, strlen(name));
	memcpy(image->data + at + 24, name, strlen(name));
}

/* Behind all that there is. */
void bad_add_bitmaps(struct image *image)
{
	bad_put(image, FIELD(autoclear_features), QCOW2_AUTOCLEAR_BITMAPS);
	bad_put(image, 112, 4, QCOW2_EXT_BITMAPS);
	bad_put(image, 116, 4, 24);
	bad_put(image, B_EXT, 4, 2);
	bad_put(image, B_EXT + 8, 8, 64);
	bad_put(image, B_EXT + 16, 8, B_DIR);
	put_bitmap(image, B_DIR, B_TABLE, QCOW2_BITMAP_AUTO, "one");
	put_bitmap(image, B_DIR_2, B_TABLE_2, 0, "two");
	bad_put(image, B_TABLE, 8, B_BITS);
	image->data[B_BITS] = 0x55;
	for (int i = 12; i < 16; i++)
		bad_put(image, 2 * CLUSTER + i * 2, 2, 1);
	image->len = 16 * CLUSTER;
}
