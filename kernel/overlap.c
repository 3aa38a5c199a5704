// SPDX-License-Identifier: GPL-2.0
/* Overlap protection. See overlap.h for the contract. */
#include <linux/hash.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "overlap.h"

#define MIN_BITS	6U
#define REMOVED		(~0ULL)

/*
 * What attach adds at most. The largest L1 table has 4 Mi entries, the largest refcount table
 * 1 Mi; and a small snapshot takes a cluster or a few, of which there may be 64 Ki. Of more than
 * that most does not exist, for a file with holes may claim any number. This is 256 MiB of memory.
 */
#define MAX_FILLED	(16ULL << 20)

/**
 * struct qcow2_overlap_set - a hash set with open addressing
 * @rcu: frees it.
 * @bits: log2 of the slots.
 * @used: slots that are not empty; at most half of them.
 * @live: those of them that hold a cluster.
 * @slots: a cluster's number plus one, 0 for none, or REMOVED.
 */
struct qcow2_overlap_set {
	struct rcu_head rcu;
	unsigned int bits;
	u64 used;
	u64 live;
	u64 slots[];
};

static struct qcow2_overlap_set *alloc_set(unsigned int bits, gfp_t gfp)
{
	struct qcow2_overlap_set *set = kvzalloc(struct_size(set, slots, 1UL << bits), gfp);

	if (set)
		set->bits = bits;
	return set;
}

/* The slot that holds @value, or the empty one where it belongs. */
static u64 *find_slot(struct qcow2_overlap_set *set, u64 value)
{
	unsigned long mask = (1UL << set->bits) - 1, i = hash_64(value, set->bits);
	u64 found;

	for (;; i = (i + 1) & mask) {
		found = READ_ONCE(set->slots[i]);
		if (found == value || !found)
			return &set->slots[i];
	}
}

/* Return: false: it was there. */
static bool insert(struct qcow2_overlap_set *set, u64 value)
{
	u64 *slot = find_slot(set, value);

	if (*slot)
		return false;
	WRITE_ONCE(*slot, value);
	set->used++;
	set->live++;
	return true;
}

static struct qcow2_overlap_set *locked_set(struct qcow2_overlap *o)
{
	return rcu_dereference_protected(o->set, lockdep_is_held(&o->lock));
}

/* Room for one more. Those that were removed do not come along, which may be enough. */
static int grow(struct qcow2_overlap *o)
{
	struct qcow2_overlap_set *set = locked_set(o), *fresh;
	unsigned int bits = set->bits;
	unsigned long i;

	if (set->used < 1UL << (bits - 1))
		return 0;
	/* A quarter of the slots is free to be used then, before this comes again. */
	if (set->live >= 1UL << (bits - 2))
		bits++;
	fresh = alloc_set(bits, GFP_NOIO | __GFP_NOWARN);
	/* Go on with a fuller one while that is possible. */
	if (!fresh)
		return set->used < (1UL << set->bits) / 8 * 7 ? 0 : -ENOMEM;
	for (i = 0; i < 1UL << set->bits; i++)
		if (set->slots[i] && set->slots[i] != REMOVED)
			insert(fresh, set->slots[i]);
	rcu_assign_pointer(o->set, fresh);
	kvfree_rcu(set, rcu);
	return 0;
}

int qcow2_overlap_init(struct qcow2_overlap *o, unsigned int cluster_bits)
{
	struct qcow2_overlap_set *set = alloc_set(MIN_BITS, GFP_KERNEL);

	o->filling = true;
	o->cluster_bits = cluster_bits;
	mutex_init(&o->lock);
	RCU_INIT_POINTER(o->set, set);
	return set ? 0 : -ENOMEM;
}

void qcow2_overlap_filled(struct qcow2_overlap *o)
{
	mutex_lock(&o->lock);
	o->filling = false;
	mutex_unlock(&o->lock);
}

void qcow2_overlap_exit(struct qcow2_overlap *o)
{
	kvfree(rcu_dereference_protected(o->set, true));
	RCU_INIT_POINTER(o->set, NULL);
}

static int add(struct qcow2_overlap *o, u64 cluster)
{
	int err = grow(o);

	if (o->filling && fatal_signal_pending(current))
		return -EINTR;
	if (o->filling && locked_set(o)->live == MAX_FILLED)
		return -E2BIG;
	/* Without memory this one goes unprotected; that is no reason to fail a write. */
	if (err)
		return o->filling ? err : 0;
	return insert(locked_set(o), cluster + 1) ? 0 : -EEXIST;
}

int qcow2_overlap_add(struct qcow2_overlap *o, u64 off, u64 len)
{
	u64 cluster = off >> o->cluster_bits, end = (off + len - 1) >> o->cluster_bits;
	int err = 0;

	mutex_lock(&o->lock);
	for (; len && cluster <= end && !err; cluster++) {
		err = add(o, cluster);
		cond_resched();
	}
	mutex_unlock(&o->lock);
	return err;
}

void qcow2_overlap_remove(struct qcow2_overlap *o, u64 off, u64 len)
{
	u64 cluster = off >> o->cluster_bits, end = (off + len - 1) >> o->cluster_bits;
	u64 *slot;

	mutex_lock(&o->lock);
	for (; len && cluster <= end; cluster++) {
		slot = find_slot(locked_set(o), cluster + 1);
		if (*slot) {
			WRITE_ONCE(*slot, REMOVED);
			locked_set(o)->live--;
		}
	}
	mutex_unlock(&o->lock);
}

bool qcow2_overlap_hit(struct qcow2_overlap *o, u64 off, u64 len)
{
	u64 cluster = off >> o->cluster_bits, end = (off + len - 1) >> o->cluster_bits;
	bool hit = false;

	rcu_read_lock();
	/* An empty slot may be taken by another cluster the moment that we look away. */
	for (; cluster <= end && !hit; cluster++)
		hit = READ_ONCE(*find_slot(rcu_dereference(o->set), cluster + 1)) == cluster + 1;
	rcu_read_unlock();
	return hit;
}
