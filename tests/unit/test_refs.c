// SPDX-License-Identifier: GPL-2.0-or-later
/* userspace/refs.c: counts of every size, uses that agree and that do not, a file mostly of holes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "refs.h"

#define END	(1ULL << 40)

static struct qcow2_refs *refs;

static int make_refs(void **state)
{
	refs = qcow2_refs_new(END);
	return 0;
}

static int free_refs(void **state)
{
	qcow2_refs_free(refs);
	return 0;
}

static void test_counts(void **state)
{
	static const uint64_t times[] = { 1, 2046, 2047, 2048, 65535, 1ULL << 40, UINT64_MAX };

	for (size_t i = 0; i < sizeof(times) / sizeof(*times); i++) {
		uint64_t cluster = i * 100000;

		assert_int_equal(qcow2_refs_add(refs, cluster, QCOW2_USE_DATA, times[i]), 0);
		assert_true(qcow2_refs_count(refs, cluster) == times[i]);
		assert_int_equal(qcow2_refs_add(refs, cluster, QCOW2_USE_DATA, 1), 0);
		assert_true(qcow2_refs_count(refs, cluster) ==
			    (times[i] == UINT64_MAX ? times[i] : times[i] + 1));
		assert_false(qcow2_refs_is_mixed(refs, cluster));
		assert_int_equal(qcow2_refs_count(refs, cluster + 1), 0);
	}
	assert_int_equal(qcow2_refs_count(refs, END - 1), 0);
}

/* One by one over the border between the two places where a count lies. */
static void test_step_by_step(void **state)
{
	for (uint64_t i = 1; i < 5000; i++) {
		assert_int_equal(qcow2_refs_add(refs, 7, QCOW2_USE_COMPRESSED, 1), 0);
		assert_int_equal(qcow2_refs_count(refs, 7), i);
	}
}

static void test_many_odd_ones(void **state)
{
	for (uint64_t i = 0; i < 20000; i++)
		qcow2_refs_add(refs, i * 31, QCOW2_USE_DATA, 3000 + i);
	for (uint64_t i = 0; i < 20000; i++)
		assert_int_equal(qcow2_refs_count(refs, i * 31), 3000 + i);
}

static void test_single(void **state)
{
	qcow2_refs_set_single(refs, 5);
	qcow2_refs_add(refs, 5, QCOW2_USE_L1, 1);
	qcow2_refs_add(refs, 6, QCOW2_USE_DATA, 3000);
	qcow2_refs_set_single(refs, 6);
	qcow2_refs_add(refs, 6, QCOW2_USE_DATA, 1);
	assert_true(qcow2_refs_is_single(refs, 5));
	assert_true(qcow2_refs_is_single(refs, 6));
	assert_false(qcow2_refs_is_single(refs, 7));
	assert_int_equal(qcow2_refs_count(refs, 6), 3001);
}

static void test_uses_that_agree(void **state)
{
	bool active;

	assert_int_equal(qcow2_refs_add(refs, 1, QCOW2_USE_L2_ACTIVE, 1), 0);
	assert_int_equal(qcow2_refs_add(refs, 1, QCOW2_USE_L2, 1), 0);
	assert_int_equal(qcow2_refs_l2(refs, 1, &active), 2);
	assert_true(active);
	assert_int_equal(qcow2_refs_add(refs, 2, QCOW2_USE_L2, 5000), 0);
	assert_int_equal(qcow2_refs_l2(refs, 2, &active), 5000);
	assert_false(active);
	assert_int_equal(qcow2_refs_add(refs, 2, QCOW2_USE_L2_ACTIVE, 1), 0);
	assert_int_equal(qcow2_refs_l2(refs, 2, &active), 5001);
	assert_true(active);
	assert_false(qcow2_refs_is_mixed(refs, 2));
	assert_int_equal(qcow2_refs_add(refs, 3, QCOW2_USE_DATA, 1), 0);
	assert_int_equal(qcow2_refs_l2(refs, 3, &active), 0);
}

/* Each contradiction is told once, with what was there before; all references count. */
static void test_uses_that_do_not(void **state)
{
	bool active;

	assert_int_equal(qcow2_refs_add(refs, 1, QCOW2_USE_L1, 1), 0);
	assert_int_equal(qcow2_refs_add(refs, 1, QCOW2_USE_L1, 1), QCOW2_USE_L1);
	assert_int_equal(qcow2_refs_add(refs, 1, QCOW2_USE_L1, 1), 0);
	assert_int_equal(qcow2_refs_count(refs, 1), 3);
	assert_true(qcow2_refs_is_mixed(refs, 1));

	assert_int_equal(qcow2_refs_add(refs, 2, QCOW2_USE_L2, 3), 0);
	assert_int_equal(qcow2_refs_add(refs, 2, QCOW2_USE_DATA, 4), QCOW2_USE_L2);
	assert_int_equal(qcow2_refs_add(refs, 2, QCOW2_USE_L2_ACTIVE, 1), 0);
	assert_int_equal(qcow2_refs_count(refs, 2), 8);
	assert_int_equal(qcow2_refs_l2(refs, 2, &active), 4);
	assert_true(active);

	assert_int_equal(qcow2_refs_add(refs, 3, QCOW2_USE_DATA, 1), 0);
	assert_int_equal(qcow2_refs_add(refs, 3, QCOW2_USE_COMPRESSED, 1), QCOW2_USE_DATA);
}

static void test_next(void **state)
{
	static const uint64_t used[] = { 3, 4, 32767, 32768, 1000000, END - 1 };
	uint64_t cluster = 0;

	assert_true(qcow2_refs_next(refs, 0) == UINT64_MAX);
	qcow2_refs_set_single(refs, 77);	/* a refcount is no reference */
	for (size_t i = 0; i < sizeof(used) / sizeof(*used); i++)
		qcow2_refs_add(refs, used[i], QCOW2_USE_DATA, i % 2 ? 1 : 9999);
	for (size_t i = 0; i < sizeof(used) / sizeof(*used); i++) {
		cluster = qcow2_refs_next(refs, cluster);
		assert_true(cluster == used[i]);
		cluster++;
	}
	assert_true(qcow2_refs_next(refs, cluster) == UINT64_MAX);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_refs, free_refs)
	const struct CMUnitTest tests[] = {
		TEST(test_counts),
		TEST(test_step_by_step),
		TEST(test_many_odd_ones),
		TEST(test_single),
		TEST(test_uses_that_agree),
		TEST(test_uses_that_do_not),
		TEST(test_next),
	};

	return cmocka_run_group_tests_name("refs", tests, NULL, NULL);
}
