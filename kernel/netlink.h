/* SPDX-License-Identifier: GPL-2.0 */
/* The generic netlink family: the protocol of include/uapi/linux/qcow2blk.h. */
#ifndef _QCOW2_NETLINK_H
#define _QCOW2_NETLINK_H

int qcow2_netlink_init(void);
void qcow2_netlink_exit(void);

#endif /* _QCOW2_NETLINK_H */
