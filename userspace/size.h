/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sizes on the command line. */
#ifndef QCOW2CTL_SIZE_H
#define QCOW2CTL_SIZE_H

#include <stdbool.h>
#include <stdint.h>

/**
 * qcow2_size_parse() - read a size
 * @text: digits, and K, M, G or T for powers of 1024, or nothing.
 * @size: (out) bytes.
 *
 * Return: false for anything else, and for what does not fit.
 */
bool qcow2_size_parse(const char *text, uint64_t *size);

#endif /* QCOW2CTL_SIZE_H */
