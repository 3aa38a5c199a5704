/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Table slices of one image file, kept in memory.
 *
 * A slice is min(4 KiB, cluster size) bytes of an L2 table or a refcount block, named
 * by its host offset. Readers find slices without a lock, under RCU: a slice leaves
 * the hash table before it is dropped, and is freed a grace period later, so what a
 * reader has found stays readable and is no older than when the reader began.
 *
 * A change is made in memory and the sectors it touches are marked dirty, both under
 * the lock; commit.c freezes a slice, which copies its dirty sectors and marks them
 * clean in one step, and writes the copy. A slice that is dirty, or frozen and not yet
 * written, is held: dropped, it would be read again from a file that is behind.
 *
 * Room is bounded; the least recently used slice goes first, by a clock: a hit
 * sets a bit, the hand clears it.
 */
#ifndef _QCOW2_CACHE_H
#define _QCOW2_CACHE_H

#include <linux/list.h>
#include <linux/percpu.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/wait.h>

#include "file.h"

#define QCOW2_SLICE_MAX_BITS	12U
#define QCOW2_SLICE_MAX_SIZE	4096U

/**
 * struct qcow2_cache_counters - of one CPU
 * @hits: slices that were looked for and here.
 * @nsec: reading others.
 */
struct qcow2_cache_counters {
	u64 hits;
	u64 nsec;
};

/**
 * struct qcow2_cache - the slices of one file
 * @file: where they come from.
 * @slice_bits: log2 of a slice's bytes.
 * @max: slices to keep at most. Slices being read come on top, one a worker.
 * @hash_bits: log2 of the buckets.
 * @hash: changed under @lock, walked under RCU.
 * @lock: protects everything below, the slices' list entries, and changes of their
 *	bytes. Taken by completions of I/O, with interrupts off. Innermost.
 * @clock: all slices in the hash; the hand is the head of the list.
 * @nr: slices in @clock.
 * @dirty: slices with changes that are not frozen; the longest dirty one first.
 * @nr_dirty: in @dirty.
 * @loaded: woken when a slice has been read.
 * @misses, @evictions: of qcow2_cache_get().
 * @percpu: what is counted without the lock.
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
	struct list_head dirty;
	unsigned int nr_dirty;
	wait_queue_head_t loaded;
	u64 misses;
	u64 evictions;
	struct qcow2_cache_counters __percpu *percpu;
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
 * qcow2_cache_find() - a slice, if it is here
 * @off: host offset of the slice, bytes, a multiple of the slice size.
 *
 * Context: any, under rcu_read_lock(); the answer is valid as long as that is held.
 * Return: the slice, or NULL.
 */
const struct qcow2_slice *qcow2_cache_find(struct qcow2_cache *c, u64 off);

/**
 * qcow2_cache_peek() - a word of a slice, if that is here
 * @off: host offset of the word, bytes.  @word: (out)
 * Context: any. Return: false: it is not here.
 */
bool qcow2_cache_peek(struct qcow2_cache *c, u64 off, __be64 *word);

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

/**
 * qcow2_cache_forget() - drop slices of a table that is no more
 * @off: host offset of the table.  @len: bytes, whole slices.
 * Nobody may look for them meanwhile; none is dirty. Context: any.
 */
void qcow2_cache_forget(struct qcow2_cache *c, u64 off, u32 len);

/** qcow2_cache_clear() - drop all slices; none is dirty, none held. Context: process. */
void qcow2_cache_clear(struct qcow2_cache *c);

/**
 * qcow2_cache_set_room() - room for @bytes of slices, more or less than there was
 *
 * Slices stay; those that are too many now go, but for those that are dirty or held by who writes
 * them: these are dropped later, for others. Nobody may look for slices meanwhile.
 * Context: may sleep. Return: 0; -ENOMEM: it stays as it is.
 */
int qcow2_cache_set_room(struct qcow2_cache *c, u64 bytes);

/**
 * struct qcow2_cache_stats - what a cache has done
 * @hits: slices that were here.  @misses: that were read.  @evictions: dropped for others.
 * @nsec: reading them.
 * @bytes: of those that are here now.
 */
struct qcow2_cache_stats {
	u64 hits;
	u64 misses;
	u64 evictions;
	u64 nsec;
	u64 bytes;
};

/** qcow2_cache_get_stats() - of no single moment. Context: any. */
void qcow2_cache_get_stats(const struct qcow2_cache *c, struct qcow2_cache_stats *stats);

/** qcow2_cache_bytes() - that there is room for */
static inline u64 qcow2_cache_bytes(const struct qcow2_cache *c)
{
	return (u64)c->max << c->slice_bits;
}

/** qcow2_slice_data() - the bytes of a slice that is held or was found. */
const void *qcow2_slice_data(const struct qcow2_slice *s);

/**
 * qcow2_slice_read_pair() - two words that change together, as they were at one moment
 * @at: the first, an index of words.  @pair: (out) both.
 * Context: any; of a slice that is held or was found.
 */
void qcow2_slice_read_pair(const struct qcow2_slice *s, u32 at, __be64 pair[2]);

/**
 * qcow2_cache_change_begin() - before slices are changed
 * @flags: (out) for the end.
 * Return, by qcow2_slice_change(): where the bytes are. Context: any.
 */
#define qcow2_cache_change_begin(c, flags)	spin_lock_irqsave(&(c)->lock, flags)
#define qcow2_cache_change_end(c, flags)	spin_unlock_irqrestore(&(c)->lock, flags)

/**
 * qcow2_slice_change() - announce a change of a held slice, and get at its bytes
 * @at: first byte, within the slice.  @len: bytes.
 * @ordered: the change must not become durable before what was written earlier: see
 *	commit.h.
 * Context: any, between qcow2_cache_change_begin() and _end(), in which the change is
 * made, with one store for each entry: readers are not locked out.
 */
void *qcow2_slice_change(struct qcow2_cache *c, struct qcow2_slice *s, u32 at, u32 len,
			 bool ordered);

/**
 * qcow2_slice_write_pair() - change two words for those who read both
 * @at, @pair: see qcow2_slice_read_pair().
 * Context: as qcow2_slice_change(), after that.
 */
void qcow2_slice_write_pair(struct qcow2_slice *s, u32 at, const __be64 pair[2]);

/**
 * struct qcow2_frozen - the dirty sectors of a slice, copied
 * @slice: held until qcow2_cache_put().
 * @off: host offset of the slice, bytes.
 * @sectors: bit n: the nth sector is in the copy, at its place.
 * @ordered: one of the changes was.
 */
struct qcow2_frozen {
	struct qcow2_slice *slice;
	u64 off;
	u8 sectors;
	bool ordered;
};

/**
 * qcow2_cache_freeze() - take the longest dirty slice
 * @copy: (out) room for a slice's bytes.
 * Context: process. Return: false if none is dirty.
 */
bool qcow2_cache_freeze(struct qcow2_cache *c, struct qcow2_frozen *fr, void *copy);

/** qcow2_cache_nr_dirty() - slices that are dirty, at this moment. Context: process. */
unsigned int qcow2_cache_nr_dirty(struct qcow2_cache *c);

/** qcow2_cache_unfreeze() - it was not written: the slice is dirty as before. Context: process. */
void qcow2_cache_unfreeze(struct qcow2_cache *c, struct qcow2_frozen *fr);

void qcow2_cache_exit(void);

#endif /* _QCOW2_CACHE_H */
