// SPDX-License-Identifier: GPL-2.0
/* Parts of writes on their way. See send.h for the contract. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/printk.h>
#include <linux/sched/mm.h>

#include "charge.h"
#include "copy.h"
#include "mutant.h"
#include "send.h"
#include "trace.h"

/* --- parking -------------------------------------------------------------------------- */

static void go_on(struct qcow2_request *req)
{
	queue_work(req->target->wq, &req->work);
}

static void claim_released(struct qcow2_claim_waiter *w)
{
	go_on(container_of(w, struct qcow2_request, wait.claim));
}

/* With an error the request ends here and now: who has parked it does not touch it any more. */
static void space_came(struct qcow2_alloc_waiter *w, int err)
{
	struct qcow2_request *req = container_of(w, struct qcow2_request, wait.alloc);

	if (!err) {
		go_on(req);
		return;
	}
	req->target->failed(req->target, err, req->off, 0);
	qcow2_request_put(req, err);
}

int qcow2_send_park(struct qcow2_request *req, int err)
{
	req->wait.alloc.resume = space_came;
	req->wait.alloc.space = err == -EAGAIN;
	qcow2_alloc_park(&qcow2_request_top(req)->alloc, &req->wait.alloc);
	return QCOW2_PARKED;
}

bool qcow2_send_claim(struct qcow2_request *req, struct qcow2_claim *c, u64 first, u64 last)
{
	req->wait.claim.resume = claim_released;
	return qcow2_claim(&qcow2_request_top(req)->claims, c, first, last, &req->wait.claim);
}

/* May the next @len bytes be written where they are? Return: false: the request is parked. */
bool qcow2_send_pass_fence(struct qcow2_request *req, u64 len)
{
	struct qcow2_layer *l = qcow2_request_top(req);

	if (l->format == QCOW2BLK_FORMAT_RAW || qcow2_is_mutant(MERGE_UNFENCED))
		return true;
	req->wait.claim.resume = claim_released;
	return qcow2_fence_pass(&l->claims, req->off >> l->h.subcluster_bits,
				(req->off + len - 1) >> l->h.subcluster_bits, &req->wait.claim);
}

/* --- the file's answer ------------------------------------------------------------------ */

/* Dirty tables that are not yet being written: begin to, and wait for that. */
#define MANY_DIRTY_SLICES	512U
#define MAX_DIRTY_SLICES	1024U

void qcow2_send_entries_changed(struct qcow2_layer *l)
{
	if (READ_ONCE(l->map.cache.nr_dirty) > MANY_DIRTY_SLICES)
		qcow2_commit_kick(&l->commit);
	else
		qcow2_commit_changed(&l->commit);
}

bool qcow2_send_too_many_dirty(const struct qcow2_layer *l)
{
	return READ_ONCE(l->map.cache.nr_dirty) > MAX_DIRTY_SLICES;
}

static void publish(struct qcow2_part *p)
{
	struct qcow2_layer *l = qcow2_request_top(p->req);
	struct qcow2_allocation *a = &p->a;

	if (a->published)
		return;
	a->published = true;
	qcow2_map_publish(&l->map, &a->place, a->first, a->end,
			  a->run.start << l->h.cluster_bits, a->ordered);
	if (!a->reuse)
		qcow2_alloc_published(&l->alloc, a->run.nr);
	qcow2_alloc_free(&l->alloc, a->batch);
	a->batch = NULL;
	qcow2_send_entries_changed(l);
}

static void end_allocation(struct qcow2_part *p, int err)
{
	struct qcow2_layer *l = qcow2_request_top(p->req);
	struct qcow2_allocation *a = &p->a;

	if (!err) {
		publish(p);
	} else if (!a->published) {
		if (!a->reuse)
			qcow2_alloc_give_back(&l->alloc, &a->run, true);
		qcow2_alloc_batch_drop(&l->alloc, a->batch);
	}
	qcow2_map_put(&a->place);
	qcow2_claim_release(&l->claims, &a->claim);
}

/* The part's data are in the file, or will not be. Any context. */
static void write_done(struct qcow2_part *p, int err)
{
	struct qcow2_request *req = p->req;
	struct qcow2_layer *l = qcow2_request_top(req);

	if (err) {
		qcow2_layer_err(l, "guest offset %llu: host offset %llu cannot be written: error %d\n",
				p->off, p->ext.host_off, err);
		if (err != -ENOSPC && err != -EDQUOT)
			err = -EIO;
		else
			err = -ENOSPC;
		req->target->failed(req->target, err, p->off, 0);
	}
	if (p->allocates)
		end_allocation(p, err);
	if (p->copy)
		qcow2_copy_put(req->target->copies, p->copy);
	qcow2_layer_leave(l, p->gen);
	qcow2_request_put(req, err);
}

static void source_iter(const struct qcow2_part *p, struct iov_iter *from)
{
	if (p->copy)
		iov_iter_bvec(from, ITER_SOURCE, p->copy->vecs, p->copy->nr_vecs, p->bytes);
	else
		qcow2_part_iter(p, ITER_SOURCE, from);
}

/* In a worker: all of it, and wait. Also what was written by half before. */
static void write_now(struct qcow2_part *p)
{
	struct qcow2_file *f = qcow2_request_top(p->req)->data;
	struct iov_iter from;

	source_iter(p, &from);
	write_done(p, qcow2_file_write_iter(f, &from, p->ext.host_off));
}

static void write_again(struct work_struct *work)
{
	struct qcow2_part *p = container_of(work, struct qcow2_part, work);
	unsigned int noio = memalloc_noio_save();
	bool charged = qcow2_charge_begin(p->req->charged);

	write_now(p);
	qcow2_charge_end(charged);
	memalloc_noio_restore(noio);
}

/* The file has answered. Any context. */
static void write_complete(struct kiocb *iocb, long ret)
{
	struct qcow2_part *p = container_of(iocb, struct qcow2_part, iocb);

	qcow2_file_end_write(qcow2_request_top(p->req)->data);
	if (ret == p->bytes) {
		write_done(p, 0);
	} else if (ret >= 0 || ret == -EAGAIN || ret == -ENOMEM ||
		   (ret == -EOPNOTSUPP && iocb->ki_flags & IOCB_NOWAIT)) {
		INIT_WORK(&p->work, write_again);
		queue_work(p->req->target->part_wq, &p->work);
	} else {
		write_done(p, ret);
	}
}

/* Send a part that is all filled in. */
void qcow2_send(struct qcow2_part *p)
{
	struct qcow2_file *f = qcow2_request_top(p->req)->data;
	struct iov_iter from;

	atomic_inc(&p->req->pending);
	this_cpu_inc(p->req->target->stats->file_writes);
	trace_qcow2_write(qcow2_request_top(p->req)->name, p->off, p->bytes, p->ext.host_off,
			  p->allocates, p->copy);
	p->iocb.ki_ioprio = p->req->ioprio;
	/* Once writing has stopped, nothing is written that a crash could show. */
	if (qcow2_commit_stopped(&qcow2_request_top(p->req)->commit)) {
		write_done(p, -EIO);
		return;
	}
	if (p->allocates && (p->copy ? qcow2_is_mutant(COPY_AFTER_ENTRY) :
				       qcow2_is_mutant(DATA_AFTER_ENTRY)))
		publish(p);
	source_iter(p, &from);
	p->iocb.ki_complete = write_complete;
	if (qcow2_file_may_submit_write(f, &from, p->ext.host_off))
		qcow2_file_submit_write(f, &p->iocb, &from, p->ext.host_off, false);
	else
		write_now(p);
}

bool qcow2_send_inline(struct qcow2_part *p)
{
	struct qcow2_layer *l = qcow2_request_top(p->req);
	struct iov_iter from;

	qcow2_part_iter(p, ITER_SOURCE, &from);
	if (qcow2_commit_stopped(&l->commit) ||
	    !qcow2_file_may_submit_write(l->data, &from, p->ext.host_off))
		return false;
	p->iocb.ki_complete = write_complete;
	p->iocb.ki_ioprio = p->req->ioprio;
	trace_qcow2_write(l->name, p->off, p->bytes, p->ext.host_off, false, false);
	atomic_inc(&p->req->pending);
	if (qcow2_file_submit_write(l->data, &p->iocb, &from, p->ext.host_off, true)) {
		this_cpu_inc(p->req->target->stats->file_writes);
		return true;
	}
	atomic_dec(&p->req->pending);
	return false;
}

/* --- what is sent ----------------------------------------------------------------------- */

struct qcow2_part *qcow2_send_part(struct qcow2_request *req)
{
	struct qcow2_part *p = qcow2_part_get(req);

	if (!p) {
		qcow2_request_wait_idle(req);
		p = qcow2_part_get(req);
	}
	p->gen = -1;
	p->allocates = false;
	p->copy = NULL;
	return p;
}

bool qcow2_send_is_metadata(struct qcow2_layer *l, u64 host_off, u64 len)
{
	return l->format == QCOW2BLK_FORMAT_QCOW2 && !qcow2_layer_has_data_file(l) &&
	       qcow2_overlap_hit(&l->overlap, host_off, len);
}

int qcow2_send_check(struct qcow2_layer *l, u64 off, u64 host_off, u64 len)
{
	if (l->format == QCOW2BLK_FORMAT_RAW)
		return 0;
	if (qcow2_send_is_metadata(l, host_off, len)) {
		qcow2_layer_corrupt(l, host_off, "is mapped to the disk, but holds metadata");
		return -EIO;
	}
	if (host_off + len > round_up(qcow2_file_size(l->data), l->h.cluster_size)) {
		qcow2_layer_err(l, "guest offset %llu: host offset %llu lies past the end of the file: is it truncated?\n",
				off, host_off);
		return -EIO;
	}
	return 0;
}

/* The guest's bytes, or the zeros that it wants, in memory of ours. */
void qcow2_send_copy_guest(const struct qcow2_part *p, void *to, u32 len)
{
	struct iov_iter from;

	if (p->req->op != QCOW2_WRITE) {
		memset(to, 0, len);
		return;
	}
	qcow2_part_iter(p, ITER_SOURCE, &from);
	WARN_ON_ONCE(copy_from_iter(to, len, &from) != len);
}

/*
 * All that the part writes, from guest offset @off on, is in its copy's head, as the guest is
 * to read it.
 */
int qcow2_send_finish_copy(struct qcow2_part *p, u64 off)
{
	struct qcow2_layer *l = p->ext.layer;

	qcow2_copy_add(p->copy, p->copy->head, p->bytes);
	if (!l->crypt)
		return 0;
	return qcow2_crypt_buffer(l->crypt, true, p->copy->head, p->bytes, off, p->ext.host_off);
}
