/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A change of many tables of one image, all or nothing.
 *
 * What changes gets a new place: tables and refcount blocks are written to clusters that
 * are free now, with the refcounts of the new state: those of the new places raised,
 * those of the old ones dropped. The header's one sector that names all roots (L1 table,
 * refcount table, snapshot table) then switches from the old state to the new one. A
 * crash before that write leaves the old state, and what was written is free; a crash
 * after it leaves the new one. Neither leaks.
 *
 * Nobody may write to the image meanwhile: the disk is paused. The memory it
 * takes is that of the refcount blocks that change.
 */
#ifndef _QCOW2_SHADOW_H
#define _QCOW2_SHADOW_H

#include <linux/xarray.h>

#include "layer.h"

/**
 * struct qcow2_roots - what the header names, in CPU byte order
 * @size: virtual size, bytes.
 * @l1_size: entries of the L1 table.
 * @l1_table_offset: bytes.
 * @nb_snapshots: how many.
 * @snapshots_offset: of the snapshot table, bytes.
 * The refcount table's place is the shadow's own business.
 */
struct qcow2_roots {
	u64 size;
	u32 l1_size;
	u64 l1_table_offset;
	u32 nb_snapshots;
	u64 snapshots_offset;
};

/**
 * struct qcow2_shadow - a change that is being made
 * @l: the layer.
 * @blocks: refcount blocks of which something changes, struct block, by region.
 * @cursor: clusters below are in use, or were passed over.
 * @top: behind the highest cluster taken.
 * @table: (during the switch) the new refcount table.
 * @switched: the new state is the image's.
 */
struct qcow2_shadow {
	struct qcow2_layer *l;
	struct xarray blocks;
	u64 cursor;
	u64 top;
	struct qcow2_table table;
	bool switched;
};

/**
 * qcow2_shadow_begin() - get ready
 * @l: writable, and without requests until the switch.
 * Commits what was written and waits until what was freed is free. Takes the refcounts'
 * lock. Context: may sleep. Return: 0; or an errno, and there is nothing to end.
 */
int qcow2_shadow_begin(struct qcow2_shadow *s, struct qcow2_layer *l);

/**
 * qcow2_shadow_ref() - change the refcounts of clusters
 * @start: the first.  @nr: how many.  @delta: to add.
 * One may pass through 0 on its way. Context: may sleep. Return: 0; -EOVERFLOW refcounts are
 * too narrow; -EUCLEAN they are wrong, or the clusters lie outside of the file; or another errno.
 */
int qcow2_shadow_ref(struct qcow2_shadow *s, u64 start, u64 nr, int delta);

/**
 * qcow2_shadow_refcount() - a refcount of the new state
 * @refcount: (out) 0 for a cluster outside of the file, too.
 * Takes no memory. Context: may sleep. Return: 0 or an errno.
 */
int qcow2_shadow_refcount(struct qcow2_shadow *s, u64 cluster, u64 *refcount);

/**
 * qcow2_shadow_take() - new clusters for a table
 * @nr: how many, side by side, with refcounts of 1.  @start: (out) the first.
 * Context: may sleep. Return: 0, -ENOSPC, or another errno.
 */
int qcow2_shadow_take(struct qcow2_shadow *s, u64 nr, u64 *start);

/**
 * qcow2_shadow_switch() - make the new state the image's
 * @roots: of the new state. All that they reach was written to clusters taken.
 * Context: may sleep. Return: 0: on disk for good, and in the header and the
 * refcounts that the layer has in memory. An errno: the old state stays; with -EIO from
 * the header itself writing has stopped, and nobody knows which of both is on disk.
 */
int qcow2_shadow_switch(struct qcow2_shadow *s, const struct qcow2_roots *roots);

/**
 * qcow2_shadow_end() - give up what was not switched, and what is free now after a switch
 * Space that the old state used is punched out. Requests may go on meanwhile: the pool
 * serves them. Context: may sleep.
 */
void qcow2_shadow_end(struct qcow2_shadow *s);

#endif /* _QCOW2_SHADOW_H */
