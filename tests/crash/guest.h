/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a guest reads from a state of an image. */
#ifndef CRASH_GUEST_H
#define CRASH_GUEST_H

#include "image.h"
#include "qcow2_format.h"

/* The file below, as raw bytes; zeros past its end. */
struct base {
	uint32_t *ids;
	uint64_t sectors;
};

bool base_load(struct base *base, const char *path);

/**
 * guest_read() - find the content of each sector of the disk
 * @ids: (out) @h->size / SECTOR of them. CONTENT_POISON for what cannot be read.
 *
 * As qemu-img reads it: what lies past the end of the file is zeros.
 */
void guest_read(const struct image *img, const struct qcow2_header *h, const struct base *base,
		uint32_t *ids);

/* Forget the decompressed clusters; needed when the contents are freed. */
void guest_forget(void);

#endif
