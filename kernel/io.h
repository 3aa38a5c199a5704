/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A request's life: map, submit, complete.
 *
 * A request is cut into extents. Each is a part with its own I/O; the request is
 * done when all its parts are, and its first error is the request's. The
 * submitting task goes as far as it gets without sleeping; a worker does the rest.
 *
 * No allocation is needed for progress: the tag holds one part, further ones are
 * taken where memory is at hand, and a worker that gets none reads the extent
 * itself and waits.
 */
#ifndef _QCOW2_IO_H
#define _QCOW2_IO_H

#include <linux/atomic.h>
#include <linux/bio.h>
#include <linux/percpu.h>
#include <linux/workqueue.h>

#include "compress.h"
#include "layer.h"

struct qcow2_request;

/** struct qcow2_io_stats - counters since attach, one set a CPU */
struct qcow2_io_stats {
	u64 requests;
	u64 file_reads;
	u64 served_inline;
	u64 errors;
};

/**
 * struct qcow2_io_target - what requests are served from
 * @chain: the layers, loaded.
 * @compress: for compressed clusters; may be NULL.
 * @wq: where requests go on that must sleep.
 * @stats: counters.
 * @done: called once for each request, from any context, @err 0 or an errno.
 * @failed: called for the part that failed a request, from any context.
 *
 * Constant while requests are in flight.
 */
struct qcow2_io_target {
	struct qcow2_chain chain;
	struct qcow2_compress *compress;
	struct workqueue_struct *wq;
	struct qcow2_io_stats __percpu *stats;
	void (*done)(struct qcow2_request *req, int err);
	void (*failed)(struct qcow2_io_target *t, int err, u64 off, unsigned int layer);
};

/**
 * struct qcow2_part - one extent of a request on its way
 * @iocb: for the file.
 * @work: what a worker does for it.
 * @req: whose part it is.
 * @next: the request's parts that were allocated.
 * @ext: where the bytes are.
 * @bio, @iter: where they go; advanced by short reads.
 * @off: guest offset, bytes.
 */
struct qcow2_part {
	struct kiocb iocb;
	struct work_struct work;
	struct qcow2_request *req;
	struct qcow2_part *next;
	struct qcow2_extent ext;
	struct bio *bio;
	struct bvec_iter iter;
	u64 off;
};

/**
 * struct qcow2_request - a request, in the tag's memory
 * @target: what it is served from.
 * @bio, @iter, @off: cursor: guest memory and guest offset of what is not yet
 *	submitted. Belongs to the task that submits.
 * @work: goes on submitting in a worker.
 * @pending: parts under way, and one for the task that submits.
 * @error: the first one, or 0.
 * @ioprio: of the block layer's request.
 * @own_used: @own is taken.
 * @own: the tag's part.  @more: allocated ones, freed with the request.
 */
struct qcow2_request {
	struct qcow2_io_target *target;
	struct bio *bio;
	struct bvec_iter iter;
	u64 off;
	struct work_struct work;
	atomic_t pending;
	int error;
	u16 ioprio;
	bool own_used;
	struct qcow2_part *more;
	struct qcow2_part own;
};

/** qcow2_request_init() - once for each tag. @t: what its requests are served from. */
void qcow2_request_init(struct qcow2_request *req, struct qcow2_io_target *t);

/**
 * qcow2_request_read() - serve a read
 * @bio: first of a list; the memory to fill.
 * @off: guest offset, bytes, a multiple of 512, as are the bios' sizes.
 * @ioprio: I/O priority for the file.
 *
 * Context: process, any task; may sleep shortly, not for I/O. @target->done is called
 * when all is done, possibly before this returns.
 */
void qcow2_request_read(struct qcow2_request *req, struct bio *bio, u64 off, u16 ioprio);

int qcow2_io_init(void);
void qcow2_io_exit(void);

#endif /* _QCOW2_IO_H */
