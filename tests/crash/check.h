/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Is an image consistent? What qemu-img check would say of it, a thousand times faster; and
 * what is wrong all the same.
 */
#ifndef CRASH_CHECK_H
#define CRASH_CHECK_H

#include "image.h"
#include "qcow2_format.h"

/**
 * struct check - what was found
 * @header: of the image; valid if @opens.
 * @opens: the header and what it points to are in order.
 * @corruptions: as qemu-img counts them, but for faults that make it open no image.
 * @leaks: clusters with a refcount that is too high, but not past the end of the file.
 * @strict: faults that qemu-img lets pass: a cluster that is used for two things.
 * @what: the first fault, a sentence.
 */
struct check {
	struct qcow2_header header;
	bool opens;
	unsigned int corruptions;
	unsigned int leaks;
	unsigned int strict;
	char what[160];
};

void check_image(struct check *c, const struct image *img);

/* Clusters past the end of the file that have a refcount: leaks, once the file grows. */
unsigned int check_hidden_leaks(const struct image *img, const struct qcow2_header *h);

/* Parse the header only. Return: @c->opens. */
bool check_header(struct check *c, const struct image *img);

/*
 * Call @visit for each range that an internal snapshot keeps: its table entry's L1 table, L2
 * tables and clusters. A damaged table gives fewer.
 */
void check_snapshot_ranges(const struct image *img, const struct qcow2_header *h,
			   void (*visit)(void *data, uint64_t off, uint64_t len), void *data);

/**
 * struct check_snapshot - an entry of the snapshot table
 * @name: as much of it as there is room for.
 * @header: the image's, as if the snapshot were the disk.
 */
struct check_snapshot {
	char name[32];
	struct qcow2_header header;
};

/* Those of a table that is whole, @max at most. Return: how many. */
unsigned int check_list_snapshots(const struct image *img, const struct qcow2_header *h,
				  struct check_snapshot *list, unsigned int max);

#endif
