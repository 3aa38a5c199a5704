// SPDX-License-Identifier: GPL-2.0
/* Clusters to fill the pool with: free ones, or a larger file. See alloc.h for the contract. */
#include "alloc.h"
#include "mutant.h"

/* A file grows by an eighth, and not by more than this. */
#define MAX_GROWTH	(16ULL << 20)

/* Slices of refcounts to search at a time before the file grows instead. */
#define SEARCH_SLICES	64U

#define NEVER		U64_MAX

/* There may be room for less. Of memory, too: that is what a tmpfs takes its space from. */
static bool lacks_room(int err)
{
	return err == -ENOSPC || err == -EDQUOT || err == -ENOMEM;
}

/*
 * Let the file grow by @want clusters, or by what there is room for. Space is reserved
 * where the file system can do that.
 */
static int grow(struct qcow2_alloc *a, u64 want)
{
	u64 size = a->end << a->h->cluster_bits;
	u64 nr = max(want, clamp(size / 8, QCOW2_MIN_GROWTH, MAX_GROWTH) >> a->h->cluster_bits);
	int err;

	if (!qcow2_file_regular(a->file))
		return -ENOSPC;
	for (;;) {
		err = qcow2_file_grow(a->file, size, nr << a->h->cluster_bits);
		if (!lacks_room(err) || nr <= want)
			break;
		nr = max(want, nr / 2);
	}
	if (err && err != -EOPNOTSUPP)
		return err;
	a->end += nr;
	return 0;
}

/* Blocks for refcounts of @run that have none. They take the run's first clusters. */
static int add_blocks(struct qcow2_alloc *a, const struct qcow2_run *run)
{
	u64 table = a->refs->table.off, need;
	u64 table_end = table + a->refs->table.nr * sizeof(__be64);
	int err;

	err = qcow2_refcount_add_blocks(a->refs, run->start, run->start + run->nr, a->end, &need);
	if (err == -ENOSPC && need > a->end)
		return grow(a, need - a->end);
	/* What was written before an error is no longer fresh. */
	if (err && run->start >= a->fresh)
		a->fresh = a->end;
	/* The old table is free. */
	if (table != a->refs->table.off) {
		a->next = min(a->next, table >> a->h->cluster_bits);
		qcow2_alloc_used_up_to(a, DIV_ROUND_UP_ULL(table_end, a->h->cluster_size));
	}
	if (err == -EUCLEAN)
		a->ops->corrupt(a, run->start, "has no refcount block, but metadata are near");
	return err;
}

/*
 * Free clusters: those that were used before, or never, up to where the file has grown,
 * as far as @slices allow; else fresh ones. Return: -ENOSPC there are none.
 */
static int search(struct qcow2_alloc *a, u32 want, unsigned int *slices, struct qcow2_run *run)
{
	unsigned int any = UINT_MAX;
	u64 fresh = min(a->fresh, a->end);
	int err;

	if (a->next < fresh && *slices) {
		err = qcow2_refcount_find_free(a->refs, a->next, fresh, want, slices,
					       &run->start, &run->nr);
		if (err)
			return err;
		a->next = run->start;
		if (run->nr)
			return 0;
	}
	err = qcow2_refcount_find_free(a->refs, fresh, a->end, want, &any, &run->start, &run->nr);
	return err || run->nr ? err : -ENOSPC;
}

/* Free clusters, all with a refcount block; a larger file if there are none. */
static int find_run(struct qcow2_alloc *a, u32 want, struct qcow2_run *run)
{
	unsigned int bits = a->h->cluster_bits;
	unsigned int slices = SEARCH_SLICES;
	int err;

	for (;;) {
		err = search(a, want, &slices, run);
		if (!err && qcow2_overlap_hit(a->overlap, run->start << bits,
					      (u64)run->nr << bits)) {
			a->ops->corrupt(a, run->start, "holds metadata, but its refcount is 0");
			return -EIO;
		}
		if (!err) {
			if (qcow2_refcount_has_blocks(a->refs, run->start, run->nr))
				return 0;
			err = add_blocks(a, run);
		} else if (err == -ENOSPC) {
			err = grow(a, 1);
			/* Then rather search all that is left. */
			if (err && a->next < min(a->fresh, a->end)) {
				slices = SEARCH_SLICES;
				cond_resched();
				err = 0;
			}
		}
		if (err)
			return err;
	}
}

/*
 * Space for clusters that were used before, or for the first of them: they have lost
 * theirs when they became free, and others may have taken it. What they hold, too.
 */
static int reserve(struct qcow2_alloc *a, struct qcow2_run *run)
{
	u64 off = run->start << a->h->cluster_bits, len;
	int err = -EOPNOTSUPP;

	run->zero = false;
	run->number = NEVER;
	while (qcow2_file_regular(a->file)) {
		len = (u64)run->nr << a->h->cluster_bits;
		err = qcow2_file_zero(a->file, off, len);
		run->zero = !err;
		if (err == -EOPNOTSUPP)
			err = qcow2_file_reserve(a->file, off, len);
		if (!lacks_room(err) || run->nr == 1)
			break;
		run->nr /= 2;
	}
	run->zero |= qcow2_is_mutant(STALE_AS_ZERO);
	/* Any other error shows when the space is written. */
	return lacks_room(err) ? err : 0;
}

/* The file grew by clusters of a run; they are in use now. */
static void take_fresh(struct qcow2_alloc *a, struct qcow2_run *run)
{
	a->fresh = run->start + run->nr;
	run->zero = true;
	run->number = NEVER;
	/* The commit that begins next makes growth and refcounts durable. */
	if (a->file->can_grow)
		run->number = qcow2_is_mutant(GROWTH_NOT_SYNCED) ? 0 :
			      READ_ONCE(a->commit->begun) + 1;
}

int qcow2_alloc_find(struct qcow2_alloc *a, u32 want, struct qcow2_run *run)
{
	bool fresh;
	int err;

	err = qcow2_commit_stopped(a->commit) ?: find_run(a, want, run);
	if (err)
		return err;
	fresh = run->start >= a->fresh;
	if (!fresh)
		err = reserve(a, run);
	/* Refcounts first: the commit that take_fresh() names must find them. */
	err = err ?: qcow2_refcount_change(a->refs, run->start, run->nr, 1);
	if (err)
		return err;
	if (fresh)
		take_fresh(a, run);
	else
		a->next = run->start + run->nr;
	return 0;
}

int qcow2_alloc_extend(struct qcow2_alloc *a, u64 nr)
{
	return grow(a, nr);
}

void qcow2_alloc_used_up_to(struct qcow2_alloc *a, u64 cluster)
{
	if (a->fresh < cluster)
		a->fresh = cluster;
}
