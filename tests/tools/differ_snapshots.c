// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "differ.h"
#include "image.h"
#include "rig.h"

/* What memory keeps for one image's snapshots together. */
#define MAX_BYTES	(64ULL << 20)

static uint64_t bytes_of(const struct disk *disk)
{
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < disk->oracle.window_count; i++)
		bytes += disk->oracle.windows[i].len;
	return bytes;
}

static void forget(struct disk_snapshot *snapshot)
{
	for (unsigned int i = 0; i < ORACLE_MAX_WINDOWS; i++) {
		free(snapshot->bytes[i]);
		snapshot->bytes[i] = NULL;
	}
}

/* Return: false if nothing was done, which is allowed to be so. */
static bool change(struct disk *disk, uint8_t op, const char *name)
{
	static const char *const words[] = { "create", "apply", "delete" };
	int err = rig_snapshot(disk->index, op, name);

	if (!err)
		return true;
	/* Refcounts of one or two bits; and a store that is full. */
	if (err != -EOVERFLOW && !(err == -ENOSPC && disk->may_be_full))
		disk_fail(disk, "%s snapshot %s: %s", words[op], name, strerror(-err));
	return false;
}

static void create(struct disk *disk)
{
	struct disk_snapshot *snapshot = &disk->snapshots[disk->snapshot_count];

	sprintf(snapshot->name, "new%u", disk->snapshots_made++);
	if (!change(disk, QCOW2BLK_SNAPSHOT_CREATE, snapshot->name))
		return;
	for (unsigned int i = 0; i < disk->oracle.window_count; i++) {
		const struct oracle_window *window = &disk->oracle.windows[i];

		snapshot->bytes[i] = malloc(window->len);
		if (!snapshot->bytes[i])
			die("no memory");
		memcpy(snapshot->bytes[i], window->bytes, window->len);
	}
	disk->snapshot_count++;
}

static void apply(struct disk *disk, const struct disk_snapshot *snapshot)
{
	if (!change(disk, QCOW2BLK_SNAPSHOT_APPLY, snapshot->name))
		return;
	for (unsigned int i = 0; i < disk->oracle.window_count; i++) {
		const struct oracle_window *window = &disk->oracle.windows[i];

		memcpy(window->bytes, snapshot->bytes[i], window->len);
	}
}

static void delete(struct disk *disk, struct disk_snapshot *snapshot)
{
	struct disk_snapshot *last = &disk->snapshots[disk->snapshot_count - 1];

	if (!change(disk, QCOW2BLK_SNAPSHOT_DELETE, snapshot->name))
		return;
	forget(snapshot);
	*snapshot = *last;
	memset(last, 0, sizeof(*last));
	disk->snapshot_count--;
}

void disk_change_snapshots(struct disk *disk, uint64_t random)
{
	struct disk_snapshot *snapshot;

	if (disk->is_other || disk->has_data_file ||
	    bytes_of(disk) * DISK_SNAPSHOTS > MAX_BYTES)
		return;
	if (!disk->snapshot_count || (disk->snapshot_count < DISK_SNAPSHOTS && random % 2)) {
		create(disk);
		return;
	}
	snapshot = &disk->snapshots[random / 2 % disk->snapshot_count];
	if (random / 16 % 2)
		apply(disk, snapshot);
	else
		delete(disk, snapshot);
}

void disk_leave_snapshots(const struct disk *disk, int dir)
{
	for (unsigned int i = 0; i < disk->snapshot_count; i++) {
		const struct oracle_window *window = &disk->oracle.windows[0];
		char file[64];
		int fd;

		snprintf(file, sizeof(file), DISK_SNAPSHOT_FILE, disk->snapshots[i].name);
		fd = image_open_at(dir, file, O_RDWR | O_CREAT | O_EXCL);
		if (write(fd, disk->snapshots[i].bytes[0], window->len) != (ssize_t)window->len)
			die("%s cannot be written", file);
		close(fd);
	}
}

void disk_forget_snapshots(struct disk *disk)
{
	while (disk->snapshot_count)
		forget(&disk->snapshots[--disk->snapshot_count]);
}
