// SPDX-License-Identifier: GPL-2.0
/*
 * What a disk holds, and how large it is, changed by request: snapshots, another size. See device.h
 * for the contracts.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include "device.h"
#include "errand.h"

/* Say so. @from: bytes, before. */
static void tell_size(struct qcow2_device *dev, u64 from)
{
	const struct qcow2_event ev = {
		.type = QCOW2BLK_EVENT_RESIZED, .index = dev->index,
		.size = dev->target.chain.layers[0]->size,
	};

	pr_info("%s: resized from %llu to %llu bytes\n", dev->name, from, ev.size);
	qcow2_device_tell(&ev);
}

/* --- snapshots ------------------------------------------------------------------------- */

typedef int (*snapshot_fn)(struct qcow2_shadow *s, struct qcow2_layer *l, const char *name,
			   const char **why);

static const snapshot_fn snapshot_ops[] = {
	[QCOW2BLK_SNAPSHOT_CREATE] = qcow2_snapshot_create,
	[QCOW2BLK_SNAPSHOT_APPLY]  = qcow2_snapshot_apply,
	[QCOW2BLK_SNAPSHOT_DELETE] = qcow2_snapshot_delete,
};

/* Does another device show this snapshot? */
static int check_not_shown(struct qcow2_device *dev, const char *name, const char **why)
{
	struct qcow2_device *other;
	struct qcow2_snapshot s;
	u32 index = 0;
	int err;

	err = qcow2_snapshot_find(dev->target.chain.layers[0], name, &s, why);
	if (err)
		return err;
	*why = "another device shows this snapshot: detach that first";
	qcow2_devices_lock();
	while ((other = qcow2_device_next(index))) {
		if (other->parent == dev && !strcmp(other->snapshot, s.id))
			err = -EBUSY;
		index = other->index + 1;
	}
	qcow2_devices_unlock();
	return err;
}

/* Claimed, and nobody has it open who would be surprised. */
static int change_snapshots(struct qcow2_device *dev, enum qcow2blk_snapshot_op op,
			    const char *name, const char **why)
{
	struct qcow2_layer *top = dev->target.chain.layers[0];
	struct qcow2_shadow shadow;
	u64 size = top->size;
	unsigned int noio;
	int err;

	if (top->format != QCOW2BLK_FORMAT_QCOW2) {
		*why = "a raw image has no snapshots";
		return -EOPNOTSUPP;
	}
	if (!top->writable) {
		*why = "the device is read-only";
		return -EROFS;
	}
	if (op == QCOW2BLK_SNAPSHOT_DELETE) {
		err = check_not_shown(dev, name, why);
		if (err)
			return err;
	}
	noio = qcow2_disk_pause(&dev->disk);
	err = snapshot_ops[op](&shadow, top, name, why);
	qcow2_disk_resume(&dev->disk, noio);
	if (err)
		return err;
	qcow2_shadow_end(&shadow);
	if (op == QCOW2BLK_SNAPSHOT_APPLY)
		qcow2_disk_changed(&dev->disk);
	if (top->size != size)
		tell_size(dev, size);
	return 0;
}

struct snapshot_errand {
	struct qcow2_device *dev;
	enum qcow2blk_snapshot_op op;
	const char *name;
	const char **why;
};

static int snapshot_undisturbed(void *arg)
{
	struct snapshot_errand *e = arg;

	return change_snapshots(e->dev, e->op, e->name, e->why);
}

int qcow2_device_snapshot(u32 index, enum qcow2blk_snapshot_op op, const char *name, bool force,
			  const char **why)
{
	bool alone = op == QCOW2BLK_SNAPSHOT_APPLY && !force;
	struct qcow2_device *dev = qcow2_device_claim(index);
	struct snapshot_errand e = { .dev = dev, .op = op, .name = name, .why = why };
	int err = 0;

	*why = IS_ERR(dev) && PTR_ERR(dev) == -ENODEV ? "no such device" :
							"the device is being changed";
	if (IS_ERR(dev))
		return PTR_ERR(dev);
	*why = "the device is in use, and its content would change";
	if (alone)
		err = qcow2_disk_refuse_opens(&dev->disk);
	if (!err) {
		err = qcow2_errand(snapshot_undisturbed, &e);
		if (alone)
			qcow2_disk_allow_opens(&dev->disk);
	}
	qcow2_device_unclaim(dev);
	return err;
}

/* --- size ------------------------------------------------------------------------------ */

int qcow2_device_resize_top(struct qcow2_device *dev, struct qcow2_io_target *t, u64 size,
			    const char **why)
{
	bool raw = t->chain.layers[0]->format == QCOW2BLK_FORMAT_RAW;
	struct qcow2_shadow shadow;
	unsigned int noio;
	int err;

	noio = qcow2_disk_pause(&dev->disk);
	err = raw ? qcow2_resize_raw(t, size, why) : qcow2_resize(&shadow, t, size, why);
	if (!err && !raw)
		qcow2_chain_fit_cache(&t->chain, dev->cache_wanted, &dev->cache_size);
	qcow2_disk_resume(&dev->disk, noio);
	if (!err && !raw)
		qcow2_shadow_end(&shadow);
	return err;
}

/* Claimed; who has it open does not mind. */
static int change_size(struct qcow2_device *dev, u64 size, const char **why)
{
	u64 from = dev->target.chain.layers[0]->size;
	int err = qcow2_device_resize_top(dev, &dev->target, size, why);

	if (err)
		return err;
	if (size > from)
		qcow2_disk_grew(&dev->disk);
	else
		qcow2_disk_changed(&dev->disk);
	tell_size(dev, from);
	return 0;
}

static int shrink_disk(struct qcow2_device *dev, u64 size, const char **why)
{
	int err = qcow2_disk_refuse_opens(&dev->disk);

	*why = "the device is in use, and would become smaller";
	if (err)
		return err;
	*why = "a partition reaches behind that size; delete it, or make it smaller, first";
	err = qcow2_disk_has_partition(&dev->disk, size) ? -ENOTEMPTY : change_size(dev, size, why);
	qcow2_disk_allow_opens(&dev->disk);
	return err;
}

static int resize_claimed(struct qcow2_device *dev, u64 size, bool shrink, const char **why)
{
	struct qcow2_layer *top = dev->target.chain.layers[0];

	*why = "the device is read-only";
	if (!top->writable)
		return -EROFS;
	*why = "a disk's size is a multiple of 512 bytes";
	if (size & (SECTOR_SIZE - 1))
		return -EINVAL;
	if (size == top->size)
		return 0;
	*why = "the disk would become smaller, and lose what lies behind that size";
	if (size < top->size && !shrink)
		return -EINVAL;
	return size < top->size ? shrink_disk(dev, size, why) : change_size(dev, size, why);
}

struct resize_errand {
	struct qcow2_device *dev;
	u64 size;
	bool shrink;
	const char **why;
};

static int resize_undisturbed(void *arg)
{
	struct resize_errand *e = arg;

	return resize_claimed(e->dev, e->size, e->shrink, e->why);
}

int qcow2_device_resize(u32 index, u64 size, bool shrink, const char **why)
{
	struct qcow2_device *dev = qcow2_device_claim(index);
	struct resize_errand e = { .dev = dev, .size = size, .shrink = shrink, .why = why };
	int err;

	*why = IS_ERR(dev) && PTR_ERR(dev) == -ENODEV ? "no such device" :
							"the device is being changed";
	if (IS_ERR(dev))
		return PTR_ERR(dev);
	err = qcow2_errand(resize_undisturbed, &e);
	qcow2_device_unclaim(dev);
	return err;
}
