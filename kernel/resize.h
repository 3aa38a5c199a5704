/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Another size for the disk, in one step: shadow.h.
 *
 * What is behind the old end must read as zeros when it becomes part of the disk, and what
 * was there is nobody's: the rest of the last cluster, of whatever kind that is, VM state of a
 * snapshot that was applied, and the backing file, where that is longer. Entries behind
 * the end go, or become zero entries. Zeros for what remains of the last cluster are written
 * while that is behind the end: a crash shows them to nobody. An external data file gets the
 * size of the disk.
 *
 * A smaller disk loses all entries behind its new end. What remains of its last cluster stays as
 * it is, for the old state needs it until the switch.
 */
#ifndef _QCOW2_RESIZE_H
#define _QCOW2_RESIZE_H

#include "io.h"
#include "shadow.h"

/**
 * qcow2_resize() - give a qcow2 image another size
 * @s: (out) to be ended by the caller on success: requests may go on then.
 * @t: its top layer is changed: writable, and without requests until this returns.
 * @size: bytes, a multiple of 512; not what it is.
 * @why: (out) a sentence, constant, on error.
 *
 * Context: may sleep. Return: 0; -EFBIG the L1 table, or the refcount table, would be too
 * large; -EOPNOTSUPP the image has something that this size would make wrong; -ENOSPC;
 * -EUCLEAN the image contradicts itself; -ENOMEM; -EIO. Then its size is what it was, or, with
 * -EIO from the header itself, nobody knows: see qcow2_shadow_switch().
 */
int qcow2_resize(struct qcow2_shadow *s, struct qcow2_io_target *t, u64 size, const char **why);

/**
 * qcow2_resize_raw() - the same for a raw image: its file gets that size
 * A block device is as large as it is: -EOPNOTSUPP, unless that is @size by now.
 */
int qcow2_resize_raw(struct qcow2_io_target *t, u64 size, const char **why);

#endif /* _QCOW2_RESIZE_H */
