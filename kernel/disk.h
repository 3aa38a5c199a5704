/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The disk that users see: gendisk, queue, requests. The only room that knows
 * blk_status_t and struct request.
 */
#ifndef _QCOW2_DISK_H
#define _QCOW2_DISK_H

#include <linux/blk-mq.h>

#include "io.h"

/* Devices on images on devices: this many levels. */
#define QCOW2_MAX_NESTING	4U

/**
 * struct qcow2_disk - one disk
 * @gd: the gendisk.
 * @tags: its tags; a hardware queue a CPU.
 * @target: what requests are served from.
 * @nesting: 1 where no image lies on a device of ours, one more a level else.
 * @dying: opens are refused. Under @gd->open_mutex.
 * @closed: called when nobody has it open any longer, under @gd->open_mutex, so that it cannot end
 *	the disk itself. Constant. Context: may sleep.
 */
struct qcow2_disk {
	struct gendisk *gd;
	struct blk_mq_tag_set tags;
	struct qcow2_io_target *target;
	unsigned int nesting;
	bool dying;
	void (*closed)(struct qcow2_disk *d);
};

/** qcow2_disk_set_groups() - what disks show in sysfs, from the start. Called while none exists. */
void qcow2_disk_set_groups(const struct attribute_group **groups);

/**
 * qcow2_disk_create() - make a disk that nobody sees yet
 * @d: with @d->closed.
 * @name: of the node.
 * @target: what it serves from, loaded; must outlive the disk.
 * @nesting: see struct qcow2_disk.
 * Context: may sleep. Return: 0, -ENOMEM.
 */
int qcow2_disk_create(struct qcow2_disk *d, const char *name,
		      struct qcow2_io_target *target, unsigned int nesting);

/**
 * qcow2_disk_add() - show the disk
 * @partscan: BLKRRPART will find partitions. None are looked for here: the caller
 *	may hold locks that must not wait for the disk's own I/O.
 * Context: may sleep. Return: 0 or an errno.
 */
int qcow2_disk_add(struct qcow2_disk *d, bool partscan);

/**
 * qcow2_disk_refuse_opens() - the first step of going away
 * Context: may sleep. Return: 0; -EBUSY the disk is open.
 */
int qcow2_disk_refuse_opens(struct qcow2_disk *d);

/**
 * qcow2_disk_is_open() - has anybody it, or a partition of it, open?
 * A guess, which may be wrong when it is returned. Context: any.
 */
bool qcow2_disk_is_open(struct qcow2_disk *d);

/** qcow2_disk_allow_opens() - it stays after all. Context: may sleep. */
void qcow2_disk_allow_opens(struct qcow2_disk *d);

/** qcow2_disk_set_read_only() - for good; those that write get errors. Context: may sleep. */
void qcow2_disk_set_read_only(struct qcow2_disk *d);

/** qcow2_disk_remove() - take back qcow2_disk_add(). Waits for I/O. Context: may sleep. */
void qcow2_disk_remove(struct qcow2_disk *d);

/**
 * qcow2_disk_pause() - wait for the requests that are here, and let others wait
 * They do so in the block layer. To freeze the queue would be a lock above all those of the
 * file system below, whose holders may be waiting for memory, and so for this disk. What the block
 * layer counts as in flight is more than what is here: a write that we have done, and that is to be
 * followed by a flush, waits for that one, which waits for the pause to end.
 * Enters a NOIO scope: memory must not wait for this disk. Context: may sleep.
 * Return: what to give to qcow2_disk_resume().
 */
unsigned int qcow2_disk_pause(struct qcow2_disk *d);
void qcow2_disk_resume(struct qcow2_disk *d, unsigned int noio);

/**
 * qcow2_disk_changed() - the disk holds something else now, perhaps of another size
 * Drops what the page cache has of it. Context: may sleep.
 */
void qcow2_disk_changed(struct qcow2_disk *d);

/** qcow2_disk_grew() - tell of the disk's new size. Context: may sleep. */
void qcow2_disk_grew(struct qcow2_disk *d);

/** qcow2_disk_has_partition() - does a partition reach behind @size bytes? Context: may sleep. */
bool qcow2_disk_has_partition(struct qcow2_disk *d, u64 size);

/** qcow2_disk_destroy() - take back qcow2_disk_create(). Context: may sleep. */
void qcow2_disk_destroy(struct qcow2_disk *d);

/** qcow2_disk_nesting() - the nesting of the disk that @bdev lies on; 0: not ours. */
unsigned int qcow2_disk_nesting(struct block_device *bdev);

#endif /* _QCOW2_DISK_H */
