/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Claims: who changes the mapping of a guest subcluster has it alone.
 *
 * A write that must allocate or copy, a discard, a write of zeros: each claims its guest
 * clusters, with all of their subclusters, before it looks at their entries, and keeps them
 * until the new entries are published. A write to subclusters that have a host cluster and
 * are not allocated claims these only: others may be written at the same time, and
 * the cluster stays. Reads, and writes in place, claim nothing. Who finds something claimed is
 * parked, and looks again from the start when it is released; nobody waits while
 * holding a claim for anything but the I/O of its own.
 *
 * A fence is a claim that writes in place mind, too: merge.h.
 */
#ifndef _QCOW2_CLAIM_H
#define _QCOW2_CLAIM_H

#include <linux/list.h>
#include <linux/rbtree.h>
#include <linux/spinlock.h>
#include <linux/types.h>

/**
 * struct qcow2_claims - the claims of one image
 * @lock: protects the tree and the claims' lists. Taken by completions of I/O, with
 *	interrupts off. Innermost.
 * @tree: struct qcow2_claim, by guest subcluster; they do not overlap.
 * @fence: no new claim may overlap it, and writes in place mind it, too; or NULL.
 */
struct qcow2_claims {
	spinlock_t lock;	/* see above */
	struct rb_root tree;
	struct qcow2_claim *fence;
};

/**
 * struct qcow2_claim - a range of guest subclusters that is claimed
 * @node: in the tree.
 * @first, @last: the subclusters.
 * @waiting: struct qcow2_claim_waiter.
 */
struct qcow2_claim {
	struct rb_node node;
	u64 first;
	u64 last;
	struct list_head waiting;
};

/**
 * struct qcow2_claim_waiter - who waits for a claim to be released
 * @list: in the claim's.
 * @resume: called once, from any context.
 */
struct qcow2_claim_waiter {
	struct list_head list;
	void (*resume)(struct qcow2_claim_waiter *w);
};

void qcow2_claims_init(struct qcow2_claims *claims);

/**
 * qcow2_claim() - claim guest subclusters, or wait
 * @c: filled in and inserted where nobody has one of them.
 * @w: will be resumed else, possibly before this returns.
 * Context: any. Return: true if they are claimed.
 */
bool qcow2_claim(struct qcow2_claims *claims, struct qcow2_claim *c, u64 first, u64 last,
		 struct qcow2_claim_waiter *w);

/** qcow2_claim_release() - give them free, resume those who wait. Context: any. */
void qcow2_claim_release(struct qcow2_claims *claims, struct qcow2_claim *c);

/**
 * qcow2_fence_begin() - let nobody begin to change guest subclusters
 * @c: filled in. There is one fence at a time.
 *
 * Who has claimed some of them before goes on: see qcow2_fence_wait(). Who writes in place
 * asks qcow2_fence_pass() in his generation, and only then looks where to; those who did so
 * before end with the next generation. Who finds that there is no fence any more finds what was
 * changed behind it, too. Context: any.
 */
void qcow2_fence_begin(struct qcow2_claims *claims, struct qcow2_claim *c, u64 first, u64 last);

/**
 * qcow2_fence_wait() - has everybody who had claimed something in the fence gone?
 * @w: will be resumed else, possibly before this returns; ask again then.
 * Context: any. Return: true if so.
 */
bool qcow2_fence_wait(struct qcow2_claims *claims, struct qcow2_claim_waiter *w);

/**
 * qcow2_fence_pass() - may these guest subclusters be written in place?
 * @w: will be resumed else, possibly before this returns. Context: any. Return: true if so.
 */
bool qcow2_fence_pass(struct qcow2_claims *claims, u64 first, u64 last,
		      struct qcow2_claim_waiter *w);

/** qcow2_fence_is_up() - must who writes in place ask? As qcow2_fence_pass(). Context: any. */
static inline bool qcow2_fence_is_up(const struct qcow2_claims *claims)
{
	/* Pairs with that in qcow2_fence_end(). */
	return smp_load_acquire(&claims->fence);
}

/** qcow2_fence_end() - everybody may go on. Context: any. */
void qcow2_fence_end(struct qcow2_claims *claims);

#endif /* _QCOW2_CLAIM_H */
