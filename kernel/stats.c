// SPDX-License-Identifier: GPL-2.0
/* Counters of a device, put together. See stats.h for the contract. */
#include <linux/blkdev.h>
#include <linux/part_stat.h>
#include <linux/string.h>

#include "stats.h"

/* What io.c and its like have counted. */
static void add_io(const struct qcow2_io_target *t, u64 *stat)
{
	const struct qcow2_io_stats *s;
	int cpu;

	for_each_possible_cpu(cpu) {
		s = per_cpu_ptr(t->stats, cpu);
		stat[QCOW2BLK_A_STAT_REQUESTS] += s->requests;
		stat[QCOW2BLK_A_STAT_FILE_READS] += s->file_reads;
		stat[QCOW2BLK_A_STAT_INLINE] += s->served_inline;
		stat[QCOW2BLK_A_STAT_ERRORS] += s->errors;
		stat[QCOW2BLK_A_STAT_FILE_WRITES] += s->file_writes;
		stat[QCOW2BLK_A_STAT_COPIES] += s->copies;
	}
}

static void add_slices(const struct qcow2_chain *chain, u64 *stat)
{
	struct qcow2_cache_stats s;
	unsigned int i;

	for (i = 0; i < chain->nr; i++) {
		if (chain->layers[i]->format != QCOW2BLK_FORMAT_QCOW2)
			continue;
		qcow2_cache_get_stats(&chain->layers[i]->map.cache, &s);
		stat[QCOW2BLK_A_STAT_SLICE_HITS] += s.hits;
		stat[QCOW2BLK_A_STAT_SLICE_MISSES] += s.misses;
		stat[QCOW2BLK_A_STAT_SLICE_EVICTIONS] += s.evictions;
		stat[QCOW2BLK_A_STAT_SLICE_NSEC] += s.nsec;
		stat[QCOW2BLK_A_STAT_SLICE_BYTES] += s.bytes;
	}
}

static void add_compress(struct qcow2_compress *z, u64 *stat)
{
	struct qcow2_compress_stats s;

	qcow2_compress_get_stats(z, &s);
	stat[QCOW2BLK_A_STAT_DECOMPRESSIONS] = s.decompressed;
	stat[QCOW2BLK_A_STAT_DECOMPRESSED_HITS] = s.hits;
	stat[QCOW2BLK_A_STAT_DECOMPRESS_NSEC] = s.nsec;
}

/* Of the layer that is written. */
static void add_writes(const struct qcow2_layer *top, u64 *stat)
{
	struct qcow2_cache_stats refs;

	stat[QCOW2BLK_A_STAT_ALLOCATIONS] = READ_ONCE(top->alloc.total);
	stat[QCOW2BLK_A_STAT_COMMITS] = READ_ONCE(top->commit.commits);
	stat[QCOW2BLK_A_STAT_FAST_COMMITS] = READ_ONCE(top->commit.fast);
	stat[QCOW2BLK_A_STAT_COMMIT_NSEC] = READ_ONCE(top->commit.nsec);
	stat[QCOW2BLK_A_STAT_FSYNCS] = READ_ONCE(top->file.fsyncs) +
				       READ_ONCE(top->data_file.fsyncs);
	stat[QCOW2BLK_A_STAT_FSYNC_NSEC] = READ_ONCE(top->file.fsync_nsec) +
					   READ_ONCE(top->data_file.fsync_nsec);
	if (top->format != QCOW2BLK_FORMAT_QCOW2)
		return;
	qcow2_cache_get_stats(&top->refs.cache, &refs);
	stat[QCOW2BLK_A_STAT_REFCOUNT_HITS] = refs.hits;
	stat[QCOW2BLK_A_STAT_REFCOUNT_MISSES] = refs.misses;
}

/* What the block layer has counted, partitions included. */
static void add_requests(struct block_device *part0, u64 *stat)
{
	static const struct {
		unsigned int group, number, bytes, nsec;
	} kinds[] = {
		{ STAT_READ, QCOW2BLK_A_STAT_READS, QCOW2BLK_A_STAT_READ_BYTES,
		  QCOW2BLK_A_STAT_READ_NSEC },
		{ STAT_WRITE, QCOW2BLK_A_STAT_WRITES, QCOW2BLK_A_STAT_WRITE_BYTES,
		  QCOW2BLK_A_STAT_WRITE_NSEC },
		{ STAT_DISCARD, QCOW2BLK_A_STAT_DISCARDS, QCOW2BLK_A_STAT_DISCARD_BYTES,
		  QCOW2BLK_A_STAT_DISCARD_NSEC },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		stat[kinds[i].number] = part_stat_read(part0, ios[kinds[i].group]);
		stat[kinds[i].bytes] = (u64)part_stat_read(part0, sectors[kinds[i].group]) <<
				       SECTOR_SHIFT;
		stat[kinds[i].nsec] = part_stat_read(part0, nsecs[kinds[i].group]);
	}
	stat[QCOW2BLK_A_STAT_FLUSHES] = part_stat_read(part0, ios[STAT_FLUSH]);
	stat[QCOW2BLK_A_STAT_FLUSH_NSEC] = part_stat_read(part0, nsecs[STAT_FLUSH]);
}

void qcow2_stats_collect(const struct qcow2_device *dev, u64 *stat)
{
	const struct qcow2_io_target *t = &dev->target;

	memset(stat, 0, (QCOW2BLK_A_STAT_MAX + 1) * sizeof(*stat));
	add_io(t, stat);
	add_slices(&t->chain, stat);
	add_compress(t->compress, stat);
	if (t->chain.layers[0]->writable)
		add_writes(t->chain.layers[0], stat);
	add_requests(dev->disk.gd->part0, stat);
}
