// SPDX-License-Identifier: GPL-2.0
/* A table that lies in memory whole. See table.h for the contract. */
#include <linux/bitmap.h>
#include <linux/mm.h>
#include <linux/vmalloc.h>

#include "table.h"

#define PER_SECTOR	(SECTOR_SIZE / sizeof(__be64))

static u32 nr_sectors(const struct qcow2_table *t)
{
	return DIV_ROUND_UP(t->nr, PER_SECTOR);
}

int qcow2_table_alloc(struct qcow2_table *t, u64 off, u32 nr)
{
	t->off = off;
	t->nr = nr;
	t->nr_dirty = 0;
	t->ordered = false;
	spin_lock_init(&t->lock);
	t->entries = vzalloc(max_t(size_t, (size_t)nr_sectors(t) * SECTOR_SIZE, 1));
	t->dirty = kvcalloc(BITS_TO_LONGS(nr_sectors(t)) + 1, sizeof(long), GFP_KERNEL);
	if (t->entries && t->dirty)
		return 0;
	qcow2_table_free(t);
	return -ENOMEM;
}

int qcow2_table_read(struct qcow2_table *t, const struct qcow2_file *file, u64 off, u32 nr)
{
	size_t bytes = (size_t)nr * sizeof(*t->entries);
	ssize_t ret = qcow2_table_alloc(t, off, nr);

	if (ret)
		return ret;
	ret = qcow2_file_read(file, t->entries, off, bytes);
	if (ret == bytes)
		return 0;
	qcow2_table_free(t);
	return ret < 0 ? ret : -ENODATA;
}

void qcow2_table_free(struct qcow2_table *t)
{
	vfree(t->entries);
	kvfree(t->dirty);
	t->entries = NULL;
	t->dirty = NULL;
}

void qcow2_table_set(struct qcow2_table *t, u32 i, u64 entry, bool ordered)
{
	spin_lock(&t->lock);
	WRITE_ONCE(t->entries[i], cpu_to_be64(entry));
	if (!__test_and_set_bit(i / PER_SECTOR, t->dirty))
		t->nr_dirty++;
	t->ordered |= ordered;
	spin_unlock(&t->lock);
}

void qcow2_table_swap(struct qcow2_table *t, struct qcow2_table *with)
{
	spin_lock(&t->lock);
	swap(t->off, with->off);
	swap(t->nr, with->nr);
	swap(t->entries, with->entries);
	swap(t->dirty, with->dirty);
	spin_unlock(&t->lock);
}

bool qcow2_table_freeze(struct qcow2_table *t, void *copy, u64 *off, bool *ordered)
{
	u32 sector;
	bool any;

	if (!t->entries)
		return false;
	spin_lock(&t->lock);
	any = t->nr_dirty;
	if (any) {
		sector = find_first_bit(t->dirty, nr_sectors(t));
		__clear_bit(sector, t->dirty);
		*ordered |= t->ordered;
		if (!--t->nr_dirty)
			t->ordered = false;
		*off = t->off + (u64)sector * SECTOR_SIZE;
		memcpy(copy, t->entries + sector * PER_SECTOR, SECTOR_SIZE);
	}
	spin_unlock(&t->lock);
	return any;
}
