/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The mapping of one qcow2 image: guest offset to extent.
 *
 * The L1 table lies in memory whole (32 MiB at most); L2 tables go through the
 * slice cache. Lookups take no lock.
 */
#ifndef _QCOW2_MAP_H
#define _QCOW2_MAP_H

#include <qcow2_format.h>

#include "cache.h"

struct qcow2_layer;

/**
 * struct qcow2_extent - a run of guest bytes with one answer: where it is
 * @type: UNALLOCATED, ZERO_PLAIN (also for ZERO_ALLOC), NORMAL or COMPRESSED.
 * @len: guest bytes, at least 1, at most what was asked for.
 * @host_off: NORMAL: host offset of the first byte. COMPRESSED: of the stream.
 * @csize: COMPRESSED: bytes of the stream at most.
 * @skip: COMPRESSED: bytes of the decompressed cluster before the first one wanted.
 * @layer: whose file that is; set by layer.c.
 */
struct qcow2_extent {
	enum qcow2_cluster_type type;
	u32 csize;
	u32 skip;
	u64 len;
	u64 host_off;
	struct qcow2_layer *layer;
};

/**
 * struct qcow2_map - the mapping of one image
 * @h: its header.
 * @l1: the L1 entries that the virtual size needs, as on disk.
 * @cache: slices of L2 tables.
 */
struct qcow2_map {
	const struct qcow2_header *h;
	__be64 *l1;
	struct qcow2_cache cache;
};

/**
 * qcow2_map_open() - read the L1 table and make the cache
 * @h: the image's header; must outlive the map.
 * @file: the image file; must outlive the map.
 * @cache_bytes: room for slices.
 * @why: (out) a sentence, constant, on error.
 * Context: may sleep. Return: 0, -ENOMEM, -EIO, -ENODATA (the table is past the end).
 */
int qcow2_map_open(struct qcow2_map *m, const struct qcow2_header *h,
		   const struct qcow2_file *file, u64 cache_bytes, const char **why);

/** qcow2_map_close() - free what qcow2_map_open() made. Context: may sleep. */
void qcow2_map_close(struct qcow2_map *m);

/** qcow2_map_bytes() - bytes of all slices the image can have. Context: any. */
u64 qcow2_map_bytes(const struct qcow2_header *h);

/**
 * qcow2_map_lookup() - where are these guest bytes?
 * @off: guest offset, below the virtual size.
 * @len: bytes wanted, at least 1, within the virtual size.
 * @may_sleep: read absent slices from the file.
 * @ext: (out) the longest run from @off, at most @len, with one answer. Clusters
 *	that lie side by side in the file are one run, also across slices.
 * @fault: (out) filled in when -EINVAL is returned.
 *
 * Context: any without @may_sleep. Return: 0; -EAGAIN a slice is absent and
 * @may_sleep is false; -EINVAL an entry is bad; or the error of reading a slice.
 */
int qcow2_map_lookup(struct qcow2_map *m, u64 off, u64 len, bool may_sleep,
		     struct qcow2_extent *ext, struct qcow2_fault *fault);

#endif /* _QCOW2_MAP_H */
