// SPDX-License-Identifier: GPL-2.0-or-later
#include "command.h"
#include "device.h"
#include "size.h"

#include <getopt.h>
#include <string.h>

#define CACHE_SIZE	"cache-size="

static int set_cache_size(const char *name, const char *value)
{
	struct qcow2_devices devices;
	struct qcow2_error err;
	uint64_t size = 0;
	int index, ret;

	if (strcmp(value, "default") && (!qcow2_size_parse(value, &size) || !size))
		return qcow2_error_usage("set", CACHE_SIZE
					 "%s: a number of bytes, with K, M, G or T for powers of 1024, or default",
					 value);
	ret = qcow2_devices_read(&devices, &err) ?:
	      qcow2_devices_find(&devices, name, &index, &err) ?:
	      qcow2_nl_set_cache(devices.nl, index, size, &err);
	if (ret)
		qcow2_error_print(&err);
	qcow2_devices_free(&devices);
	return ret;
}

static int run(int argc, char **argv)
{
	static const struct option options[] = {
		{ }
	};
	const char *setting;

	if (getopt_long(argc, argv, "", options, NULL) != -1)
		return qcow2_error_usage("set", NULL);
	if (argc - optind != 2)
		return qcow2_error_usage("set", "give one DEVICE or IMAGE and one SETTING=VALUE");
	setting = argv[optind + 1];
	if (strncmp(setting, CACHE_SIZE, strlen(CACHE_SIZE)))
		return qcow2_error_usage("set", "'%s': " CACHE_SIZE "SIZE is what can be set",
					 setting);
	return set_cache_size(argv[optind], setting + strlen(CACHE_SIZE));
}

const struct qcow2_command qcow2_command_set = {
	.name = "set",
	.usage = "DEVICE|IMAGE cache-size=SIZE|default",
	.summary = "Change how a device works while it is in use",
	.help =
		"cache-size is the bytes of table cache, with K, M, G or T for powers of 1024, or\n"
		"default: enough for the whole disk, up to 32M; as with attach, what is too little is\n"
		"made more, and nobody gets more than all tables take: 'list -o DEVICE,CACHE' shows\n"
		"what came of it. I/O waits for a moment; what is cached stays, as far as there is room.\n",
	.run = run,
};
