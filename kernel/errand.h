/* SPDX-License-Identifier: GPL-2.0 */
/* Errands: what is done to an image by a worker, so that nobody can interrupt it. */
#ifndef _QCOW2_ERRAND_H
#define _QCOW2_ERRAND_H

#include <linux/workqueue.h>

/**
 * qcow2_errand() - do something in a worker, and wait for that
 * @fn: what to do.
 * @arg: with what.
 *
 * A file system interrupts the buffered writes of a task that is killed, and some their flushes:
 * if that is a header's, writing stops for good. Nobody kills a worker. @fn is in a NOIO scope: it
 * may hold what the disk's own I/O waits for.
 * Context: may sleep. Return: what @fn does.
 */
int qcow2_errand(int (*fn)(void *arg), void *arg);

/** qcow2_errand_queue() - the same for a work that nobody waits for. Context: any. */
void qcow2_errand_queue(struct work_struct *work);

/** qcow2_errand_init() - before the first one. Context: may sleep. Return: 0, -ENOMEM. */
int qcow2_errand_init(void);

/** qcow2_errand_exit() - after the last one. Context: may sleep. */
void qcow2_errand_exit(void);

#endif /* _QCOW2_ERRAND_H */
