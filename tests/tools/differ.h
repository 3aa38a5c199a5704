/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the two halves of differ share: the images in differ.c, the operations in differ_ops.c. */
#ifndef TEST_DIFFER_H
#define TEST_DIFFER_H

#include "oracle.h"

/* Snapshots of a disk at a time, and where what they should hold is left. */
#define DISK_SNAPSHOTS		3
#define DISK_SNAPSHOT_FILE	"snapshot-%s.raw"

/**
 * struct disk_snapshot - one that was created
 * @bytes: what it should hold, for each window of the oracle.
 * @last_len: bytes of the last window.
 */
struct disk_snapshot {
	char name[16];
	uint64_t last_len;
	unsigned char *bytes[ORACLE_MAX_WINDOWS];
};

/**
 * struct disk - a disk that is changed at random
 * @name: of the image, for messages.
 * @path: the block device.  @index: its number.
 * @cluster_size: bytes.
 * @subcluster_size: what is discarded at a time, bytes; the same with standard L2 entries.
 * @is_v2: no zero clusters: with a backing file, discards must do nothing.
 * @has_backing: there are layers below.
 * @has_data_file: the top has one, and so no snapshots.
 * @no_discard: attached so that discards are refused.
 * @is_other: not one of ours: what is discarded is unknown.
 * @may_be_full: what needs space may get ENOSPC.
 * @oracle: what it should hold.
 * @snapshots, @snapshot_count: those that were created; all work on the disk rests meanwhile.
 * @size: of the disk, bytes.
 * @has_snapshots: internal ones from before, which may keep it from growing.
 * @snapshots_made: how many there ever were.
 * @threads: how many work on it at a time.
 * @seed, @round: of this attachment.
 * @failed: something went wrong, and was said.
 * @ops_done, @bytes_done, @refusals: counters, updated by many; the last one of ENOSPC.
 */
struct disk {
	const char *name;
	char path[64];
	int index;
	uint32_t cluster_size;
	uint32_t subcluster_size;
	bool is_v2;
	bool has_backing;
	bool has_data_file;
	bool no_discard;
	bool is_other;
	bool may_be_full;
	struct oracle oracle;
	struct disk_snapshot snapshots[DISK_SNAPSHOTS];
	unsigned int snapshot_count;
	unsigned int snapshots_made;
	uint64_t size;
	bool has_snapshots;
	unsigned int threads;
	uint64_t seed;
	unsigned int round;
	bool failed;
	uint64_t ops_done;
	uint64_t bytes_done;
	uint64_t refusals;
};

/* So many random operations, by all threads together. */
void disk_change(struct disk *disk, unsigned int ops);

/* Create a snapshot, apply or delete one; nobody works on the disk. */
void disk_change_snapshots(struct disk *disk, uint64_t random);

/* Let the disk grow, if all up to its end is known; nobody works on it. */
void disk_grow(struct disk *disk, uint64_t random);

/* Write what the snapshots should hold to files in @dir. The oracle must know all of the disk. */
void disk_leave_snapshots(const struct disk *disk, int dir);
void disk_forget_snapshots(struct disk *disk);

/* All of the disk is as it should be. */
void disk_compare(struct disk *disk);

/* Say what went wrong, if it is the first thing to go wrong. */
void __attribute__((format(printf, 2, 3))) disk_fail(struct disk *disk, const char *format, ...);

#endif
