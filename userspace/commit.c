// SPDX-License-Identifier: GPL-2.0-or-later
/* qcow2ctl commit: the kernel copies; here are the locks, the waiting, and what is said. */
#include "command.h"
#include "lock.h"
#include "node.h"
#include "output.h"
#include "progress.h"
#include "temporary.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Looks at the progress, a second. */
#define LOOKS		10

/**
 * struct file - a file that is going to be written
 * @path: where it is.
 * @dev: its device.
 * @ino: its inode number.
 * @fd: the file, or -1.
 * @shared: somebody has the block device for himself; perhaps that is the kernel, for us.
 */
struct file {
	const char *path;
	dev_t dev;
	ino_t ino;
	int fd;
	bool shared;
};

/**
 * struct commit - a commit
 * @t: the device.
 * @device: as it was when the commit began.
 * @base: the layer below the top.
 * @top_name: what the top is called.
 * @files: the base's: the image, and the external data file, if there is one.
 * @nr_files: how many.
 */
struct commit {
	struct qcow2_temporary t;
	const struct qcow2_nl_device *device;
	struct qcow2_nl_layer base;
	const char *top_name;
	struct file files[2];
	unsigned int nr_files;
};

/* --- the base -------------------------------------------------------------------------------- */

static void find_files(struct commit *c)
{
	c->files[0] = (struct file) {
		.path = c->base.path, .dev = c->base.dev, .ino = c->base.ino, .fd = -1,
	};
	c->files[1] = (struct file) {
		.path = c->base.data_path, .dev = c->base.data_dev, .ino = c->base.data_ino,
		.fd = -1,
	};
	c->nr_files = c->base.has_data ? 2 : 1;
}

/*
 * What lies at the path may be another file at any moment, and opening that could do something
 * already: it is looked at first, see O_PATH.
 */
static int find_file(const struct file *f, bool *is_block, struct qcow2_error *err)
{
	int fd = open(f->path, O_PATH | O_CLOEXEC);
	struct stat st;

	if (fd >= 0 && !fstat(fd, &st) && st.st_dev == f->dev && st.st_ino == f->ino) {
		*is_block = S_ISBLK(st.st_mode);
		return fd;
	}
	if (fd >= 0)
		close(fd);
	qcow2_error_set(err, QCOW2_EXIT_FAILED, f->path,
			"the backing file that is attached was moved or deleted");
	return -1;
}

/*
 * The kernel has it open, and locked: from a commit before this one, or from one whose program was
 * killed, for writing, too. That file goes when it gets another one.
 */
static int open_file(struct file *f, bool may_share, struct qcow2_error *err)
{
	bool is_block;
	int found = find_file(f, &is_block, err), error;

	if (found < 0)
		return QCOW2_EXIT_FAILED;
	f->fd = qcow2_chain_reopen(found, O_RDWR | (is_block ? O_EXCL : 0));
	f->shared = f->fd < 0 && errno == EBUSY && may_share && is_block;
	if (f->shared)
		f->fd = qcow2_chain_reopen(found, O_RDWR);
	error = errno;
	close(found);
	if (f->fd < 0)
		return qcow2_error_set(err, QCOW2_EXIT_FAILED, f->path,
				       "cannot open the backing file for writing: %s",
				       strerror(error));
	return qcow2_lock_join(f->fd, f->path, &qcow2_lock_reader, err);
}

static int open_files(struct commit *c, bool may_share, struct qcow2_error *err)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; i < c->nr_files && !ret; i++)
		ret = open_file(&c->files[i], may_share, err);
	return ret;
}

/* The devices that have the base, too. */
static int base_is_used(const struct commit *c, struct qcow2_error *err)
{
	const struct qcow2_nl_device *device;
	char path[QCOW2_NODE_NAME_LEN];
	unsigned int i;
	struct stat st;

	for (i = 0; i < c->t.devices.count && !fstat(c->files[0].fd, &st); i++) {
		device = &c->t.devices.list[i];
		if (device->index != c->t.index && qcow2_device_has(device, &st))
			return qcow2_error_set(err, QCOW2_EXIT_FAILED, c->base.path,
					       "it is a layer of %s, too, whose content would change; detach that first",
					       qcow2_node_path(device->index, path));
	}
	return QCOW2_EXIT_FAILED;
}

static void downgrade_locks(const struct commit *c)
{
	unsigned int i;

	for (i = 0; i < c->nr_files; i++)
		if (c->files[i].fd >= 0)
			qcow2_lock_downgrade(c->files[i].fd, &qcow2_lock_reader);
}

/* As QEMU does when an image that is read begins to be written. */
static int upgrade_locks(const struct commit *c, struct qcow2_error *err)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; i < c->nr_files && !ret; i++)
		ret = qcow2_lock_take(c->files[i].fd, c->files[i].path, &qcow2_lock_repairer, err);
	if (!ret)
		return 0;
	downgrade_locks(c);
	return base_is_used(c, err);
}

/* What the kernel would refuse, in more words. */
static int check_header(const struct commit *c, struct qcow2_error *err)
{
	struct qcow2_image image = { };
	struct stat st;
	uint64_t features;
	int fd = c->files[0].fd, ret;

	if (c->base.format != QCOW2BLK_FORMAT_QCOW2)
		return 0;
	if (fstat(fd, &st))
		st.st_size = 0;
	if (S_ISBLK(st.st_mode))
		st.st_size = lseek(fd, 0, SEEK_END);
	ret = qcow2_image_read(fd, st.st_size, c->base.path, &image, err);
	features = image.header.incompatible_features;
	if (!ret && features & (QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT))
		ret = qcow2_error_set(err, QCOW2_EXIT_FAILED, c->base.path,
				      "the backing file is %s, so it is not written; qcow2ctl check --repair=all may mend it, while it is not attached",
				      features & QCOW2_INCOMPAT_CORRUPT ? "marked corrupt" :
				      "dirty (not closed cleanly)");
	qcow2_image_free(&image);
	return ret;
}

static int hand_over(const struct commit *c, struct qcow2_error *err)
{
	const struct qcow2_nl_layer base = {
		.fd = c->files[0].fd, .format = c->base.format, .name = c->base.path,
		.has_data = c->base.has_data, .data_fd = c->files[1].fd,
	};

	return qcow2_nl_commit(c->t.devices.nl, c->t.index, QCOW2BLK_COMMIT_OPEN, &base, err);
}

static void close_files(struct commit *c)
{
	unsigned int i;

	for (i = 0; i < c->nr_files; i++) {
		if (c->files[i].fd >= 0)
			close(c->files[i].fd);
		c->files[i].fd = -1;
	}
}

/* If it was the kernel who had a block device for itself, it has not any more. */
static int open_alone(struct commit *c, struct qcow2_error *err)
{
	if (!c->files[0].shared && !c->files[1].shared)
		return 0;
	close_files(c);
	return open_files(c, false, err) ?: hand_over(c, err);
}

/*
 * The kernel gets a file that is open for writing, locked as the one it had; that one goes, with
 * its locks, which would be in the way of better ones.
 */
static int prepare_base(struct commit *c, struct qcow2_error *err)
{
	return open_files(c, true, err) ?: check_header(c, err) ?: hand_over(c, err) ?:
	       open_alone(c, err) ?: upgrade_locks(c, err);
}

/* --- the top ------------------------------------------------------------------------------ */

/* Its snapshots read from the base what they do not have. */
static int check_no_snapshots(const struct commit *c, const struct qcow2_layer *top,
			      struct qcow2_error *err)
{
	uint32_t count = top->image.header.nb_snapshots;
	struct qcow2_snapshot *snapshots;
	int ret;

	if (!count)
		return 0;
	ret = qcow2_image_snapshots(&top->image, top->fd, top->file_size, top->name, &snapshots,
				    err);
	if (!ret)
		ret = qcow2_error_set(err, QCOW2_EXIT_FAILED, c->top_name,
				      "it has internal snapshots (%s%s), which read from the backing file, too, and would change; delete them first: qcow2ctl snapshot delete",
				      snapshots[0].name, count > 1 ? " and others" : "");
	qcow2_image_snapshots_free(snapshots, count);
	return ret;
}

static int check_top(struct commit *c, struct qcow2_error *err)
{
	const struct qcow2_nl_layer *top = &c->device->layers[0];
	struct qcow2_chain_policy policy;
	struct qcow2_chain chain;
	int ret;

	c->top_name = top->path;
	if (!top->path)
		return qcow2_error_set(err, QCOW2_EXIT_FAILED, NULL,
				       "only root sees the images of devices; try sudo");
	if (c->device->nr_layers < 2)
		return qcow2_error_set(err, QCOW2_EXIT_FAILED, top->path,
				       "it has no backing file to be merged into");
	if (c->device->commit.state == QCOW2_NL_COMMIT_RUNNING)
		return qcow2_error_set(err, QCOW2_EXIT_FAILED, top->path,
				       "it is being committed already; commit --stop ends that");
	if (c->device->flags & QCOW2BLK_F_READ_ONLY)
		return qcow2_error_set(err, QCOW2_EXIT_FAILED, top->path,
				       "it is attached read-only, so nothing can be taken out of it");
	c->base = c->device->layers[1];
	find_files(c);
	qcow2_chain_policy_init(&policy);
	ret = qcow2_chain_open_top(&chain, top->path, top->format, &policy, err);
	if (!ret)
		ret = check_no_snapshots(c, &chain.layer[0], err);
	qcow2_chain_close(&chain);
	return ret;
}

/* --- waiting for it ----------------------------------------------------------------------- */

/* Has somebody had enough of it? Waits for a while. */
static bool interrupted(void)
{
	const struct timespec while_ = { .tv_nsec = 1000000000 / LOOKS };
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGHUP);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGQUIT);
	sigaddset(&signals, SIGTERM);
	return sigtimedwait(&signals, NULL, &while_) > 0;
}

/* Where it cannot be seen, it may be running. */
static int look(const struct commit *c, struct qcow2_nl_commit *p, struct qcow2_error *err)
{
	const struct qcow2_nl_device *device;
	struct qcow2_devices devices;
	int ret = qcow2_devices_read(&devices, err);

	device = qcow2_devices_by_index(&devices, c->t.index);
	p->state = ret ? QCOW2_NL_COMMIT_RUNNING : QCOW2_NL_COMMIT_NONE;
	if (!ret && !device)
		ret = qcow2_error_set(err, QCOW2_EXIT_FAILED, c->top_name,
				      "it was detached by another process");
	if (!ret)
		*p = device->commit;
	qcow2_devices_free(&devices);
	return ret;
}

/* Memory, or descriptors, that are short for a moment are no reason to leave it alone. */
static int look_hard(const struct commit *c, struct qcow2_nl_commit *p, struct qcow2_error *err)
{
	unsigned int tries = LOOKS;
	int ret;

	while ((ret = look(c, p, err)) && p->state == QCOW2_NL_COMMIT_RUNNING && --tries)
		if (interrupted())
			break;
	return ret;
}

static int wait_for_end(const struct commit *c, struct qcow2_nl_commit *p, struct qcow2_error *err)
{
	char path[QCOW2_NODE_NAME_LEN];
	struct qcow2_progress progress;
	struct qcow2_error ignored;
	int ret, fd;

	/* A device that is to go when nobody has it open stays until its fate is known. */
	fd = open(qcow2_node_path(c->t.index, path), O_RDONLY | O_CLOEXEC);
	qcow2_progress_begin(&progress, c->top_name, "committing");
	while (!(ret = look_hard(c, p, err)) && p->state == QCOW2_NL_COMMIT_RUNNING) {
		qcow2_progress_update(&progress, p->done, p->total);
		if (interrupted())
			qcow2_nl_commit(c->t.devices.nl, c->t.index, QCOW2BLK_COMMIT_STOP, NULL,
					&ignored);
	}
	qcow2_progress_end(&progress);
	if (fd >= 0)
		close(fd);
	return ret;
}

static int explain_failure(const struct commit *c, const struct qcow2_nl_commit *p,
			   struct qcow2_error *err)
{
	return qcow2_error_set(err, QCOW2_EXIT_FAILED, c->top_name,
			       "not all of it could be merged into %s: %s; the disk is as it was, %s",
			       c->base.path, strerror(p->error),
			       p->error == EIO ? "dmesg says more" :
			       "commit again goes on from here");
}

static int tell_end(const struct commit *c, const struct qcow2_nl_commit *p,
		    struct qcow2_error *err)
{
	char size[QCOW2_OUTPUT_SIZE_LEN];

	switch (p->state) {
	case QCOW2_NL_COMMIT_FAILED:
		return explain_failure(c, p, err);
	case QCOW2_NL_COMMIT_INTERRUPTED:
		return qcow2_error_set(err, QCOW2_EXIT_FAILED, c->top_name,
				       "interrupted; the disk is as it was, commit again goes on from here");
	default:
		if (p->left)
			qcow2_error_warn(c->top_name,
					 "all of it was merged, but it is being written: it has %s again, or more",
					 qcow2_output_size(p->left, size));
		return 0;
	}
}

/* A backing file that is smaller than the disk grows first. */
static int start(const struct commit *c, struct qcow2_error *err)
{
	int ret = qcow2_nl_commit(c->t.devices.nl, c->t.index, QCOW2BLK_COMMIT_START, NULL, err);
	struct qcow2_error why;

	if (!ret || c->base.size >= c->device->size)
		return ret;
	why = *err;
	return qcow2_error_set(err, why.code, c->base.path,
			       "it has %llu bytes, the disk %llu, and cannot be made as large: %s",
			       (unsigned long long)c->base.size,
			       (unsigned long long)c->device->size, why.text);
}

static int run_commit(const struct commit *c, struct qcow2_error *err)
{
	struct qcow2_nl_commit p = { };

	return start(c, err) ?: wait_for_end(c, &p, err) ?: tell_end(c, &p, err);
}

/*
 * The kernel goes on with these very files. Those that it still writes, as nobody could see it end,
 * or as another process has begun, stay locked for that.
 */
static void let_go(struct commit *c)
{
	struct qcow2_nl_commit p = { };
	struct qcow2_error ignored;

	if (c->files[0].fd >= 0)
		look_hard(c, &p, &ignored);
	if (p.state != QCOW2_NL_COMMIT_RUNNING)
		downgrade_locks(c);
	close_files(c);
}

/* --- the command --------------------------------------------------------------------------- */

static int commit(const char *name, const struct qcow2_temporary_options *o,
		  struct qcow2_error *err)
{
	struct commit c = { .files = { { .fd = -1 }, { .fd = -1 } } };
	int ret = qcow2_temporary_begin(&c.t, name, o, err);

	c.device = qcow2_devices_by_index(&c.t.devices, c.t.index);
	if (!ret)
		ret = check_top(&c, err) ?: prepare_base(&c, err) ?: run_commit(&c, err);
	let_go(&c);
	return qcow2_temporary_end(&c.t, ret, err);
}

static int stop(const char *name, struct qcow2_error *err)
{
	struct qcow2_devices devices;
	int index, ret;

	ret = qcow2_devices_read(&devices, err) ?: qcow2_devices_find(&devices, name, &index, err);
	if (!ret)
		ret = qcow2_nl_commit(devices.nl, index, QCOW2BLK_COMMIT_STOP, NULL, err);
	qcow2_devices_free(&devices);
	return ret;
}

static int run(int argc, char **argv)
{
	static const struct option options[] = {
		QCOW2_TEMPORARY_OPTION_DIR,
		QCOW2_TEMPORARY_OPTION_ALLOW,
		QCOW2_TEMPORARY_OPTION_DATA,
		QCOW2_TEMPORARY_OPTION_KEY,
		{ "stop", no_argument, NULL, 's' },
		{ }
	};
	struct qcow2_temporary_options o;
	struct qcow2_error err;
	bool only_stop = false;
	int opt, ret = 0;

	qcow2_temporary_init(&o);
	while (!ret && (opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 's')
			only_stop = true;
		else
			ret = qcow2_temporary_set(&o, "commit", opt, optarg);
	}
	if (!ret && argc - optind != 1)
		ret = qcow2_error_usage("commit", "give one DEVICE or IMAGE");
	if (!ret) {
		ret = only_stop ? stop(argv[optind], &err) : commit(argv[optind], &o, &err);
		if (ret)
			qcow2_error_print(&err);
	}
	qcow2_temporary_free(&o);
	return ret;
}

const struct qcow2_command qcow2_command_commit = {
	.name = "commit",
	.usage = "[OPTION]... DEVICE|IMAGE",
	.summary = "Merge an overlay into its backing file",
	.help =
		"DEVICE is /dev/qcowN or qcowN, IMAGE the top image of one device, or of none: it is\n"
		"then attached for the time that it takes. The disk may be in use and mounted, its\n"
		"content does not change; the overlay is empty when all is done, but for what was\n"
		"written meanwhile. Writes wait for the batch that they hit, of 8 MiB of data.\n"
		"\n"
		"Interrupted (Ctrl-C, a crash, a full disk), it leaves both images whole; the next\n"
		"commit goes on from there. If this program is killed the kernel goes on without it.\n"
		"\n"
		"Other overlays of the same backing file do not survive this: their content changes. Of\n"
		"those that are in use commit knows, and refuses. It refuses an image with internal\n"
		"snapshots, too. A backing file that is smaller than the disk is made as large.\n"
		"\n"
		QCOW2_TEMPORARY_BACKING_HELP
		QCOW2_TEMPORARY_DATA_HELP
		QCOW2_TEMPORARY_KEY_HELP
		"  --stop                   end a commit that is under way, as Ctrl-C does\n",
	.run = run,
};
