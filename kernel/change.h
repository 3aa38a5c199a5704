/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A change of the active L1 table and the L2 tables below it, by a shadow: what snapshots and
 * a new size have in common. Tables that change are written elsewhere, with the refcounts
 * of the new state; the roots switch to them. See shadow.h.
 */
#ifndef _QCOW2_CHANGE_H
#define _QCOW2_CHANGE_H

#include "shadow.h"

/**
 * struct qcow2_change - a change that is being made
 * @s: the shadow.
 * @l: the layer.
 * @l1: the active L1 table, as it will be.
 * @l1_size: its entries.
 * @l2: a cluster, for one L2 table.
 * @active: @l1, or what of it the map keeps.
 * @roots: as they will be.
 */
struct qcow2_change {
	struct qcow2_shadow *s;
	struct qcow2_layer *l;
	__be64 *l1;
	u32 l1_size;
	__be64 *l2;
	struct qcow2_table active;
	struct qcow2_roots roots;
};

/**
 * qcow2_change_begin() - get ready
 * @s: (out) the shadow.  @l: see qcow2_shadow_begin().  @why: (out) a sentence, on error.
 * The roots are what they are. qcow2_layer_begin_writing() comes before anything is written.
 * Context: may sleep, as all that follows. Return: 0; or an errno, and there is nothing to end.
 */
int qcow2_change_begin(struct qcow2_change *c, struct qcow2_shadow *s, struct qcow2_layer *l,
		       const char **why);

/** qcow2_change_memory() - for an L1 table of @l1_size entries, zeros. Return: 0, -ENOMEM. */
int qcow2_change_memory(struct qcow2_change *c, u32 l1_size);

/**
 * qcow2_change_end() - the switch to the new state, or the end of it
 * @err: what has come of it so far.  @why: (out) a sentence, on error.
 * On success the layer and its map are in the new state, and the shadow is to be ended by the
 * caller. Return: 0, @err, or the error of the switch.
 */
int qcow2_change_end(struct qcow2_change *c, int err, const char **why);

/** qcow2_change_clusters() - that so many bytes take */
static inline u64 qcow2_change_clusters(const struct qcow2_change *c, u64 bytes)
{
	return DIV_ROUND_UP_ULL(bytes, c->l->h.cluster_size);
}

/** qcow2_change_read() - of the image file, all of it. Return: 0, -EUCLEAN, or an errno. */
int qcow2_change_read(struct qcow2_change *c, void *buf, u64 off, size_t len);

/**
 * qcow2_change_place() - write something to a new place
 * @off: (out) where; 0 where there are no bytes.  Return: 0 or an errno.
 */
int qcow2_change_place(struct qcow2_change *c, const void *buf, u64 bytes, u64 *off);

/**
 * qcow2_change_place_l1() - the new L1 table, on disk and for the map
 * For a disk of the roots' size. Return: 0 or an errno.
 */
int qcow2_change_place_l1(struct qcow2_change *c);

/**
 * qcow2_change_drop_l1() - one state fewer has this L1 table
 * @off: where it is.  @size: its entries.  Return: 0 or an errno.
 */
int qcow2_change_drop_l1(struct qcow2_change *c, u64 off, u32 size);

/* --- L2 tables: in @c->l2, one at a time ------------------------------------------------------ */

static inline u32 qcow2_change_l2_entries(const struct qcow2_change *c)
{
	return 1U << c->l->h.l2_bits;
}

/** qcow2_change_entry() - the first word of the @i-th entry: the flags and the offset */
static inline __be64 *qcow2_change_entry(const struct qcow2_change *c, u32 i)
{
	return c->l2 + i * (c->l->h.l2_entry_size / sizeof(__be64));
}

/**
 * qcow2_change_load_l2() - read the table that an L1 entry points to
 * @off: (out) where it is, bytes; 0: there is none, and @c->l2 is as it was.
 * Return: 0, -EUCLEAN, or an errno.
 */
int qcow2_change_load_l2(struct qcow2_change *c, __be64 l1_entry, u64 *off);

/** qcow2_change_write_l2() - to a new place, for the active state. Return: 0 or an errno. */
int qcow2_change_write_l2(struct qcow2_change *c, __be64 *l1_entry);

/** qcow2_change_drop_l2() - one state fewer has this table. Return: 0 or an errno. */
int qcow2_change_drop_l2(struct qcow2_change *c, __be64 l1_entry);

/**
 * qcow2_change_decode() - take the @i-th entry apart
 * @cluster: (out) what it says.
 * @start: (out) the first cluster it refers to.  @nr: (out) how many; 0: none.
 * Return: 0, -EUCLEAN.
 */
int qcow2_change_decode(struct qcow2_change *c, u32 i, struct qcow2_cluster *cluster, u64 *start,
			u64 *nr);

/** qcow2_change_count() - add @delta to the refcounts of all that the table refers to */
int qcow2_change_count(struct qcow2_change *c, int delta);

#endif /* _QCOW2_CHANGE_H */
