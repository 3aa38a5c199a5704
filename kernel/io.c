// SPDX-License-Identifier: GPL-2.0
/* A request's life. See io.h for the contract. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/highmem.h>
#include <linux/printk.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "io.h"

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
static void part_iter(const struct qcow2_part *p, struct iov_iter *to)
{
	const struct bio_vec *first = __bvec_iter_bvec(p->bio->bi_io_vec, p->iter);
	struct bvec_iter it;
	struct bio_vec bv;
	unsigned int nr = 0;

	__bio_for_each_bvec(bv, p->bio, it, p->iter)
		nr++;
	iov_iter_bvec(to, ITER_DEST, first, nr, p->iter.bi_size);
	to->iov_offset = mp_bvec_iter_offset(p->bio->bi_io_vec, p->iter) - first->bv_offset;
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
static void request_put(struct qcow2_request *req, int err)
{
	if (err)
		cmpxchg(&req->error, 0, err);
	if (!atomic_dec_and_test(&req->pending))
		return;
	free_parts(req);
	if (req->error)
		this_cpu_inc(req->target->stats->errors);
	req->target->done(req, req->error);
}

static void part_failed(struct qcow2_part *p, int err)
{
	struct qcow2_io_target *t = p->req->target;

	t->failed(t, err, p->off, p->ext.layer->index);
	request_put(p->req, err);
}

/* @bytes of the part have arrived. Return: true if that was all. */
static bool part_advance(struct qcow2_part *p, u32 bytes)
{
	bvec_iter_advance(p->bio->bi_io_vec, &p->iter, bytes);
	p->ext.host_off += bytes;
	p->off += bytes;
	return !p->iter.bi_size;
}

static void part_read_failed(struct qcow2_part *p, long err)
{
	qcow2_layer_err(p->ext.layer, "guest offset %llu: host offset %llu cannot be read: error %ld\n",
			p->off, p->ext.host_off, err);
	part_failed(p, -EIO);
}

/* An image may end within its last cluster; a whole one past the end is lost data. */
static bool cluster_is_lost(const struct qcow2_part *p)
{
	const struct qcow2_layer *l = p->ext.layer;

	return l->format == QCOW2BLK_FORMAT_QCOW2 &&
	       p->ext.host_off + p->iter.bi_size >
	       round_up(qcow2_file_size(&l->file), l->h.cluster_size);
}

/* Past the end of the file is zeros: of a raw layer's last sector, of a last cluster. */
static void part_at_eof(struct qcow2_part *p)
{
	if (p->ext.host_off < qcow2_file_size(&p->ext.layer->file)) {
		/* Nothing read, and yet not at the end: a file system that lies. */
		part_read_failed(p, -EIO);
		return;
	}
	if (cluster_is_lost(p)) {
		qcow2_layer_err(p->ext.layer, "guest offset %llu: host offset %llu lies past the end of the file: is it truncated?\n",
				p->off, p->ext.host_off);
		part_failed(p, -EIO);
		return;
	}
	if (qcow2_file_shrank(&p->ext.layer->file)) {
		qcow2_layer_err(p->ext.layer, "guest offset %llu: host offset %llu is gone: the file was cut short while attached\n",
				p->off, p->ext.host_off);
		part_failed(p, -EIO);
		return;
	}
	zero_range(p->bio, p->iter);
	request_put(p->req, 0);
}

/* The file has answered. Any context. */
static void part_complete(struct kiocb *iocb, long ret)
{
	struct qcow2_part *p = container_of(iocb, struct qcow2_part, iocb);

	if (ret == p->iter.bi_size) {
		request_put(p->req, 0);
	} else if (ret == -EAGAIN || ret == -ENOMEM || ret >= 0 ||
		   (ret == -EOPNOTSUPP && iocb->ki_flags & IOCB_NOWAIT)) {
		/*
		 * It would sleep, is short, or a device far below knows no NOWAIT: a
		 * worker finds out.
		 */
		if (ret > 0 && IS_ALIGNED(ret, SECTOR_SIZE))
			part_advance(p, ret);
		queue_work(p->req->target->wq, &p->work);
	} else {
		part_read_failed(p, ret);
	}
}

/* In a worker: the whole part, and wait. */
static void part_read_data(struct qcow2_part *p)
{
	struct iov_iter to;
	ssize_t ret;

	part_iter(p, &to);
	ret = qcow2_file_read_iter(&p->ext.layer->file, &to, p->ext.host_off);
	if (ret < 0)
		part_read_failed(p, ret);
	else if (part_advance(p, ret))
		request_put(p->req, 0);
	else
		part_at_eof(p);
}

static void part_read_compressed(struct qcow2_part *p)
{
	struct iov_iter to;
	int err;

	part_iter(p, &to);
	err = qcow2_compress_read(p->req->target->compress, &p->ext, &to);
	if (err)
		part_failed(p, err);
	else
		request_put(p->req, 0);
}

static void part_work(struct work_struct *work)
{
	struct qcow2_part *p = container_of(work, struct qcow2_part, work);
	unsigned int noio = memalloc_noio_save();

	if (p->ext.type == QCOW2_CLUSTER_COMPRESSED)
		part_read_compressed(p);
	else
		part_read_data(p);
	memalloc_noio_restore(noio);
}

static void part_init(struct qcow2_part *p, struct qcow2_request *req)
{
	memset(&p->iocb, 0, sizeof(p->iocb));
	p->req = req;
	p->iocb.ki_complete = part_complete;
	INIT_WORK(&p->work, part_work);
}

/* A part: the tag's own, or one from the allocator, or NULL. */
static struct qcow2_part *part_get(struct qcow2_request *req)
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

/* The next part's place in the request; the cursor stays. */
static void part_fill(struct qcow2_part *p, const struct qcow2_extent *ext)
{
	struct qcow2_request *req = p->req;

	p->ext = *ext;
	p->bio = req->bio;
	p->iter = req->iter;
	p->iter.bi_size = ext->len;
	p->off = req->off;
	p->iocb.ki_ioprio = req->ioprio;
}

static void cursor_advance(struct qcow2_request *req, u32 bytes)
{
	req->off += bytes;
	bvec_iter_advance(req->bio->bi_io_vec, &req->iter, bytes);
	if (!req->iter.bi_size) {
		req->bio = req->bio->bi_next;
		if (req->bio)
			req->iter = req->bio->bi_iter;
	}
}

/* Can the file take this part without a worker? */
static bool may_submit(const struct qcow2_part *p, const struct iov_iter *to, bool may_sleep)
{
	const struct qcow2_file *f = &p->ext.layer->file;

	return p->ext.type == QCOW2_CLUSTER_NORMAL && f->direct &&
	       (may_sleep || f->inline_reads) &&
	       qcow2_file_aligned(f, p->ext.host_off, p->ext.len) &&
	       qcow2_file_memory_fits(f, to);
}

static void part_submit(struct qcow2_part *p, bool may_sleep)
{
	struct qcow2_io_target *t = p->req->target;
	struct iov_iter to;

	atomic_inc(&p->req->pending);
	if (p->ext.type == QCOW2_CLUSTER_NORMAL)
		this_cpu_inc(t->stats->file_reads);
	part_iter(p, &to);
	if (may_submit(p, &to, may_sleep))
		qcow2_file_submit_read(&p->ext.layer->file, &p->iocb, &to, p->ext.host_off,
				       !may_sleep);
	else
		queue_work(t->wq, &p->work);
}

/* No memory for a part: read the extent here and now. Only in a worker. */
static void read_extent_here(struct qcow2_request *req, const struct qcow2_extent *ext)
{
	struct qcow2_part p = { .req = req };

	part_fill(&p, ext);
	atomic_inc(&req->pending);
	if (ext->type == QCOW2_CLUSTER_COMPRESSED)
		part_read_compressed(&p);
	else
		part_read_data(&p);
}

static void zero_extent(struct qcow2_request *req, const struct qcow2_extent *ext)
{
	struct bvec_iter iter = req->iter;

	iter.bi_size = ext->len;
	zero_range(req->bio, iter);
}

/* Submit the next extent of the request. */
static int submit_extent(struct qcow2_request *req, bool may_sleep)
{
	struct qcow2_extent ext;
	struct qcow2_part *p;
	int err;

	err = qcow2_chain_lookup(&req->target->chain, req->off, req->iter.bi_size, may_sleep,
				 &ext);
	if (err == -EAGAIN)
		return err;
	if (err) {
		req->target->failed(req->target, err, req->off, ext.layer->index);
		return err;
	}
	if (ext.type == QCOW2_CLUSTER_ZERO_PLAIN) {
		zero_extent(req, &ext);
	} else {
		p = part_get(req);
		if (p) {
			part_fill(p, &ext);
			part_submit(p, may_sleep);
		} else if (may_sleep) {
			read_extent_here(req, &ext);
		} else {
			return -EAGAIN;
		}
	}
	cursor_advance(req, ext.len);
	return 0;
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

	request_put(req, submit_all(req, true));
	memalloc_noio_restore(noio);
}

void qcow2_request_init(struct qcow2_request *req, struct qcow2_io_target *t)
{
	req->target = t;
	INIT_WORK(&req->work, request_work);
	part_init(&req->own, req);
}

void qcow2_request_read(struct qcow2_request *req, struct bio *bio, u64 off, u16 ioprio)
{
	struct qcow2_file_context context;
	int err = -EAGAIN;

	req->bio = bio;
	req->iter = bio->bi_iter;
	req->off = off;
	req->ioprio = ioprio;
	req->error = 0;
	req->own_used = false;
	req->more = NULL;
	atomic_set(&req->pending, 1);
	this_cpu_inc(req->target->stats->requests);

	if (qcow2_file_may_enter()) {
		qcow2_file_enter(&context);
		err = submit_all(req, false);
		qcow2_file_leave(&context);
	}
	if (err == -EAGAIN) {
		queue_work(req->target->wq, &req->work);
		return;
	}
	this_cpu_inc(req->target->stats->served_inline);
	request_put(req, err);
}
