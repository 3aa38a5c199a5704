// SPDX-License-Identifier: GPL-2.0-or-later
#include "command.h"
#include "device.h"
#include "output.h"
#include "snapshot.h"
#include "temporary.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* --- how they are shown ------------------------------------------------------------------- */

static struct json_object *to_json(const struct qcow2_snapshot *s)
{
	struct json_object *o = json_object_new_object();

	qcow2_output_add_str(o, "id", s->id);
	qcow2_output_add_str(o, "name", s->name);
	qcow2_output_add_int(o, "vm-state-size", s->vm_state_size);
	qcow2_output_add_int(o, "date-sec", s->date_sec);
	qcow2_output_add_int(o, "date-nsec", s->date_nsec);
	qcow2_output_add_int(o, "vm-clock-sec", s->vm_clock_nsec / 1000000000);
	qcow2_output_add_int(o, "vm-clock-nsec", s->vm_clock_nsec % 1000000000);
	if (s->icount != UINT64_MAX)
		qcow2_output_add_int(o, "icount", s->icount);
	return o;
}

struct json_object *qcow2_snapshot_list_json(const struct qcow2_snapshot *snapshots,
					     uint32_t count)
{
	struct json_object *list = json_object_new_array();
	uint32_t i;

	for (i = 0; i < count; i++)
		json_object_array_add(list, to_json(&snapshots[i]));
	return list;
}

enum column { ID, TAG, VM_SIZE, DISK_SIZE, DATE, VM_CLOCK, NR_COLUMNS };

static void fill_row(const struct qcow2_snapshot *s, char **cells)
{
	char vm_size[QCOW2_OUTPUT_SIZE_LEN], disk_size[QCOW2_OUTPUT_SIZE_LEN], date[64] = "?";
	uint64_t ms = s->vm_clock_nsec / 1000000;
	time_t seconds = s->date_sec;
	struct tm tm;

	if (localtime_r(&seconds, &tm))
		strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
	cells[ID] = qcow2_output_cell("%s", s->id);
	cells[TAG] = qcow2_output_cell("%s", s->name);
	cells[VM_SIZE] = qcow2_output_cell("%s", qcow2_output_size(s->vm_state_size, vm_size));
	cells[DISK_SIZE] = qcow2_output_cell("%s", qcow2_output_size(s->disk_size, disk_size));
	cells[DATE] = qcow2_output_cell("%s", date);
	cells[VM_CLOCK] = qcow2_output_cell("%02" PRIu64 ":%02" PRIu64 ":%02" PRIu64 ".%03" PRIu64,
					    ms / 3600000, ms / 60000 % 60, ms / 1000 % 60,
					    ms % 1000);
}

void qcow2_snapshot_list_print(const struct qcow2_snapshot *snapshots, uint32_t count)
{
	static char *const headings[NR_COLUMNS] = {
		"ID", "TAG", "VM SIZE", "DISK SIZE", "DATE", "VM CLOCK",
	};
	char **cells = calloc((size_t)NR_COLUMNS * (count + 1), sizeof(*cells));
	uint32_t i;

	if (!cells)
		qcow2_error_nomem();
	memcpy(cells, headings, sizeof(headings));
	for (i = 0; i < count; i++)
		fill_row(&snapshots[i], cells + NR_COLUMNS * (i + 1));
	qcow2_output_table(NR_COLUMNS, count + 1, cells);
	for (i = NR_COLUMNS; i < NR_COLUMNS * (count + 1); i++)
		free(cells[i]);
	free(cells);
}

/* --- list ---------------------------------------------------------------------------------- */

static int print_list(const struct qcow2_layer *top, bool json, struct qcow2_error *err)
{
	uint32_t count = top->image.header.nb_snapshots;
	struct qcow2_snapshot *snapshots;
	int ret;

	ret = qcow2_image_snapshots(&top->image, top->fd, top->file_size, top->name, &snapshots,
				    err);
	if (!ret && json)
		qcow2_output_json(qcow2_snapshot_list_json(snapshots, count));
	else if (!ret && count)
		qcow2_snapshot_list_print(snapshots, count);
	qcow2_image_snapshots_free(snapshots, count);
	return ret;
}

static int list_image(const struct qcow2_devices *devices, const char *name, bool json,
		      struct qcow2_error *err)
{
	const struct qcow2_nl_device *device;
	struct qcow2_chain_policy policy;
	struct qcow2_chain chain;
	int ret;

	qcow2_chain_policy_init(&policy);
	ret = qcow2_devices_open_image(devices, name, &policy, &device, &chain, err);
	if (!ret && chain.layer[0].format != QCOW2BLK_FORMAT_QCOW2)
		ret = qcow2_error_set(err, QCOW2_EXIT_FAILED, chain.layer[0].name,
				      "a raw image has no snapshots");
	if (!ret)
		ret = print_list(&chain.layer[0], json, err);
	qcow2_chain_close(&chain);
	return ret;
}

static int run_list(int argc, char **argv)
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
			return qcow2_error_usage("snapshot", NULL);
		json = true;
	}
	if (argc - optind != 1)
		return qcow2_error_usage("snapshot", "list: give one DEVICE or IMAGE");
	if (qcow2_devices_read(&devices, &err))
		qcow2_error_warn(NULL, "%s", err.text);
	ret = list_image(&devices, argv[optind], json, &err);
	if (ret)
		qcow2_error_print(&err);
	qcow2_devices_free(&devices);
	return ret;
}

/* --- which of them ------------------------------------------------------------------------- */

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} actions[] = {
	{ "list", run_list },
	{ "create", qcow2_snapshot_change },
	{ "apply", qcow2_snapshot_change },
	{ "delete", qcow2_snapshot_change },
};

static int run(int argc, char **argv)
{
	unsigned int i;

	if (argc < 2)
		return qcow2_error_usage("snapshot",
					 "say what to do: list, create, apply or delete");
	for (i = 0; i < sizeof(actions) / sizeof(*actions); i++)
		if (!strcmp(argv[1], actions[i].name))
			return actions[i].run(argc - 1, argv + 1);
	return qcow2_error_usage("snapshot", "unknown action '%s'", argv[1]);
}

const struct qcow2_command qcow2_command_snapshot = {
	.name = "snapshot",
	.usage = "list [--json] DEVICE|IMAGE\n"
		 "       qcow2ctl snapshot create|apply|delete [--force] DEVICE|IMAGE NAME",
	.summary = "List, create, apply or delete internal snapshots",
	.help =
		"list works on any image, also without the module, and prints nothing where there are\n"
		"no snapshots. VM SIZE is the state of the VM that was stored, 0 where it was off;\n"
		"DISK SIZE the size of the disk then.\n"
		"\n"
		"The others write: DEVICE is /dev/qcowN or qcowN, IMAGE the top image of one device, or\n"
		"of none: it is then attached for the time that it takes. NAME is new for create; for\n"
		"apply and delete it may be the snapshot's ID as well.\n"
		"\n"
		"create: the disk as it is now becomes a snapshot. File systems mounted from it are\n"
		"frozen meanwhile, as far as this process sees them.\n"
		"apply: the disk becomes what the snapshot is; what was written since is lost, unless\n"
		"another snapshot has it. Refused while the disk is in use.\n"
		"delete: forget it; space that only it had is given back.\n"
		"\n"
		"  --force                  apply although the disk is in use: whoever uses it sees\n"
		"                           it change underneath, which file systems do not survive\n"
		QCOW2_TEMPORARY_DATA_HELP
		QCOW2_TEMPORARY_KEY_HELP
		"  --json                   list: as a JSON array, with the keys of qemu-img info\n",
	.run = run,
};
