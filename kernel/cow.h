/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One extent of a write: in place (inplace.h), or to clusters that are allocated for it, with a
 * copy of what else was there. See write.h for how these fit together.
 *
 * What becomes allocated is whole subclusters (with standard L2 entries: clusters); what the guest
 * does not write of them is copied, unless it lies in new space that reads as zeros. A
 * cluster of our own takes in further subclusters in place, by an ordered commit: their space
 * may have been written before, and nobody knows what it holds. It may even be that the entry
 * on disk still has one as allocated that was discarded meanwhile, and is written anew. Then a
 * crash shows, at its own place of the disk, what was flushed last, what is being written, or
 * the zeros that the discard left: values of that very subcluster. A request that was
 * mapped to it before the discard, and still is under way, is in the same position: what it
 * reads or overwrites is what others write to the same bytes at the same time.
 *
 * What waits is parked: -EAGAIN and -EBUSY ask the caller for qcow2_send_park(),
 * QCOW2_PARKED says that it is done already; in both cases the request's work runs
 * again later, from where it was.
 *
 * Context of all of it: a worker that serves the request; may sleep, for file I/O.
 */
#ifndef _QCOW2_COW_H
#define _QCOW2_COW_H

#include "io.h"

/**
 * qcow2_cow_write() - write the next extent of a request
 * @len: bytes wanted, at least 1, at most what the guest's memory at the cursor holds, or
 *	what is left of the cluster for a request that writes zeros; (out) how many
 *	were submitted, which may be 0. The cursor stays.
 * Return: 0, QCOW2_PARKED, -EAGAIN, -EBUSY, or an error for the request, logged.
 */
int qcow2_cow_write(struct qcow2_request *req, u32 *len);

/**
 * qcow2_cow_hold() - qcow2_map_hold(), with an error that a request may have
 * Return: 0, -ENOENT, -EAGAIN, -EBUSY, -ENOSPC, or -EIO after a line in the log.
 */
int qcow2_cow_hold(struct qcow2_request *req, u64 cluster, bool create,
		   struct qcow2_place *place);

/** qcow2_cow_bad_entry() - say what is wrong with an entry. @off: guest offset. Return: -EIO. */
int qcow2_cow_bad_entry(struct qcow2_layer *l, u64 off, const struct qcow2_fault *fault);

/** qcow2_cow_free_cluster() - a cluster loses an entry's reference to where it was. */
void qcow2_cow_free_cluster(struct qcow2_layer *l, struct qcow2_free_batch *b,
			    const struct qcow2_cluster *c);

/**
 * qcow2_cow_reads_zero() - do guest bytes, clipped to the disk, read as zeros?
 * Under a claim, or in the generation. Return: 0 or -EIO.
 */
int qcow2_cow_reads_zero(struct qcow2_request *req, u64 off, u64 len, bool *zero);

#endif /* _QCOW2_COW_H */
