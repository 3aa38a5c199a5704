// SPDX-License-Identifier: GPL-2.0
/* Compressed clusters. See compress.h for the contract. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cpumask.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/printk.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <linux/zlib.h>
#include <linux/zstd.h>

#include "compress.h"
#include "trace.h"

/* Decompressed clusters to keep: two a CPU, at least and at most these bytes. */
#define MIN_CACHE_BYTES	(4U << 20)
#define MAX_CACHE_BYTES	(32U << 20)
#define MAX_BUFFERS	64U

enum buffer_state {
	BUFFER_EMPTY,		/* names no cluster; @users is 0 */
	BUFFER_LOADING,		/* one of @users fills it */
	BUFFER_READY,
	BUFFER_FAILED,		/* as EMPTY, once the last of @users has seen @error */
};

/**
 * struct buffer - one decompressed cluster
 * @lru: in the device's list; least recently used first.
 * @layer: of the cluster's name.
 * @host_off: of the cluster's name.
 * @state: under the device's lock, as are @users and @error.
 * @users: who reads or fills it.
 * @error: why it FAILED.
 * @data: a cluster; NULL until first needed. Written by the one that is LOADING,
 *	read by @users while READY.
 */
struct buffer {
	struct list_head lru;
	const struct qcow2_layer *layer;
	u64 host_off;
	enum buffer_state state;
	unsigned int users;
	int error;
	void *data;
};

/**
 * struct context - what one decompression needs
 * @free: in the device's list while nobody uses it.
 * @stage: the compressed bytes, at the same offset in a page as in the file.
 * @zlib: workspace; NULL where no layer needs it.
 * @zstd: likewise.
 */
struct context {
	struct list_head free;
	void *stage;
	void *zlib;
	void *zstd;
};

/**
 * struct qcow2_compress - the state of a device
 * @cluster_size: the largest of the layers', bytes.
 * @need_zlib: a layer uses it.
 * @need_zstd: likewise.
 * @max_contexts: at most.
 * @lock: protects all below. Innermost.
 * @contexts: those that nobody uses.
 * @nr_contexts: all that exist.
 * @lru: all buffers.
 * @wait: woken when a context or a buffer comes free, or a buffer is filled.
 * @stats: counters.
 * @nr_buffers: constant.
 * @buffers: of decompressed clusters.
 */
struct qcow2_compress {
	u32 cluster_size;
	bool need_zlib;
	bool need_zstd;
	unsigned int max_contexts;

	spinlock_t lock;	/* see above */
	struct list_head contexts;
	unsigned int nr_contexts;
	struct list_head lru;
	wait_queue_head_t wait;
	struct qcow2_compress_stats stats;

	unsigned int nr_buffers;
	struct buffer buffers[];
};

/* The size field can name up to twice a cluster. */
static size_t stage_size(const struct qcow2_compress *z)
{
	return 2 * z->cluster_size + 2 * PAGE_SIZE;
}

static void free_context(struct context *ctx)
{
	if (!ctx)
		return;
	vfree(ctx->stage);
	kvfree(ctx->zlib);
	kvfree(ctx->zstd);
	kfree(ctx);
}

static struct context *alloc_context(const struct qcow2_compress *z, gfp_t gfp)
{
	struct context *ctx = kzalloc(sizeof(*ctx), gfp);

	if (!ctx)
		return NULL;
	ctx->stage = __vmalloc(stage_size(z), gfp);
	if (z->need_zlib)
		ctx->zlib = kvmalloc(zlib_inflate_workspacesize(), gfp);
	if (z->need_zstd)
		ctx->zstd = kvmalloc(zstd_dctx_workspace_bound(), gfp);
	if (ctx->stage && (ctx->zlib || !z->need_zlib) && (ctx->zstd || !z->need_zstd))
		return ctx;
	free_context(ctx);
	return NULL;
}

struct qcow2_compress *qcow2_compress_create(const struct qcow2_chain *chain)
{
	struct qcow2_compress *z;
	struct context *ctx;
	u32 cluster_size = 0;
	unsigned int i, nr;

	for (i = 0; i < chain->nr; i++)
		if (chain->layers[i]->format == QCOW2BLK_FORMAT_QCOW2)
			cluster_size = max(cluster_size, chain->layers[i]->h.cluster_size);
	if (!cluster_size)
		return NULL;

	nr = clamp(2 * num_online_cpus(), MIN_CACHE_BYTES / cluster_size,
		   MAX_CACHE_BYTES / cluster_size);
	nr = clamp(nr, 2U, MAX_BUFFERS);
	z = kzalloc(struct_size(z, buffers, nr), GFP_KERNEL);
	if (!z)
		return ERR_PTR(-ENOMEM);
	z->cluster_size = cluster_size;
	z->max_contexts = min(num_online_cpus(), nr);
	spin_lock_init(&z->lock);
	INIT_LIST_HEAD(&z->contexts);
	INIT_LIST_HEAD(&z->lru);
	init_waitqueue_head(&z->wait);
	z->nr_buffers = nr;
	for (i = 0; i < nr; i++)
		list_add_tail(&z->buffers[i].lru, &z->lru);
	for (i = 0; i < chain->nr; i++) {
		if (chain->layers[i]->format != QCOW2BLK_FORMAT_QCOW2)
			continue;
		if (chain->layers[i]->h.compression_type == QCOW2_COMPRESSION_ZSTD)
			z->need_zstd = true;
		else
			z->need_zlib = true;
	}

	ctx = alloc_context(z, GFP_KERNEL);
	z->buffers[0].data = kvmalloc(cluster_size, GFP_KERNEL);
	if (!ctx || !z->buffers[0].data) {
		free_context(ctx);
		qcow2_compress_destroy(z);
		return ERR_PTR(-ENOMEM);
	}
	list_add(&ctx->free, &z->contexts);
	z->nr_contexts = 1;
	return z;
}

void qcow2_compress_destroy(struct qcow2_compress *z)
{
	struct context *ctx, *next;
	unsigned int i;

	if (!z)
		return;
	list_for_each_entry_safe(ctx, next, &z->contexts, free)
		free_context(ctx);
	for (i = 0; i < z->nr_buffers; i++)
		kvfree(z->buffers[i].data);
	kfree(z);
}

void qcow2_compress_get_stats(struct qcow2_compress *z, struct qcow2_compress_stats *stats)
{
	memset(stats, 0, sizeof(*stats));
	if (!z)
		return;
	spin_lock(&z->lock);
	*stats = z->stats;
	spin_unlock(&z->lock);
}

static struct context *take_free_context(struct qcow2_compress *z, bool *may_add)
{
	struct context *ctx;

	spin_lock(&z->lock);
	ctx = list_first_entry_or_null(&z->contexts, struct context, free);
	if (ctx)
		list_del(&ctx->free);
	else if (*may_add && z->nr_contexts < z->max_contexts)
		z->nr_contexts++;
	else
		*may_add = false;
	spin_unlock(&z->lock);
	return ctx;
}

static void release_context(struct qcow2_compress *z, struct context *ctx)
{
	spin_lock(&z->lock);
	if (ctx)
		list_add(&ctx->free, &z->contexts);
	else
		z->nr_contexts--;
	spin_unlock(&z->lock);
	wake_up_all(&z->wait);
}

/* A context of one's own: a free one, a new one, or wait. */
static struct context *get_context(struct qcow2_compress *z)
{
	bool may_add = true;
	struct context *ctx = take_free_context(z, &may_add);

	if (!ctx && may_add) {
		ctx = alloc_context(z, GFP_NOIO | __GFP_NORETRY | __GFP_NOWARN);
		if (!ctx)
			release_context(z, NULL);
	}
	may_add = false;
	if (!ctx)
		wait_event(z->wait, (ctx = take_free_context(z, &may_add)));
	return ctx;
}

/*
 * Raw deflate, window up to 32 KiB. A stream that would go on after the cluster is
 * full is as good as one that ends there.
 */
static int inflate_zlib(struct context *ctx, const void *src, u32 src_len, void *dst,
			u32 dst_len)
{
	struct z_stream_s strm = {
		.workspace = ctx->zlib,
		.next_in = src, .avail_in = src_len,
		.next_out = dst, .avail_out = dst_len,
	};
	int ret;

	if (zlib_inflateInit2(&strm, -MAX_WBITS) != Z_OK)
		return -EIO;
	ret = zlib_inflate(&strm, Z_FINISH);
	zlib_inflateEnd(&strm);
	return (ret == Z_STREAM_END || ret == Z_BUF_ERROR) && !strm.avail_out ? 0 : -EIO;
}

/* Whole frames, straight into the cluster: no window, whatever size a frame asks for. */
static int inflate_zstd(struct context *ctx, const void *src, u32 src_len, void *dst,
			u32 dst_len)
{
	zstd_dctx *dctx = zstd_init_dctx(ctx->zstd, zstd_dctx_workspace_bound());
	size_t frame, got;

	if (!dctx)
		return -EIO;
	while (dst_len) {
		frame = zstd_find_frame_compressed_size(src, src_len);
		if (zstd_is_error(frame))
			return -EIO;
		got = zstd_decompress_dctx(dctx, dst, dst_len, src, frame);
		if (zstd_is_error(got))
			return -EIO;
		src += frame;
		src_len -= frame;
		dst += got;
		dst_len -= got;
	}
	return 0;
}

/* Is all here as large as this layer needs it? It is, unless somebody put in another layer. */
static bool is_ready_for(const struct qcow2_compress *z, const struct qcow2_layer *l)
{
	return l->h.cluster_size <= z->cluster_size &&
	       (l->h.compression_type == QCOW2_COMPRESSION_ZSTD ? z->need_zstd : z->need_zlib);
}

static int decompress(const struct qcow2_compress *z, struct context *ctx,
		      const struct qcow2_extent *ext, void *dst)
{
	struct qcow2_layer *l = ext->layer;
	void *src = ctx->stage + offset_in_page(ext->host_off);
	ssize_t got;
	int err;

	if (!is_ready_for(z, l)) {
		qcow2_layer_err(l, "compressed cluster at host offset %llu: there is no buffer for it\n",
				ext->host_off);
		return -EIO;
	}
	/* The last cluster's sectors may reach past the end of the file. */
	got = qcow2_file_read(&l->file, src, ext->host_off, ext->csize);
	if (got < 0) {
		qcow2_layer_err(l, "compressed cluster at host offset %llu cannot be read: error %zd\n",
				ext->host_off, got);
		return -EIO;
	}
	if (l->h.compression_type == QCOW2_COMPRESSION_ZSTD)
		err = inflate_zstd(ctx, src, got, dst, l->h.cluster_size);
	else
		err = inflate_zlib(ctx, src, got, dst, l->h.cluster_size);
	if (err)
		qcow2_layer_err(l, "compressed cluster at host offset %llu: bad %s stream\n",
				ext->host_off,
				l->h.compression_type == QCOW2_COMPRESSION_ZSTD ? "zstd" : "zlib");
	return err;
}

static struct buffer *find_buffer(struct qcow2_compress *z, const struct qcow2_extent *ext)
{
	struct buffer *b;
	unsigned int i;

	for (i = 0; i < z->nr_buffers; i++) {
		b = &z->buffers[i];
		if (b->host_off == ext->host_off && b->layer == ext->layer &&
		    (b->state == BUFFER_LOADING || b->state == BUFFER_READY))
			return b;
	}
	return NULL;
}

/* The least recently used buffer that nobody uses; one with memory, if @with_memory. */
static struct buffer *oldest_buffer(struct qcow2_compress *z, bool with_memory)
{
	struct buffer *b;

	list_for_each_entry(b, &z->lru, lru)
		if (!b->users && (b->data || !with_memory))
			return b;
	return NULL;
}

/*
 * The buffer of a cluster, used by the caller; @mine tells that the caller must fill it.
 * Return: NULL where all buffers are in use.
 */
static struct buffer *try_get_buffer(struct qcow2_compress *z, const struct qcow2_extent *ext,
				     bool with_memory, bool *mine)
{
	struct buffer *b;

	spin_lock(&z->lock);
	b = find_buffer(z, ext);
	*mine = !b;
	if (b) {
		z->stats.hits++;
	} else {
		b = oldest_buffer(z, with_memory);
		if (b) {
			b->layer = ext->layer;
			b->host_off = ext->host_off;
			b->state = BUFFER_LOADING;
			b->error = 0;
		}
	}
	if (b) {
		b->users++;
		list_move_tail(&b->lru, &z->lru);
	}
	spin_unlock(&z->lock);
	return b;
}

static void put_buffer(struct qcow2_compress *z, struct buffer *b)
{
	bool unused;

	spin_lock(&z->lock);
	unused = !--b->users;
	spin_unlock(&z->lock);
	if (unused)
		wake_up_all(&z->wait);
}

static void set_state(struct qcow2_compress *z, struct buffer *b, enum buffer_state state,
		      int error)
{
	spin_lock(&z->lock);
	b->error = error;
	/* Pairs with the acquire of those that wait: data before the state. */
	smp_store_release(&b->state, state);
	if (state == BUFFER_READY)
		z->stats.decompressed++;
	spin_unlock(&z->lock);
	wake_up_all(&z->wait);
}

/* A buffer to fill or to read, whose @data exists if it is to be filled. */
static struct buffer *get_buffer(struct qcow2_compress *z, const struct qcow2_extent *ext,
				 bool *mine)
{
	struct buffer *b = try_get_buffer(z, ext, false, mine);

	if (b && *mine && !b->data) {
		b->data = kvmalloc(z->cluster_size, GFP_NOIO | __GFP_NORETRY | __GFP_NOWARN);
		if (!b->data) {
			set_state(z, b, BUFFER_FAILED, -EAGAIN);
			put_buffer(z, b);
			b = NULL;
		}
	}
	if (!b)
		wait_event(z->wait, (b = try_get_buffer(z, ext, true, mine)));
	return b;
}

static void fill_buffer(struct qcow2_compress *z, const struct qcow2_extent *ext,
			struct buffer *b)
{
	struct context *ctx = get_context(z);
	u64 began = ktime_get_ns();
	int err = decompress(z, ctx, ext, b->data);
	u64 nsec = ktime_get_ns() - began;

	spin_lock(&z->lock);
	z->stats.nsec += nsec;
	spin_unlock(&z->lock);
	trace_qcow2_decompress(ext->layer->name, ext->layer->index, ext->host_off, ext->csize, err);
	release_context(z, ctx);
	set_state(z, b, err ? BUFFER_FAILED : BUFFER_READY, err);
}

int qcow2_compress_read(struct qcow2_compress *z, const struct qcow2_extent *ext,
			struct iov_iter *to)
{
	struct buffer *b;
	bool mine;
	int err;

	do {
		b = get_buffer(z, ext, &mine);
		if (mine)
			fill_buffer(z, ext, b);
		else
			/* Pairs with the release in set_state(). */
			wait_event(z->wait, smp_load_acquire(&b->state) != BUFFER_LOADING);
		err = b->error;
		if (!err && copy_to_iter(b->data + ext->skip, ext->len, to) != ext->len)
			err = -EFAULT;
		put_buffer(z, b);
		/* -EAGAIN: whom we waited for found no memory. */
	} while (err == -EAGAIN);
	return err;
}
