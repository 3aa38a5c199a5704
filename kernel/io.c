// SPDX-License-Identifier: GPL-2.0
/* A request's life. See io.h for the contract. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/highmem.h>
#include <linux/printk.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "charge.h"
#include "io.h"
#include "trace.h"

static struct kmem_cache *part_cache;

int qcow2_io_init(void)
{
	part_cache = KMEM_CACHE(qcow2_part, SLAB_HWCACHE_ALIGN);
	return part_cache ? 0 : -ENOMEM;
}

void qcow2_io_exit(void)
{
	kmem_cache_destroy(part_cache);
}

/*
 * Guest memory. A part's memory lies within one bio, so the bio's own vectors
 * serve the file I/O, without a copy.
 */
static inline void part_iter(const struct qcow2_part *p, unsigned int dir, struct iov_iter *iter)
{
	const struct bio_vec *first = __bvec_iter_bvec(p->bio->bi_io_vec, p->iter);
	u32 skip = mp_bvec_iter_offset(p->bio->bi_io_vec, p->iter) - first->bv_offset;
	u32 covered = first->bv_len;
	unsigned int nr = 1;

	while (covered < skip + p->iter.bi_size)
		covered += first[nr++].bv_len;
	iov_iter_bvec(iter, dir, first, nr, p->iter.bi_size);
	iter->iov_offset = skip;
}

void qcow2_part_iter(const struct qcow2_part *p, unsigned int dir, struct iov_iter *iter)
{
	part_iter(p, dir, iter);
}

static void zero_range(struct bio *bio, struct bvec_iter iter)
{
	struct bvec_iter it;
	struct bio_vec bv;

	__bio_for_each_segment(bv, bio, it, iter)
		memzero_bvec(&bv);
}

static void free_parts(struct qcow2_request *req)
{
	struct qcow2_part *p;

	while ((p = req->more)) {
		req->more = p->next;
		kmem_cache_free(part_cache, p);
	}
}

/*
 * One of the request's parts is done, or its submission is. Parts live until the
 * last one: a file system may look at an iocb, and at the vectors behind it, after
 * it has completed, as long as its read_iter has not returned.
 */
void qcow2_request_put(struct qcow2_request *req, int err)
{
	struct qcow2_io_target *t = req->target;
	int left;

	if (err)
		cmpxchg(&req->error, 0, err);
	left = atomic_dec_return(&req->pending);
	if (left) {
		if (left == QCOW2_IDLE_WANTED + 1)
			wake_up_var(&req->pending);
		return;
	}
	free_parts(req);
	if (req->error)
		this_cpu_inc(t->stats->errors);
	/* The last use of a layer lies before the barrier in atomic_dec_return(). */
	this_cpu_inc(t->stats->ended);
	t->done(req, req->error);
}

u64 qcow2_io_under_way(const struct qcow2_io_target *t)
{
	u64 begun = 0, ended = 0;
	int cpu;

	/* In this order, so that there are never more ends than beginnings. */
	for_each_possible_cpu(cpu)
		ended += READ_ONCE(per_cpu_ptr(t->stats, cpu)->ended);
	/* Also for who goes on when all have ended. */
	smp_mb();
	for_each_possible_cpu(cpu)
		begun += READ_ONCE(per_cpu_ptr(t->stats, cpu)->requests);
	return begun - ended;
}

/* A read's part is done: what it was mapped to may be used for something else. */
static void part_done(struct qcow2_part *p, int err)
{
	qcow2_layer_leave(p->req->target->chain.layers[0], p->gen);
	qcow2_request_put(p->req, err);
}

static void part_failed(struct qcow2_part *p, int err)
{
	struct qcow2_io_target *t = p->req->target;

	t->failed(t, err, p->off, p->ext.layer->index);
	part_done(p, err);
}

static void part_read_failed(struct qcow2_part *p, long err)
{
	qcow2_layer_err(p->ext.layer, "guest offset %llu: host offset %llu cannot be read: error %ld\n",
			p->off, p->ext.host_off, err);
	part_failed(p, -EIO);
}

/*
 * Past the end of the file is zeros: of a raw layer's last sector, of a last cluster. A
 * whole cluster past the end is lost data.
 */
static int check_past_eof(struct qcow2_layer *l, u64 off, u64 host_off, u64 len)
{
	u64 size = qcow2_file_size(l->data);

	if (host_off < size) {
		/* Nothing read, and yet not at the end: a file system that lies. */
		qcow2_layer_err(l, "guest offset %llu: host offset %llu cannot be read\n", off,
				host_off);
		return -EIO;
	}
	if (l->format == QCOW2BLK_FORMAT_QCOW2 &&
	    host_off + len > round_up(size, l->h.cluster_size)) {
		qcow2_layer_err(l, "guest offset %llu: host offset %llu lies past the end of the file: is it truncated?\n",
				off, host_off);
		return -EIO;
	}
	if (qcow2_file_shrank(l->data)) {
		qcow2_layer_err(l, "guest offset %llu: host offset %llu is gone: the file was cut short while attached\n",
				off, host_off);
		return -EIO;
	}
	return 0;
}

/* All is there, as it is in the file. */
static void part_has_data(struct qcow2_part *p)
{
	struct qcow2_layer *l = p->ext.layer;
	int err = 0;

	if (l->crypt)
		err = qcow2_crypt_bio(l->crypt, p->bio, p->iter, p->off, p->ext.host_off);
	if (err)
		part_read_failed(p, err);
	else
		part_done(p, 0);
}

/* The part is there but for what lies past the end of the file, after @got bytes. */
static int part_fill_up(struct qcow2_part *p, u32 got)
{
	struct bvec_iter rest = p->iter;
	int err;

	bvec_iter_advance(p->bio->bi_io_vec, &rest, got);
	err = check_past_eof(p->ext.layer, p->off + got, p->ext.host_off + got, rest.bi_size);
	if (!err)
		zero_range(p->bio, rest);
	return err;
}

/* In a worker: the whole part, and wait. */
static void part_read_data(struct qcow2_part *p)
{
	struct iov_iter to;
	ssize_t ret;
	int err = 0;

	qcow2_part_iter(p, ITER_DEST, &to);
	ret = qcow2_file_read_iter(p->ext.layer->data, &to, p->ext.host_off);
	if (ret < 0) {
		part_read_failed(p, ret);
		return;
	}
	if (ret < p->iter.bi_size)
		err = part_fill_up(p, ret);
	if (err)
		part_failed(p, err);
	else
		part_has_data(p);
}

static void part_read_compressed(struct qcow2_part *p)
{
	struct iov_iter to;
	int err;

	qcow2_part_iter(p, ITER_DEST, &to);
	err = qcow2_compress_read(p->req->target->compress, &p->ext, &to);
	if (err)
		part_failed(p, err);
	else
		part_done(p, 0);
}

static void part_work(struct work_struct *work)
{
	struct qcow2_part *p = container_of(work, struct qcow2_part, work);
	unsigned int noio = memalloc_noio_save();
	bool charged = qcow2_charge_begin(p->req->charged);

	if (p->ext.type == QCOW2_CLUSTER_COMPRESSED)
		part_read_compressed(p);
	else
		part_read_data(p);
	qcow2_charge_end(charged);
	memalloc_noio_restore(noio);
}

/* On whatever CPU the file has answered. */
static void part_decrypt(struct work_struct *work)
{
	unsigned int noio = memalloc_noio_save();

	part_has_data(container_of(work, struct qcow2_part, work));
	memalloc_noio_restore(noio);
}

static void queue_part(struct qcow2_part *p)
{
	INIT_WORK(&p->work, part_work);
	queue_work(p->req->target->part_wq, &p->work);
}

/* The file has answered. Any context. */
static void part_complete(struct kiocb *iocb, long ret)
{
	struct qcow2_part *p = container_of(iocb, struct qcow2_part, iocb);

	if (ret == p->iter.bi_size && !p->ext.layer->crypt) {
		part_done(p, 0);
	} else if (ret == p->iter.bi_size) {
		INIT_WORK(&p->work, part_decrypt);
		queue_work(p->req->target->crypt_wq, &p->work);
	} else if (ret == -EAGAIN || ret == -ENOMEM || ret >= 0 ||
		   (ret == -EOPNOTSUPP && iocb->ki_flags & IOCB_NOWAIT)) {
		/*
		 * It would sleep, is short, or a device far below knows no NOWAIT: a
		 * worker finds out, from the start.
		 */
		queue_part(p);
	} else {
		part_read_failed(p, ret);
	}
}

static void part_init(struct qcow2_part *p, struct qcow2_request *req)
{
	memset(&p->iocb, 0, sizeof(p->iocb));
	p->req = req;
}

/* The tag's own, or one from the allocator. */
struct qcow2_part *qcow2_part_get(struct qcow2_request *req)
{
	struct qcow2_part *p;

	if (!req->own_used) {
		req->own_used = true;
		return &req->own;
	}
	p = kmem_cache_alloc(part_cache, GFP_NOWAIT | __GFP_NOWARN);
	if (!p)
		return NULL;
	part_init(p, req);
	p->next = req->more;
	req->more = p;
	return p;
}

void qcow2_part_unget(struct qcow2_part *p)
{
	struct qcow2_request *req = p->req;

	if (p == &req->own) {
		req->own_used = false;
	} else {
		req->more = p->next;
		kmem_cache_free(part_cache, p);
	}
}

void qcow2_request_wait_idle(struct qcow2_request *req)
{
	atomic_add(QCOW2_IDLE_WANTED, &req->pending);
	wait_var_event(&req->pending, atomic_read(&req->pending) == QCOW2_IDLE_WANTED + 1);
	atomic_sub(QCOW2_IDLE_WANTED, &req->pending);
	free_parts(req);
	req->own_used = false;
}

/* The memory at the cursor, which stays, is for the part's extent. */
static void part_set_memory(struct qcow2_part *p)
{
	struct qcow2_request *req = p->req;

	p->bio = req->bio;
	p->iter = req->iter;
	p->iter.bi_size = p->ext.len;
	p->off = req->off;
	p->iocb.ki_ioprio = req->ioprio;
}

void qcow2_part_fill(struct qcow2_part *p, const struct qcow2_extent *ext)
{
	p->ext = *ext;
	part_set_memory(p);
}

static inline void advance(struct qcow2_request *req, u32 bytes)
{
	req->off += bytes;
	if (bytes < req->iter.bi_size) {
		bvec_iter_advance(req->bio->bi_io_vec, &req->iter, bytes);
		return;
	}
	req->bio = req->bio->bi_next;
	if (req->bio)
		req->iter = req->bio->bi_iter;
}

void qcow2_request_advance(struct qcow2_request *req, u32 bytes)
{
	advance(req, bytes);
}

/* Can the file take this part without a worker? */
static bool may_submit(const struct qcow2_part *p, const struct iov_iter *to, bool may_sleep)
{
	const struct qcow2_file *f = p->ext.layer->data;

	return p->ext.type == QCOW2_CLUSTER_NORMAL && f->direct &&
	       (may_sleep || f->inline_io) &&
	       qcow2_file_aligned(f, p->ext.host_off, p->ext.len) &&
	       qcow2_file_memory_fits(f, to);
}

static void part_submit(struct qcow2_part *p, bool may_sleep)
{
	struct qcow2_io_target *t = p->req->target;
	struct iov_iter to;

	p->iocb.ki_complete = part_complete;
	atomic_inc(&p->req->pending);
	if (p->ext.type == QCOW2_CLUSTER_NORMAL)
		this_cpu_inc(t->stats->file_reads);
	part_iter(p, ITER_DEST, &to);
	if (may_submit(p, &to, may_sleep))
		qcow2_file_submit_read(p->ext.layer->data, &p->iocb, &to, p->ext.host_off,
				       !may_sleep);
	else
		queue_part(p);
}

static void zero_extent(struct qcow2_request *req, u32 len)
{
	struct bvec_iter iter = req->iter;

	iter.bi_size = len;
	zero_range(req->bio, iter);
}

/* Submit the next extent of the request. */
static int submit_extent(struct qcow2_request *req, bool may_sleep)
{
	struct qcow2_io_target *t = req->target;
	struct qcow2_part *p = qcow2_part_get(req);
	struct qcow2_extent *ext;
	int err;

	if (!p && !may_sleep)
		return -EAGAIN;
	if (!p) {
		qcow2_request_wait_idle(req);
		p = qcow2_part_get(req);
	}
	ext = &p->ext;
	p->gen = qcow2_layer_enter(t->chain.layers[0]);
	err = qcow2_chain_lookup(&t->chain, req->off, req->iter.bi_size, may_sleep, ext);
	if (!err)
		trace_qcow2_read(ext->layer->name, ext->layer->index, req->off, ext->len, ext->type,
				 ext->host_off, !may_sleep);
	if (!err && ext->type != QCOW2_CLUSTER_ZERO_PLAIN) {
		part_set_memory(p);
		part_submit(p, may_sleep);
		/* The part lives as long as the request does, and that as long as we submit. */
		advance(req, ext->len);
		return 0;
	}
	qcow2_layer_leave(t->chain.layers[0], p->gen);
	if (!err) {
		zero_extent(req, ext->len);
		advance(req, ext->len);
	} else if (err != -EAGAIN) {
		t->failed(t, err, req->off, ext->layer->index);
	}
	qcow2_part_unget(p);
	return err;
}

static int submit_all(struct qcow2_request *req, bool may_sleep)
{
	int err = 0;

	while (req->bio && !err)
		err = submit_extent(req, may_sleep);
	return err;
}

static void request_work(struct work_struct *work)
{
	struct qcow2_request *req = container_of(work, struct qcow2_request, work);
	unsigned int noio = memalloc_noio_save();
	bool charged = qcow2_charge_begin(req->charged);

	qcow2_request_put(req, submit_all(req, true));
	qcow2_charge_end(charged);
	memalloc_noio_restore(noio);
}

void qcow2_request_init(struct qcow2_request *req, struct qcow2_io_target *t)
{
	req->target = t;
	req->charged = NULL;
	part_init(&req->own, req);
}

void qcow2_request_begin(struct qcow2_request *req, struct bio *bio, u64 off, u16 ioprio)
{
	req->bio = bio;
	if (bio)
		req->iter = bio->bi_iter;
	req->off = off;
	req->ioprio = ioprio;
	req->error = 0;
	req->own_used = false;
	req->more = NULL;
	atomic_set(&req->pending, 1);
	this_cpu_inc(req->target->stats->requests);
}

void qcow2_request_read(struct qcow2_request *req, struct bio *bio, u64 off, u16 ioprio)
{
	int err = -EAGAIN;

	qcow2_request_begin(req, bio, off, ioprio);
	if (qcow2_file_may_enter() && !qcow2_charge_misplaced(req->charged)) {
		qcow2_file_enter(&req->context);
		err = submit_all(req, false);
		qcow2_file_leave(&req->context);
	}
	if (err == -EAGAIN) {
		INIT_WORK(&req->work, request_work);
		queue_work(req->target->wq, &req->work);
		return;
	}
	this_cpu_inc(req->target->stats->served_inline);
	qcow2_request_put(req, err);
}

/* One extent of qcow2_io_read_guest(). */
static int read_extent(struct qcow2_io_target *t, const struct qcow2_extent *ext, void *buf,
		       u64 off)
{
	struct kvec kvec = { .iov_base = buf, .iov_len = ext->len };
	struct iov_iter to;
	ssize_t got;
	int err;

	if (ext->type == QCOW2_CLUSTER_ZERO_PLAIN) {
		memset(buf, 0, ext->len);
		return 0;
	}
	if (ext->type == QCOW2_CLUSTER_COMPRESSED) {
		iov_iter_kvec(&to, ITER_DEST, &kvec, 1, ext->len);
		return qcow2_compress_read(t->compress, ext, &to);
	}
	got = qcow2_file_read(ext->layer->data, buf, ext->host_off, ext->len);
	if (got < 0) {
		qcow2_layer_err(ext->layer, "guest offset %llu: host offset %llu cannot be read: error %zd\n",
				off, ext->host_off, got);
		return -EIO;
	}
	err = got == ext->len ? 0 : check_past_eof(ext->layer, off + got, ext->host_off + got,
						   ext->len - got);
	memset(buf + got, 0, ext->len - got);
	if (!err && ext->layer->crypt)
		err = qcow2_crypt_buffer(ext->layer->crypt, false, buf, ext->len, off,
					 ext->host_off);
	return err;
}

int qcow2_io_read_guest(struct qcow2_io_target *t, void *buf, u64 off, u32 len)
{
	u64 size = t->chain.layers[0]->size;
	struct qcow2_extent ext;
	int err;

	while (len && off < size) {
		err = qcow2_chain_lookup(&t->chain, off, min_t(u64, len, size - off), true, &ext) ?:
		      read_extent(t, &ext, buf, off);
		if (err)
			return err;
		off += ext.len;
		buf += ext.len;
		len -= ext.len;
	}
	memset(buf, 0, len);
	return 0;
}
