/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Load the module. The only user of libkmod. */
#ifndef QCOW2CTL_MODULE_H
#define QCOW2CTL_MODULE_H

#include "error.h"
#include "nl.h"

/**
 * qcow2_module_load() - load qcow2blk into the running kernel
 * @err: (out) filled in on error: names the kernel and the remedy.
 *
 * Return: 0, also where it is loaded already, or QCOW2_EXIT_FAILED.
 */
int qcow2_module_load(struct qcow2_error *err);

/**
 * qcow2_module_connect() - talk to the module, which is loaded first where it is not
 * @nl: (out) the connection, to be closed.
 * @err: (out) filled in on error.
 *
 * Return: 0 or QCOW2_EXIT_FAILED.
 */
int qcow2_module_connect(struct qcow2_nl **nl, struct qcow2_error *err);

#endif /* QCOW2CTL_MODULE_H */
