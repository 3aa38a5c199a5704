// SPDX-License-Identifier: GPL-2.0
/* Layers and chains. See layer.h for the contracts. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/fs.h>
#include <linux/math64.h>
#include <linux/mm.h>
#include <linux/printk.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "layer.h"

/* Room for table slices of a device, where nobody says otherwise. */
#define DEFAULT_CACHE_BYTES	(32ULL << 20)
#define MIN_CACHE_BYTES		(64ULL << 10)
#define MAX_CACHE_BYTES		(16ULL << 30)

static void log_fault(const struct qcow2_layer *l, const struct qcow2_fault *fault)
{
	pr_err("%s: layer %u (%pD): %s %#llx %s\n", l->name, l->index, l->file.filp,
	       fault->field, fault->value, fault->why);
}

/* The first bytes of the file, up to @len. Return: how many, or an errno. */
static ssize_t read_start(struct qcow2_layer *l, void *buf, size_t len, const char **why)
{
	ssize_t ret = qcow2_file_read(&l->file, buf, 0, len);

	if (ret < 0)
		*why = "the header cannot be read";
	return ret;
}

static int parse_header(struct qcow2_layer *l, void *buf, u32 len,
			struct qcow2_fault *fault, const char **why)
{
	ssize_t got = read_start(l, buf, len, why);
	int err;

	if (got < 0)
		return got;
	err = qcow2_header_parse(buf, got, qcow2_file_size(&l->file), &l->h, fault);
	if (!err)
		err = qcow2_header_unsupported(&l->h, fault);
	return err;
}

static int read_header(struct qcow2_layer *l, const char **why)
{
	struct qcow2_fault fault = {};
	u8 start[sizeof(struct qcow2_disk_header)];
	void *buf;
	ssize_t got;
	u32 len;
	int err;

	got = read_start(l, start, sizeof(start), why);
	if (got < 0)
		return got;
	err = qcow2_header_probe(start, got, &len, &fault);
	if (!err) {
		buf = vmalloc(len);
		if (!buf) {
			*why = "out of memory";
			return -ENOMEM;
		}
		err = parse_header(l, buf, len, &fault, why);
		vfree(buf);
	}
	if (err && fault.sentence) {
		*why = fault.sentence;
		log_fault(l, &fault);
	}
	return err;
}

/* What we can read but must not write. */
static int check_writable(const struct qcow2_layer *l, const char **why)
{
	if (l->h.incompatible_features & QCOW2_INCOMPAT_DIRTY) {
		*why = "the image is dirty: run qemu-img check -r all, or attach read-only";
		return -EUCLEAN;
	}
	if (l->h.incompatible_features & QCOW2_INCOMPAT_CORRUPT) {
		*why = "the image is corrupt: run qemu-img check -r all, or attach read-only";
		return -EUCLEAN;
	}
	return 0;
}

/* A key there must be where the image is encrypted, and nowhere else. */
static int open_crypt(struct qcow2_layer *l, const struct qcow2_crypt_key *key, const char **why)
{
	bool encrypted = l->format == QCOW2BLK_FORMAT_QCOW2 &&
			 l->h.crypt_method != QCOW2_CRYPT_NONE;
	struct qcow2_crypt *c;

	if (encrypted != (key->cipher || key->shared)) {
		*why = encrypted ? "the image is encrypted, and there is no key for it" :
				   "there is a key for the image, but it is not encrypted";
		return encrypted ? -ENOKEY : -EINVAL;
	}
	if (!encrypted)
		return 0;
	c = qcow2_crypt_get(key, l->h.crypt_method == QCOW2_CRYPT_AES, why);
	if (IS_ERR(c)) {
		pr_err("%s: layer %u (%pD): cipher %s: %s: error %ld\n", l->name, l->index,
		       l->file.filp, key->cipher, *why, PTR_ERR(c));
		return PTR_ERR(c);
	}
	l->crypt = c;
	return 0;
}

static int open_format(struct qcow2_layer *l, const char **why)
{
	int err;

	if (l->format == QCOW2BLK_FORMAT_RAW) {
		l->size = qcow2_file_size(&l->file);
		if (l->size > LLONG_MAX - QCOW2_SECTOR_SIZE) {
			*why = "the file is too large for a disk";
			return -EFBIG;
		}
		l->size = round_up(l->size, QCOW2_SECTOR_SIZE);
		return 0;
	}
	err = read_header(l, why);
	if (!err && l->file.writable)
		err = check_writable(l, why);
	if (err)
		return err;
	l->size = l->h.size;
	if (l->h.incompatible_features & QCOW2_INCOMPAT_DIRTY)
		pr_warn("%s: layer %u (%pD): dirty, its refcounts may be wrong; read-only is safe\n",
			l->name, l->index, l->file.filp);
	if (l->h.incompatible_features & QCOW2_INCOMPAT_CORRUPT)
		pr_warn("%s: layer %u (%pD): marked corrupt, its data may be wrong\n",
			l->name, l->index, l->file.filp);
	return 0;
}

struct qcow2_layer *qcow2_layer_open(const char *name, unsigned int index,
				     struct file *filp, enum qcow2blk_format format,
				     enum qcow2blk_direct_io mode, bool writable,
				     const struct qcow2_crypt_key *key, const char **why)
{
	struct qcow2_layer *l = kzalloc(sizeof(*l), GFP_KERNEL);
	int err;

	if (!l) {
		*why = "out of memory";
		return ERR_PTR(-ENOMEM);
	}
	strscpy(l->name, name, sizeof(l->name));
	l->index = index;
	l->format = format;
	l->data = &l->file;
	ratelimit_state_init(&l->log_rate, DEFAULT_RATELIMIT_INTERVAL, DEFAULT_RATELIMIT_BURST);
	err = qcow2_file_open(&l->file, filp, mode, writable, why);
	if (err)
		goto free;
	err = open_format(l, why) ?: open_crypt(l, key, why);
	if (!err)
		return l;

	/* On an error the caller's reference stays the caller's. */
	get_file(filp);
	qcow2_file_close(&l->file);
free:
	kfree(l);
	return ERR_PTR(err);
}

void qcow2_layer_show(struct qcow2_layer *l, u64 l1_table_offset, u32 l1_size, u64 size)
{
	l->h.l1_table_offset = l1_table_offset;
	l->h.l1_size = l1_size;
	l->h.size = size;
	l->h.l1_entries_needed = qcow2_map_l1_needed(&l->h, size);
	l->size = size;
}

int qcow2_layer_open_data(struct qcow2_layer *l, struct file *filp,
			  enum qcow2blk_direct_io mode, const char **why)
{
	bool has = l->format == QCOW2BLK_FORMAT_QCOW2 && qcow2_has_data_file(&l->h);
	int err;

	if (has != !!filp) {
		*why = has ? "the image has an external data file, which was not given" :
			     "a data file was given, but the image has none";
		return -EINVAL;
	}
	if (!filp)
		return 0;
	err = qcow2_file_open(&l->data_file, filp, mode, l->file.writable, why);
	if (!err)
		l->data = &l->data_file;
	return err;
}

void qcow2_layer_close(struct qcow2_layer *l)
{
	if (l->writable)
		qcow2_layer_end_writing(l);
	if (l->format == QCOW2BLK_FORMAT_QCOW2)
		qcow2_map_close(&l->map);
	qcow2_crypt_put(l->crypt);
	if (qcow2_layer_has_data_file(l))
		qcow2_file_close(&l->data_file);
	qcow2_file_close(&l->file);
	kfree(l);
}

static u64 wanted_cache(const struct qcow2_layer *l)
{
	if (l->format != QCOW2BLK_FORMAT_QCOW2)
		return 0;
	return max(qcow2_map_bytes(&l->h), MIN_CACHE_BYTES);
}

/* What a layer gets: all it can use, or its part of the total by need. */
static u64 granted_cache(u64 wanted, u64 total_wanted, u64 total)
{
	if (total_wanted <= total)
		return wanted;
	/* In KiB the product fits: an image has at most 2^43 bytes of L2 tables. */
	return max(div64_u64((wanted >> 10) * (total >> 10), total_wanted >> 10) << 10,
		   MIN_CACHE_BYTES);
}

static u64 whole_cache(u64 cache_bytes)
{
	return min(cache_bytes ?: DEFAULT_CACHE_BYTES, MAX_CACHE_BYTES);
}

void qcow2_chain_fit_cache(struct qcow2_chain *chain, u64 cache_bytes, u64 *used)
{
	struct qcow2_cache *c = &chain->layers[0]->map.cache;
	u64 total = whole_cache(cache_bytes), before = qcow2_cache_bytes(c);

	u64 wanted = min(wanted_cache(chain->layers[0]), before + total - *used);

	/* Without memory it stays as it is. */
	if (*used < total && wanted > before)
		qcow2_cache_set_room(c, wanted);
	*used += qcow2_cache_bytes(c) - before;
}

static u64 wanted_by_all(const struct qcow2_chain *chain)
{
	u64 wanted = 0;
	unsigned int i;

	for (i = 0; i < chain->nr; i++)
		wanted += wanted_cache(chain->layers[i]);
	return wanted;
}

int qcow2_chain_set_cache(struct qcow2_chain *chain, u64 cache_bytes, u64 *used)
{
	u64 total = whole_cache(cache_bytes), wanted = wanted_by_all(chain);
	struct qcow2_layer *l;
	unsigned int i;
	int err = 0;

	*used = 0;
	for (i = 0; i < chain->nr; i++) {
		l = chain->layers[i];
		if (l->format != QCOW2BLK_FORMAT_QCOW2)
			continue;
		if (!err)
			err = qcow2_cache_set_room(&l->map.cache,
						   granted_cache(wanted_cache(l), wanted, total));
		*used += qcow2_cache_bytes(&l->map.cache);
	}
	return err;
}

int qcow2_chain_load(struct qcow2_chain *chain, u64 cache_bytes, u64 *used,
		     const char **why, unsigned int *bad)
{
	u64 total = whole_cache(cache_bytes), wanted = wanted_by_all(chain), granted;
	struct qcow2_layer *l;
	unsigned int i;
	int err;

	*used = 0;
	for (i = 0; i < chain->nr; i++) {
		l = chain->layers[i];
		if (l->format != QCOW2BLK_FORMAT_QCOW2)
			continue;
		granted = granted_cache(wanted_cache(l), wanted, total);
		err = qcow2_map_open(&l->map, &l->h, &l->file, granted, why);
		if (err) {
			*bad = i;
			return err;
		}
		*used += granted;
	}
	return 0;
}

int qcow2_layer_reload(struct qcow2_layer *l, const struct qcow2_layer *old, const char **why)
{
	u64 room = (u64)old->map.cache.max << old->map.cache.slice_bits;

	if (l->format != QCOW2BLK_FORMAT_QCOW2)
		return 0;
	return qcow2_map_open(&l->map, &l->h, &l->file, room, why);
}

int qcow2_lookup_failed(struct qcow2_layer *l, u64 off, int err,
			const struct qcow2_fault *fault)
{
	if (err == -EINVAL)
		qcow2_layer_err(l, "guest offset %llu: %s %#llx %s\n", off, fault->field,
				fault->value, fault->why);
	else if (err == -ENODATA)
		qcow2_layer_err(l, "guest offset %llu: its L2 table lies past the end of the file\n",
				off);
	else
		qcow2_layer_err(l, "guest offset %llu: its L2 table cannot be read: error %d\n",
				off, err);
	return -EIO;
}

/* With its own frame: the short way shall be short. */
static noinline int lookup_layer(struct qcow2_layer *l, u64 off, u64 len, bool may_sleep,
				 struct qcow2_extent *ext)
{
	struct qcow2_fault fault;
	int err = qcow2_map_lookup(&l->map, off, len, may_sleep, false, ext, &fault);

	if (!err || (err == -EAGAIN && !may_sleep))
		return err;
	return qcow2_lookup_failed(l, off, err, &fault);
}

int qcow2_chain_lookup(const struct qcow2_chain *chain, u64 off, u64 len, bool may_sleep,
		       struct qcow2_extent *ext)
{
	struct qcow2_layer *l;
	unsigned int i;
	int err;

	for (i = 0; i < chain->nr; i++) {
		l = chain->layers[i];
		ext->layer = l;
		if (off >= l->size)
			break;
		len = min(len, l->size - off);
		if (l->format == QCOW2BLK_FORMAT_RAW) {
			ext->type = QCOW2_CLUSTER_NORMAL;
			ext->host_off = off;
			ext->len = len;
			return 0;
		}
		if (!qcow2_map_lookup_plain(&l->map, off, len, false, ext)) {
			err = lookup_layer(l, off, len, may_sleep, ext);
			if (err)
				return err;
		}
		len = ext->len;
		if (ext->type != QCOW2_CLUSTER_UNALLOCATED)
			return 0;
		/* A merge drops what the layer below has: no older look there counts. */
		smp_rmb();
	}
	ext->type = QCOW2_CLUSTER_ZERO_PLAIN;
	ext->len = len;
	return 0;
}
