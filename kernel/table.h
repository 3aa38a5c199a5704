/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A table that lies in memory whole: the L1 table.
 *
 * Entries are read without a lock and changed under one; commit.c freezes and writes
 * the sectors that changed.
 */
#ifndef _QCOW2_TABLE_H
#define _QCOW2_TABLE_H

#include <linux/spinlock.h>
#include <linux/types.h>

#include "file.h"

/**
 * struct qcow2_table - one table
 * @off: host offset, bytes, a multiple of 512.
 * @nr: entries.
 * @entries: as on disk, padded to whole sectors.
 * @lock: protects @dirty, @nr_dirty, @ordered and changes of @entries. Innermost.
 * @dirty: bit n: the nth sector has changed since it was frozen.
 * @nr_dirty: bits set.
 * @ordered: a change since the last freeze of all was.
 */
struct qcow2_table {
	u64 off;
	u32 nr;
	__be64 *entries;
	spinlock_t lock;	/* see above */
	unsigned long *dirty;
	u32 nr_dirty;
	bool ordered;
};

/** qcow2_table_alloc() - a table of zeros. Context: may sleep. Return: 0, -ENOMEM. */
int qcow2_table_alloc(struct qcow2_table *t, u64 off, u32 nr);

/**
 * qcow2_table_read() - read a table
 * @off: host offset, bytes.  @nr: entries.
 * Context: may sleep. Return: 0, -ENOMEM, -EIO, -ENODATA (it is past the end of the file).
 */
int qcow2_table_read(struct qcow2_table *t, const struct qcow2_file *file, u64 off, u32 nr);

/** qcow2_table_free() - an all-zero table is fine. Context: may sleep. */
void qcow2_table_free(struct qcow2_table *t);

/** qcow2_table_get() - the @i-th entry. Context: any. */
static inline u64 qcow2_table_get(const struct qcow2_table *t, u32 i)
{
	return be64_to_cpu(READ_ONCE(t->entries[i]));
}

/**
 * qcow2_table_set() - change an entry, and mark its sector dirty
 * @ordered: see qcow2_slice_change(). Context: process.
 */
void qcow2_table_set(struct qcow2_table *t, u32 i, u64 entry, bool ordered);

/**
 * qcow2_table_swap() - put another table in a table's place
 * @with: clean, as is @t; (out) what was there. Nobody reads @t meanwhile, though a commit
 * may look for what is dirty. Context: process.
 */
void qcow2_table_swap(struct qcow2_table *t, struct qcow2_table *with);

/**
 * qcow2_table_freeze() - take a dirty sector
 * @copy: (out) its 512 bytes.  @off: (out) its host offset.  @ordered: (out) or-ed to.
 * Context: process. Return: false if none is dirty.
 */
bool qcow2_table_freeze(struct qcow2_table *t, void *copy, u64 *off, bool *ordered);

#endif /* _QCOW2_TABLE_H */
