/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The mapping of one qcow2 image: guest offset to extent, and changes of it.
 *
 * The L1 table lies in memory whole (32 MiB at most); L2 tables go through the
 * slice cache. Lookups take no lock. Who changes an entry has claimed its cluster
 * (claim.h); commit.c makes the change durable.
 *
 * Only this file knows how wide entries are: with standard ones a cluster is its only
 * subcluster.
 */
#ifndef _QCOW2_MAP_H
#define _QCOW2_MAP_H

#include <qcow2_format.h>

#include "alloc.h"
#include "cache.h"
#include "table.h"

struct qcow2_layer;

/**
 * struct qcow2_extent - a run of guest bytes with one answer: where it is
 * @type: UNALLOCATED, ZERO_PLAIN (also for ZERO_ALLOC), NORMAL or COMPRESSED.
 * @len: guest bytes, at least 1, at most what was asked for.
 * @host_off: NORMAL: host offset of the first byte. COMPRESSED: of the stream.
 *	UNALLOCATED, to a writer: not 0 if there is a cluster of our own to write it to.
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
 * @file: the image file.
 * @not_plain: bits of L1 and L2 entries that say more than where something is, and that nothing
 *	else refers to it; all bits where entries are not of the standard kind, or where there is
 *	a data file.
 * @l1: the L1 entries that the virtual size needs.
 * @cache: slices of L2 tables.
 * @alloc: space for new L2 tables; NULL where the image is not written, as is @buffer.
 * @overlap: learns of new L2 tables.
 * @table_lock: taken to add or replace an L2 table. Held across file I/O, but not while
 *	waiting for space.
 * @buffer: of BUFFER_SIZE, for tables that are copied or cleared. Under @table_lock.
 */
struct qcow2_map {
	const struct qcow2_header *h;
	struct qcow2_file *file;
	u64 not_plain;
	struct qcow2_table l1;
	struct qcow2_cache cache;
	struct qcow2_alloc *alloc;
	struct qcow2_overlap *overlap;
	struct mutex table_lock;	/* see above */
	void *buffer;
};

/**
 * struct qcow2_place - a place in an L2 table, to look at entries and change them
 * @slice: held.
 * @cluster: guest cluster of the first entry of interest.
 * @idx: the first entry of interest, in the slice.
 * @left: entries from there to the slice's end.
 */
struct qcow2_place {
	struct qcow2_slice *slice;
	u64 cluster;
	u32 idx;
	u32 left;
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
		   struct qcow2_file *file, u64 cache_bytes, const char **why);

/**
 * qcow2_map_make_writable() - the mapping is going to change
 * @alloc: where clusters for tables come from.  @overlap: learns where tables are.
 * Context: may sleep. Return: 0, -ENOMEM, or -EINVAL with @fault filled in.
 */
int qcow2_map_make_writable(struct qcow2_map *m, struct qcow2_alloc *alloc,
			    struct qcow2_overlap *overlap, struct qcow2_fault *fault);

/** qcow2_map_close() - free what qcow2_map_open() made. Context: may sleep. */
void qcow2_map_close(struct qcow2_map *m);

/** qcow2_map_l1_needed() - L1 entries that a disk of @size needs */
static inline u64 qcow2_map_l1_needed(const struct qcow2_header *h, u64 size)
{
	unsigned int bits = h->l2_bits + h->cluster_bits;

	/* From clusters of 256 KiB on, a divisor would not fit into 32 bits. */
	return (size >> bits) + !!(size & ((1ULL << bits) - 1));
}

/** qcow2_map_l1_entries() - L1 entries that a map keeps, of @l1_size, for a disk of @size */
u32 qcow2_map_l1_entries(const struct qcow2_header *h, u64 size, u32 l1_size);

/**
 * qcow2_map_replace() - go over to another L1 table, and other L2 tables
 * @l1: qcow2_map_l1_entries() of it; (out) the old one. Nothing is dirty, nobody looks
 * anything up. Context: process.
 */
void qcow2_map_replace(struct qcow2_map *m, struct qcow2_table *l1);

/** qcow2_map_bytes() - bytes of all slices the image can have. Context: any. */
u64 qcow2_map_bytes(const struct qcow2_header *h);

/**
 * qcow2_map_lookup() - where are these guest bytes?
 * @off: guest offset, below the virtual size.
 * @len: bytes wanted, at least 1, within the virtual size.
 * @may_sleep: read absent slices from the file.
 * @for_write: the answer is NORMAL where nothing else refers to the clusters, so that
 *	they may be written; UNALLOCATED, whatever there is, where they may not.
 * @ext: (out) the longest run from @off, at most @len, with one answer. Clusters
 *	that lie side by side in the file are one run, also across slices.
 * @fault: (out) filled in when -EINVAL is returned.
 *
 * Context: any without @may_sleep. Return: 0; -EAGAIN a slice is absent and
 * @may_sleep is false; -EINVAL an entry is bad; or the error of reading a slice.
 */
int qcow2_map_lookup(struct qcow2_map *m, u64 off, u64 len, bool may_sleep, bool for_write,
		     struct qcow2_extent *ext, struct qcow2_fault *fault);

/**
 * qcow2_map_lookup_plain() - the same where that is quick, as it is for most lookups
 *
 * It is for a part of one cluster that has plain data, or that is not there, and whose slice
 * is here. Context: any. Return: false: none of that; @ext is undefined.
 */
bool qcow2_map_lookup_plain(struct qcow2_map *m, u64 off, u64 len, bool for_write,
			    struct qcow2_extent *ext);

/**
 * qcow2_map_hold() - get at the L2 entries of guest clusters, to change them
 * @cluster: guest cluster, or subclusters of it, claimed.
 * @create: make an L2 table where there is none. One that other L1 tables refer to is
 *	copied in any case.
 * @p: (out) give back with qcow2_map_put().
 *
 * Context: a worker; may sleep, for file I/O. Return: 0; -ENOENT there is no table;
 * -EAGAIN no space now, -EBUSY not before a commit: see qcow2_alloc_park(); -ENOSPC; -EINVAL
 * with @fault; or another errno.
 */
int qcow2_map_hold(struct qcow2_map *m, u64 cluster, bool create, struct qcow2_place *p,
		   struct qcow2_fault *fault);

/** qcow2_map_put() - give a place back. Context: any. */
void qcow2_map_put(struct qcow2_place *p);

/** qcow2_map_entry() - decode the @i-th entry from a place. Return: 0, -EINVAL. */
int qcow2_map_entry(const struct qcow2_map *m, const struct qcow2_place *p, u32 i,
		    struct qcow2_cluster *c, struct qcow2_fault *fault);

/**
 * qcow2_map_publish() - entries for data that was written
 * @first: the first subcluster, counted from @p on.  @end: the one behind the last.
 * @host_off: where the cluster at @p lies now; those that follow lie behind it.
 * @ordered: see commit.h.
 *
 * Other subclusters stay as they were: none that is allocated may move. All is claimed.
 * Context: any.
 */
void qcow2_map_publish(struct qcow2_map *m, const struct qcow2_place *p, u32 first, u32 end,
		       u64 host_off, bool ordered);

/** qcow2_map_set() - change one entry, the @i-th from @p on; ordered. Context: any. */
void qcow2_map_set(struct qcow2_map *m, const struct qcow2_place *p, u32 i,
		   const struct qcow2_cluster *c);

#endif /* _QCOW2_MAP_H */
