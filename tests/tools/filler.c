// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "filler.h"
#include "rig.h"

void filler_leave(int dir, const char *file, uint64_t room)
{
	int fd = openat(dir, file, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);

	if (size < 0)
		die("%s: %m", file);
	for (off_t step = 16 << 20; step >= 512;) {
		if (!fallocate(fd, 0, size, step))
			size += step;
		else if (errno == ENOSPC)
			step /= 2;
		else
			die("%s: %m", file);
	}
	if ((uint64_t)size < room)
		die("%s: too small to leave so much room", file);
	if (ftruncate(fd, size - room) || fsync(fd))
		die("%s: %m", file);
	close(fd);
}
