// SPDX-License-Identifier: GPL-2.0
/* Buffers for copies. See copy.h for the contract. */
#include <linux/bio.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "copy.h"

/* Buffers of a device together. */
#define MAX_BYTES	(16U << 20)
#define MAX_COPIES	128U

/* What is copied as a whole is copied in pieces of a cluster, or of this. */
#define WHOLE_BYTES	(128U << 10)

/**
 * struct qcow2_copies - the buffers of a device
 * @head: bytes of a buffer's head, and, but for @whole, of its tail.
 * @whole: there is no tail.
 * @nr_vecs: a buffer's.
 * @max: buffers.
 * @lock: protects all below. Taken by completions of I/O, with interrupts off. Innermost.
 * @free: buffers nobody uses.
 * @nr: buffers that exist.
 * @waiting: requests.
 */
struct qcow2_copies {
	u32 head;
	bool whole;
	u32 nr_vecs;
	u32 max;
	spinlock_t lock;	/* see above */
	struct list_head free;
	u32 nr;
	struct list_head waiting;
};

static void free_copy(struct qcow2_copy *copy)
{
	if (!copy)
		return;
	vfree(copy->head);
	kvfree(copy);
}

static u32 bytes_each(const struct qcow2_copies *c)
{
	return c->whole ? c->head : 2 * c->head;
}

static struct qcow2_copy *alloc_copy(const struct qcow2_copies *c, gfp_t gfp)
{
	struct qcow2_copy *copy = kvmalloc(struct_size(copy, vecs, c->nr_vecs), gfp);

	if (!copy)
		return NULL;
	copy->head = __vmalloc(bytes_each(c), gfp);
	if (!copy->head) {
		kvfree(copy);
		return NULL;
	}
	copy->tail = c->whole ? NULL : copy->head + c->head;
	copy->nr_vecs = 0;
	return copy;
}

struct qcow2_copies *qcow2_copies_create(u32 cluster_size, bool whole)
{
	struct qcow2_copies *c;
	struct qcow2_copy *copy;

	if (!cluster_size)
		return NULL;
	c = kzalloc(sizeof(*c), GFP_KERNEL);
	if (!c)
		return ERR_PTR(-ENOMEM);
	c->whole = whole;
	c->head = round_up(whole ? max(cluster_size, WHOLE_BYTES) : cluster_size, PAGE_SIZE);
	/* Head and tail, and what a request can have: see qcow2_compat_alloc_disk(). */
	c->nr_vecs = bytes_each(c) / PAGE_SIZE + (whole ? 0 : BIO_MAX_VECS + 1);
	c->max = clamp(MAX_BYTES / bytes_each(c), 1U, MAX_COPIES);
	spin_lock_init(&c->lock);
	INIT_LIST_HEAD(&c->free);
	INIT_LIST_HEAD(&c->waiting);
	copy = alloc_copy(c, GFP_KERNEL);
	if (!copy) {
		kfree(c);
		return ERR_PTR(-ENOMEM);
	}
	list_add(&copy->list, &c->free);
	c->nr = 1;
	return c;
}

void qcow2_copies_destroy(struct qcow2_copies *c)
{
	struct qcow2_copy *copy, *next;

	if (!c)
		return;
	list_for_each_entry_safe(copy, next, &c->free, list)
		free_copy(copy);
	kfree(c);
}

u32 qcow2_copies_room(const struct qcow2_copies *c)
{
	return c->head;
}

static struct qcow2_copy *take_free(struct qcow2_copies *c)
{
	struct qcow2_copy *copy = list_first_entry_or_null(&c->free, struct qcow2_copy, list);

	lockdep_assert_held(&c->lock);
	if (copy)
		list_del(&copy->list);
	return copy;
}

struct qcow2_copy *qcow2_copy_get(struct qcow2_copies *c, struct qcow2_request *req)
{
	struct qcow2_copy *copy;
	bool add = false;

	spin_lock_irq(&c->lock);
	copy = take_free(c);
	if (!copy && c->nr < c->max) {
		c->nr++;
		add = true;
	}
	spin_unlock_irq(&c->lock);
	if (add)
		copy = alloc_copy(c, GFP_NOIO | __GFP_NORETRY | __GFP_NOWARN);
	if (copy)
		return copy;

	spin_lock_irq(&c->lock);
	c->nr -= add;
	copy = take_free(c);
	if (!copy)
		list_add_tail(&req->wait.copy.list, &c->waiting);
	spin_unlock_irq(&c->lock);
	return copy;
}

void qcow2_copy_put(struct qcow2_copies *c, struct qcow2_copy *copy)
{
	struct qcow2_request *req, *next;
	unsigned long flags;
	LIST_HEAD(waiting);

	copy->nr_vecs = 0;
	spin_lock_irqsave(&c->lock, flags);
	list_add(&copy->list, &c->free);
	list_splice_init(&c->waiting, &waiting);
	spin_unlock_irqrestore(&c->lock, flags);
	/* All: the first one may find that it needs no buffer any longer. */
	list_for_each_entry_safe(req, next, &waiting, wait.copy.list)
		queue_work(req->target->wq, &req->work);
}

void qcow2_copy_add(struct qcow2_copy *copy, void *bytes, u32 len)
{
	u32 n;

	for (; len; bytes += n, len -= n) {
		n = min_t(u32, len, PAGE_SIZE - offset_in_page(bytes));
		copy->vecs[copy->nr_vecs++] = (struct bio_vec) {
			.bv_page = vmalloc_to_page(bytes),
			.bv_offset = offset_in_page(bytes),
			.bv_len = n,
		};
	}
}

void qcow2_copy_add_guest(struct qcow2_copy *copy, const struct qcow2_part *p)
{
	struct bvec_iter it;
	struct bio_vec bv;

	__bio_for_each_bvec(bv, p->bio, it, p->iter)
		copy->vecs[copy->nr_vecs++] = bv;
}
