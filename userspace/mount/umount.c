// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The kernel ends the device when the last file system on it is unmounted, by itself and some time
 * later. This waits for that, so that the image is free when umount returns. mount.qcow2 has left a
 * mark, "helper=qcow2" in /run/mount/utab, that has umount(8) run it.
 */
#include "../node.h"
#include "mount.h"

#include <getopt.h>
#include <libmount.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static int set_option(struct libmnt_context *cxt, int opt, const char *value, bool *wait)
{
	switch (opt) {
	case 'f':
		return mnt_context_enable_force(cxt, true);
	case 'l':
		*wait = false;
		return mnt_context_enable_lazy(cxt, true);
	case 'n':
		return mnt_context_disable_mtab(cxt, true);
	case 'r':
		return mnt_context_enable_rdonly_umount(cxt, true);
	case 'v':
		return mnt_context_enable_verbose(cxt, true);
	case 'N':
		return mnt_context_set_target_ns(cxt, value);
	case 't':
		return 0;
	default:
		return -1;
	}
}

static int unmount(struct libmnt_context *cxt, const char *dir)
{
	char text[BUFSIZ] = "";
	int ret, status;

	mnt_context_disable_helpers(cxt, true);
	if (mnt_context_set_target(cxt, dir))
		qcow2_error_nomem();
	ret = mnt_context_umount(cxt);
	status = mnt_context_get_excode(cxt, ret, text, sizeof(text));
	if (*text)
		fprintf(stderr, "umount.qcow2: %s: %s.\n", dir, text);
	return status;
}

int umount_main(int argc, char **argv)
{
	struct libmnt_context *cxt = mnt_new_context();
	char path[QCOW2_NODE_NAME_LEN];
	int opt, status, index = -1;
	struct qcow2_nl_events *events = NULL;
	bool wait = true, kept;
	struct stat st;

	if (!cxt)
		qcow2_error_nomem();
	while ((opt = getopt(argc, argv, "flnrvN:t:")) != -1)
		if (set_option(cxt, opt, optarg, &wait))
			return MOUNT_EXIT_USAGE;
	if (argc - optind != 1) {
		fprintf(stderr, "Usage: umount.qcow2 DIRECTORY [-flnrv]; umount(8) runs it\n");
		return MOUNT_EXIT_USAGE;
	}
	if (wait && !stat(argv[optind], &st) && qcow2_node_is_on(st.st_dev, &index) &&
	    mount_is_lazy(index))
		events = mount_listen();
	status = unmount(cxt, argv[optind]);
	mnt_free_context(cxt);
	kept = !status && events && !mount_wait_gone(events, index);
	qcow2_nl_events_close(events);
	if (!kept)
		return status;
	fprintf(stderr,
		"umount.qcow2: %s: unmounted, but %s stays: not all that was written to it can be made durable (dmesg says why); copy from it what you need, then qcow2ctl detach --force\n",
		argv[optind], qcow2_node_path(index, path));
	return MOUNT_EXIT_FAIL;
}
