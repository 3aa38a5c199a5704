/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Requests that change the disk: writes, zeroes, discards, flushes.
 *
 *	in place	a data cluster that nothing else refers to: no claim, no metadata.
 *			The generation, held from before the lookup, keeps the cluster
 *	else		claim the guest cluster, take clusters, write guest bytes and what
 *			must be kept of the old content in one go, then publish the new
 *			entries in memory, release the claim
 *
 * An entry is never published before its data was written: so whatever a commit
 * freezes has its data in the file. Nothing here flushes; see commit.h.
 *
 * What goes in place, and asks for no wait, is sent by the task that submits the request;
 * all the rest runs in workers of the device. A request that must wait for a claim, for
 * space or for a buffer is parked, and goes on from where it was when woken; it
 * holds no claim then.
 */
#ifndef _QCOW2_WRITE_H
#define _QCOW2_WRITE_H

#include "io.h"

/**
 * qcow2_request_write() - serve a request that changes the disk, or a flush
 * @op: what to do.
 * @bio: QCOW2_WRITE: first of a list; the memory to write. Else NULL.
 * @off: guest offset, bytes, a multiple of 512, as is
 * @len: bytes.
 * @ioprio: I/O priority for the file.
 *
 * Context: any. @target->done is called when all is done.
 */
void qcow2_request_write(struct qcow2_request *req, enum qcow2_write_op op, struct bio *bio,
			 u64 off, u64 len, u16 ioprio);

#endif /* _QCOW2_WRITE_H */
