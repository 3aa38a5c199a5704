// SPDX-License-Identifier: GPL-2.0-or-later
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "marks.h"
#include "rig.h"

static int open_or_die(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0)
		die("%s: %m", path);
	return fd;
}

void marks_open_file(struct marks *m, const char *path)
{
	m->fd = open_or_die(path, O_WRONLY);
	m->dm = NULL;
}

void marks_open_dm(struct marks *m, const char *name)
{
	m->fd = open_or_die("/dev/mapper/control", O_RDWR);
	m->dm = name;
}

void marks_close(struct marks *m)
{
	close(m->fd);
}

static int put_dm(const struct marks *m, const char *text)
{
	struct {
		struct dm_ioctl ioctl;
		struct dm_target_msg msg;
		char text[MARK_MAX + 8];
	} request = {
		.ioctl = {
			.version = { DM_VERSION_MAJOR, 0, 0 },
			.data_size = sizeof(request),
			.data_start = offsetof(typeof(request), msg),
		},
	};

	snprintf(request.ioctl.name, sizeof(request.ioctl.name), "%s", m->dm);
	/* The message begins within what the compiler takes for the end of its structure. */
	sprintf((char *)&request + offsetof(typeof(request), msg) +
		offsetof(struct dm_target_msg, message), "mark %s", text);
	return ioctl(m->fd, DM_TARGET_MSG, &request);
}

void marks_put(const struct marks *m, const char *text)
{
	size_t len = strlen(text);

	if (len > MARK_MAX)
		die("a mark of %zu bytes", len);
	if (m->dm ? put_dm(m, text) : write(m->fd, text, len) != (ssize_t)len)
		die("no mark can be made: %m");
}
