/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is done to the disk: writes, zeroes, discards, flushes and reads by several threads, that
 * get into each other's way; and snapshots and sizes, one at a time. All of it stands in the marks;
 * a seed says all but who comes first.
 */
#ifndef CRASH_WORKLOAD_H
#define CRASH_WORKLOAD_H

#include <stdint.h>

#include "marks.h"

/**
 * struct workload - what to do
 * @fd: the disk, open with O_DIRECT.
 * @sectors: of the disk; (out) in the end.
 * @cluster: sectors of a cluster, or subcluster: where many operations begin and end.
 * @whole: sectors of a cluster of which @cluster is a part; or 0.
 * @first_id: of operations that others have done before.
 * @ops: operations in all.
 * @threads: that share them.
 * @most: sectors of the longest write.
 * @seed: of everything.
 * @run: a number for this run's sectors, see sector.h.
 * @ctl: of recfs, or -1.
 * @slow: percent of operations that recfs shall hold while others overtake them.
 * @index: of the device.
 * @snapshots: percent of operations that create, apply or delete a snapshot.
 * @resizes: percent of operations that let the disk grow.
 * @had: names of those that the image has, with + between.
 * @event: called when @event_at operations have started, by one of the threads; or NULL.
 */
struct workload {
	int fd;
	uint64_t sectors;
	uint32_t cluster;
	uint32_t whole;
	unsigned int first_id;
	unsigned int ops;
	unsigned int threads;
	uint32_t most;
	uint64_t seed;
	uint32_t run;
	struct marks marks;
	int ctl;
	unsigned int slow;
	int index;
	unsigned int snapshots;
	unsigned int resizes;
	const char *had;
	void (*event)(void *data);
	void *event_data;
	unsigned int event_at;
};

/* Return: how many operations failed. */
unsigned int workload_run(struct workload *w);

/* Give the disk another size, with marks. @sectors: (out) of the disk. Return: 0 or negative errno. */
int workload_resize(const struct workload *w, uint64_t *sectors, unsigned int id, uint64_t size);

/* A number for a mark, for what the caller does after the workload. */
#define WORKLOAD_NEXT_ID(w)	((w)->first_id + (w)->ops + 1)

#endif
