/* SPDX-License-Identifier: GPL-2.0 */
/*
 * /sys/block/qcowN/qcow2/: what a device is, a file each. kernel/sysfs-block-qcow2 describes the
 * files, whose names and formats are ABI.
 */
#ifndef _QCOW2_SYSFS_H
#define _QCOW2_SYSFS_H

#include <linux/sysfs.h>

/** qcow2_sysfs_groups - for qcow2_disk_set_groups() */
extern const struct attribute_group *qcow2_sysfs_groups[];

#endif /* _QCOW2_SYSFS_H */
