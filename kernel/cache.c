// SPDX-License-Identifier: GPL-2.0
/* Table slices in memory. See cache.h for the contract. */
#include <linux/hash.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/rculist.h>
#include <linux/refcount.h>
#include <linux/seqlock.h>
#include <linux/slab.h>

#include "cache.h"
#include "trace.h"

/* Steps of the clock's hand under the lock, for one slice. */
#define MAX_STEPS	64U

/* Fewer slices than this, and a walk through a chain evicts what it is about to use. */
#define MIN_SLICES	16U

enum slice_state {
	SLICE_LOADING,
	SLICE_READY,
	SLICE_FAILED,	/* and no longer in the hash */
};

/**
 * struct qcow2_slice - one slice
 * @node: in the hash. RCU.
 * @off: host offset, bytes. Constant.
 * @data: the table's bytes. Once SLICE_READY changed under the cache's lock only, an
 *	entry at a time.
 * @seq: of changes of entries that are two words.
 * @state: an enum slice_state, set with release by the task that reads the slice.
 * @error: why @state is SLICE_FAILED.
 * @referenced: the clock's bit; races are harmless.
 * @ordered: a change since the last freeze was. Under the cache's lock, as @sectors.
 * @sectors: bit n: the nth sector has changed since the last freeze.
 * @refs: one of the hash, one of each holder, one while @sectors is not 0.
 * @clock: in the cache's list, under its lock.
 * @dirty: likewise, while @sectors is not 0.
 * @rcu: frees it.
 */
struct qcow2_slice {
	struct hlist_node node;
	u64 off;
	void *data;
	seqcount_spinlock_t seq;
	int state;
	bool referenced;
	bool ordered;
	u8 sectors;
	int error;
	refcount_t refs;
	struct list_head clock;
	struct list_head dirty;
	struct rcu_head rcu;
};

/* Slices that bytes are room for. */
static unsigned int slices_in(const struct qcow2_cache *c, u64 bytes)
{
	return clamp_t(u64, bytes >> c->slice_bits, MIN_SLICES, INT_MAX);
}

/* Buckets for so many slices, empty, or NULL. */
static struct hlist_head *alloc_hash(unsigned int max, unsigned int *bits)
{
	struct hlist_head *hash;
	unsigned int i;

	*bits = clamp(order_base_2(max), 4, 20);
	hash = kvmalloc_array(1U << *bits, sizeof(*hash), GFP_KERNEL);
	for (i = 0; hash && i < 1U << *bits; i++)
		INIT_HLIST_HEAD(&hash[i]);
	return hash;
}

int qcow2_cache_init(struct qcow2_cache *c, const struct qcow2_file *file,
		     unsigned int slice_bits, u64 bytes)
{
	memset(c, 0, sizeof(*c));
	c->file = file;
	c->slice_bits = slice_bits;
	c->max = slices_in(c, bytes);
	c->percpu = alloc_percpu(struct qcow2_cache_counters);
	c->hash = c->percpu ? alloc_hash(c->max, &c->hash_bits) : NULL;
	if (!c->hash) {
		free_percpu(c->percpu);
		return -ENOMEM;
	}
	spin_lock_init(&c->lock);
	INIT_LIST_HEAD(&c->clock);
	INIT_LIST_HEAD(&c->dirty);
	init_waitqueue_head(&c->loaded);
	return 0;
}

static struct hlist_head *bucket(struct qcow2_cache *c, u64 off)
{
	return &c->hash[hash_64(off >> c->slice_bits, c->hash_bits)];
}

static struct qcow2_slice *find(struct qcow2_cache *c, u64 off)
{
	struct qcow2_slice *s;

	hlist_for_each_entry_rcu(s, bucket(c, off), node, lockdep_is_held(&c->lock))
		if (s->off == off)
			return s;
	return NULL;
}

const struct qcow2_slice *qcow2_cache_find(struct qcow2_cache *c, u64 off)
{
	struct qcow2_slice *s = find(c, off);

	/* Pairs with the release in finish_load(): the data before the state. */
	if (!s || smp_load_acquire(&s->state) != SLICE_READY)
		return NULL;
	if (!READ_ONCE(s->referenced))
		WRITE_ONCE(s->referenced, true);
	this_cpu_inc(c->percpu->hits);
	return s;
}

bool qcow2_cache_peek(struct qcow2_cache *c, u64 off, __be64 *word)
{
	u32 at = off & ((1U << c->slice_bits) - 1);
	const struct qcow2_slice *s;

	/* Short enough to be done without a function call for each of these. */
	rcu_read_lock_sched();
	s = qcow2_cache_find(c, off - at);
	if (s)
		*word = READ_ONCE(*(const __be64 *)(s->data + at));
	rcu_read_unlock_sched();
	return s;
}

const void *qcow2_slice_data(const struct qcow2_slice *s)
{
	return s->data;
}

void qcow2_slice_read_pair(const struct qcow2_slice *s, u32 at, __be64 pair[2])
{
	const __be64 *words = s->data + at * sizeof(*words);
	unsigned int seq;

	do {
		seq = read_seqcount_begin(&s->seq);
		pair[0] = READ_ONCE(words[0]);
		pair[1] = READ_ONCE(words[1]);
	} while (read_seqcount_retry(&s->seq, seq));
}

void qcow2_slice_write_pair(struct qcow2_slice *s, u32 at, const __be64 pair[2])
{
	__be64 *words = s->data + at * sizeof(*words);

	write_seqcount_begin(&s->seq);
	WRITE_ONCE(words[0], pair[0]);
	WRITE_ONCE(words[1], pair[1]);
	write_seqcount_end(&s->seq);
}

static void free_slice(struct rcu_head *rcu)
{
	struct qcow2_slice *s = container_of(rcu, struct qcow2_slice, rcu);

	kfree(s->data);
	kfree(s);
}

void qcow2_cache_put(struct qcow2_slice *s)
{
	if (refcount_dec_and_test(&s->refs))
		call_rcu(&s->rcu, free_slice);
}

static void unhash(struct qcow2_cache *c, struct qcow2_slice *s)
{
	lockdep_assert_held(&c->lock);
	hlist_del_rcu(&s->node);
	list_del(&s->clock);
	c->nr--;
	qcow2_cache_put(s);
}

/*
 * Drop a slice if there is no room for one more. Those that are held stay: a
 * slice being read, or just found by a worker. In the second half of the steps it
 * is the first that is not held, referenced or not.
 */
static void make_room(struct qcow2_cache *c)
{
	unsigned int step;
	struct qcow2_slice *s;

	lockdep_assert_held(&c->lock);
	for (step = 0; c->nr >= c->max && step < MAX_STEPS; step++) {
		s = list_first_entry(&c->clock, struct qcow2_slice, clock);
		if (refcount_read(&s->refs) > 1 ||
		    (READ_ONCE(s->referenced) && step < MAX_STEPS / 2)) {
			WRITE_ONCE(s->referenced, false);
			list_move_tail(&s->clock, &c->clock);
		} else {
			unhash(c, s);
			c->evictions++;
		}
	}
}

/*
 * Memory for a slice. The allocations are small, and reads make progress without
 * any device of ours, so the allocator's own reserves and retries are relied on.
 */
static struct qcow2_slice *alloc_slice(struct qcow2_cache *c, u64 off)
{
	struct qcow2_slice *s = kzalloc(sizeof(*s), GFP_NOIO | __GFP_NOFAIL);

	s->data = kmalloc(1U << c->slice_bits, GFP_NOIO | __GFP_NOFAIL);
	s->off = off;
	seqcount_spinlock_init(&s->seq, &c->lock);
	refcount_set(&s->refs, 2);
	return s;
}

static int read_slice(struct qcow2_cache *c, struct qcow2_slice *s)
{
	size_t len = 1U << c->slice_bits;
	u64 began = ktime_get_ns();
	ssize_t ret = qcow2_file_read(c->file, s->data, s->off, len);

	this_cpu_add(c->percpu->nsec, ktime_get_ns() - began);
	if (ret < 0)
		return -EIO;
	return ret == len ? 0 : -ENODATA;
}

static void finish_load(struct qcow2_cache *c, struct qcow2_slice *s, int err)
{
	unsigned long flags;

	if (err) {
		s->error = err;
		spin_lock_irqsave(&c->lock, flags);
		unhash(c, s);
		spin_unlock_irqrestore(&c->lock, flags);
	}
	/* Pairs with the acquires: data and error before the state. */
	smp_store_release(&s->state, err ? SLICE_FAILED : SLICE_READY);
	wake_up_all(&c->loaded);
}

static void add_slice(struct qcow2_cache *c, struct qcow2_slice *s)
{
	make_room(c);
	hlist_add_head_rcu(&s->node, bucket(c, s->off));
	list_add_tail(&s->clock, &c->clock);
	c->nr++;
}

/* The slice, held; @mine tells that the caller must read it. */
static struct qcow2_slice *find_or_add(struct qcow2_cache *c, u64 off, bool *mine)
{
	struct qcow2_slice *s, *new = NULL;
	unsigned long flags;

	for (;;) {
		spin_lock_irqsave(&c->lock, flags);
		s = find(c, off);
		if (s || new)
			break;
		spin_unlock_irqrestore(&c->lock, flags);
		new = alloc_slice(c, off);
	}
	*mine = !s;
	if (s) {
		refcount_inc(&s->refs);
		this_cpu_inc(c->percpu->hits);
	} else {
		s = new;
		new = NULL;
		add_slice(c, s);
		c->misses++;
	}
	spin_unlock_irqrestore(&c->lock, flags);
	if (new)
		free_slice(&new->rcu);
	return s;
}

struct qcow2_slice *qcow2_cache_get(struct qcow2_cache *c, u64 off)
{
	struct qcow2_slice *s;
	bool mine;
	int err;

	s = find_or_add(c, off, &mine);
	if (mine) {
		err = read_slice(c, s);
		trace_qcow2_slice_miss(qcow2_file_inode(c->file)->i_ino, off, err);
		finish_load(c, s, err);
	} else {
		/* Pairs with the release in finish_load(). */
		wait_event(c->loaded, smp_load_acquire(&s->state) != SLICE_LOADING);
	}
	err = s->error;
	if (err) {
		qcow2_cache_put(s);
		return ERR_PTR(err);
	}
	WRITE_ONCE(s->referenced, true);
	return s;
}

void qcow2_cache_forget(struct qcow2_cache *c, u64 off, u32 len)
{
	u64 end = off + len;
	struct qcow2_slice *s;
	unsigned long flags;

	for (; off < end; off += 1U << c->slice_bits) {
		spin_lock_irqsave(&c->lock, flags);
		s = find(c, off);
		if (s)
			unhash(c, s);
		spin_unlock_irqrestore(&c->lock, flags);
	}
}

void *qcow2_slice_change(struct qcow2_cache *c, struct qcow2_slice *s, u32 at, u32 len,
			 bool ordered)
{
	u32 first = at >> SECTOR_SHIFT, last = (at + len - 1) >> SECTOR_SHIFT;

	lockdep_assert_held(&c->lock);
	if (!s->sectors) {
		refcount_inc(&s->refs);
		list_add_tail(&s->dirty, &c->dirty);
		c->nr_dirty++;
	}
	s->sectors |= GENMASK(last, first);
	s->ordered |= ordered;
	return s->data + at;
}

bool qcow2_cache_freeze(struct qcow2_cache *c, struct qcow2_frozen *fr, void *copy)
{
	struct qcow2_slice *s;
	unsigned long flags;

	spin_lock_irqsave(&c->lock, flags);
	s = list_first_entry_or_null(&c->dirty, struct qcow2_slice, dirty);
	if (s) {
		*fr = (struct qcow2_frozen) {
			.slice = s, .off = s->off, .sectors = s->sectors, .ordered = s->ordered,
		};
		memcpy(copy, s->data, 1U << c->slice_bits);
		/* The reference of being dirty goes to the frozen copy. */
		list_del(&s->dirty);
		c->nr_dirty--;
		s->sectors = 0;
		s->ordered = false;
	}
	spin_unlock_irqrestore(&c->lock, flags);
	return s;
}

unsigned int qcow2_cache_nr_dirty(struct qcow2_cache *c)
{
	unsigned long flags;
	unsigned int nr;

	/* The lock orders this after the changes of whoever asks us to look. */
	spin_lock_irqsave(&c->lock, flags);
	nr = c->nr_dirty;
	spin_unlock_irqrestore(&c->lock, flags);
	return nr;
}

void qcow2_cache_unfreeze(struct qcow2_cache *c, struct qcow2_frozen *fr)
{
	unsigned long sectors = fr->sectors;
	unsigned long flags;
	u32 first = __ffs(sectors), last = __fls(sectors);

	spin_lock_irqsave(&c->lock, flags);
	qcow2_slice_change(c, fr->slice, first * SECTOR_SIZE, (last + 1 - first) * SECTOR_SIZE,
			   fr->ordered);
	spin_unlock_irqrestore(&c->lock, flags);
	qcow2_cache_put(fr->slice);
}

void qcow2_cache_clear(struct qcow2_cache *c)
{
	struct qcow2_slice *s;
	unsigned long flags;
	bool any;

	do {
		spin_lock_irqsave(&c->lock, flags);
		s = list_first_entry_or_null(&c->clock, struct qcow2_slice, clock);
		any = s;
		if (s)
			unhash(c, s);
		spin_unlock_irqrestore(&c->lock, flags);
		cond_resched();
	} while (any);
}

/* Drop what there is no room for, but for what somebody holds. Looks at each slice once. */
static void trim(struct qcow2_cache *c)
{
	unsigned int left = READ_ONCE(c->nr), n;
	struct qcow2_slice *s;
	unsigned long flags;

	while (left) {
		spin_lock_irqsave(&c->lock, flags);
		if (c->nr <= c->max)
			left = 0;
		for (n = min(left, MAX_STEPS); n && c->nr > c->max; n--, left--) {
			s = list_first_entry(&c->clock, struct qcow2_slice, clock);
			if (refcount_read(&s->refs) > 1)
				list_move_tail(&s->clock, &c->clock);
			else
				unhash(c, s);
		}
		spin_unlock_irqrestore(&c->lock, flags);
		cond_resched();
	}
}

int qcow2_cache_set_room(struct qcow2_cache *c, u64 bytes)
{
	unsigned int max = slices_in(c, bytes), bits;
	struct hlist_head *hash = alloc_hash(max, &bits);
	struct qcow2_slice *s;

	if (!hash)
		return -ENOMEM;
	swap(c->hash, hash);
	c->hash_bits = bits;
	c->max = max;
	trim(c);
	/* No lock: they may be many, and nobody adds, looks for or drops any. */
	list_for_each_entry(s, &c->clock, clock) {
		hlist_add_head_rcu(&s->node, bucket(c, s->off));
		cond_resched();
	}
	kvfree(hash);
	return 0;
}

void qcow2_cache_get_stats(const struct qcow2_cache *c, struct qcow2_cache_stats *stats)
{
	const struct qcow2_cache_counters *counters;
	int cpu;

	*stats = (struct qcow2_cache_stats) {
		.misses = READ_ONCE(c->misses),
		.evictions = READ_ONCE(c->evictions),
		.bytes = (u64)READ_ONCE(c->nr) << c->slice_bits,
	};
	for_each_possible_cpu(cpu) {
		counters = per_cpu_ptr(c->percpu, cpu);
		stats->hits += counters->hits;
		stats->nsec += counters->nsec;
	}
}

void qcow2_cache_destroy(struct qcow2_cache *c)
{
	struct qcow2_slice *s, *next;

	if (!c->hash)
		return;
	/* What is still dirty could not be written: said and done with. */
	list_for_each_entry_safe(s, next, &c->dirty, dirty) {
		list_del(&s->dirty);
		s->sectors = 0;
		qcow2_cache_put(s);
	}
	qcow2_cache_clear(c);
	free_percpu(c->percpu);
	kvfree(c->hash);
	c->hash = NULL;
}

/* Slices are freed by RCU callbacks, whose code is the module's. */
void qcow2_cache_exit(void)
{
	rcu_barrier();
}
