// SPDX-License-Identifier: GPL-2.0-or-later
#include "command.h"
#include "device.h"
#include "node.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

/* How long udev may look at a device that has just come. */
#define PATIENCE	3000000ULL

/* Does another device show a snapshot of this one's image? */
static bool shown_by(const struct qcow2_devices *devices, int index,
		     char user[QCOW2_NODE_USER_LEN])
{
	unsigned int i;

	for (i = 0; i < devices->count; i++) {
		if (devices->list[i].parent != index)
			continue;
		snprintf(user, QCOW2_NODE_USER_LEN,
			 "/dev/" QCOW2BLK_DISK_NAME "%d shows its snapshot %s",
			 devices->list[i].index, devices->list[i].snapshot);
		return true;
	}
	return false;
}

/* Is it being merged into its backing file? The kernel does that by itself. */
static bool being_committed(const struct qcow2_devices *devices, int index)
{
	const struct qcow2_nl_device *device = qcow2_devices_by_index(devices, index);

	return device && device->commit.state == QCOW2_NL_COMMIT_RUNNING;
}

/* Was it to go by itself? */
static bool is_lazy(const struct qcow2_devices *devices, int index)
{
	const struct qcow2_nl_device *device = qcow2_devices_by_index(devices, index);

	return device && device->flags & QCOW2BLK_F_LAZY;
}

/* Somebody who holds it for a moment only, as udev, is waited for; a mount is not. */
static int detach_one(const struct qcow2_devices *devices, int index, uint32_t flags,
		      struct qcow2_error *err)
{
	uint64_t end = qcow2_node_now() + PATIENCE;
	char path[QCOW2_NODE_NAME_LEN], user[QCOW2_NODE_USER_LEN] = "";
	struct qcow2_node_traces traces;
	bool was_lazy = is_lazy(devices, index);
	int ret, error;

	qcow2_node_find_traces(index, &traces);
	do {
		ret = qcow2_nl_detach(devices->nl, index, flags, &error, err);
		/* It was to go lazily, and has gone. */
		if (error == ENODEV && was_lazy)
			ret = 0;
		if (error == EBUSY && !shown_by(devices, index, user))
			qcow2_node_user(index, user);
	} while (error == EBUSY && !user[0] && qcow2_node_nap(end));

	if (!ret)
		qcow2_node_wait_gone(index, &traces);
	else if (error == EIO)
		qcow2_error_set(err, QCOW2_EXIT_FAILED, qcow2_node_path(index, path),
				"it stays attached: not all that was written to it can be made durable (dmesg says why); copy from it what you need, then detach --force, which drops what is not in the image");
	else if (error == EBUSY && being_committed(devices, index))
		qcow2_error_set(err, QCOW2_EXIT_FAILED, qcow2_node_path(index, path),
				"it is being committed; wait for that, or end it: qcow2ctl commit --stop");
	else if (error == EBUSY)
		qcow2_error_set(err, QCOW2_EXIT_FAILED, qcow2_node_path(index, path),
				"it is in use: %s; %s", user[0] ? user : "open in a process",
				user[0] ? "unmount or remove that first" :
				"fuser or lsof names the process");
	qcow2_node_free_traces(&traces);
	return ret;
}

static int detach_all(const struct qcow2_devices *devices, uint32_t flags)
{
	struct qcow2_error err;
	unsigned int i;
	int ret = 0;

	/* From the last to the first: what was attached later may lie on an earlier one. */
	for (i = devices->count; i-- > 0;)
		if (devices->list[i].parent != QCOW2_NL_ANY_INDEX &&
		    detach_one(devices, devices->list[i].index, flags, &err))
			ret = qcow2_error_print(&err);
	for (i = devices->count; i-- > 0;)
		if (devices->list[i].parent == QCOW2_NL_ANY_INDEX &&
		    detach_one(devices, devices->list[i].index, flags, &err))
			ret = qcow2_error_print(&err);
	return ret ? QCOW2_EXIT_FAILED : QCOW2_EXIT_DONE;
}

static int detach_named(const struct qcow2_devices *devices, const char *name, uint32_t flags)
{
	struct qcow2_error err;
	int index, ret;

	ret = qcow2_devices_find(devices, name, &index, &err);
	if (!ret)
		ret = detach_one(devices, index, flags, &err);
	return ret ? qcow2_error_print(&err) : QCOW2_EXIT_DONE;
}

static int run(int argc, char **argv)
{
	static const struct option options[] = {
		{ "all", no_argument, NULL, 'a' },
		{ "force", no_argument, NULL, 'f' },
		{ "lazy", no_argument, NULL, 'l' },
		{ }
	};
	struct qcow2_devices devices;
	struct qcow2_error err;
	uint32_t flags = 0;
	bool all = false;
	int opt, ret;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'a')
			all = true;
		else if (opt == 'f')
			flags |= QCOW2BLK_F_FORCE;
		else if (opt == 'l')
			flags |= QCOW2BLK_F_LAZY;
		else
			return qcow2_error_usage("detach", NULL);
	}
	if (argc - optind != !all)
		return qcow2_error_usage("detach", "give one DEVICE or IMAGE, or --all");

	if (qcow2_devices_read(&devices, &err))
		ret = qcow2_error_print(&err);
	else
		ret = all ? detach_all(&devices, flags) :
		      detach_named(&devices, argv[optind], flags);
	qcow2_devices_free(&devices);
	return ret;
}

const struct qcow2_command qcow2_command_detach = {
	.name = "detach",
	.usage = "[--force] [--lazy] DEVICE|IMAGE|--all",
	.summary = "Detach a device",
	.help =
		"DEVICE is /dev/qcowN or qcowN, IMAGE the top image of one device. Returns when\n"
		"what was written is durable, the device is gone and its images are closed.\n"
		"\n"
		"  --all                    detach all that are not in use; fails if some are\n"
		"  --lazy                   a device in use goes when the last one has closed it, as at\n"
		"                           umount; until then it can be used, also by others. Returns\n"
		"                           at once. If what was written cannot be made durable then, it\n"
		"                           stays, and the kernel's log says so\n"
		"  --force                  detach even if what was written last cannot be made\n"
		"                           durable, and lose it; a device in use stays all the same\n",
	.run = run,
};
