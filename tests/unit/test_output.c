// SPDX-License-Identifier: GPL-2.0-or-later
/* userspace/output.c: sizes, and text from an image that must not reach a terminal as is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "output.h"

static void test_size(void **state)
{
	/* As qemu-img info prints them. */
	static const struct {
		uint64_t bytes;
		const char *text;
	} rows[] = {
		{ 0, "0 B" },
		{ 1, "1 B" },
		{ 999, "999 B" },
		{ 1000, "0.977 KiB" },
		{ 1024, "1 KiB" },
		{ 1536, "1.5 KiB" },
		{ 200704, "196 KiB" },
		{ 1023999, "1e+03 KiB" },
		{ 1024000, "0.977 MiB" },
		{ 1 << 30, "1 GiB" },
		{ 1ULL << 63, "8 EiB" },
		{ UINT64_MAX, "16 EiB" },
	};
	char text[QCOW2_OUTPUT_SIZE_LEN];

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		assert_string_equal(qcow2_output_size(rows[i].bytes, text), rows[i].text);
}

static void test_text(void **state)
{
	static const struct {
		const char *from, *to;
	} rows[] = {
		{ "plain", "plain" },
		{ "a\nb\tc\x7f", "a?b?c?" },
		{ "\033[31mred\033[0m", "?[31mred?[0m" },
		{ "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f" },
		{ "\xe2\x82\xac \xf0\x9f\x98\x80", "\xe2\x82\xac \xf0\x9f\x98\x80" },
		{ "\xc2\x9b[31m", "?[31m" },			/* CSI in one character */
		{ "\x9b", "?" },				/* and as a bare byte */
		{ "\xc3", "?" },				/* cut off */
		{ "\xc0\xaf \xe0\x80\xaf", "?? ???" },		/* too long forms of "/" */
		{ "\xed\xa0\x80", "???" },			/* a surrogate */
		{ "\xf4\x90\x80\x80 \xff", "???? ?" },		/* beyond Unicode */
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char *text = NULL;
		size_t len;
		FILE *f = open_memstream(&text, &len);

		qcow2_output_text(f, rows[i].from);
		fclose(f);
		assert_string_equal(text, rows[i].to);
		free(text);
	}
}

static void test_json_string(void **state)
{
	struct json_object *o = json_object_new_object();

	qcow2_output_add_str(o, "absent", NULL);
	qcow2_output_add_str(o, "bad", "a\xff\xc3(");
	qcow2_output_add_str(o, "good", "\xc3\xbc\n");
	assert_string_equal(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN),
			    "{\"bad\":\"a\xef\xbf\xbd\xef\xbf\xbd(\",\"good\":\"\xc3\xbc\\n\"}");
	json_object_put(o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_json_string),
	};

	return cmocka_run_group_tests_name("output", tests, NULL, NULL);
}
