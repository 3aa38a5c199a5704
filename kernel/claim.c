// SPDX-License-Identifier: GPL-2.0
/* Claims of guest subclusters. See claim.h for the contract. */
#include <linux/bug.h>

#include "claim.h"

void qcow2_claims_init(struct qcow2_claims *claims)
{
	spin_lock_init(&claims->lock);
	claims->tree = RB_ROOT;
	claims->fence = NULL;
}

static bool overlaps(const struct qcow2_claim *c, u64 first, u64 last)
{
	return c && first <= c->last && last >= c->first;
}

/* The claim that overlaps, or NULL and the place for a new one. */
static struct qcow2_claim *find(struct qcow2_claims *claims, u64 first, u64 last,
				struct rb_node **parent, struct rb_node ***link)
{
	struct rb_node **at = &claims->tree.rb_node;
	struct qcow2_claim *c;

	*parent = NULL;
	while (*at) {
		c = rb_entry(*at, struct qcow2_claim, node);
		*parent = *at;
		if (last < c->first)
			at = &(*at)->rb_left;
		else if (first > c->last)
			at = &(*at)->rb_right;
		else
			return c;
	}
	*link = at;
	return NULL;
}

bool qcow2_claim(struct qcow2_claims *claims, struct qcow2_claim *c, u64 first, u64 last,
		 struct qcow2_claim_waiter *w)
{
	struct rb_node *parent, **link;
	struct qcow2_claim *other;
	unsigned long flags;

	c->first = first;
	c->last = last;
	INIT_LIST_HEAD(&c->waiting);
	spin_lock_irqsave(&claims->lock, flags);
	other = claims->fence;
	if (!overlaps(other, first, last))
		other = find(claims, first, last, &parent, &link);
	if (other) {
		list_add_tail(&w->list, &other->waiting);
	} else {
		rb_link_node(&c->node, parent, link);
		rb_insert_color(&c->node, &claims->tree);
	}
	spin_unlock_irqrestore(&claims->lock, flags);
	return !other;
}

/* Nobody finds it now, so nobody joins the list. */
static void resume_waiting(struct qcow2_claim *c)
{
	struct qcow2_claim_waiter *w, *next;

	list_for_each_entry_safe(w, next, &c->waiting, list)
		w->resume(w);
}

void qcow2_claim_release(struct qcow2_claims *claims, struct qcow2_claim *c)
{
	unsigned long flags;

	spin_lock_irqsave(&claims->lock, flags);
	rb_erase(&c->node, &claims->tree);
	spin_unlock_irqrestore(&claims->lock, flags);
	resume_waiting(c);
}

void qcow2_fence_begin(struct qcow2_claims *claims, struct qcow2_claim *c, u64 first, u64 last)
{
	unsigned long flags;

	c->first = first;
	c->last = last;
	INIT_LIST_HEAD(&c->waiting);
	spin_lock_irqsave(&claims->lock, flags);
	WARN_ON_ONCE(claims->fence);
	WRITE_ONCE(claims->fence, c);
	spin_unlock_irqrestore(&claims->lock, flags);
}

bool qcow2_fence_wait(struct qcow2_claims *claims, struct qcow2_claim_waiter *w)
{
	struct rb_node *parent, **link;
	struct qcow2_claim *other;
	unsigned long flags;

	spin_lock_irqsave(&claims->lock, flags);
	other = find(claims, claims->fence->first, claims->fence->last, &parent, &link);
	if (other)
		list_add_tail(&w->list, &other->waiting);
	spin_unlock_irqrestore(&claims->lock, flags);
	return !other;
}

bool qcow2_fence_pass(struct qcow2_claims *claims, u64 first, u64 last,
		      struct qcow2_claim_waiter *w)
{
	unsigned long flags;
	bool pass;

	/* Pairs with that in qcow2_fence_end(). One that comes now waits for our generation. */
	if (!smp_load_acquire(&claims->fence))
		return true;
	spin_lock_irqsave(&claims->lock, flags);
	pass = !overlaps(claims->fence, first, last);
	if (!pass)
		list_add_tail(&w->list, &claims->fence->waiting);
	spin_unlock_irqrestore(&claims->lock, flags);
	return pass;
}

void qcow2_fence_end(struct qcow2_claims *claims)
{
	struct qcow2_claim *c = claims->fence;
	unsigned long flags;

	spin_lock_irqsave(&claims->lock, flags);
	/* Who sees that it is gone sees what was changed behind it. */
	smp_store_release(&claims->fence, NULL);
	spin_unlock_irqrestore(&claims->lock, flags);
	resume_waiting(c);
}
