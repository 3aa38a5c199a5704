// SPDX-License-Identifier: GPL-2.0
/* Writes to where the bytes are. See inplace.h for the contract. */
#include "copy.h"
#include "inplace.h"
#include "send.h"

/* Raw: the bytes are where they are. */
int qcow2_inplace_lookup(struct qcow2_request *req, u64 len, bool may_sleep,
			 struct qcow2_extent *ext)
{
	struct qcow2_layer *l = qcow2_request_top(req);
	struct qcow2_fault fault;
	int err;

	ext->layer = l;
	if (l->format == QCOW2BLK_FORMAT_RAW) {
		ext->type = QCOW2_CLUSTER_NORMAL;
		ext->host_off = req->off;
		ext->len = len;
		return 0;
	}
	err = qcow2_map_lookup(&l->map, req->off, len, may_sleep, true, ext, &fault);
	return err && may_sleep ? qcow2_lookup_failed(l, req->off, err, &fault) : err;
}

/* What a part writes, where. */
static int fill_in_place(struct qcow2_part *p, const struct qcow2_extent *ext)
{
	p->ext = *ext;
	p->off = p->req->off;
	p->bytes = ext->len;
	if (p->req->op == QCOW2_WRITE)
		qcow2_part_fill(p, ext);
	if (!p->copy)
		return 0;
	qcow2_send_copy_guest(p, p->copy->head, ext->len);
	return qcow2_send_finish_copy(p, p->off);
}

/* @gen is given up. */
int qcow2_inplace_write(struct qcow2_request *req, const struct qcow2_extent *ext, int gen)
{
	struct qcow2_layer *l = qcow2_request_top(req);
	struct qcow2_part *p = qcow2_send_part(req);
	int err;

	err = qcow2_send_check(l, req->off, ext->host_off, ext->len);
	if (!err && (req->op != QCOW2_WRITE || l->crypt)) {
		p->copy = qcow2_copy_get(req->target->copies, req);
		if (!p->copy)
			err = QCOW2_PARKED;
	}
	if (!err)
		err = fill_in_place(p, ext);
	if (err) {
		if (p->copy)
			qcow2_copy_put(req->target->copies, p->copy);
		qcow2_layer_leave(l, gen);
		qcow2_part_unget(p);
		return err;
	}
	p->gen = gen;
	qcow2_send(p);
	return 0;
}

/* Would a worker write the extent in place, as it is, and with nothing to complain about? */
static bool is_simple(struct qcow2_layer *l, const struct qcow2_extent *ext)
{
	return ext->type == QCOW2_CLUSTER_NORMAL &&
	       ext->host_off + ext->len <= qcow2_file_size(l->data) &&
	       !qcow2_send_is_metadata(l, ext->host_off, ext->len);
}

int qcow2_inplace_write_inline(struct qcow2_request *req)
{
	struct qcow2_layer *l = qcow2_request_top(req);
	struct qcow2_part *p = qcow2_part_get(req);
	struct qcow2_extent ext;

	if (!p)
		return -EAGAIN;
	p->allocates = false;
	p->copy = NULL;
	p->gen = qcow2_layer_enter(l);
	if (!qcow2_fence_is_up(&l->claims) &&
	    !qcow2_inplace_lookup(req, req->iter.bi_size, false, &ext) && is_simple(l, &ext)) {
		fill_in_place(p, &ext);
		if (qcow2_send_inline(p)) {
			qcow2_request_advance(req, ext.len);
			return 0;
		}
	}
	qcow2_layer_leave(l, p->gen);
	qcow2_part_unget(p);
	return -EAGAIN;
}
