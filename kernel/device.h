/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Devices: the table of what is attached, and how a device comes and goes.
 *
 * Lock order, outermost first:
 *	gendisk open_mutex > (block layer) > locks of the file system below
 *	devices lock: held for looks at the table only; nothing is taken inside
 *	qcow2_map.table_lock > qcow2_overlap.lock > locks of the file system below
 *	qcow2_refcounts.lock > qcow2_layer.first_lock, qcow2_overlap.lock
 *	qcow2_layer.first_lock > qcow2_commit.header_lock
 *	qcow2_layer.fill_lock > qcow2_map.table_lock, locks of the file system below
 *	qcow2_file.rmw, qcow2_file.sync_lock > locks of the file system below
 *	all spinlocks: innermost, never together
 */
#ifndef _QCOW2_DEVICE_H
#define _QCOW2_DEVICE_H

#include <linux/ratelimit.h>

#include "disk.h"
#include "merge.h"
#include "resize.h"
#include "snapshot.h"

/**
 * struct qcow2_event - something to tell listeners
 * @type: what.
 * @index: of the device.
 * @err: ERROR, STOPPED, BITMAPS, KEPT, LOST: negative errno.
 * @off: ERROR: guest offset, bytes.
 * @layer: ERROR: index in the chain.
 * @size: RESIZED: bytes.
 */
struct qcow2_event {
	enum qcow2blk_event type;
	u32 index;
	int err;
	u64 off;
	u32 layer;
	u64 size;
};

/**
 * struct qcow2_device - one attached chain
 * @index, @name, @flags: constant. @flags: enum qcow2blk_flags.
 * @cache_wanted: bytes for table slices that were asked for, or 0. Whose claim it is may change it.
 * @cache_size: bytes granted for them; changes with that and with the disk's size.
 * @label: a name that the user has chosen, or an empty string; constant.
 * @named: where it has one, in the list of those. Under the devices lock.
 * @target: the chain and how requests are served from it.
 * @disk: the disk.
 * @snapshot: ID of the snapshot that it shows, or an empty string.
 * @parent: the device whose files it shares, and which stays as long as it does, or NULL.
 * @children: devices that share its files. Under the devices lock.
 * @merge: the last merge of the top into the layer below, or NULL. Under the devices lock.
 * @base: the chain from that layer on, as it writes to it.
 * @base_failed: what was written to that layer could not be made durable; for good.
 * @lazy: it is to end when nobody has it open; @lazy_force: even if what was written is lost by
 *	that. Under the devices lock; @lazy is also read when the disk is closed.
 * @lazy_work: ends it then. Queued whenever that may have come true: by the last close, and by
 *	whoever gives up what kept it, a claim or a child.
 * @detaching: it is somebody's to show, to change or to end, alone. Under the devices lock.
 * @error: the last error to tell of, under @error_lock. @error_work tells.
 */
struct qcow2_device {
	u32 index;
	char name[16];
	char label[QCOW2BLK_MAX_NAME + 1];
	struct list_head named;
	u32 flags;
	u64 cache_wanted;
	u64 cache_size;
	struct qcow2_io_target target;
	struct qcow2_disk disk;
	char snapshot[QCOW2_SNAPSHOT_NAME_MAX + 1];
	struct qcow2_device *parent;
	unsigned int children;
	struct qcow2_merge *merge;
	struct qcow2_io_target base;
	bool base_failed;
	bool lazy;
	bool lazy_force;
	struct work_struct lazy_work;
	bool detaching;

	spinlock_t error_lock;	/* protects error */
	struct qcow2_event error;
	struct ratelimit_state error_rate;
	unsigned long full;	/* bit 0: some error was ENOSPC */
	struct ratelimit_state full_rate;
	struct work_struct error_work;
};

/**
 * struct qcow2_attach - what to attach
 * @index: wanted, or -1.
 * @flags: enum qcow2blk_flags.
 * @direct_io: for all layers.
 * @cache_size: bytes, 0 for the default.
 * @snapshot: name or ID of a snapshot of the top layer to show, read-only, or NULL.
 * @label: a name for it, or NULL.
 * @parent: index of a device whose files are used instead of @layers, or -1. With
 *	@snapshot only.
 * @nr: layers.  @layers: top first; taken over: NULL once used.
 * @why: (out) on error, a sentence, constant, or NULL.
 * @bad_layer: (out) on error, the layer at fault, or -1.
 */
struct qcow2_attach {
	int index;
	u32 flags;
	enum qcow2blk_direct_io direct_io;
	u64 cache_size;
	const char *snapshot;
	const char *label;
	int parent;
	unsigned int nr;
	struct {
		struct file *filp;
		struct file *data_filp;	/* NULL for most */
		enum qcow2blk_format format;
		struct qcow2_crypt_key key;
	} layers[QCOW2BLK_MAX_LAYERS];
	const char *why;
	int bad_layer;
};

/**
 * qcow2_device_attach() - make a device of open files
 * @a: what; files that are not taken over stay the caller's.
 * @size: (out) bytes of the disk.
 * Context: may sleep. Return: the device's index, or an errno with @a->why set.
 */
int qcow2_device_attach(struct qcow2_attach *a, u64 *size);

/**
 * qcow2_device_detach() - end a device
 * @flags: QCOW2BLK_F_FORCE: also if what was written cannot be made durable; QCOW2BLK_F_LAZY: if it
 *	is in use now, or being changed, when it is not any longer.
 * Returns when the disk is gone and its files are closed, or, LAZY, when it is known that it will.
 * Context: may sleep. Return: 0, -ENODEV, -EBUSY (not LAZY), -EIO.
 *
 * Lazily: when the last opener of the disk and its partitions has closed it a worker claims the
 * device and refuses further opens. An open that comes before that wins: its close is the last one
 * then. What comes later gets ENXIO. If what was written cannot be made durable the device stays,
 * usable as before and not to end lazily any longer, with a line in the log and an event.
 */
int qcow2_device_detach(u32 index, u32 flags);

/**
 * qcow2_device_snapshot() - create, apply or delete an internal snapshot
 * @op: what to do.
 * @name: of the snapshot; its ID will do, too, where there is one.
 * @force: apply: also while the disk is open.
 * @why: (out) a sentence, constant, on error.
 * Requests wait meanwhile. Context: may sleep. Return: 0; -ENODEV; -EBUSY in use, or being
 * changed; -EROFS the device is read-only; or see snapshot.h.
 */
int qcow2_device_snapshot(u32 index, enum qcow2blk_snapshot_op op, const char *name, bool force,
			  const char **why);

/**
 * qcow2_device_resize() - give the disk another size
 * @size: bytes.
 * @shrink: it may become smaller, if nobody has it open and no partition reaches behind that.
 * @why: (out) a sentence, constant, on error.
 * Requests wait meanwhile. Context: may sleep. Return: 0; -ENODEV; -EBUSY in use, or being
 * changed; -ENOTEMPTY a partition; -EROFS the device is read-only; -EINVAL a size that it
 * cannot have, or that is smaller without @shrink; or see resize.h.
 */
int qcow2_device_resize(u32 index, u64 size, bool shrink, const char **why);

/**
 * qcow2_device_layer_event() - tell user space of something about a layer
 * @l: its owner is the device.
 * Context: process, may sleep.
 */
void qcow2_device_layer_event(struct qcow2_layer *l, enum qcow2blk_event type, int err);

/**
 * qcow2_device_resize_top() - give the top layer of a chain of a device another size
 * @dev: claimed.
 * @t: its target, or its base, whose top is writable.
 * @why: (out) a sentence, constant, on error.
 * The disk is paused meanwhile. Context: may sleep. Return: 0; see resize.h.
 */
int qcow2_device_resize_top(struct qcow2_device *dev, struct qcow2_io_target *t, u64 size,
			    const char **why);

/**
 * qcow2_device_open_base() - use another file for the layer below the top
 * @a: @a->layers[0] is the same file, open for writing too; taken over: NULL once used.
 * Requests wait meanwhile. When the system call returns the old one is closed.
 * Context: may sleep. Return: 0; see QCOW2BLK_CMD_COMMIT; then @a->why is set.
 */
int qcow2_device_open_base(u32 index, struct qcow2_attach *a);

/**
 * qcow2_device_commit() - begin to merge the top layer into the one below
 * @why: (out) a sentence, constant, on error.
 * Context: may sleep. Return: 0; see QCOW2BLK_CMD_COMMIT.
 */
int qcow2_device_commit(u32 index, const char **why);

/** qcow2_device_stop_commit() - end that soon. Return: 0, -ENODEV, -EINVAL it does not run. */
int qcow2_device_stop_commit(u32 index, const char **why);

/** qcow2_device_tell() - tell user space of something. Context: process, may sleep. */
void qcow2_device_tell(const struct qcow2_event *ev);

/**
 * qcow2_device_set_cache() - another room for table slices
 * @bytes: wanted, 0 for the default; see QCOW2BLK_A_CACHE_SIZE.
 * @why: (out) a sentence, constant, on error.
 * Requests wait meanwhile. Context: may sleep. Return: 0; -ENODEV; -EBUSY being changed;
 * -ENOMEM.
 */
int qcow2_device_set_cache(u32 index, u64 bytes, const char **why);

/** qcow2_device_flags() - enum qcow2blk_flags, as they are now. Context: any. */
u32 qcow2_device_flags(const struct qcow2_device *dev);

/**
 * qcow2_devices_lock() - keep devices from going away
 * Only to describe them: no file I/O while it is held. Context: may sleep.
 */
void qcow2_devices_lock(void);
void qcow2_devices_unlock(void);

/**
 * qcow2_device_next() - the device with the lowest index not below @index, or NULL
 * Context: under qcow2_devices_lock().
 */
struct qcow2_device *qcow2_device_next(u32 index);

/**
 * qcow2_device_on_event() - whom to tell of events
 * @tell: called in process context; NULL for nobody. Set while no device exists.
 */
void qcow2_device_on_event(void (*tell)(const struct qcow2_event *ev));

/* --- for base.c, modify.c, main.c ---------------------------------------------------------- */

/**
 * qcow2_device_claim() - the device, ours to change or to end until qcow2_device_unclaim()
 * Context: may sleep. Return: or ERR_PTR: -ENODEV, -EBUSY somebody else's.
 */
struct qcow2_device *qcow2_device_claim(u32 index);
void qcow2_device_unclaim(struct qcow2_device *dev);
/* The same under qcow2_devices_lock(), which keeps the device until that is given up. */
void qcow2_device_unclaim_locked(struct qcow2_device *dev);

/** qcow2_device_has_children() - do others share its files? Context: may sleep. */
bool qcow2_device_has_children(struct qcow2_device *dev);

/**
 * qcow2_device_make_target() - all that requests need beside the chain
 * @t: with @t->chain.  @name: of the workers. Context: may sleep. Return: 0, -ENOMEM.
 */
int qcow2_device_make_target(struct qcow2_io_target *t, const char *name);
void qcow2_device_free_target(struct qcow2_io_target *t);

#endif /* _QCOW2_DEVICE_H */
