/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A request's life: map, submit, complete. Reads are here, write.c has the rest.
 *
 * A request is cut into extents. Each is a part with its own I/O; the request is
 * done when all its parts are, and its first error is the request's. The task that
 * submits a read goes as far as it gets without sleeping; a worker does the rest.
 *
 * No allocation is needed for progress: the tag holds one part, further ones are
 * taken where memory is at hand, and a worker that gets none waits for those that
 * the request has.
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
struct qcow2_copies;
struct qcow2_copy;

/**
 * enum qcow2_write_op - what a request that is no read does
 * @QCOW2_WRITE: writes guest memory.
 * @QCOW2_ZERO: makes bytes zero, and gives their clusters up.
 * @QCOW2_ZERO_KEEP: makes bytes zero; their clusters stay allocated.
 * @QCOW2_DISCARD: gives whole clusters up.
 * @QCOW2_FLUSH: makes durable what was completed.
 */
enum qcow2_write_op {
	QCOW2_WRITE,
	QCOW2_ZERO,
	QCOW2_ZERO_KEEP,
	QCOW2_DISCARD,
	QCOW2_FLUSH,
};

/** struct qcow2_copy_waiter - who waits for a buffer of write.c; see there */
struct qcow2_copy_waiter {
	struct list_head list;
};

/**
 * struct qcow2_io_stats - counters since attach, one set a CPU
 * @requests: that have begun.
 * @ended: of these; see qcow2_io_under_way().
 */
struct qcow2_io_stats {
	u64 requests;
	u64 ended;
	u64 file_reads;
	u64 file_writes;
	u64 copies;
	u64 served_inline;
	u64 errors;
};

/**
 * struct qcow2_io_target - what requests are served from
 * @chain: the layers, loaded.
 * @compress: for compressed clusters; may be NULL.
 * @copies: buffers of write.c; NULL where nothing is written.
 * @wq: where requests go on that must sleep.
 * @part_wq: likewise parts: a request may sleep until its parts are done, and must not
 *	have the only worker then.
 * @crypt_wq: where parts are decrypted, on the CPU that the file's answer came to; NULL where
 *	no layer is encrypted.
 * @stats: counters.
 * @done: called once for each request, from any context, @err 0 or an errno.
 * @failed: called for the part that failed a request, from any context.
 *
 * Constant while requests are in flight.
 */
struct qcow2_io_target {
	struct qcow2_chain chain;
	struct qcow2_compress *compress;
	struct qcow2_copies *copies;
	struct workqueue_struct *wq;
	struct workqueue_struct *part_wq;
	struct workqueue_struct *crypt_wq;
	struct qcow2_io_stats __percpu *stats;
	void (*done)(struct qcow2_request *req, int err);
	void (*failed)(struct qcow2_io_target *t, int err, u64 off, unsigned int layer);
};

/**
 * struct qcow2_allocation - what a write does beside writing
 * @claim: its guest subclusters.
 * @place: their entries.
 * @run: the clusters that were taken, or, with @reuse, that they have had all along.
 * @first, @end: the subclusters that are written, counted from @place on.
 * @batch: references that are dropped; or NULL.
 * @ordered: see commit.h.
 * @reuse: the clusters were there, without these subclusters.
 * @published: the entries are.
 */
struct qcow2_allocation {
	struct qcow2_claim claim;
	struct qcow2_place place;
	struct qcow2_run run;
	u32 first;
	u32 end;
	struct qcow2_free_batch *batch;
	bool ordered;
	bool reuse;
	bool published;
};

/**
 * struct qcow2_part - one extent of a request on its way
 * @iocb: for the file.
 * @work: what a worker does for it.
 * @req: whose part it is.
 * @next: the request's parts that were allocated.
 * @ext: where the bytes are.
 * @bio, @iter: guest memory; advanced by short reads.
 * @off: guest offset, bytes.
 * @gen: what keeps @ext from being used for something else, or -1.
 *
 * Of a write:
 *
 * @bytes: that are written at @ext.host_off.
 * @allocates: there is an allocation.
 * @copy: with bytes that are not, or not only, the guest's; or NULL.
 * @a: the allocation.
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
	int gen;

	u32 bytes;
	bool allocates;
	struct qcow2_copy *copy;
	struct qcow2_allocation a;
};

#define QCOW2_IDLE_WANTED	0x40000000

/**
 * struct qcow2_request - a request, in the tag's memory
 * @target: what it is served from.
 * @bio, @iter, @off: cursor: guest memory and guest offset of what is not yet
 *	submitted. Belongs to the task that submits.
 * @left: for requests without memory: bytes not yet done.
 * @op: what a write request does.
 * @work: goes on submitting in a worker.
 * @pending: parts under way, and one for the task that submits; plus QCOW2_IDLE_WANTED
 *	while that waits for the others.
 * @error: the first one, or 0.
 * @ioprio: of the block layer's request.
 * @charged: its first bio, whose cgroup pays; NULL: nobody does.
 * @own_used: @own is taken.
 * @context: while a read is submitted; here, since a kernel may clear what is on the stack.
 * @wait: in the list of what it waits for.
 * @own: the tag's part.  @more: allocated ones, freed with the request.
 */
struct qcow2_request {
	struct qcow2_io_target *target;
	struct bio *bio;
	struct bvec_iter iter;
	u64 off;
	u64 left;
	enum qcow2_write_op op;
	struct work_struct work;
	atomic_t pending;
	int error;
	u16 ioprio;
	bool own_used;
	struct bio *charged;
	struct qcow2_file_context context;
	union {
		struct qcow2_claim_waiter claim;
		struct qcow2_alloc_waiter alloc;
		struct qcow2_copy_waiter copy;
		struct qcow2_commit_waiter commit;
	} wait;
	struct qcow2_part *more;
	struct qcow2_part own;
};

/** qcow2_request_top() - the layer that writes go to. */
static inline struct qcow2_layer *qcow2_request_top(const struct qcow2_request *req)
{
	return req->target->chain.layers[0];
}

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

/* --- for write.c ------------------------------------------------------------------------ */

/** qcow2_request_begin() - start a request; see qcow2_request_read(). Context: any. */
void qcow2_request_begin(struct qcow2_request *req, struct bio *bio, u64 off, u16 ioprio);

/** qcow2_request_put() - a part, or the submission, is done, with @err. Context: any. */
void qcow2_request_put(struct qcow2_request *req, int err);

/** qcow2_request_advance() - the next @bytes of guest memory are taken care of. */
void qcow2_request_advance(struct qcow2_request *req, u32 bytes);

/**
 * qcow2_part_get() - a part for the next extent
 * Context: any task that submits. Return: NULL: no memory; qcow2_request_wait_idle() helps.
 */
struct qcow2_part *qcow2_part_get(struct qcow2_request *req);

/** qcow2_part_unget() - the last part that was had is not needed after all. */
void qcow2_part_unget(struct qcow2_part *p);

/** qcow2_part_fill() - describe a part: the extent, and the memory at the cursor. */
void qcow2_part_fill(struct qcow2_part *p, const struct qcow2_extent *ext);

/** qcow2_part_iter() - the part's guest memory. @dir: ITER_DEST or ITER_SOURCE. */
void qcow2_part_iter(const struct qcow2_part *p, unsigned int dir, struct iov_iter *iter);

/**
 * qcow2_request_wait_idle() - wait for the parts that are under way, and have them back
 * They wait for their file I/O only. Context: a worker, which submits.
 */
void qcow2_request_wait_idle(struct qcow2_request *req);

/**
 * qcow2_io_read_guest() - read guest bytes into kernel memory, and wait
 * @buf: vmalloc memory.  @off: guest offset, bytes.  @len: bytes.
 * Bytes past the end of the disk are zeros. Context: a worker. Return: 0 or -EIO.
 */
int qcow2_io_read_guest(struct qcow2_io_target *t, void *buf, u64 off, u32 len);

/**
 * qcow2_io_under_way() - requests that have begun and not ended
 * A guess while requests begin. When nobody begins any: 0 says that all have ended, and that what
 * they did is seen. Context: any.
 */
u64 qcow2_io_under_way(const struct qcow2_io_target *t);

int qcow2_io_init(void);
void qcow2_io_exit(void);

#endif /* _QCOW2_IO_H */
