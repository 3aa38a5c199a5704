/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mount.qcow2 and umount.qcow2, which mount(8) and umount(8) run. */
#ifndef MOUNT_QCOW2_H
#define MOUNT_QCOW2_H

#include "../error.h"
#include "../nl_events.h"

#include <stdint.h>

/* Exit statuses of mount(8). */
enum mount_exit {
	MOUNT_EXIT_DONE = 0,
	MOUNT_EXIT_USAGE = 1,
	MOUNT_EXIT_FAIL = 32,
};

/**
 * mount_main() - "mount.qcow2 IMAGE DIRECTORY [OPTION]..."
 * Return: enum mount_exit, or what libmount says.
 */
int mount_main(int argc, char **argv);

/** umount_main() - "umount.qcow2 DIRECTORY [OPTION]..."; likewise */
int umount_main(int argc, char **argv);

/**
 * mount_part_node() - the node of a partition
 * @index: the device.
 * @part: its number, or 0 for the whole disk.
 * @image: what to call it in an error.
 * @path: (out) "/dev/qcow0p1".
 * @err: (out) where there is none, filled in with those that there are.
 *
 * Return: 0 or QCOW2_EXIT_FAILED.
 */
int mount_part_node(int index, unsigned long part, const char *image, char path[64],
		    struct qcow2_error *err);

/**
 * mount_part_list() - the partitions of a disk, for an error
 * @index: the device.
 *
 * Return: "1 (10 MiB), 2 (1 GiB)", to be freed; an empty string where there are none.
 */
char *mount_part_list(int index);

/**
 * mount_is_mounted() - is anything mounted from a device or its partitions?
 * @index: the device.
 * @dir: from which; NULL: anywhere.
 * @part: there, which partition, 0 for the whole disk.
 *
 * Return: true if so, as far as this process sees.
 */
bool mount_is_mounted(int index, const char *dir, unsigned long part);

/** mount_is_lazy() - is the device @index to go when nobody has it open? */
bool mount_is_lazy(int index);

/**
 * mount_listen() - hear of devices that go, from now on
 *
 * Return: for mount_wait_gone(), to be given to qcow2_nl_events_close(); NULL where it cannot be.
 */
struct qcow2_nl_events *mount_listen(void);

/**
 * mount_wait_gone() - wait until a device that is to go lazily is gone, and its image free
 * @events: who has listened since before it could go, or NULL: no wait.
 * @index: the device.
 *
 * Not for one that is mounted somewhere else, and ten seconds at most for one that somebody has
 * open. Return: false where it stays for good, since not all of it could be made durable.
 */
bool mount_wait_gone(struct qcow2_nl_events *events, int index);

#endif /* MOUNT_QCOW2_H */
