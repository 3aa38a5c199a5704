/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The log that the dm-log-writes target leaves on its log device. */
#ifndef CRASH_DMLOG_H
#define CRASH_DMLOG_H

#include <stdint.h>

/*
 * Write it out as one of log.h's. Dies if it cannot.
 *
 * The target logs a write only when a flush comes, before that flush; marks at once. So
 * between two flushes all marks stand before all writes: each crash there is judged as
 * the last one, when all marks of that time were made.
 */
void dmlog_convert(const char *device, uint64_t size, const char *path);

#endif
