// SPDX-License-Identifier: GPL-2.0-or-later
/* qcow2ctl info against qemu-img info, on images of every kind that qemu-img makes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <fcntl.h>
#include <getopt.h>
#include <sys/stat.h>
#include <json-c/json.h>

#include "command.h"
#include "image.h"

static char dir[32];

static int make_dir(void **state)
{
	strcpy(dir, "/tmp/test_info.XXXXXX");
	if (!mkdtemp(dir) || chdir(dir))
		return -1;
	return system("qemu-img create -q -f qcow2 base 1M") || system("truncate -s 3M raw") ||
	       mkdir("sub", 0700) ||
	       system("qemu-img create -q -f qcow2 -b ../base -F qcow2 sub/middle");
}

static int remove_dir(void **state)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

static void shell(const char *format, const char *argument)
{
	char command[512];

	snprintf(command, sizeof(command), format, argument);
	if (system(command))
		fail_msg("%s", command);
}

/* What "qcow2ctl info @image" writes to stdout lands in the file "ours". */
static int run_info(const char *image, bool json)
{
	const char *const argv[] = { "info", json ? "--json" : image, json ? image : NULL, NULL };
	int status, saved = dup(STDOUT_FILENO);

	fflush(stdout);
	assert_non_null(freopen("ours", "w", stdout));
	optind = 0;
	status = qcow2_command_info.run(json ? 3 : 2, (char **)argv);
	fflush(stdout);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	return status;
}

static void drop(struct json_object *o, const char *key)
{
	json_object_object_del(o, key);
}

/* qemu-img tells how LUKS derives its keys, which we do not. */
static void drop_what_only_qemu_knows(struct json_object *theirs)
{
	static const char *const keys[] = {
		"hash-alg", "uuid", "slots", "payload-offset", "master-key-iters",
	};
	struct json_object *specific, *data, *encrypt;

	json_object_object_get_ex(theirs, "format-specific", &specific);
	json_object_object_get_ex(specific, "data", &data);
	if (!json_object_object_get_ex(data, "encrypt", &encrypt))
		return;
	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
		drop(encrypt, keys[i]);
}

static void assert_same(const char *image)
{
	struct json_object *ours, *theirs;

	shell("qemu-img info --output=json %s >theirs", image);
	assert_int_equal(run_info(image, true), 0);
	ours = json_object_from_file("ours");
	theirs = json_object_from_file("theirs");
	assert_non_null(ours);
	assert_true(json_object_object_get_ex(ours, "chain", NULL));
	assert_true(json_object_object_get_ex(ours, "attached", NULL));
	drop(ours, "chain");
	drop(ours, "attached");
	drop_what_only_qemu_knows(theirs);
	if (!json_object_equal(ours, theirs))
		fail_msg("ours: %s\ntheirs: %s", json_object_to_json_string(ours),
			 json_object_to_json_string(theirs));
	json_object_put(ours);
	json_object_put(theirs);
}

static void assert_text(const char *image, const char *line)
{
	char command[256];

	assert_int_equal(run_info(image, false), 0);
	snprintf(command, sizeof(command), "grep -qxF -e '%s' ours", line);
	if (system(command))
		fail_msg("'%s' is not in the text of %s", line, image);
}

static void test_geometries(void **state)
{
	static const char *const options[] = {
		"compat=0.10", "compat=0.10,cluster_size=512", "compat=0.10,cluster_size=2M",
		"cluster_size=512", "cluster_size=1k", "cluster_size=4k", "cluster_size=64k",
		"cluster_size=1M", "cluster_size=2M",
		"refcount_bits=1", "refcount_bits=2", "refcount_bits=8", "refcount_bits=64",
		"lazy_refcounts=on", "compression_type=zstd", "extended_l2=on",
		"preallocation=metadata", "preallocation=falloc",
		"data_file=data", "data_file=data,data_file_raw=on",
		"backing_file=base,backing_fmt=qcow2", "backing_file=raw,backing_fmt=raw",
		"backing_file=./base,backing_fmt=qcow2",
		"backing_file=sub/middle,backing_fmt=qcow2",
	};
	char create[256];

	for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++) {
		snprintf(create, sizeof(create), "qemu-img create -q -f qcow2 -o %s %%s 5000k",
			 options[i]);
		shell(create, "image");
		assert_same("image");
	}
}

static void test_sizes(void **state)
{
	static const char *const sizes[] = { "0", "512", "1025", "65537", "3G", "8T" };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		shell("qemu-img create -q -f qcow2 image %s", sizes[i]);
		assert_same("image");
	}
}

static void make_encrypted(const char *format)
{
	char create[512];

	/* On a busy machine it may fail to measure how long a passphrase takes. */
	snprintf(create, sizeof(create), "for i in 1 2 3 4 5 6 7 8; do qemu-img create -q -f qcow2 %s,%s %%s 1M 2>/dev/null && break; done",
		 "--object secret,id=s,data=abc -o encrypt.key-secret=s", format);
	shell(create, "image");
}

static void test_encryption(void **state)
{
	make_encrypted("encrypt.format=luks,encrypt.iter-time=10");
	assert_same("image");
	make_encrypted("encrypt.format=luks,encrypt.iter-time=10,encrypt.cipher-alg=aes-128,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv,encrypt.ivgen-hash-alg=sha256");
	assert_same("image");
	make_encrypted("encrypt.format=aes");
	assert_same("image");
}

static void test_snapshots(void **state)
{
	shell("qemu-img create -q -f qcow2 %s 1M", "image");
	shell("qemu-img snapshot -c first %s", "image");
	shell("qemu-io -c 'write -P 5 0 64k' %s >/dev/null", "image");
	shell("qemu-img snapshot -c 'the \"second\" one' %s", "image");
	assert_same("image");
}

/* The first one of the directory, as QEMU does while it writes the image. */
static void mark_bitmap_in_use(const char *image)
{
	const __be32 in_use = htobe32(QCOW2_BITMAP_IN_USE);
	struct qcow2_disk_bitmaps bitmaps;
	struct qcow2_image header;
	struct qcow2_error err;
	int fd = open(image, O_RDWR);

	assert_int_equal(qcow2_image_read(fd, lseek(fd, 0, SEEK_END), image, &header, &err), 0);
	memcpy(&bitmaps, (char *)header.buf + header.header.bitmaps.off, sizeof(bitmaps));
	assert_int_equal(pwrite(fd, &in_use, sizeof(in_use),
				be64toh(bitmaps.directory_offset) +
				offsetof(struct qcow2_disk_bitmap, flags)), sizeof(in_use));
	qcow2_image_free(&header);
	close(fd);
}

static void test_bitmaps(void **state)
{
	shell("qemu-img create -q -f qcow2 %s 1M", "image");
	shell("qemu-img bitmap --add %s first", "image");
	shell("qemu-img bitmap --add -g 4k %s 'the \"second\" one'", "image");
	shell("qemu-img bitmap --disable %s first", "image");
	assert_same("image");
	assert_text("image", "        first: granularity 64 KiB");
	assert_text("image", "        the \"second\" one: granularity 4 KiB, auto");
	mark_bitmap_in_use("image");
	assert_same("image");
	/* A program that knows no bitmaps has written the image: byte 95 holds that bit. */
	shell("printf '\\0' | dd of=%s bs=1 seek=95 conv=notrunc status=none", "image");
	assert_int_equal(run_info("image", false), 0);
	shell("! grep -q %s ours", "bitmaps");
}

static void test_flags(void **state)
{
	/* qemu-io killed with lazy refcounts leaves the dirty bit. */
	shell("qemu-img create -q -f qcow2 -o lazy_refcounts=on %s 1M", "image");
	shell("qemu-io -c 'write 0 64k' -c abort %s >/dev/null 2>&1 || true", "image");
	shell("qemu-img info %s | grep -q 'cleanly shut down: no'", "image");
	assert_same("image");
	/* The corrupt bit, by hand: byte 79 holds the low incompatible features. */
	shell("printf '\\2' | dd of=%s bs=1 seek=79 conv=notrunc status=none", "image");
	assert_same("image");
}

static void test_text(void **state)
{
	char command[128];

	shell("qemu-img create -q -f qcow2 -b sub/middle -F qcow2 %s", "image");
	assert_text("image", "virtual size: 1 MiB (1048576 bytes)");
	assert_text("image", "backing file: sub/middle");
	assert_text("sub/middle", "backing file: ../base (actual path: sub/../base)");
	snprintf(command, sizeof(command), "    2: %s/base (qcow2)", dir);
	assert_text("image", command);
}

/* A chain that cannot be followed is no reason to show nothing. */
static void test_broken_chain(void **state)
{
	struct json_object *ours, *error;

	shell("qemu-img create -q -f qcow2 -u -b gone -F qcow2 %s 1M", "image");
	assert_int_equal(run_info("image", true), 0);
	ours = json_object_from_file("ours");
	assert_true(json_object_object_get_ex(ours, "error", &error));
	assert_non_null(strstr(json_object_get_string(error), "gone: cannot open"));
	assert_int_equal(json_object_array_length(json_object_object_get(ours, "chain")), 1);
	json_object_put(ours);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_geometries),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_encryption),
		cmocka_unit_test(test_snapshots),
		cmocka_unit_test(test_bitmaps),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_broken_chain),
	};

	return cmocka_run_group_tests_name("info", tests, make_dir, remove_dir);
}
