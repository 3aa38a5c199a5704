// SPDX-License-Identifier: GPL-2.0
/* The disk that users see. See disk.h for the contracts. */
#include <linux/blkdev.h>
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/sched/mm.h>

#include "compat.h"
#include "disk.h"
#include "write.h"

/* Requests that one hardware queue holds. */
#define QUEUE_DEPTH	128

/* Bytes of one request, at most: what readahead and copying ask for, and more. */
#define MAX_REQUEST_BYTES	(4U << 20)

static const struct attribute_group **disk_groups;

void qcow2_disk_set_groups(const struct attribute_group **groups)
{
	disk_groups = groups;
}

static void request_done(struct qcow2_request *req, int err)
{
	struct request *rq = blk_mq_rq_from_pdu(req);

	/* The layer has said what went wrong, with names; once is enough. */
	if (err)
		rq->rq_flags |= RQF_QUIET;
	/* A queue for each CPU: blk_mq_complete_request() would find it right to end here, too. */
	blk_mq_end_request(rq, err ? errno_to_blk_status(err) : BLK_STS_OK);
}

static blk_status_t disk_queue_rq(struct blk_mq_hw_ctx *hctx,
				  const struct blk_mq_queue_data *bd)
{
	struct request *rq = bd->rq;
	struct qcow2_request *req = blk_mq_rq_to_pdu(rq);
	u64 off = blk_rq_pos(rq) << SECTOR_SHIFT;
	enum qcow2_write_op op;

	req->charged = rq->bio;
	switch (req_op(rq)) {
	case REQ_OP_READ:
		blk_mq_start_request(rq);
		qcow2_request_read(req, rq->bio, off, req_get_ioprio(rq));
		return BLK_STS_OK;
	case REQ_OP_WRITE:
		op = QCOW2_WRITE;
		break;
	case REQ_OP_WRITE_ZEROES:
		op = rq->cmd_flags & REQ_NOUNMAP || !req->target->chain.layers[0]->discard ?
		     QCOW2_ZERO_KEEP : QCOW2_ZERO;
		break;
	case REQ_OP_DISCARD:
		op = QCOW2_DISCARD;
		break;
	case REQ_OP_FLUSH:
		op = QCOW2_FLUSH;
		break;
	default:
		return BLK_STS_NOTSUPP;
	}
	if (!req->target->chain.layers[0]->writable)
		return BLK_STS_IOERR;
	/* It may have come before the disk shrank. */
	if (op != QCOW2_FLUSH && off + blk_rq_bytes(rq) > req->target->chain.layers[0]->size)
		return BLK_STS_IOERR;
	blk_mq_start_request(rq);
	qcow2_request_write(req, op, op == QCOW2_WRITE ? rq->bio : NULL, off,
			    blk_rq_bytes(rq), req_get_ioprio(rq));
	return BLK_STS_OK;
}

static int disk_init_request(struct blk_mq_tag_set *set, struct request *rq,
			     unsigned int hctx_idx, QCOW2_COMPAT_NODE node)
{
	struct qcow2_disk *d = set->driver_data;

	qcow2_request_init(blk_mq_rq_to_pdu(rq), d->target);
	return 0;
}

static const struct blk_mq_ops disk_mq_ops = {
	.queue_rq	= disk_queue_rq,
	.init_request	= disk_init_request,
};

QCOW2_DEFINE_DISK_OPEN(disk_open, disk)
{
	struct qcow2_disk *d = disk->private_data;

	lockdep_assert_held(&disk->open_mutex);
	return d->dying ? -ENXIO : 0;
}

/* Of the disk or of a partition, which is an opener of the disk, too. */
QCOW2_DEFINE_DISK_RELEASE(disk_release, disk)
{
	struct qcow2_disk *d = disk->private_data;

	lockdep_assert_held(&disk->open_mutex);
	if (!disk_openers(disk))
		d->closed(d);
}

static const struct block_device_operations disk_fops = {
	.owner	 = THIS_MODULE,
	.open	 = disk_open,
	.release = disk_release,
};

unsigned int qcow2_disk_nesting(struct block_device *bdev)
{
	struct qcow2_disk *d;

	if (!bdev || bdev->bd_disk->fops != &disk_fops)
		return 0;
	d = bdev->bd_disk->private_data;
	return d->nesting;
}

/* Subclusters, as many as an L2 table maps; a raw file has neither. */
static void find_discard_limits(const struct qcow2_layer *top, struct qcow2_disk_limits *l)
{
	u64 reach = top->format == QCOW2BLK_FORMAT_QCOW2 ?
		    1ULL << (top->h.l2_bits + top->h.cluster_bits) : 1ULL << 30;

	l->write_cache = true;
	l->discard_sectors = min_t(u64, reach, UINT_MAX & ~(PAGE_SIZE - 1)) >> SECTOR_SHIFT;
	if (top->discard)
		l->discard_granularity = top->format == QCOW2BLK_FORMAT_QCOW2 ?
					 max(top->h.subcluster_size, l->physical_block_size) :
					 PAGE_SIZE;
}

static void find_limits(const struct qcow2_chain *chain, struct qcow2_disk_limits *l)
{
	const struct qcow2_layer *top = chain->layers[0];
	unsigned int i;

	memset(l, 0, sizeof(*l));
	l->physical_block_size = SECTOR_SIZE;
	/* Memory that a file below does not like is copied: see qcow2_file_memory_fits(). */
	l->dma_alignment = SECTOR_SIZE - 1;
	for (i = 0; i < chain->nr; i++)
		l->physical_block_size = max(l->physical_block_size,
					     chain->layers[i]->data->align);
	/*
	 * What is smaller than a subcluster costs a copy where it allocates; what begins and ends
	 * where clusters do is one piece of the file.
	 */
	l->io_min = l->physical_block_size;
	if (top->format == QCOW2BLK_FORMAT_QCOW2) {
		l->io_min = max(l->io_min, top->h.subcluster_size);
		l->io_opt = max(l->io_min, top->h.cluster_size);
	}
	l->max_hw_sectors = MAX_REQUEST_BYTES >> SECTOR_SHIFT;
	if (top->writable)
		find_discard_limits(top, l);
}

int qcow2_disk_create(struct qcow2_disk *d, const char *name,
		      struct qcow2_io_target *target, unsigned int nesting)
{
	struct qcow2_disk_limits limits;
	int err;

	d->target = target;
	d->nesting = nesting;
	target->done = request_done;

	d->tags.ops = &disk_mq_ops;
	d->tags.nr_hw_queues = nr_cpu_ids;
	d->tags.queue_depth = QUEUE_DEPTH;
	d->tags.numa_node = NUMA_NO_NODE;
	d->tags.cmd_size = sizeof(struct qcow2_request);
	/* read_iter may sleep, for short: BLOCKING. */
	d->tags.flags = BLK_MQ_F_BLOCKING | BLK_MQ_F_NO_SCHED_BY_DEFAULT |
			QCOW2_MQ_F_SHOULD_MERGE;
	d->tags.driver_data = d;
	err = blk_mq_alloc_tag_set(&d->tags);
	if (err)
		return err;

	find_limits(&target->chain, &limits);
	d->gd = qcow2_compat_alloc_disk(&d->tags, &limits, d);
	if (IS_ERR(d->gd)) {
		err = PTR_ERR(d->gd);
		blk_mq_free_tag_set(&d->tags);
		return err;
	}
	d->gd->fops = &disk_fops;
	d->gd->private_data = d;
	strscpy(d->gd->disk_name, name, DISK_NAME_LEN);
	set_capacity(d->gd, target->chain.layers[0]->size >> SECTOR_SHIFT);
	set_disk_ro(d->gd, !target->chain.layers[0]->writable);
	return 0;
}

int qcow2_disk_add(struct qcow2_disk *d, bool partscan)
{
	int err;

	set_bit(GD_SUPPRESS_PART_SCAN, &d->gd->state);
	err = device_add_disk(NULL, d->gd, disk_groups);
	if (!err && partscan)
		clear_bit(GD_SUPPRESS_PART_SCAN, &d->gd->state);
	return err;
}

void qcow2_disk_set_read_only(struct qcow2_disk *d)
{
	if (d->gd)
		set_disk_ro(d->gd, true);
}

bool qcow2_disk_is_open(struct qcow2_disk *d)
{
	return disk_openers(d->gd);
}

void qcow2_disk_allow_opens(struct qcow2_disk *d)
{
	mutex_lock(&d->gd->open_mutex);
	d->dying = false;
	mutex_unlock(&d->gd->open_mutex);
}

int qcow2_disk_refuse_opens(struct qcow2_disk *d)
{
	int err = 0;

	mutex_lock(&d->gd->open_mutex);
	if (disk_openers(d->gd))
		err = -EBUSY;
	else
		d->dying = true;
	mutex_unlock(&d->gd->open_mutex);
	return err;
}

unsigned int qcow2_disk_pause(struct qcow2_disk *d)
{
	unsigned int noio = memalloc_noio_save();

	blk_mq_quiesce_queue(d->gd->queue);
	while (qcow2_io_under_way(d->target))
		usleep_range(100, 1000);
	return noio;
}

void qcow2_disk_resume(struct qcow2_disk *d, unsigned int noio)
{
	blk_mq_unquiesce_queue(d->gd->queue);
	memalloc_noio_restore(noio);
}

void qcow2_disk_grew(struct qcow2_disk *d)
{
	set_capacity_and_notify(d->gd, d->target->chain.layers[0]->size >> SECTOR_SHIFT);
}

void qcow2_disk_changed(struct qcow2_disk *d)
{
	qcow2_disk_grew(d);
	invalidate_bdev(d->gd->part0);
}

bool qcow2_disk_has_partition(struct qcow2_disk *d, u64 size)
{
	struct block_device *part;
	unsigned long nr;
	bool any = false;

	mutex_lock(&d->gd->open_mutex);
	xa_for_each_start(&d->gd->part_tbl, nr, part, 1)
		any |= part->bd_start_sect + bdev_nr_sectors(part) > size >> SECTOR_SHIFT;
	mutex_unlock(&d->gd->open_mutex);
	return any;
}

void qcow2_disk_remove(struct qcow2_disk *d)
{
	del_gendisk(d->gd);
}

void qcow2_disk_destroy(struct qcow2_disk *d)
{
	put_disk(d->gd);
	blk_mq_free_tag_set(&d->tags);
}
