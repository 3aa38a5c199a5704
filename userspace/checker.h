/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Is an image consistent? Walks all that an image refers to, counts, and compares with its
 * refcounts. What counts as a fault is what qemu-img check counts, and besides that a cluster
 * that is used for two things and a zero bit that version 2 does not have.
 *
 * The work is bounded by the size of the file, whatever the image says: each table is read
 * once, however many refer to it.
 */
#ifndef QCOW2CTL_CHECKER_H
#define QCOW2CTL_CHECKER_H

#include "image.h"
#include "progress.h"
#include "refs.h"

/**
 * enum qcow2_fault_kind - how bad is it?
 * @QCOW2_FAULT_LEAK: clusters whose refcount is too high: space is lost, nothing else.
 * @QCOW2_FAULT_REFCOUNT: clusters whose refcount is too low.
 * @QCOW2_FAULT_COPIED: a flag that disagrees with the refcount.
 * @QCOW2_FAULT_REFCOUNT_TABLE: the refcounts cannot be found, or lie where something else does.
 * @QCOW2_FAULT_STRUCTURE: anything else; only guessing helps, or a backup.
 *
 * All but the last one are mended by counting.
 */
enum qcow2_fault_kind {
	QCOW2_FAULT_LEAK,
	QCOW2_FAULT_REFCOUNT,
	QCOW2_FAULT_COPIED,
	QCOW2_FAULT_REFCOUNT_TABLE,
	QCOW2_FAULT_STRUCTURE,

	QCOW2_NR_FAULT_KINDS,
};

/**
 * struct qcow2_run - a run of clusters
 * @first: the first one.
 * @count: how many.
 */
struct qcow2_run {
	u64 first;
	u64 count;
};

/**
 * struct qcow2_checker - a check in progress, or done
 *
 * The caller fills in:
 * @fd: the image; for writing too if @fix_copied.
 * @file: its name.
 * @file_size: bytes in it.
 * @image: its header.
 * @fix_copied: correct flags that disagree with refcounts, instead of reporting them. Only
 *	sensible where the refcounts are right.
 * @count_only: do not look at refcounts, nor count where they lie: @refs is what they should be,
 *	but for themselves.
 * @spare: clusters past the end of the file that @refs shall have room for.
 * @progress: of the check, or NULL.
 * @report: told of each fault, once; @where tells faults of a kind apart: a cluster, or the
 *	offset of an entry. Or NULL.
 * @data: theirs.
 *
 * qcow2_checker_run() fills in:
 * @found: how many of each kind.
 * @fixed: flags that were corrected.
 * @lowered: leaks that leave a refcount of one: flags change with them.
 * @leaked: clusters that nothing refers to but that have a refcount, @nr_leaked runs.
 * @refs: what refers to what.
 * @reftable: the refcount table in CPU byte order; entries that cannot be followed are 0.
 * @unknown: for each entry of that: it is there, but cannot be followed.
 * @reftable_entries: in both.
 * @image_end: bytes, behind the last cluster that is in use.
 * @guest_clusters: clusters that the disk has.
 * @allocated: of them, in the file.
 * @fragmented: those that do not follow the one before.
 * @compressed: those that are compressed.
 *
 * The rest is its own.
 */
struct qcow2_checker {
	int fd;
	const char *file;
	u64 file_size;
	const struct qcow2_image *image;
	bool fix_copied;
	bool count_only;
	u64 spare;
	struct qcow2_progress *progress;
	void (*report)(void *data, enum qcow2_fault_kind kind, u64 where, const char *what);
	void *data;

	u64 found[QCOW2_NR_FAULT_KINDS];
	u64 fixed;
	u64 lowered;
	struct qcow2_run *leaked;
	size_t nr_leaked;
	struct qcow2_refs *refs;
	u64 *reftable;
	bool *unknown;
	uint32_t reftable_entries;
	u64 image_end;
	u64 guest_clusters;
	u64 allocated;
	u64 fragmented;
	u64 compressed;

	const struct qcow2_header *h;
	u64 whole_sectors;
	void *buf;
	u64 done;
	u64 total;
	struct qcow2_error *err;
};

/**
 * qcow2_checker_run() - check
 * @c: see above; to be given to qcow2_checker_free(), also on error.
 * @err: (out) filled in on error.
 *
 * Return: 0, whatever was found, or QCOW2_EXIT_FAILED: the check could not be completed.
 */
int qcow2_checker_run(struct qcow2_checker *c, struct qcow2_error *err);

/**
 * qcow2_checker_free() - release what qcow2_checker_run() allocated
 * @c: the check; the results are void.
 */
void qcow2_checker_free(struct qcow2_checker *c);

/** qcow2_checker_corruptions() - how many faults are no leaks? */
u64 qcow2_checker_corruptions(const struct qcow2_checker *c);

/** qcow2_checker_clusters() - clusters in the file, the last one perhaps in part. */
u64 qcow2_checker_clusters(const struct qcow2_checker *c);

/** qcow2_checker_refcounts() - refcounts in a refcount block. */
u64 qcow2_checker_refcounts(const struct qcow2_checker *c);

#endif /* QCOW2CTL_CHECKER_H */
