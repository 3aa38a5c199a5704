// SPDX-License-Identifier: GPL-2.0-or-later
#include "node.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/qcow2blk.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define UDEV_CONTROL	"/run/udev/control"
#define SECOND		1000000ULL
#define WAIT		(10 * SECOND)
#define NAP_NSEC	5000000L

/* "qcow<index>" and nothing more. */
static bool parse_name(const char *name, int *index)
{
	unsigned long n;
	char *end;

	if (strncmp(name, QCOW2BLK_DISK_NAME, strlen(QCOW2BLK_DISK_NAME)))
		return false;
	name += strlen(QCOW2BLK_DISK_NAME);
	if (name[0] < '0' || name[0] > '9' || (name[0] == '0' && name[1]))
		return false;
	errno = 0;
	n = strtoul(name, &end, 10);
	if (errno || *end || n > QCOW2BLK_MAX_INDEX)
		return false;
	*index = n;
	return true;
}

/* What /sys/dev/block says of a device number: "../../devices/virtual/block/qcow0/qcow0p1". */
static bool sysfs_target(dev_t dev, char target[PATH_MAX])
{
	char link[64];
	ssize_t len;

	snprintf(link, sizeof(link), "/sys/dev/block/%u:%u", major(dev), minor(dev));
	len = readlink(link, target, PATH_MAX - 1);
	if (len <= 0)
		return false;
	target[len] = '\0';
	return true;
}

bool qcow2_node_parse(const char *text, int *index)
{
	char target[PATH_MAX];
	struct stat st;

	if (!strchr(text, '/'))
		return parse_name(text, index);
	if (!strncmp(text, "/dev/", 5) && parse_name(text + 5, index))
		return true;
	return !stat(text, &st) && S_ISBLK(st.st_mode) && sysfs_target(st.st_rdev, target) &&
	       strrchr(target, '/') && parse_name(strrchr(target, '/') + 1, index);
}

bool qcow2_node_is_on(dev_t dev, int *index)
{
	char target[PATH_MAX], *name, *rest = target;

	if (!sysfs_target(dev, target))
		return false;
	while ((name = strsep(&rest, "/")))
		if (parse_name(name, index))
			return true;
	return false;
}

const char *qcow2_node_path(int index, char path[QCOW2_NODE_NAME_LEN])
{
	snprintf(path, QCOW2_NODE_NAME_LEN, "/dev/" QCOW2BLK_DISK_NAME "%d", index);
	return path;
}

uint64_t qcow2_node_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * SECOND + ts.tv_nsec / 1000;
}

bool qcow2_node_nap(uint64_t end)
{
	struct timespec ts = { .tv_nsec = NAP_NSEC };

	if (qcow2_node_now() >= end)
		return false;
	nanosleep(&ts, NULL);
	return true;
}

/* Device number of "qcow0" or "qcow0p1", 0 where there is none. */
static dev_t sysfs_dev(int index, const char *part)
{
	unsigned int maj, min;
	char path[128];
	dev_t dev = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/block/" QCOW2BLK_DISK_NAME "%d/%s%sdev", index,
		 part ? part : "", part ? "/" : "");
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (fscanf(f, "%u:%u", &maj, &min) == 2)
		dev = makedev(maj, min);
	fclose(f);
	return dev;
}

static bool node_is_there(const char *name, dev_t dev)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/dev/%s", name);
	return !stat(path, &st) && S_ISBLK(st.st_mode) && st.st_rdev == dev;
}

static bool wait_node(const char *name, dev_t dev)
{
	uint64_t end = qcow2_node_now() + WAIT;

	while (!node_is_there(name, dev))
		if (!qcow2_node_nap(end))
			return false;
	return true;
}

int qcow2_node_wait(int index, struct qcow2_error *err)
{
	char path[QCOW2_NODE_NAME_LEN];
	dev_t dev = sysfs_dev(index, NULL);

	qcow2_node_path(index, path);
	if (!dev)
		return qcow2_error_set(err, QCOW2_EXIT_FAILED, path,
				       "the kernel does not show it in /sys/block; is /sys mounted?");
	if (!wait_node(path + strlen("/dev/"), dev))
		return qcow2_error_set(err, QCOW2_EXIT_FAILED, path,
				       "the node does not appear; is /dev a devtmpfs?");
	return 0;
}

typedef bool (*part_fn)(int index, const char *part, void *data);

/* Call @each for the disk (part is NULL) and its partitions until one says no. */
static bool visit_parts(int index, part_fn each, void *data)
{
	char dir[64], prefix[32];
	struct dirent *d;
	bool ok;
	DIR *parts;

	ok = each(index, NULL, data);
	snprintf(prefix, sizeof(prefix), QCOW2BLK_DISK_NAME "%dp", index);
	snprintf(dir, sizeof(dir), "/sys/block/" QCOW2BLK_DISK_NAME "%d", index);
	parts = opendir(dir);
	if (!parts)
		return ok;
	while (ok && (d = readdir(parts)))
		if (!strncmp(d->d_name, prefix, strlen(prefix)))
			ok = each(index, d->d_name, data);
	closedir(parts);
	return ok;
}

static bool part_has_node(int index, const char *part, void *data)
{
	struct qcow2_error *err = data;

	if (!part || wait_node(part, sysfs_dev(index, part)))
		return true;
	qcow2_error_set(err, QCOW2_EXIT_FAILED, part,
			"the partition's node does not appear; is /dev a devtmpfs?");
	return false;
}

/* Returns 0 or a positive errno. */
static int scan(int fd)
{
	uint64_t end = qcow2_node_now() + WAIT;
	char first[512];
	int ret;

	/* Old kernels ignore that they could not read it. */
	if (pread(fd, first, sizeof(first), 0) < 0)
		return errno;
	do
		ret = ioctl(fd, BLKRRPART) ? errno : 0;
	while (ret == EBUSY && qcow2_node_nap(end));
	return ret;
}

int qcow2_node_scan_partitions(int index, struct qcow2_error *err)
{
	char path[QCOW2_NODE_NAME_LEN];
	int fd, ret;

	fd = open(qcow2_node_path(index, path), O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return qcow2_error_set(err, QCOW2_EXIT_FAILED, path, "cannot open it: %s",
				       strerror(errno));
	ret = scan(fd);
	close(fd);
	if (ret)
		return qcow2_error_set(err, QCOW2_EXIT_FAILED, path,
				       "cannot read the partition table: %s; --no-partscan attaches without",
				       strerror(ret));
	return visit_parts(index, part_has_node, err) ? 0 : QCOW2_EXIT_FAILED;
}

bool qcow2_node_udev_runs(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX, .sun_path = UDEV_CONTROL };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool runs;

	/* A socket that an udevd left behind accepts nobody. EACCES: not ours, but alive. */
	runs = fd >= 0 && (!connect(fd, (struct sockaddr *)&addr, sizeof(addr)) ||
			   errno == EAGAIN || errno == EACCES);
	if (fd >= 0)
		close(fd);
	return runs;
}

/* What udev knows of a device, NULL where that is nothing. */
static FILE *open_database(dev_t dev)
{
	char path[64];

	snprintf(path, sizeof(path), "/run/udev/data/b%u:%u", major(dev), minor(dev));
	return fopen(path, "re");
}

/*
 * When udev was first done with a device, 0 where it is not. It writes that down
 * after it has made links and set permissions.
 */
static uint64_t udev_done(dev_t dev)
{
	unsigned long long when = 0;
	FILE *f = open_database(dev);
	char line[256];

	if (!f)
		return 0;
	while (!when && fgets(line, sizeof(line), f))
		if (sscanf(line, "I:%llu", &when) != 1)
			when = 0;
	fclose(f);
	return when;
}

struct settle {
	uint64_t since, end;
};

static bool part_settles(int index, const char *part, void *data)
{
	const struct settle *settle = data;
	dev_t dev = sysfs_dev(index, part);

	/* An older entry is that of a device that had this number before. */
	while (udev_done(dev) < settle->since)
		if (!qcow2_node_nap(settle->end))
			return false;
	return true;
}

void qcow2_node_settle(int index, uint64_t since)
{
	struct settle settle = { .since = since, .end = qcow2_node_now() + WAIT };
	char path[QCOW2_NODE_NAME_LEN];

	if (qcow2_node_udev_runs() && !visit_parts(index, part_settles, &settle))
		qcow2_error_warn(qcow2_node_path(index, path),
				 "udev is not done with it yet; links in /dev/disk may be missing");
}

/* The links in /dev that udev has made for the disk, by its database. */
static void read_links(dev_t dev, struct qcow2_node_traces *traces)
{
	FILE *f = open_database(dev);
	char *line = NULL, **links;
	size_t size = 0;

	if (!f)
		return;
	while (getline(&line, &size, f) > 0) {
		if (strncmp(line, "S:", 2))
			continue;
		links = reallocarray(traces->links, traces->nr_links + 1, sizeof(*links));
		if (!links ||
		    asprintf(&links[traces->nr_links], "/dev/%.*s",
			     (int)strcspn(line + 2, "\n"), line + 2) < 0)
			qcow2_error_nomem();
		traces->links = links;
		traces->nr_links++;
	}
	free(line);
	fclose(f);
}

void qcow2_node_find_traces(int index, struct qcow2_node_traces *traces)
{
	memset(traces, 0, sizeof(*traces));
	traces->dev = sysfs_dev(index, NULL);
	if (qcow2_node_udev_runs())
		read_links(traces->dev, traces);
}

void qcow2_node_free_traces(struct qcow2_node_traces *traces)
{
	while (traces->nr_links)
		free(traces->links[--traces->nr_links]);
	free(traces->links);
}

/* Does a link still lead to the node? It may lead to that of another device by now. */
static bool leads_to(const char *link, const char *node)
{
	char target[PATH_MAX], *name;
	ssize_t len = readlink(link, target, sizeof(target) - 1);

	if (len <= 0)
		return false;
	target[len] = '\0';
	name = strrchr(target, '/');
	return !strcmp(name ? name + 1 : target, node);
}

static bool is_traced(const char *node, const struct qcow2_node_traces *traces, bool udev_runs)
{
	unsigned int i;

	if (node_is_there(node, traces->dev) || (udev_runs && udev_done(traces->dev)))
		return true;
	/* udev forgets a device first and removes its links then. */
	for (i = 0; i < traces->nr_links; i++)
		if (udev_runs && leads_to(traces->links[i], node))
			return true;
	return false;
}

void qcow2_node_wait_gone(int index, const struct qcow2_node_traces *traces)
{
	uint64_t end = qcow2_node_now() + WAIT;
	bool udev_runs = qcow2_node_udev_runs();
	char path[QCOW2_NODE_NAME_LEN];

	qcow2_node_path(index, path);
	/* Somebody may have attached another one meanwhile. */
	while (!sysfs_dev(index, NULL) && is_traced(path + strlen("/dev/"), traces, udev_runs))
		if (!qcow2_node_nap(end))
			return;
}

struct end {
	uint64_t size;
	char *part;
};

static uint64_t sysfs_number(int index, const char *part, const char *name)
{
	unsigned long long n = 0;
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "/sys/block/" QCOW2BLK_DISK_NAME "%d/%s/%s", index, part,
		 name);
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (fscanf(f, "%llu", &n) != 1)
		n = 0;
	fclose(f);
	return n;
}

static bool part_ends_before(int index, const char *part, void *data)
{
	struct end *end = data;
	uint64_t last;

	if (!part)
		return true;
	last = sysfs_number(index, part, "start") + sysfs_number(index, part, "size");
	if (last * 512 <= end->size)
		return true;
	snprintf(end->part, QCOW2_NODE_NAME_LEN, "%s", part);
	return false;
}

bool qcow2_node_part_behind(int index, uint64_t size, char part[QCOW2_NODE_NAME_LEN])
{
	struct end end = { .size = size, .part = part };

	return !visit_parts(index, part_ends_before, &end);
}
