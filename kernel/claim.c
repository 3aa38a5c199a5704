// SPDX-License-Identifier: GPL-2.0
/* Claims of guest subclusters. See claim.h for the contract. */
#include "claim.h"

void qcow2_claims_init(struct qcow2_claims *claims)
{
	spin_lock_init(&claims->lock);
	claims->tree = RB_ROOT;
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

void qcow2_claim_release(struct qcow2_claims *claims, struct qcow2_claim *c)
{
	struct qcow2_claim_waiter *w, *next;
	unsigned long flags;

	spin_lock_irqsave(&claims->lock, flags);
	rb_erase(&c->node, &claims->tree);
	spin_unlock_irqrestore(&claims->lock, flags);
	/* Nobody finds it now, so nobody joins the list. */
	list_for_each_entry_safe(w, next, &c->waiting, list)
		w->resume(w);
}
