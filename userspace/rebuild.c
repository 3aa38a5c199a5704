// SPDX-License-Identifier: GPL-2.0-or-later
#include "rebuild.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define NO_CLUSTER	UINT64_MAX

/**
 * struct rebuild - refcount structures to be
 * @old: what is there.
 * @refs: references without the old structures, and with those of the new ones.
 * @per_block: refcounts in a block.
 * @blocks: offset of each block, 0 where none is needed.
 * @nr_blocks: entries in the table that are needed.
 * @next: no cluster before this one is free.
 * @room: clusters that there can be: the end of a block device, no end of a file.
 * @table: first cluster of the table.
 * @table_clusters: its size.
 */
struct rebuild {
	const struct qcow2_checker *old;
	const struct qcow2_header *h;
	struct qcow2_refs *refs;
	u64 per_block;
	u64 *blocks;
	u64 nr_blocks;
	u64 next;
	u64 room;
	u64 table;
	u64 table_clusters;
	struct qcow2_error *err;
};

static int no_room(const struct rebuild *r)
{
	return qcow2_error_set(r->err, QCOW2_EXIT_FAILED, r->old->file,
			       "there is no room for new refcounts; copy it to a bigger device");
}

/* --- where they go ------------------------------------------------------------------------- */

/* The old structures are not free either, until the new ones are in use. */
static bool is_free(const struct rebuild *r, u64 cluster)
{
	if (qcow2_refs_count(r->refs, cluster))
		return false;
	return cluster >= qcow2_refs_end(r->old->refs) ||
	       !qcow2_refs_count(r->old->refs, cluster);
}

/* A run of @count free clusters, or NO_CLUSTER. */
static u64 find_run(const struct rebuild *r, u64 count)
{
	u64 cluster, free = 0;

	for (cluster = r->next; cluster < r->room; cluster++) {
		free = is_free(r, cluster) ? free + 1 : 0;
		if (free == count)
			return cluster + 1 - count;
	}
	return NO_CLUSTER;
}

static void make_room_for_entry(struct rebuild *r, u64 idx)
{
	if (idx < r->nr_blocks)
		return;
	r->blocks = reallocarray(r->blocks, idx + 1, sizeof(*r->blocks));
	if (!r->blocks)
		qcow2_error_nomem();
	memset(r->blocks + r->nr_blocks, 0, (idx + 1 - r->nr_blocks) * sizeof(*r->blocks));
	r->nr_blocks = idx + 1;
}

/* There shall be a refcount for @cluster; a block that is new needs one itself. */
static int cover(struct rebuild *r, u64 cluster)
{
	for (;;) {
		u64 idx = cluster / r->per_block;

		make_room_for_entry(r, idx);
		if (r->blocks[idx])
			return 0;
		cluster = find_run(r, 1);
		if (cluster == NO_CLUSTER)
			return no_room(r);
		r->next = cluster + 1;
		r->blocks[idx] = cluster << r->h->cluster_bits;
		qcow2_refs_add(r->refs, cluster, QCOW2_USE_REFCOUNT_BLOCK, 1);
	}
}

static int place_blocks(struct rebuild *r)
{
	u64 cluster = qcow2_refs_next(r->refs, 0);

	while (cluster != UINT64_MAX) {
		if (cover(r, cluster))
			return QCOW2_EXIT_FAILED;
		/* The others that this block is for are covered, too. */
		cluster = qcow2_refs_next(r->refs, (cluster / r->per_block + 1) * r->per_block);
	}
	return 0;
}

static bool is_covered(const struct rebuild *r, u64 cluster)
{
	return cluster / r->per_block < r->nr_blocks && r->blocks[cluster / r->per_block];
}

/* To cover the table may take blocks, and those may take the place found, or make it bigger. */
static int place_table(struct rebuild *r)
{
	u64 i, bytes;
	bool all;

	do {
		bytes = r->nr_blocks * sizeof(__be64);
		if (bytes > QCOW2_MAX_REFTABLE_BYTES)
			return qcow2_error_set(r->err, QCOW2_EXIT_FAILED, r->old->file,
					       "its refcount table would be longer than 8 MiB");
		r->table_clusters = (bytes + r->h->cluster_size - 1) >> r->h->cluster_bits;
		r->table = find_run(r, r->table_clusters);
		if (r->table == NO_CLUSTER)
			return no_room(r);
		for (all = true, i = r->table; i < r->table + r->table_clusters; i++) {
			if (is_covered(r, i))
				continue;
			all = false;
			if (cover(r, i))
				return QCOW2_EXIT_FAILED;
		}
	} while (!all);
	for (i = r->table; i < r->table + r->table_clusters; i++)
		qcow2_refs_add(r->refs, i, QCOW2_USE_REFCOUNT_TABLE, 1);
	return 0;
}

/* --- writing them -------------------------------------------------------------------------- */

static int fill_block(const struct rebuild *r, void *block, u64 first)
{
	u64 cluster, count;

	memset(block, 0, r->h->cluster_size);
	for (cluster = qcow2_refs_next(r->refs, first); cluster - first < r->per_block;
	     cluster = qcow2_refs_next(r->refs, cluster + 1)) {
		count = qcow2_refs_count(r->refs, cluster);
		if (count > qcow2_refcount_max(r->h->refcount_order))
			return qcow2_error_set(r->err, QCOW2_EXIT_FAILED, r->old->file,
					       "cluster %llu has %llu references, more than %u bits can say; qemu-img convert makes a good copy",
					       cluster, count, 1U << r->h->refcount_order);
		qcow2_refcount_set(block, r->h->refcount_order, cluster - first, count);
	}
	return 0;
}

static int write_blocks(const struct rebuild *r)
{
	void *block = malloc(r->h->cluster_size);
	u64 i;
	int ret = 0;

	if (!block)
		qcow2_error_nomem();
	for (i = 0; i < r->nr_blocks && !ret; i++)
		if (r->blocks[i])
			ret = fill_block(r, block, i * r->per_block) ?:
			      qcow2_image_pwrite(r->old->fd, r->old->file, block,
						 r->h->cluster_size, r->blocks[i], r->err);
	free(block);
	return ret;
}

static int write_table(const struct rebuild *r)
{
	size_t len = r->table_clusters << r->h->cluster_bits;
	__be64 *table = calloc(1, len);
	u64 i;
	int ret;

	if (!table)
		qcow2_error_nomem();
	for (i = 0; i < r->nr_blocks; i++)
		table[i] = htobe64(r->blocks[i]);
	ret = qcow2_image_pwrite(r->old->fd, r->old->file, table, len,
				 r->table << r->h->cluster_bits, r->err);
	free(table);
	return ret;
}

/* Both numbers lie in one sector. */
static int switch_header(const struct rebuild *r)
{
	struct {
		__be64 refcount_table_offset;
		__be32 refcount_table_clusters;
	} __packed fields = {
		htobe64(r->table << r->h->cluster_bits), htobe32(r->table_clusters),
	};

	return qcow2_image_pwrite(r->old->fd, r->old->file, &fields, sizeof(fields),
				  offsetof(struct qcow2_disk_header, refcount_table_offset),
				  r->err);
}

static int write_all(const struct rebuild *r)
{
	int fd = r->old->fd;

	return write_blocks(r) ?: write_table(r) ?:
	       qcow2_image_fsync(fd, r->old->file, r->err) ?:
	       switch_header(r) ?:
	       qcow2_image_fsync(fd, r->old->file, r->err);
}

static bool is_block_device(int fd)
{
	struct stat st;

	return !fstat(fd, &st) && S_ISBLK(st.st_mode);
}

int qcow2_rebuild_refcounts(const struct qcow2_checker *old, struct qcow2_error *err)
{
	struct qcow2_checker count = {
		.fd = old->fd, .file = old->file, .file_size = old->file_size,
		.image = old->image, .count_only = true, .progress = old->progress,
		/* Blocks and a table take less than that of a file, however wide refcounts are. */
		.spare = qcow2_checker_clusters(old) / 16 + 64,
	};
	struct rebuild r = { .old = old, .h = &old->image->header, .err = err };
	int ret = qcow2_checker_run(&count, err);

	/* Faults may hide behind those of refcount blocks. */
	if (!ret && count.found[QCOW2_FAULT_STRUCTURE])
		ret = qcow2_error_set(err, QCOW2_EXIT_FAILED, old->file,
				      "more than its refcounts is wrong");
	if (!ret) {
		r.refs = count.refs;
		r.per_block = qcow2_checker_refcounts(old);
		r.room = is_block_device(old->fd) ? old->file_size >> r.h->cluster_bits :
			 qcow2_refs_end(count.refs);
		ret = place_blocks(&r) ?: place_table(&r) ?: write_all(&r);
	}
	free(r.blocks);
	qcow2_checker_free(&count);
	return ret;
}
