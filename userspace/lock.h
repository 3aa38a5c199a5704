/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Image locks, as QEMU takes them (block/file-posix.c there): byte locks of the open
 * file description, so they belong to the struct file that the kernel keeps and live
 * exactly as long as the attachment, with no process behind them.
 *
 * Permission b held is a read lock on byte 100 + b, permission b not shared with
 * others a read lock on byte 200 + b. Everyone first takes all locks, then tests the
 * counterparts: two that come at once may both give up, never both go on.
 *
 * File systems whose byte locks other hosts do not see (most FUSE ones) protect
 * against processes of this host only.
 */
#ifndef QCOW2CTL_LOCK_H
#define QCOW2CTL_LOCK_H

#include "error.h"

#define QCOW2_PERM_CONSISTENT_READ	(1U << 0)
#define QCOW2_PERM_WRITE		(1U << 1)
#define QCOW2_PERM_WRITE_UNCHANGED	(1U << 2)
#define QCOW2_PERM_RESIZE		(1U << 3)

/**
 * struct qcow2_lock_mode - what a layer does with its file and lets others do
 * @held: permissions that it uses.
 * @unshared: permissions that nobody else may have meanwhile.
 * @otherwise: how to do without, for the error of one who may not write: "; or ...".
 */
struct qcow2_lock_mode {
	unsigned int held;
	unsigned int unshared;
	const char *otherwise;
};

/* A layer that is only read; the top of a writable device; an image that is mended. */
extern const struct qcow2_lock_mode qcow2_lock_reader;
extern const struct qcow2_lock_mode qcow2_lock_writer;
extern const struct qcow2_lock_mode qcow2_lock_repairer;

/**
 * qcow2_lock_take() - lock an image
 * @fd: the open image; the locks stay until the last copy of it is closed.
 * @file: its name, for the error.
 * @mode: what to lock.
 * @err: (out) filled in on error.
 *
 * Return: 0, or QCOW2_EXIT_FAILED: somebody is in the way, or the file system has
 * no such locks.
 */
int qcow2_lock_take(int fd, const char *file, const struct qcow2_lock_mode *mode,
		    struct qcow2_error *err);

/**
 * qcow2_lock_join() - lock an image that another open file, of the same user, has locked already
 * As qcow2_lock_take(), but nobody is looked for: those whom the other file keeps away stay away.
 */
int qcow2_lock_join(int fd, const char *file, const struct qcow2_lock_mode *mode,
		    struct qcow2_error *err);

/**
 * qcow2_lock_downgrade() - give up those locks of an image that a lesser use does not need
 * @fd: the open image.
 * @mode: what it is used for from now on.
 */
void qcow2_lock_downgrade(int fd, const struct qcow2_lock_mode *mode);

/**
 * qcow2_lock_release() - give up all locks of an image
 * @fd: the open image.
 */
void qcow2_lock_release(int fd);

#endif /* QCOW2CTL_LOCK_H */
