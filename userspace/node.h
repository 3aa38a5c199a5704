/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Device nodes: names, partitions, udev. */
#ifndef QCOW2CTL_NODE_H
#define QCOW2CTL_NODE_H

#include "error.h"

#include <stdint.h>
#include <sys/types.h>

#define QCOW2_NODE_NAME_LEN	32

/**
 * qcow2_node_parse() - is this the name of a device?
 * @text: "qcow0", "/dev/qcow0", or a path that leads to such a node.
 * @index: (out) its number.
 *
 * Return: true if so; there need not be such a device. A partition is none.
 */
bool qcow2_node_parse(const char *text, int *index);

/**
 * qcow2_node_is_on() - does this number belong to one of our devices or its partitions?
 * @dev: a device number, of a block device or of a file system.
 * @index: (out) number of the device.
 *
 * Return: true if so. Looks at no stacked device, such as LVM, in between.
 */
bool qcow2_node_is_on(dev_t dev, int *index);

/**
 * qcow2_node_path() - the path of a device
 * @index: its number.
 * @path: (out) "/dev/qcow0".
 *
 * Return: @path.
 */
const char *qcow2_node_path(int index, char path[QCOW2_NODE_NAME_LEN]);

/**
 * qcow2_node_now() - the time, for qcow2_node_settle()
 *
 * Return: microseconds since boot, as udev counts them.
 */
uint64_t qcow2_node_now(void);

/**
 * qcow2_node_wait() - wait until the node of a new device is there
 * @index: the device.
 * @err: (out) filled in on error.
 *
 * Return: 0 or QCOW2_EXIT_FAILED.
 */
int qcow2_node_wait(int index, struct qcow2_error *err);

/**
 * qcow2_node_scan_partitions() - have the kernel read the partition table
 * @index: the device.
 * @err: (out) filled in on error.
 *
 * Waits for those who have it open for a moment, as udev does, and then for the
 * partitions' nodes. Return: 0 or QCOW2_EXIT_FAILED.
 */
int qcow2_node_scan_partitions(int index, struct qcow2_error *err);

/**
 * qcow2_node_settle() - wait until udev is done with a new device and its partitions
 * @index: the device.
 * @since: qcow2_node_now() before it was made.
 *
 * Does not wait where no udevd runs. After ten seconds it warns and goes on.
 */
void qcow2_node_settle(int index, uint64_t since);

/**
 * struct qcow2_node_traces - what a device leaves in /dev
 * @dev: its number.
 * @links: links that udev has made for it.
 * @nr_links: how many.
 */
struct qcow2_node_traces {
	dev_t dev;
	char **links;
	unsigned int nr_links;
};

/**
 * qcow2_node_find_traces() - what will have to be gone after detach?
 * @index: the device.
 * @traces: (out) to be given to qcow2_node_free_traces().
 */
void qcow2_node_find_traces(int index, struct qcow2_node_traces *traces);

/**
 * qcow2_node_free_traces() - release what qcow2_node_find_traces() took
 * @traces: the traces.
 */
void qcow2_node_free_traces(struct qcow2_node_traces *traces);

/**
 * qcow2_node_wait_gone() - wait until nothing in /dev is left of a detached device
 * @index: the device.
 * @traces: what qcow2_node_find_traces() found before.
 *
 * Nor in udev's database, where udevd runs; waits for ten seconds at most.
 */
void qcow2_node_wait_gone(int index, const struct qcow2_node_traces *traces);

/**
 * qcow2_node_part_behind() - is there a partition that reaches behind a size?
 * @index: the device.
 * @size: bytes.
 * @part: (out) "qcow0p2".
 *
 * Return: true if so.
 */
bool qcow2_node_part_behind(int index, uint64_t size, char part[QCOW2_NODE_NAME_LEN]);

/**
 * qcow2_node_udev_runs() - is there a udevd?
 *
 * Return: true if so: it opens devices for a moment when they come or change.
 */
bool qcow2_node_udev_runs(void);

/**
 * qcow2_node_nap() - one step of waiting
 * @end: when to give up, see qcow2_node_now().
 *
 * Return: false, at once, when the time is over.
 */
bool qcow2_node_nap(uint64_t end);

#endif /* QCOW2CTL_NODE_H */
