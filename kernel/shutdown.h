/* SPDX-License-Identifier: GPL-2.0 */
/*
 * When the machine goes down with devices attached, mounted or not, or to sleep: what was written
 * is made durable first, as a disk writes its cache back then.
 *
 * That is true of reboot(2) in any way (also "reboot -f", kexec, a system without init scripts), of
 * suspend and of hibernation. Dirty bitmaps are stored at detach only: they stay in use. A file
 * system below that hangs holds it up for so many seconds, not for ever.
 */
#ifndef _QCOW2_SHUTDOWN_H
#define _QCOW2_SHUTDOWN_H

int qcow2_shutdown_init(void);
void qcow2_shutdown_exit(void);

#endif /* _QCOW2_SHUTDOWN_H */
