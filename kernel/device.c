// SPDX-License-Identifier: GPL-2.0
/* Devices. See device.h for the contracts. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/ctype.h>
#include <linux/file.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/xarray.h>

#include "compat.h"
#include "copy.h"
#include "device.h"
#include "errand.h"
#include "trace.h"

/* Protects the table. An index whose device is coming or going maps to NULL. */
static DEFINE_MUTEX(devices_lock);
static DEFINE_XARRAY_ALLOC(devices);

/* Devices with a name, also those that are coming. Under the devices lock. */
static LIST_HEAD(named);

static void (*tell_event)(const struct qcow2_event *ev);

void qcow2_device_on_event(void (*tell)(const struct qcow2_event *ev))
{
	tell_event = tell;
}

void qcow2_devices_lock(void)
{
	mutex_lock(&devices_lock);
}

void qcow2_devices_unlock(void)
{
	mutex_unlock(&devices_lock);
}

struct qcow2_device *qcow2_device_next(u32 index)
{
	unsigned long id = index;

	lockdep_assert_held(&devices_lock);
	return xa_find(&devices, &id, QCOW2BLK_MAX_INDEX, XA_PRESENT);
}

void qcow2_device_tell(const struct qcow2_event *ev)
{
	if (tell_event)
		tell_event(ev);
}

static void device_event(const struct qcow2_device *dev, enum qcow2blk_event type, int err)
{
	const struct qcow2_event ev = { .type = type, .index = dev->index, .err = err };

	qcow2_device_tell(&ev);
}

/* Errors happen in any context and in any number; listeners hear of ten a second. */
static void io_failed(struct qcow2_io_target *t, int err, u64 off, unsigned int layer)
{
	struct qcow2_device *dev = container_of(t, struct qcow2_device, target);
	unsigned long flags;

	trace_qcow2_error(dev->name, layer, off, err);
	if (err == -ENOSPC)
		set_bit(0, &dev->full);
	if (!__ratelimit(&dev->error_rate))
		return;
	spin_lock_irqsave(&dev->error_lock, flags);
	dev->error.err = err;
	dev->error.off = off;
	dev->error.layer = layer;
	spin_unlock_irqrestore(&dev->error_lock, flags);
	schedule_work(&dev->error_work);
}

static void error_work(struct work_struct *work)
{
	struct qcow2_device *dev = container_of(work, struct qcow2_device, error_work);
	struct qcow2_event ev;

	spin_lock_irq(&dev->error_lock);
	ev = dev->error;
	spin_unlock_irq(&dev->error_lock);
	qcow2_device_tell(&ev);
	if (test_and_clear_bit(0, &dev->full) && __ratelimit(&dev->full_rate))
		device_event(dev, QCOW2BLK_EVENT_ENOSPC, 0);
}

void qcow2_device_layer_event(struct qcow2_layer *l, enum qcow2blk_event type, int err)
{
	device_event(l->owner, type, err);
}

static void layer_stopped(struct qcow2_layer *l, int err)
{
	struct qcow2_device *dev = l->owner;

	qcow2_disk_set_read_only(&dev->disk);
	qcow2_device_layer_event(l, QCOW2BLK_EVENT_STOPPED, err);
}

static void layer_bitmaps_stale(struct qcow2_layer *l, int err)
{
	qcow2_device_layer_event(l, QCOW2BLK_EVENT_BITMAPS, err);
}

static const struct qcow2_layer_ops layer_ops = {
	.stopped	= layer_stopped,
	.bitmaps_stale	= layer_bitmaps_stale,
};

u32 qcow2_device_flags(const struct qcow2_device *dev)
{
	const struct qcow2_layer *top = dev->target.chain.layers[0];
	bool stopped = top->writable && qcow2_commit_stopped(&top->commit);

	return dev->flags | (stopped ? QCOW2BLK_F_STOPPED : 0) |
	       (READ_ONCE(dev->lazy) ? QCOW2BLK_F_LAZY : 0);
}

/* If it is to end lazily: look whether it may. */
static void look_lazy(struct qcow2_device *dev)
{
	if (READ_ONCE(dev->lazy))
		qcow2_errand_queue(&dev->lazy_work);
}

static void disk_closed(struct qcow2_disk *d)
{
	look_lazy(container_of(d, struct qcow2_device, disk));
}

static void lazy_work(struct work_struct *work);

static struct qcow2_device *alloc_device(const struct qcow2_attach *a)
{
	struct qcow2_device *dev = kzalloc(sizeof(*dev), GFP_KERNEL);

	if (!dev)
		return NULL;
	dev->flags = a->flags;
	dev->cache_wanted = a->cache_size;
	dev->detaching = true;	/* nobody's to end before publish() is through with it */
	dev->target.failed = io_failed;
	dev->disk.closed = disk_closed;
	spin_lock_init(&dev->error_lock);
	INIT_LIST_HEAD(&dev->named);
	ratelimit_state_init(&dev->error_rate, HZ, 10);
	ratelimit_set_flags(&dev->error_rate, RATELIMIT_MSG_ON_RELEASE);
	ratelimit_state_init(&dev->full_rate, HZ, 1);
	ratelimit_set_flags(&dev->full_rate, RATELIMIT_MSG_ON_RELEASE);
	dev->error.type = QCOW2BLK_EVENT_ERROR;
	INIT_WORK(&dev->error_work, error_work);
	INIT_WORK(&dev->lazy_work, lazy_work);
	return dev;
}

static int reserve_index(struct qcow2_attach *a)
{
	struct xa_limit limit = XA_LIMIT(0, QCOW2BLK_MAX_INDEX);
	u32 index;
	int err;

	if (a->index >= 0)
		limit = XA_LIMIT(a->index, a->index);
	mutex_lock(&devices_lock);
	err = xa_alloc(&devices, &index, NULL, limit, GFP_KERNEL);
	mutex_unlock(&devices_lock);
	if (err == -EBUSY) {
		a->why = a->index < 0 ? "all device indexes are in use" :
					"the device index is in use";
		return -EEXIST;
	}
	return err ?: index;
}

static bool is_label(const char *label)
{
	const char *c;

	for (c = label; *c; c++)
		if (!(isascii(*c) && isalnum(*c)) && !strchr("_.-+:@", *c))
			return false;
	return *label && *label != '.' && *label != '-';
}

static int reserve_label(struct qcow2_device *dev, struct qcow2_attach *a)
{
	const struct qcow2_device *other;
	int err = 0;

	if (!a->label)
		return 0;
	if (!is_label(a->label)) {
		a->why = "a name has letters, digits, _ . - + : @ only, and begins with no . or -";
		return -EINVAL;
	}
	mutex_lock(&devices_lock);
	list_for_each_entry(other, &named, named)
		if (!strcmp(other->label, a->label))
			err = -EEXIST;
	if (!err) {
		strscpy(dev->label, a->label, sizeof(dev->label));
		list_add(&dev->named, &named);
	}
	mutex_unlock(&devices_lock);
	if (err)
		a->why = "another device has this name";
	return err;
}

/* Index and name are others' to have. */
static void release_index(struct qcow2_device *dev)
{
	mutex_lock(&devices_lock);
	xa_erase(&devices, dev->index);
	list_del(&dev->named);
	mutex_unlock(&devices_lock);
}

/* The @i-th file: of each layer the image, then the data file, which may be NULL. */
static struct file *file_of(const struct qcow2_attach *a, unsigned int i)
{
	return i & 1 ? a->layers[i / 2].data_filp : a->layers[i / 2].filp;
}

/* What one look at a file shows: twins, and how deep it nests. */
static int check_file(struct qcow2_attach *a, unsigned int i, unsigned int *nesting)
{
	struct file *filp = file_of(a, i), *other;
	unsigned int j, n;

	if (!filp)
		return 0;
	for (j = 0; j < i; j++) {
		other = file_of(a, j);
		if (other && other->f_mapping->host == filp->f_mapping->host) {
			a->why = "the same file is in the chain twice";
			return -EINVAL;
		}
	}
	n = qcow2_disk_nesting(qcow2_file_bdev(filp)) + 1;
	if (n > QCOW2_MAX_NESTING) {
		a->why = "the image lies on a qcow device that lies on too many others";
		return -EBUSY;
	}
	*nesting = max(*nesting, n);
	return 0;
}

static int check_files(struct qcow2_attach *a, unsigned int *nesting)
{
	unsigned int i;
	int err;

	*nesting = 1;
	for (i = 0; i < a->nr; i++) {
		a->bad_layer = i;
		err = check_file(a, 2 * i, nesting) ?: check_file(a, 2 * i + 1, nesting);
		if (err)
			return err;
		if (i + 1 < a->nr && a->layers[i].format == QCOW2BLK_FORMAT_RAW) {
			a->why = "a raw layer has no backing file, but another layer follows";
			return -EINVAL;
		}
	}
	a->bad_layer = -1;
	return 0;
}

/* Files that were taken over are no longer in @a. */
static struct qcow2_layer *open_layer(const char *name, struct qcow2_attach *a, unsigned int i)
{
	bool writable = !i && !(a->flags & QCOW2BLK_F_READ_ONLY);
	struct qcow2_layer *l;
	int err;

	l = qcow2_layer_open(name, i, a->layers[i].filp, a->layers[i].format, a->direct_io,
			     writable, &a->layers[i].key, &a->why);
	if (IS_ERR(l))
		return l;
	a->layers[i].filp = NULL;
	err = qcow2_layer_open_data(l, a->layers[i].data_filp, a->direct_io, &a->why);
	if (err) {
		qcow2_layer_close(l);
		return ERR_PTR(err);
	}
	a->layers[i].data_filp = NULL;
	return l;
}

static void close_chain(struct qcow2_chain *chain)
{
	while (chain->nr)
		qcow2_layer_close(chain->layers[--chain->nr]);
}

static int show_snapshot(struct qcow2_device *dev, struct qcow2_attach *a)
{
	struct qcow2_layer *top = dev->target.chain.layers[0];
	struct qcow2_snapshot s;
	int err;

	if (!a->snapshot)
		return 0;
	a->bad_layer = 0;
	if (!(a->flags & QCOW2BLK_F_READ_ONLY)) {
		a->why = "a snapshot can be attached read-only";
		return -EROFS;
	}
	if (top->format != QCOW2BLK_FORMAT_QCOW2) {
		a->why = "a raw image has no snapshots";
		return -EOPNOTSUPP;
	}
	err = qcow2_snapshot_find(top, a->snapshot, &s, &a->why);
	if (err)
		return err;
	qcow2_layer_show(top, s.l1_table_offset, s.l1_size, s.disk_size);
	strscpy(dev->snapshot, s.id, sizeof(dev->snapshot));
	a->bad_layer = -1;
	return 0;
}

/* On an error all files are the caller's again. */
static int open_chain(struct qcow2_device *dev, struct qcow2_attach *a)
{
	struct qcow2_chain *chain = &dev->target.chain;
	bool writable = !(a->flags & QCOW2BLK_F_READ_ONLY);
	struct qcow2_layer *l;
	unsigned int bad = 0;
	int err;

	while (chain->nr < a->nr) {
		l = open_layer(dev->name, a, chain->nr);
		if (IS_ERR(l)) {
			a->bad_layer = chain->nr;
			err = PTR_ERR(l);
			goto close;
		}
		chain->layers[chain->nr++] = l;
	}
	err = show_snapshot(dev, a);
	if (err)
		goto close;
	err = qcow2_chain_load(chain, a->cache_size, &dev->cache_size, &a->why, &bad);
	if (!err && writable) {
		chain->layers[0]->owner = dev;
		err = qcow2_layer_make_writable(chain->layers[0],
						!(a->flags & QCOW2BLK_F_NO_DISCARD), NULL,
						&layer_ops, &a->why);
	}
	if (!err)
		return 0;
	a->bad_layer = bad;
close:
	close_chain(chain);
	return err;
}

static bool is_encrypted(const struct qcow2_chain *chain)
{
	unsigned int i;

	for (i = 0; i < chain->nr; i++)
		if (chain->layers[i]->crypt)
			return true;
	return false;
}

static int make_workqueues(struct qcow2_io_target *t, const char *name)
{
	bool encrypted = is_encrypted(&t->chain);

	t->wq = alloc_workqueue("%s", WQ_UNBOUND | WQ_MEM_RECLAIM, 0, name);
	t->part_wq = alloc_workqueue("%s-part", WQ_UNBOUND | WQ_MEM_RECLAIM, 0, name);
	if (encrypted)
		t->crypt_wq = alloc_workqueue("%s-crypt", QCOW2_WQ_PERCPU | WQ_CPU_INTENSIVE |
					      WQ_MEM_RECLAIM, 0, name);
	return t->wq && t->part_wq && (t->crypt_wq || !encrypted) ? 0 : -ENOMEM;
}

static void destroy_workqueues(struct qcow2_io_target *t)
{
	struct workqueue_struct *wqs[] = { t->wq, t->part_wq, t->crypt_wq };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(wqs); i++)
		if (wqs[i])
			destroy_workqueue(wqs[i]);
}

int qcow2_device_make_target(struct qcow2_io_target *t, const char *name)
{
	struct qcow2_layer *top = t->chain.layers[0];

	t->stats = alloc_percpu(struct qcow2_io_stats);
	if (!t->stats)
		return -ENOMEM;
	t->compress = qcow2_compress_create(&t->chain);
	if (IS_ERR(t->compress))
		goto free_stats;
	t->copies = qcow2_copies_create(top->writable && top->format == QCOW2BLK_FORMAT_QCOW2 ?
					top->h.cluster_size : 0, top->crypt);
	if (IS_ERR(t->copies))
		goto free_compress;
	if (!make_workqueues(t, name))
		return 0;
	destroy_workqueues(t);
	qcow2_copies_destroy(t->copies);
free_compress:
	qcow2_compress_destroy(t->compress);
free_stats:
	free_percpu(t->stats);
	return -ENOMEM;
}

void qcow2_device_free_target(struct qcow2_io_target *t)
{
	destroy_workqueues(t);
	qcow2_copies_destroy(t->copies);
	qcow2_compress_destroy(t->compress);
	free_percpu(t->stats);
}

static int build_device(struct qcow2_device *dev, struct qcow2_attach *a)
{
	unsigned int nesting;
	int err;

	err = check_files(a, &nesting);
	if (err)
		return err;
	err = open_chain(dev, a);
	if (err)
		return err;
	a->why = "out of memory";
	err = qcow2_device_make_target(&dev->target, dev->name);
	if (err)
		goto close_layers;
	err = qcow2_disk_create(&dev->disk, dev->name, &dev->target, nesting);
	if (err)
		goto free_target;
	a->why = "the disk cannot be added";
	err = qcow2_disk_add(&dev->disk, !(dev->flags & QCOW2BLK_F_NO_PARTSCAN));
	if (err)
		goto destroy_disk;
	return 0;

destroy_disk:
	qcow2_disk_destroy(&dev->disk);
free_target:
	qcow2_device_free_target(&dev->target);
close_layers:
	close_chain(&dev->target.chain);
	return err;
}

static struct qcow2_device *claim_locked(u32 index)
{
	struct qcow2_device *dev = xa_load(&devices, index);

	lockdep_assert_held(&devices_lock);
	if (!dev)
		return ERR_PTR(-ENODEV);
	if (dev->detaching)
		return ERR_PTR(-EBUSY);
	dev->detaching = true;
	return dev;
}

/* The device, ours to change or to end, or ERR_PTR. */
struct qcow2_device *qcow2_device_claim(u32 index)
{
	struct qcow2_device *dev;

	mutex_lock(&devices_lock);
	dev = claim_locked(index);
	mutex_unlock(&devices_lock);
	return dev;
}

void qcow2_device_unclaim_locked(struct qcow2_device *dev)
{
	lockdep_assert_held(&devices_lock);
	dev->detaching = false;
	/* A close that came meanwhile has found it claimed. */
	if (!dev->children && !qcow2_disk_is_open(&dev->disk))
		look_lazy(dev);
}

void qcow2_device_unclaim(struct qcow2_device *dev)
{
	mutex_lock(&devices_lock);
	qcow2_device_unclaim_locked(dev);
	mutex_unlock(&devices_lock);
}

/* Show the device to others. It may be gone on return. */
static void publish(struct qcow2_device *dev)
{
	mutex_lock(&devices_lock);
	xa_store(&devices, dev->index, dev, GFP_KERNEL);
	mutex_unlock(&devices_lock);
	pr_info("%s: %u layer%s, %llu bytes, top %pD\n", dev->name, dev->target.chain.nr,
		dev->target.chain.nr == 1 ? "" : "s", dev->target.chain.layers[0]->size,
		dev->target.chain.layers[0]->file.filp);
	device_event(dev, QCOW2BLK_EVENT_ATTACHED, 0);
	qcow2_device_unclaim(dev);
}

/*
 * The device whose files are shared, claimed: nobody changes its snapshots or ends it
 * meanwhile. A device that shares files itself leads to the one that has them.
 */
static struct qcow2_device *claim_parent(struct qcow2_attach *a)
{
	struct qcow2_device *dev;
	struct qcow2_layer *l;
	unsigned int i;

	mutex_lock(&devices_lock);
	dev = xa_load(&devices, a->parent);
	dev = claim_locked(dev && dev->parent ? dev->parent->index : a->parent);
	mutex_unlock(&devices_lock);
	if (IS_ERR(dev)) {
		a->why = PTR_ERR(dev) == -ENODEV ? "no such device" :
						   "the device is being changed";
		return dev;
	}
	a->nr = dev->target.chain.nr;
	for (i = 0; i < a->nr; i++) {
		l = dev->target.chain.layers[i];
		a->layers[i].filp = get_file(l->file.filp);
		a->layers[i].format = l->format;
		a->layers[i].key.shared = l->crypt;
		if (qcow2_layer_has_data_file(l))
			a->layers[i].data_filp = get_file(l->data->filp);
	}
	/* One file is read one way. */
	a->direct_io = dev->target.chain.layers[0]->file.direct ? QCOW2BLK_DIRECT_IO_AUTO :
								   QCOW2BLK_DIRECT_IO_OFF;
	return dev;
}

static int attach_files(struct qcow2_attach *a, struct qcow2_device *parent, u64 *size)
{
	struct qcow2_device *dev;
	int err;

	a->why = "the module is being unloaded";
	if (!try_module_get(THIS_MODULE))
		return -ENODEV;
	a->why = "out of memory";
	err = -ENOMEM;
	dev = alloc_device(a);
	if (!dev)
		goto put_module;
	err = reserve_index(a);
	if (err < 0)
		goto free;
	dev->index = err;
	dev->error.index = err;
	dev->parent = parent;
	snprintf(dev->name, sizeof(dev->name), QCOW2BLK_DISK_NAME "%u", dev->index);
	err = reserve_label(dev, a) ?: build_device(dev, a);
	if (err)
		goto release;
	*size = dev->target.chain.layers[0]->size;
	err = dev->index;
	mutex_lock(&devices_lock);
	if (parent)
		parent->children++;
	mutex_unlock(&devices_lock);
	publish(dev);
	return err;

release:
	release_index(dev);
free:
	kfree(dev);
put_module:
	module_put(THIS_MODULE);
	return err;
}

int qcow2_device_attach(struct qcow2_attach *a, u64 *size)
{
	struct qcow2_device *parent = NULL;
	int ret;

	a->bad_layer = -1;
	if (a->parent >= 0) {
		a->why = "a device is given, but no snapshot of it";
		if (!a->snapshot)
			return -EINVAL;
		parent = claim_parent(a);
		if (IS_ERR(parent))
			return PTR_ERR(parent);
	}
	ret = attach_files(a, parent, size);
	if (parent)
		qcow2_device_unclaim(parent);
	return ret;
}

/* Nothing looks at it lazily any more, but the worker that may be doing this. */
static void cancel_lazy_work(struct qcow2_device *dev)
{
	if (current_work() == &dev->lazy_work)
		cancel_work(&dev->lazy_work);
	else
		cancel_work_sync(&dev->lazy_work);
}

static void leave_parent(struct qcow2_device *parent)
{
	mutex_lock(&devices_lock);
	if (parent && !--parent->children && !parent->detaching)
		look_lazy(parent);
	mutex_unlock(&devices_lock);
}

/* Claimed, and opens are refused. */
static void end_device(struct qcow2_device *dev)
{
	struct qcow2_layer *top = dev->target.chain.layers[0];

	mutex_lock(&devices_lock);
	xa_store(&devices, dev->index, NULL, GFP_KERNEL);
	mutex_unlock(&devices_lock);

	qcow2_merge_destroy(dev->merge);
	qcow2_disk_remove(&dev->disk);
	cancel_lazy_work(dev);
	if (top->writable && qcow2_layer_finish(top))
		pr_warn("%s: space that was reserved could not be given back\n", dev->name);
	qcow2_device_free_target(&dev->target);
	/* Up to here the layer may have something to say about the disk. */
	close_chain(&dev->target.chain);
	qcow2_disk_destroy(&dev->disk);
	cancel_work_sync(&dev->error_work);

	leave_parent(dev->parent);
	pr_info("%s: detached\n", dev->name);
	device_event(dev, QCOW2BLK_EVENT_DETACHED, 0);
	release_index(dev);
	kfree(dev);
	module_put(THIS_MODULE);
}

/* All that was written is durable, or we are told not to mind. */
static int last_commit(struct qcow2_device *dev, bool force)
{
	struct qcow2_layer *top = dev->target.chain.layers[0];
	int err = top->writable ? qcow2_commit_wait(&top->commit) : 0;

	/* It is lost in a moment, whatever became of it. */
	if (dev->flags & QCOW2BLK_F_TEMPORARY)
		return 0;
	if (!err || !force)
		return err;
	pr_warn("%s: detached by force: what was written since the last good flush is lost\n",
		dev->name);
	device_event(dev, QCOW2BLK_EVENT_LOST, err);
	return 0;
}

bool qcow2_device_has_children(struct qcow2_device *dev)
{
	bool any;

	mutex_lock(&devices_lock);
	any = dev->children;
	mutex_unlock(&devices_lock);
	return any;
}

/* What cannot be made durable now will not be later: it stays until somebody says otherwise. */
static void keep_device(struct qcow2_device *dev, int err)
{
	mutex_lock(&devices_lock);
	if (err != -EBUSY) {
		WRITE_ONCE(dev->lazy, false);
		dev->lazy_force = false;
	}
	qcow2_device_unclaim_locked(dev);
	mutex_unlock(&devices_lock);
}

/* The device is claimed, and gone, or on an error nobody's. */
static int detach_claimed(struct qcow2_device *dev, bool force)
{
	int err;

	/* No more can come: that takes a claim, too. */
	err = qcow2_device_has_children(dev) ? -EBUSY : qcow2_disk_refuse_opens(&dev->disk);
	if (!err) {
		err = last_commit(dev, force);
		if (err)
			qcow2_disk_allow_opens(&dev->disk);
	}
	if (err)
		keep_device(dev, err);
	else
		end_device(dev);
	return err;
}

static void lazy_work(struct work_struct *work)
{
	struct qcow2_device *dev = container_of(work, struct qcow2_device, lazy_work);
	int err;

	/* Whoever has it, or opens it now, has us look again. */
	if (IS_ERR(qcow2_device_claim(dev->index)))
		return;
	err = detach_claimed(dev, READ_ONCE(dev->lazy_force));
	if (!err || err == -EBUSY)
		return;
	pr_err("%s: stays: what was written to it cannot be made durable: error %d\n", dev->name,
	       err);
	device_event(dev, QCOW2BLK_EVENT_KEPT, err);
}

struct detach_errand {
	struct qcow2_device *dev;
	bool force;
};

static int detach_undisturbed(void *arg)
{
	struct detach_errand *d = arg;

	return detach_claimed(d->dev, d->force);
}

int qcow2_device_detach(u32 index, u32 flags)
{
	bool force = flags & QCOW2BLK_F_FORCE, lazy = flags & QCOW2BLK_F_LAZY;
	struct detach_errand d = { .force = force };
	struct qcow2_device *dev;
	int err;

	mutex_lock(&devices_lock);
	dev = xa_load(&devices, index);
	if (dev && lazy) {
		dev->lazy_force |= force;
		WRITE_ONCE(dev->lazy, true);
	}
	dev = claim_locked(index);
	mutex_unlock(&devices_lock);
	err = PTR_ERR_OR_ZERO(dev);
	d.dev = dev;
	if (!err)
		err = qcow2_errand(detach_undisturbed, &d);
	return lazy && err == -EBUSY ? 0 : err;
}
