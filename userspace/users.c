// SPDX-License-Identifier: GPL-2.0-or-later
#include "users.h"
#include "node.h"
#include "output.h"

#include <dirent.h>
#include <fcntl.h>
#include <libmount.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Devices on devices on devices: more than anybody builds, and an end to circles. */
#define MAX_DEPTH	16

/**
 * struct search - what is known while users are looked for
 * @users: those that were found.
 * @devices: all of ours.
 * @mounts, @swaps: as this process sees them; NULL where they cannot be read.
 * @everywhere: see qcow2_users_find().
 */
struct search {
	struct qcow2_users *users;
	const struct qcow2_devices *devices;
	struct libmnt_table *mounts;
	struct libmnt_table *swaps;
	bool everywhere;
};

static char *copy(const char *text)
{
	char *s = strdup(text);

	if (!s)
		qcow2_error_nomem();
	return s;
}

static void add(struct search *s, enum qcow2_user_kind kind, const char *node, const char *what,
		pid_t pid)
{
	struct qcow2_users *u = s->users;
	struct qcow2_user *list = reallocarray(u->list, u->count + 1, sizeof(*list));

	if (!list)
		qcow2_error_nomem();
	u->list = list;
	list[u->count++] = (struct qcow2_user) {
		.kind = kind, .node = copy(node), .what = what ? copy(what) : NULL, .pid = pid,
	};
}

/* --- mounts and swap ----------------------------------------------------------------------- */

/* Only nodes are looked at: the server of an image may be away, and who asks it then, waits. */
static bool is_block(const char *path, dev_t dev)
{
	struct statx st;

	return path && (!strncmp(path, "/dev/", 5) || !strncmp(path, "/proc/", 6)) &&
	       !statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, STATX_TYPE, &st) &&
	       S_ISBLK(st.stx_mode) && makedev(st.stx_rdev_major, st.stx_rdev_minor) == dev;
}

/* Of btrfs the number says nothing: it has one of its own, but the source is right. */
static bool is_mount_of(struct libmnt_fs *fs, dev_t dev)
{
	return mnt_fs_get_devno(fs) == dev ||
	       (major(mnt_fs_get_devno(fs)) == 0 && is_block(mnt_fs_get_srcpath(fs), dev));
}

static struct libmnt_table *read_mounts(const char *pid)
{
	char path[320];

	snprintf(path, sizeof(path), "/proc/%s/mountinfo", pid);
	return mnt_new_table_from_file(path);
}

static void add_mount(struct search *s, struct libmnt_fs *fs, const char *node, pid_t pid)
{
	struct qcow2_user *u;

	add(s, QCOW2_USER_MOUNT, node, mnt_fs_get_target(fs), pid);
	u = &s->users->list[s->users->count - 1];
	u->mount = mnt_fs_get_id(fs);
	u->dev = mnt_fs_get_devno(fs);
}

static void add_mounts(struct search *s, struct libmnt_table *mounts, const char *node, dev_t dev,
		       pid_t pid)
{
	struct libmnt_iter *iter = mnt_new_iter(MNT_ITER_FORWARD);
	struct libmnt_fs *fs;

	if (!iter)
		qcow2_error_nomem();
	while (mounts && !mnt_table_next_fs(mounts, iter, &fs))
		if (is_mount_of(fs, dev))
			add_mount(s, fs, node, pid);
	mnt_free_iter(iter);
}

static void add_swap(struct search *s, const char *node, dev_t dev)
{
	struct libmnt_iter *iter = mnt_new_iter(MNT_ITER_FORWARD);
	struct libmnt_fs *fs;

	if (!iter)
		qcow2_error_nomem();
	while (s->swaps && !mnt_table_next_fs(s->swaps, iter, &fs))
		if (is_block(mnt_fs_get_source(fs), dev))
			add(s, QCOW2_USER_SWAP, node, NULL, 0);
	mnt_free_iter(iter);
}

/* --- processes ----------------------------------------------------------------------------- */

/* Entries of a directory that are numbers, one after the other. */
static const char *next_number(DIR *dir)
{
	struct dirent *d;

	while ((d = readdir(dir)))
		if (d->d_name[0] >= '0' && d->d_name[0] <= '9')
			return d->d_name;
	return NULL;
}

static bool has_open(const char *pid, dev_t dev)
{
	char path[640];
	const char *fd;
	bool found = false;
	DIR *fds;

	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	fds = opendir(path);
	while (fds && !found && (fd = next_number(fds))) {
		snprintf(path, sizeof(path), "/proc/%s/fd/%s", pid, fd);
		found = is_block(path, dev);
	}
	if (fds)
		closedir(fds);
	return found;
}

static void read_name(const char *pid, char *name, size_t len)
{
	char path[640];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%s/comm", pid);
	f = fopen(path, "re");
	if (!f || !fgets(name, len, f))
		snprintf(name, len, "?");
	name[strcspn(name, "\n")] = '\0';
	if (f)
		fclose(f);
}

/* Mount namespaces that were looked at. */
struct namespaces {
	unsigned int count;
	ino_t seen[256];
};

static bool is_new_namespace(const char *pid, struct namespaces *ns)
{
	char path[640];
	struct stat st;
	unsigned int i;

	snprintf(path, sizeof(path), "/proc/%s/ns/mnt", pid);
	if (ns->count == sizeof(ns->seen) / sizeof(*ns->seen) || stat(path, &st))
		return false;
	for (i = 0; i < ns->count; i++)
		if (ns->seen[i] == st.st_ino)
			return false;
	ns->seen[ns->count++] = st.st_ino;
	return true;
}

static void add_processes(struct search *s, const char *node, dev_t dev)
{
	struct namespaces ns = { };
	struct libmnt_table *mounts;
	DIR *proc = opendir("/proc");
	const char *pid;
	char name[64];

	is_new_namespace("self", &ns);
	while (proc && (pid = next_number(proc))) {
		if (atoi(pid) != getpid() && has_open(pid, dev)) {
			read_name(pid, name, sizeof(name));
			add(s, QCOW2_USER_PROCESS, node, name, atoi(pid));
		}
		if (!is_new_namespace(pid, &ns))
			continue;
		mounts = read_mounts(pid);
		add_mounts(s, mounts, node, dev, atoi(pid));
		mnt_unref_table(mounts);
	}
	if (proc)
		closedir(proc);
}

/* --- what is built on it ------------------------------------------------------------------- */

/* First line of a file in sysfs. */
static bool read_line(const char *path, char *line, size_t len)
{
	FILE *f = fopen(path, "re");
	bool ok = f && fgets(line, len, f);

	if (f)
		fclose(f);
	if (ok)
		line[strcspn(line, "\n")] = '\0';
	return ok;
}

static dev_t number_of(const char *node)
{
	unsigned int maj, min;
	char path[640], line[32];

	snprintf(path, sizeof(path), "/sys/class/block/%s/dev", node);
	if (!read_line(path, line, sizeof(line)) || sscanf(line, "%u:%u", &maj, &min) != 2)
		return 0;
	return makedev(maj, min);
}

/* What people call it. */
static void name_holder(const char *node, char *name, size_t len)
{
	char path[640], dm[256];

	snprintf(path, sizeof(path), "/sys/class/block/%s/dm/name", node);
	if (read_line(path, dm, sizeof(dm)))
		snprintf(name, len, "/dev/mapper/%s", dm);
	else
		snprintf(name, len, "/dev/%s", node);
}

static void find_on(struct search *s, const char *node, unsigned int depth);

static void add_holder(struct search *s, const char *node, const char *holder, unsigned int depth)
{
	char name[320];

	name_holder(holder, name, sizeof(name));
	add(s, QCOW2_USER_HOLDER, node, name, 0);
	find_on(s, holder, depth + 1);
}

static void add_holders(struct search *s, const char *node, unsigned int depth)
{
	struct dirent *d;
	char path[640];
	DIR *dir;

	snprintf(path, sizeof(path), "/sys/class/block/%s/holders", node);
	dir = opendir(path);
	while (dir && (d = readdir(dir)))
		if (d->d_name[0] != '.')
			add_holder(s, node, d->d_name, depth);
	if (dir)
		closedir(dir);
}

/* Loop devices hold nothing: they have a file open, which is a block device here. */
static void add_loops(struct search *s, const char *node, dev_t dev, unsigned int depth)
{
	DIR *dir = opendir("/sys/block");
	char path[640], file[PATH_MAX];
	struct dirent *d;

	while (dir && (d = readdir(dir))) {
		snprintf(path, sizeof(path), "/sys/block/%s/loop/backing_file", d->d_name);
		if (!strncmp(d->d_name, "loop", 4) && read_line(path, file, sizeof(file)) &&
		    is_block(file, dev))
			add_holder(s, node, d->d_name, depth);
	}
	if (dir)
		closedir(dir);
}

/* Its partitions are used, too; those of what is built on it likewise. */
static void add_parts(struct search *s, const char *node, unsigned int depth)
{
	struct dirent **names;
	char path[640];
	int i, count;

	snprintf(path, sizeof(path), "/sys/class/block/%s", node);
	count = scandir(path, &names, NULL, versionsort);
	for (i = 0; i < count; i++) {
		snprintf(path, sizeof(path), "/sys/class/block/%s/%s/partition", node,
			 names[i]->d_name);
		if (!strncmp(names[i]->d_name, node, strlen(node)) && !access(path, F_OK))
			find_on(s, names[i]->d_name, depth + 1);
		free(names[i]);
	}
	if (count >= 0)
		free(names);
}

static bool has_on(const struct qcow2_nl_layer *layer, dev_t dev)
{
	return is_block(layer->path, dev) || is_block(layer->data_path, dev);
}

static void add_images(struct search *s, const char *node, dev_t dev)
{
	const struct qcow2_nl_device *device;
	char path[QCOW2_NODE_NAME_LEN];
	unsigned int i, j;

	for (i = 0; i < s->devices->count; i++) {
		device = &s->devices->list[i];
		for (j = 0; j < device->nr_layers; j++)
			if (has_on(&device->layers[j], dev))
				add(s, QCOW2_USER_IMAGE, node,
				    qcow2_node_path(device->index, path), 0);
	}
}

static void find_on(struct search *s, const char *node, unsigned int depth)
{
	dev_t dev = number_of(node);

	if (!dev || depth > MAX_DEPTH)
		return;
	add_mounts(s, s->mounts, node, dev, 0);
	add_swap(s, node, dev);
	add_holders(s, node, depth);
	add_loops(s, node, dev, depth);
	add_images(s, node, dev);
	if (s->everywhere)
		add_processes(s, node, dev);
	add_parts(s, node, depth);
}

static void add_children(struct search *s, const char *node, int index)
{
	char path[QCOW2_NODE_NAME_LEN];
	unsigned int i;

	for (i = 0; i < s->devices->count; i++)
		if (s->devices->list[i].parent == index)
			add(s, QCOW2_USER_SNAPSHOT, node,
			    qcow2_node_path(s->devices->list[i].index, path), 0);
}

void qcow2_users_find(struct qcow2_users *users, const struct qcow2_devices *devices, int index,
		      bool everywhere)
{
	struct search s = {
		.users = users, .devices = devices, .everywhere = everywhere,
		.mounts = read_mounts("self"), .swaps = mnt_new_table(),
	};
	char path[QCOW2_NODE_NAME_LEN];
	const char *node = qcow2_node_path(index, path) + strlen("/dev/");

	memset(users, 0, sizeof(*users));
	if (s.swaps && mnt_table_parse_swaps(s.swaps, NULL)) {
		mnt_unref_table(s.swaps);
		s.swaps = NULL;
	}
	add_children(&s, node, index);
	find_on(&s, node, 0);
	mnt_unref_table(s.mounts);
	mnt_unref_table(s.swaps);
}

bool qcow2_users_any(const struct qcow2_devices *devices, int index)
{
	struct qcow2_users users;
	bool any;

	qcow2_users_find(&users, devices, index, false);
	any = users.count;
	qcow2_users_free(&users);
	return any;
}

void qcow2_users_free(struct qcow2_users *users)
{
	while (users->count) {
		free(users->list[--users->count].node);
		free(users->list[users->count].what);
	}
	free(users->list);
	users->list = NULL;
}

/* --- to be read ---------------------------------------------------------------------------- */

static void print_user(FILE *f, const struct qcow2_user *u)
{
	switch (u->kind) {
	case QCOW2_USER_MOUNT:
		fprintf(f, "%s is mounted on ", u->node);
		qcow2_output_text(f, u->what);
		if (u->pid)
			fprintf(f, ", as process %d sees it", u->pid);
		break;
	case QCOW2_USER_SWAP:
		fprintf(f, "%s is used as swap", u->node);
		break;
	case QCOW2_USER_HOLDER:
		fprintf(f, "%s is used by ", u->node);
		qcow2_output_text(f, u->what);
		break;
	case QCOW2_USER_SNAPSHOT:
		fprintf(f, "%s shows its snapshot", u->what);
		break;
	case QCOW2_USER_IMAGE:
		fprintf(f, "%s has an image on %s", u->what, u->node);
		break;
	case QCOW2_USER_PROCESS:
		fprintf(f, "%s is open in process %d (", u->node, u->pid);
		qcow2_output_text(f, u->what);
		fputc(')', f);
		break;
	}
}

const char *qcow2_users_text(int index, char text[QCOW2_USERS_TEXT_LEN])
{
	struct qcow2_devices devices;
	struct qcow2_users users;
	struct qcow2_error ignored;
	unsigned int i;
	FILE *f;

	memset(text, 0, QCOW2_USERS_TEXT_LEN);
	f = fmemopen(text, QCOW2_USERS_TEXT_LEN - 1, "w");
	if (!f)
		qcow2_error_nomem();
	if (qcow2_devices_read(&devices, &ignored))
		devices.count = 0;
	qcow2_users_find(&users, &devices, index, true);
	for (i = 0; i < users.count; i++) {
		fputs(i ? ", " : "", f);
		print_user(f, &users.list[i]);
	}
	fclose(f);
	if (!users.count)
		strcpy(text, "open in a process that is not to be seen from here");
	qcow2_users_free(&users);
	qcow2_devices_free(&devices);
	return text;
}

struct json_object *qcow2_users_json(const struct qcow2_users *users)
{
	static const char *const kinds[] = {
		[QCOW2_USER_MOUNT] = "mount",
		[QCOW2_USER_SWAP] = "swap",
		[QCOW2_USER_HOLDER] = "holder",
		[QCOW2_USER_SNAPSHOT] = "snapshot",
		[QCOW2_USER_IMAGE] = "image",
		[QCOW2_USER_PROCESS] = "process",
	};
	struct json_object *list = json_object_new_array(), *o;
	unsigned int i;

	for (i = 0; i < users->count; i++) {
		o = json_object_new_object();
		qcow2_output_add_str(o, "node", users->list[i].node);
		qcow2_output_add_str(o, "kind", kinds[users->list[i].kind]);
		qcow2_output_add_str(o, users->list[i].kind == QCOW2_USER_MOUNT ? "mountpoint" :
				     "name", users->list[i].what);
		json_object_array_add(list, o);
	}
	return list;
}

/* --- frozen -------------------------------------------------------------------------------- */

/*
 * Something else may be mounted there by now; perhaps the file system that the image is on, which
 * would keep the snapshot from being written. Subvolumes of btrfs have other numbers than mountinfo
 * says, but the mount is the same.
 */
static bool is_root_of(int fd, const struct qcow2_user *u)
{
	struct statx st;

	return !statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, &st) &&
	       (makedev(st.stx_dev_major, st.stx_dev_minor) == u->dev ||
		(st.stx_mask & STATX_MNT_ID && st.stx_mnt_id == (uint64_t)u->mount));
}

/* Return: its root, or -1. */
static int freeze(const struct qcow2_user *u)
{
	int fd = open(u->what, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	if (!is_root_of(fd, u))
		qcow2_error_warn(u->what, "another mount hides what is mounted there from %s, which is not frozen: its file system may not be clean in the snapshot; unmount the other one first",
				 u->node);
	/* One that is mounted twice is frozen once: the second time is refused. */
	else if (!ioctl(fd, FIFREEZE, 0))
		return fd;
	close(fd);
	return -1;
}

void qcow2_users_freeze(const struct qcow2_devices *devices, int index,
			struct qcow2_users_frozen *frozen)
{
	const unsigned int most = sizeof(frozen->fds) / sizeof(*frozen->fds);
	struct qcow2_users users;
	unsigned int i;
	int fd;

	frozen->count = 0;
	qcow2_users_find(&users, devices, index, false);
	for (i = 0; i < users.count && frozen->count < most; i++) {
		if (users.list[i].kind != QCOW2_USER_MOUNT)
			continue;
		fd = freeze(&users.list[i]);
		if (fd >= 0)
			frozen->fds[frozen->count++] = fd;
	}
	qcow2_users_free(&users);
}

void qcow2_users_thaw(struct qcow2_users_frozen *frozen)
{
	while (frozen->count) {
		ioctl(frozen->fds[--frozen->count], FITHAW, 0);
		close(frozen->fds[frozen->count]);
	}
}
