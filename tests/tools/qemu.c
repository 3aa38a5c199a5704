// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "qemu.h"
#include "rig.h"

#define MANY	600

/* Read all, keep the beginning. */
static void listen_to(int fd, char *said)
{
	size_t have = 0;
	char rest[4096];
	ssize_t len;

	for (;;) {
		if (have < QEMU_SAID - 1)
			len = read(fd, said + have, QEMU_SAID - 1 - have);
		else
			len = read(fd, rest, sizeof(rest));
		if (len < 0 && errno == EINTR)
			continue;
		if (len <= 0)
			break;
		if (have < QEMU_SAID - 1)
			have += len;
	}
	said[have] = '\0';
}

int qemu_run(int dir, const char *const argv[], char *said)
{
	posix_spawn_file_actions_t actions;
	int status = -1, pipe[2], err;
	pid_t pid;

	if (pipe2(pipe, O_CLOEXEC))
		die("no pipe: %m");
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addfchdir_np(&actions, dir);
	posix_spawn_file_actions_adddup2(&actions, pipe[1], 1);
	posix_spawn_file_actions_adddup2(&actions, pipe[1], 2);
	err = posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(pipe[1]);
	if (err)
		die("%s: %s", argv[0], strerror(err));
	listen_to(pipe[0], said);
	close(pipe[0]);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 256;
}

const char *qemu_spec(const char *file, char *spec)
{
	snprintf(spec, QEMU_SPEC, "driver=qcow2,encrypt.key-secret=s,file.filename=%s", file);
	return spec;
}

bool qemu_check(int dir, const char *file, bool leaks, char *said)
{
	char spec[QEMU_SPEC];
	int status = qemu_run(dir, (const char *[]){ "qemu-img", "check", "--object", QEMU_SECRET,
						     "--image-opts", qemu_spec(file, spec),
						     NULL }, said);
	size_t len = strlen(said);

	/* A line for each cluster, then the sum: the end says enough. */
	if (len > MANY)
		memmove(said, said + len - MANY, MANY + 1);
	return !status || (status == 3 && leaks);
}

/* A run of clusters of one kind; whether they have a place in a file, not which. */
struct run {
	uint64_t start;
	uint64_t len;
	int depth;
	bool is_data;
	bool is_zero;
	bool has_place;
};

static bool parse_run(const char *line, struct run *run)
{
	const char *depth = strstr(line, "\"depth\": ");

	if (sscanf(line, "%*[[ ]{ \"start\": %" SCNu64 ", \"length\": %" SCNu64, &run->start,
		   &run->len) != 2 &&
	    sscanf(line, "{ \"start\": %" SCNu64 ", \"length\": %" SCNu64, &run->start,
		   &run->len) != 2)
		return false;
	run->is_data = strstr(line, "\"data\": true");
	/* A hole in the file makes zeros of data. */
	run->is_zero = !run->is_data && strstr(line, "\"zero\": true");
	run->has_place = strstr(line, "\"offset\": ");
	/* In which layer there is nothing does not matter. */
	run->depth = depth && run->has_place ? atoi(depth + 9) : 0;
	return true;
}

static bool is_alike(const struct run *a, const struct run *b)
{
	return a->depth == b->depth && a->is_data == b->is_data && a->is_zero == b->is_zero &&
	       a->has_place == b->has_place;
}

static char *print_run(char *to, const struct run *run)
{
	if (!run->len)
		return to;
	return to + sprintf(to, "%" PRIu64 "+%" PRIu64 " layer %d%s%s%s\n", run->start, run->len,
			    run->depth, run->is_data ? " data" : "", run->is_zero ? " zero" : "",
			    run->has_place ? " allocated" : "");
}

void qemu_normalize_map(char *map)
{
	struct run last = { 0 }, run;
	char *to = map, *rest, *line;

	for (line = strtok_r(map, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		if (!parse_run(line, &run))
			continue;
		if (last.len && is_alike(&last, &run)) {
			last.len += run.len;
			continue;
		}
		to = print_run(to, &last);
		last = run;
	}
	*print_run(to, &last) = '\0';
}
