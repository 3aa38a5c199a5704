// SPDX-License-Identifier: GPL-2.0-or-later
/* What an image is. Keys and words are those of qemu-img info. */
#include "chain.h"
#include "command.h"
#include "device.h"
#include "luks.h"
#include "node.h"
#include "output.h"
#include "snapshot.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * All that is known of one image.
 * @broken: why the chain, the snapshot table or the bitmap directory cannot be followed;
 *	empty if they can.
 * @device: where the user named a device, that one; else NULL.
 */
struct info {
	struct qcow2_chain chain;
	struct qcow2_snapshot *snapshots;
	struct qcow2_bitmap *bitmaps;
	uint32_t nr_bitmaps;
	struct qcow2_error broken;
	struct qcow2_devices devices;
	const struct qcow2_nl_device *device;
};

static const struct qcow2_layer *top_of(const struct info *info)
{
	return &info->chain.layer[0];
}

static const struct qcow2_header *header_of(const struct qcow2_layer *layer)
{
	return layer->format == QCOW2BLK_FORMAT_QCOW2 ? &layer->image.header : NULL;
}

static bool is_encrypted(const struct qcow2_layer *layer)
{
	return header_of(layer) && header_of(layer)->crypt_method;
}

static uint64_t virtual_size(const struct qcow2_layer *layer)
{
	return header_of(layer) ? header_of(layer)->size : layer->file_size;
}

static const char *compression_name(const struct qcow2_header *h)
{
	return h->compression_type == QCOW2_COMPRESSION_ZSTD ? "zstd" : "zlib";
}

static bool has(const struct qcow2_header *h, uint64_t feature)
{
	return h->incompatible_features & feature;
}

static struct json_object *bitmap_json(const struct qcow2_bitmap *bitmap)
{
	struct json_object *o = json_object_new_object();
	struct json_object *flags = json_object_new_array();

	if (bitmap->entry.flags & QCOW2_BITMAP_IN_USE)
		json_object_array_add(flags, json_object_new_string("in-use"));
	if (bitmap->entry.flags & QCOW2_BITMAP_AUTO)
		json_object_array_add(flags, json_object_new_string("auto"));
	json_object_object_add(o, "flags", flags);
	qcow2_output_add_str(o, "name", bitmap->name);
	qcow2_output_add_int(o, "granularity", 1ULL << bitmap->entry.granularity_bits);
	return o;
}

static void add_bitmaps(struct json_object *data, const struct info *info)
{
	struct json_object *list;
	uint32_t i;

	if (!info->bitmaps)
		return;
	list = json_object_new_array();
	for (i = 0; i < info->nr_bitmaps; i++)
		json_object_array_add(list, bitmap_json(&info->bitmaps[i]));
	json_object_object_add(data, "bitmaps", list);
}

/* What only version 3 can say; v2 images have none of it. */
static void add_v3(struct json_object *data, const struct info *info)
{
	const struct qcow2_layer *layer = top_of(info);
	const struct qcow2_header *h = header_of(layer);

	qcow2_output_add_bool(data, "lazy-refcounts",
			      h->compatible_features & QCOW2_COMPAT_LAZY_REFCOUNTS);
	qcow2_output_add_int(data, "refcount-bits", 1U << h->refcount_order);
	qcow2_output_add_bool(data, "corrupt", has(h, QCOW2_INCOMPAT_CORRUPT));
	qcow2_output_add_bool(data, "extended-l2", has(h, QCOW2_INCOMPAT_EXTL2));
	if (has(h, QCOW2_INCOMPAT_DATA_FILE)) {
		qcow2_output_add_str(data, "data-file", layer->data_name);
		qcow2_output_add_bool(data, "data-file-raw",
				      h->autoclear_features & QCOW2_AUTOCLEAR_DATA_FILE_RAW);
	}
	add_bitmaps(data, info);
}

/* Return: false where that is no LUKS image, or its LUKS header is of no use. */
static bool read_luks(const struct qcow2_layer *layer, struct qcow2_luks_names *names)
{
	struct qcow2_luks *luks;
	struct qcow2_error err;

	if (header_of(layer)->crypt_method != QCOW2_CRYPT_LUKS ||
	    qcow2_luks_open(layer, &luks, &err))
		return false;
	qcow2_luks_names(luks, names);
	qcow2_luks_close(luks);
	return true;
}

static const char *encrypt_name(const struct qcow2_header *h)
{
	return h->crypt_method == QCOW2_CRYPT_LUKS ? "luks" : "aes";
}

static struct json_object *encrypt_json(const struct qcow2_layer *layer)
{
	struct json_object *o = json_object_new_object();
	struct qcow2_luks_names names;

	qcow2_output_add_str(o, "format", encrypt_name(header_of(layer)));
	if (!read_luks(layer, &names))
		return o;
	qcow2_output_add_str(o, "cipher-alg", names.cipher);
	qcow2_output_add_str(o, "cipher-mode", names.mode);
	if (names.iv[0])
		qcow2_output_add_str(o, "ivgen-alg", names.iv);
	if (names.iv_hash[0])
		qcow2_output_add_str(o, "ivgen-hash-alg", names.iv_hash);
	return o;
}

static struct json_object *format_specific(const struct info *info)
{
	const struct qcow2_header *h = header_of(top_of(info));
	struct json_object *o = json_object_new_object();
	struct json_object *data = json_object_new_object();

	qcow2_output_add_str(data, "compat", h->version == 2 ? "0.10" : "1.1");
	qcow2_output_add_str(data, "compression-type", compression_name(h));
	if (h->version == 2)
		qcow2_output_add_int(data, "refcount-bits", 16);
	else
		add_v3(data, info);
	if (h->crypt_method)
		json_object_object_add(data, "encrypt", encrypt_json(top_of(info)));
	qcow2_output_add_str(o, "type", "qcow2");
	json_object_object_add(o, "data", data);
	return o;
}

static void add_backing(struct json_object *o, const struct qcow2_layer *layer)
{
	struct qcow2_error err;
	char *path;

	if (!layer->backing_name)
		return;
	qcow2_output_add_str(o, "backing-filename", layer->backing_name);
	if (!qcow2_chain_backing_path(layer, &path, &err))
		qcow2_output_add_str(o, "full-backing-filename", path);
	qcow2_output_add_str(o, "backing-filename-format", layer->backing_format);
	free(path);
}

static void add_snapshots(struct json_object *o, const struct info *info)
{
	uint32_t count = header_of(top_of(info))->nb_snapshots;

	if (info->snapshots)
		json_object_object_add(o, "snapshots",
				       qcow2_snapshot_list_json(info->snapshots, count));
}

static struct json_object *chain_json(const struct info *info)
{
	struct json_object *list = json_object_new_array();
	unsigned int i;

	for (i = 0; i < info->chain.depth; i++) {
		const struct qcow2_layer *layer = &info->chain.layer[i];
		struct json_object *o = json_object_new_object();

		qcow2_output_add_str(o, "filename", layer->path);
		qcow2_output_add_str(o, "format", qcow2_chain_format_name(layer->format));
		qcow2_output_add_int(o, "virtual-size", virtual_size(layer));
		qcow2_output_add_int(o, "actual-size", layer->st.st_blocks * 512ULL);
		if (header_of(layer))
			qcow2_output_add_int(o, "cluster-size", header_of(layer)->cluster_size);
		if (is_encrypted(layer))
			qcow2_output_add_bool(o, "encrypted", true);
		json_object_array_add(list, o);
	}
	return list;
}

/* The devices that the image is attached as. */
static struct json_object *attached_json(const struct info *info)
{
	struct json_object *list = json_object_new_array();
	unsigned int i;

	for (i = 0; i < info->devices.count; i++)
		if (qcow2_device_is_of(&info->devices.list[i], &top_of(info)->st))
			json_object_array_add(list, qcow2_device_json(&info->devices.list[i]));
	return list;
}

static void print_json(const struct info *info)
{
	const struct qcow2_layer *top = top_of(info);
	const struct qcow2_header *h = header_of(top);
	struct json_object *o = json_object_new_object();

	qcow2_output_add_str(o, "filename", top->name);
	qcow2_output_add_str(o, "format", qcow2_chain_format_name(top->format));
	qcow2_output_add_int(o, "virtual-size", virtual_size(top));
	qcow2_output_add_int(o, "actual-size", top->st.st_blocks * 512ULL);
	if (h) {
		qcow2_output_add_int(o, "cluster-size", h->cluster_size);
		if (is_encrypted(top))
			qcow2_output_add_bool(o, "encrypted", true);
		add_backing(o, top);
		add_snapshots(o, info);
		json_object_object_add(o, "format-specific", format_specific(info));
	}
	qcow2_output_add_bool(o, "dirty-flag", h && has(h, QCOW2_INCOMPAT_DIRTY));
	json_object_object_add(o, "chain", chain_json(info));
	if (info->broken.text[0])
		qcow2_output_add_str(o, "error", info->broken.text);
	json_object_object_add(o, "attached", attached_json(info));
	qcow2_output_json(o);
}

static void print_text(const char *key, const char *value)
{
	printf("%s: ", key);
	qcow2_output_text(stdout, value);
	putchar('\n');
}

static void print_backing(const struct qcow2_layer *layer)
{
	struct qcow2_error err;
	char *path;

	if (!layer->backing_name)
		return;
	fputs("backing file: ", stdout);
	qcow2_output_text(stdout, layer->backing_name);
	if (!qcow2_chain_backing_path(layer, &path, &err) && strcmp(path, layer->backing_name)) {
		fputs(" (actual path: ", stdout);
		qcow2_output_text(stdout, path);
		putchar(')');
	}
	putchar('\n');
	if (layer->backing_format)
		print_text("backing file format", layer->backing_format);
	free(path);
}

static void print_snapshots(const struct info *info)
{
	if (!info->snapshots)
		return;
	puts("Snapshot list:");
	qcow2_snapshot_list_print(info->snapshots, header_of(top_of(info))->nb_snapshots);
}

static const char *yes(bool value)
{
	return value ? "true" : "false";
}

/* Is there a device that writes it? */
static bool is_written(const struct info *info)
{
	const struct qcow2_nl_device *device = info->devices.list;
	unsigned int i;

	for (i = 0; i < info->devices.count; i++, device++)
		if (qcow2_device_is_of(device, &top_of(info)->st) &&
		    !(device->flags & (QCOW2BLK_F_READ_ONLY | QCOW2BLK_F_STOPPED)))
			return true;
	return false;
}

static void print_encrypt(const struct qcow2_layer *layer)
{
	struct qcow2_luks_names names;

	printf("    encrypt:\n        format: %s\n", encrypt_name(header_of(layer)));
	if (!read_luks(layer, &names))
		return;
	print_text("        cipher alg", names.cipher);
	print_text("        cipher mode", names.mode);
	if (names.iv[0])
		print_text("        ivgen alg", names.iv);
	if (names.iv_hash[0])
		print_text("        ivgen hash alg", names.iv_hash);
}

static void print_bitmaps(const struct info *info)
{
	/* While the disk is written, what is true is in memory. */
	const char *in_use = is_written(info) ? ", in use" : ", in use (inconsistent)";
	uint32_t i;

	if (info->bitmaps)
		puts("    bitmaps:");
	for (i = 0; i < info->nr_bitmaps; i++) {
		const struct qcow2_bitmap *b = &info->bitmaps[i];
		char size[QCOW2_OUTPUT_SIZE_LEN];

		fputs("        ", stdout);
		qcow2_output_text(stdout, b->name);
		printf(": granularity %s%s%s\n",
		       qcow2_output_size(1ULL << b->entry.granularity_bits, size),
		       b->entry.flags & QCOW2_BITMAP_AUTO ? ", auto" : "",
		       b->entry.flags & QCOW2_BITMAP_IN_USE ? in_use : "");
	}
}

static void print_specific(const struct info *info)
{
	const struct qcow2_layer *layer = top_of(info);
	const struct qcow2_header *h = header_of(layer);

	puts("Format specific information:");
	printf("    compat: %s\n", h->version == 2 ? "0.10" : "1.1");
	printf("    compression type: %s\n", compression_name(h));
	if (h->version > 2)
		printf("    lazy refcounts: %s\n",
		       yes(h->compatible_features & QCOW2_COMPAT_LAZY_REFCOUNTS));
	printf("    refcount bits: %u\n", 1U << h->refcount_order);
	if (h->crypt_method)
		print_encrypt(layer);
	if (h->version == 2)
		return;
	if (layer->data_name)
		print_text("    data file", layer->data_name);
	if (has(h, QCOW2_INCOMPAT_DATA_FILE))
		printf("    data file raw: %s\n",
		       yes(h->autoclear_features & QCOW2_AUTOCLEAR_DATA_FILE_RAW));
	print_bitmaps(info);
	printf("    corrupt: %s\n", yes(has(h, QCOW2_INCOMPAT_CORRUPT)));
	printf("    extended l2: %s\n", yes(has(h, QCOW2_INCOMPAT_EXTL2)));
}

static void print_chain(const struct info *info)
{
	unsigned int i;

	if (info->chain.depth == 1)
		return;
	puts("chain:");
	for (i = 0; i < info->chain.depth; i++) {
		printf("    %u: ", i);
		qcow2_output_text(stdout, info->chain.layer[i].path);
		printf(" (%s%s)\n", qcow2_chain_format_name(info->chain.layer[i].format),
		       is_encrypted(&info->chain.layer[i]) ? ", encrypted" : "");
	}
}

static const char *attached_how(const struct qcow2_nl_device *device)
{
	if (device->commit.state == QCOW2_NL_COMMIT_RUNNING)
		return " (being committed)";
	if (device->flags & QCOW2BLK_F_STOPPED)
		return " (writing has stopped after an error)";
	return device->flags & QCOW2BLK_F_READ_ONLY ? " (read-only)" : "";
}

static void print_attached(const struct info *info)
{
	char path[QCOW2_NODE_NAME_LEN];
	unsigned int i;

	for (i = 0; i < info->devices.count; i++)
		if (qcow2_device_is_of(&info->devices.list[i], &top_of(info)->st))
			printf("attached as: %s%s\n",
			       qcow2_node_path(info->devices.list[i].index, path),
			       attached_how(&info->devices.list[i]));
}

static void print_human(const struct info *info)
{
	const struct qcow2_layer *top = top_of(info);
	const struct qcow2_header *h = header_of(top);
	char size[QCOW2_OUTPUT_SIZE_LEN];

	print_text("image", top->name);
	printf("file format: %s\n", qcow2_chain_format_name(top->format));
	printf("virtual size: %s (%" PRIu64 " bytes)\n",
	       qcow2_output_size(virtual_size(top), size), virtual_size(top));
	printf("disk size: %s\n", qcow2_output_size(top->st.st_blocks * 512ULL, size));
	if (h) {
		if (is_encrypted(top))
			puts("encrypted: yes");
		printf("cluster_size: %u\n", h->cluster_size);
		if (has(h, QCOW2_INCOMPAT_DIRTY))
			puts("cleanly shut down: no");
		print_backing(top);
		print_snapshots(info);
		print_specific(info);
	}
	print_chain(info);
	print_attached(info);
}

static int read_image(struct info *info, const char *name, struct qcow2_error *err)
{
	struct qcow2_chain_policy policy;
	const struct qcow2_layer *top;
	int ret;

	qcow2_chain_policy_init(&policy);
	ret = qcow2_devices_open_image(&info->devices, name, &policy, &info->device, &info->chain,
				       err);
	if (ret)
		return ret;
	top = top_of(info);

	/* What was attached, was allowed then. */
	policy.anywhere = info->device;
	if (header_of(top) &&
	    (qcow2_image_snapshots(&top->image, top->fd, top->file_size, top->name,
				   &info->snapshots, &info->broken) ||
	     qcow2_image_bitmaps(&top->image, top->fd, top->file_size, top->name,
				 &info->bitmaps, &info->nr_bitmaps, &info->broken)))
		return 0;
	qcow2_chain_open_backing(&info->chain, &policy, &info->broken);
	return 0;
}

static int show(const char *name, bool json)
{
	struct info info = { };
	struct qcow2_error err;
	int ret;

	/* Without the module, images can be looked at all the same. */
	if (qcow2_devices_read(&info.devices, &err))
		qcow2_error_warn(NULL, "%s", err.text);
	ret = read_image(&info, name, &err);
	if (ret) {
		qcow2_error_print(&err);
	} else {
		if (info.broken.text[0])
			qcow2_error_warn(NULL, "%s", info.broken.text);
		(json ? print_json : print_human)(&info);
	}
	qcow2_image_snapshots_free(info.snapshots, info.snapshots ?
				   header_of(top_of(&info))->nb_snapshots : 0);
	qcow2_image_bitmaps_free(info.bitmaps, info.nr_bitmaps);
	qcow2_chain_close(&info.chain);
	qcow2_devices_free(&info.devices);
	return ret;
}

static int run(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ }
	};
	bool json = false;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt != 'j')
			return qcow2_error_usage("info", NULL);
		json = true;
	}
	if (argc - optind != 1)
		return qcow2_error_usage("info", "give one DEVICE or IMAGE");
	return show(argv[optind], json);
}

const struct qcow2_command qcow2_command_info = {
	.name = "info",
	.usage = "[--json] DEVICE|IMAGE",
	.summary = "Show what an image is",
	.help =
		"Works without the module, on images that nobody has attached, too. Keys are those\n"
		"of qemu-img info; 'chain' lists the image and its backing files, 'attached' the\n"
		"devices that it is the top image of. Locks nothing: an image that a VM is writing\n"
		"may show as dirty. Backing files that attach would refuse are not opened; what is\n"
		"wrong with the chain is a warning, and 'error' in JSON.\n"
		"\n"
		"  --json                   as a JSON object\n",
	.run = run,
};
