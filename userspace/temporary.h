/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The device that a command works on: one that is attached, or one that is made of the
 * image for the command's time, so that what the kernel does is done in one place.
 */
#ifndef QCOW2CTL_TEMPORARY_H
#define QCOW2CTL_TEMPORARY_H

#include "device.h"

#include <signal.h>

/**
 * struct qcow2_temporary - a device to work on
 * @devices: all devices, with @devices.nl.
 * @index: the one.
 * @made: it was made for this.
 * @signals: those that were blocked before.
 */
struct qcow2_temporary {
	struct qcow2_devices devices;
	int index;
	bool made;
	sigset_t signals;
};

/**
 * qcow2_temporary_begin() - find a device, or make one
 * @t: (out) to be given to qcow2_temporary_end(), also on error.
 * @name: a device, or an image. One that is the top of a device stands for that.
 * @backing: see qcow2_attach_unseen().
 * @err: (out) filled in on error.
 *
 * All signals are blocked when it returns: a device that was made must go. Return: 0,
 * QCOW2_EXIT_USAGE where there is no such device or image, or QCOW2_EXIT_FAILED.
 */
int qcow2_temporary_begin(struct qcow2_temporary *t, const char *name,
			  const struct qcow2_chain_policy *backing, struct qcow2_error *err);

/**
 * qcow2_temporary_end() - the device is not needed any longer
 * @t: as qcow2_temporary_begin() left it.
 * @ret: what the command returns.
 * @err: (out) filled in where only the end has failed.
 *
 * Signals come through again. Return: @ret, or QCOW2_EXIT_FAILED.
 */
int qcow2_temporary_end(struct qcow2_temporary *t, int ret, struct qcow2_error *err);

#endif /* QCOW2CTL_TEMPORARY_H */
