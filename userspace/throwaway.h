/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An empty overlay in a file that has no name: what is written to it is lost when it is closed. */
#ifndef QCOW2CTL_THROWAWAY_H
#define QCOW2CTL_THROWAWAY_H

#include "chain.h"

/**
 * qcow2_throwaway_create() - make one
 * @dir: where; NULL: in $TMPDIR, or /var/tmp.
 * @base: the image that it lies over.
 * @fd: (out) the file, open for reading and writing.
 * @name: (out) what it was called, to be freed: the kernel goes on calling it so.
 * @err: (out) filled in on error.
 *
 * It has clusters of 128 KiB with extended L2 entries: a write copies 4 KiB at most.
 * Return: 0, or QCOW2_EXIT_FAILED.
 */
int qcow2_throwaway_create(const char *dir, const struct qcow2_layer *base, int *fd, char **name,
			   struct qcow2_error *err);

#endif /* QCOW2CTL_THROWAWAY_H */
