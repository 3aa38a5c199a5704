/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Overlap protection: where an image's metadata lie, so that no guest data is ever
 * written there, whatever a broken L2 entry or refcount says.
 *
 * Known are the clusters of the header, of the L1 tables, active and of snapshots, of the
 * refcount table, the snapshot table, the bitmap directory, bitmap tables and bitmaps, and each
 * active L2 table and refcount block. They are in a hash set: it is asked on every write, and there
 * are many of them, far apart.
 */
#ifndef _QCOW2_OVERLAP_H
#define _QCOW2_OVERLAP_H

#include <linux/mutex.h>
#include <linux/types.h>

struct qcow2_overlap_set;

/**
 * struct qcow2_overlap - where metadata lie
 * @cluster_bits: of the image.
 * @filling: attach still adds what is there.
 * @lock: for changes, also of @filling. Held while memory is allocated.
 * @set: the clusters. Under RCU.
 */
struct qcow2_overlap {
	unsigned int cluster_bits;
	bool filling;
	struct mutex lock;	/* see above */
	struct qcow2_overlap_set __rcu *set;
};

/** qcow2_overlap_init() - none yet; the set grows with what is added. Return: 0, -ENOMEM. */
int qcow2_overlap_init(struct qcow2_overlap *o, unsigned int cluster_bits);

/**
 * qcow2_overlap_filled() - all that the image has was added
 * Until then there may be too much of it, nothing may be left out, and a signal that kills ends it.
 * Context: may sleep.
 */
void qcow2_overlap_filled(struct qcow2_overlap *o);

void qcow2_overlap_exit(struct qcow2_overlap *o);

/**
 * qcow2_overlap_add() - these bytes are metadata
 * @off: host offset, bytes.  @len: bytes.
 * Context: may sleep, for memory. Return: 0; -EEXIST some of them are metadata already; and while
 * it is being filled -E2BIG there are too many, -ENOMEM, -EINTR.
 */
int qcow2_overlap_add(struct qcow2_overlap *o, u64 off, u64 len);

/** qcow2_overlap_remove() - they are no longer. Context: may sleep. */
void qcow2_overlap_remove(struct qcow2_overlap *o, u64 off, u64 len);

/** qcow2_overlap_hit() - do these bytes touch metadata? Context: any. */
bool qcow2_overlap_hit(struct qcow2_overlap *o, u64 off, u64 len);

#endif /* _QCOW2_OVERLAP_H */
