// SPDX-License-Identifier: GPL-2.0-or-later
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "qemu.h"
#include "rig.h"
#include "second.h"

/* qemu-img check's exit statuses. */
enum { IMG_GOOD, IMG_ERROR, IMG_CORRUPT, IMG_LEAKS };

/* Run it, without its output. Return: exit status. */
static int spawn(const char *const *argv)
{
	posix_spawn_file_actions_t actions;
	int status;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, 1, 2);
	if (posix_spawnp(&pid, argv[0], &actions, NULL, (char **)argv, environ))
		die("%s cannot be run", argv[0]);
	posix_spawn_file_actions_destroy(&actions);
	if (waitpid(pid, &status, 0) < 0 || !WIFEXITED(status))
		die("%s has crashed", argv[0]);
	return WEXITSTATUS(status);
}

static bool disagree(struct judge *j, const char *what, int status)
{
	snprintf(j->words, sizeof(j->words), "TEST: %s says %d; here: %u corruptions, %u leaks, %s",
		 what, status, j->check.corruptions, j->check.leaks, j->check.what);
	return false;
}

/* The image at @path, with @base below it and its data beside it wherever its header says they are. */
static void spell(const struct judge *j, char *spec, size_t room, const char *path, const char *base)
{
	int len = snprintf(spec, room, "driver=qcow2,encrypt.key-secret=s,file.filename=%s", path);

	if (j->replay.state.data)
		len += snprintf(spec + len, room - len,
				",data-file.driver=file,data-file.filename=%s.data", path);
	if (base)
		snprintf(spec + len, room - len, "%s=%s",
			 ",backing.driver=raw,backing.file.driver=file,backing.file.filename",
			 base);
}

bool second_check(struct judge *j, const char *path, const char *base)
{
	char spec[8192];
	const char *const argv[] = { "qemu-img", "check", "--object", QEMU_SECRET, "--image-opts", spec,
				     NULL };
	bool good;
	int status;

	if (!image_save(&j->replay.state, path))
		die("%s: %m", path);
	spell(j, spec, sizeof(spec), path, base);
	status = spawn(argv);
	image_unlink(&j->replay.state, path);
	/* What is strict here qemu-img may call corrupt, or not open, or like. */
	if (j->check.strict || !j->check.opens)
		return true;
	if (j->check.corruptions)
		good = status == IMG_CORRUPT || status == IMG_ERROR;
	else
		good = status == (j->check.leaks ? IMG_LEAKS : IMG_GOOD);
	return good || disagree(j, "qemu-img check", status);
}

/* Compare the file with what guest_read() found. Return: the first sector that differs, or -1. */
static int64_t compare(struct judge *j, const char *path)
{
	uint64_t sectors = j->check.header.size / SECTOR;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *raw = malloc(sectors * SECTOR + 1);
	int64_t bad = -1;

	if (fd < 0 || !raw || rig_pread(fd, raw, sectors * SECTOR, 0))
		die("%s: %m", path);
	for (uint64_t s = 0; s < sectors && bad < 0; s++) {
		if (memcmp(raw + s * SECTOR, contents[j->guest[s]].data, SECTOR))
			bad = s;
	}
	free(raw);
	close(fd);
	return bad;
}

bool second_convert(struct judge *j, const char *path, const char *base)
{
	char raw[4096], spec[8192];
	const char *const argv[] = { "qemu-img", "convert", "-O", "raw", "--object", QEMU_SECRET,
				     "--image-opts", spec, raw, NULL };
	int64_t bad;
	int status;

	if (!j->check.opens)
		return true;
	snprintf(raw, sizeof(raw), "%s.raw", path);
	if (!image_save(&j->replay.state, path))
		die("%s: %m", path);
	spell(j, spec, sizeof(spec), path, base);
	status = spawn(argv);
	image_unlink(&j->replay.state, path);
	if (status)
		return disagree(j, "qemu-img convert", status);
	bad = compare(j, raw);
	unlink(raw);
	if (bad >= 0)
		snprintf(j->words, sizeof(j->words), "TEST: qemu-img reads sector %lld differently",
			 (long long)bad);
	return bad < 0;
}
