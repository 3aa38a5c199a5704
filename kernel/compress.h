/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Compressed clusters: decompression in parallel, with a small cache of
 * decompressed clusters.
 *
 * A device has a few cluster buffers, named by layer and host offset, and a few
 * decompression contexts, at most one a CPU. One of each is made at attach, so that
 * reads make progress whatever memory there is; the others come when first needed.
 */
#ifndef _QCOW2_COMPRESS_H
#define _QCOW2_COMPRESS_H

#include "layer.h"

struct qcow2_compress;

/**
 * qcow2_compress_create() - make the cache and the contexts of a device
 * @chain: its loaded layers.
 * Context: may sleep. Return: NULL where no layer can have compressed clusters, or
 * ERR_PTR(-ENOMEM).
 */
struct qcow2_compress *qcow2_compress_create(const struct qcow2_chain *chain);

/** qcow2_compress_destroy() - no user may be left; NULL is fine. Context: may sleep. */
void qcow2_compress_destroy(struct qcow2_compress *z);

/**
 * qcow2_compress_read() - read from a compressed cluster
 * @ext: a COMPRESSED extent; @ext->len bytes from @ext->skip on are wanted.
 * @to: where to; takes at least @ext->len bytes.
 *
 * Context: a worker. May sleep: for file I/O, and for other workers that
 * decompress; those wait for nothing but file I/O.
 * Return: 0; -EIO a bad stream, after a log line; or the error of the file.
 */
int qcow2_compress_read(struct qcow2_compress *z, const struct qcow2_extent *ext,
			struct iov_iter *to);

/**
 * struct qcow2_compress_stats - counters since attach
 * @decompressed: clusters decompressed.
 * @hits: reads answered from a cluster that was here.
 * @nsec: reading and decompressing.
 */
struct qcow2_compress_stats {
	u64 decompressed;
	u64 hits;
	u64 nsec;
};

/** qcow2_compress_get_stats() - @z may be NULL. Context: process. */
void qcow2_compress_get_stats(struct qcow2_compress *z, struct qcow2_compress_stats *stats);

#endif /* _QCOW2_COMPRESS_H */
