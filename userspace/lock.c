// SPDX-License-Identifier: GPL-2.0-or-later
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define BYTE_HELD	100
#define BYTE_UNSHARED	200
#define NR_PERMS	4

const struct qcow2_lock_mode qcow2_lock_reader = {
	.held = QCOW2_PERM_CONSISTENT_READ,
	.unshared = QCOW2_PERM_WRITE | QCOW2_PERM_RESIZE,
	.otherwise = "",
};

const struct qcow2_lock_mode qcow2_lock_writer = {
	.held = QCOW2_PERM_CONSISTENT_READ | QCOW2_PERM_WRITE | QCOW2_PERM_RESIZE,
	.unshared = QCOW2_PERM_WRITE | QCOW2_PERM_RESIZE,
	.otherwise = ", or attach it with -r",
};

const struct qcow2_lock_mode qcow2_lock_repairer = {
	.held = QCOW2_PERM_CONSISTENT_READ | QCOW2_PERM_WRITE | QCOW2_PERM_RESIZE,
	.unshared = QCOW2_PERM_WRITE | QCOW2_PERM_RESIZE,
	.otherwise = "",
};

static int in_use(const char *file, const char *how, const char *otherwise,
		  struct qcow2_error *err)
{
	return qcow2_error_set(err, QCOW2_EXIT_FAILED, file,
			       "in use by another process (a VM?) that %s; stop that first%s",
			       how, otherwise);
}

static int no_locks(const char *file, int error, struct qcow2_error *err)
{
	return qcow2_error_set(err, QCOW2_EXIT_FAILED, file,
			       "its file system cannot lock it (%s), so a VM could write it while it is attached; copy it to a local file system",
			       strerror(error));
}

static int take(int fd, const char *file, off_t byte, struct qcow2_error *err)
{
	struct flock lock = {
		.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1,
	};

	if (!fcntl(fd, F_OFD_SETLK, &lock))
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return in_use(file, "has locked it", "", err);
	return no_locks(file, errno, err);
}

static int test(int fd, const char *file, off_t byte, const char *how, const char *otherwise,
		struct qcow2_error *err)
{
	struct flock lock = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1,
	};

	if (fcntl(fd, F_OFD_GETLK, &lock))
		return no_locks(file, errno, err);
	return lock.l_type == F_UNLCK ? 0 : in_use(file, how, otherwise, err);
}

int qcow2_lock_join(int fd, const char *file, const struct qcow2_lock_mode *mode,
		    struct qcow2_error *err)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; i < NR_PERMS && !ret; i++)
		if (mode->held & (1U << i))
			ret = take(fd, file, BYTE_HELD + i, err);
	for (i = 0; i < NR_PERMS && !ret; i++)
		if (mode->unshared & (1U << i))
			ret = take(fd, file, BYTE_UNSHARED + i, err);
	return ret;
}

int qcow2_lock_take(int fd, const char *file, const struct qcow2_lock_mode *mode,
		    struct qcow2_error *err)
{
	static const char *const refusals[NR_PERMS] = {
		"allows no other to read it",
		"allows no other to write it",
		"allows no other to write it",
		"allows no other to resize it",
	};
	unsigned int i;
	int ret = qcow2_lock_join(fd, file, mode, err);

	/* A writer holds and unshares: say that it writes, which tells more. */
	for (i = 0; i < NR_PERMS && !ret; i++)
		if (mode->unshared & (1U << i))
			ret = test(fd, file, BYTE_HELD + i, "writes it", "", err);
	for (i = 0; i < NR_PERMS && !ret; i++)
		if (mode->held & (1U << i))
			ret = test(fd, file, BYTE_UNSHARED + i, refusals[i],
				   i ? mode->otherwise : "", err);
	return ret;
}

static void give_up(int fd, off_t byte)
{
	struct flock lock = {
		.l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1,
	};

	fcntl(fd, F_OFD_SETLK, &lock);
}

void qcow2_lock_downgrade(int fd, const struct qcow2_lock_mode *mode)
{
	unsigned int i;

	for (i = 0; i < NR_PERMS; i++) {
		if (!(mode->held & (1U << i)))
			give_up(fd, BYTE_HELD + i);
		if (!(mode->unshared & (1U << i)))
			give_up(fd, BYTE_UNSHARED + i);
	}
}

void qcow2_lock_release(int fd)
{
	struct flock lock = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

	fcntl(fd, F_OFD_SETLK, &lock);
}
