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

static struct oracle_window *last_window(struct disk *disk)
{
	return &disk->oracle.windows[disk->oracle.window_count - 1];
}

/* The last window, which ends where the disk does, has so many bytes now. */
static void set_length(struct disk *disk, uint64_t len)
{
	disk->size += len - last_window(disk)->len;
	oracle_resize(&disk->oracle, disk->oracle.window_count - 1, len);
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
	snapshot->last_len = last_window(disk)->len;
	disk->snapshot_count++;
}

static void apply(struct disk *disk, const struct disk_snapshot *snapshot)
{
	if (!change(disk, QCOW2BLK_SNAPSHOT_APPLY, snapshot->name))
		return;
	set_length(disk, snapshot->last_len);
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

void disk_grow(struct disk *disk, uint64_t random)
{
	struct oracle_window *last = last_window(disk);
	uint64_t more = 1 + random / 8 % (random % 8 ? 2 * disk->cluster_size / SECTOR : 4096);
	int err;

	if (disk->is_other || last->off + last->len != disk->size || last->len > MAX_BYTES / 8)
		return;
	err = rig_resize(disk->index, disk->size + more * SECTOR);
	if (!err)
		set_length(disk, last->len + more * SECTOR);
	/* Version 2 with snapshots, or over a longer backing file; or a store that is full. */
	else if (!(err == -EOPNOTSUPP && (disk->is_v2 || disk->has_snapshots)) &&
		 !(err == -ENOSPC && disk->may_be_full))
		disk_fail(disk, "%llu sectors more: %s", (unsigned long long)more, strerror(-err));
}

void disk_leave_snapshots(const struct disk *disk, int dir)
{
	for (unsigned int i = 0; i < disk->snapshot_count; i++) {
		char file[64];
		int fd;

		snprintf(file, sizeof(file), DISK_SNAPSHOT_FILE, disk->snapshots[i].name);
		fd = image_open_at(dir, file, O_RDWR | O_CREAT | O_EXCL);
		if (write(fd, disk->snapshots[i].bytes[0], disk->snapshots[i].last_len) !=
		    (ssize_t)disk->snapshots[i].last_len)
			die("%s cannot be written", file);
		close(fd);
	}
}

void disk_forget_snapshots(struct disk *disk)
{
	while (disk->snapshot_count)
		forget(&disk->snapshots[--disk->snapshot_count]);
}
