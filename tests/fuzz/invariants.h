/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What must hold of whatever kernel/format.c accepts; shared by both fuzzers. */
#ifndef FUZZ_INVARIANTS_H
#define FUZZ_INVARIANTS_H

#include "qcow2_format.h"

/**
 * exercise_header() - parse the first cluster of an image and check the answer
 * @buf: the first @len bytes of a file.
 * @len: at most the first cluster's.
 * @file_size: bytes in the file.
 * @h: (out) the header.
 *
 * Aborts where format.c breaks its word. Return: true if the header is valid.
 */
bool exercise_header(const void *buf, size_t len, u64 file_size, struct qcow2_header *h);

/* Decode an entry as both kinds and check the answers. @l2_off: as of qcow2_l1_decode(), or 0. */
void exercise_l1_entry(const struct qcow2_header *h, u64 entry, u64 *l2_off);
void exercise_l2_entry(const struct qcow2_header *h, struct qcow2_l2_entry entry);

#endif
