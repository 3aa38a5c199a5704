/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A file that takes the space of its file system. */
#ifndef TEST_FILLER_H
#define TEST_FILLER_H

#include <stdint.h>

/* All the space that there is, and then @room bytes less: see openat(). Dies if it cannot. */
void filler_leave(int dir, const char *file, uint64_t room);

#endif
