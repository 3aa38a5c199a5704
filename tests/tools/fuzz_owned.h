/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What nobody who writes to an image, however broken, has any business to change. */
#ifndef TEST_FUZZ_OWNED_H
#define TEST_FUZZ_OWNED_H

#include "qcow2_format.h"

/*
 * @before: an image of @len bytes that was attached for writing; @after: what has become of it.
 * Return: NULL, or what was changed that must not be: of the header all but what a driver may
 * change, and clusters that have a refcount, but that neither the active tables nor the refcount
 * table refer to: those of snapshots, of bitmaps, lost ones. @at: (out) where, bytes.
 */
const char *owned_violated(const u8 *before, size_t len, const u8 *after, size_t after_len, u64 *at);

#endif
