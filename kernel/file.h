/* SPDX-License-Identifier: GPL-2.0 */
/*
 * I/O on an image file: the only user of struct file and struct kiocb's file side.
 *
 * One image file is read and written either directly or through the page cache,
 * never both ways. With direct I/O the file system asks for an alignment; the
 * functions that may sleep accept any offset and length and go through an aligned
 * page where they must.
 */
#ifndef _QCOW2_FILE_H
#define _QCOW2_FILE_H

#include <linux/blkdev.h>
#include <linux/fs.h>
#include <linux/mempool.h>
#include <linux/mutex.h>
#include <linux/rwsem.h>
#include <linux/sched/mm.h>
#include <linux/sched/task_stack.h>
#include <linux/uio.h>
#include <uapi/linux/qcow2blk.h>

#include "compat.h"

/**
 * struct qcow2_file - an image file
 * @filp: the file, our reference.
 * @align: offsets and lengths of direct I/O are multiples of this, a power of two
 *	of at most PAGE_SIZE; 1 without direct I/O.
 * @mem_mask: memory of direct I/O has none of these address bits set.
 * @direct: direct I/O is used.
 * @bounce: a page for pieces that need a copy. One for each file: who
 *	holds it waits for this file only, which may lie on another device of ours.
 * @opened_size: bytes in the file when it was opened.
 * @inline_io: what is submitted may be with @nowait, from any task.
 * @writable: it may be written.
 * @can_grow: fallocate() reserves space; false once it was refused.
 * @can_punch: likewise for holes.  @can_zero: likewise for zeroing a range.
 * @gfp: of the page cache, as it was before the file was taken into use.
 * @rmw: where @align is more than a sector: held for writing while a part of an
 *	aligned block is read, changed and written, for reading by other writes.
 * @sync_lock: one fsync at a time: its error is told to one caller only.
 * @sync_failed: an fsync has failed; set under @sync_lock, for good.
 * @fsyncs: how many there were.  @fsync_nsec: what they took. Under @sync_lock.
 * @would_sleep: a write with @nowait had to be left to a worker, which has not yet been there.
 *
 * Constant between open and close, but for the last six and @can_*.
 */
struct qcow2_file {
	struct file *filp;
	u32 align;
	u32 mem_mask;
	u64 opened_size;
	mempool_t *bounce;
	bool direct;
	bool inline_io;
	bool writable;
	bool can_grow;
	bool can_punch;
	bool can_zero;
	gfp_t gfp;
	struct rw_semaphore rmw;
	struct mutex sync_lock;		/* protects the next three */
	bool sync_failed;
	u64 fsyncs;
	u64 fsync_nsec;
	bool would_sleep;
};

/**
 * qcow2_file_open() - take a file into use
 * @f: (out) what to fill in.
 * @filp: opened for reading, a regular file or a block device; its reference is
 *	taken over on success only.
 * @mode: whether to use direct I/O.
 * @writable: it will be written; it must be open for that.
 * @why: (out) a sentence, constant, on error.
 *
 * Sets O_NOATIME on @filp: an access time is an inode update, a journal
 * transaction in whatever task happens to read. With direct I/O the file's pages leave the page
 * cache, those that are dirty through the file.
 * Context: may sleep. Return: 0, -EBADF, -EINVAL, -EOPNOTSUPP, -ENOMEM, or the error of a
 * first read.
 */
int qcow2_file_open(struct qcow2_file *f, struct file *filp, enum qcow2blk_direct_io mode,
		    bool writable, const char **why);

/** qcow2_file_close() - drop the file. Context: may sleep. */
void qcow2_file_close(struct qcow2_file *f);

/** qcow2_file_size() - bytes in the file or block device now. Context: any. */
u64 qcow2_file_size(const struct qcow2_file *f);

/**
 * qcow2_file_shrank() - has the file lost bytes since it was opened?
 *
 * What lay past the end from the start reads as zeros; what somebody cut off is
 * lost data. Context: any.
 */
bool qcow2_file_shrank(const struct qcow2_file *f);

/** qcow2_file_inode() - the inode that holds the data; tells files apart. Context: any. */
struct inode *qcow2_file_inode(const struct qcow2_file *f);

/** qcow2_file_bdev() - the block device the file is or lies on, or NULL. Context: any. */
struct block_device *qcow2_file_bdev(struct file *filp);

/**
 * qcow2_file_aligned() - can direct I/O take this range as it is?
 * @off: host offset, bytes.  @len: bytes.
 */
static inline bool qcow2_file_aligned(const struct qcow2_file *f, u64 off, u32 len)
{
	return !((off | len) & (f->align - 1));
}

/**
 * qcow2_file_memory_fits() - can direct I/O use this memory as it is?
 *
 * Up to 6.12 a block device asks each segment, not only the whole, to be a
 * multiple of its block; later kernels do so where they must split.
 */
static inline bool qcow2_file_memory_fits(const struct qcow2_file *f,
					  const struct iov_iter *iter)
{
	u32 mask = f->mem_mask | (f->align - 1);

	return !f->direct || mask < SECTOR_SIZE || !(iov_iter_alignment(iter) & mask);
}

/**
 * qcow2_file_read() - read into kernel memory and wait
 * @buf: any kernel memory. What is vmalloc'ed, and congruent to @off modulo
 *	PAGE_SIZE, is read into as it is; the rest through a page: a network file system
 *	takes references on pages, and a slab's must not be given to it.
 * @off: host offset, bytes, any alignment.
 * @len: bytes, any.
 *
 * Context: may sleep, for file I/O only; allocates from a reserve.
 * Return: bytes read, less than @len only at the end of the file; or an errno,
 * never -ENOMEM.
 */
ssize_t qcow2_file_read(const struct qcow2_file *f, void *buf, u64 off, size_t len);

/**
 * qcow2_file_read_iter() - read into an iov_iter and wait
 * Like qcow2_file_read(), but for the pages of a request.
 */
ssize_t qcow2_file_read_iter(const struct qcow2_file *f, struct iov_iter *to, u64 off);

/**
 * qcow2_file_submit_read() - start a read
 * @iocb: @iocb->ki_complete and ki_ioprio are set by the caller; must live until
 *	ki_complete was called and this function has returned, likewise the
 *	memory behind @to.
 * @to: where to; with direct I/O the range must be qcow2_file_aligned() and the
 *	memory qcow2_file_memory_fits().
 * @off: host offset, bytes.
 * @nowait: do not sleep for locks, maps or memory: -EAGAIN is the answer then. Only
 *	where @f->inline_io is set. Any task may do it, under qcow2_file_enter().
 *
 * The result, bytes or errno, always comes by ki_complete, also before return.
 * Context: process; without @nowait it may sleep.
 */
void qcow2_file_submit_read(const struct qcow2_file *f, struct kiocb *iocb,
			    struct iov_iter *to, u64 off, bool nowait);

/**
 * qcow2_file_write() - write kernel memory and wait
 * @buf: any kernel memory; see qcow2_file_read().
 * @off: host offset, bytes, any alignment.
 * @len: bytes, any.
 *
 * Durable only after qcow2_file_sync(). Context: a worker; may sleep, for file I/O
 * only; allocates from a reserve. Return: 0 when all is written, or an errno, never
 * -ENOMEM; then any part of it may be written.
 */
int qcow2_file_write(struct qcow2_file *f, const void *buf, u64 off, size_t len);

/** qcow2_file_write_iter() - like qcow2_file_write(), but from an iov_iter */
int qcow2_file_write_iter(struct qcow2_file *f, struct iov_iter *from, u64 off);

/**
 * qcow2_file_may_submit_write() - can qcow2_file_submit_write() take this?
 * @from: the memory.  @off: host offset, bytes.
 */
bool qcow2_file_may_submit_write(const struct qcow2_file *f, const struct iov_iter *from,
				 u64 off);

/**
 * qcow2_file_may_write_inline() - may the running task write with @nowait?
 * Context: process. Return: false: a worker has to.
 */
bool qcow2_file_may_write_inline(const struct qcow2_file *f);

/**
 * qcow2_file_submit_write() - start a write that qcow2_file_may_submit_write()
 * @iocb: @iocb->ki_complete and ki_ioprio are set by the caller; must live until
 *	ki_complete was called and this function has returned, likewise the memory
 *	behind @from.
 * @nowait: see qcow2_file_submit_read(); where qcow2_file_may_write_inline().
 *
 * The result, bytes or errno, always comes by ki_complete, from any context, also
 * before return; it calls qcow2_file_end_write() first.
 * Context: without @nowait a worker; may sleep for locks of the file system, or while that is
 * frozen. Return: false, only with @nowait: it would have slept; nothing was done.
 */
bool qcow2_file_submit_write(struct qcow2_file *f, struct kiocb *iocb, struct iov_iter *from,
			     u64 off, bool nowait);
void qcow2_file_end_write(struct qcow2_file *f);

/**
 * qcow2_file_sync() - make durable what was written before
 *
 * A failure is final: what was lost stays lost, so this and every later call fail.
 * Context: may sleep. Return: 0 or -EIO.
 */
int qcow2_file_sync(struct qcow2_file *f);

/**
 * qcow2_file_grow() - reserve space that reads as zeros, past the end of the file
 * Context: may sleep. Return: 0; -EOPNOTSUPP the file system cannot (@can_grow is false
 * from then on: writes will find or not find their space themselves); -ENOSPC, -EDQUOT,
 * -ENOMEM: perhaps for less; or another errno.
 */
int qcow2_file_grow(struct qcow2_file *f, u64 off, u64 len);

/**
 * qcow2_file_punch() - give space back; it reads as zeros
 * Context: may sleep. Return: 0, -EOPNOTSUPP, or another errno.
 */
int qcow2_file_punch(struct qcow2_file *f, u64 off, u64 len);

/**
 * qcow2_file_zero() - make a range read as zeros without writing all of it
 * Space stays, or becomes, reserved. Not on block devices, which may have to write.
 * Context: may sleep. Return: 0, -EOPNOTSUPP, -ENOSPC, or another errno.
 */
int qcow2_file_zero(struct qcow2_file *f, u64 off, u64 len);

/**
 * qcow2_file_reserve() - fill holes within a regular file with space
 * Context: may sleep. Return: 0, -EOPNOTSUPP, -ENOSPC, -EDQUOT, -ENOMEM on a file system
 * in memory, or another errno.
 */
int qcow2_file_reserve(struct qcow2_file *f, u64 off, u64 len);

/**
 * qcow2_file_is_hole() - is there nothing in a range, so that it reads as zeros?
 * False where the file system does not tell. Durable like anything else only after
 * qcow2_file_sync(). Context: may sleep.
 */
bool qcow2_file_is_hole(const struct qcow2_file *f, u64 off, u64 len);

/**
 * qcow2_file_truncate() - cut a regular file, or let it grow by a hole
 * Context: may sleep. Return: 0 or an errno.
 */
int qcow2_file_truncate(struct qcow2_file *f, u64 size);

/** qcow2_file_regular() - is it a regular file, not a block device? */
bool qcow2_file_regular(const struct qcow2_file *f);

/**
 * struct qcow2_file_context - what qcow2_file_enter() saved
 */
struct qcow2_file_context {
	void *journal_info;
	struct bio_list *bio_list;
	struct blk_plug *outer_plug;
	unsigned int noio;
};

/**
 * qcow2_file_may_enter() - is there room to submit file I/O from this very task?
 *
 * Devices can lie on devices; each level's submission runs on the stack of the one
 * above. Half the stack must be free. Context: process.
 */
static inline bool qcow2_file_may_enter(void)
{
	unsigned long here = (unsigned long)__builtin_frame_address(0);

	return here - (unsigned long)end_of_stack(current) > THREAD_SIZE / 2;
}

/**
 * qcow2_file_enter() - make the running task fit to submit file I/O
 *
 * The task may be anybody: in a transaction of another file system, in reclaim,
 * inside submit_bio(), flushing a plug. The file below must see none of it: requests of
 * the device below do not belong into the plug that ours come from. Nor are they put into
 * one of ours: the file's own plug is done before it looks whether the device has answered
 * already, so that it ends the I/O itself, not by a worker. Context: process.
 */
static inline void qcow2_file_enter(struct qcow2_file_context *c)
{
	c->journal_info = current->journal_info;
	c->bio_list = current->bio_list;
	current->journal_info = NULL;
	current->bio_list = NULL;
	c->outer_plug = current->plug;
	if (c->outer_plug) {
		qcow2_plug_forget_time(c->outer_plug);
		current->plug = NULL;
	}
	c->noio = memalloc_noio_save();
}

/** qcow2_file_leave() - the opposite, in the same task. Context: process. */
static inline void qcow2_file_leave(struct qcow2_file_context *c)
{
	memalloc_noio_restore(c->noio);
	current->plug = c->outer_plug;
	current->bio_list = c->bio_list;
	current->journal_info = c->journal_info;
}

#endif /* _QCOW2_FILE_H */
