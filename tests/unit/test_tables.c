// SPDX-License-Identifier: GPL-2.0-or-later
/* kernel/format_tables.c: the bitmaps extension, its directory, its tables; snapshots' L1 tables. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "qcow2_format.h"

#define FILE_SIZE	(64ULL << 16)

static const struct qcow2_header h = {
	.version = 3, .cluster_bits = 16, .cluster_size = 65536, .size = 1 << 30,
	.bitmaps = { .off = 8, .len = 24 }, .autoclear_features = QCOW2_AUTOCLEAR_BITMAPS,
};

static struct qcow2_fault fault;

static void assert_fault(int err, const char *sentence)
{
	assert_int_equal(err, sentence ? -EINVAL : 0);
	if (sentence)
		assert_string_equal(fault.sentence, sentence);
}

static void test_extension(void **state)
{
	static const struct {
		struct qcow2_bitmaps b;
		uint32_t reserved;
		const char *sentence;
	} cases[] = {
		{ { 1, 32, 65536 }, 0, NULL },
		{ { 65535, FILE_SIZE - 65536, 65536 }, 0, NULL },
		{ { 1, 32, 65536 }, 1, "bitmaps extension has reserved bits set" },
		{ { 0, 32, 65536 }, 0, "nb_bitmaps is zero, but there is a bitmaps extension" },
		{ { 65536, 32, 65536 }, 0, "nb_bitmaps is too big: 65535 are the most" },
		{ { 1, 0, 65536 }, 0, "bitmap_directory_size is out of range: 1 to 67107840 bytes (65535 KiB) are valid" },
		{ { 1, 67107841, 65536 }, 0, "bitmap_directory_size is out of range: 1 to 67107840 bytes (65535 KiB) are valid" },
		{ { 1, 32, 0 }, 0, "bitmap_directory_offset is not a multiple of the cluster size" },
		{ { 1, 32, 65537 }, 0, "bitmap_directory_offset is not a multiple of the cluster size" },
		{ { 1, 32, FILE_SIZE }, 0, "bitmap_directory_offset puts the bitmap directory past the end of the file" },
		{ { 1, 32, -65536ULL }, 0, "bitmap_directory_offset puts the bitmap directory past the end of the file" },
		{ { 1, FILE_SIZE - 65535, 65536 }, 0, "bitmap_directory_offset puts the bitmap directory past the end of the file" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct qcow2_disk_bitmaps d = {
			htobe32(cases[i].b.nb_bitmaps), htobe32(cases[i].reserved),
			htobe64(cases[i].b.directory_size), htobe64(cases[i].b.directory_offset),
		};
		struct qcow2_bitmaps b;
		char buf[32];

		memcpy(buf + 8, &d, sizeof(d));
		assert_fault(qcow2_bitmaps_parse(buf, &h, FILE_SIZE, &b, &fault),
			     cases[i].sentence);
		if (cases[i].sentence)
			continue;
		assert_int_equal(b.nb_bitmaps, cases[i].b.nb_bitmaps);
		assert_int_equal(b.directory_size, cases[i].b.directory_size);
		assert_int_equal(b.directory_offset, cases[i].b.directory_offset);
	}
}

/* A bitmap of 2^30 bytes, 64 KiB a bit, takes 2 KiB: one cluster. */
static const struct qcow2_disk_bitmap good = {
	.type = 1, .granularity_bits = 16,
};

struct directory {
	struct qcow2_disk_bitmap entry;
	char rest[40];
};

static void assert_entry(const struct qcow2_disk_bitmap *d, size_t len, const char *sentence)
{
	struct directory *directory = malloc(len);	/* ASan sees reads beyond */
	struct qcow2_bitmap_entry e;

	memset(directory, 'n', len);
	memcpy(directory, d, len < sizeof(*d) ? len : sizeof(*d));
	assert_fault(qcow2_bitmap_parse(&h, directory, len, &e, &fault), sentence);
	free(directory);
}

static void test_directory_entry(void **state)
{
	struct qcow2_disk_bitmap d = good;
	struct qcow2_bitmap_entry e;
	struct directory directory;

	d.table_offset = htobe64(65536);
	d.table_size = htobe32(1);
	d.name_len = htobe16(3);
	d.extra_len = htobe32(5);
	d.flags = htobe32(QCOW2_BITMAP_AUTO | QCOW2_BITMAP_EXTRA_COMPATIBLE);
	directory.entry = d;
	assert_int_equal(qcow2_bitmap_parse(&h, &directory, sizeof(directory), &e, &fault), 0);
	assert_int_equal(e.table_offset, 65536);
	assert_int_equal(e.table_size, 1);
	assert_int_equal(e.granularity_bits, 16);
	assert_int_equal(e.name_off, 29);
	assert_int_equal(e.name_len, 3);
	assert_int_equal(e.entry_len, 32);

	for (size_t len = 0; len < 24; len++)
		assert_entry(&d, len, "bitmap directory ends within an entry");
	for (size_t len = 24; len < 32; len++)
		assert_entry(&d, len, "bitmap directory entry's length reaches past the end of the directory");
	assert_entry(&d, 32, NULL);

#define WITH(change, sentence) do { \
		struct qcow2_disk_bitmap was = d; \
		d.change; \
		assert_entry(&d, 64, sentence); \
		d = was; \
	} while (0)
	WITH(extra_len = 0xffffffff, "bitmap directory entry's length reaches past the end of the directory");
	WITH(flags = htobe32(8), "bitmap's flags has reserved bits set");
	WITH(type = 0, "bitmap's type is not known: 1 (dirty tracking) is");
	WITH(granularity_bits = 8, "bitmap's granularity_bits is out of range: 9 (512 bytes) to 31 (2 GiB) are valid");
	WITH(granularity_bits = 32, "bitmap's granularity_bits is out of range: 9 (512 bytes) to 31 (2 GiB) are valid");
	WITH(granularity_bits = 31, NULL);
	WITH(name_len = 0, "bitmap's name_size is out of range: 1 to 1023 bytes are valid");
	WITH(table_offset = 0, "bitmap_table_offset is not a multiple of the cluster size");
	WITH(table_offset = htobe64(65536 + 512), "bitmap_table_offset is not a multiple of the cluster size");
	WITH(table_size = 0, "bitmap_table_size is out of range: a bitmap takes 512 MiB at most");
	WITH(table_size = htobe32(8193), "bitmap_table_size is out of range: a bitmap takes 512 MiB at most");
	/* 512 bytes a bit: 2^21 bits, 4 clusters */
	WITH(granularity_bits = 9, "bitmap_table_size is too small for the size of the disk");
	d.granularity_bits = 9;
	WITH(flags = htobe32(QCOW2_BITMAP_IN_USE), NULL);
	WITH(table_size = htobe32(4), NULL);
	WITH(table_size = htobe32(3), "bitmap_table_size is too small for the size of the disk");
}

static void test_table_entry(void **state)
{
	static const struct {
		u64 entry, off;
		bool ones;
		const char *sentence;
	} cases[] = {
		{ 0, 0, false, NULL }, { 1, 0, true, NULL }, { 65536, 65536, false, NULL },
		{ 0xffffffffff0000, 0xffffffffff0000, false, NULL },
		{ 65537, 65536, false, "bitmap table entry has reserved bits set" },
		{ 2, 0, false, "bitmap table entry has reserved bits set" },
		{ 1ULL << 56, 0, false, "bitmap table entry has reserved bits set" },
		{ 1ULL << 63, 0, false, "bitmap table entry has reserved bits set" },
		{ 65536 + 512, 65536 + 512, false, "bitmap cluster offset is not a multiple of the cluster size" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		bool ones;
		u64 off;

		assert_fault(qcow2_bitmap_decode(&h, cases[i].entry, &off, &ones, &fault),
			     cases[i].sentence);
		assert_int_equal(off, cases[i].off);
		if (!cases[i].sentence)
			assert_int_equal(ones, cases[i].ones);
	}
}

/* A cluster of bits for 512 bytes tells of 256 MiB, if it has 64 KiB. */
static void test_bitmap_size(void **state)
{
	const u64 full = 256ULL << 20;

	assert_int_equal(qcow2_bitmap_bits(0, 9), 0);
	assert_int_equal(qcow2_bitmap_bits(512, 9), 1);
	assert_int_equal(qcow2_bitmap_bits(513, 9), 2);
	assert_int_equal(qcow2_bitmap_bits((1ULL << 63) - 512, 31), 1ULL << 32);
	assert_int_equal(qcow2_bitmap_table_size(&h, 512, 9), 1);
	assert_int_equal(qcow2_bitmap_table_size(&h, full, 9), 1);
	assert_int_equal(qcow2_bitmap_table_size(&h, full + 512, 9), 2);
	assert_int_equal(qcow2_bitmap_table_size(&h, full << 7, 16), 1);
	assert_int_equal(qcow2_bitmap_table_size(&h, (1ULL << 63) - 512, 31), 8192);
}

static void test_snapshot_l1(void **state)
{
	assert_fault(qcow2_snapshot_check_l1(&h, 0, 0, FILE_SIZE, &fault), NULL);
	assert_fault(qcow2_snapshot_check_l1(&h, FILE_SIZE - 65536, 8192, FILE_SIZE, &fault), NULL);
	assert_fault(qcow2_snapshot_check_l1(&h, FILE_SIZE - 65536, 8193, FILE_SIZE, &fault),
		     "snapshot's l1_table_offset puts the L1 table past the end of the file");
	assert_fault(qcow2_snapshot_check_l1(&h, -65536ULL, 8193, FILE_SIZE, &fault),
		     "snapshot's l1_table_offset puts the L1 table past the end of the file");
	assert_fault(qcow2_snapshot_check_l1(&h, 8, 1, FILE_SIZE, &fault),
		     "snapshot's l1_table_offset is not a multiple of the cluster size");
	assert_fault(qcow2_snapshot_check_l1(&h, 65536, (4 << 20) + 1, 1ULL << 40, &fault),
		     "snapshot's l1_size is too big: 4194304 entries (32 MiB) are the most");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_extension),
		cmocka_unit_test(test_directory_entry),
		cmocka_unit_test(test_table_entry),
		cmocka_unit_test(test_bitmap_size),
		cmocka_unit_test(test_snapshot_l1),
	};

	return cmocka_run_group_tests_name("tables", tests, NULL, NULL);
}
