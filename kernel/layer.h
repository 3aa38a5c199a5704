/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Layers: one image file each, qcow2 or raw, and the chain they form.
 */
#ifndef _QCOW2_LAYER_H
#define _QCOW2_LAYER_H

#include <linux/ratelimit.h>

#include "bitmap.h"
#include "claim.h"
#include "crypt.h"
#include "map.h"

struct qcow2_layer;

/**
 * struct qcow2_layer_ops - whom a writable layer tells; process context, may sleep
 * @stopped: writing has stopped for good, with @err. Once.
 * @bitmaps_stale: some bitmap could not be stored, with @err. Once, at the end.
 */
struct qcow2_layer_ops {
	void (*stopped)(struct qcow2_layer *l, int err);
	void (*bitmaps_stale)(struct qcow2_layer *l, int err);
};

/**
 * struct qcow2_layer - one image file of a chain
 * @name: of the device, for log lines.
 * @index: position in the chain, 0 is the top.
 * @file: the image file.
 * @data_file: the external data file, where the image has one.
 * @data: where data lie: one of these two.
 * @format: qcow2 or raw.
 * @size: bytes, a multiple of 512. A raw file's last sector is padded with zeros.
 * @h: the header, qcow2 only.
 * @map: the mapping, qcow2 only.
 * @crypt: how its data clusters are encrypted; NULL: they are not.
 * @log_rate: of qcow2_layer_err().
 *
 * For a layer that is written:
 *
 * @writable: it is. What follows is in use then, for a raw layer only @commit.
 * @discard: freed space is given back to the file system below.
 * @ops: whom it tells.
 * @owner: theirs.
 * @commit: makes changes durable.
 * @refs: refcounts.
 * @alloc: free space.
 * @overlap: where metadata lie.
 * @claims: guest subclusters whose mapping is being changed.
 * @bitmaps: those that are kept true.
 * @untouched: nothing was written yet: see qcow2_layer_begin_writing().
 * @first_lock: held by who is going to.
 * @fill_lock: held while entries of a raw data file are made to say that there are data; nobody
 *	else changes entries of such an image, so these need no claims.
 * @filled: number of the commit that makes those durable; U64_MAX while there are going to be more.
 *
 * Constant while attached, but for what the parts keep behind their own locks.
 */
struct qcow2_layer {
	char name[16];
	unsigned int index;
	struct qcow2_file file;
	struct qcow2_file data_file;
	struct qcow2_file *data;
	enum qcow2blk_format format;
	u64 size;
	struct qcow2_header h;
	struct qcow2_map map;
	struct qcow2_crypt *crypt;
	struct ratelimit_state log_rate;

	bool writable;
	bool discard;
	const struct qcow2_layer_ops *ops;
	void *owner;
	struct qcow2_commit commit;
	struct qcow2_refcounts refs;
	struct qcow2_alloc alloc;
	struct qcow2_overlap overlap;
	struct qcow2_claims claims;
	struct qcow2_dirty_bitmaps bitmaps;
	bool untouched;
	struct mutex first_lock;	/* see above */
	struct mutex fill_lock;		/* see above */
	u64 filled;
};

/**
 * struct qcow2_chain - the layers of a device
 * @nr: how many, 1 to QCOW2BLK_MAX_LAYERS.
 * @layers: top first.
 */
struct qcow2_chain {
	unsigned int nr;
	struct qcow2_layer *layers[QCOW2BLK_MAX_LAYERS];
};

/**
 * qcow2_layer_open() - take an image file into use
 * @name: of the device, for log lines.
 * @index: position in the chain.
 * @filp: the file; its reference is taken over on success only.
 * @format: what it is. Never guessed.
 * @mode: whether to use direct I/O.
 * @writable: it will be written.
 * @key: for an encrypted image.
 * @why: (out) a sentence, constant, on error.
 *
 * Parses and checks the header, refuses features that are not supported. The tables
 * are left alone: see qcow2_layer_load(). Details of a refusal go to the log.
 * Context: may sleep. Return: the layer, or ERR_PTR.
 */
struct qcow2_layer *qcow2_layer_open(const char *name, unsigned int index,
				     struct file *filp, enum qcow2blk_format format,
				     enum qcow2blk_direct_io mode, bool writable,
				     const struct qcow2_crypt_key *key, const char **why);

/**
 * qcow2_layer_show() - let the layer be what a snapshot of it is
 * @l: read-only, not loaded yet.
 * @l1_table_offset, @l1_size, @size: of the snapshot; checked.
 * Context: any.
 */
void qcow2_layer_show(struct qcow2_layer *l, u64 l1_table_offset, u32 l1_size, u64 size);

/**
 * qcow2_layer_open_data() - take an image's external data file into use
 * @l: open.
 * @filp: the file, or NULL where there is none: it is an error for an image that has one.
 *	Its reference is taken over on success only.
 * @mode: whether to use direct I/O.
 * @why: (out) a sentence, constant, on error.
 * It will be written if the image is. Context: may sleep. Return: 0 or an errno.
 */
int qcow2_layer_open_data(struct qcow2_layer *l, struct file *filp,
			  enum qcow2blk_direct_io mode, const char **why);

/**
 * qcow2_layer_make_writable() - get ready for writes
 * @l: opened for that, and loaded.
 * @discard: see struct qcow2_layer.
 * @reader: the layer above, whose requests read from this one, too; or NULL.
 * @why: (out) a sentence, constant, on error.
 * Writes nothing yet. Context: may sleep. Return: 0 or an errno.
 */
int qcow2_layer_make_writable(struct qcow2_layer *l, bool discard, struct qcow2_layer *reader,
			      const struct qcow2_layer_ops *ops, const char **why);

/**
 * qcow2_layer_begin_writing() - before each change of the image
 * The first one clears autoclear feature bits: we do not keep true what they stand for, but
 * for bitmaps, which are marked IN_USE.
 * Context: a worker, may sleep. Return: 0; -EIO writing has stopped; or another errno.
 */
int qcow2_layer_begin_writing(struct qcow2_layer *l);

/**
 * qcow2_layer_corrupt() - the image contradicts itself
 * @off: host offset, bytes.  @why: what is wrong there.
 * Marks it corrupt where its version can, and stops writing. Context: may sleep.
 */
void qcow2_layer_corrupt(struct qcow2_layer *l, u64 off, const char *why);

/**
 * qcow2_layer_finish() - bitmaps, the last commit; space that was reserved is given back
 * No requests any more. Context: may sleep. Return: 0 or -EIO.
 */
int qcow2_layer_finish(struct qcow2_layer *l);

/** qcow2_layer_end_writing() - take back qcow2_layer_make_writable(), also half of it. */
void qcow2_layer_end_writing(struct qcow2_layer *l);

/**
 * qcow2_layer_enter() - begin to use the mapping of a layer that may change
 * Return: what to give to qcow2_layer_leave(), in any context, when the file I/O that
 * followed the lookup is done. See alloc.h for the generation. Context: any.
 */
static inline int qcow2_layer_enter(struct qcow2_layer *l)
{
	int gen;

	if (!l->alloc.wq)
		return -1;
	gen = srcu_down_read(l->alloc.gen);
	__release(l->alloc.gen);	/* as far as sparse knows: others leave */
	return gen;
}

static inline void qcow2_layer_leave(struct qcow2_layer *l, int gen)
{
	if (gen < 0)
		return;
	__acquire(l->alloc.gen);
	srcu_up_read(l->alloc.gen, gen);
}

/** qcow2_layer_has_data_file() - do its data lie in a file of their own? */
static inline bool qcow2_layer_has_data_file(const struct qcow2_layer *l)
{
	return l->data != &l->file;
}

/** qcow2_layer_close() - close the file and free the layer. Context: may sleep. */
void qcow2_layer_close(struct qcow2_layer *l);

/**
 * qcow2_chain_load() - make all layers of a chain ready for lookups
 * @cache_bytes: room for table slices of all layers together; 0 for the default.
 * @used: (out) what was granted.
 * @why: (out) a sentence, constant, on error.
 * @bad: (out) the layer at fault, on error.
 * Context: may sleep. Return: 0 or the error of the layer at fault.
 */
int qcow2_chain_load(struct qcow2_chain *chain, u64 cache_bytes, u64 *used,
		     const char **why, unsigned int *bad);

/**
 * qcow2_chain_fit_cache() - the top layer has become larger: more room for its table slices
 * @cache_bytes: see qcow2_chain_load().
 * @used: (in, out) what was granted.
 * Its cache is empty, and nobody looks anything up. Context: may sleep.
 */
void qcow2_chain_fit_cache(struct qcow2_chain *chain, u64 cache_bytes, u64 *used);

/**
 * qcow2_chain_set_cache() - another room for table slices
 * @cache_bytes: see qcow2_chain_load().
 * @used: (out) what was granted; also on error, where it is of the old and the new.
 * No request is under way. Context: may sleep. Return: 0, -ENOMEM.
 */
int qcow2_chain_set_cache(struct qcow2_chain *chain, u64 cache_bytes, u64 *used);

/**
 * qcow2_chain_lookup() - where are these guest bytes, in which layer?
 * @off: guest offset, below the size of the top layer.
 * @len: bytes wanted, at least 1, within that size.
 * @may_sleep: read absent tables.
 * @ext: (out) see qcow2_map_lookup(); never UNALLOCATED: what no layer has, and what
 *	lies past the end of one, is zero. On an error, @ext->layer is the one at fault.
 *
 * A bad entry is logged. Context: any without @may_sleep.
 * Return: 0; -EAGAIN a table is absent and @may_sleep is false; -EIO.
 */
int qcow2_chain_lookup(const struct qcow2_chain *chain, u64 off, u64 len, bool may_sleep,
		       struct qcow2_extent *ext);

/**
 * qcow2_layer_reload() - make a layer ready for lookups in the place of another one
 * @l: opened anew. @old: what was in its place, loaded. Context: may sleep. Return: 0 or an errno.
 */
int qcow2_layer_reload(struct qcow2_layer *l, const struct qcow2_layer *old, const char **why);

/**
 * qcow2_lookup_failed() - qcow2_map_lookup() has failed: say so once
 * @off: guest offset.  @err: its error.  @fault: of -EINVAL.
 * Context: any. Return: -EIO, which is what the request gets.
 */
int qcow2_lookup_failed(struct qcow2_layer *l, u64 off, int err, const struct qcow2_fault *fault);

/* A line in the log about a layer; at most ten in five seconds for each layer. */
#define qcow2_layer_err(l, fmt, ...)						\
	do {									\
		if (__ratelimit(&(l)->log_rate))				\
			pr_err("%s: layer %u (%pD): " fmt, (l)->name,		\
			       (l)->index, (l)->file.filp, ##__VA_ARGS__);	\
	} while (0)

#endif /* _QCOW2_LAYER_H */
