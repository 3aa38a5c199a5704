/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Internal snapshots, as they are shown. */
#ifndef QCOW2CTL_SNAPSHOT_H
#define QCOW2CTL_SNAPSHOT_H

#include "image.h"

#include <json-c/json.h>

/**
 * qcow2_snapshot_list_json() - describe snapshots with the keys of qemu-img
 * @snapshots: the table.
 * @count: entries in it.
 *
 * Return: an array, which belongs to the caller.
 */
struct json_object *qcow2_snapshot_list_json(const struct qcow2_snapshot *snapshots,
					     uint32_t count);

/**
 * qcow2_snapshot_list_print() - print snapshots as a table, a heading first
 * @snapshots: the table.
 * @count: entries in it, not 0.
 */
void qcow2_snapshot_list_print(const struct qcow2_snapshot *snapshots, uint32_t count);

/**
 * qcow2_snapshot_change() - create, apply or delete a snapshot, as the user wants it
 * @argc: as in main().
 * @argv: which of them, then options and the other arguments.
 *
 * Return: enum qcow2_exit.
 */
int qcow2_snapshot_change(int argc, char **argv);

#endif /* QCOW2CTL_SNAPSHOT_H */
