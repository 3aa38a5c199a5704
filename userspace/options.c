// SPDX-License-Identifier: GPL-2.0-or-later
#include "error.h"
#include "options.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum value { NONE, MAYBE, WANTED };

static const struct known {
	const char *name;
	const char *argument;
	enum value value;
} known[] = {
	{ "ro", "read-only", NONE },
	{ "snapshot", "load-snapshot", WANTED },
	{ "image-discard", "discard", WANTED },	/* "discard" is the file system's */
	{ "format", "format", WANTED },
	{ "backing-dir", "backing-dir", WANTED },
	{ "allow-backing", "allow-backing", NONE },
	{ "backing-format", "backing-format", WANTED },
	{ "key-file", "key-file", WANTED },
	{ "data-file", "data-file", WANTED },
	{ "direct-io", "direct-io", WANTED },
	{ "cache-size", "cache-size", WANTED },
	{ "temporary", "temporary", MAYBE },
	{ "repair", "repair", NONE },
	{ "activate", "activate", NONE },
};

static char *copy(const char *text, size_t len)
{
	char *s = strndup(text, len);

	if (!s)
		qcow2_error_nomem();
	return s;
}

/* Quotes are for the list only. */
static char *unquoted(const char *text)
{
	char *s = copy(text, strlen(text)), *to = s;

	for (; *text; text++)
		if (*text != '"')
			*to++ = *text;
	*to = '\0';
	return s;
}

bool qcow2_options_next(const char **list, struct qcow2_option *option)
{
	const char *end, *equals;
	bool quoted = false;

	*list += strspn(*list, ",");
	if (!**list)
		return false;
	for (end = *list; *end && (*end != ',' || quoted); end++)
		if (*end == '"')
			quoted = !quoted;
	option->text = copy(*list, end - *list);
	equals = strchr(option->text, '=');
	option->name = copy(option->text, equals ? (size_t)(equals - option->text) :
						   strlen(option->text));
	option->value = equals ? unquoted(equals + 1) : NULL;
	*list = end;
	return true;
}

void qcow2_option_free(struct qcow2_option *option)
{
	free(option->text);
	free(option->name);
	free(option->value);
}

void qcow2_options_add(struct qcow2_options *o, const char *format, ...)
{
	va_list ap;

	o->argv = reallocarray(o->argv, o->argc + 2, sizeof(*o->argv));
	if (!o->argv)
		qcow2_error_nomem();
	va_start(ap, format);
	if (vasprintf(&o->argv[o->argc++], format, ap) < 0)
		qcow2_error_nomem();
	va_end(ap);
	o->argv[o->argc] = NULL;
}

void qcow2_options_init(struct qcow2_options *o)
{
	memset(o, 0, sizeof(*o));
	qcow2_options_add(o, "attach");
}

void qcow2_options_free(struct qcow2_options *o)
{
	while (o->argc)
		free(o->argv[--o->argc]);
	free(o->argv);
}

static void set_read_only(struct qcow2_options *o)
{
	if (!o->read_only)
		qcow2_options_add(o, "--read-only");
	o->read_only = true;
}

enum qcow2_options_taken qcow2_options_take(struct qcow2_options *o,
					    const struct qcow2_option *option)
{
	const struct known *k, *end = known + sizeof(known) / sizeof(*known);
	bool has_value = option->value && *option->value;

	for (k = known; k < end && strcmp(k->name, option->name); k++)
		;
	if (k == end)
		return QCOW2_OPTIONS_UNKNOWN;
	if ((k->value == WANTED && !has_value) || (k->value == NONE && option->value))
		return QCOW2_OPTIONS_BAD_VALUE;
	if (!strcmp(k->name, "ro")) {
		set_read_only(o);
		return QCOW2_OPTIONS_TAKEN;
	}
	if (!strcmp(k->name, "snapshot")) {
		set_read_only(o);
		o->snapshot = true;
	}
	if (has_value)
		qcow2_options_add(o, "--%s=%s", k->argument, option->value);
	else
		qcow2_options_add(o, "--%s", k->argument);
	return QCOW2_OPTIONS_TAKEN;
}
