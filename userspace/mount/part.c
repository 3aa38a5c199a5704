// SPDX-License-Identifier: GPL-2.0-or-later
/* Partitions, and who uses them. */
#include "../device.h"
#include "../node.h"
#include "../output.h"
#include "mount.h"

#include <dirent.h>
#include <libmount.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND	1000000ULL
#define SYSFS	"/sys/block/" QCOW2BLK_DISK_NAME "%d"

/* A number that stands in a file of a partition; 0 where there is no such file. */
static unsigned long long sysfs_number(int index, const char *part, const char *file)
{
	unsigned long long n = 0;
	char path[PATH_MAX];
	FILE *f;

	snprintf(path, sizeof(path), SYSFS "/%s/%s", index, part, file);
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (fscanf(f, "%llu", &n) != 1)
		n = 0;
	fclose(f);
	return n;
}

/* "qcow0p1"; "qcow2" is a directory of the driver. */
static int is_part(const struct dirent *d)
{
	const char *name = d->d_name + strlen(QCOW2BLK_DISK_NAME);

	return !strncmp(d->d_name, QCOW2BLK_DISK_NAME, strlen(QCOW2BLK_DISK_NAME)) &&
	       name[strspn(name, "0123456789")] == 'p';
}

char *mount_part_list(int index)
{
	char *list = strdup(""), *longer, size[QCOW2_OUTPUT_SIZE_LEN], path[64];
	struct dirent **parts;
	int i, count;

	snprintf(path, sizeof(path), SYSFS, index);
	count = scandir(path, &parts, is_part, versionsort);
	for (i = 0; i < count; i++) {
		if (!list || asprintf(&longer, "%s%s%llu (%s)", list, *list ? ", " : "",
				      sysfs_number(index, parts[i]->d_name, "partition"),
				      qcow2_output_size(sysfs_number(index, parts[i]->d_name,
								     "size") * 512, size)) < 0)
			qcow2_error_nomem();
		free(list);
		list = longer;
		free(parts[i]);
	}
	if (count >= 0)
		free(parts);
	return list;
}

int mount_part_node(int index, unsigned long part, const char *image, char path[64],
		    struct qcow2_error *err)
{
	char *list;

	snprintf(path, 64, "/dev/" QCOW2BLK_DISK_NAME "%d", index);
	if (!part)
		return 0;
	snprintf(path, 64, "/dev/" QCOW2BLK_DISK_NAME "%dp%lu", index, part);
	if (sysfs_number(index, path + strlen("/dev/"), "partition") == part)
		return 0;
	list = mount_part_list(index);
	qcow2_error_set(err, QCOW2_EXIT_FAILED, image, *list ?
			"it has no partition %lu, as part= says; there are: %s" :
			"it has no partition %lu, as part= says, and no others%s; leave part= out for the whole disk",
			part, list);
	free(list);
	return QCOW2_EXIT_FAILED;
}

bool mount_is_mounted(int index, const char *dir, unsigned long part)
{
	struct libmnt_table *table = mnt_new_table_from_file("/proc/self/mountinfo");
	struct libmnt_iter *iter = mnt_new_iter(MNT_ITER_FORWARD);
	struct libmnt_fs *fs;
	char node[64], *real = dir ? realpath(dir, NULL) : NULL;
	bool found = false;
	int on;

	snprintf(node, sizeof(node), part ? "/dev/" QCOW2BLK_DISK_NAME "%dp%lu" :
					    "/dev/" QCOW2BLK_DISK_NAME "%d", index, part);
	while (table && iter && !found && !mnt_table_next_fs(table, iter, &fs))
		found = qcow2_node_is_on(mnt_fs_get_devno(fs), &on) && on == index &&
			(!dir || (real && mnt_fs_streq_target(fs, real) &&
				  mnt_fs_streq_srcpath(fs, node)));
	free(real);
	mnt_free_iter(iter);
	mnt_unref_table(table);
	return found;
}

bool mount_is_lazy(int index)
{
	const struct qcow2_nl_device *device = NULL;
	struct qcow2_devices devices;
	struct qcow2_error ignored;
	bool lazy;

	if (!qcow2_devices_read(&devices, &ignored))
		device = qcow2_devices_by_index(&devices, index);
	lazy = device && device->flags & QCOW2BLK_F_LAZY;
	qcow2_devices_free(&devices);
	return lazy;
}

struct qcow2_nl_events *mount_listen(void)
{
	struct qcow2_nl_events *events = NULL;
	struct qcow2_error ignored;
	struct qcow2_nl *nl;

	if (!qcow2_nl_open(&nl, &ignored) && nl &&
	    qcow2_nl_events_open(&events, nl, &ignored)) {
		qcow2_nl_events_close(events);
		events = NULL;
	}
	qcow2_nl_close(nl);
	return events;
}

bool mount_wait_gone(struct qcow2_nl_events *events, int index)
{
	uint64_t end = qcow2_node_now() + 10 * SECOND;
	uint32_t what = QCOW2_NL_EVENT_NONE;
	struct qcow2_node_traces traces;

	qcow2_node_find_traces(index, &traces);
	while (what == QCOW2_NL_EVENT_NONE && !mount_is_mounted(index, NULL, 0) &&
	       qcow2_node_now() < end)
		what = qcow2_nl_events_detached(events, index, SECOND / 10);
	if (what == QCOW2BLK_EVENT_DETACHED)
		qcow2_node_wait_gone(index, &traces);
	qcow2_node_free_traces(&traces);
	return what != QCOW2BLK_EVENT_KEPT;
}
