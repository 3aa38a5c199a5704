// SPDX-License-Identifier: GPL-2.0-or-later
/* Refcounts of every width, and entries of the refcount table. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>

#include "qcow2_format.h"

static const uint64_t max[] = { 1, 3, 15, 255, 65535, UINT32_MAX, UINT64_MAX };

static void largest_of_each_width(void **state)
{
	uint32_t order;

	(void)state;
	for (order = 0; order <= QCOW2_MAX_REFCOUNT_ORDER; order++)
		assert_true(qcow2_refcount_max(order) == max[order]);
}

/* Whatever is set reads back, and its neighbours stay what they were. */
static void set_touches_one(void **state)
{
	uint64_t block[64], before;
	uint32_t order, i, j, n;

	(void)state;
	for (order = 0; order <= QCOW2_MAX_REFCOUNT_ORDER; order++) {
		n = sizeof(block) * 8 >> order;
		for (i = 0; i < n; i++) {
			memset(block, i % 2 ? 0xff : 0, sizeof(block));
			before = i % 2 ? max[order] : 0;
			qcow2_refcount_set(block, order, i, max[order] - before);
			for (j = 0; j < n; j++)
				assert_true(qcow2_refcount_get(block, order, j) ==
					    (j == i ? max[order] - before : before));
		}
	}
}

/* Section "Refcounts": wide ones are big endian, narrow ones begin at the lowest bit. */
static void layout(void **state)
{
	uint8_t block[16] = { 0 };

	(void)state;
	qcow2_refcount_set(block, 0, 1, 1);
	assert_int_equal(block[0], 0x02);
	qcow2_refcount_set(block, 1, 5, 2);
	assert_int_equal(block[1], 0x08);
	qcow2_refcount_set(block, 2, 5, 0xa);
	assert_int_equal(block[2], 0xa0);
	qcow2_refcount_set(block, 3, 3, 0x12);
	assert_int_equal(block[3], 0x12);
	qcow2_refcount_set(block, 4, 2, 0x1234);
	assert_int_equal(block[4], 0x12);
	assert_int_equal(block[5], 0x34);
	qcow2_refcount_set(block, 5, 2, 0x12345678);
	assert_int_equal(block[8], 0x12);
	assert_int_equal(block[11], 0x78);
	qcow2_refcount_set(block, 6, 1, 0x123456789abcdef0);
	assert_int_equal(block[8], 0x12);
	assert_int_equal(block[15], 0xf0);
}

static void table_entries(void **state)
{
	const struct qcow2_header h = { .cluster_bits = 16, .cluster_size = 65536 };
	struct qcow2_fault fault;
	u64 off;

	(void)state;
	assert_int_equal(qcow2_reftable_decode(&h, 0, &off, &fault), 0);
	assert_true(off == 0);
	assert_int_equal(qcow2_reftable_decode(&h, 0x8000000000030000, &off, &fault), 0);
	assert_true(off == 0x8000000000030000);
	assert_int_equal(qcow2_reftable_decode(&h, 0x30001, &off, &fault), -EINVAL);
	assert_string_equal(fault.sentence, "refcount table entry has reserved bits set");
	assert_int_equal(qcow2_reftable_decode(&h, 0x30100, &off, &fault), -EINVAL);
	assert_int_equal(qcow2_reftable_decode(&h, 0x30200, &off, &fault), -EINVAL);
	assert_string_equal(fault.sentence,
			    "refcount block offset is not a multiple of the cluster size");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(largest_of_each_width),
		cmocka_unit_test(set_touches_one),
		cmocka_unit_test(layout),
		cmocka_unit_test(table_entries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
