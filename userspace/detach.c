// SPDX-License-Identifier: GPL-2.0-or-later
#include "command.h"
#include "device.h"
#include "nl_events.h"
#include "node.h"
#include "progress.h"
#include "users.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How long udev may look at a device that has just come, microseconds. */
#define PATIENCE	3000000ULL

/* Between two attempts while waiting, of qcow2_node_nap(). */
#define NAPS		10

/**
 * struct detach - what the user wants
 * @flags: enum qcow2blk_flags.
 * @wait: for who uses it.
 * @end: until when, see qcow2_node_now().
 */
struct detach {
	uint32_t flags;
	bool wait;
	uint64_t end;
};

/* Was it to go by itself? */
static bool is_lazy(const struct qcow2_devices *devices, int index)
{
	const struct qcow2_nl_device *device = qcow2_devices_by_index(devices, index);

	return device && device->flags & QCOW2BLK_F_LAZY;
}

static int explain(int index, int error, struct qcow2_error *err)
{
	char path[QCOW2_NODE_NAME_LEN], users[QCOW2_USERS_TEXT_LEN];

	qcow2_node_path(index, path);
	if (error == EIO)
		return qcow2_error_set(err, QCOW2_EXIT_FAILED, path,
				       "it stays attached: not all that was written to it can be made durable (dmesg says why); copy from it what you need, then detach --force, which drops what is not in the image");
	if (error != EBUSY)
		return err->code;
	if (qcow2_device_is_committed(index))
		return qcow2_error_set(err, QCOW2_EXIT_FAILED, path,
				       "it is being committed; wait for that (--wait), or end it: qcow2ctl commit --stop");
	return qcow2_error_set(err, QCOW2_EXIT_FAILED, path,
			       "it is in use: %s; end that first, or wait for it (--wait)",
			       qcow2_users_text(index, users));
}

/* Somebody who holds it for a moment only, as udev, is always waited for. */
static bool wait_on(const struct qcow2_devices *devices, int index, const struct detach *d,
		    uint64_t end)
{
	unsigned int i;

	if (!d->wait)
		return !qcow2_users_any(devices, index) && qcow2_node_nap(end);
	for (i = 0; i < NAPS; i++)
		if (!qcow2_node_nap(d->end))
			return false;
	return true;
}

static int detach_one(const struct qcow2_devices *devices, int index, const struct detach *d,
		      struct qcow2_error *err)
{
	uint64_t end = qcow2_node_now() + PATIENCE;
	struct qcow2_node_traces traces;
	struct qcow2_progress_watch watch;
	char path[QCOW2_NODE_NAME_LEN];
	bool was_lazy = is_lazy(devices, index);
	struct qcow2_nl_events *events = NULL;
	int ret, error;

	if (was_lazy && qcow2_nl_events_open(&events, devices->nl, err))
		return err->code;
	qcow2_node_find_traces(index, &traces);
	qcow2_progress_watch(&watch, qcow2_node_path(index, path),
			     d->wait ? "waiting until nobody uses it" : "detaching");
	do {
		ret = qcow2_nl_detach(devices->nl, index, d->flags, &error, err);
		/* It was to go lazily, and has gone, or goes. */
		if (error == ENODEV && was_lazy) {
			qcow2_nl_events_detached(events, index, PATIENCE);
			ret = 0;
		}
	} while (error == EBUSY && wait_on(devices, index, d, end));
	qcow2_progress_unwatch(&watch);

	if (!ret)
		qcow2_node_wait_gone(index, &traces);
	else
		ret = explain(index, error, err);
	qcow2_node_free_traces(&traces);
	qcow2_nl_events_close(events);
	return ret;
}

static int detach_all(const struct qcow2_devices *devices, const struct detach *d)
{
	struct qcow2_error err;
	unsigned int i;
	int ret = 0;

	/* From the last to the first: what was attached later may lie on an earlier one. */
	for (i = devices->count; i-- > 0;)
		if (devices->list[i].parent != QCOW2_NL_ANY_INDEX &&
		    detach_one(devices, devices->list[i].index, d, &err))
			ret = qcow2_error_print(&err);
	for (i = devices->count; i-- > 0;)
		if (devices->list[i].parent == QCOW2_NL_ANY_INDEX &&
		    detach_one(devices, devices->list[i].index, d, &err))
			ret = qcow2_error_print(&err);
	return ret ? QCOW2_EXIT_FAILED : QCOW2_EXIT_DONE;
}

static int detach_named(const struct qcow2_devices *devices, const char *name,
			const struct detach *d)
{
	struct qcow2_error err;
	int index, ret;

	ret = qcow2_devices_find(devices, name, &index, &err);
	if (!ret)
		ret = detach_one(devices, index, d, &err);
	return ret ? qcow2_error_print(&err) : QCOW2_EXIT_DONE;
}

static int set_wait(struct detach *d, const char *seconds)
{
	char *end;
	double n;

	d->wait = true;
	d->end = UINT64_MAX;
	if (!seconds)
		return 0;
	n = strtod(seconds, &end);
	if (seconds[0] < '0' || seconds[0] > '9' || *end || n > 1e9)
		return qcow2_error_usage("detach", "--wait '%s': a number of seconds is wanted",
					 seconds);
	d->end = qcow2_node_now() + (uint64_t)(n * 1000000);
	return 0;
}

static int run(int argc, char **argv)
{
	static const struct option options[] = {
		{ "all", no_argument, NULL, 'a' },
		{ "force", no_argument, NULL, 'f' },
		{ "lazy", no_argument, NULL, 'l' },
		{ "wait", optional_argument, NULL, 'w' },
		{ }
	};
	struct detach d = { };
	struct qcow2_devices devices;
	struct qcow2_error err;
	bool all = false;
	int opt, ret;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'a')
			all = true;
		else if (opt == 'f')
			d.flags |= QCOW2BLK_F_FORCE;
		else if (opt == 'l')
			d.flags |= QCOW2BLK_F_LAZY;
		else if (opt == 'w' && set_wait(&d, optarg))
			return QCOW2_EXIT_USAGE;
		else if (opt != 'w')
			return qcow2_error_usage("detach", NULL);
	}
	if (argc - optind != !all)
		return qcow2_error_usage("detach", "give one DEVICE or IMAGE, or --all");

	if (qcow2_devices_read(&devices, &err))
		ret = qcow2_error_print(&err);
	else
		ret = all ? detach_all(&devices, &d) :
		      detach_named(&devices, argv[optind], &d);
	qcow2_devices_free(&devices);
	return ret;
}

const struct qcow2_command qcow2_command_detach = {
	.name = "detach",
	.usage = "[--force] [--lazy] [--wait[=SECONDS]] DEVICE|IMAGE|--all",
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
		"                           durable, and lose it; a device in use stays all the same\n"
		"  --wait[=SECONDS]         wait until nobody uses it, so long at most; without SECONDS\n"
		"                           as long as it takes\n",
	.run = run,
};
