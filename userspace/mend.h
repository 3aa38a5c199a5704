/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images whose header says that something is wrong, before they are written. */
#ifndef QCOW2CTL_MEND_H
#define QCOW2CTL_MEND_H

#include "chain.h"

/**
 * qcow2_mend_before_writing() - bring an image into a state in which it can be written
 * @layer: open for writing and locked, its header read.
 * @repair: the user wants it mended, whatever that takes.
 * @err: (out) filled in on error.
 *
 * A dirty image was not closed cleanly by a program that lets refcounts lag behind: they are
 * rebuilt. Anything worse, an image that is marked corrupt included, needs @repair. What was
 * done is a warning.
 *
 * Return: 0, the header is as it is then, or QCOW2_EXIT_FAILED.
 */
int qcow2_mend_before_writing(struct qcow2_layer *layer, bool repair, struct qcow2_error *err);

#endif /* QCOW2CTL_MEND_H */
