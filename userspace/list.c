// SPDX-License-Identifier: GPL-2.0-or-later
#include "chain.h"
#include "command.h"
#include "device.h"
#include "node.h"
#include "output.h"
#include "users.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum column {
	DEVICE, SIZE, RO, FORMAT, LAYERS, IMAGE,	/* those that are shown unasked */
	MAJ_MIN, CLUSTER, DISCARD, CACHE, DIO, CIPHER, SNAPSHOT, PARENT, TEMPORARY, CHAIN, MOUNTS,
	NR_COLUMNS,
	NR_DEFAULT = IMAGE + 1,
};

static const struct {
	const char *name;
	enum { TEXT, NUMBER, BYTES, YES_NO } kind;
} columns[NR_COLUMNS] = {
	[DEVICE] = { "DEVICE", TEXT },
	[SIZE] = { "SIZE", BYTES },
	[RO] = { "RO", TEXT },
	[FORMAT] = { "FORMAT", TEXT },
	[LAYERS] = { "LAYERS", NUMBER },
	[IMAGE] = { "IMAGE", TEXT },
	[MAJ_MIN] = { "MAJ:MIN", TEXT },
	[CLUSTER] = { "CLUSTER", BYTES },
	[DISCARD] = { "DISCARD", TEXT },
	[CACHE] = { "CACHE", BYTES },
	[DIO] = { "DIO", YES_NO },
	[CIPHER] = { "CIPHER", TEXT },
	[SNAPSHOT] = { "SNAPSHOT", TEXT },
	[PARENT] = { "PARENT", TEXT },
	[TEMPORARY] = { "TEMPORARY", YES_NO },
	[CHAIN] = { "CHAIN", TEXT },
	[MOUNTS] = { "MOUNTS", TEXT },
};

/**
 * struct list - what the user wants to see
 * @json, @bytes: of the options.
 * @style: likewise.
 * @chosen: columns were named.
 * @shown: columns, in order.  @nr_shown: how many.
 * @devices: all devices.
 */
struct list {
	bool json;
	bool bytes;
	bool chosen;
	struct qcow2_output_style style;
	enum column shown[NR_COLUMNS];
	unsigned int nr_shown;
	struct qcow2_devices devices;
};

/* Is it read-only? A device that has stopped is, by now. */
static const char *ro(const struct qcow2_nl_device *device)
{
	if (device->flags & QCOW2BLK_F_STOPPED)
		return "stopped";
	return device->flags & QCOW2BLK_F_READ_ONLY ? "yes" : "no";
}

static char *size_cell(const struct list *l, uint64_t bytes)
{
	char size[QCOW2_OUTPUT_SIZE_LEN];

	if (l->bytes)
		return qcow2_output_cell("%llu", (unsigned long long)bytes);
	return qcow2_output_cell("%s", qcow2_output_size(bytes, size));
}

static char *bool_cell(const struct list *l, bool value)
{
	/* What libsmartcols makes true and false of. */
	if (l->json)
		return qcow2_output_cell(value ? "1" : "0");
	return qcow2_output_cell(value ? "yes" : "no");
}

static char *chain_cell(const struct qcow2_nl_device *device)
{
	char *cell = qcow2_output_cell("%s", device->layers[0].path ?: "");
	unsigned int i;

	for (i = 1; i < device->nr_layers; i++) {
		char *longer = qcow2_output_cell("%s, %s", cell, device->layers[i].path ?: "");

		free(cell);
		cell = longer;
	}
	return cell;
}

static char *mounts_cell(const struct list *l, const struct qcow2_nl_device *device)
{
	struct qcow2_users users;
	char *cell = NULL, *longer;
	unsigned int i;

	qcow2_users_find(&users, &l->devices, device->index, false);
	for (i = 0; i < users.count; i++) {
		if (users.list[i].kind != QCOW2_USER_MOUNT)
			continue;
		longer = qcow2_output_cell("%s%s%s", cell ?: "", cell ? ", " : "",
					   users.list[i].what);
		free(cell);
		cell = longer;
	}
	qcow2_users_free(&users);
	return cell;
}

static char *number_cell(int index)
{
	char path[QCOW2_NODE_NAME_LEN];
	struct stat st;

	if (stat(qcow2_node_path(index, path), &st))
		return NULL;
	return qcow2_output_cell("%u:%u", major(st.st_rdev), minor(st.st_rdev));
}

static char *text_cell(const char *text)
{
	return text ? qcow2_output_cell("%s", text) : NULL;
}

static char *cell(const struct list *l, const struct qcow2_nl_device *device, enum column column)
{
	const struct qcow2_nl_layer *top = &device->layers[0];
	char path[QCOW2_NODE_NAME_LEN];

	switch (column) {
	case DEVICE:
		return text_cell(qcow2_node_path(device->index, path));
	case SIZE:
		return size_cell(l, device->size);
	case RO:
		return text_cell(ro(device));
	case FORMAT:
		return text_cell(qcow2_chain_format_name(qcow2_device_image(device)->format));
	case LAYERS:
		return qcow2_output_cell("%u", device->nr_layers);
	case IMAGE:
		return text_cell(qcow2_device_image(device)->path ?: "(only root sees it)");
	case MAJ_MIN:
		return number_cell(device->index);
	case CLUSTER:
		return top->cluster_size ? size_cell(l, top->cluster_size) : NULL;
	case DISCARD:
		return text_cell(device->flags & QCOW2BLK_F_NO_DISCARD ? "ignore" : "unmap");
	case CACHE:
		return size_cell(l, device->cache_size);
	case DIO:
		return bool_cell(l, top->direct_io);
	case CIPHER:
		return text_cell(top->cipher);
	case SNAPSHOT:
		return text_cell(device->snapshot);
	case PARENT:
		return device->parent == QCOW2_NL_ANY_INDEX ? NULL :
		       text_cell(qcow2_node_path(device->parent, path));
	case TEMPORARY:
		return bool_cell(l, device->flags & QCOW2BLK_F_TEMPORARY);
	case CHAIN:
		return chain_cell(device);
	case MOUNTS:
		return mounts_cell(l, device);
	default:
		return NULL;
	}
}

static enum qcow2_output_type type_of(const struct list *l, enum column column)
{
	switch (columns[column].kind) {
	case NUMBER:
		return QCOW2_OUTPUT_NUMBER;
	case BYTES:
		return l->bytes ? QCOW2_OUTPUT_NUMBER : QCOW2_OUTPUT_STRING;
	case YES_NO:
		return QCOW2_OUTPUT_BOOLEAN;
	default:
		return QCOW2_OUTPUT_STRING;
	}
}

static void print_table(struct list *l, const struct qcow2_nl_device *const *devices,
			unsigned int count)
{
	char **cells = calloc(count * l->nr_shown + 1, sizeof(*cells));
	struct qcow2_output_column heads[NR_COLUMNS];
	unsigned int i, j;

	if (!cells)
		qcow2_error_nomem();
	for (j = 0; j < l->nr_shown; j++)
		heads[j] = (struct qcow2_output_column) {
			.name = columns[l->shown[j]].name,
			.type = type_of(l, l->shown[j]),
			.right = columns[l->shown[j]].kind == NUMBER ||
				 columns[l->shown[j]].kind == BYTES,
		};
	for (i = 0; i < count; i++)
		for (j = 0; j < l->nr_shown; j++)
			cells[i * l->nr_shown + j] = cell(l, devices[i], l->shown[j]);
	if (count || l->json)
		qcow2_output_table(heads, l->nr_shown, count, cells, &l->style);
	free(cells);
}

/* Everything about a device, and who uses it. */
static void print_inventory(struct list *l, const struct qcow2_nl_device *const *devices,
			    unsigned int count)
{
	struct json_object *list = json_object_new_array(), *o;
	struct qcow2_users users;
	unsigned int i;

	for (i = 0; i < count; i++) {
		o = qcow2_device_json(devices[i]);
		qcow2_users_find(&users, &l->devices, devices[i]->index, false);
		json_object_object_add(o, "users", qcow2_users_json(&users));
		qcow2_users_free(&users);
		json_object_array_add(list, o);
	}
	qcow2_output_json(list);
}

/* --- the command --------------------------------------------------------------------------- */

static int add_column(struct list *l, const char *name, size_t len)
{
	unsigned int i;

	for (i = 0; i < NR_COLUMNS; i++)
		if (strlen(columns[i].name) == len && !strncasecmp(columns[i].name, name, len))
			break;
	if (i == NR_COLUMNS)
		return qcow2_error_usage("list", "-o: there is no column '%.*s'; see --help",
					 (int)len, name);
	if (l->nr_shown == NR_COLUMNS)
		return qcow2_error_usage("list", "-o: more columns than there are");
	l->shown[l->nr_shown++] = i;
	return 0;
}

static void choose_first(struct list *l, unsigned int nr)
{
	for (l->nr_shown = 0; l->nr_shown < nr; l->nr_shown++)
		l->shown[l->nr_shown] = l->nr_shown;
}

/* As for lsblk: "+A,B" is more than the default. */
static int choose(struct list *l, const char *names)
{
	size_t len;
	int ret = 0;

	l->chosen = true;
	if (names[0] != '+')
		l->nr_shown = 0;
	else
		names++;
	do {
		len = strcspn(names, ",");
		ret = add_column(l, names, len);
		names += len;
	} while (!ret && *names++);
	return ret;
}

static int parse_options(struct list *l, int argc, char **argv)
{
	static const struct option options[] = {
		{ "bytes", no_argument, NULL, 'b' },
		{ "json", no_argument, NULL, 'J' },
		{ "noheadings", no_argument, NULL, 'n' },
		{ "output", required_argument, NULL, 'o' },
		{ "output-all", no_argument, NULL, 'O' },
		{ }
	};
	int opt, ret = 0;

	choose_first(l, NR_DEFAULT);
	while (!ret && (opt = getopt_long(argc, argv, "bJno:O", options, NULL)) != -1) {
		if (opt == 'b')
			l->bytes = true;
		else if (opt == 'J')
			l->json = true;
		else if (opt == 'n')
			l->style.no_headings = true;
		else if (opt == 'o')
			ret = choose(l, optarg);
		else if (opt == 'O')
			ret = (l->chosen = true, choose_first(l, NR_COLUMNS), 0);
		else
			return qcow2_error_usage("list", NULL);
	}
	l->style.json = l->json ? "devices" : NULL;
	return ret;
}

static int list_devices(struct list *l, char **names, struct qcow2_error *err)
{
	const struct qcow2_nl_device **devices;
	unsigned int count = 0, i;
	int index, ret = 0;

	for (i = 0; names[i]; i++)
		;
	devices = calloc(l->devices.count + i + 1, sizeof(*devices));
	if (!devices)
		qcow2_error_nomem();
	for (i = 0; !names[0] && i < l->devices.count; i++)
		devices[count++] = &l->devices.list[i];
	for (; *names && !ret; names++) {
		ret = qcow2_devices_find(&l->devices, *names, &index, err);
		if (!ret)
			devices[count++] = qcow2_devices_by_index(&l->devices, index);
	}
	if (!ret && l->json && !l->chosen)
		print_inventory(l, devices, count);
	else if (!ret)
		print_table(l, devices, count);
	free(devices);
	return ret;
}

static int run(int argc, char **argv)
{
	struct list l = { };
	struct qcow2_error err;
	int ret = parse_options(&l, argc, argv);

	if (ret)
		return ret;
	if (qcow2_devices_read(&l.devices, &err) || list_devices(&l, argv + optind, &err))
		ret = qcow2_error_print(&err);
	qcow2_devices_free(&l.devices);
	return ret;
}

const struct qcow2_command qcow2_command_list = {
	.name = "list",
	.usage = "[OPTION]... [DEVICE|IMAGE]...",
	.summary = "List attached devices",
	.help =
		"Prints nothing where there are none. Paths of images are shown to root only.\n"
		"RO is 'stopped' where an error has ended writing for good: what was not flushed by\n"
		"then may be lost, reads go on; detach --force ends it.\n"
		"\n"
		"  -o, --output LIST        these columns, names parted by commas; +LIST: these, too\n"
		"  -O, --output-all         all columns\n"
		"  -n, --noheadings         no headings\n"
		"  -b, --bytes              sizes in bytes\n"
		"  -J, --json               everything about each device, and who uses it, as a JSON\n"
		"                           array; with -o an object with an array of these columns\n"
		"\n"
		"Columns: DEVICE, SIZE, RO, FORMAT, LAYERS, IMAGE (these are the default), MAJ:MIN,\n"
		"CLUSTER, DISCARD, CACHE, DIO (direct I/O), CIPHER, SNAPSHOT, PARENT, TEMPORARY, CHAIN,\n"
		"MOUNTS.\n",
	.run = run,
};
