/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Internal snapshots: create, apply, delete, and find one to read from.
 *
 * A snapshot takes over the L1 table that was active, and the L2 tables below; the active
 * state gets copies in which no entry says COPIED. So what a snapshot reaches is never
 * changed in place, by nobody, until the snapshot is deleted. Table, refcounts and roots
 * change in one step: shadow.h.
 */
#ifndef _QCOW2_SNAPSHOT_H
#define _QCOW2_SNAPSHOT_H

#include "shadow.h"

/* Bytes of an ID or a name, as in QEMU. */
#define QCOW2_SNAPSHOT_NAME_MAX	255

/**
 * struct qcow2_snapshot - an entry of the snapshot table
 * @l1_table_offset: of its L1 table, bytes.  @l1_size: entries.
 * @disk_size: of its disk, bytes.
 * @id: its ID, unique in the image, a string.
 */
struct qcow2_snapshot {
	u64 l1_table_offset;
	u32 l1_size;
	u64 disk_size;
	char id[QCOW2_SNAPSHOT_NAME_MAX + 1];
};

/**
 * qcow2_snapshot_find() - look a snapshot up
 * @l: a qcow2 layer.
 * @name: its ID, or its name.
 * @why: (out) a sentence, constant, on error.
 * Context: may sleep; nobody changes snapshots meanwhile. Return: 0, -ENOENT, or another
 * errno.
 */
int qcow2_snapshot_find(struct qcow2_layer *l, const char *name, struct qcow2_snapshot *snapshot,
			const char **why);

/**
 * qcow2_snapshots_have_size() - does each snapshot say how large its disk is?
 * Else it is as large as the disk. @why: (out) a sentence, constant, on error.
 * Context: as above. Return: 0, -EOPNOTSUPP one does not, or another errno.
 */
int qcow2_snapshots_have_size(struct qcow2_layer *l, const char **why);

/**
 * qcow2_snapshot_create() - make the disk as it is now a snapshot
 * @s: (out) to be ended by the caller on success: requests may go on then.
 * @l: writable; without requests until this returns.
 * @name: of the new one; no other has it.
 * @why: (out) a sentence, constant, on error.
 *
 * Its ID is one more than the highest. Its time is now, its VM state is empty.
 * Context: may sleep. Return: 0, -EOPNOTSUPP, -EEXIST, -EOVERFLOW refcounts are too narrow,
 * -ENOSPC, -EFBIG too many snapshots, -EUCLEAN the image contradicts itself, -ENOMEM, -EIO.
 */
int qcow2_snapshot_create(struct qcow2_shadow *s, struct qcow2_layer *l, const char *name,
			  const char **why);

/**
 * qcow2_snapshot_apply() - make the disk what it was
 * What was written since the snapshot and is in no other one is lost. The disk's size may
 * change: @l->size. Return: as above, and -ENOENT.
 */
int qcow2_snapshot_apply(struct qcow2_shadow *s, struct qcow2_layer *l, const char *name,
			 const char **why);

/**
 * qcow2_snapshot_delete() - forget a snapshot, and free what only it has
 * Nobody reads from it. Return: as above, and -ENOENT.
 */
int qcow2_snapshot_delete(struct qcow2_shadow *s, struct qcow2_layer *l, const char *name,
			  const char **why);

#endif /* _QCOW2_SNAPSHOT_H */
