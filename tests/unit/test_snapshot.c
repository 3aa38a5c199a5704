// SPDX-License-Identifier: GPL-2.0-or-later
/* userspace/snapshot_table.c: the snapshot table, entries of every length, and what ends too early. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "image.h"
#include "images.h"

static char path[32];
static struct qcow2_error err;

/* A table under construction. */
static struct {
	uint8_t bytes[70000 * 2];
	size_t len;
} table;

static void put(size_t width, uint64_t value)
{
	while (width--)
		table.bytes[table.len++] = value >> width * 8;
}

static void put_text(const char *text)
{
	while (*text)
		table.bytes[table.len++] = *text++;
}

static void put_entry(const char *id, const char *name, uint32_t extra_len)
{
	put(8, 0x5000);			/* l1_table_offset */
	put(4, 7);			/* l1_size */
	put(2, strlen(id));
	put(2, strlen(name));
	put(4, 1700000000);		/* date */
	put(4, 999);
	put(8, 1234567890123);		/* vm clock */
	put(4, 11);			/* vm_state_size */
	put(4, extra_len);
	for (uint32_t i = 0; i < extra_len; i += 8)
		put(8, i == 0 ? 1ULL << 33 : i == 8 ? 8192 : 42);
	put_text(id);
	put_text(name);
	while (table.len % 8)
		put(1, 0);
}

static int make_file(void **state)
{
	int fd;

	strcpy(path, "/tmp/test_snapshot.XXXXXX");
	fd = mkstemp(path);
	return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
	return unlink(path);
}

static int read_table(uint32_t count, size_t len, struct qcow2_snapshot **snapshots)
{
	struct small_image small = {
		.nb_snapshots = count, .tail = table.bytes, .tail_len = len,
	};
	struct qcow2_image image;
	int fd, ret;

	write_image(path, &small);
	fd = open(path, O_RDONLY);
	ret = qcow2_image_read(fd, IMAGE_TAIL + len, path, &image, &err) ?:
	      qcow2_image_snapshots(&image, fd, IMAGE_TAIL + len, path, snapshots, &err);
	qcow2_image_free(&image);
	close(fd);
	return ret;
}

static void test_entries(void **state)
{
	struct qcow2_snapshot *s;

	table.len = 0;
	put_entry("1", "no extra data", 0);
	put_entry("22", "", 8);
	put_entry("3", "as of version 3", 16);
	put_entry("4", "as of now", 24);
	put_entry("", "of the future", 1024);
	assert_int_equal(read_table(5, table.len, &s), 0);

	assert_string_equal(s[0].id, "1");
	assert_string_equal(s[0].name, "no extra data");
	assert_int_equal(s[0].vm_state_size, 11);
	assert_int_equal(s[0].disk_size, IMAGE_SIZE);
	assert_true(s[0].icount == UINT64_MAX);
	assert_int_equal(s[0].l1_size, 7);
	assert_int_equal(s[0].l1_table_offset, 0x5000);
	assert_int_equal(s[0].date_sec, 1700000000);
	assert_int_equal(s[0].date_nsec, 999);
	assert_int_equal(s[0].vm_clock_nsec, 1234567890123);

	assert_string_equal(s[1].id, "22");
	assert_string_equal(s[1].name, "");
	assert_true(s[1].vm_state_size == 1ULL << 33);
	assert_int_equal(s[1].disk_size, IMAGE_SIZE);
	assert_int_equal(s[2].disk_size, 8192);
	assert_true(s[2].icount == UINT64_MAX);
	assert_int_equal(s[3].icount, 42);
	assert_string_equal(s[4].name, "of the future");
	qcow2_image_snapshots_free(s, 5);
}

static void refused(uint32_t count, const char *why)
{
	struct qcow2_snapshot *s;

	assert_int_equal(read_table(count, table.len, &s), QCOW2_EXIT_FAILED);
	assert_null(s);
	if (!strstr(err.text, why))
		fail_msg("'%s' is not in: %s", why, err.text);
}

static void test_extra_data_too_big(void **state)
{
	table.len = 0;
	put_entry("1", "a", 1032);
	refused(1, "snapshot table entry 0: extra_data_size 1032 is too big");
}

static void test_zero_byte_in_name(void **state)
{
	table.len = 0;
	put_entry("1", "good", 0);
	put_entry("2", "abc", 0);
	table.bytes[table.len - 5] = '\0';
	refused(2, "snapshot table entry 1: name_size 3 counts a zero byte");
}

/* Cut everywhere: each length but the whole one is refused, and nothing beyond is read. */
static void test_cut_off(void **state)
{
	struct qcow2_snapshot *s;
	size_t whole;

	table.len = 0;
	put_entry("1", "first", 24);
	put_entry("2", "second", 16);
	whole = table.len - 1;			/* one byte of padding is at the end */
	for (size_t len = 0; len < whole; len++)
		assert_int_equal(read_table(2, len, &s), QCOW2_EXIT_FAILED);
	assert_int_equal(read_table(2, whole, &s), 0);
	qcow2_image_snapshots_free(s, 2);
}

/* The longest strings there are. */
static void test_long_strings(void **state)
{
	static char text[UINT16_MAX + 1];
	struct qcow2_snapshot *s;

	memset(text, 'x', UINT16_MAX);
	table.len = 0;
	put_entry(text, text, 0);
	assert_int_equal(read_table(1, table.len, &s), 0);
	assert_int_equal(strlen(s[0].id), UINT16_MAX);
	assert_int_equal(strlen(s[0].name), UINT16_MAX);
	qcow2_image_snapshots_free(s, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_entries),
		cmocka_unit_test(test_extra_data_too_big),
		cmocka_unit_test(test_zero_byte_in_name),
		cmocka_unit_test(test_cut_off),
		cmocka_unit_test(test_long_strings),
	};

	return cmocka_run_group_tests_name("snapshot", tests, make_file, remove_file);
}
