/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Mend what a check has found. */
#ifndef QCOW2CTL_REPAIR_H
#define QCOW2CTL_REPAIR_H

#include "chain.h"
#include "checker.h"

/**
 * qcow2_repair_check() - check a layer
 * @layer: open and locked, or not being written.
 * @c: (out) to be given to qcow2_checker_free(), also on error; @report, @data and @progress are
 *	the caller's.
 * @err: (out) filled in on error.
 *
 * Return: 0, whatever was found, or QCOW2_EXIT_FAILED: the check could not be completed.
 */
int qcow2_repair_check(const struct qcow2_layer *layer, struct qcow2_checker *c,
		       struct qcow2_error *err);

/**
 * qcow2_repair() - mend what counting can mend
 * @layer: open for writing and locked; the header is read again.
 * @c: a check of it that is done.
 * @err: (out) filled in on error.
 *
 * Leaks: their refcounts are lowered, their space is given back; at any moment there are fewer
 * of them and nothing is wrong. Anything else is done under the dirty bit (version 2 has none):
 * refcounts first, then flags, then the bit is cleared. If that is cut off, the image is left
 * dirty, and the next one who writes it begins again.
 *
 * Return: 0, or QCOW2_EXIT_FAILED, also where there are faults of structure.
 */
int qcow2_repair(struct qcow2_layer *layer, const struct qcow2_checker *c,
		 struct qcow2_error *err);

/**
 * qcow2_repair_by_qemu() - have qemu-img check -r all do it
 * @layer: open for writing and locked; the lock is given up meanwhile. The header is read again.
 * @err: (out) filled in on error.
 *
 * Return: 0, where it could be started and locked again, or QCOW2_EXIT_FAILED.
 */
int qcow2_repair_by_qemu(struct qcow2_layer *layer, struct qcow2_error *err);

#endif /* QCOW2CTL_REPAIR_H */
