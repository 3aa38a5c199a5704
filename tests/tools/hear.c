// SPDX-License-Identifier: GPL-2.0-or-later
/* hear INDEX COMMAND...: run it, and print the device's events meanwhile: TYPE COUNT ERRNO */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "events.h"
#include "rig.h"

int main(int argc, char **argv)
{
	struct events ev;
	int status;
	pid_t pid;

	if (argc < 3)
		die("usage: hear INDEX COMMAND...");
	events_start();
	if (posix_spawnp(&pid, argv[2], NULL, NULL, argv + 2, environ) ||
	    waitpid(pid, &status, 0) < 0)
		die("%s cannot be run", argv[2]);
	events_take(&ev, atoi(argv[1]));
	for (size_t i = 0; i < ARRAY_SIZE(ev.count); i++)
		if (ev.count[i])
			printf("%zu %u %u\n", i, ev.count[i], ev.last_errno[i]);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
