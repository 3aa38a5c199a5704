/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What differs between kernels 6.1, 6.12 and 7.2, under the name of the newest.
 *
 * Nothing else in the module looks at a kernel's version or features. The
 * QCOW2_HAVE_* macros are set by Kbuild, which looks into the kernel's headers.
 */
#ifndef _QCOW2_COMPAT_H
#define _QCOW2_COMPAT_H

#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/srcu.h>
#include <linux/workqueue.h>

#ifndef QCOW2_HAVE_SHOULD_MERGE_FLAG
#define QCOW2_MQ_F_SHOULD_MERGE		0
#else
#define QCOW2_MQ_F_SHOULD_MERGE		BLK_MQ_F_SHOULD_MERGE
#endif

/* Work stays on its CPU: 6.17 has a flag for what was meant where nothing was said. */
#ifdef QCOW2_HAVE_WQ_PERCPU
#define QCOW2_WQ_PERCPU			WQ_PERCPU
#else
#define QCOW2_WQ_PERCPU			0
#endif

/* The node of a request's memory got a sign in 7.x. */
#ifdef QCOW2_HAVE_SIGNED_NODE
#define QCOW2_COMPAT_NODE		int
#else
#define QCOW2_COMPAT_NODE		unsigned int
#endif

/* 6.3 has a name for reading sides that end in another task than they began in. */
#ifndef QCOW2_HAVE_SRCU_DOWN_READ
#define srcu_down_read(ssp)		__srcu_read_lock(ssp)
#define srcu_up_read(ssp, idx)		__srcu_read_unlock(ssp, idx)
#endif

/* 6.5 opens disks, not block devices, and has a mode type of its own. */
#ifdef QCOW2_HAVE_BLK_MODE
#define QCOW2_DEFINE_DISK_OPEN(name, disk)				\
	static int name(struct gendisk *(disk), blk_mode_t mode)
#else
#define QCOW2_DEFINE_DISK_OPEN(name, disk)				\
	static int name##_disk(struct gendisk *(disk));			\
	static int name(struct block_device *bdev, fmode_t mode)	\
	{								\
		return name##_disk(bdev->bd_disk);			\
	}								\
	static int name##_disk(struct gendisk *(disk))
#endif

/* The same release does not tell the mode any more. */
#ifdef QCOW2_HAVE_BLK_MODE
#define QCOW2_DEFINE_DISK_RELEASE(name, disk)				\
	static void name(struct gendisk *(disk))
#else
#define QCOW2_DEFINE_DISK_RELEASE(name, disk)				\
	static void name(struct gendisk *(disk), fmode_t mode)
#endif

/* Since 6.9 a plug may know what time it is, and a task that is scheduled looks for that there. */
static inline void qcow2_plug_forget_time(struct blk_plug *plug)
{
#ifdef PF_BLOCK_TS
	if (current->flags & PF_BLOCK_TS) {
		plug->cur_ktime = 0;
		current->flags &= ~PF_BLOCK_TS;
	}
#endif
}

/**
 * struct qcow2_disk_limits - the queue limits that a disk announces
 * @physical_block_size: bytes.
 * @io_min: bytes.
 * @io_opt: bytes.
 * @max_hw_sectors: 512-byte sectors in one request.
 * @dma_alignment: mask for the memory of direct I/O.
 * @discard_granularity: bytes; 0: no discard.
 * @discard_sectors: 512-byte sectors in one discard or write of zeros.
 * @write_cache: what is written is durable only after a flush.
 */
struct qcow2_disk_limits {
	unsigned int physical_block_size;
	unsigned int io_min;
	unsigned int io_opt;
	unsigned int max_hw_sectors;
	unsigned int dma_alignment;
	unsigned int discard_granularity;
	unsigned int discard_sectors;
	bool write_cache;
};

/*
 * A disk with a queue on @set. 6.9 takes the limits when the queue is made,
 * earlier kernels have a setter for each. Data segments are never mapped for
 * DMA here, so nothing limits their size. Their number is that of a bio's vectors, for
 * copy.c: a bio made of somebody's own vectors can have more.
 */
static inline struct gendisk *
qcow2_compat_alloc_disk(struct blk_mq_tag_set *set, const struct qcow2_disk_limits *l,
			void *queuedata)
{
#ifdef QCOW2_HAVE_LIMITS_AT_ALLOC
	struct queue_limits lim = {
		.logical_block_size	= SECTOR_SIZE,
		.physical_block_size	= l->physical_block_size,
		.io_min			= l->io_min,
		.io_opt			= l->io_opt,
		.max_hw_sectors		= l->max_hw_sectors,
		.max_segments		= BIO_MAX_VECS,
		.max_segment_size	= UINT_MAX,
		.seg_boundary_mask	= ULONG_MAX,
		.dma_alignment		= l->dma_alignment,
		.discard_granularity	= l->discard_granularity,
		.max_hw_discard_sectors	= l->discard_granularity ? l->discard_sectors : 0,
		.max_write_zeroes_sectors = l->discard_sectors,
	};

	struct gendisk *disk;

#ifdef BLK_FEAT_WRITE_CACHE
	if (l->write_cache)
		lim.features |= BLK_FEAT_WRITE_CACHE;
#endif
	disk = blk_mq_alloc_disk(set, &lim, queuedata);
#ifndef BLK_FEAT_WRITE_CACHE
	if (!IS_ERR(disk))
		blk_queue_write_cache(disk->queue, l->write_cache, false);
#endif
	return disk;
#else
	struct gendisk *disk = blk_mq_alloc_disk(set, queuedata);

	if (IS_ERR(disk))
		return disk;
	blk_queue_logical_block_size(disk->queue, SECTOR_SIZE);
	blk_queue_physical_block_size(disk->queue, l->physical_block_size);
	blk_queue_io_min(disk->queue, l->io_min);
	blk_queue_io_opt(disk->queue, l->io_opt);
	blk_queue_max_hw_sectors(disk->queue, l->max_hw_sectors);
	blk_queue_max_segments(disk->queue, BIO_MAX_VECS);
	blk_queue_segment_boundary(disk->queue, ULONG_MAX);
	blk_queue_max_segment_size(disk->queue, UINT_MAX);
	blk_queue_dma_alignment(disk->queue, l->dma_alignment);
	if (l->discard_granularity) {
		disk->queue->limits.discard_granularity = l->discard_granularity;
		blk_queue_max_discard_sectors(disk->queue, l->discard_sectors);
	}
	blk_queue_max_write_zeroes_sectors(disk->queue, l->discard_sectors);
	blk_queue_write_cache(disk->queue, l->write_cache, false);
	/* Later kernels take a disk as not rotational unless told otherwise. */
	blk_queue_flag_set(QUEUE_FLAG_NONROT, disk->queue);
	return disk;
#endif
}

#endif /* _QCOW2_COMPAT_H */
