// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Attach, hold the device open, have it go when nobody has it open, mount, let go of it. From the
 * third step on all that can happen to this program leaves either a mount or nothing.
 */
#include "../attach.h"
#include "../device.h"
#include "../node.h"
#include "../options.h"
#include "mount.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <libmount.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* How long a device that is going may take, microseconds. */
#define PATIENCE	10000000ULL

/**
 * struct request - what is to be mounted, and how
 * @image, @dir: what, where.
 * @attach: options of attach.
 * @own: it wants a device of its own, also where the image has one.
 * @part: number of the partition, or 0.
 * @remount: only change what is mounted.
 * @fake: -f: do nothing.
 * @rest: options of the file system, and of libmount; parted by commas.
 * @cxt: libmount's.
 */
struct request {
	const char *image;
	const char *dir;
	struct qcow2_options attach;
	bool own;
	unsigned long part;
	bool remount;
	bool fake;
	char *rest;
	struct libmnt_context *cxt;
};

static int usage(void)
{
	fputs("Usage: mount -t qcow2 IMAGE DIRECTORY [-o part=N,snapshot=NAME,ro,...]\n"
	      "See mount.qcow2(8); mount(8) runs it.\n", stderr);
	return MOUNT_EXIT_USAGE;
}

static int fail(const struct qcow2_error *err)
{
	qcow2_error_print(err);
	return MOUNT_EXIT_FAIL;
}

/* --- what is asked for -------------------------------------------------------------------- */

static void add_rest(struct request *r, const char *text)
{
	if (mnt_optstr_append_option(&r->rest, text, NULL))
		qcow2_error_nomem();
}

static int bad_option(const struct qcow2_option *option, const char *want)
{
	fprintf(stderr, "mount.qcow2: option %s: %s\n", option->text, want);
	return MOUNT_EXIT_USAGE;
}

static int set_part(struct request *r, const struct qcow2_option *option)
{
	char *end;

	if (!option->value || *option->value < '1' || *option->value > '9')
		return bad_option(option, "part=1 is the first partition");
	r->part = strtoul(option->value, &end, 10);
	return *end ? bad_option(option, "the number of a partition is wanted") : 0;
}

/* Options of ours, and of the file system: "ro" is both. */
static int take_option(struct request *r, const struct qcow2_option *option)
{
	if (!strcmp(option->name, "part"))
		return set_part(r, option);
	/* mount(8) does not pass on what is the default elsewhere: "suid", "dev". */
	if (!strcmp(option->text, "allow-suid") || !strcmp(option->text, "allow-dev")) {
		add_rest(r, option->text + strlen("allow-"));
		return 0;
	}
	switch (qcow2_options_take(&r->attach, option)) {
	case QCOW2_OPTIONS_BAD_VALUE:
		return bad_option(option, option->value && *option->value ?
				  "it has no value" : "it wants a value");
	case QCOW2_OPTIONS_TAKEN:
		if (!strcmp(option->name, "temporary"))
			r->own = true;
		if (!strcmp(option->name, "ro"))
			break;
		return 0;
	default:
		break;
	}
	if (!strcmp(option->name, "remount"))
		r->remount = true;
	add_rest(r, option->text);
	return 0;
}

static int take_options(struct request *r, const char *list)
{
	struct qcow2_option option;
	int ret = 0;

	while (!ret && qcow2_options_next(&list, &option)) {
		ret = take_option(r, &option);
		qcow2_option_free(&option);
	}
	return ret;
}

/* "qcow2.ext4": the part behind the dot is what lies on the disk. */
static int set_type(struct request *r, const char *type)
{
	const char *dot = strchr(type, '.');

	return dot ? mnt_context_set_fstype(r->cxt, dot + 1) : 0;
}

static int take_flag(struct request *r, int opt, const char *value)
{
	switch (opt) {
	case 'f':
		r->fake = true;
		return 0;
	case 'n':
		return mnt_context_disable_mtab(r->cxt, true);
	case 'N':
		return mnt_context_set_target_ns(r->cxt, value);
	case 'o':
		return take_options(r, value);
	case 'r':
		return take_options(r, "ro");
	case 's':
		return mnt_context_enable_sloppy(r->cxt, true);
	case 't':
		return set_type(r, value);
	case 'v':
		return mnt_context_enable_verbose(r->cxt, true);
	case 'w':
		return 0;
	default:
		return usage();
	}
}

static int parse(struct request *r, int argc, char **argv)
{
	int opt, ret;

	while ((opt = getopt(argc, argv, "fnN:o:rst:vw")) != -1) {
		ret = take_flag(r, opt, optarg);
		if (ret)
			return ret > 0 ? ret : usage();
	}
	if (argc - optind != 2)
		return usage();
	r->image = argv[optind];
	r->dir = argv[optind + 1];
	r->own |= r->attach.snapshot;
	return 0;
}

/* --- the device --------------------------------------------------------------------------- */

/* One mount of an image at a time: the second one finds the device of the first. */
static int lock_image(const char *image)
{
	int fd = open(image, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	/* What cannot be opened or locked attach will say more about. */
	if (fd >= 0 && flock(fd, LOCK_EX))
		qcow2_error_warn(image, "cannot be locked: %s", strerror(errno));
	return fd;
}

static bool may_share(const struct qcow2_nl_device *device, const struct request *r,
		      const struct stat *st)
{
	return qcow2_device_is_of(device, st) && !device->snapshot &&
	       (r->attach.read_only || !(device->flags & QCOW2BLK_F_READ_ONLY));
}

/* The device that has the image already, open; -1 where there is none. */
static int open_shared(const struct request *r, int *index)
{
	char path[QCOW2_NODE_NAME_LEN];
	struct qcow2_nl_events *events;
	struct qcow2_devices devices;
	struct qcow2_error ignored;
	struct stat st;
	unsigned int i;
	int fd = -1;

	if (r->own || stat(r->image, &st))
		return -1;
	events = mount_listen();
	if (qcow2_devices_read(&devices, &ignored))
		devices.count = 0;
	for (i = 0; i < devices.count && fd < 0; i++) {
		if (!may_share(&devices.list[i], r, &st))
			continue;
		*index = devices.list[i].index;
		fd = open(qcow2_node_path(*index, path), O_RDONLY | O_CLOEXEC);
		/* It goes just now. */
		if (fd < 0 && errno == ENXIO)
			mount_wait_gone(events, *index);
	}
	qcow2_nl_events_close(events);
	qcow2_devices_free(&devices);
	return fd;
}

/* It goes with the mount, or, if that does not come about, when @fd is closed. */
static int make_lazy(int index, struct qcow2_error *err)
{
	struct qcow2_nl *nl;
	int ret, error;

	ret = qcow2_nl_open(&nl, err) ?: qcow2_nl_detach(nl, index, QCOW2BLK_F_LAZY, &error, err);
	qcow2_nl_close(nl);
	return ret;
}

static int attach(struct request *r, int *index)
{
	char path[QCOW2_NODE_NAME_LEN];
	struct qcow2_error err;
	struct qcow2_nl *nl;
	int fd, ret;

	qcow2_options_add(&r->attach, "--");
	qcow2_options_add(&r->attach, "%s", r->image);
	if (qcow2_attach_by_options(r->attach.argc, r->attach.argv, index))
		return -1;
	fd = open(qcow2_node_path(*index, path), O_RDONLY | O_CLOEXEC);
	ret = fd >= 0 ? make_lazy(*index, &err) :
	      qcow2_error_set(&err, QCOW2_EXIT_FAILED, path, "cannot open it: %s",
			      strerror(errno));
	if (!ret)
		return fd;
	qcow2_error_print(&err);
	if (fd >= 0)
		close(fd);
	if (!qcow2_nl_open(&nl, &err))
		qcow2_attach_undo(nl, *index);
	qcow2_nl_close(nl);
	return -1;
}

/* A device of the image, open; -1 where there is none, and why has been said. */
static int open_device(struct request *r, int *index)
{
	int fd = open_shared(r, index);

	return fd >= 0 ? fd : attach(r, index);
}

/* --- the mount ---------------------------------------------------------------------------- */

static void explain(const struct request *r, const char *text, int index)
{
	char *list = r->part ? strdup("") : mount_part_list(index);

	fprintf(stderr, "mount.qcow2: %s: %s.\n", r->dir, text);
	if (list && *list)
		fprintf(stderr,
			"mount.qcow2: %s has partitions: %s; -o part=N mounts one of them\n",
			r->image, list);
	free(list);
}

/*
 * Type, source and options are those of the mount. Of fstab, mount(8) has passed the options on;
 * the type that libmount would find there is qcow2, for which it would run this program again.
 */
static void prepare_remount(struct request *r)
{
	if (mnt_context_disable_helpers(r->cxt, true) ||
	    mnt_context_set_optsmode(r->cxt, MNT_OMODE_MTAB | MNT_OMODE_PREPEND))
		qcow2_error_nomem();
}

/* By libmount, which knows file systems and their helpers. */
static int do_mount(struct request *r, const char *node, int index)
{
	char text[BUFSIZ] = "";
	int ret, status;

	if ((node && mnt_context_set_source(r->cxt, node)) ||
	    mnt_context_set_target(r->cxt, r->dir) ||
	    mnt_context_set_options(r->cxt, node ? "nosuid,nodev,helper=qcow2" : NULL) ||
	    mnt_context_append_options(r->cxt, r->rest))
		qcow2_error_nomem();
	ret = mnt_context_mount(r->cxt);
	status = mnt_context_get_excode(r->cxt, ret, text, sizeof(text));
	if (status && index >= 0)
		explain(r, *text ? text : "cannot be mounted", index);
	else if (*text)
		fprintf(stderr, "mount.qcow2: %s: %s.\n", r->dir, text);
	return status;
}

static int mount_device(struct request *r, int index)
{
	struct qcow2_error err;
	char node[64];

	if (mount_part_node(index, r->part, r->image, node, &err))
		return fail(&err);
	/* As after "mount -a", which cannot know it. */
	if (!r->own && mount_is_mounted(index, r->dir, r->part))
		return MOUNT_EXIT_DONE;
	if (r->attach.snapshot)
		add_rest(r, "ro");
	return do_mount(r, node, index);
}

static int mount_image(struct request *r)
{
	struct qcow2_nl_events *events = NULL;
	int lock, fd, index, status;

	lock = lock_image(r->image);
	fd = open_device(r, &index);
	if (fd < 0) {
		status = MOUNT_EXIT_FAIL;
	} else {
		status = mount_device(r, index);
		if (status && mount_is_lazy(index))
			events = mount_listen();
		close(fd);
		if (events)
			mount_wait_gone(events, index);
		qcow2_nl_events_close(events);
	}
	if (lock >= 0)
		close(lock);
	return status;
}

int mount_main(int argc, char **argv)
{
	struct request r = { .rest = strdup(""), .cxt = mnt_new_context() };
	int status;

	if (!r.cxt || !r.rest)
		qcow2_error_nomem();
	qcow2_options_init(&r.attach);
	status = parse(&r, argc, argv);
	if (!status && geteuid()) {
		fputs("mount.qcow2: only root may attach images; user and users do not help\n",
		      stderr);
		status = MOUNT_EXIT_USAGE;
	}
	if (r.remount)
		prepare_remount(&r);
	if (!status && !r.fake)
		status = r.remount ? do_mount(&r, NULL, -1) : mount_image(&r);
	qcow2_options_free(&r.attach);
	mnt_free_context(r.cxt);
	free(r.rest);
	return status;
}
