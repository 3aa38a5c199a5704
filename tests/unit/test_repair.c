// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * userspace/repair.c, rebuild.c: what a power failure may leave at any moment of a repair. The
 * writes since the last fsync are dropped and torn; each image that comes out is checked. The
 * disk reads the same in each.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "repair.h"

#define SECTOR		512
#define TRIES		6	/* a moment */
#define MAX_OPS		4096

static char dir[32];

/* --- what is written, recorded --------------------------------------------------------------- */

struct op {
	off_t off;
	size_t len;
	uint8_t *data;		/* NULL: an fsync, or a hole if there is a length */
};

static struct op ops[MAX_OPS];
static size_t nr_ops;
static bool recording;

static void record(off_t off, size_t len, const void *data)
{
	struct op *op = &ops[nr_ops];

	if (!recording)
		return;
	assert_true(nr_ops++ < MAX_OPS);
	*op = (struct op) { off, len, data ? malloc(len) : NULL };
	if (data)
		memcpy(op->data, data, len);
}

/* These take the place of the C library's. */
ssize_t pwrite(int fd, const void *buf, size_t len, off_t off)
{
	record(off, len, buf);
	return syscall(SYS_pwrite64, fd, buf, len, off);
}

int fsync(int fd)
{
	record(0, 0, NULL);
	return 0;
}

int fallocate(int fd, int mode, off_t off, off_t len)
{
	record(off, len, NULL);
	return syscall(SYS_fallocate, fd, mode, off, len);
}

static void forget(void)
{
	while (nr_ops)
		free(ops[--nr_ops].data);
}

/* --- images in memory ------------------------------------------------------------------------ */

struct bytes {
	uint8_t *data;
	size_t len;
};

static void read_bytes(struct bytes *b, const char *path)
{
	int fd = open(path, O_RDONLY);

	assert_true(fd >= 0);
	b->len = lseek(fd, 0, SEEK_END);
	b->data = malloc(b->len + 1);
	assert_int_equal(pread(fd, b->data, b->len, 0), b->len);
	close(fd);
}

static void write_bytes(const struct bytes *b, const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(syscall(SYS_pwrite64, fd, b->data, b->len, 0), b->len);
	close(fd);
}

/* One sector, or a part of one, reaches the disk whole or not at all. */
static void apply_piece(struct bytes *b, const struct op *op, size_t from, size_t len)
{
	size_t end = op->off + from + len;

	if (end > b->len) {
		b->data = realloc(b->data, end);
		memset(b->data + b->len, 0, end - b->len);
		b->len = end;
	}
	if (op->data)
		memcpy(b->data + op->off + from, op->data + from, len);
	else
		memset(b->data + op->off + from, 0, len);
}

static void apply(struct bytes *b, const struct op *op, bool torn)
{
	size_t from, len;

	for (from = 0; from < op->len; from += len) {
		len = SECTOR - (op->off + from) % SECTOR;
		if (len > op->len - from)
			len = op->len - from;
		if (!torn || random() % 2)
			apply_piece(b, op, from, len);
	}
}

/* --- checks ---------------------------------------------------------------------------------- */

struct verdict {
	uint64_t corruptions;
	uint64_t leaks;
	bool dirty;
};

static void open_layer(struct qcow2_layer *layer, const char *path)
{
	struct qcow2_error err;

	memset(layer, 0, sizeof(*layer));
	layer->fd = open(path, O_RDWR);
	layer->name = (char *)path;
	layer->file_size = lseek(layer->fd, 0, SEEK_END);
	if (qcow2_image_read(layer->fd, layer->file_size, path, &layer->image, &err))
		fail_msg("%s", err.text);
}

static void close_layer(struct qcow2_layer *layer)
{
	qcow2_image_free(&layer->image);
	close(layer->fd);
}

static struct verdict judge(const char *path, bool repair)
{
	struct qcow2_checker c = { };
	struct qcow2_layer layer;
	struct qcow2_error err;
	struct verdict v;

	open_layer(&layer, path);
	if (qcow2_repair_check(&layer, &c, &err))
		fail_msg("%s", err.text);
	v = (struct verdict) {
		.corruptions = qcow2_checker_corruptions(&c),
		.leaks = c.found[QCOW2_FAULT_LEAK],
		.dirty = layer.image.header.incompatible_features & QCOW2_INCOMPAT_DIRTY,
	};
	if (repair && qcow2_repair(&layer, &c, &err))
		fail_msg("%s", err.text);
	qcow2_checker_free(&c);
	close_layer(&layer);
	return v;
}

static void shell(const char *command)
{
	if (system(command))
		fail_msg("%s", command);
}

/*
 * @may_be_wrong: the image was corrupt before, and version 2 cannot say that it is being
 * mended. Return: the state is not that before or after.
 */
static void check_state(const struct bytes *before, const struct bytes *state,
			uint64_t corruptions_before, uint64_t leaks_before, bool may_be_wrong)
{
	static unsigned int count;
	struct verdict v;
	bool untouched = state->len == before->len &&
			 !memcmp(state->data, before->data, before->len);

	write_bytes(state, "state");
	v = judge("state", true);
	if (!corruptions_before && !v.dirty) {
		assert_int_equal(v.corruptions, 0);
		assert_true(v.leaks <= leaks_before);
	}
	if (v.corruptions && !v.dirty && !untouched && !may_be_wrong)
		fail_msg("a state that is corrupt does not say so");
	v = judge("state", false);
	assert_int_equal(v.corruptions, 0);
	assert_int_equal(v.leaks, 0);
	assert_false(v.dirty);
	/* Not of each: qemu-img takes its time. */
	if (count++ % 61 == 0) {
		shell("qemu-img check -q -f qcow2 state");
		shell("qemu-img compare -q -f qcow2 -F raw state content");
	}
}

/* Every moment of the recorded repair of what @before holds. */
static void check_states(const struct bytes *before, uint64_t corruptions, uint64_t leaks,
			 bool may_be_wrong)
{
	size_t durable = 0, i, moment, try;

	for (moment = 0; moment <= nr_ops; moment++) {
		if (moment && !ops[moment - 1].len)
			durable = moment;
		for (try = 0; try < (durable == moment ? 1 : TRIES); try++) {
			struct bytes state = { malloc(before->len), before->len };

			memcpy(state.data, before->data, before->len);
			for (i = 0; i < moment; i++)
				apply(&state, &ops[i], i >= durable);
			check_state(before, &state, corruptions, leaks, may_be_wrong);
			free(state.data);
		}
	}
}

/* The image "image", whose disk reads as "content". */
static void check_repair(bool may_be_wrong)
{
	struct verdict v = judge("image", false);
	struct bytes before;

	assert_true(v.corruptions || v.leaks || v.dirty);
	read_bytes(&before, "image");
	recording = true;
	judge("image", true);
	recording = false;
	assert_true(nr_ops > 0);
	shell("qemu-img check -q -f qcow2 image");
	shell("qemu-img compare -q -f qcow2 -F raw image content");
	check_states(&before, v.corruptions, v.leaks, may_be_wrong);
	free(before.data);
	forget();
}

/* --- images that need it --------------------------------------------------------------------- */

static void make(const char *options, bool snapshot)
{
	char command[512];

	snprintf(command, sizeof(command), "qemu-img create -q -f qcow2 -o %s image 512k", options);
	shell(command);
	shell("qemu-io -f qcow2 -c 'write -P 1 0 100k' -c 'write -c -P 2 128k 64k' -c 'write -P 3 300k 50k' -c 'write -z 400k 16k' image >/dev/null");
	if (!snapshot)
		return;
	shell("qemu-img snapshot -c one image");
	shell("qemu-io -f qcow2 -c 'write -P 4 50k 80k' image >/dev/null");
}

static void keep_content(void)
{
	shell("qemu-img convert -f qcow2 -O raw image content");
}

static void change_block(const struct qcow2_checker *c, uint32_t idx, uint64_t from, uint64_t to)
{
	u32 order = c->image->header.refcount_order, len = c->image->header.cluster_size;
	u64 i, n = qcow2_checker_refcounts(c), first = idx * n;
	uint8_t *block = malloc(len);

	assert_int_equal(pread(c->fd, block, len, c->reftable[idx]), len);
	for (i = 0; i < n && first + i < qcow2_checker_clusters(c); i += 2)
		if (qcow2_refcount_get(block, order, i) == from)
			qcow2_refcount_set(block, order, i, to);
	assert_int_equal(pwrite(c->fd, block, len, c->reftable[idx]), len);
	free(block);
}

/* Set refcounts that are @from to @to, those of even clusters. */
static void change_refcounts(uint64_t from, uint64_t to)
{
	struct qcow2_checker c = { };
	struct qcow2_layer layer;
	struct qcow2_error err;

	open_layer(&layer, "image");
	assert_int_equal(qcow2_repair_check(&layer, &c, &err), 0);
	for (uint32_t i = 0; i < c.reftable_entries; i++)
		if (c.reftable[i])
			change_block(&c, i, from, to);
	qcow2_checker_free(&c);
	close_layer(&layer);
}

/* Clusters at the end of the file that nobody refers to. */
static void leak(const char *options)
{
	make(options, true);
	keep_content();
	shell("truncate -s +64k image");
	change_refcounts(0, 1);
	check_repair(false);
}

static void test_leaks(void **state)
{
	leak("cluster_size=4k");
	leak("cluster_size=4k,refcount_bits=8");
	leak("cluster_size=1k,refcount_bits=64");
	leak("cluster_size=4k,compat=0.10");
}

/* A snapshot that is gone, but its references are not: flags change with the refcounts. */
static void test_lowered(void **state)
{
	static const size_t nb_snapshots = offsetof(struct qcow2_disk_header, nb_snapshots);
	struct bytes image;

	make("cluster_size=4k", true);
	keep_content();
	read_bytes(&image, "image");
	memset(image.data + nb_snapshots, 0, sizeof(__be32));
	write_bytes(&image, "image");
	free(image.data);
	assert_int_equal(judge("image", false).corruptions, 0);
	check_repair(false);
}

static void test_too_low(void **state)
{
	make("cluster_size=4k", true);
	keep_content();
	change_refcounts(1, 0);
	change_refcounts(2, 1);
	check_repair(false);
}

static void test_too_low_version_2(void **state)
{
	make("cluster_size=4k,compat=0.10", true);
	keep_content();
	change_refcounts(1, 0);
	check_repair(true);
}

static void test_dirty(void **state)
{
	static const char *const options[] = {
		"cluster_size=512", "cluster_size=512,refcount_bits=1",
		"cluster_size=512,refcount_bits=64", "cluster_size=4k", "cluster_size=64k",
	};

	for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++) {
		char command[256];

		snprintf(command, sizeof(command),
			 "qemu-img create -q -f qcow2 -o lazy_refcounts=on,%s image 512k",
			 options[i]);
		shell(command);
		shell("qemu-io -f qcow2 -c 'write -P 1 0 100k' -c 'write -P 2 200k 50k' -c flush -c abort image >/dev/null 2>&1; true");
		keep_content();
		assert_true(judge("image", false).dirty);
		check_repair(false);
	}
}

/* No refcount block at all. */
static void test_no_refcounts(void **state)
{
	const __be64 none = 0;
	struct qcow2_layer layer;

	make("cluster_size=512,refcount_bits=64", true);
	keep_content();
	open_layer(&layer, "image");
	for (int i = 0; i < 64; i++)
		pwrite(layer.fd, &none, sizeof(none),
		       layer.image.header.refcount_table_offset + i * sizeof(none));
	close_layer(&layer);
	check_repair(false);
}

static int make_dir(void **state)
{
	strcpy(dir, "/tmp/test_repair.XXXXXX");
	return !mkdtemp(dir) || chdir(dir) ? -1 : 0;
}

static int remove_dir(void **state)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_leaks),
		cmocka_unit_test(test_lowered),
		cmocka_unit_test(test_too_low),
		cmocka_unit_test(test_too_low_version_2),
		cmocka_unit_test(test_dirty),
		cmocka_unit_test(test_no_refcounts),
	};

	return cmocka_run_group_tests_name("repair", tests, make_dir, remove_dir);
}
