// SPDX-License-Identifier: GPL-2.0
/* I/O on an image file. See file.h for the contracts. */
#include <linux/blkdev.h>
#include <linux/cred.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/magic.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task_stack.h>
#include <linux/stat.h>
#include <linux/vmalloc.h>

#include "file.h"

/* Bio_vecs of one synchronous read: 64 KiB at a time, 256 bytes of stack. */
#define READ_VECS	16

struct inode *qcow2_file_inode(const struct qcow2_file *f)
{
	return f->filp->f_mapping->host;
}

u64 qcow2_file_size(const struct qcow2_file *f)
{
	return i_size_read(qcow2_file_inode(f));
}

bool qcow2_file_shrank(const struct qcow2_file *f)
{
	return qcow2_file_size(f) < f->opened_size;
}

struct block_device *qcow2_file_bdev(struct file *filp)
{
	struct inode *inode = filp->f_mapping->host;

	return S_ISBLK(inode->i_mode) ? I_BDEV(inode) : inode->i_sb->s_bdev;
}

/*
 * The alignment that direct I/O on the file needs. A file system that does not
 * tell, and is not on a block device, gets what suits all known ones: a page.
 */
static void find_alignment(struct qcow2_file *f)
{
	struct inode *inode = qcow2_file_inode(f);
	struct block_device *bdev = qcow2_file_bdev(f->filp);
	struct kstat stat;

	f->align = PAGE_SIZE;
	f->mem_mask = SECTOR_SIZE - 1;
	if (bdev) {
		f->align = bdev_logical_block_size(bdev);
		f->mem_mask |= bdev_dma_alignment(bdev);
	}
	if (!S_ISBLK(inode->i_mode) &&
	    !vfs_getattr(&f->filp->f_path, &stat, STATX_DIOALIGN, 0) &&
	    (stat.result_mask & STATX_DIOALIGN)) {
		f->align = max_t(u32, stat.dio_offset_align, SECTOR_SIZE);
		if (stat.dio_offset_align && stat.dio_mem_align)
			f->mem_mask |= stat.dio_mem_align - 1;
		if (!stat.dio_offset_align)
			f->direct = false;
	}
	if (!is_power_of_2(f->align) || f->align > PAGE_SIZE || f->mem_mask >= PAGE_SIZE)
		f->direct = false;
	if (!f->direct) {
		f->align = 1;
		f->mem_mask = SECTOR_SIZE - 1;
	}
}

/*
 * File systems whose direct reads with IOCB_NOWAIT were tried from any context.
 * The others are read by workers.
 */
static bool inline_reads_safe(const struct qcow2_file *f)
{
	struct inode *inode = qcow2_file_inode(f);
	struct block_device *bdev = qcow2_file_bdev(f->filp);

	if (!f->direct || !(f->filp->f_mode & FMODE_NOWAIT) || !bdev || !bdev_nowait(bdev))
		return false;
	return S_ISBLK(inode->i_mode) || inode->i_sb->s_magic == XFS_SUPER_MAGIC;
}

/* A first byte, read the way all others will be: some files refuse only then. */
static int try_read(struct qcow2_file *f)
{
	u8 byte;
	ssize_t ret = qcow2_file_read(f, &byte, 0, 1);

	return ret < 0 ? ret : 0;
}

int qcow2_file_open(struct qcow2_file *f, struct file *filp, enum qcow2blk_direct_io mode,
		    const char **why)
{
	umode_t type = filp->f_mapping->host->i_mode;
	int err;

	if (!S_ISREG(type) && !S_ISBLK(type)) {
		*why = "the file is neither a regular file nor a block device";
		return -EINVAL;
	}
	if (!(filp->f_mode & FMODE_READ) || !filp->f_op->read_iter) {
		*why = "the file is not open for reading";
		return -EBADF;
	}

	spin_lock(&filp->f_lock);
	filp->f_flags |= O_NOATIME;
	spin_unlock(&filp->f_lock);

	f->filp = filp;
	f->bounce = mempool_create_page_pool(1, 0);
	if (!f->bounce) {
		*why = "out of memory";
		return -ENOMEM;
	}
	f->opened_size = qcow2_file_size(f);
	f->direct = mode != QCOW2BLK_DIRECT_IO_OFF && (filp->f_mode & FMODE_CAN_ODIRECT);
	find_alignment(f);
	err = try_read(f);
	if (err && f->direct && mode == QCOW2BLK_DIRECT_IO_AUTO) {
		f->direct = false;
		find_alignment(f);
		err = try_read(f);
	}
	if (!err && mode == QCOW2BLK_DIRECT_IO_ON && !f->direct) {
		*why = "the file cannot do direct I/O; use --direct-io=auto";
		err = -EOPNOTSUPP;
	} else if (err) {
		*why = "the file cannot be read";
	}
	if (err)
		mempool_destroy(f->bounce);
	f->inline_reads = inline_reads_safe(f);
	return err;
}

void qcow2_file_close(struct qcow2_file *f)
{
	/* Closed when the system call returns; 6.1 has __fput_sync() for kernel threads only. */
	fput(f->filp);
	mempool_destroy(f->bounce);
}

bool qcow2_file_may_enter(void)
{
	unsigned long here = (unsigned long)__builtin_frame_address(0);

	return here - (unsigned long)end_of_stack(current) > THREAD_SIZE / 2;
}

void qcow2_file_enter(struct qcow2_file_context *c)
{
	c->journal_info = current->journal_info;
	c->bio_list = current->bio_list;
	current->journal_info = NULL;
	current->bio_list = NULL;
	c->outer_plug = current->plug;
	if (c->outer_plug) {
		/* A task that was in a plug must be in one whenever it is scheduled. */
		preempt_disable();
		current->plug = NULL;
		blk_start_plug(&c->plug);
		preempt_enable();
	}
	c->noio = memalloc_noio_save();
}

void qcow2_file_leave(struct qcow2_file_context *c)
{
	memalloc_noio_restore(c->noio);
	if (c->outer_plug) {
		blk_finish_plug(&c->plug);
		current->plug = c->outer_plug;
	}
	current->bio_list = c->bio_list;
	current->journal_info = c->journal_info;
}

void qcow2_file_submit_read(const struct qcow2_file *f, struct kiocb *iocb,
			    struct iov_iter *to, u64 off, bool nowait)
{
	const struct cred *old = NULL;
	ssize_t ret;

	iocb->ki_filp = f->filp;
	iocb->ki_pos = off;
	iocb->ki_flags = (f->direct ? IOCB_DIRECT : 0) | (nowait ? IOCB_NOWAIT : 0);
	iocb->private = NULL;
	/* What may be read without waiting asks nobody's credentials. */
	if (!nowait)
		old = override_creds(f->filp->f_cred);
	ret = f->filp->f_op->read_iter(iocb, to);
	if (old)
		revert_creds(old);
	if (ret != -EIOCBQUEUED)
		iocb->ki_complete(iocb, ret);
}

/*
 * One synchronous read of a range that suits the file. Memory shortage in the file
 * system below passes; an I/O error made of it would not. The iterator is left as it
 * was: a failed read may have moved it.
 */
static ssize_t read_once(const struct qcow2_file *f, const struct iov_iter *to, u64 off)
{
	const struct cred *old = override_creds(f->filp->f_cred);
	struct iov_iter iter;
	struct kiocb iocb;
	ssize_t ret;

	for (;;) {
		iter = *to;
		init_sync_kiocb(&iocb, f->filp);
		iocb.ki_pos = off;
		iocb.ki_flags = f->direct ? IOCB_DIRECT : 0;
		ret = f->filp->f_op->read_iter(&iocb, &iter);
		if (ret != -ENOMEM || fatal_signal_pending(current))
			break;
		msleep(20);
	}
	revert_creds(old);
	return ret;
}

/* The piece of [@off, @off + @len) within one aligned block, copied to @to. */
static ssize_t read_bounced(const struct qcow2_file *f, struct iov_iter *to, u64 off)
{
	u64 start = round_down(off, PAGE_SIZE);
	u32 skip = off - start;
	size_t want = min_t(size_t, iov_iter_count(to), PAGE_SIZE - skip);
	struct page *page = mempool_alloc(f->bounce, GFP_NOIO);
	struct bio_vec bv = { .bv_page = page, .bv_len = PAGE_SIZE };
	struct iov_iter iter;
	ssize_t ret;

	/* Less than a page where that suits: the rest may lie past a device's end. */
	bv.bv_len = min_t(u32, round_up(skip + want, f->align), PAGE_SIZE);
	iov_iter_bvec(&iter, ITER_DEST, &bv, 1, bv.bv_len);
	ret = read_once(f, &iter, start);
	if (ret >= 0) {
		want = ret > skip ? min_t(size_t, want, ret - skip) : 0;
		ret = copy_page_to_iter(page, skip, want, to) == want ? want : -EFAULT;
	}
	mempool_free(page, f->bounce);
	return ret;
}

/* As much as fits the file's alignment at once, or one page through a copy. */
static ssize_t read_some(const struct qcow2_file *f, struct iov_iter *to, u64 off)
{
	struct iov_iter whole = *to;
	ssize_t ret;

	iov_iter_truncate(&whole, round_down(iov_iter_count(to), f->align));
	if (!iov_iter_count(&whole) || off & (f->align - 1) ||
	    !qcow2_file_memory_fits(f, &whole))
		return read_bounced(f, to, off);

	ret = read_once(f, &whole, off);
	if (ret > 0)
		iov_iter_advance(to, ret);
	return ret;
}

ssize_t qcow2_file_read_iter(const struct qcow2_file *f, struct iov_iter *to, u64 off)
{
	ssize_t done = 0, ret;

	while (iov_iter_count(to)) {
		ret = read_some(f, to, off + done);
		if (ret < 0)
			return ret;
		if (!ret)
			break;
		done += ret;
	}
	return done;
}

/* Describe up to READ_VECS pages of vmalloc memory. Return: bytes described. */
static size_t fill_vecs(struct bio_vec *bv, unsigned int *nr, void *buf, size_t len)
{
	size_t done = 0;

	for (*nr = 0; *nr < READ_VECS && done < len; (*nr)++) {
		void *p = buf + done;
		u32 n = min_t(size_t, len - done, PAGE_SIZE - offset_in_page(p));

		bv[*nr] = (struct bio_vec) {
			.bv_page = vmalloc_to_page(p), .bv_offset = offset_in_page(p), .bv_len = n,
		};
		done += n;
	}
	return done;
}

static ssize_t read_vmalloc(const struct qcow2_file *f, void *buf, u64 off, size_t len)
{
	struct bio_vec bv[READ_VECS];
	struct iov_iter iter;
	unsigned int nr;
	size_t done = 0, part;
	ssize_t ret;

	while (done < len) {
		part = fill_vecs(bv, &nr, buf + done, len - done);
		iov_iter_bvec(&iter, ITER_DEST, bv, nr, part);
		ret = qcow2_file_read_iter(f, &iter, off + done);
		if (ret < 0)
			return ret;
		done += ret;
		if (ret < part)
			break;
	}
	return done;
}

ssize_t qcow2_file_read(const struct qcow2_file *f, void *buf, u64 off, size_t len)
{
	struct kvec kvec = { .iov_base = buf, .iov_len = len };
	struct iov_iter iter;
	size_t done = 0;
	ssize_t ret = 1;

	if (is_vmalloc_addr(buf))
		return read_vmalloc(f, buf, off, len);

	iov_iter_kvec(&iter, ITER_DEST, &kvec, 1, len);
	while (done < len && ret) {
		ret = read_bounced(f, &iter, off + done);
		if (ret < 0)
			return ret;
		done += ret;
	}
	return done;
}
