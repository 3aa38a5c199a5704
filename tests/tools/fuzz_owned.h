/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What nobody who writes to an image, however broken, has any business to change. */
#ifndef TEST_FUZZ_OWNED_H
#define TEST_FUZZ_OWNED_H

#include "qcow2_format.h"

struct owned_image {
	const u8 *data;
	size_t len;		/* bytes */
	bool grown;		/* its disk was resized: the size and the L1 table may be others */
};

/*
 * @before: an image that was attached for writing; @after: what has become of it.
 * Return: NULL, or what was changed that must not be: of the header all but what a driver may
 * change, and clusters that have a refcount, but that neither the active tables nor the refcount
 * table refer to: those of snapshots, of bitmaps, lost ones; or tables with guest data in them, see
 * SESSION_MARK. @at: (out) where, bytes.
 */
const char *owned_violated(const struct owned_image *before, const u8 *after, size_t len, u64 *at);

#endif
