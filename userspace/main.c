// SPDX-License-Identifier: GPL-2.0-or-later
/* qcow2ctl: attach qcow2 images as block devices. Finds the command, nothing else. */
#include "command.h"
#include "error.h"

#include <stdio.h>
#include <string.h>

static const struct qcow2_command *const commands[] = {
	&qcow2_command_attach,
	&qcow2_command_detach,
	&qcow2_command_list,
	&qcow2_command_info,
	&qcow2_command_check,
	&qcow2_command_snapshot,
	&qcow2_command_resize,
	&qcow2_command_commit,
	&qcow2_command_tab,
	&qcow2_command_stats,
	&qcow2_command_set,
	&qcow2_command_monitor,
};

#define EXITS		"0 done, 1 wrong usage or not found, 2 refused or failed."

#define NR_COMMANDS	(sizeof(commands) / sizeof(*commands))

static int print_help(void)
{
	unsigned int i;

	puts("Usage: qcow2ctl COMMAND [OPTION]...\n"
	     "Attach qcow2 images as block devices.\n");
	for (i = 0; i < NR_COMMANDS; i++)
		printf("  %-8s %s\n", commands[i]->name, commands[i]->summary);
	puts("\n"
	     "  --help     this text; after a command, more about that\n"
	     "  --version  the version\n"
	     "\n"
	     "Exit status: " EXITS);
	return QCOW2_EXIT_DONE;
}

static int print_version(void)
{
	puts("qcow2ctl " QCOW2CTL_VERSION);
	return QCOW2_EXIT_DONE;
}

static int print_command_help(const struct qcow2_command *command)
{
	printf("Usage: qcow2ctl %s %s\n%s.\n\n%s", command->name, command->usage,
	       command->summary, command->help);
	printf("\n"
	       "  --help                   this text\n"
	       "  --version                the version\n"
	       "\n"
	       "Exit status: %s\n", command->exits ? command->exits : EXITS);
	return QCOW2_EXIT_DONE;
}

/* --help and --version mean the same everywhere, so no command needs to know them. */
static int run(const struct qcow2_command *command, int argc, char **argv)
{
	int i;

	for (i = 1; i < argc && strcmp(argv[i], "--"); i++) {
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return print_command_help(command);
		if (!strcmp(argv[i], "--version"))
			return print_version();
	}
	return command->run(argc, argv);
}

/* A full disk or a closed pipe must not look like success. */
static int flush_stdout(int status)
{
	if (!fflush(stdout) && !ferror(stdout))
		return status;
	perror("qcow2ctl: cannot write to standard output");
	return QCOW2_EXIT_FAILED;
}

int main(int argc, char **argv)
{
	unsigned int i;

	if (argc < 2)
		return qcow2_error_usage(NULL, "no command given");
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
		return flush_stdout(print_help());
	if (!strcmp(argv[1], "--version"))
		return flush_stdout(print_version());
	for (i = 0; i < NR_COMMANDS; i++)
		if (!strcmp(argv[1], commands[i]->name))
			return flush_stdout(run(commands[i], argc - 1, argv + 1));
	return qcow2_error_usage(NULL, "unknown command '%s'", argv[1]);
}
