/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who uses a device: mounts, swap, what is built on it, processes. */
#ifndef QCOW2CTL_USERS_H
#define QCOW2CTL_USERS_H

#include "device.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <sys/types.h>

enum qcow2_user_kind {
	QCOW2_USER_MOUNT,	/* a file system */
	QCOW2_USER_SWAP,
	QCOW2_USER_HOLDER,	/* another block device: device mapper, md, loop */
	QCOW2_USER_SNAPSHOT,	/* one of ours that shows a snapshot of it */
	QCOW2_USER_IMAGE,	/* one of ours that has an image on it */
	QCOW2_USER_PROCESS,	/* has it open */
};

/**
 * struct qcow2_user - one who uses a device
 * @kind: what it is.
 * @node: "qcow0", "qcow0p1", or what is built on these: "dm-0".
 * @what: MOUNT: the mount point; HOLDER: "/dev/mapper/vg-root"; SNAPSHOT, IMAGE: "/dev/qcow1";
 *	PROCESS: its name; SWAP: NULL.
 * @pid: PROCESS: its number; MOUNT: 0, or, of a mount that is not in our mount namespace, a
 *	process that sees it.
 * @mount: MOUNT: its number in mountinfo.
 * @dev: MOUNT: the device number of its file system.
 */
struct qcow2_user {
	enum qcow2_user_kind kind;
	char *node;
	char *what;
	pid_t pid;
	int mount;
	dev_t dev;
};

/**
 * struct qcow2_users - all of them that could be found
 * @count: how many.
 * @list: by node: the disk, then its partitions, what is built on a node after it.
 */
struct qcow2_users {
	unsigned int count;
	struct qcow2_user *list;
};

/**
 * qcow2_users_find() - who uses a device?
 * @users: (out) to be given to qcow2_users_free().
 * @devices: all devices.
 * @index: the one.
 * @everywhere: look for processes, and for mounts in other mount namespaces, too: takes longer.
 *
 * Those that this process may not see are not found.
 */
void qcow2_users_find(struct qcow2_users *users, const struct qcow2_devices *devices, int index,
		      bool everywhere);

/**
 * qcow2_users_any() - does anybody use it for more than a moment?
 * @devices: all devices.
 * @index: the one.
 *
 * Return: true if so; a process that has it open does not count, as it may be udev.
 */
bool qcow2_users_any(const struct qcow2_devices *devices, int index);

/** qcow2_users_free() - release what qcow2_users_find() took */
void qcow2_users_free(struct qcow2_users *users);

#define QCOW2_USERS_TEXT_LEN	2048

/**
 * qcow2_users_text() - what to tell somebody who finds a device busy
 * @index: the device.
 * @text: (out) "qcow0p1 is mounted on /mnt, qcow0p2 is used as swap", as much as there is room for.
 *
 * Looks everywhere. Return: @text.
 */
const char *qcow2_users_text(int index, char text[QCOW2_USERS_TEXT_LEN]);

/**
 * qcow2_users_json() - the same as an array of objects
 * @users: who uses it.
 *
 * Return: a new JSON array.
 */
struct json_object *qcow2_users_json(const struct qcow2_users *users);

/**
 * struct qcow2_users_frozen - file systems that do not change for now
 * @count: how many.
 * @fds: their roots.
 */
struct qcow2_users_frozen {
	unsigned int count;
	int fds[64];
};

/**
 * qcow2_users_freeze() - keep the file systems on a device from changing
 * @devices: all devices.
 * @index: the one.
 * @frozen: (out) to be given to qcow2_users_thaw(), which must come to pass.
 *
 * Those that are mounted from it, as far as this process can see, and can be frozen. One that is
 * hidden below another mount is not; there is a warning.
 */
void qcow2_users_freeze(const struct qcow2_devices *devices, int index,
			struct qcow2_users_frozen *frozen);

/** qcow2_users_thaw() - let them go on */
void qcow2_users_thaw(struct qcow2_users_frozen *frozen);

#endif /* QCOW2CTL_USERS_H */
