/* SPDX-License-Identifier: GPL-2.0-or-later */
/* New refcount structures for an image whose refcounts are wrong. */
#ifndef QCOW2CTL_REBUILD_H
#define QCOW2CTL_REBUILD_H

#include "checker.h"

/**
 * qcow2_rebuild_refcounts() - write all refcounts anew, as what refers to each cluster says
 * @old: a check that is done, with write access; found no fault of structure.
 * @err: (out) filled in on error.
 *
 * Nothing that is in use is overwritten: a new refcount table and new blocks go where nothing
 * is, and one sector of the header switches to them. The old ones are free then. Flags are not
 * touched. On return the header and the size of the file are others than in @old.
 *
 * Return: 0 or QCOW2_EXIT_FAILED.
 */
int qcow2_rebuild_refcounts(const struct qcow2_checker *old, struct qcow2_error *err);

#endif /* QCOW2CTL_REBUILD_H */
