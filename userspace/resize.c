// SPDX-License-Identifier: GPL-2.0-or-later
#include "command.h"
#include "device.h"
#include "node.h"
#include "progress.h"
#include "size.h"
#include "temporary.h"
#include "users.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

/* How long udev may look at a device before it shrinks. */
#define PATIENCE	3000000ULL

#define SECTOR		512

/**
 * struct resize - what is asked for
 * @size: bytes.
 * @relative: that many more than there are.
 * @flags: QCOW2BLK_F_SHRINK or 0.
 */
struct resize {
	uint64_t size;
	bool relative;
	uint32_t flags;
};

static int parse_size(struct resize *r, const char *text)
{
	r->relative = text[0] == '+';
	if (!qcow2_size_parse(text + r->relative, &r->size))
		return qcow2_error_usage("resize",
					 "SIZE '%s': give a number of bytes, with K, M, G or T for powers of 1024, and + in front for so many more",
					 text);
	if (r->size % SECTOR)
		return qcow2_error_usage("resize",
					 "SIZE '%s': a disk has sectors of %d bytes; %llu is a multiple",
					 text, SECTOR,
					 (unsigned long long)r->size / SECTOR * SECTOR + SECTOR);
	return 0;
}

/* What the disk is to have, in the end. */
static int find_size(const struct resize *r, const struct qcow2_nl_device *device,
		     uint64_t *size, struct qcow2_error *err)
{
	char path[QCOW2_NODE_NAME_LEN];

	qcow2_node_path(device->index, path);
	*size = r->size;
	if (r->relative && r->size > INT64_MAX - device->size)
		return qcow2_error_set(err, QCOW2_EXIT_FAILED, path,
				       "it has %llu bytes; with %llu more it would be too large for a disk",
				       (unsigned long long)device->size,
				       (unsigned long long)r->size);
	if (r->relative)
		*size += device->size;
	if (*size < device->size && !(r->flags & QCOW2BLK_F_SHRINK))
		return qcow2_error_set(err, QCOW2_EXIT_FAILED, path,
				       "it has %llu bytes, and would lose what lies behind %llu; --shrink does that all the same",
				       (unsigned long long)device->size,
				       (unsigned long long)*size);
	return 0;
}

/* Who holds it for a moment only, as udev, is waited for; a mount is not. */
static int change(const struct qcow2_devices *devices, int index, uint64_t size, uint32_t flags,
		  struct qcow2_error *err)
{
	uint64_t end = qcow2_node_now() + PATIENCE;
	char path[QCOW2_NODE_NAME_LEN], part[QCOW2_NODE_NAME_LEN];
	char users[QCOW2_USERS_TEXT_LEN];
	struct qcow2_progress_watch watch;
	int ret, error;

	qcow2_node_path(index, path);
	qcow2_progress_watch(&watch, path, "resizing");
	do
		ret = qcow2_nl_resize(devices->nl, index, size, flags, &error, err);
	while (error == EBUSY && !qcow2_users_any(devices, index) && qcow2_node_nap(end));
	qcow2_progress_unwatch(&watch);

	if (error == EBUSY && qcow2_device_is_committed(index))
		qcow2_error_set(err, QCOW2_EXIT_FAILED, path,
				"it is being committed, and keeps its size until that ends; wait for it, or end it: qcow2ctl commit --stop");
	else if (error == EBUSY)
		qcow2_error_set(err, QCOW2_EXIT_FAILED, path,
				"it is in use: %s; end that before it shrinks",
				qcow2_users_text(index, users));
	else if (error == ENOTEMPTY && qcow2_node_part_behind(index, size, part))
		qcow2_error_set(err, QCOW2_EXIT_FAILED, path,
				"the partition /dev/%s reaches behind %llu; delete it, or make it smaller, first",
				part, (unsigned long long)size);
	return ret;
}

/* One that reaches behind the old end may be whole now. Those in use stay as they are. */
static void scan_again(const struct qcow2_devices *devices, const struct qcow2_nl_device *device)
{
	struct qcow2_error err;

	if (device->flags & QCOW2BLK_F_NO_PARTSCAN || qcow2_users_any(devices, device->index))
		return;
	if (qcow2_node_scan_partitions(device->index, &err))
		qcow2_error_warn(NULL, "%s", err.text);
}

static int change_device(const struct resize *r, const struct qcow2_temporary *t,
			 struct qcow2_error *err)
{
	const struct qcow2_nl_device *device = qcow2_devices_by_index(&t->devices, t->index);
	uint64_t size;
	int ret = find_size(r, device, &size, err);

	if (!ret)
		ret = change(&t->devices, t->index, size, r->flags, err);
	if (!ret && size != device->size)
		scan_again(&t->devices, device);
	return ret;
}

static int resize(const struct resize *r, const char *name,
		  const struct qcow2_temporary_options *o, struct qcow2_error *err)
{
	struct qcow2_temporary t;
	int ret = qcow2_temporary_begin(&t, name, o, err);

	if (!ret)
		ret = change_device(r, &t, err);
	return qcow2_temporary_end(&t, ret, err);
}

static int run(int argc, char **argv)
{
	static const struct option options[] = {
		QCOW2_TEMPORARY_OPTION_DIR,
		QCOW2_TEMPORARY_OPTION_ALLOW,
		QCOW2_TEMPORARY_OPTION_DATA,
		QCOW2_TEMPORARY_OPTION_KEY,
		{ "shrink", no_argument, NULL, 's' },
		{ }
	};
	struct qcow2_temporary_options o;
	struct resize r = { };
	struct qcow2_error err;
	int opt, ret = 0;

	qcow2_temporary_init(&o);
	while (!ret && (opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 's')
			r.flags = QCOW2BLK_F_SHRINK;
		else
			ret = qcow2_temporary_set(&o, "resize", opt, optarg);
	}
	if (!ret && argc - optind != 2)
		ret = qcow2_error_usage("resize", "give a DEVICE or IMAGE, and a SIZE or +SIZE");
	ret = ret ?: parse_size(&r, argv[optind + 1]);
	if (!ret && resize(&r, argv[optind], &o, &err))
		ret = qcow2_error_print(&err);
	qcow2_temporary_free(&o);
	return ret;
}

const struct qcow2_command qcow2_command_resize = {
	.name = "resize",
	.usage = "[OPTION]... DEVICE|IMAGE SIZE|+SIZE",
	.summary = "Give a device another size",
	.help =
		"DEVICE is /dev/qcowN or qcowN, IMAGE the top image of one device, or of none: it is\n"
		"then attached for the time that it takes. SIZE is a number of bytes, with K, M, G or T\n"
		"for powers of 1024; with + in front, so many more than there are.\n"
		"\n"
		"A device can grow while it is in use; what it grows by reads as zeros. Partitions\n"
		"and file systems stay as they are: growpart, resize2fs, xfs_growfs and their like come\n"
		"after it. A backing file never changes its size.\n"
		"\n"
		"  --shrink                 become smaller, and lose what lies behind SIZE: make file\n"
		"                           systems and partitions smaller first. Refused while the\n"
		"                           device is in use, or a partition reaches behind SIZE\n"
		QCOW2_TEMPORARY_BACKING_HELP
		QCOW2_TEMPORARY_DATA_HELP
		QCOW2_TEMPORARY_KEY_HELP,
	.run = run,
};
