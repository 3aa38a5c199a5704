// SPDX-License-Identifier: GPL-2.0-or-later
/* qcow2ctl snapshot create, apply, delete: the kernel does it, between a freeze and a thaw. */
#include "device.h"
#include "node.h"
#include "snapshot.h"

#include <getopt.h>
#include <signal.h>
#include <string.h>

struct change {
	uint8_t op;
	uint32_t flags;
	const char *device;
	const char *name;
};

/* A file system that stays frozen because we were interrupted would be a nuisance. */
static int change_frozen(struct qcow2_nl *nl, int index, const struct change *c,
			 struct qcow2_error *err)
{
	struct qcow2_node_frozen frozen = { };
	sigset_t all, before;
	int ret;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	if (c->op == QCOW2BLK_SNAPSHOT_CREATE)
		qcow2_node_freeze(index, &frozen);
	ret = qcow2_nl_snapshot(nl, index, c->op, c->name, c->flags, err);
	qcow2_node_thaw(&frozen);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return ret;
}

static int change(const struct change *c, struct qcow2_error *err)
{
	struct qcow2_devices devices;
	int index, ret;

	ret = qcow2_devices_read(&devices, err);
	if (!ret)
		ret = qcow2_devices_find(&devices, c->device, &index, err);
	if (!ret)
		ret = change_frozen(devices.nl, index, c, err);
	if (!ret && c->op == QCOW2BLK_SNAPSHOT_APPLY &&
	    !(qcow2_devices_by_index(&devices, index)->flags & QCOW2BLK_F_NO_PARTSCAN))
		ret = qcow2_node_scan_partitions(index, err);
	qcow2_devices_free(&devices);
	return ret;
}

static int find_op(const char *word)
{
	static const char *const words[] = {
		[QCOW2BLK_SNAPSHOT_CREATE] = "create",
		[QCOW2BLK_SNAPSHOT_APPLY]  = "apply",
		[QCOW2BLK_SNAPSHOT_DELETE] = "delete",
	};
	int i;

	for (i = 0; i < (int)(sizeof(words) / sizeof(*words)); i++)
		if (!strcmp(words[i], word))
			return i;
	return -1;
}

int qcow2_snapshot_change(int argc, char **argv)
{
	static const struct option options[] = {
		{ "force", no_argument, NULL, 'f' },
		{ }
	};
	struct qcow2_error err;
	struct change c = { };
	int opt, op = find_op(argv[0]);

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt != 'f')
			return qcow2_error_usage("snapshot", NULL);
		c.flags = QCOW2BLK_F_FORCE;
	}
	if (argc - optind != 2)
		return qcow2_error_usage("snapshot", "%s: give a DEVICE or IMAGE, and a NAME",
					 argv[0]);
	c.op = op;
	c.device = argv[optind];
	c.name = argv[optind + 1];
	return change(&c, &err) ? qcow2_error_print(&err) : QCOW2_EXIT_DONE;
}
