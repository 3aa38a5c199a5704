/* SPDX-License-Identifier: GPL-2.0-or-later */
/* /etc/qcow2tab: which images are attached at boot, and how. See qcow2tab(5). */
#ifndef QCOW2CTL_TAB_H
#define QCOW2CTL_TAB_H

#include "error.h"
#include "options.h"

#define QCOW2_TAB_FILE	"/etc/qcow2tab"

/**
 * struct qcow2_tab_entry - a line
 * @line: its number, from 1.
 * @name: of the device.
 * @image: absolute path.
 * @noauto, @nofail, @netdev: options for the boot.
 * @attach: those of attach, without the image.
 */
struct qcow2_tab_entry {
	unsigned int line;
	char *name;
	char *image;
	bool noauto;
	bool nofail;
	bool netdev;
	struct qcow2_options attach;
};

/**
 * struct qcow2_tab - a file
 * @file: its name.
 * @entries, @count: the lines that are right.
 * @wrong: how many are not.
 */
struct qcow2_tab {
	const char *file;
	struct qcow2_tab_entry *entries;
	unsigned int count;
	unsigned int wrong;
};

/* What is said, on stderr, of lines that are wrong: FILE:LINE: ... */
enum qcow2_tab_check {
	QCOW2_TAB_QUIET,
	QCOW2_TAB_LINES,	/* what is wrong with them */
	QCOW2_TAB_VALUES,	/* and what attach does not like, which looks at the disk */
};

/**
 * qcow2_tab_read() - read the file
 * @tab: (out) to be given to qcow2_tab_free(), also on error.
 * @file: its name.
 * @check: what to look at, and to say.
 * @err: (out) filled in where the file cannot be read. One that does not exist is empty.
 *
 * Return: 0, also where lines are wrong, or QCOW2_EXIT_FAILED.
 */
int qcow2_tab_read(struct qcow2_tab *tab, const char *file, enum qcow2_tab_check check,
		   struct qcow2_error *err);

/** qcow2_tab_free() - release what qcow2_tab_read() took */
void qcow2_tab_free(struct qcow2_tab *tab);

/** qcow2_tab_find() - the entry of this name, or NULL */
const struct qcow2_tab_entry *qcow2_tab_find(const struct qcow2_tab *tab, const char *name);

#endif /* QCOW2CTL_TAB_H */
