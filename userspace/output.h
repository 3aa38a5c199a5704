/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What goes to the terminal: sizes, tables, JSON, and text that cannot harm it. */
#ifndef QCOW2CTL_OUTPUT_H
#define QCOW2CTL_OUTPUT_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define QCOW2_OUTPUT_SIZE_LEN	32

/**
 * qcow2_output_text() - print text that may come from an image
 * @out: where to.
 * @text: terminated; control characters, which could drive a terminal, become '?'.
 */
void qcow2_output_text(FILE *out, const char *text);

/**
 * qcow2_output_size() - a size as qemu-img spells it: "1.5 GiB"
 * @bytes: the size.
 * @text: (out) terminated.
 *
 * Return: @text.
 */
const char *qcow2_output_size(uint64_t bytes, char text[QCOW2_OUTPUT_SIZE_LEN]);

/**
 * qcow2_output_cell() - a string for qcow2_output_table()
 * @format: as printf(3).
 *
 * Return: the string, to be freed.
 */
char *qcow2_output_cell(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* What a cell is in JSON. */
enum qcow2_output_type {
	QCOW2_OUTPUT_STRING,
	QCOW2_OUTPUT_NUMBER,
	QCOW2_OUTPUT_BOOLEAN,
};

/**
 * struct qcow2_output_column - one column
 * @name: its heading.
 * @type: of its cells.
 * @right: they are aligned to the right.
 */
struct qcow2_output_column {
	const char *name;
	enum qcow2_output_type type;
	bool right;
};

/**
 * struct qcow2_output_style - how a table is printed
 * @no_headings: without them.
 * @json: as a JSON object with an array of this name; keys are the headings in lower case.
 */
struct qcow2_output_style {
	bool no_headings;
	const char *json;
};

/**
 * qcow2_output_table() - print rows under headings, columns aligned
 * @columns: of the table.
 * @nr: how many.
 * @rows: how many.
 * @cells: rows * nr strings, row by row, of qcow2_output_cell(), or NULL for none; all are freed.
 * @style: or NULL.
 */
void qcow2_output_table(const struct qcow2_output_column *columns, unsigned int nr,
			unsigned int rows, char **cells, const struct qcow2_output_style *style);

/**
 * qcow2_output_json() - print a JSON value and drop it
 * @value: the caller's only reference.
 */
void qcow2_output_json(struct json_object *value);

/**
 * qcow2_output_json_line() - the same on a line of its own
 * @value: the caller's only reference.
 */
void qcow2_output_json_line(struct json_object *value);

/**
 * qcow2_output_string() - a JSON string
 * @text: terminated; bytes that are not UTF-8 become U+FFFD.
 *
 * Return: a new JSON value.
 */
struct json_object *qcow2_output_string(const char *text);

/**
 * qcow2_output_add_str() - add a string to a JSON object
 * @object: the object.
 * @key: a constant.
 * @text: as qcow2_output_string(); NULL adds nothing.
 */
void qcow2_output_add_str(struct json_object *object, const char *key, const char *text);

/**
 * qcow2_output_add_int() - add a number to a JSON object
 * @object: the object.
 * @key: a constant.
 * @value: the number.
 */
void qcow2_output_add_int(struct json_object *object, const char *key, uint64_t value);

/**
 * qcow2_output_add_bool() - add true or false to a JSON object
 * @object: the object.
 * @key: a constant.
 * @value: which.
 */
void qcow2_output_add_bool(struct json_object *object, const char *key, bool value);

#endif /* QCOW2CTL_OUTPUT_H */
