/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Table slices of one image file, kept in memory.
 *
 * A slice is min(4 KiB, cluster size) bytes of an L2 table, named by its host
 * offset. Readers find slices without a lock, under RCU: a slice leaves the hash
 * table before it is dropped, and is freed a grace period later, so what a reader
 * has found stays readable and is what the table said when the reader began.
 *
 * Room is bounded; the least recently used slice goes first, by a clock: a hit
 * sets a bit, the hand clears it.
 */
#ifndef _QCOW2_CACHE_H
#define _QCOW2_CACHE_H

#include <linux/list.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/wait.h>

#include "file.h"

#define QCOW2_SLICE_MAX_SIZE	4096U

/**
 * struct qcow2_cache - the slices of one file
 * @file: where they come from.
 * @slice_bits: log2 of a slice's bytes.
 * @max: slices to keep at most. Slices being read come on top, one a worker.
 * @hash_bits: log2 of the buckets.
 * @hash: changed under @lock, walked under RCU.
 * @lock: protects everything below, and the slices' list entries. Innermost.
 * @clock: all slices in the hash; the hand is the head of the list.
 * @nr: slices in @clock.
 * @loaded: woken when a slice has been read.
 * @hits, @misses, @evictions: of qcow2_cache_get().
 */
struct qcow2_cache {
	const struct qcow2_file *file;
	unsigned int slice_bits;
	unsigned int max;
	unsigned int hash_bits;
	struct hlist_head *hash;

	spinlock_t lock;	/* see above */
	struct list_head clock;
	unsigned int nr;
	wait_queue_head_t loaded;
	u64 hits;
	u64 misses;
	u64 evictions;
};

struct qcow2_slice;

/**
 * qcow2_cache_init() - make an empty cache
 * @file: the image file; must outlive the cache.
 * @slice_bits: log2 of a slice's bytes, 9 to 12.
 * @bytes: room for slices.
 * Context: may sleep. Return: 0, -ENOMEM.
 */
int qcow2_cache_init(struct qcow2_cache *c, const struct qcow2_file *file,
		     unsigned int slice_bits, u64 bytes);

/** qcow2_cache_destroy() - drop all slices. No user may be left. Context: may sleep. */
void qcow2_cache_destroy(struct qcow2_cache *c);

/**
 * qcow2_cache_find() - the entries of a slice, if it is here
 * @off: host offset of the slice, bytes, a multiple of the slice size.
 *
 * Context: any, under rcu_read_lock(); the answer is valid as long as that is held.
 * Return: the slice's bytes, or NULL.
 */
const void *qcow2_cache_find(struct qcow2_cache *c, u64 off);

/**
 * qcow2_cache_get() - a slice, read from the file where it is not here
 * @off: as above.
 *
 * Two tasks that want one absent slice read it once.
 * Context: may sleep, for file I/O and for another task's read of the same slice.
 * Return: a slice to give back with qcow2_cache_put(), or ERR_PTR: -EIO the file
 * cannot be read there, -ENODATA the slice lies past the end of the file.
 */
struct qcow2_slice *qcow2_cache_get(struct qcow2_cache *c, u64 off);

/** qcow2_cache_put() - give a slice back. Context: any. */
void qcow2_cache_put(struct qcow2_slice *s);

/** qcow2_slice_data() - the bytes of a slice that is held. */
const void *qcow2_slice_data(const struct qcow2_slice *s);

void qcow2_cache_exit(void);

#endif /* _QCOW2_CACHE_H */
