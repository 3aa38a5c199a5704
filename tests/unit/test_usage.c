// SPDX-License-Identifier: GPL-2.0-or-later
/* The command line of each command: what is wrong usage, and what is said then. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <getopt.h>

#include "command.h"
#include "error.h"
#include "images.h"

#define MAX_ARGS	8

static char dir[32];

/* A row: the arguments, the exit status, and a part of the message. */
struct row {
	const char *argv[MAX_ARGS];
	int status;
	const char *message;
};

static int make_images(void **state)
{
	const struct small_image plain = { }, overlay = { .backing = "image", .format = "qcow2" };
	const struct small_image corrupt = { .incompatible = QCOW2_INCOMPAT_CORRUPT };
	const struct small_image unknown = { .incompatible = 1 << 5 };
	const struct small_image aes = { .crypt_method = QCOW2_CRYPT_AES };
	const struct small_image aes_overlay = {
		.backing = "aes", .format = "qcow2", .crypt_method = QCOW2_CRYPT_AES,
	};

	strcpy(dir, "/tmp/test_usage.XXXXXX");
	if (!mkdtemp(dir) || chdir(dir))
		return -1;
	write_image("image", &plain);
	write_image("overlay", &overlay);
	write_image("corrupt", &corrupt);
	write_image("unknown", &unknown);
	write_image("aes", &aes);
	write_image("aes-overlay", &aes_overlay);
	if (system("touch raw"))
		return -1;
	return 0;
}

static int remove_images(void **state)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

/* Run @command, stderr in @text. */
static int run(const struct qcow2_command *command, const struct row *row, char *text, size_t len)
{
	char *argv[MAX_ARGS + 1] = { (char *)command->name };
	int argc = 1, status, saved = dup(STDERR_FILENO);
	FILE *f;

	while (row->argv[argc - 1]) {
		argv[argc] = (char *)row->argv[argc - 1];
		argc++;
	}
	fflush(stderr);
	assert_non_null(freopen("stderr", "w", stderr));
	optind = 0;
	status = command->run(argc, argv);
	fflush(stderr);
	dup2(saved, STDERR_FILENO);
	close(saved);

	f = fopen("stderr", "r");
	text[fread(text, 1, len - 1, f)] = '\0';
	fclose(f);
	return status;
}

static void check(const struct qcow2_command *command, const struct row *rows, size_t count)
{
	char text[4096];

	for (const struct row *row = rows; row < rows + count; row++) {
		int status = run(command, row, text, sizeof(text));

		if (status != row->status || !strstr(text, row->message))
			fail_msg("row %zu: status %d instead of %d, '%s' should be in: %s",
				 row - rows, status, row->status, row->message, text);
	}
}

#define CHECK(command, rows) check(&(command), rows, sizeof(rows) / sizeof(*(rows)))

static void test_attach(void **state)
{
	static const struct row rows[] = {
		{ { NULL }, 1, "give one IMAGE" },
		{ { "-r" }, 1, "give one IMAGE" },
		{ { "-r", "image", "overlay" }, 1, "give one IMAGE" },
		{ { "-r", "--frob", "image" }, 1, "unrecognized option '--frob'" },
		{ { "-r", "-f", "vdi", "image" }, 1, "qcow2 and raw are known" },
		{ { "-r", "--format=", "image" }, 1, "qcow2 and raw are known" },
		{ { "-r", "--direct-io", "maybe", "image" }, 1, "auto, on and off" },
		{ { "-r", "--backing-dir", "image", "image" }, 1, "no backing directory: Not a" },
		{ { "-r", "--backing-dir", "none", "image" }, 1, "no backing directory: No such" },
		{ { "--discard", "on", "image" }, 1, "--discard 'on': unmap and ignore are known" },
		{ { "--discard", "ignore", "none" }, 1, "none: cannot open the image" },
		{ { "--discard", "unmap", "none" }, 1, "none: cannot open the image" },
		{ { "corrupt" }, 2, "corrupt: the image is marked corrupt, so it is not written; attach --repair" },
		{ { "-r", "--repair", "image" }, 1, "--repair writes the image, which -r forbids" },
		{ { "--repair", "none" }, 1, "none: cannot open the image" },
		{ { "-r", "none" }, 1, "none: cannot open the image: No such file" },
	};

	CHECK(qcow2_command_attach, rows);
}

static void test_temporary(void **state)
{
	static const struct row rows[] = {
		{ { "-r", "--temporary", "image" }, 1, "neither -r nor --repair goes with that" },
		{ { "--temporary", "--repair", "image" }, 1, "neither -r nor --repair" },
		{ { "--temporary", "none" }, 1, "none: cannot open the image" },
		{ { "--temporary", "-r", "--load-snapshot", "1", "image" }, 1, "neither -r" },
		{ { "--temporary", "--load-snapshot", "1", "image" }, 1, "needs -r" },
		{ { "--temporary=none", "image" }, 2, "none/image.lost-at-detach" },
	};

	CHECK(qcow2_command_attach, rows);
}

static void test_set(void **state)
{
	static const struct row rows[] = {
		{ { NULL }, 1, "give one DEVICE or IMAGE and one SETTING=VALUE" },
		{ { "qcow0" }, 1, "give one DEVICE or IMAGE and one SETTING=VALUE" },
		{ { "qcow0", "cache-size" }, 1, "'cache-size': cache-size=SIZE is what can be set" },
		{ { "qcow0", "cache-size=" }, 1, "a number of bytes" },
		{ { "qcow0", "cache-size=0" }, 1, "a number of bytes" },
		{ { "qcow0", "cache-size=1X" }, 1, "a number of bytes" },
		{ { "--frob", "qcow0", "cache-size=1M" }, 1, "unrecognized option" },
	};

	CHECK(qcow2_command_set, rows);
}

static void test_stats(void **state)
{
	static const struct row rows[] = {
		{ { NULL }, 1, "give one DEVICE or IMAGE" },
		{ { "qcow0", "qcow1" }, 1, "give one DEVICE or IMAGE" },
		{ { "--frob", "qcow0" }, 1, "unrecognized option" },
	};

	CHECK(qcow2_command_stats, rows);
}

static void test_monitor(void **state)
{
	static const struct row rows[] = {
		{ { "qcow0" }, 1, "unexpected argument 'qcow0'" },
		{ { "--frob" }, 1, "unrecognized option" },
	};

	CHECK(qcow2_command_monitor, rows);
}

static void test_cache_size(void **state)
{
	static const struct row rows[] = {
		{ { "--cache-size", "", "image" }, 1, "a number of bytes" },
		{ { "--cache-size", "0", "image" }, 1, "a number of bytes" },
		{ { "--cache-size", "-1", "image" }, 1, "a number of bytes" },
		{ { "--cache-size", " 1", "image" }, 1, "a number of bytes" },
		{ { "--cache-size", "K", "image" }, 1, "a number of bytes" },
		{ { "--cache-size", "1Q", "image" }, 1, "a number of bytes" },
		{ { "--cache-size", "1KB", "image" }, 1, "a number of bytes" },
		{ { "--cache-size", "16777216T", "image" }, 1, "a number of bytes" },
		{ { "--cache-size", "18446744073709551616", "image" }, 1, "a number of bytes" },
		{ { "--cache-size", "16777215T", "none" }, 1, "none: cannot open" },
		{ { "--cache-size", "18446744073709551615", "none" }, 1, "none: cannot open" },
		{ { "--cache-size", "64K", "none" }, 1, "none: cannot open" },
	};

	CHECK(qcow2_command_attach, rows);
}

static void test_key_file(void **state)
{
	static const struct row rows[] = {
		{ { "--key-file", "", "image" }, 1, "FILE or LAYER=FILE" },
		{ { "--key-file", "0=", "image" }, 1, "FILE or LAYER=FILE" },
		{ { "--key-file", "64=key", "image" }, 1, "FILE or LAYER=FILE" },
		{ { "--key-file", "a", "--key-file", "b", "image" }, 1, "each layer once" },
		{ { "--key-file", "1=a", "--key-file", "1=b", "image" }, 1, "each layer once" },
		{ { "--key-file", "key", "none" }, 1, "none: cannot open" },
		{ { "--key-file", "63=key", "none" }, 1, "none: cannot open" },
		{ { "-r", "--key-file", "key", "image" }, 1, "neither the image nor a backing file" },
		{ { "-r", "--key-file", "0=key", "image" }, 1, "layer 0 has a --key-file, but" },
		{ { "-r", "--key-file", "1=key", "image" }, 1, "there is no layer 1" },
		{ { "-r", "--key-file", "1=key", "overlay" }, 1, "layer 1 has a --key-file, but" },
		{ { "-r", "--key-file", "a", "--key-file", "0=b", "aes" }, 1, "layer 0 has two" },
		{ { "-r", "--key-file", "-", "--key-file", "1=-", "aes-overlay" }, 1,
		  "standard input is the passphrase of one layer only" },
	};

	CHECK(qcow2_command_attach, rows);
}

static void test_device(void **state)
{
	static const struct row rows[] = {
		{ { "--device", "sda", "image" }, 1, "a name like qcow0" },
		{ { "--device", "/dev/sda", "image" }, 1, "a name like qcow0" },
		{ { "--device", "qcow", "image" }, 1, "a name like qcow0" },
		{ { "--device", "qcow01", "image" }, 1, "a name like qcow0" },
		{ { "--device", "qcow0p1", "image" }, 1, "a name like qcow0" },
		{ { "--device", "qcow32768", "image" }, 1, "a name like qcow0" },
		{ { "--device", "qcow99999999999999999999", "image" }, 1, "a name like qcow0" },
		{ { "--device", "qcow32767", "none" }, 1, "none: cannot open" },
		{ { "--device", "/dev/qcow0", "none" }, 1, "none: cannot open" },
	};

	CHECK(qcow2_command_attach, rows);
}

static void test_backing_format(void **state)
{
	static const struct row rows[] = {
		{ { "--backing-format", "qcow2", "image" }, 1, "LAYER=qcow2 or LAYER=raw" },
		{ { "--backing-format", "0=raw", "image" }, 1, "LAYER=qcow2 or LAYER=raw" },
		{ { "--backing-format", "64=raw", "image" }, 1, "LAYER=qcow2 or LAYER=raw" },
		{ { "--backing-format", "-1=raw", "image" }, 1, "LAYER=qcow2 or LAYER=raw" },
		{ { "--backing-format", "=raw", "image" }, 1, "LAYER=qcow2 or LAYER=raw" },
		{ { "--backing-format", "1=vmdk", "image" }, 1, "LAYER=qcow2 or LAYER=raw" },
		{ { "--backing-format", "63=raw", "none" }, 1, "none: cannot open" },
		{ { "-r", "--backing-format", "1=raw", "image" }, 1, "there is no layer 1" },
		{ { "-r", "--backing-format", "2=raw", "overlay" }, 1, "there is no layer 2" },
	};

	CHECK(qcow2_command_attach, rows);
}

static void test_others(void **state)
{
	static const struct row detach[] = {
		{ { NULL }, 1, "give one DEVICE or IMAGE" },
		{ { "a", "b" }, 1, "give one DEVICE or IMAGE" },
		{ { "--all", "qcow0" }, 1, "give one DEVICE or IMAGE" },
		{ { "--force" }, 1, "give one DEVICE or IMAGE" },
		{ { "--force", "--all", "qcow0" }, 1, "give one DEVICE or IMAGE" },
		{ { "--force", "qcow32767" }, 1, "/dev/qcow32767: no such device" },
		{ { "--everything" }, 1, "unrecognized option" },
		{ { "--wait=", "qcow0" }, 1, "--wait '': a number of seconds is wanted" },
		{ { "--wait=-1", "qcow0" }, 1, "--wait '-1': a number of seconds is wanted" },
		{ { "--wait=1m", "qcow0" }, 1, "--wait '1m': a number of seconds is wanted" },
		{ { "--wait", "qcow32767" }, 1, "/dev/qcow32767: no such device" },
	};
	static const struct row list[] = {
		{ { "qcow32767" }, 1, "/dev/qcow32767: no such device" },
		{ { "none" }, 1, "none: no such image: No such file" },
		{ { "--jsn" }, 1, "unrecognized option" },
		{ { "-o" }, 1, "requires an argument" },
		{ { "-o", "" }, 1, "-o: there is no column ''" },
		{ { "-o", "SIZE," }, 1, "-o: there is no column ''" },
		{ { "-o", "+SIZE,COLOUR" }, 1, "-o: there is no column 'COLOUR'" },
		{ { "-o", "SIZES" }, 1, "-o: there is no column 'SIZES'" },
		{ { "-O", "-o", "+RO" }, 1, "-o: more columns than there are" },
	};
	static const struct row info[] = {
		{ { NULL }, 1, "give one DEVICE or IMAGE" },
		{ { "image", "overlay" }, 1, "give one DEVICE or IMAGE" },
		{ { "none" }, 1, "none: cannot open the image: No such file" },
		{ { "qcow32767" }, 1, "/dev/qcow32767: no such device" },
	};

	static const struct row snapshot[] = {
		{ { NULL }, 1, "say what to do: list, create, apply or delete" },
		{ { "image" }, 1, "unknown action 'image'" },
		{ { "list" }, 1, "list: give one DEVICE or IMAGE" },
		{ { "list", "image", "overlay" }, 1, "list: give one DEVICE or IMAGE" },
		{ { "list", "--all", "image" }, 1, "unrecognized option '--all'" },
		{ { "list", "none" }, 1, "none: cannot open the image: No such file" },
		{ { "list", "qcow32767" }, 1, "/dev/qcow32767: no such device" },
		{ { "list", "raw" }, 2, "raw: file length 0 is too small" },
		{ { "create", "image" }, 1, "create: give a DEVICE or IMAGE, and a NAME" },
		{ { "apply", "--list", "image", "one" }, 1, "unrecognized option '--list'" },
		{ { "create", "none", "one" }, 1, "none: no such image: No such file" },
		{ { "create", "qcow32767", "one" }, 1, "/dev/qcow32767: no such device" },
		{ { "create", "--key-file", "", "aes", "one" }, 1, "snapshot: --key-file '': FILE or LAYER=FILE" },
		{ { "create", "--key-file", "key", "image", "one" }, 1, "neither the image nor a backing file" },
		{ { "delete", "raw", "one" }, 2, "raw: file length 0 is too small" },
		{ { "delete", "corrupt", "one" }, 2, "corrupt: the image is marked corrupt, so it is not written" },
	};
	static const struct row commit[] = {
		{ { NULL }, 1, "give one DEVICE or IMAGE" },
		{ { "image", "overlay" }, 1, "give one DEVICE or IMAGE" },
		{ { "--delete", "image" }, 1, "unrecognized option '--delete'" },
		{ { "--backing-dir", "none", "image" }, 1, "no backing directory: No such" },
		{ { "none" }, 1, "none: no such image: No such file" },
		{ { "qcow32767" }, 1, "/dev/qcow32767: no such device" },
		{ { "--key-file", "1=", "overlay" }, 1, "commit: --key-file '1=': FILE or LAYER=FILE" },
		{ { "--key-file", "key", "overlay" }, 1, "neither the image nor a backing file" },
		{ { "--stop", "image" }, 1, "image: it is not attached" },
		{ { "--stop", "qcow32767" }, 1, "/dev/qcow32767: no such device" },
		{ { "corrupt" }, 2, "corrupt: the image is marked corrupt, so it is not written" },
	};
	static const struct row resize[] = {
		{ { NULL }, 1, "give a DEVICE or IMAGE, and a SIZE or +SIZE" },
		{ { "image" }, 1, "give a DEVICE or IMAGE, and a SIZE or +SIZE" },
		{ { "image", "1G", "2G" }, 1, "give a DEVICE or IMAGE, and a SIZE or +SIZE" },
		{ { "--force", "image", "1G" }, 1, "unrecognized option '--force'" },
		{ { "image", "" }, 1, "SIZE '': give a number of bytes" },
		{ { "image", "+" }, 1, "SIZE '+': give a number of bytes" },
		{ { "image", "++1G" }, 1, "SIZE '++1G': give a number of bytes" },
		{ { "image", "1.5G" }, 1, "SIZE '1.5G': give a number of bytes" },
		{ { "image", "16777216T" }, 1, "SIZE '16777216T': give a number of bytes" },
		{ { "image", "513" }, 1, "SIZE '513': a disk has sectors of 512 bytes; 1024" },
		{ { "--key-file", "1=", "overlay", "1G" }, 1, "resize: --key-file '1=': FILE or LAYER=FILE" },
		{ { "--key-file", "key", "overlay", "1G" }, 1, "neither the image nor a backing file" },
		{ { "--backing-dir", "none", "image", "1G" }, 1, "no backing directory: No such" },
		{ { "corrupt", "1G" }, 2, "corrupt: the image is marked corrupt, so it is not written" },
		{ { "--shrink", "none", "+512" }, 1, "none: " },
		{ { "qcow32767", "1G" }, 1, "/dev/qcow32767: no such device" },
	};
	/* As qemu-img check: 1 is what could not be checked, 2 what is corrupt. */
	static const struct row of_check[] = {
		{ { NULL }, 1, "give one IMAGE or DEVICE" },
		{ { "image", "overlay" }, 1, "give one IMAGE or DEVICE" },
		{ { "--repair=some", "image" }, 1, "--repair=some: leaks and all are known" },
		{ { "--fix", "image" }, 1, "unrecognized option '--fix'" },
		{ { "none" }, 1, "none: cannot open the image: No such file" },
		{ { "qcow32767" }, 1, "/dev/qcow32767: no such device" },
		{ { "unknown" }, 1, "unknown: incompatible feature bit 5" },
		{ { "raw" }, 63, "raw: file length 0 is too small" },
	};

	CHECK(qcow2_command_detach, detach);
	CHECK(qcow2_command_snapshot, snapshot);
	CHECK(qcow2_command_commit, commit);
	CHECK(qcow2_command_check, of_check);
	CHECK(qcow2_command_resize, resize);
	CHECK(qcow2_command_list, list);
	CHECK(qcow2_command_info, info);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_attach),
		cmocka_unit_test(test_key_file),
		cmocka_unit_test(test_cache_size),
		cmocka_unit_test(test_temporary),
		cmocka_unit_test(test_set),
		cmocka_unit_test(test_stats),
		cmocka_unit_test(test_monitor),
		cmocka_unit_test(test_device),
		cmocka_unit_test(test_backing_format),
		cmocka_unit_test(test_others),
	};

	return cmocka_run_group_tests_name("usage", tests, make_images, remove_images);
}
