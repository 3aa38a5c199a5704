// SPDX-License-Identifier: GPL-2.0-or-later
#include "chain.h"
#include "command.h"
#include "device.h"
#include "node.h"
#include "output.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum column { DEVICE, SIZE, RO, FORMAT, LAYERS, IMAGE, NR_COLUMNS };

/* Is it read-only? A device that has stopped is, by now. */
static const char *ro(const struct qcow2_nl_device *device)
{
	if (device->flags & QCOW2BLK_F_STOPPED)
		return "stopped";
	return device->flags & QCOW2BLK_F_READ_ONLY ? "yes" : "no";
}

static void fill_row(const struct qcow2_nl_device *device, char **cells)
{
	const struct qcow2_nl_layer *top = &device->layers[0];
	char path[QCOW2_NODE_NAME_LEN], size[QCOW2_OUTPUT_SIZE_LEN];

	cells[DEVICE] = qcow2_output_cell("%s", qcow2_node_path(device->index, path));
	cells[SIZE] = qcow2_output_cell("%s", qcow2_output_size(device->size, size));
	cells[RO] = qcow2_output_cell("%s", ro(device));
	cells[FORMAT] = qcow2_output_cell("%s", qcow2_chain_format_name(top->format));
	cells[LAYERS] = qcow2_output_cell("%u", device->nr_layers);
	cells[IMAGE] = qcow2_output_cell("%s", top->path ? top->path : "(only root sees it)");
}

static void print_table(const struct qcow2_devices *devices)
{
	static char *const headings[NR_COLUMNS] = {
		"DEVICE", "SIZE", "RO", "FORMAT", "LAYERS", "IMAGE",
	};
	char **cells = calloc((size_t)NR_COLUMNS * (devices->count + 1), sizeof(*cells));
	unsigned int i;

	if (!cells)
		qcow2_error_nomem();
	memcpy(cells, headings, sizeof(headings));
	for (i = 0; i < devices->count; i++)
		fill_row(&devices->list[i], cells + NR_COLUMNS * (i + 1));
	if (devices->count)
		qcow2_output_table(NR_COLUMNS, devices->count + 1, cells);
	for (i = NR_COLUMNS; i < NR_COLUMNS * (devices->count + 1); i++)
		free(cells[i]);
	free(cells);
}

static void print_json(const struct qcow2_devices *devices)
{
	struct json_object *list = json_object_new_array();
	unsigned int i;

	for (i = 0; i < devices->count; i++)
		json_object_array_add(list, qcow2_device_json(&devices->list[i]));
	qcow2_output_json(list);
}

static int run(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ }
	};
	struct qcow2_devices devices;
	struct qcow2_error err;
	bool json = false;
	int opt, ret;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt != 'j')
			return qcow2_error_usage("list", NULL);
		json = true;
	}
	if (optind != argc)
		return qcow2_error_usage("list", "unexpected argument '%s'", argv[optind]);

	ret = qcow2_devices_read(&devices, &err);
	if (ret)
		qcow2_error_print(&err);
	else if (json)
		print_json(&devices);
	else
		print_table(&devices);
	qcow2_devices_free(&devices);
	return ret;
}

const struct qcow2_command qcow2_command_list = {
	.name = "list",
	.usage = "[--json]",
	.summary = "List attached devices",
	.help =
		"Prints nothing where there are none. Paths of images are shown to root only.\n"
		"RO is 'stopped' where an error has ended writing for good: what was not flushed by\n"
		"then may be lost, reads go on; detach --force ends it.\n"
		"\n"
		"  --json                   everything about each device, as a JSON array\n",
	.run = run,
};
