/* SPDX-License-Identifier: GPL-2.0 */
/*
 * /sys/kernel/debug/qcow2blk/state: what devices are in the middle of, for engineers; no ABI.
 */
#ifndef _QCOW2_DEBUGFS_H
#define _QCOW2_DEBUGFS_H

void qcow2_debugfs_init(void);
void qcow2_debugfs_exit(void);

#endif /* _QCOW2_DEBUGFS_H */
