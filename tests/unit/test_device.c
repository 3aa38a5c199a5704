// SPDX-License-Identifier: GPL-2.0-or-later
/* userspace/device.c: which file belongs to a device, and what its JSON says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>
#include <sys/sysmacros.h>

#include "device.h"

static struct qcow2_nl_device device = {
	.index = 3,
	.nr_layers = 2,
	.layers = { { .ino = 10, .path = "/top" }, { .ino = 20, .path = "/base" } },
};

static int set_up(void **state)
{
	device.layers[0].dev = makedev(8, 1);
	device.layers[1].dev = makedev(8, 2);
	return 0;
}

static void test_layers(void **state)
{
	const struct stat top = { .st_dev = makedev(8, 1), .st_ino = 10 };
	const struct stat base = { .st_dev = makedev(8, 2), .st_ino = 20 };
	const struct stat other = { .st_dev = makedev(8, 2), .st_ino = 10 };

	assert_true(qcow2_device_is_of(&device, &top) && qcow2_device_has(&device, &top));
	assert_true(!qcow2_device_is_of(&device, &base) && qcow2_device_has(&device, &base));
	assert_true(!qcow2_device_is_of(&device, &other) && !qcow2_device_has(&device, &other));
}

static struct json_object *member(struct json_object *o, const char *key)
{
	struct json_object *value;

	if (!json_object_object_get_ex(o, key, &value))
		fail_msg("there is no \"%s\" in %s", key, json_object_to_json_string(o));
	return value;
}

static void assert_flags(uint32_t flags, int read_only, int stopped, const char *discard,
			 int partscan)
{
	struct json_object *o;

	device.flags = flags;
	o = qcow2_device_json(&device);
	assert_int_equal(json_object_get_boolean(member(o, "read-only")), read_only);
	assert_int_equal(json_object_get_boolean(member(o, "stopped")), stopped);
	assert_string_equal(json_object_get_string(member(o, "discard")), discard);
	assert_int_equal(json_object_get_boolean(member(o, "partscan")), partscan);
	json_object_put(o);
}

static void test_flags(void **state)
{
	assert_flags(0, 0, 0, "unmap", 1);
	assert_flags(QCOW2BLK_F_READ_ONLY, 1, 0, "unmap", 1);
	assert_flags(QCOW2BLK_F_STOPPED, 0, 1, "unmap", 1);
	assert_flags(QCOW2BLK_F_NO_DISCARD, 0, 0, "ignore", 1);
	assert_flags(QCOW2BLK_F_NO_PARTSCAN, 0, 0, "unmap", 0);
}

static void test_commit(void **state)
{
	struct json_object *o = qcow2_device_json(&device), *commit;

	assert_false(json_object_object_get_ex(o, "commit", NULL));
	json_object_put(o);
	device.commit = (struct qcow2_nl_commit) {
		.state = QCOW2_NL_COMMIT_RUNNING, .done = 5, .total = 7,
	};
	o = qcow2_device_json(&device);
	commit = member(o, "commit");
	assert_string_equal(json_object_get_string(member(commit, "state")), "running");
	assert_int_equal(json_object_get_int(member(commit, "done")), 5);
	assert_int_equal(json_object_get_int(member(commit, "total")), 7);
	assert_false(json_object_object_get_ex(commit, "error", NULL));
	json_object_put(o);

	device.commit.state = QCOW2_NL_COMMIT_FAILED;
	device.commit.error = ENOSPC;
	o = qcow2_device_json(&device);
	commit = member(o, "commit");
	assert_string_equal(json_object_get_string(member(commit, "state")), "failed");
	assert_string_equal(json_object_get_string(member(commit, "error")), strerror(ENOSPC));
	json_object_put(o);
}

/* Every counter of the protocol has a name of its own. */
static void test_stats(void **state)
{
	bool seen[QCOW2BLK_A_STAT_MAX + 1] = { };
	struct json_object *o, *stats;
	unsigned int i, count = 0;

	for (i = QCOW2BLK_A_STAT_REQUESTS; i <= QCOW2BLK_A_STAT_MAX; i++)
		device.stats[i] = i;
	o = qcow2_device_json(&device);
	stats = member(o, "stats");
	json_object_object_foreach(stats, name, value) {
		assert_non_null(name);
		i = json_object_get_int(value);
		assert_in_range(i, QCOW2BLK_A_STAT_REQUESTS, QCOW2BLK_A_STAT_MAX);
		assert_false(seen[i]);
		seen[i] = true;
		count++;
	}
	assert_int_equal(count, QCOW2BLK_A_STAT_MAX - QCOW2BLK_A_STAT_PAD);
	assert_int_equal(json_object_get_int(member(stats, "requests")), QCOW2BLK_A_STAT_REQUESTS);
	assert_int_equal(json_object_get_int(member(stats, "file-writes")),
			 QCOW2BLK_A_STAT_FILE_WRITES);
	assert_int_equal(json_object_get_int(member(stats, "fsyncs")), QCOW2BLK_A_STAT_FSYNCS);
	json_object_put(o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layers),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_commit),
		cmocka_unit_test(test_stats),
	};

	return cmocka_run_group_tests_name("device", tests, set_up, NULL);
}
