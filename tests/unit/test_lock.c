// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * userspace/lock.c against the bytes that QEMU locks. Two descriptors of one process
 * stand for two processes: the locks are those of the open file description.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <fcntl.h>
#include <unistd.h>

#include "lock.h"

static char path[32];
static struct qcow2_error err;

static int open_image(void)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static int make_image(void **state)
{
	int fd;

	strcpy(path, "/tmp/test_lock.XXXXXX");
	fd = mkstemp(path);
	return fd < 0 ? -1 : close(fd);
}

static int remove_image(void **state)
{
	return unlink(path);
}

static struct flock byte(short type, off_t off)
{
	struct flock lock = {
		.l_type = type, .l_whence = SEEK_SET, .l_start = off, .l_len = 1,
	};

	return lock;
}

static int is_locked(int fd, off_t off)
{
	struct flock lock = byte(F_WRLCK, off);

	assert_int_equal(fcntl(fd, F_OFD_GETLK, &lock), 0);
	return lock.l_type != F_UNLCK;
}

/* Exactly these bytes, of all that QEMU has a meaning for. */
static void assert_locked(int fd, const off_t *bytes)
{
	for (off_t off = 100; off < 208; off++) {
		int want = *bytes == off;

		assert_int_equal(is_locked(fd, off), want);
		bytes += want;
	}
}

static void test_reader_bytes(void **state)
{
	static const off_t bytes[] = { 100, 201, 203, 0 };
	int fd = open_image(), other = open_image();

	assert_int_equal(qcow2_lock_take(fd, path, &qcow2_lock_reader, &err), 0);
	assert_locked(other, bytes);
	close(fd);
	assert_int_equal(is_locked(other, 100), 0);
	close(other);
}

static void test_writer_bytes(void **state)
{
	static const off_t bytes[] = { 100, 101, 103, 201, 203, 0 };
	int fd = open_image(), other = open_image();

	assert_int_equal(qcow2_lock_take(fd, path, &qcow2_lock_writer, &err), 0);
	assert_locked(other, bytes);
	close(fd);
	close(other);
}

static void test_readers_share(void **state)
{
	int fd = open_image(), other = open_image();

	assert_int_equal(qcow2_lock_take(fd, path, &qcow2_lock_reader, &err), 0);
	assert_int_equal(qcow2_lock_take(other, path, &qcow2_lock_reader, &err), 0);
	close(fd);
	close(other);
}

static void refused(const struct qcow2_lock_mode *first, const struct qcow2_lock_mode *second,
		    const char *why)
{
	int fd = open_image(), other = open_image();

	assert_int_equal(qcow2_lock_take(fd, path, first, &err), 0);
	assert_int_equal(qcow2_lock_take(other, path, second, &err), QCOW2_EXIT_FAILED);
	assert_non_null(strstr(err.text, why));
	assert_non_null(strstr(err.text, path));
	close(fd);
	close(other);
}

static void test_writer_excludes(void **state)
{
	refused(&qcow2_lock_writer, &qcow2_lock_reader, "that writes it; stop that first");
	refused(&qcow2_lock_reader, &qcow2_lock_writer,
		"allows no other to write it; stop that first, or attach it with -r");
	refused(&qcow2_lock_writer, &qcow2_lock_writer, "that writes it; stop that first");
}

/* Each byte that one locks and the other must look at, alone; NULL: it does not concern that. */
static void test_each_counterpart(void **state)
{
	static const struct {
		off_t off;
		const char *reader, *writer;
	} rows[] = {
		{ 100, NULL, NULL },
		{ 101, "that writes it; stop that first", "that writes it; stop that first" },
		{ 102, NULL, NULL },
		{ 103, "that writes it; stop that first", "that writes it; stop that first" },
		{ 200, "no other to read it; stop that first", "no other to read it; stop that first" },
		{ 201, NULL, "no other to write it; stop that first, or attach it with -r" },
		{ 202, NULL, NULL },
		{ 203, NULL, "no other to resize it; stop that first, or attach it with -r" },
	};

	for (size_t i = 0; i < 2 * sizeof(rows) / sizeof(*rows); i++) {
		const struct qcow2_lock_mode *mode = i % 2 ? &qcow2_lock_writer :
						     &qcow2_lock_reader;
		const char *why = i % 2 ? rows[i / 2].writer : rows[i / 2].reader;
		int fd = open_image(), other = open_image();
		struct flock lock = byte(F_RDLCK, rows[i / 2].off);

		assert_int_equal(fcntl(other, F_OFD_SETLK, &lock), 0);
		assert_int_equal(qcow2_lock_take(fd, path, mode, &err), why ? QCOW2_EXIT_FAILED : 0);
		if (why && !strstr(err.text, why))
			fail_msg("byte %ld: '%s' is not in: %s", (long)rows[i / 2].off, why,
				 err.text);
		close(fd);
		close(other);
	}
}

static void test_foreign_write_lock(void **state)
{
	int fd = open_image(), other = open_image();
	struct flock lock = byte(F_WRLCK, 100);

	assert_int_equal(fcntl(other, F_OFD_SETLK, &lock), 0);
	assert_int_equal(qcow2_lock_take(fd, path, &qcow2_lock_reader, &err), QCOW2_EXIT_FAILED);
	assert_non_null(strstr(err.text, "has locked it"));
	close(fd);
	close(other);
}

static void test_no_lock_support(void **state)
{
	int fd = open("/", O_PATH);

	assert_int_equal(qcow2_lock_take(fd, "dir", &qcow2_lock_reader, &err), QCOW2_EXIT_FAILED);
	assert_non_null(strstr(err.text, "cannot lock it"));
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reader_bytes),
		cmocka_unit_test(test_writer_bytes),
		cmocka_unit_test(test_readers_share),
		cmocka_unit_test(test_writer_excludes),
		cmocka_unit_test(test_each_counterpart),
		cmocka_unit_test(test_foreign_write_lock),
		cmocka_unit_test(test_no_lock_support),
	};

	return cmocka_run_group_tests_name("lock", tests, make_image, remove_image);
}
