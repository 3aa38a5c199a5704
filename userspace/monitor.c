// SPDX-License-Identifier: GPL-2.0-or-later
#include "command.h"
#include "device.h"
#include "module.h"
#include "nl_events.h"
#include "node.h"
#include "output.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* What is told of before the first event: whatever comes now is heard. */
#define LISTENING	2000

static const struct {
	uint32_t type;
	const char *name;
	const char *text;
} types[] = {
	{ LISTENING, "listening", "listening" },
	{ QCOW2BLK_EVENT_ATTACHED, "attached", "attached" },
	{ QCOW2BLK_EVENT_DETACHED, "detached", "detached" },
	{ QCOW2BLK_EVENT_ERROR, "error", "a request failed" },
	{ QCOW2BLK_EVENT_ENOSPC, "no-space", "no space is left for what is written" },
	{ QCOW2BLK_EVENT_STOPPED, "stopped", "writing has stopped for good" },
	{ QCOW2BLK_EVENT_BITMAPS, "bitmaps", "a dirty bitmap could not be stored" },
	{ QCOW2BLK_EVENT_RESIZED, "resized", "has another size" },
	{ QCOW2BLK_EVENT_KEPT, "detach-failed",
	  "stays attached: what was written to it cannot be made durable" },
	{ QCOW2BLK_EVENT_LOST, "data-lost",
	  "goes by force, and what was written since the last good flush is lost" },
	{ QCOW2_NL_EVENT_LOST, "lost", "too much at once: some events were lost" },
	{ QCOW2_NL_EVENT_GONE, "unloaded", "the module was unloaded" },
};

static unsigned int find_type(uint32_t type)
{
	unsigned int i = 0;

	while (i < sizeof(types) / sizeof(*types) && types[i].type != type)
		i++;
	return i;
}

/* "2026-11-22T05:33:01.123456Z" */
static const char *now(char text[64])
{
	struct timespec ts;
	struct tm tm;
	size_t len;

	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	len = strftime(text, 64, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text + len, 64 - len, ".%06ldZ", ts.tv_nsec / 1000);
	return text;
}

static bool is_of_device(const struct qcow2_nl_event *event)
{
	return event->type < QCOW2_NL_EVENT_LOST;
}

static void print_text(const struct qcow2_nl_event *event, unsigned int type,
		       const struct qcow2_nl_device *device)
{
	char time[64], path[QCOW2_NODE_NAME_LEN], size[QCOW2_OUTPUT_SIZE_LEN];

	printf("%s ", now(time));
	if (is_of_device(event))
		printf("%s: ", qcow2_node_path(event->index, path));
	fputs(types[type].text, stdout);
	if (event->error)
		printf(": %s", strerror(event->error));
	if (event->type == QCOW2BLK_EVENT_ERROR)
		printf(" (guest offset %llu, layer %u)", (unsigned long long)event->offset,
		       event->layer);
	if (event->type == QCOW2BLK_EVENT_RESIZED)
		printf(": %s", qcow2_output_size(event->size, size));
	if (device) {
		printf(": %s", qcow2_output_size(device->size, size));
		if (qcow2_device_image(device)->path) {
			fputs(", ", stdout);
			qcow2_output_text(stdout, qcow2_device_image(device)->path);
		}
	}
	putchar('\n');
}

static void print_json(const struct qcow2_nl_event *event, unsigned int type,
		       const struct qcow2_nl_device *device)
{
	struct json_object *o = json_object_new_object();
	char time[64], path[QCOW2_NODE_NAME_LEN];

	qcow2_output_add_str(o, "time", now(time));
	qcow2_output_add_str(o, "event", types[type].name);
	if (is_of_device(event))
		qcow2_output_add_str(o, "device", qcow2_node_path(event->index, path));
	if (event->error) {
		qcow2_output_add_int(o, "errno", event->error);
		qcow2_output_add_str(o, "error", strerror(event->error));
	}
	if (event->type == QCOW2BLK_EVENT_ERROR) {
		qcow2_output_add_int(o, "offset", event->offset);
		qcow2_output_add_int(o, "layer", event->layer);
	}
	if (event->type == QCOW2BLK_EVENT_RESIZED)
		qcow2_output_add_int(o, "virtual-size", event->size);
	if (device) {
		qcow2_output_add_int(o, "virtual-size", device->size);
		qcow2_output_add_str(o, "filename", qcow2_device_image(device)->path);
	}
	qcow2_output_json_line(o);
}

/* An event of a kind that is not known here is passed over. */
static int print_event(const struct qcow2_nl_event *event, bool json, struct qcow2_error *err)
{
	const struct qcow2_nl_device *device = NULL;
	unsigned int type = find_type(event->type);
	struct qcow2_devices devices = { };
	struct qcow2_error ignored;

	if (type == sizeof(types) / sizeof(*types))
		return 0;
	/* What it is made of; it may be gone already. */
	if (event->type == QCOW2BLK_EVENT_ATTACHED && !qcow2_devices_read(&devices, &ignored))
		device = qcow2_devices_by_index(&devices, event->index);
	(json ? print_json : print_text)(event, type, device);
	qcow2_devices_free(&devices);
	if (!fflush(stdout) && !ferror(stdout))
		return 0;
	clearerr(stdout);
	return qcow2_error_set(err, QCOW2_EXIT_FAILED, NULL,
			       "cannot write to standard output: %s", strerror(errno));
}

static int monitor(bool json, struct qcow2_error *err)
{
	struct qcow2_nl_event event = { .type = LISTENING };
	struct qcow2_nl_events *events = NULL;
	struct qcow2_nl *nl = NULL;
	int ret;

	ret = qcow2_module_connect(&nl, err) ?: qcow2_nl_events_open(&events, nl, err);
	while (!ret) {
		ret = print_event(&event, json, err);
		if (ret || event.type == QCOW2_NL_EVENT_GONE)
			break;
		ret = qcow2_nl_events_next(events, &event, err);
	}
	qcow2_nl_events_close(events);
	qcow2_nl_close(nl);
	return ret;
}

static int run(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'J' },
		{ }
	};
	struct qcow2_error err;
	bool json = false;
	int opt;

	while ((opt = getopt_long(argc, argv, "J", options, NULL)) != -1) {
		if (opt != 'J')
			return qcow2_error_usage("monitor", NULL);
		json = true;
	}
	if (optind != argc)
		return qcow2_error_usage("monitor", "unexpected argument '%s'", argv[optind]);
	return monitor(json, &err) ? qcow2_error_print(&err) : QCOW2_EXIT_DONE;
}

const struct qcow2_command qcow2_command_monitor = {
	.name = "monitor",
	.usage = "[--json]",
	.summary = "Print what happens to devices, as it happens",
	.help =
		"One line each: devices that are attached, detached, resized, requests that fail (ten\n"
		"a second at most), space that has run out, writing that has stopped, bitmaps that\n"
		"could not be stored, data that is lost. 'listening' comes first: nothing is missed\n"
		"from there on. Goes on until it is interrupted or the module is unloaded. Loads the\n"
		"module if need be.\n"
		"\n"
		"  -J, --json               a JSON object a line\n",
	.run = run,
};
