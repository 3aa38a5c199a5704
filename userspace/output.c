// SPDX-License-Identifier: GPL-2.0-or-later
#include "output.h"
#include "error.h"

#include <libsmartcols.h>
#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/*
 * Bytes of the UTF-8 character at @s, 0 where there is none. Control characters,
 * U+0080 to U+009F among them, are characters here.
 */
static unsigned int utf8_len(const unsigned char *s)
{
	unsigned int len, i;

	if (s[0] < 0x80)
		return 1;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	len = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	for (i = 1; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	/* Too long a form, a surrogate, or beyond U+10FFFF. */
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90) ||
	    (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return len;
}

static bool is_control(const unsigned char *s)
{
	return s[0] < 0x20 || s[0] == 0x7f || (s[0] == 0xc2 && s[1] < 0xa0);
}

void qcow2_output_text(FILE *out, const char *text)
{
	const unsigned char *s = (const unsigned char *)text;

	while (*s) {
		unsigned int len = utf8_len(s);

		if (len && !is_control(s))
			fwrite(s, 1, len, out);
		else
			fputc('?', out);
		s += len ? len : 1;
	}
}

const char *qcow2_output_size(uint64_t bytes, char text[QCOW2_OUTPUT_SIZE_LEN])
{
	static const char *const prefix[] = { "", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei" };
	unsigned int i = 0;
	int exponent;

	/* 1000 and not 1024 of one unit is where the next one begins: three digits. */
	frexp(bytes / (1000.0 / 1024.0), &exponent);
	if (exponent > 0)
		i = (exponent - 1) / 10;
	snprintf(text, QCOW2_OUTPUT_SIZE_LEN, "%0.3g %sB", (double)bytes / (1ULL << (i * 10)),
		 prefix[i]);
	return text;
}

char *qcow2_output_cell(const char *format, ...)
{
	char *cell;
	va_list ap;
	int len;

	va_start(ap, format);
	len = vasprintf(&cell, format, ap);
	va_end(ap);
	if (len < 0)
		qcow2_error_nomem();
	return cell;
}

/* A cell as a terminal, or a JSON reader, may have it; what it replaces is freed. */
static char *clean_cell(char *cell)
{
	char *clean = NULL;
	size_t len;
	FILE *f = open_memstream(&clean, &len);

	if (!f)
		qcow2_error_nomem();
	qcow2_output_text(f, cell);
	fclose(f);
	free(cell);
	return clean;
}

static void add_column(struct libscols_table *table, const struct qcow2_output_column *c)
{
	static const int types[] = {
		[QCOW2_OUTPUT_STRING] = SCOLS_JSON_STRING,
		[QCOW2_OUTPUT_NUMBER] = SCOLS_JSON_NUMBER,
		[QCOW2_OUTPUT_BOOLEAN] = SCOLS_JSON_BOOLEAN,
	};
	struct libscols_column *column;

	column = scols_table_new_column(table, c->name, 0, c->right ? SCOLS_FL_RIGHT : 0);
	if (!column || scols_column_set_json_type(column, types[c->type]))
		qcow2_error_nomem();
}

static struct libscols_table *new_table(const struct qcow2_output_style *style)
{
	struct libscols_table *table;

	/* What is no ASCII is UTF-8 here, as elsewhere in this file, whatever the user's locale. */
	setlocale(LC_CTYPE, "C.UTF-8");
	table = scols_new_table();
	if (!table || scols_table_set_column_separator(table, "  "))
		qcow2_error_nomem();
	/* All of it, however wide. */
	scols_table_set_termforce(table, SCOLS_TERMFORCE_NEVER);
	scols_table_enable_noheadings(table, style && style->no_headings);
	if (style && style->json) {
		scols_table_enable_json(table, 1);
		scols_table_set_name(table, style->json);
	}
	return table;
}

void qcow2_output_table(const struct qcow2_output_column *columns, unsigned int nr,
			unsigned int rows, char **cells, const struct qcow2_output_style *style)
{
	struct libscols_table *table = new_table(style);
	struct libscols_line *line;
	unsigned int row, col;

	for (col = 0; col < nr; col++)
		add_column(table, &columns[col]);
	for (row = 0; row < rows; row++) {
		line = scols_table_new_line(table, NULL);
		if (!line)
			qcow2_error_nomem();
		for (col = 0; col < nr; col++, cells++) {
			if (*cells && scols_line_refer_data(line, col, clean_cell(*cells)))
				qcow2_error_nomem();
			*cells = NULL;
		}
	}
	scols_print_table(table);
	scols_unref_table(table);
}

void qcow2_output_json(struct json_object *value)
{
	const int style = JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
			  JSON_C_TO_STRING_NOSLASHESCAPE;

	puts(json_object_to_json_string_ext(value, style));
	json_object_put(value);
}

void qcow2_output_json_line(struct json_object *value)
{
	puts(json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN |
						   JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(value);
}

static void add(struct json_object *object, const char *key, struct json_object *value)
{
	if (!value || json_object_object_add(object, key, value))
		qcow2_error_nomem();
}

struct json_object *qcow2_output_string(const char *text)
{
	const unsigned char *s = (const unsigned char *)text;
	char *clean = malloc(3 * strlen(text) + 1), *to = clean;
	struct json_object *value;

	if (!clean)
		qcow2_error_nomem();
	while (*s) {
		unsigned int len = utf8_len(s);

		if (len) {
			to = mempcpy(to, s, len);
			s += len;
		} else {
			to = mempcpy(to, "\xef\xbf\xbd", 3);
			s++;
		}
	}
	*to = '\0';
	value = json_object_new_string(clean);
	free(clean);
	if (!value)
		qcow2_error_nomem();
	return value;
}

void qcow2_output_add_str(struct json_object *object, const char *key, const char *text)
{
	if (text)
		add(object, key, qcow2_output_string(text));
}

void qcow2_output_add_int(struct json_object *object, const char *key, uint64_t value)
{
	add(object, key, json_object_new_uint64(value));
}

void qcow2_output_add_bool(struct json_object *object, const char *key, bool value)
{
	add(object, key, json_object_new_boolean(value));
}
