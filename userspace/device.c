// SPDX-License-Identifier: GPL-2.0-or-later
#include "chain.h"
#include "device.h"
#include "node.h"
#include "output.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

int qcow2_devices_read(struct qcow2_devices *devices, struct qcow2_error *err)
{
	memset(devices, 0, sizeof(*devices));
	return qcow2_nl_open(&devices->nl, err) ?:
	       qcow2_nl_list(devices->nl, &devices->list, &devices->count, err);
}

void qcow2_devices_free(struct qcow2_devices *devices)
{
	qcow2_nl_free_list(devices->list, devices->count);
	qcow2_nl_close(devices->nl);
}

const struct qcow2_nl_device *qcow2_devices_by_index(const struct qcow2_devices *devices,
						     int index)
{
	unsigned int i;

	for (i = 0; i < devices->count; i++)
		if (devices->list[i].index == index)
			return &devices->list[i];
	return NULL;
}

bool qcow2_device_is_committed(int index)
{
	const struct qcow2_nl_device *device;
	struct qcow2_devices devices;
	struct qcow2_error ignored;
	bool committed = false;

	if (!qcow2_devices_read(&devices, &ignored)) {
		device = qcow2_devices_by_index(&devices, index);
		committed = device && device->commit.state == QCOW2_NL_COMMIT_RUNNING;
	}
	qcow2_devices_free(&devices);
	return committed;
}

static bool is_layer(const struct qcow2_nl_layer *layer, const struct stat *st)
{
	return layer->ino == st->st_ino && layer->dev == st->st_dev;
}

static bool is_data(const struct qcow2_nl_layer *layer, const struct stat *st)
{
	return layer->has_data && layer->data_ino == st->st_ino && layer->data_dev == st->st_dev;
}

bool qcow2_device_is_of(const struct qcow2_nl_device *device, const struct stat *st)
{
	return device->nr_layers && is_layer(&device->layers[0], st);
}

const struct qcow2_nl_layer *qcow2_device_image(const struct qcow2_nl_device *device)
{
	bool below = device->flags & QCOW2BLK_F_TEMPORARY && device->nr_layers > 1;

	return &device->layers[below];
}

bool qcow2_device_has_data(const struct qcow2_nl_device *device, const struct stat *st)
{
	return device->nr_layers && is_data(&device->layers[0], st);
}

bool qcow2_device_has(const struct qcow2_nl_device *device, const struct stat *st)
{
	unsigned int i;

	for (i = 0; i < device->nr_layers; i++)
		if (is_layer(&device->layers[i], st) || is_data(&device->layers[i], st))
			return true;
	return false;
}

/* The file that is the top of a device: it must still have its name. */
static int open_top_of(const struct qcow2_nl_device *device,
		       const struct qcow2_chain_policy *policy, struct qcow2_chain *chain,
		       struct qcow2_error *err)
{
	const struct qcow2_nl_layer *top = &device->layers[0];
	char path[QCOW2_NODE_NAME_LEN];
	int ret;

	if (!device->nr_layers || !top->path)
		return qcow2_error_set(err, QCOW2_EXIT_FAILED,
				       qcow2_node_path(device->index, path),
				       "only root sees its images; try sudo");
	if (device->flags & QCOW2BLK_F_TEMPORARY)
		return qcow2_error_set(err, QCOW2_EXIT_USAGE,
				       qcow2_node_path(device->index, path),
				       "what is written to it goes to a temporary file, which is nobody's to look at; its image is %s",
				       qcow2_device_image(device)->path);
	ret = qcow2_chain_open_top(chain, top->path, top->format, policy, err);
	if (!ret && !qcow2_device_is_of(device, &chain->layer[0].st))
		ret = qcow2_error_set(err, QCOW2_EXIT_FAILED, top->path,
				      "another file has this name now; the attached one was moved or deleted");
	return ret;
}

int qcow2_devices_open_image(const struct qcow2_devices *devices, const char *name,
			     const struct qcow2_chain_policy *policy,
			     const struct qcow2_nl_device **device, struct qcow2_chain *chain,
			     struct qcow2_error *err)
{
	char path[QCOW2_NODE_NAME_LEN];
	int index;

	*device = NULL;
	chain->depth = 0;
	if (!qcow2_node_parse(name, &index))
		return qcow2_chain_open_top(chain, name, QCOW2BLK_FORMAT_QCOW2, policy, err);
	*device = qcow2_devices_by_index(devices, index);
	if (!*device)
		return qcow2_error_set(err, QCOW2_EXIT_USAGE, qcow2_node_path(index, path),
				       "no such device; see qcow2ctl list");
	return open_top_of(*device, policy, chain, err);
}

void qcow2_device_explain_lock(const struct qcow2_layer *layer, const char *otherwise,
			       struct qcow2_error *err)
{
	const struct qcow2_nl_device *device;
	char path[QCOW2_NODE_NAME_LEN];
	struct qcow2_devices devices;
	struct qcow2_error ignored;
	bool is_top, is_data, writable;
	unsigned int i;

	if (qcow2_devices_read(&devices, &ignored))
		devices.count = 0;
	for (i = 0; i < devices.count; i++) {
		device = &devices.list[i];
		if (!qcow2_device_has(device, &layer->st))
			continue;
		is_top = qcow2_device_is_of(device, &layer->st);
		is_data = qcow2_device_has_data(device, &layer->st);
		writable = (is_top || is_data) && !(device->flags & QCOW2BLK_F_READ_ONLY);
		qcow2_error_set(err, QCOW2_EXIT_FAILED, layer->name,
				"it is %s %s; detach that first%s",
				is_top ? "attached as" :
				is_data ? "the data file of" : "a backing file of",
				qcow2_node_path(device->index, path), writable ? "" : otherwise);
	}
	qcow2_devices_free(&devices);
}

static struct json_object *layer_json(const struct qcow2_nl_layer *layer)
{
	struct json_object *o = json_object_new_object();
	char dev[32];

	snprintf(dev, sizeof(dev), "%u:%u", major(layer->dev), minor(layer->dev));
	qcow2_output_add_str(o, "filename", layer->path);
	qcow2_output_add_str(o, "format", qcow2_chain_format_name(layer->format));
	qcow2_output_add_int(o, "virtual-size", layer->size);
	if (layer->cluster_size)
		qcow2_output_add_int(o, "cluster-size", layer->cluster_size);
	qcow2_output_add_str(o, "cipher", layer->cipher);
	qcow2_output_add_bool(o, "direct-io", layer->direct_io);
	qcow2_output_add_str(o, "file-device", dev);
	qcow2_output_add_int(o, "file-inode", layer->ino);
	if (layer->has_data)
		qcow2_output_add_str(o, "data-file", layer->data_path);
	return o;
}

struct json_object *qcow2_device_stats_json(const struct qcow2_nl_device *device)
{
	static const char *const name[QCOW2BLK_A_STAT_MAX + 1] = {
		[QCOW2BLK_A_STAT_REQUESTS] = "requests",
		[QCOW2BLK_A_STAT_FILE_READS] = "file-reads",
		[QCOW2BLK_A_STAT_INLINE] = "inline",
		[QCOW2BLK_A_STAT_SLICE_HITS] = "slice-hits",
		[QCOW2BLK_A_STAT_SLICE_MISSES] = "slice-misses",
		[QCOW2BLK_A_STAT_SLICE_EVICTIONS] = "slice-evictions",
		[QCOW2BLK_A_STAT_DECOMPRESSIONS] = "decompressions",
		[QCOW2BLK_A_STAT_DECOMPRESSED_HITS] = "decompressed-hits",
		[QCOW2BLK_A_STAT_ERRORS] = "errors",
		[QCOW2BLK_A_STAT_FILE_WRITES] = "file-writes",
		[QCOW2BLK_A_STAT_ALLOCATIONS] = "allocations",
		[QCOW2BLK_A_STAT_COPIES] = "copies",
		[QCOW2BLK_A_STAT_COMMITS] = "commits",
		[QCOW2BLK_A_STAT_FAST_COMMITS] = "fast-commits",
		[QCOW2BLK_A_STAT_FSYNCS] = "fsyncs",
		[QCOW2BLK_A_STAT_SLICE_NSEC] = "slice-nsec",
		[QCOW2BLK_A_STAT_SLICE_BYTES] = "slice-bytes",
		[QCOW2BLK_A_STAT_REFCOUNT_HITS] = "refcount-hits",
		[QCOW2BLK_A_STAT_REFCOUNT_MISSES] = "refcount-misses",
		[QCOW2BLK_A_STAT_DECOMPRESS_NSEC] = "decompress-nsec",
		[QCOW2BLK_A_STAT_COMMIT_NSEC] = "commit-nsec",
		[QCOW2BLK_A_STAT_FSYNC_NSEC] = "fsync-nsec",
		[QCOW2BLK_A_STAT_READS] = "reads",
		[QCOW2BLK_A_STAT_READ_BYTES] = "read-bytes",
		[QCOW2BLK_A_STAT_READ_NSEC] = "read-nsec",
		[QCOW2BLK_A_STAT_WRITES] = "writes",
		[QCOW2BLK_A_STAT_WRITE_BYTES] = "write-bytes",
		[QCOW2BLK_A_STAT_WRITE_NSEC] = "write-nsec",
		[QCOW2BLK_A_STAT_DISCARDS] = "discards",
		[QCOW2BLK_A_STAT_DISCARD_BYTES] = "discard-bytes",
		[QCOW2BLK_A_STAT_DISCARD_NSEC] = "discard-nsec",
		[QCOW2BLK_A_STAT_FLUSHES] = "flushes",
		[QCOW2BLK_A_STAT_FLUSH_NSEC] = "flush-nsec",
	};
	struct json_object *o = json_object_new_object();
	unsigned int i;

	for (i = 0; i <= QCOW2BLK_A_STAT_MAX; i++)
		if (name[i])
			qcow2_output_add_int(o, name[i], device->stats[i]);
	return o;
}

static struct json_object *commit_json(const struct qcow2_nl_commit *commit)
{
	static const char *const states[] = {
		[QCOW2_NL_COMMIT_RUNNING] = "running",
		[QCOW2_NL_COMMIT_DONE] = "done",
		[QCOW2_NL_COMMIT_INTERRUPTED] = "interrupted",
		[QCOW2_NL_COMMIT_FAILED] = "failed",
	};
	struct json_object *o = json_object_new_object();

	qcow2_output_add_str(o, "state", states[commit->state]);
	qcow2_output_add_int(o, "done", commit->done);
	qcow2_output_add_int(o, "total", commit->total);
	if (commit->state == QCOW2_NL_COMMIT_FAILED)
		qcow2_output_add_str(o, "error", strerror(commit->error));
	return o;
}

static struct json_object *parent_json(const struct qcow2_nl_device *device)
{
	char path[QCOW2_NODE_NAME_LEN];

	return json_object_new_string(qcow2_node_path(device->parent, path));
}

struct json_object *qcow2_device_json(const struct qcow2_nl_device *device)
{
	struct json_object *o = json_object_new_object();
	struct json_object *layers = json_object_new_array();
	char path[QCOW2_NODE_NAME_LEN];
	unsigned int i;

	qcow2_output_add_str(o, "device", qcow2_node_path(device->index, path));
	qcow2_output_add_int(o, "virtual-size", device->size);
	qcow2_output_add_bool(o, "read-only", device->flags & QCOW2BLK_F_READ_ONLY);
	qcow2_output_add_bool(o, "stopped", device->flags & QCOW2BLK_F_STOPPED);
	qcow2_output_add_bool(o, "activate", device->flags & QCOW2BLK_F_ACTIVATE);
	qcow2_output_add_bool(o, "lazy-detach", device->flags & QCOW2BLK_F_LAZY);
	qcow2_output_add_bool(o, "temporary", device->flags & QCOW2BLK_F_TEMPORARY);
	qcow2_output_add_str(o, "discard",
			     device->flags & QCOW2BLK_F_NO_DISCARD ? "ignore" : "unmap");
	qcow2_output_add_bool(o, "partscan", !(device->flags & QCOW2BLK_F_NO_PARTSCAN));
	qcow2_output_add_int(o, "cache-size", device->cache_size);
	for (i = 0; i < device->nr_layers; i++)
		json_object_array_add(layers, layer_json(&device->layers[i]));
	json_object_object_add(o, "layers", layers);
	qcow2_output_add_str(o, "name", device->name);
	qcow2_output_add_str(o, "snapshot", device->snapshot);
	if (device->parent != QCOW2_NL_ANY_INDEX)
		json_object_object_add(o, "parent", parent_json(device));
	if (device->commit.state != QCOW2_NL_COMMIT_NONE)
		json_object_object_add(o, "commit", commit_json(&device->commit));
	json_object_object_add(o, "stats", qcow2_device_stats_json(device));
	return o;
}

static int refuse_to_choose(const struct qcow2_devices *devices, const char *image,
			    const struct stat *st, struct qcow2_error *err)
{
	char path[QCOW2_NODE_NAME_LEN], names[1024] = "";
	unsigned int i;

	for (i = 0; i < devices->count; i++) {
		size_t len = strlen(names);

		if (is_layer(qcow2_device_image(&devices->list[i]), st))
			snprintf(names + len, sizeof(names) - len, " %s",
				 qcow2_node_path(devices->list[i].index, path));
	}
	return qcow2_error_set(err, QCOW2_EXIT_FAILED, image,
			       "it is attached several times:%s; name the device", names);
}

/* The one device that was made of @image. */
static int find_by_image(const struct qcow2_devices *devices, const char *image, int *index,
			 struct qcow2_error *err)
{
	unsigned int i, found = 0;
	struct stat st;

	if (stat(image, &st))
		return qcow2_error_set(err, QCOW2_EXIT_USAGE, image, "no such image: %s",
				       strerror(errno));
	for (i = 0; i < devices->count; i++) {
		if (is_layer(qcow2_device_image(&devices->list[i]), &st)) {
			*index = devices->list[i].index;
			found++;
		}
	}
	if (!found)
		return qcow2_error_set(err, QCOW2_EXIT_USAGE, image,
				       "it is not attached; see qcow2ctl list");
	return found == 1 ? 0 : refuse_to_choose(devices, image, &st, err);
}

int qcow2_devices_find(const struct qcow2_devices *devices, const char *name, int *index,
		       struct qcow2_error *err)
{
	char path[QCOW2_NODE_NAME_LEN];

	if (!qcow2_node_parse(name, index))
		return find_by_image(devices, name, index, err);
	if (!qcow2_devices_by_index(devices, *index))
		return qcow2_error_set(err, QCOW2_EXIT_USAGE, qcow2_node_path(*index, path),
				       "no such device; see qcow2ctl list");
	return 0;
}
