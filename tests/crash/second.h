/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A second opinion: qemu-img of the same state. */
#ifndef CRASH_SECOND_H
#define CRASH_SECOND_H

#include "judge.h"

/*
 * These return false, with j->words, if qemu-img sees it differently. @path: a scratch file.
 * @base: what lies below, raw, or NULL.
 */
bool second_check(struct judge *j, const char *path, const char *base);
bool second_convert(struct judge *j, const char *path, const char *base);

#endif
