/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How to attach, in one word: options parted by commas, as in fstab(5) and qcow2tab(5). */
#ifndef QCOW2CTL_OPTIONS_H
#define QCOW2CTL_OPTIONS_H

#include <stdbool.h>

/**
 * struct qcow2_options - the same as arguments of "qcow2ctl attach"
 * @argc, @argv: what there is so far; @argv[0] is the command, and a NULL ends it.
 * @read_only: the device cannot be written.
 * @snapshot: it shows a snapshot.
 */
struct qcow2_options {
	int argc;
	char **argv;
	bool read_only;
	bool snapshot;
};

/**
 * struct qcow2_option - one of a list
 * @text: as it stands there.
 * @name: before the "=".
 * @value: behind it, without quotes; NULL where there is none.
 */
struct qcow2_option {
	char *text;
	char *name;
	char *value;
};

/**
 * qcow2_options_next() - take the first option off a list
 * @list: (in, out) the rest of it. A comma within double quotes parts nothing.
 * @option: (out) to be given to qcow2_option_free().
 *
 * Return: false at the end of the list.
 */
bool qcow2_options_next(const char **list, struct qcow2_option *option);

/** qcow2_option_free() - release what qcow2_options_next() took */
void qcow2_option_free(struct qcow2_option *option);

/**
 * qcow2_options_init() - no options yet
 * @o: (out) to be given to qcow2_options_free().
 */
void qcow2_options_init(struct qcow2_options *o);
void qcow2_options_free(struct qcow2_options *o);

/** qcow2_options_add() - one more argument; @format: as printf(3) */
void qcow2_options_add(struct qcow2_options *o, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

enum qcow2_options_taken {
	QCOW2_OPTIONS_UNKNOWN,
	QCOW2_OPTIONS_TAKEN,
	QCOW2_OPTIONS_BAD_VALUE,	/* it needs one, or has one that it must not have */
};

/**
 * qcow2_options_take() - is it an option of attach?
 * @o: to which it is added if so.
 * @option: the option.
 *
 * ro, snapshot=NAME, image-discard=, and those of "qcow2ctl attach" that say how, by their names.
 * Whether a value is one that attach likes is seen then. Return: what came of it.
 */
enum qcow2_options_taken qcow2_options_take(struct qcow2_options *o,
					    const struct qcow2_option *option);

#endif /* QCOW2CTL_OPTIONS_H */
