/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Writes to where the bytes are: a data cluster that nothing else refers to. No claim, no metadata;
 * the generation, held from before the lookup until the file has answered, keeps the cluster.
 */
#ifndef _QCOW2_INPLACE_H
#define _QCOW2_INPLACE_H

#include "io.h"

/**
 * qcow2_inplace_lookup() - where is what the cursor is at, as a write sees it?
 * @len: bytes wanted.  @ext: (out) see qcow2_map_lookup(); of a raw layer all bytes are there.
 * Context: a worker, in its generation; without @may_sleep any. Return: 0; -EIO after a line in the
 * log; without @may_sleep any errno, and no line.
 */
int qcow2_inplace_lookup(struct qcow2_request *req, u64 len, bool may_sleep,
			 struct qcow2_extent *ext);

/**
 * qcow2_inplace_write() - write an extent where it is
 * @gen: of the lookup; given up. Context: a worker. Return: 0, QCOW2_PARKED or -EIO.
 */
int qcow2_inplace_write(struct qcow2_request *req, const struct qcow2_extent *ext, int gen);

/**
 * qcow2_inplace_write_inline() - write the next extent of a request where it is, now
 * Whatever is in the way, a worker will find it, too. Not of encrypted layers nor of raw data
 * files. Context: see qcow2_send_inline(). Return: 0, the cursor is behind it; or -EAGAIN.
 */
int qcow2_inplace_write_inline(struct qcow2_request *req);

#endif /* _QCOW2_INPLACE_H */
