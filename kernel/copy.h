/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Buffers for what is written together with guest bytes, or instead of them: the rest
 * of a cluster that is copied, zeros.
 *
 * Where the image is encrypted all that is written goes through them: the guest's memory is not
 * ours to encrypt.
 *
 * One is made at attach, so that writes make progress whatever memory there is; others
 * come when first needed, up to a bound. Who gets none is parked.
 */
#ifndef _QCOW2_COPY_H
#define _QCOW2_COPY_H

#include "io.h"

/**
 * struct qcow2_copy - one buffer
 * @list: in the pool.
 * @head: vmalloc memory, a cluster: bytes before the guest's. Or, where all bytes are copied,
 *	qcow2_copies_room() for all of them.
 * @tail: a cluster: bytes behind the guest's. Or NULL.
 * @nr_vecs: used of @vecs.
 * @vecs: all that is written, in order.
 */
struct qcow2_copy {
	struct list_head list;
	void *head;
	void *tail;
	u32 nr_vecs;
	struct bio_vec vecs[];
};

/**
 * qcow2_copies_create() - buffers for a device that is written
 * @cluster_size: of its top layer, bytes; 0: raw, which needs none.
 * @whole: all bytes of a part are copied, not only those around the guest's.
 * Context: may sleep. Return: NULL for none, or ERR_PTR(-ENOMEM).
 */
struct qcow2_copies *qcow2_copies_create(u32 cluster_size, bool whole);

/** qcow2_copies_room() - where all bytes are copied: how many at most. At least a cluster. */
u32 qcow2_copies_room(const struct qcow2_copies *c);

/** qcow2_copies_destroy() - no request may be left; NULL is fine. Context: may sleep. */
void qcow2_copies_destroy(struct qcow2_copies *c);

/**
 * qcow2_copy_get() - a buffer, or wait for one
 * @req: is resumed, by queueing its work, when one was given back.
 * Context: a worker. Return: NULL: @req is parked.
 */
struct qcow2_copy *qcow2_copy_get(struct qcow2_copies *c, struct qcow2_request *req);

/** qcow2_copy_put() - give it back. Context: any. */
void qcow2_copy_put(struct qcow2_copies *c, struct qcow2_copy *copy);

/** qcow2_copy_add() - @len bytes of @head or @tail are next. */
void qcow2_copy_add(struct qcow2_copy *copy, void *bytes, u32 len);

/** qcow2_copy_add_guest() - the part's guest memory is next. */
void qcow2_copy_add_guest(struct qcow2_copy *copy, const struct qcow2_part *p);

#endif /* _QCOW2_COPY_H */
