// SPDX-License-Identifier: GPL-2.0-or-later
#include "command.h"
#include "device.h"
#include "node.h"
#include "output.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#define STAT(name)	QCOW2BLK_A_STAT_##name
#define NONE		QCOW2BLK_A_STAT_UNSPEC

/* What is counted and takes time: counters, by enum qcow2blk_stat_attr. */
static const struct {
	const char *name;
	unsigned int count, bytes, nsec;
} kinds[] = {
	{ "reads", STAT(READS), STAT(READ_BYTES), STAT(READ_NSEC) },
	{ "writes", STAT(WRITES), STAT(WRITE_BYTES), STAT(WRITE_NSEC) },
	{ "discards", STAT(DISCARDS), STAT(DISCARD_BYTES), STAT(DISCARD_NSEC) },
	{ "flushes", STAT(FLUSHES), NONE, STAT(FLUSH_NSEC) },
	{ "table reads", STAT(SLICE_MISSES), NONE, STAT(SLICE_NSEC) },
	{ "decompressions", STAT(DECOMPRESSIONS), NONE, STAT(DECOMPRESS_NSEC) },
	{ "commits", STAT(COMMITS), NONE, STAT(COMMIT_NSEC) },
	{ "fsyncs", STAT(FSYNCS), NONE, STAT(FSYNC_NSEC) },
};

static const struct {
	const char *name;
	unsigned int hits, misses;
} caches[] = {
	{ "tables", STAT(SLICE_HITS), STAT(SLICE_MISSES) },
	{ "refcounts", STAT(REFCOUNT_HITS), STAT(REFCOUNT_MISSES) },
	{ "decompressed clusters", STAT(DECOMPRESSED_HITS), STAT(DECOMPRESSIONS) },
};

static const struct {
	const char *name;
	unsigned int count;
} others[] = {
	{ "requests", STAT(REQUESTS) },
	{ "reads served without a worker", STAT(INLINE) },
	{ "requests that failed", STAT(ERRORS) },
	{ "reads of image files", STAT(FILE_READS) },
	{ "writes to the image file", STAT(FILE_WRITES) },
	{ "clusters allocated", STAT(ALLOCATIONS) },
	{ "writes that copied the rest of a cluster", STAT(COPIES) },
	{ "commits with one fsync", STAT(FAST_COMMITS) },
	{ "tables dropped for others", STAT(SLICE_EVICTIONS) },
};

#define COUNT(array)	(sizeof(array) / sizeof(*(array)))

static char *number_cell(uint64_t n)
{
	return qcow2_output_cell("%llu", (unsigned long long)n);
}

/* Three digits, with a unit. */
static char *time_cell(uint64_t nsec, uint64_t count)
{
	double each = count ? (double)nsec / count : 0;

	if (!count)
		return NULL;
	if (each < 1e6)
		return qcow2_output_cell("%.3g us", each / 1e3);
	return each < 1e9 ? qcow2_output_cell("%.3g ms", each / 1e6) :
			    qcow2_output_cell("%.3g s", each / 1e9);
}

static char *share_cell(uint64_t part, uint64_t rest)
{
	return part + rest ? qcow2_output_cell("%.1f%%", 100.0 * part / (part + rest)) : NULL;
}

static void print_kinds(const uint64_t *stats)
{
	static const struct qcow2_output_column columns[] = {
		{ .name = "KIND" }, { .name = "COUNT", .right = true },
		{ .name = "BYTES", .right = true }, { .name = "MEAN TIME", .right = true },
	};
	char *cells[COUNT(kinds) * COUNT(columns)] = { }, **c = cells;
	char size[QCOW2_OUTPUT_SIZE_LEN];
	unsigned int i;

	for (i = 0; i < COUNT(kinds); i++) {
		*c++ = qcow2_output_cell("%s", kinds[i].name);
		*c++ = number_cell(stats[kinds[i].count]);
		*c++ = kinds[i].bytes == NONE ? NULL :
		       qcow2_output_cell("%s", qcow2_output_size(stats[kinds[i].bytes], size));
		*c++ = time_cell(stats[kinds[i].nsec], stats[kinds[i].count]);
	}
	qcow2_output_table(columns, COUNT(columns), COUNT(kinds), cells, NULL);
}

static void print_caches(const uint64_t *stats)
{
	static const struct qcow2_output_column columns[] = {
		{ .name = "CACHE OF" }, { .name = "HITS", .right = true },
		{ .name = "MISSES", .right = true }, { .name = "HIT RATE", .right = true },
	};
	char *cells[COUNT(caches) * COUNT(columns)] = { }, **c = cells;
	unsigned int i;

	for (i = 0; i < COUNT(caches); i++) {
		*c++ = qcow2_output_cell("%s", caches[i].name);
		*c++ = number_cell(stats[caches[i].hits]);
		*c++ = number_cell(stats[caches[i].misses]);
		*c++ = share_cell(stats[caches[i].hits], stats[caches[i].misses]);
	}
	qcow2_output_table(columns, COUNT(columns), COUNT(caches), cells, NULL);
}

static void print_text(const struct qcow2_nl_device *device)
{
	char used[QCOW2_OUTPUT_SIZE_LEN], room[QCOW2_OUTPUT_SIZE_LEN];
	unsigned int i;

	print_kinds(device->stats);
	putchar('\n');
	print_caches(device->stats);
	printf("\ntables in memory: %s of %s\n",
	       qcow2_output_size(device->stats[STAT(SLICE_BYTES)], used),
	       qcow2_output_size(device->cache_size, room));
	for (i = 0; i < COUNT(others); i++)
		printf("%s: %llu\n", others[i].name,
		       (unsigned long long)device->stats[others[i].count]);
}

static void print_json(const struct qcow2_nl_device *device)
{
	struct json_object *o = json_object_new_object();
	char path[QCOW2_NODE_NAME_LEN];

	qcow2_output_add_str(o, "device", qcow2_node_path(device->index, path));
	qcow2_output_add_int(o, "cache-size", device->cache_size);
	json_object_object_add(o, "stats", qcow2_device_stats_json(device));
	qcow2_output_json(o);
}

static int run(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'J' },
		{ }
	};
	const struct qcow2_nl_device *device;
	struct qcow2_devices devices;
	struct qcow2_error err;
	bool json = false;
	int opt, index, ret;

	while ((opt = getopt_long(argc, argv, "J", options, NULL)) != -1) {
		if (opt != 'J')
			return qcow2_error_usage("stats", NULL);
		json = true;
	}
	if (argc - optind != 1)
		return qcow2_error_usage("stats", "give one DEVICE or IMAGE");
	ret = qcow2_devices_read(&devices, &err) ?:
	      qcow2_devices_find(&devices, argv[optind], &index, &err);
	device = ret ? NULL : qcow2_devices_by_index(&devices, index);
	if (ret)
		qcow2_error_print(&err);
	else if (json)
		print_json(device);
	else
		print_text(device);
	qcow2_devices_free(&devices);
	return ret;
}

const struct qcow2_command qcow2_command_stats = {
	.name = "stats",
	.usage = "[--json] DEVICE|IMAGE",
	.summary = "Print what a device has done since it was attached",
	.help =
		"How often, how many bytes, how long on average; what the caches were good for. Reads,\n"
		"writes, discards and flushes are counted by the kernel's block layer, unless\n"
		"/sys/block/qcowN/queue/iostats is 0.\n"
		"\n"
		"  -J, --json               all counters, as 'list --json' has them; times are sums, in\n"
		"                           nanoseconds\n",
	.run = run,
};
