// SPDX-License-Identifier: GPL-2.0
/*
 * The layer below the top of a device: opened to be written, merged into, only read again. See
 * device.h for the contracts, merge.h for what is done in between.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/file.h>

#include "device.h"
#include "errand.h"

/* The merge hears of it by its requests, and ends. */
static void base_stopped(struct qcow2_layer *l, int err)
{
	struct qcow2_device *dev = l->owner;

	WRITE_ONCE(dev->base_failed, true);
}

static void base_bitmaps_stale(struct qcow2_layer *l, int err)
{
	qcow2_device_layer_event(l, QCOW2BLK_EVENT_BITMAPS, err);
}

static const struct qcow2_layer_ops base_ops = {
	.stopped	= base_stopped,
	.bitmaps_stale	= base_bitmaps_stale,
};

static int check_mergeable(struct qcow2_device *dev, const char **why)
{
	const struct qcow2_chain *chain = &dev->target.chain;
	struct qcow2_layer *top = chain->layers[0];

	*why = "the device is read-only";
	if (!top->writable)
		return -EROFS;
	*why = "the image has no backing file";
	if (chain->nr < 2)
		return -EINVAL;
	*why = "another device shows a snapshot of it: detach that first";
	if (qcow2_device_has_children(dev))
		return -EBUSY;
	*why = "the image has internal snapshots, which read from the backing file, too";
	if (top->h.nb_snapshots)
		return -EEXIST;
	/*
	 * What its file says may not be on its disk, then, and later fsyncs would not tell. A merge
	 * would take that for durable, and drop the overlay's.
	 */
	*why = "writing to the backing file has failed before: detach the device, mend the disk";
	if (READ_ONCE(dev->base_failed))
		return -EIO;
	*why = "writing has stopped";
	return qcow2_commit_stopped(&top->commit);
}

/*
 * Somebody else may have changed the file. What the device has for this layer (buffers for
 * compressed clusters, the cipher, the data file) was made for the old header, and stays. What is
 * in the tables, and where they lie, is read anew; bitmaps are, when the layer becomes writable.
 */
static int check_same_header(const struct qcow2_layer *l, const struct qcow2_layer *old,
			     bool writable, const char **why)
{
	const u64 layout = QCOW2_INCOMPAT_DATA_FILE | QCOW2_INCOMPAT_COMPRESSION |
			   QCOW2_INCOMPAT_EXTL2;
	const struct qcow2_header *h = &l->h, *was = &old->h;

	if (l->format != QCOW2BLK_FORMAT_QCOW2)
		return 0;
	*why = "the backing file's header has changed since it was attached";
	if (h->cluster_bits != was->cluster_bits ||
	    h->compression_type != was->compression_type ||
	    h->crypt_method != was->crypt_method || h->crypto_off != was->crypto_off ||
	    h->crypto_len != was->crypto_len || h->refcount_order != was->refcount_order ||
	    ((h->incompatible_features ^ was->incompatible_features) & layout))
		return -EUCLEAN;
	/* After a merge that has failed it may be what it was before that. */
	return writable && h->size < was->size ? -EUCLEAN : 0;
}

/* The layer below the top, opened once more. The files are given up, also on an error. */
static struct qcow2_layer *open_again(struct qcow2_device *dev, struct file *filp,
				      struct file *data_filp, bool writable, const char **why)
{
	struct qcow2_layer *old = dev->target.chain.layers[1], *l;
	const struct qcow2_crypt_key key = { .shared = old->crypt };
	enum qcow2blk_direct_io mode = old->file.direct ? QCOW2BLK_DIRECT_IO_AUTO :
							  QCOW2BLK_DIRECT_IO_OFF;
	int err;

	l = qcow2_layer_open(dev->name, 1, filp, old->format, mode, writable, &key, why);
	if (IS_ERR(l)) {
		fput(filp);
		goto put_data;
	}
	err = check_same_header(l, old, writable, why) ?:
	      qcow2_layer_open_data(l, data_filp, mode, why);
	if (err) {
		qcow2_layer_close(l);
		l = ERR_PTR(err);
		goto put_data;
	}
	err = qcow2_layer_reload(l, old, why);
	if (!err)
		return l;
	qcow2_layer_close(l);
	return ERR_PTR(err);

put_data:
	if (data_filp)
		fput(data_filp);
	return l;
}

/* What is read from the layer below the top comes from there now. */
static void replace_base(struct qcow2_device *dev, struct qcow2_layer *l)
{
	struct qcow2_layer **place = &dev->target.chain.layers[1], *old = *place;
	unsigned int noio;

	noio = qcow2_disk_pause(&dev->disk);
	WRITE_ONCE(*place, l);
	qcow2_disk_resume(&dev->disk, noio);
	/* Who describes the device may still be looking at the old one. */
	qcow2_devices_lock();
	qcow2_devices_unlock();
	qcow2_layer_close(old);
}

static struct file *data_file_of(const struct qcow2_layer *l)
{
	return qcow2_layer_has_data_file(l) ? l->data->filp : NULL;
}

static bool same_file(const struct file *a, const struct file *b)
{
	return a && b ? a->f_mapping->host == b->f_mapping->host : a == b;
}

static int open_base(struct qcow2_device *dev, struct qcow2_attach *a)
{
	const struct qcow2_layer *base = dev->target.chain.layers[1];
	struct file *filp = a->layers[0].filp, *data_filp = a->layers[0].data_filp;
	struct qcow2_layer *l;

	a->bad_layer = 0;
	if (a->nr != 1 || a->layers[0].format != base->format ||
	    !same_file(filp, base->file.filp) || !same_file(data_filp, data_file_of(base))) {
		a->why = "this is not the backing file that the device uses";
		return -EINVAL;
	}
	a->layers[0].filp = NULL;
	a->layers[0].data_filp = NULL;
	l = open_again(dev, filp, data_filp, true, &a->why);
	if (IS_ERR(l))
		return PTR_ERR(l);
	replace_base(dev, l);
	return 0;
}

int qcow2_device_open_base(u32 index, struct qcow2_attach *a)
{
	struct qcow2_device *dev = qcow2_device_claim(index);
	int err;

	a->bad_layer = -1;
	a->why = IS_ERR(dev) && PTR_ERR(dev) == -ENODEV ? "no such device" :
							  "the device is being changed";
	if (IS_ERR(dev))
		return PTR_ERR(dev);
	err = check_mergeable(dev, &a->why) ?: open_base(dev, a);
	qcow2_device_unclaim(dev);
	return err;
}

/*
 * The base is only read again. It is opened anew: where something has failed, what is in memory
 * may be more than what is in the file.
 */
static void restore_base(struct qcow2_device *dev)
{
	struct qcow2_layer *base = dev->target.chain.layers[1], *l;
	struct file *data_filp = data_file_of(base);
	const char *why;

	if (data_filp)
		get_file(data_filp);
	l = open_again(dev, get_file(base->file.filp), data_filp, false, &why);
	if (!IS_ERR(l)) {
		replace_base(dev, l);
		return;
	}
	pr_err("%s: layer 1 (%pD): cannot be opened again: %s\n", dev->name, base->file.filp, why);
	qcow2_layer_end_writing(base);
	base->writable = false;
}

/* Nobody writes to the base any more. */
static void end_base(struct qcow2_device *dev)
{
	struct qcow2_layer *base = dev->base.chain.layers[0];

	if (qcow2_layer_finish(base)) {
		WRITE_ONCE(dev->base_failed, true);
		pr_warn("%s: layer 1 (%pD): space that was reserved could not be given back\n",
			dev->name, base->file.filp);
	}
	qcow2_device_free_target(&dev->base);
	restore_base(dev);
}

static void set_merge(struct qcow2_device *dev, struct qcow2_merge *m)
{
	struct qcow2_merge *old;

	qcow2_devices_lock();
	old = dev->merge;
	dev->merge = m;
	qcow2_devices_unlock();
	qcow2_merge_destroy(old);
}

static void merge_ended(void *owner, int err)
{
	struct qcow2_device *dev = owner;

	end_base(dev);
	qcow2_devices_lock();
	qcow2_merge_ended(dev->merge, err);
	qcow2_device_unclaim_locked(dev);
	qcow2_devices_unlock();
}

/* The base as the top of a chain of its own. */
static int make_base_target(struct qcow2_device *dev)
{
	const struct qcow2_chain *chain = &dev->target.chain;
	char name[sizeof(dev->name) + sizeof("-base")];

	memset(&dev->base, 0, sizeof(dev->base));
	dev->base.chain.nr = chain->nr - 1;
	memcpy(dev->base.chain.layers, chain->layers + 1,
	       dev->base.chain.nr * sizeof(*chain->layers));
	snprintf(name, sizeof(name), "%s-base", dev->name);
	return qcow2_device_make_target(&dev->base, name);
}

/* What the disk has behind the end of its backing file reads as zeros there: so it stays. */
static int grow_base(struct qcow2_device *dev, const char **why)
{
	u64 size = dev->target.chain.layers[0]->size;

	if (dev->base.chain.layers[0]->size >= size)
		return 0;
	return qcow2_device_resize_top(dev, &dev->base, size, why);
}

static int start_merge(struct qcow2_device *dev, const char **why)
{
	struct qcow2_merge *m = qcow2_merge_create(&dev->target, &dev->base, merge_ended, dev);

	*why = "out of memory";
	if (IS_ERR(m))
		return PTR_ERR(m);
	set_merge(dev, m);
	qcow2_merge_start(m);
	return 0;
}

static int begin_merge(struct qcow2_device *dev, const char **why)
{
	struct qcow2_layer *top = dev->target.chain.layers[0];
	struct qcow2_layer *base = dev->target.chain.layers[1];
	int err;

	*why = "the backing file is not open for writing";
	if (!base->file.writable)
		return -EBADF;
	base->owner = dev;
	err = qcow2_layer_make_writable(base, top->discard, top, &base_ops, why);
	if (!err) {
		*why = "out of memory";
		err = make_base_target(dev);
	}
	if (err) {
		restore_base(dev);
		return err;
	}
	err = grow_base(dev, why) ?: start_merge(dev, why);
	if (err)
		end_base(dev);
	return err;
}

struct merge_errand {
	struct qcow2_device *dev;
	const char **why;
};

static int begin_merge_undisturbed(void *arg)
{
	struct merge_errand *e = arg;

	return begin_merge(e->dev, e->why);
}

int qcow2_device_commit(u32 index, const char **why)
{
	struct qcow2_device *dev = qcow2_device_claim(index);
	struct merge_errand e = { .dev = dev, .why = why };
	int err;

	*why = IS_ERR(dev) && PTR_ERR(dev) == -ENODEV ? "no such device" :
							"the device is being changed";
	if (IS_ERR(dev))
		return PTR_ERR(dev);
	err = check_mergeable(dev, why) ?: qcow2_errand(begin_merge_undisturbed, &e);
	/* Else it is ours until the end. */
	if (err)
		qcow2_device_unclaim(dev);
	return err;
}

int qcow2_device_stop_commit(u32 index, const char **why)
{
	struct qcow2_merge_progress p = { .state = QCOW2BLK_COMMIT_DONE };
	struct qcow2_device *dev;
	int err = 0;

	qcow2_devices_lock();
	dev = qcow2_device_next(index);
	if (dev && dev->index != index)
		dev = NULL;
	if (dev && dev->merge)
		qcow2_merge_get_progress(dev->merge, &p);
	if (p.state == QCOW2BLK_COMMIT_RUNNING)
		qcow2_merge_stop(dev->merge);
	else
		err = dev ? -EINVAL : -ENODEV;
	qcow2_devices_unlock();
	*why = err == -ENODEV ? "no such device" : "the device is not being committed";
	return err;
}
