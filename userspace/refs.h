/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How often each cluster of an image is referred to, and as what: two bytes a cluster, in
 * chunks that exist only where something is. What does not fit (very many references, or
 * references that contradict each other) lies in a hash table beside it.
 */
#ifndef QCOW2CTL_REFS_H
#define QCOW2CTL_REFS_H

#include <stdbool.h>
#include <stdint.h>

/**
 * enum qcow2_use - what a cluster is used as
 *
 * Clusters of L2 tables and of data may have several references: snapshots share them.
 * Each of the others has one.
 */
enum qcow2_use {
	QCOW2_USE_NONE,
	QCOW2_USE_HEADER,
	QCOW2_USE_REFCOUNT_TABLE,
	QCOW2_USE_REFCOUNT_BLOCK,
	QCOW2_USE_L1,
	QCOW2_USE_SNAPSHOT_TABLE,
	QCOW2_USE_ENCRYPTION,
	QCOW2_USE_BITMAP_DIRECTORY,
	QCOW2_USE_BITMAP_TABLE,
	QCOW2_USE_BITMAP,
	QCOW2_USE_L2,
	QCOW2_USE_L2_ACTIVE,		/* and the disk uses it, not only snapshots */
	QCOW2_USE_DATA,
	QCOW2_USE_COMPRESSED,

	QCOW2_NR_USES,
};

struct qcow2_refs;

/**
 * qcow2_refs_new() - nothing is referred to yet
 * @clusters: how many there can be; 2^40 at most.
 *
 * Return: to be given to qcow2_refs_free().
 */
struct qcow2_refs *qcow2_refs_new(uint64_t clusters);

/**
 * qcow2_refs_free() - forget it all
 * @refs: the counts, or NULL.
 */
void qcow2_refs_free(struct qcow2_refs *refs);

/**
 * qcow2_refs_add() - a cluster is referred to
 * @refs: the counts.
 * @cluster: which; below the number given to qcow2_refs_new().
 * @use: as what.
 * @times: how often.
 *
 * Return: QCOW2_USE_NONE, or, the first time that this contradicts earlier references of the
 * cluster, what it was used as before.
 */
enum qcow2_use qcow2_refs_add(struct qcow2_refs *refs, uint64_t cluster, enum qcow2_use use,
			      uint64_t times);

/** qcow2_refs_count() - how often is @cluster referred to? */
uint64_t qcow2_refs_count(const struct qcow2_refs *refs, uint64_t cluster);

/** qcow2_refs_is_mixed() - do its references contradict each other? */
bool qcow2_refs_is_mixed(const struct qcow2_refs *refs, uint64_t cluster);

/**
 * qcow2_refs_l2() - is this an L2 table?
 * @refs: the counts.
 * @cluster: which.
 * @active: (out) the disk uses it, not only snapshots.
 *
 * Return: how often it is referred to as an L2 table.
 */
uint64_t qcow2_refs_l2(const struct qcow2_refs *refs, uint64_t cluster, bool *active);

/**
 * qcow2_refs_next() - skip clusters that nothing refers to
 * @refs: the counts.
 * @cluster: where to begin.
 *
 * Return: the first one from there on that has references, or UINT64_MAX.
 */
uint64_t qcow2_refs_next(const struct qcow2_refs *refs, uint64_t cluster);

/** qcow2_refs_end() - the number given to qcow2_refs_new(). */
uint64_t qcow2_refs_end(const struct qcow2_refs *refs);

/** qcow2_refs_set_single() - note that the image says: the refcount of @cluster is one. */
void qcow2_refs_set_single(struct qcow2_refs *refs, uint64_t cluster);

/** qcow2_refs_is_single() - was that noted? */
bool qcow2_refs_is_single(const struct qcow2_refs *refs, uint64_t cluster);

#endif /* QCOW2CTL_REFS_H */
