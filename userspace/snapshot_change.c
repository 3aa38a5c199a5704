// SPDX-License-Identifier: GPL-2.0-or-later
/* qcow2ctl snapshot create, apply, delete: the kernel does it, between a freeze and a thaw. */
#include "node.h"
#include "snapshot.h"
#include "temporary.h"

#include <string.h>

struct change {
	uint8_t op;
	uint32_t flags;
	const char *device;
	const char *name;
};

/* Signals are blocked: a file system that stays frozen would be a nuisance. */
static int change_frozen(struct qcow2_nl *nl, int index, const struct change *c,
			 struct qcow2_error *err)
{
	struct qcow2_node_frozen frozen = { };
	int ret;

	if (c->op == QCOW2BLK_SNAPSHOT_CREATE)
		qcow2_node_freeze(index, &frozen);
	ret = qcow2_nl_snapshot(nl, index, c->op, c->name, c->flags, err);
	qcow2_node_thaw(&frozen);
	return ret;
}

/* An image that is not attached is used by nobody, but udev may be looking at the device. */
static int change_unattached(const struct qcow2_temporary *t, struct change *c,
			     struct qcow2_error *err)
{
	c->flags |= QCOW2BLK_F_FORCE;
	return qcow2_nl_snapshot(t->devices.nl, t->index, c->op, c->name, c->flags, err);
}

static int change_attached(const struct qcow2_temporary *t, const struct change *c,
			   struct qcow2_error *err)
{
	uint32_t flags = qcow2_devices_by_index(&t->devices, t->index)->flags;
	int ret = change_frozen(t->devices.nl, t->index, c, err);

	if (!ret && c->op == QCOW2BLK_SNAPSHOT_APPLY && !(flags & QCOW2BLK_F_NO_PARTSCAN))
		ret = qcow2_node_scan_partitions(t->index, err);
	return ret;
}

static int change(struct change *c, const struct qcow2_temporary_options *o,
		  struct qcow2_error *err)
{
	struct qcow2_temporary t;
	int ret = qcow2_temporary_begin(&t, c->device, o, err);

	if (!ret)
		ret = t.made ? change_unattached(&t, c, err) : change_attached(&t, c, err);
	return qcow2_temporary_end(&t, ret, err);
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
		QCOW2_TEMPORARY_OPTION_DATA,
		QCOW2_TEMPORARY_OPTION_KEY,
		{ "force", no_argument, NULL, 'f' },
		{ }
	};
	struct change c = { .op = find_op(argv[0]) };
	struct qcow2_temporary_options o;
	struct qcow2_error err;
	int opt, ret = 0;

	qcow2_temporary_init(&o);
	o.top_only = true;
	while (!ret && (opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'f')
			c.flags = QCOW2BLK_F_FORCE;
		else
			ret = qcow2_temporary_set(&o, "snapshot", opt, optarg);
	}
	if (!ret && argc - optind != 2)
		ret = qcow2_error_usage("snapshot", "%s: give a DEVICE or IMAGE, and a NAME",
					argv[0]);
	if (!ret) {
		c.device = argv[optind];
		c.name = argv[optind + 1];
		ret = change(&c, &o, &err);
		if (ret)
			qcow2_error_print(&err);
	}
	qcow2_temporary_free(&o);
	return ret;
}
