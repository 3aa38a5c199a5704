// SPDX-License-Identifier: GPL-2.0-or-later
#include "attach.h"
#include "output.h"
#include "tab.h"

#include <errno.h>
#include <linux/qcow2blk.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIELDS	3

/* A file that is being read. */
struct reader {
	struct qcow2_tab *tab;
	unsigned int line;
	enum qcow2_tab_check check;
};

__attribute__((format(printf, 2, 3)))
static bool wrong(const struct reader *r, const char *format, ...)
{
	struct qcow2_error text;
	va_list ap;

	if (r->check == QCOW2_TAB_QUIET)
		return false;
	va_start(ap, format);
	vsnprintf(text.text, sizeof(text.text), format, ap);
	va_end(ap);
	fprintf(stderr, "%s:%u: ", r->tab->file, r->line);
	qcow2_output_text(stderr, text.text);
	fputc('\n', stderr);
	return false;
}

/* \040 and the like, as in fstab. */
static void unescape(char *text)
{
	char *from = text, *to = text;

	while (*from) {
		if (from[0] == '\\' && strspn(from + 1, "01234567") >= 3) {
			*to++ = (from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0');
			from += 4;
		} else {
			*to++ = *from++;
		}
	}
	*to = '\0';
}

static bool set_name(struct reader *r, struct qcow2_tab_entry *e, const char *name)
{
	static const char good[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-+:@";
	const struct qcow2_tab_entry *other = qcow2_tab_find(r->tab, name);

	if (name[strspn(name, good)] || *name == '.' || *name == '-')
		return wrong(r,
			     "name '%s': letters, digits and _ . - + : @ are allowed, not . or - at the start",
			     name);
	if (strlen(name) > QCOW2BLK_MAX_NAME)
		return wrong(r, "name '%s' is longer than %u bytes", name, QCOW2BLK_MAX_NAME);
	if (other)
		return wrong(r, "name '%s' stands in line %u already", name, other->line);
	e->name = strdup(name);
	if (!e->name)
		qcow2_error_nomem();
	qcow2_options_add(&e->attach, "--name=%s", name);
	return true;
}

static bool set_image(struct reader *r, struct qcow2_tab_entry *e, const char *image)
{
	if (*image != '/')
		return wrong(r, "image '%s': an absolute path is wanted", image);
	e->image = strdup(image);
	if (!e->image)
		qcow2_error_nomem();
	return true;
}

static bool set_option(struct reader *r, struct qcow2_tab_entry *e,
		       const struct qcow2_option *option)
{
	if (!strcmp(option->text, "noauto"))
		e->noauto = true;
	else if (!strcmp(option->text, "nofail"))
		e->nofail = true;
	else if (!strcmp(option->text, "_netdev"))
		e->netdev = true;
	else if (strcmp(option->text, "none") && strcmp(option->text, "defaults") &&
		 strcmp(option->text, "-") && strncmp(option->text, "x-", 2))
		switch (qcow2_options_take(&e->attach, option)) {
		case QCOW2_OPTIONS_UNKNOWN:
			return wrong(r, "option '%s' is not known; see qcow2tab(5)", option->text);
		case QCOW2_OPTIONS_BAD_VALUE:
			return wrong(r, option->value && *option->value ?
				     "option '%s' has no value" : "option '%s' wants a value",
				     option->text);
		default:
			break;
		}
	return true;
}

static bool set_options(struct reader *r, struct qcow2_tab_entry *e, const char *list)
{
	struct qcow2_option option;
	bool good = true;

	while (good && qcow2_options_next(&list, &option)) {
		good = set_option(r, e, &option);
		qcow2_option_free(&option);
	}
	return good;
}

/* What attach says of values is said of this line. */
static bool check_values(struct reader *r, const struct qcow2_tab_entry *e)
{
	if (r->check == QCOW2_TAB_VALUES &&
	    qcow2_attach_check_options(e->attach.argc, e->attach.argv))
		return wrong(r, "name '%s': attach does not take these options", e->name);
	return true;
}

static void free_entry(struct qcow2_tab_entry *e)
{
	free(e->name);
	free(e->image);
	qcow2_options_free(&e->attach);
}

static void add_entry(struct reader *r, char **field)
{
	struct qcow2_tab *tab = r->tab;
	struct qcow2_tab_entry e = { .line = r->line };

	qcow2_options_init(&e.attach);
	if (set_name(r, &e, field[0]) && set_image(r, &e, field[1]) &&
	    set_options(r, &e, field[2] ? field[2] : "") && check_values(r, &e)) {
		tab->entries = reallocarray(tab->entries, tab->count + 1, sizeof(e));
		if (!tab->entries)
			qcow2_error_nomem();
		tab->entries[tab->count++] = e;
	} else {
		tab->wrong++;
		free_entry(&e);
	}
}

static void take_line(struct reader *r, char *text)
{
	char *field[FIELDS + 1] = { }, *save;
	unsigned int i;

	for (i = 0; i <= FIELDS; i++) {
		field[i] = strtok_r(i ? NULL : text, " \t\r\n", &save);
		if (!field[i] || *field[i] == '#')
			break;
		unescape(field[i]);
	}
	if (i < FIELDS)
		field[i] = NULL;
	if (i == 1 || i > FIELDS) {
		wrong(r, i == 1 ? "name '%s' has no image; a line is NAME IMAGE [OPTIONS]" :
		      "name '%s' has more than an image and options; a space is written \\040",
		      field[0]);
		r->tab->wrong++;
	} else if (i) {
		add_entry(r, field);
	}
}

int qcow2_tab_read(struct qcow2_tab *tab, const char *file, enum qcow2_tab_check check,
		   struct qcow2_error *err)
{
	struct reader r = { .tab = tab, .check = check };
	FILE *f = fopen(file, "re");
	char *line = NULL;
	size_t size = 0;

	memset(tab, 0, sizeof(*tab));
	tab->file = file;
	if (!f && errno == ENOENT)
		return 0;
	if (!f)
		return qcow2_error_set(err, QCOW2_EXIT_FAILED, file, "cannot be read: %s",
				       strerror(errno));
	while (getline(&line, &size, f) > 0) {
		r.line++;
		take_line(&r, line);
	}
	free(line);
	fclose(f);
	return 0;
}

void qcow2_tab_free(struct qcow2_tab *tab)
{
	while (tab->count)
		free_entry(&tab->entries[--tab->count]);
	free(tab->entries);
}

const struct qcow2_tab_entry *qcow2_tab_find(const struct qcow2_tab *tab, const char *name)
{
	unsigned int i;

	for (i = 0; i < tab->count; i++)
		if (!strcmp(tab->entries[i].name, name))
			return &tab->entries[i];
	return NULL;
}
