/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Marks in the log of recfs, or of dm-log-writes. See journal.h for what they say. */
#ifndef CRASH_MARKS_H
#define CRASH_MARKS_H

#include <stddef.h>

/* The longest that dm-log-writes takes. */
#define MARK_MAX	448

/* Of a snapshot in a mark. */
#define SNAPSHOT_NAME_MAX	15

/**
 * struct marks - where they go
 * @fd: recfs' file, or the control node of device mapper.
 * @dm: name of the log-writes device, or NULL.
 */
struct marks {
	int fd;
	const char *dm;
};

void marks_open_file(struct marks *m, const char *path);
void marks_open_dm(struct marks *m, const char *name);
void marks_close(struct marks *m);

/* It is in the log when this returns. Dies if it cannot be. Any thread. */
void marks_put(const struct marks *m, const char *text);

#endif
