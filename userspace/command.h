/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The commands of qcow2ctl. */
#ifndef QCOW2CTL_COMMAND_H
#define QCOW2CTL_COMMAND_H

/**
 * struct qcow2_command - one command
 * @name: how it is called.
 * @usage: its arguments, for the first line of help.
 * @summary: what it does, one line.
 * @help: the rest of what --help prints.
 * @exits: what exit statuses mean, or NULL: what enum qcow2_exit says.
 * @run: runs it; argv[0] is the command's name. Returns enum qcow2_exit.
 */
struct qcow2_command {
	const char *name;
	const char *usage;
	const char *summary;
	const char *help;
	const char *exits;
	int (*run)(int argc, char **argv);
};

extern const struct qcow2_command qcow2_command_attach;
extern const struct qcow2_command qcow2_command_detach;
extern const struct qcow2_command qcow2_command_list;
extern const struct qcow2_command qcow2_command_info;
extern const struct qcow2_command qcow2_command_check;
extern const struct qcow2_command qcow2_command_snapshot;
extern const struct qcow2_command qcow2_command_resize;
extern const struct qcow2_command qcow2_command_commit;
extern const struct qcow2_command qcow2_command_tab;
extern const struct qcow2_command qcow2_command_stats;
extern const struct qcow2_command qcow2_command_set;
extern const struct qcow2_command qcow2_command_monitor;

#endif /* QCOW2CTL_COMMAND_H */
