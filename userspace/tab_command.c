// SPDX-License-Identifier: GPL-2.0-or-later
#include "attach.h"
#include "command.h"
#include "device.h"
#include "node.h"
#include "tab.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

/* Its device, or -1. */
static int attached_as(const char *name)
{
	struct qcow2_devices devices;
	struct qcow2_error ignored;
	int index = -1;
	unsigned int i;

	if (qcow2_devices_read(&devices, &ignored))
		devices.count = 0;
	for (i = 0; i < devices.count; i++)
		if (devices.list[i].name && !strcmp(devices.list[i].name, name))
			index = devices.list[i].index;
	qcow2_devices_free(&devices);
	return index;
}

static int attach_entry(const struct qcow2_tab *tab, struct qcow2_tab_entry *e)
{
	int index;

	if (attached_as(e->name) >= 0)
		return QCOW2_EXIT_DONE;
	qcow2_options_add(&e->attach, "--");
	qcow2_options_add(&e->attach, "%s", e->image);
	if (!qcow2_attach_by_options(e->attach.argc, e->attach.argv, &index))
		return QCOW2_EXIT_DONE;
	fprintf(stderr, "qcow2ctl: %s:%u: %s is not attached\n", tab->file, e->line, e->name);
	return QCOW2_EXIT_FAILED;
}

/* Now, or when nobody uses it. */
static int detach_entry(const struct qcow2_tab *tab, struct qcow2_tab_entry *e)
{
	char path[QCOW2_NODE_NAME_LEN], *argv[] = { "detach", "--lazy", path, NULL };
	int index = attached_as(e->name);

	(void)tab;
	if (index < 0)
		return QCOW2_EXIT_DONE;
	qcow2_node_path(index, path);
	optind = 0;
	return qcow2_command_detach.run(3, argv);
}

/* A line for others to read, see the generator: no field is empty. */
static int list_entry(const struct qcow2_tab *tab, struct qcow2_tab_entry *e)
{
	(void)tab;
	printf("%s\t%s%s%s%s\t%s\n", e->name, e->noauto ? "noauto," : "",
	       e->nofail ? "nofail," : "", e->netdev ? "_netdev," : "", "-", e->image);
	return QCOW2_EXIT_DONE;
}

static int check_entry(const struct qcow2_tab *tab, struct qcow2_tab_entry *e)
{
	(void)tab;
	(void)e;
	return QCOW2_EXIT_DONE;
}

static const struct action {
	const char *name;
	int (*each)(const struct qcow2_tab *tab, struct qcow2_tab_entry *e);
	bool names;	/* works on those that are named, or on all */
	enum qcow2_tab_check check;	/* what is wrong with the file makes it fail then */
} actions[] = {
	{ "check", check_entry, false, QCOW2_TAB_VALUES },
	{ "list", list_entry, false, QCOW2_TAB_LINES },
	{ "attach", attach_entry, true, QCOW2_TAB_QUIET },
	{ "detach", detach_entry, true, QCOW2_TAB_QUIET },
};

static int do_named(const struct action *a, const struct qcow2_tab *tab, char **names)
{
	const struct qcow2_tab_entry *e;
	int ret = QCOW2_EXIT_DONE;

	for (; *names; names++) {
		e = qcow2_tab_find(tab, *names);
		if (!e)
			fprintf(stderr,
				"qcow2ctl: %s: no line, or none that is right, has the name '%s'; see qcow2ctl tab check\n",
				tab->file, *names);
		if (!e || a->each(tab, &tab->entries[e - tab->entries]))
			ret = QCOW2_EXIT_FAILED;
	}
	return ret;
}

/* The last one may need an earlier one, so they go in the reverse order. */
static int do_all(const struct action *a, const struct qcow2_tab *tab)
{
	bool backwards = a->each == detach_entry;
	int ret = QCOW2_EXIT_DONE;
	struct qcow2_tab_entry *e;
	unsigned int i;

	for (i = 0; i < tab->count; i++) {
		e = &tab->entries[backwards ? tab->count - 1 - i : i];
		if (a->each == attach_entry && e->noauto)
			continue;
		if (a->each(tab, e))
			ret = QCOW2_EXIT_FAILED;
	}
	return ret;
}

static int run_action(const struct action *a, const char *file, char **names)
{
	struct qcow2_error err;
	struct qcow2_tab tab;
	int ret;

	if (qcow2_tab_read(&tab, file, a->check, &err))
		ret = qcow2_error_print(&err);
	else
		ret = *names ? do_named(a, &tab, names) : do_all(a, &tab);
	if (!ret && a->check != QCOW2_TAB_QUIET && tab.wrong)
		ret = QCOW2_EXIT_FAILED;
	qcow2_tab_free(&tab);
	return ret;
}

static int run(int argc, char **argv)
{
	static const struct option options[] = {
		{ "all", no_argument, NULL, 'a' },
		{ "file", required_argument, NULL, 'f' },
		{ }
	};
	const char *file = QCOW2_TAB_FILE;
	const struct action *a = NULL;
	bool all = false;
	unsigned int i;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'a')
			all = true;
		else if (opt == 'f')
			file = optarg;
		else
			return qcow2_error_usage("tab", NULL);
	}
	for (i = 0; optind < argc && i < sizeof(actions) / sizeof(*actions); i++)
		if (!strcmp(argv[optind], actions[i].name))
			a = &actions[i];
	if (!a)
		return qcow2_error_usage("tab", "check, list, attach or detach is wanted");
	argv += optind + 1;
	if (a->names ? !*argv != all : all || *argv)
		return qcow2_error_usage("tab", a->names ? "%s: give NAMEs, or --all" :
					 "%s takes no names", a->name);
	return run_action(a, file, argv);
}

const struct qcow2_command qcow2_command_tab = {
	.name = "tab",
	.usage = "check|list|attach NAME...|detach NAME... [--all] [--file FILE]",
	.summary = "Attach what /etc/qcow2tab names",
	.help =
		"systemd does that at boot, by units qcow2blk@NAME.service; see qcow2tab(5). A NAME\n"
		"that is attached already, or not any more, is none that fails.\n"
		"\n"
		"  check                    say what is wrong with the file, by line numbers\n"
		"  list                     a line for each that is right: name, options for the boot\n"
		"                           (ending in -) and image, parted by tabs\n"
		"  attach NAME              attach it: /dev/qcow2/NAME\n"
		"  detach NAME              detach it, when nobody uses it any longer\n"
		"  --all                    all of them, but for attach those with noauto\n"
		"  --file FILE              not /etc/qcow2tab\n",
	.run = run,
};
