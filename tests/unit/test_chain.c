// SPDX-License-Identifier: GPL-2.0-or-later
/* userspace/chain.c: what a backing file may be called, be, and lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "chain.h"
#include "images.h"

static char dir[32];
static struct qcow2_chain_policy policy;
static struct qcow2_chain chain;
static struct qcow2_error err;

/* The tree: DIR/own, where the top lies, with DIR/own/sub; DIR/ownx and DIR/other beside it. */
static int make_tree(void **state)
{
	static const char *const dirs[] = { "own", "own/sub", "ownx", "other" };

	strcpy(dir, "/tmp/test_chain.XXXXXX");
	if (!mkdtemp(dir) || chdir(dir))
		return -1;
	for (size_t i = 0; i < sizeof(dirs) / sizeof(*dirs); i++)
		if (mkdir(dirs[i], 0700))
			return -1;
	return 0;
}

static int remove_tree(void **state)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

static int reset_policy(void **state)
{
	qcow2_chain_policy_init(&policy);
	policy.attach = true;
	return 0;
}

static int free_policy(void **state)
{
	qcow2_chain_close(&chain);
	qcow2_chain_policy_free(&policy);
	return 0;
}

static void image(const char *path, const char *backing, const char *format)
{
	const struct small_image small = { .backing = backing, .format = format };

	write_image(path, &small);
}

static int open_chain(const char *top)
{
	return qcow2_chain_open_top(&chain, top, QCOW2BLK_FORMAT_QCOW2, &policy, &err) ?:
	       qcow2_chain_open_backing(&chain, &policy, &err);
}

static void accepted(const char *top, unsigned int depth)
{
	if (open_chain(top))
		fail_msg("%s", err.text);
	assert_int_equal(chain.depth, depth);
	qcow2_chain_close(&chain);
}

static void refused(const char *top, const char *why)
{
	err.text[0] = '\0';
	assert_int_equal(open_chain(top), QCOW2_EXIT_FAILED);
	if (!strstr(err.text, why))
		fail_msg("'%s' is not in: %s", why, err.text);
	qcow2_chain_close(&chain);
}

static void test_place(void **state)
{
	image("own/sub/base", NULL, NULL);
	image("ownx/base", NULL, NULL);
	image("other/base", NULL, NULL);
	symlink("../other/base", "own/link-out");
	symlink("../own/sub/base", "other/link-in");

	image("own/top", "sub/base", "qcow2");
	accepted("own/top", 2);
	image("own/top", "sub/../sub/./base", "qcow2");
	accepted("own/top", 2);
	image("own/top", "../other/link-in", "qcow2");
	accepted("own/top", 2);

	image("own/top", "../other/base", "qcow2");
	refused("own/top", "lies outside the image's directory");
	image("own/top", "../ownx/base", "qcow2");
	refused("own/top", "lies outside");
	image("own/top", "link-out", "qcow2");
	refused("own/top", "lies outside");
}

/* It is the top's directory that counts, for all layers, and the real one. */
static void test_place_of_lower_layers(void **state)
{
	image("own/base", NULL, NULL);
	image("own/sub/middle", "../base", "qcow2");
	image("own/top", "sub/middle", "qcow2");
	accepted("own/top", 3);
	refused("own/sub/middle", "lies outside");

	/* QEMU resolves names from where the link is; so the base is that of the link. */
	image("own/top", "base", "qcow2");
	image("other/base", NULL, NULL);
	symlink("../own/top", "other/top-link");
	refused("other/top-link", "other/base lies outside");
}

static void test_backing_dir(void **state)
{
	char sentence[2 * PATH_MAX];

	image("other/base", NULL, NULL);
	image("own/top", "../other/base", "qcow2");
	assert_int_equal(qcow2_chain_policy_allow_dir(&policy, "nowhere", &err), QCOW2_EXIT_USAGE);
	assert_int_equal(qcow2_chain_policy_allow_dir(&policy, "own/top", &err), QCOW2_EXIT_USAGE);
	assert_int_equal(qcow2_chain_policy_allow_dir(&policy, "ownx", &err), 0);
	snprintf(sentence, sizeof(sentence), "--backing-dir %s/other allows that", dir);
	refused("own/top", sentence);
	symlink("other", "link-to-other");
	assert_int_equal(qcow2_chain_policy_allow_dir(&policy, "link-to-other", &err), 0);
	accepted("own/top", 2);
}

static void test_allow_backing(void **state)
{
	policy.anywhere = true;
	image("other/base", NULL, NULL);
	image("own/top", "../other/base", "qcow2");
	accepted("own/top", 2);
	/* It lifts the rule of the directory, no other one. */
	image("own/top", "../other/base", NULL);
	refused("own/top", "does not name the format");
	image("own/top", "nbd:localhost:10809", "raw");
	refused("own/top", "(nbd: names are refused)");
}

static void test_names(void **state)
{
	static const char *const names[] = {
		"json:{\"driver\":\"file\",\"filename\":\"base\"}", "nbd:unix:/x", "http://host/base",
		"ssh://host/base", "fat:rw:/etc", "blkdebug:x:base", "file:base", "a:b", ":",
	};
	char absolute[PATH_MAX];

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		image("own/top", names[i], "qcow2");
		refused("own/top", "names are refused");
	}

	image("own/a:b", NULL, NULL);
	image("own/top", "./a:b", "qcow2");
	accepted("own/top", 2);
	snprintf(absolute, sizeof(absolute), "file:%s/own/a:b", dir);
	image("own/top", absolute, "qcow2");
	accepted("own/top", 2);
	image("own/top", absolute + 5, "qcow2");
	accepted("own/top", 2);
	image("own/top", "missing", "qcow2");
	refused("own/top", "own/missing: cannot open the backing file: No such file");
}

static void test_zero_byte_in_name(void **state)
{
	const struct small_image small = {
		.backing = "base\0.safe", .backing_len = 10, .format = "qcow2",
	};

	image("own/base", NULL, NULL);
	write_image("own/top", &small);
	refused("own/top", "the backing file name holds a zero byte");
}

static void test_formats(void **state)
{
	image("own/base", NULL, NULL);
	image("own/top", "base", NULL);
	refused("own/top", "does not name the format");
	policy.backing_format[1] = QCOW2BLK_FORMAT_RAW;
	accepted("own/top", 2);
	policy.backing_format[1] = QCOW2BLK_FORMAT_QCOW2;
	accepted("own/top", 2);
	image("own/top", "base", "raw");
	refused("own/top", "it names the format of its backing file itself, raw");
	image("own/top", "base", "vmdk");
	refused("own/top", "the format vmdk of its backing file base is not supported");
}

/* A raw guest writes a qcow2 header: what it names is not looked at. */
static void test_raw_ends_the_chain(void **state)
{
	image("own/raw", "/etc/passwd", "raw");
	image("own/top", "raw", "raw");
	accepted("own/top", 2);
	if (qcow2_chain_open_top(&chain, "own/raw", QCOW2BLK_FORMAT_RAW, &policy, &err) ||
	    qcow2_chain_open_backing(&chain, &policy, &err))
		fail_msg("%s", err.text);
	assert_int_equal(chain.depth, 1);
}

static void test_kinds(void **state)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX, .sun_path = "own/socket" };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	assert_int_equal(mkfifo("own/fifo", 0600), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	image("own/top", "fifo", "raw");
	refused("own/top", "own/fifo: it is a FIFO");
	refused("own/fifo", "own/fifo: it is a FIFO");
	image("own/top", "socket", "raw");
	refused("own/top", "it is a socket");
	image("own/top", "sub", "raw");
	refused("own/top", "it is a directory");
	image("own/top", "/dev/zero", "raw");
	refused("own/top", "it is a character device");
	close(fd);
}

static void test_loops(void **state)
{
	image("own/top", "top", "qcow2");
	refused("own/top", "already in the chain, as layers 0 and 1");
	image("own/a", "b", "qcow2");
	image("own/b", "a", "qcow2");
	refused("own/a", "already in the chain, as layers 0 and 2");
	/* One file by two names. */
	image("own/top", "hard", "raw");
	link("own/top", "own/hard");
	refused("own/top", "already in the chain");
	symlink("loop", "own/loop");
	image("own/top2", "loop", "qcow2");
	refused("own/top2", "Too many levels of symbolic links");
}

static void test_depth(void **state)
{
	char name[32], backing[32];

	image("own/layer0", NULL, NULL);
	for (unsigned int i = 1; i <= QCOW2BLK_MAX_LAYERS; i++) {
		snprintf(name, sizeof(name), "own/layer%u", i);
		snprintf(backing, sizeof(backing), "layer%u", i - 1);
		image(name, backing, "qcow2");
	}
	accepted("own/layer63", 64);
	refused("own/layer64", "is layer 64 already and 64 are the most");
}

static void test_unsupported(void **state)
{
	struct small_image small = { .incompatible = 1ULL << 40 };

	write_image("own/top", &small);
	refused("own/top", "incompatible feature bit 40, (the image does not name it)");
	/* To look at, it is good enough. */
	policy.attach = false;
	accepted("own/top", 1);
}

static void image_with_data(const char *path, const char *data)
{
	const struct small_image small = { .data = data, .incompatible = QCOW2_INCOMPAT_DATA_FILE };

	write_image(path, &small);
}

static void make_file(const char *path)
{
	close(open(path, O_CREAT | O_WRONLY, 0600));
}

/* An external data file is found as a backing file is, and held to the same. */
static void test_data_file(void **state)
{
	make_file("own/sub/data");
	make_file("other/data");
	image_with_data("own/top", "sub/data");
	accepted("own/top", 1);
	image_with_data("own/top", "nothing");
	refused("own/top", "own/nothing: cannot open the data file: No such file");
	image_with_data("own/top", "sub");
	refused("own/top", "own/sub: it is a directory");
	image_with_data("own/top", "../other/data");
	refused("own/top", "own/top: the data file /tmp/");
	refused("own/top", "lies outside the image's directory; --backing-dir");
	assert_int_equal(qcow2_chain_policy_allow_dir(&policy, "other", &err), 0);
	accepted("own/top", 1);
	image_with_data("own/top", "nbd://host/data");
	refused("own/top", "data file nbd://host/data is not named by a plain path (nbd: names are refused); --data-file");
	image_with_data("own/top", "json:{}");
	refused("own/top", "(json: names are refused)");
	image_with_data("own/top", NULL);
	refused("own/top", "own/top: its data lie in an external data file that it does not name; give it: --data-file FILE");
	/* To look at, the image is enough. */
	policy.attach = false;
	accepted("own/top", 1);
}

/* What the user names may lie anywhere, but must be wanted. */
static void test_data_file_given(void **state)
{
	make_file("other/data");
	image_with_data("own/top", "nothing");
	policy.data_file[0] = "other/data";
	accepted("own/top", 1);
	image("own/over", "top", "qcow2");
	assert_int_equal(open_chain("own/over"), QCOW2_EXIT_USAGE);
	assert_non_null(strstr(err.text, "own/over: it has no external data file"));
	policy.data_file[0] = NULL;
	policy.data_file[1] = "other/data";
	accepted("own/over", 2);
}

/* A file is one thing only. */
static void test_data_file_twice(void **state)
{
	image_with_data("own/top", "top");
	refused("own/top", "own/top: this file is already in the chain, as own/top or its data file");
	make_file("own/data");
	image_with_data("own/base", "data");
	{
		const struct small_image small = {
			.data = "data", .incompatible = QCOW2_INCOMPAT_DATA_FILE,
			.backing = "base",
		};

		write_image("own/top", &small);
		policy.backing_format[1] = QCOW2BLK_FORMAT_QCOW2;
		refused("own/top", "own/data: this file is already in the chain, as own/top");
	}
	policy.backing_format[1] = QCOW2_CHAIN_FORMAT_UNKNOWN;
	image_with_data("own/base", "over");
	image("own/over", "base", "qcow2");
	refused("own/over", "own/over: this file is already in the chain, as own/over");
}

static void test_no_image(void **state)
{
	assert_int_equal(open_chain("own/nothing"), QCOW2_EXIT_USAGE);
	assert_non_null(strstr(err.text, "own/nothing: cannot open the image: No such file"));
	assert_int_equal(open_chain("own/sub"), QCOW2_EXIT_FAILED);
	close(open("own/empty", O_CREAT | O_WRONLY, 0600));
	refused("own/empty", "file length 0 is too small");
	close(open("own/raw", O_CREAT | O_TRUNC | O_WRONLY, 0600));
	assert_int_equal(truncate("own/raw", 4096), 0);
	refused("own/raw", "magic 0x00000000 is not that of a qcow2 image");
}

/* A layer that somebody writes; and locks stay no longer than the chain. */
static void test_locks(void **state)
{
	struct flock lock = {
		.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 101, .l_len = 1,
	};
	int fd;

	image("own/base", NULL, NULL);
	image("own/top", "base", "qcow2");
	fd = open("own/base", O_RDWR);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
	refused("own/top", "own/base: in use by another process");
	policy.attach = false;
	accepted("own/top", 2);
	policy.attach = true;
	close(fd);
	accepted("own/top", 2);

	fd = open("own/base", O_RDWR);
	lock.l_type = F_WRLCK;
	lock.l_start = 0;
	lock.l_len = 0;
	assert_int_equal(fcntl(fd, F_OFD_GETLK, &lock), 0);
	assert_int_equal(lock.l_type, F_UNLCK);
	close(fd);
}

/* Is this byte locked by somebody else? See lock.h. */
static bool is_locked(const char *path, off_t off)
{
	struct flock lock = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = off, .l_len = 1,
	};
	int fd = open(path, O_RDWR);

	assert_int_equal(fcntl(fd, F_OFD_GETLK, &lock), 0);
	close(fd);
	return lock.l_type != F_UNLCK;
}

/* Of a chain that is to be written, the top is opened and locked for that, and no other layer. */
static void test_writable(void **state)
{
	image("own/base", NULL, NULL);
	image("own/top", "base", "qcow2");
	policy.writable = true;
	if (open_chain("own/top"))
		fail_msg("%s", err.text);
	assert_int_equal(fcntl(chain.layer[0].fd, F_GETFL) & O_ACCMODE, O_RDWR);
	assert_int_equal(fcntl(chain.layer[1].fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_true(is_locked("own/top", 101) && is_locked("own/top", 103));
	assert_true(is_locked("own/base", 100) && is_locked("own/base", 201));
	assert_false(is_locked("own/base", 101) || is_locked("own/base", 103));
	qcow2_chain_close(&chain);

	/* With its data, where that is a file of its own. */
	make_file("own/data");
	image_with_data("own/top", "data");
	if (open_chain("own/top"))
		fail_msg("%s", err.text);
	assert_int_equal(fcntl(chain.layer[0].data->fd, F_GETFL) & O_ACCMODE, O_RDWR);
	assert_true(is_locked("own/data", 101) && is_locked("own/data", 201));
	qcow2_chain_close(&chain);
	assert_false(is_locked("own/data", 101));

	policy.writable = false;
	if (open_chain("own/top"))
		fail_msg("%s", err.text);
	assert_int_equal(fcntl(chain.layer[0].fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_false(is_locked("own/top", 101));
	assert_false(is_locked("own/data", 101));
	assert_true(is_locked("own/data", 100));
}

/* A file that no one can write: a program that is running. */
static void test_not_writable(void **state)
{
	assert_int_equal(system("cp /bin/sleep own/sleep; own/sleep 60 & echo $! >pid; "
				"until grep -q sleep /proc/$!/comm; do sleep 0.01; done"), 0);
	policy.writable = true;
	refused("own/sleep", "own/sleep: cannot open it for writing: Text file busy; attach it read-only with -r");
	policy.writable = false;
	refused("own/sleep", "is not that of a qcow2 image");
	assert_int_equal(system("kill $(cat pid)"), 0);
}

static u64 incompatible_features(const char *path)
{
	struct qcow2_disk_header h;
	int fd = open(path, O_RDONLY);

	assert_int_equal(read(fd, &h, sizeof(h)), sizeof(h));
	close(fd);
	return be64toh(h.incompatible_features);
}

/* Wrong refcounts are rebuilt before an image is written. Below the top they do not matter. */
static void test_dirty(void **state)
{
	const struct small_image dirty = { .incompatible = QCOW2_INCOMPAT_DIRTY };

	write_image("own/top", &dirty);
	image("own/over", "top", "qcow2");
	policy.writable = true;
	accepted("own/over", 2);
	policy.writable = false;
	accepted("own/top", 1);
	assert_int_equal(incompatible_features("own/top"), QCOW2_INCOMPAT_DIRTY);
	policy.writable = true;
	accepted("own/top", 1);
	assert_int_equal(incompatible_features("own/top"), 0);
}

/* One that is marked corrupt is mended only if the user says so. */
static void test_corrupt(void **state)
{
	static const u64 bits[] = {
		QCOW2_INCOMPAT_CORRUPT, QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT,
	};

	for (size_t i = 0; i < sizeof(bits) / sizeof(*bits); i++) {
		struct small_image small = { .incompatible = bits[i] };

		write_image("own/top", &small);
		image("own/over", "top", "qcow2");
		policy.writable = true;
		policy.repair = false;
		refused("own/top", "own/top: the image is marked corrupt, so it is not written; attach --repair mends it where that is possible, -r attaches it read-only");
		accepted("own/over", 2);
		policy.writable = false;
		accepted("own/top", 1);
		policy.writable = true;
		policy.repair = true;
		accepted("own/top", 1);
		assert_int_equal(incompatible_features("own/top"), 0);
	}
}

static const char *explained;

static void explain(const struct qcow2_layer *layer, struct qcow2_error *e)
{
	explained = !strcmp(layer->name, "own/top") ? "top" : "another";
	qcow2_error_set(e, QCOW2_EXIT_FAILED, layer->name, "it was explained");
}

/* Who is in the way, if the caller knows better; asked only if somebody is. */
static void test_explain_lock(void **state)
{
	static struct qcow2_chain first;

	image("own/top", NULL, NULL);
	policy.writable = true;
	policy.explain_lock = explain;
	explained = NULL;
	assert_int_equal(qcow2_chain_open_top(&first, "own/top", QCOW2BLK_FORMAT_QCOW2, &policy,
					      &err), 0);
	assert_null(explained);
	refused("own/top", "own/top: it was explained");
	assert_string_equal(explained, "top");
	qcow2_chain_close(&first);
	accepted("own/top", 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, reset_policy, free_policy)
	const struct CMUnitTest tests[] = {
		TEST(test_place),
		TEST(test_place_of_lower_layers),
		TEST(test_backing_dir),
		TEST(test_allow_backing),
		TEST(test_names),
		TEST(test_zero_byte_in_name),
		TEST(test_formats),
		TEST(test_raw_ends_the_chain),
		TEST(test_kinds),
		TEST(test_loops),
		TEST(test_depth),
		TEST(test_unsupported),
		TEST(test_data_file),
		TEST(test_data_file_given),
		TEST(test_data_file_twice),
		TEST(test_no_image),
		TEST(test_locks),
		TEST(test_writable),
		TEST(test_not_writable),
		TEST(test_dirty),
		TEST(test_corrupt),
		TEST(test_explain_lock),
	};

	return cmocka_run_group_tests_name("chain", tests, make_tree, remove_tree);
}
