// SPDX-License-Identifier: GPL-2.0-or-later
#include "error.h"
#include "output.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int qcow2_error_set(struct qcow2_error *err, int code, const char *file,
		    const char *fmt, ...)
{
	size_t len = 0;
	va_list ap;

	err->code = code;
	err->text[0] = '\0';
	if (file)
		len = snprintf(err->text, sizeof(err->text), "%s: ", file);
	if (len >= sizeof(err->text))
		return code;
	va_start(ap, fmt);
	vsnprintf(err->text + len, sizeof(err->text) - len, fmt, ap);
	va_end(ap);
	return code;
}

/* This code is in several programs. */
static void print_program(void)
{
	fprintf(stderr, "%s: ", program_invocation_short_name);
}

int qcow2_error_print(const struct qcow2_error *err)
{
	print_program();
	qcow2_output_text(stderr, err->text);
	fputc('\n', stderr);
	return err->code;
}

void qcow2_error_warn(const char *file, const char *fmt, ...)
{
	struct qcow2_error text;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text.text, sizeof(text.text), fmt, ap);
	va_end(ap);

	print_program();
	if (file) {
		qcow2_output_text(stderr, file);
		fputs(": ", stderr);
	}
	fputs("warning: ", stderr);
	qcow2_output_text(stderr, text.text);
	fputc('\n', stderr);
}

int qcow2_error_usage(const char *command, const char *fmt, ...)
{
	va_list ap;

	if (fmt) {
		fprintf(stderr, "%s%s%s: ", program_invocation_short_name, command ? " " : "",
			command ? command : "");
		va_start(ap, fmt);
		vfprintf(stderr, fmt, ap);
		va_end(ap);
		fputc('\n', stderr);
	}
	fprintf(stderr, "Try 'qcow2ctl%s%s --help'.\n", command ? " " : "",
		command ? command : "");
	return QCOW2_EXIT_USAGE;
}

void qcow2_error_nomem(void)
{
	print_program();
	fputs("out of memory\n", stderr);
	exit(QCOW2_EXIT_FAILED);
}
