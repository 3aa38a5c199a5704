/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Mutants: places where the test build can leave out one step that the crash
 * contract needs, chosen by the module parameter "mutant". A crash test that does not
 * catch each of them proves nothing. Built with QCOW2_MUTANTS=1 only; else there is
 * no trace of them in the module.
 */
#ifndef _QCOW2_MUTANT_H
#define _QCOW2_MUTANT_H

/**
 * enum qcow2_mutant - what is left out; the value of the parameter
 *
 * @QCOW2_MUTANT_REFTABLE_EARLY: a new refcount block is entered in the table without
 *	waiting for the block to be durable.
 * @QCOW2_MUTANT_NO_FIRST_SYNC: L2 entries are written without waiting for data and
 *	refcounts.
 * @QCOW2_MUTANT_NO_LAST_SYNC: a flush returns when entries are written, not durable.
 * @QCOW2_MUTANT_THAWED: what is written is the slice as it is, not as it was frozen.
 * @QCOW2_MUTANT_EARLY_DROP: refcounts are dropped before the entries' removal is durable.
 * @QCOW2_MUTANT_EARLY_PUNCH: space is punched before that, too.
 * @QCOW2_MUTANT_GROWTH_NOT_SYNCED: fresh space counts as durable at once.
 * @QCOW2_MUTANT_SYNC_RETRIED: a failed fsync is forgotten.
 * @QCOW2_MUTANT_NO_DRAIN: a freed cluster is reused while requests may still use it.
 * @QCOW2_MUTANT_DATA_AFTER_ENTRY: the entry is published before its data is written.
 * @QCOW2_MUTANT_COPY_AFTER_ENTRY: the rest of the cluster is copied after that.
 * @QCOW2_MUTANT_FLUSH_EARLY: a flush returns when its commit begins.
 * @QCOW2_MUTANT_REDIRTIED_CLEAN: a slice changed during its commit is marked clean.
 * @QCOW2_MUTANT_AUTOCLEAR_LATE: autoclear bits are cleared after the first write.
 * @QCOW2_MUTANT_STALE_AS_ZERO: reused space counts as reading zeros.
 * @QCOW2_MUTANT_FAST_OVER_DATA: one fsync also for entries that hide older data.
 * @QCOW2_MUTANT_FAST_ENCRYPTED: one fsync also for clusters that are encrypted.
 * @QCOW2_MUTANT_SUBCLUSTER_FAST: one fsync also for more subclusters of a cluster.
 * @QCOW2_MUTANT_PART_CLAIMED: who discards claims no more than the subclusters that go.
 * @QCOW2_MUTANT_SWITCH_EARLY: the header names new roots before what they reach is durable.
 * @QCOW2_MUTANT_SWITCH_PUNCHED: space of the old tables is punched out before that.
 * @QCOW2_MUTANT_SWITCH_UNSYNCED: that is over when the header is written, not durable.
 * @QCOW2_MUTANT_STILL_COPIED: entries that a snapshot shares say COPIED.
 * @QCOW2_MUTANT_NO_DATA_SYNC: an external data file is never synced.
 * @QCOW2_MUTANT_DATA_AS_ZERO: what an external data file holds counts as zeros.
 * @QCOW2_MUTANT_RAW_BY_ENTRY: zeros are a matter of entries for a raw data file, too.
 * @QCOW2_MUTANT_IN_USE_LATE: that bitmaps are in use is not durable before the first write.
 * @QCOW2_MUTANT_CONSISTENT_EARLY: that they no longer are is written before they are durable.
 * @QCOW2_MUTANT_RAW_ENTRY_LATE: a raw data file is written before its entries say so.
 * @QCOW2_MUTANT_TAIL_SHOWN: a larger disk shows what was behind its old end in the last cluster.
 * @QCOW2_MUTANT_BACKING_SHOWN: likewise what the backing file has there.
 * @QCOW2_MUTANT_MERGE_UNFLUSHED: what was merged into the backing file is dropped from the
 *	overlay without waiting for the backing file to be durable.
 * @QCOW2_MUTANT_MERGE_UNFENCED: writes in place do not mind the merge.
 * @QCOW2_MUTANT_FENCE_LATE: they look where to write before they do, and find it over.
 */
enum qcow2_mutant {
	QCOW2_MUTANT_NONE,
	QCOW2_MUTANT_REFTABLE_EARLY,
	QCOW2_MUTANT_NO_FIRST_SYNC,
	QCOW2_MUTANT_NO_LAST_SYNC,
	QCOW2_MUTANT_THAWED,
	QCOW2_MUTANT_EARLY_DROP,
	QCOW2_MUTANT_EARLY_PUNCH,
	QCOW2_MUTANT_GROWTH_NOT_SYNCED,
	QCOW2_MUTANT_SYNC_RETRIED,
	QCOW2_MUTANT_NO_DRAIN,
	QCOW2_MUTANT_DATA_AFTER_ENTRY,
	QCOW2_MUTANT_COPY_AFTER_ENTRY,
	QCOW2_MUTANT_FLUSH_EARLY,
	QCOW2_MUTANT_REDIRTIED_CLEAN,
	QCOW2_MUTANT_AUTOCLEAR_LATE,
	QCOW2_MUTANT_STALE_AS_ZERO,
	QCOW2_MUTANT_FAST_OVER_DATA,
	QCOW2_MUTANT_FAST_ENCRYPTED,
	QCOW2_MUTANT_SUBCLUSTER_FAST,
	QCOW2_MUTANT_PART_CLAIMED,
	QCOW2_MUTANT_SWITCH_EARLY,
	QCOW2_MUTANT_SWITCH_PUNCHED,
	QCOW2_MUTANT_SWITCH_UNSYNCED,
	QCOW2_MUTANT_STILL_COPIED,
	QCOW2_MUTANT_NO_DATA_SYNC,
	QCOW2_MUTANT_DATA_AS_ZERO,
	QCOW2_MUTANT_RAW_BY_ENTRY,
	QCOW2_MUTANT_IN_USE_LATE,
	QCOW2_MUTANT_CONSISTENT_EARLY,
	QCOW2_MUTANT_RAW_ENTRY_LATE,
	QCOW2_MUTANT_TAIL_SHOWN,
	QCOW2_MUTANT_BACKING_SHOWN,
	QCOW2_MUTANT_MERGE_UNFLUSHED,
	QCOW2_MUTANT_MERGE_UNFENCED,
	QCOW2_MUTANT_FENCE_LATE,
	QCOW2_NR_MUTANTS
};

#ifdef QCOW2_MUTANTS
extern unsigned int qcow2_mutant;

#define qcow2_is_mutant(name)	(qcow2_mutant == QCOW2_MUTANT_##name)
#else
#define qcow2_is_mutant(name)	(false && QCOW2_MUTANT_##name)
#endif

#endif /* _QCOW2_MUTANT_H */
