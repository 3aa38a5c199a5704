// SPDX-License-Identifier: GPL-2.0
/* I/O on an image file. See file.h for the contracts. */
#include <linux/blkdev.h>
#include <linux/cred.h>
#include <linux/delay.h>
#include <linux/falloc.h>
#include <linux/file.h>
#include <linux/highmem.h>
#include <linux/magic.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/stat.h>
#include <linux/vmalloc.h>

#include "file.h"
#include "mutant.h"
#include "trace.h"

/* Bio_vecs of one synchronous read or write: 64 KiB at a time, 256 bytes of stack. */
#define SYNC_VECS	16

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
 * File systems whose direct I/O with IOCB_NOWAIT was tried from any context.
 * The others are left to workers.
 */
static bool inline_io_safe(const struct qcow2_file *f)
{
	struct inode *inode = qcow2_file_inode(f);
	struct block_device *bdev = qcow2_file_bdev(f->filp);

	if (!f->direct || !(f->filp->f_mode & FMODE_NOWAIT) || !bdev || !bdev_nowait(bdev))
		return false;
	return S_ISBLK(inode->i_mode) || inode->i_sb->s_magic == XFS_SUPER_MAGIC;
}

/*
 * Direct I/O looks for pages of the file first, if there is but one of them, and they would only
 * become older than the file. Without success nothing is lost.
 */
static void drop_page_cache(const struct qcow2_file *f)
{
	struct address_space *mapping = f->filp->f_mapping;

	filemap_write_and_wait(mapping);
	invalidate_mapping_pages(mapping, 0, -1);
}

/* A first byte, read the way all others will be: some files refuse only then. */
static int try_read(struct qcow2_file *f)
{
	u8 byte;
	ssize_t ret = qcow2_file_read(f, &byte, 0, 1);

	return ret < 0 ? ret : 0;
}

static int check_mode(const struct file *filp, bool writable, const char **why)
{
	umode_t type = filp->f_mapping->host->i_mode;

	if (!S_ISREG(type) && !S_ISBLK(type)) {
		*why = "the file is neither a regular file nor a block device";
		return -EINVAL;
	}
	if (!(filp->f_mode & FMODE_READ) || !filp->f_op->read_iter) {
		*why = "the file is not open for reading";
		return -EBADF;
	}
	if (writable && (!(filp->f_mode & FMODE_WRITE) || !filp->f_op->write_iter)) {
		*why = "the file is not open for writing";
		return -EBADF;
	}
	return 0;
}

/*
 * Memory that the page cache takes for a write must not wait for writes: they may be
 * waiting for this one.
 */
static void take_page_cache(struct qcow2_file *f)
{
	struct address_space *mapping = f->filp->f_mapping;

	f->gfp = mapping_gfp_mask(mapping);
	if (f->writable && !f->direct)
		mapping_set_gfp_mask(mapping, f->gfp & ~(__GFP_IO | __GFP_FS));
}

int qcow2_file_open(struct qcow2_file *f, struct file *filp, enum qcow2blk_direct_io mode,
		    bool writable, const char **why)
{
	int err = check_mode(filp, writable, why);

	if (err)
		return err;
	spin_lock(&filp->f_lock);
	filp->f_flags |= O_NOATIME;
	spin_unlock(&filp->f_lock);

	f->filp = filp;
	f->writable = writable;
	f->can_grow = S_ISREG(filp->f_mapping->host->i_mode) && filp->f_op->fallocate;
	f->can_punch = filp->f_op->fallocate;
	f->can_zero = f->can_grow;
	init_rwsem(&f->rmw);
	mutex_init(&f->sync_lock);
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
	if (err) {
		mempool_destroy(f->bounce);
		return err;
	}
	f->inline_io = inline_io_safe(f);
	if (f->direct)
		drop_page_cache(f);
	take_page_cache(f);
	return 0;
}

void qcow2_file_close(struct qcow2_file *f)
{
	if (f->writable && !f->direct)
		mapping_set_gfp_mask(f->filp->f_mapping, f->gfp);
	/* A task closes it when its system call returns, a worker some time later. */
	if (current->flags & PF_KTHREAD)
		__fput_sync(f->filp);
	else
		fput(f->filp);
	mempool_destroy(f->bounce);
}

bool qcow2_file_regular(const struct qcow2_file *f)
{
	return S_ISREG(qcow2_file_inode(f)->i_mode);
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

/* Is it past what any file can have? A broken image may say so, and file systems do not look. */
static bool is_too_far(u64 off, size_t len)
{
	return off > LLONG_MAX || len > LLONG_MAX - off;
}

/*
 * One synchronous read of a range that suits the file. Memory shortage in the file
 * system below passes; an I/O error made of it would not. The iterator is left as it
 * was: a failed read may have moved it.
 */
static ssize_t read_once(const struct qcow2_file *f, const struct iov_iter *to, u64 off)
{
	const struct cred *old;
	struct iov_iter iter;
	struct kiocb iocb;
	ssize_t ret;

	if (is_too_far(off, iov_iter_count(to)))
		return 0;
	old = override_creds(f->filp->f_cred);
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

/* Describe up to SYNC_VECS pages of vmalloc memory. Return: bytes described. */
static size_t fill_vecs(struct bio_vec *bv, unsigned int *nr, const void *buf, size_t len)
{
	size_t done = 0;

	for (*nr = 0; *nr < SYNC_VECS && done < len; (*nr)++) {
		const void *p = buf + done;
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
	struct bio_vec bv[SYNC_VECS];
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

/* Writers of whole blocks, against those that change a part of one. */
static bool blocks_need_lock(const struct qcow2_file *f)
{
	return f->align > SECTOR_SIZE;
}

/* One synchronous write of a range that suits the file. See read_once(). */
static ssize_t write_once(struct qcow2_file *f, const struct iov_iter *from, u64 off)
{
	unsigned int throttle = current->flags & PF_LOCAL_THROTTLE;
	const struct cred *old;
	struct iov_iter iter;
	struct kiocb iocb;
	ssize_t ret;

	if (is_too_far(off, iov_iter_count(from)))
		return -EFBIG;
	old = override_creds(f->filp->f_cred);
	/* Not to be throttled for pages that others made dirty: they may wait for us. */
	current->flags |= PF_LOCAL_THROTTLE;
	for (;;) {
		iter = *from;
		init_sync_kiocb(&iocb, f->filp);
		iocb.ki_pos = off;
		iocb.ki_flags = IOCB_WRITE | (f->direct ? IOCB_DIRECT : 0);
		file_start_write(f->filp);
		ret = f->filp->f_op->write_iter(&iocb, &iter);
		file_end_write(f->filp);
		if (ret != -ENOMEM || fatal_signal_pending(current))
			break;
		msleep(20);
	}
	if (!throttle)
		current->flags &= ~PF_LOCAL_THROTTLE;
	revert_creds(old);
	return ret;
}

/* Fill @page with the bytes at @start, zeros past the end of the file. */
static int read_block(struct qcow2_file *f, struct page *page, u64 start, u32 len)
{
	struct bio_vec bv = { .bv_page = page, .bv_len = len };
	struct iov_iter iter;
	ssize_t ret;

	iov_iter_bvec(&iter, ITER_DEST, &bv, 1, len);
	ret = read_once(f, &iter, start);
	if (ret < 0)
		return ret;
	memzero_page(page, ret, len - ret);
	return 0;
}

/* Whole blocks of one page: all of them or an error. */
static int write_page(struct qcow2_file *f, struct page *page, u64 start, u32 len)
{
	struct bio_vec bv = { .bv_page = page, .bv_len = len };
	struct iov_iter iter;
	ssize_t ret;

	iov_iter_bvec(&iter, ITER_SOURCE, &bv, 1, len);
	while (iov_iter_count(&iter)) {
		ret = write_once(f, &iter, start);
		if (ret < 0)
			return ret;
		/* No progress and no reason: as QEMU, take it for a full disk. */
		if (!ret || ret & (f->align - 1))
			return -ENOSPC;
		iov_iter_advance(&iter, ret);
		start += ret;
	}
	return 0;
}

/* The piece of [@off, @off + @len) within one page's worth of blocks, through a copy. */
static ssize_t write_bounced(struct qcow2_file *f, struct iov_iter *from, u64 off)
{
	u64 start = round_down(off, f->align);
	u32 skip = off - start;
	size_t want = min_t(size_t, iov_iter_count(from), PAGE_SIZE - skip);
	u32 len = round_up(skip + want, f->align);
	bool whole = !skip && want == len;
	struct page *page = mempool_alloc(f->bounce, GFP_NOIO);
	int err = 0;

	if (!whole)
		down_write(&f->rmw);
	else if (blocks_need_lock(f))
		down_read(&f->rmw);
	if (!whole)
		err = read_block(f, page, start, len);
	if (!err && copy_page_from_iter(page, skip, want, from) != want)
		err = -EFAULT;
	if (!err)
		err = write_page(f, page, start, len);
	if (!whole)
		up_write(&f->rmw);
	else if (blocks_need_lock(f))
		up_read(&f->rmw);
	mempool_free(page, f->bounce);
	return err ?: want;
}

/* As much as fits the file's alignment at once, or one page through a copy. */
static ssize_t write_some(struct qcow2_file *f, struct iov_iter *from, u64 off)
{
	struct iov_iter whole = *from;
	ssize_t ret;

	iov_iter_truncate(&whole, round_down(iov_iter_count(from), f->align));
	if (!iov_iter_count(&whole) || off & (f->align - 1) ||
	    !qcow2_file_memory_fits(f, &whole))
		return write_bounced(f, from, off);

	if (blocks_need_lock(f))
		down_read(&f->rmw);
	ret = write_once(f, &whole, off);
	if (blocks_need_lock(f))
		up_read(&f->rmw);
	if (ret > 0)
		iov_iter_advance(from, ret);
	return ret;
}

int qcow2_file_write_iter(struct qcow2_file *f, struct iov_iter *from, u64 off)
{
	ssize_t ret;

	while (iov_iter_count(from)) {
		ret = write_some(f, from, off);
		if (ret < 0)
			return ret;
		/* No progress and no reason: as QEMU, take it for a full disk. */
		if (!ret)
			return -ENOSPC;
		off += ret;
	}
	return 0;
}

static int write_vmalloc(struct qcow2_file *f, const void *buf, u64 off, size_t len)
{
	struct bio_vec bv[SYNC_VECS];
	struct iov_iter iter;
	unsigned int nr;
	size_t done = 0, part;
	int err;

	while (done < len) {
		part = fill_vecs(bv, &nr, buf + done, len - done);
		iov_iter_bvec(&iter, ITER_SOURCE, bv, nr, part);
		err = qcow2_file_write_iter(f, &iter, off + done);
		if (err)
			return err;
		done += part;
	}
	return 0;
}

int qcow2_file_write(struct qcow2_file *f, const void *buf, u64 off, size_t len)
{
	struct kvec kvec = { .iov_base = (void *)buf, .iov_len = len };
	struct iov_iter iter;
	ssize_t ret;

	if (is_vmalloc_addr(buf))
		return write_vmalloc(f, buf, off, len);

	iov_iter_kvec(&iter, ITER_SOURCE, &kvec, 1, len);
	while (iov_iter_count(&iter)) {
		ret = write_bounced(f, &iter, off);
		if (ret < 0)
			return ret;
		off += ret;
	}
	return 0;
}

bool qcow2_file_may_submit_write(const struct qcow2_file *f, const struct iov_iter *from,
				 u64 off)
{
	return f->direct && !blocks_need_lock(f) &&
	       qcow2_file_aligned(f, off, iov_iter_count(from)) &&
	       qcow2_file_memory_fits(f, from);
}

/*
 * A frozen file system takes no writes; what keeps it from freezing is held until
 * the write ends, in another task: lockdep is told that we have let go of it.
 */
static bool start_write(struct qcow2_file *f, bool nowait)
{
	struct super_block *sb = qcow2_file_inode(f)->i_sb;

	if (!qcow2_file_regular(f))
		return true;
	if (!nowait)
		sb_start_write(sb);
	else if (!sb_start_write_trylock(sb))
		return false;
	__sb_writers_release(sb, SB_FREEZE_WRITE);
	return true;
}

void qcow2_file_end_write(struct qcow2_file *f)
{
	if (!qcow2_file_regular(f))
		return;
	__sb_writers_acquired(qcow2_file_inode(f)->i_sb, SB_FREEZE_WRITE);
	sb_end_write(qcow2_file_inode(f)->i_sb);
}

/* A limit on the size of the task's files is not meant for ours. */
bool qcow2_file_may_write_inline(const struct qcow2_file *f)
{
	return f->inline_io && !READ_ONCE(f->would_sleep) &&
	       rlimit(RLIMIT_FSIZE) == RLIM_INFINITY;
}

/* Pages that somebody reads through the cache may be locked: 6.1 would wait for them. */
static bool is_cached(const struct qcow2_file *f, u64 off, size_t len)
{
	struct address_space *mapping = f->filp->f_mapping;

	return mapping->nrpages && filemap_range_has_page(mapping, off, off + len - 1);
}

static ssize_t write_async(struct qcow2_file *f, struct kiocb *iocb, struct iov_iter *from, u64 off,
			   int flags)
{
	iocb->ki_filp = f->filp;
	iocb->ki_pos = off;
	iocb->ki_flags = IOCB_WRITE | IOCB_DIRECT | flags;
	iocb->private = NULL;
	return f->filp->f_op->write_iter(iocb, from);
}

/*
 * What sleeps is, above all, the first write of a clock tick, which sets the file's modification
 * time. Who comes next would find the same: he does not try until a worker was there.
 */
static bool submit_nowait(struct qcow2_file *f, struct kiocb *iocb, struct iov_iter *from, u64 off)
{
	ssize_t ret;

	if (is_cached(f, off, iov_iter_count(from)) || !start_write(f, true))
		return false;
	ret = write_async(f, iocb, from, off, IOCB_NOWAIT);
	if (ret == -EAGAIN) {
		WRITE_ONCE(f->would_sleep, true);
		qcow2_file_end_write(f);
		return false;
	}
	if (ret != -EIOCBQUEUED)
		iocb->ki_complete(iocb, ret);
	return true;
}

bool qcow2_file_submit_write(struct qcow2_file *f, struct kiocb *iocb, struct iov_iter *from,
			     u64 off, bool nowait)
{
	const struct cred *old;
	ssize_t ret;

	/* What may be written without waiting asks nobody's credentials. */
	if (nowait)
		return submit_nowait(f, iocb, from, off);
	start_write(f, false);
	old = override_creds(f->filp->f_cred);
	ret = write_async(f, iocb, from, off, 0);
	revert_creds(old);
	WRITE_ONCE(f->would_sleep, false);
	if (ret != -EIOCBQUEUED)
		iocb->ki_complete(iocb, ret);
	return true;
}

int qcow2_file_sync(struct qcow2_file *f)
{
	const struct cred *old;
	u64 began;
	int err;

	mutex_lock(&f->sync_lock);
	if (!f->sync_failed) {
		began = ktime_get_ns();
		old = override_creds(f->filp->f_cred);
		/* Sizes and extents are made durable by fdatasync, too. */
		if (vfs_fsync(f->filp, 1) && !qcow2_is_mutant(SYNC_RETRIED))
			f->sync_failed = true;
		revert_creds(old);
		f->fsyncs++;
		f->fsync_nsec += ktime_get_ns() - began;
	}
	err = f->sync_failed ? -EIO : 0;
	trace_qcow2_fsync(qcow2_file_inode(f)->i_ino, err);
	mutex_unlock(&f->sync_lock);
	return err;
}

/*
 * Memory shortage passes; but who takes space can ask for less of it, and on a file system
 * in memory that may be all that there is.
 */
static bool try_again(int mode, int err)
{
	bool takes_space = !(mode & ~FALLOC_FL_KEEP_SIZE);

	return (err == -EINTR || (err == -ENOMEM && !takes_space)) &&
	       !fatal_signal_pending(current);
}

/* Who changes a part of a block must not write back what was there before. */
static int allocate_once(struct qcow2_file *f, int mode, u64 off, u64 len)
{
	int err;

	if (blocks_need_lock(f))
		down_write(&f->rmw);
	err = vfs_fallocate(f->filp, mode, off, len);
	if (blocks_need_lock(f))
		up_write(&f->rmw);
	return err;
}

/* @can: what to remember of a refusal. */
static int allocate(struct qcow2_file *f, int mode, u64 off, u64 len, bool *can)
{
	const struct cred *old;
	int err;

	if (!READ_ONCE(*can))
		return -EOPNOTSUPP;
	old = override_creds(f->filp->f_cred);
	while (try_again(mode, err = allocate_once(f, mode, off, len)))
		msleep(20);
	revert_creds(old);
	if (err == -EOPNOTSUPP || err == -ENODEV) {
		WRITE_ONCE(*can, false);
		err = -EOPNOTSUPP;
	}
	return err;
}

int qcow2_file_grow(struct qcow2_file *f, u64 off, u64 len)
{
	return allocate(f, 0, off, len, &f->can_grow);
}

int qcow2_file_punch(struct qcow2_file *f, u64 off, u64 len)
{
	return allocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len, &f->can_punch);
}

int qcow2_file_zero(struct qcow2_file *f, u64 off, u64 len)
{
	return allocate(f, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, off, len, &f->can_zero);
}

int qcow2_file_reserve(struct qcow2_file *f, u64 off, u64 len)
{
	return allocate(f, FALLOC_FL_KEEP_SIZE, off, len, &f->can_grow);
}

bool qcow2_file_is_hole(const struct qcow2_file *f, u64 off, u64 len)
{
	const struct cred *old = override_creds(f->filp->f_cred);
	loff_t data = vfs_llseek(f->filp, off, SEEK_DATA);

	revert_creds(old);
	return data == -ENXIO || (data > 0 && data >= off + len);
}

int qcow2_file_truncate(struct qcow2_file *f, u64 size)
{
	const struct cred *old = override_creds(f->filp->f_cred);
	int err = vfs_truncate(&f->filp->f_path, size);

	revert_creds(old);
	/* Nothing is lost that anybody wants. */
	if (!err)
		f->opened_size = min(f->opened_size, size);
	return err;
}
