/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Devices that commands make for themselves. */
#ifndef QCOW2CTL_ATTACH_H
#define QCOW2CTL_ATTACH_H

#include "chain.h"
#include "key.h"
#include "nl.h"

#include <signal.h>

/**
 * qcow2_attach_unseen() - attach an image for as long as a command needs it
 * @image: the image, qcow2.
 * @policy: where data files are, and what backing files may be.
 * @top_only: the top layer will do, the disk's content is not looked at.
 * @key_files: passphrases.
 * @nl: (out) the connection, to be closed.
 * @index: (out) the device, to be given to qcow2_attach_undo().
 * @before: (out) signals that were blocked before: all are now, for the device must go.
 * @err: (out) filled in on error.
 *
 * It has no partitions. Return: 0, QCOW2_EXIT_USAGE where there is no such image, or
 * QCOW2_EXIT_FAILED.
 */
int qcow2_attach_unseen(const char *image, const struct qcow2_chain_policy *policy, bool top_only,
			const struct qcow2_key_files *key_files, struct qcow2_nl **nl, int *index,
			sigset_t *before, struct qcow2_error *err);

/**
 * qcow2_attach_undo() - detach a device that nobody was told of
 * @nl: the connection.
 * @index: the device.
 *
 * Waits for udev, which may be looking at it; warns where it has to stay. Return: 0, or a
 * positive errno.
 */
int qcow2_attach_undo(struct qcow2_nl *nl, int index);

#endif /* QCOW2CTL_ATTACH_H */
