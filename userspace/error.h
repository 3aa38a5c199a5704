/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What went wrong, in one sentence, and the exit status that goes with it. */
#ifndef QCOW2CTL_ERROR_H
#define QCOW2CTL_ERROR_H

#include <limits.h>
#include <stdbool.h>

enum qcow2_exit {
	QCOW2_EXIT_DONE,
	QCOW2_EXIT_USAGE,		/* usage, or not found */
	QCOW2_EXIT_FAILED,		/* refused or failed */
};

/**
 * struct qcow2_error - an error on its way to the command that prints it
 * @code: enum qcow2_exit; never QCOW2_EXIT_DONE.
 * @text: "FILE: what is wrong; remedy", without the program's name.
 */
struct qcow2_error {
	int code;
	char text[3 * PATH_MAX];
};

/**
 * qcow2_error_set() - say what went wrong
 * @err: (out) filled in.
 * @code: enum qcow2_exit.
 * @file: the file it is about, or NULL.
 * @fmt: the rest of the sentence.
 *
 * Return: @code, so that a function can end with it.
 */
int qcow2_error_set(struct qcow2_error *err, int code, const char *file,
		    const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/**
 * qcow2_error_print() - print an error on stderr
 * @err: what qcow2_error_set() filled in.
 *
 * Return: @err->code.
 */
int qcow2_error_print(const struct qcow2_error *err);

/**
 * qcow2_error_warn() - print a warning on stderr
 * @file: the file it is about, or NULL.
 * @fmt: the sentence.
 */
void qcow2_error_warn(const char *file, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/**
 * qcow2_error_usage() - print a mistake on the command line
 * @command: the command that was given, or NULL.
 * @fmt: the sentence; NULL where getopt has printed one.
 *
 * Return: QCOW2_EXIT_USAGE.
 */
int qcow2_error_usage(const char *command, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/**
 * qcow2_error_nomem() - give up for want of memory
 *
 * The tool holds nothing that exiting would leave undone.
 */
__attribute__((noreturn)) void qcow2_error_nomem(void);

#endif /* QCOW2CTL_ERROR_H */
