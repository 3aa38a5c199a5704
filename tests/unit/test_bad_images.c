// SPDX-License-Identifier: GPL-2.0-or-later
/* The tool refuses, offline, each image that the driver refuses for what is wrong with it. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <cmocka.h>

/* Run a command; @text: (out) what it prints. Return: its exit status. */
static int run(const char *command, char *text, size_t room)
{
	FILE *pipe = popen(command, "r");
	size_t len;
	int status;

	assert_non_null(pipe);
	len = fread(text, 1, room - 1, pipe);
	text[len] = '\0';
	status = pclose(pipe);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void read_line(const char *path, char *line, size_t room)
{
	FILE *file = fopen(path, "r");

	assert_non_null(file);
	assert_non_null(fgets(line, room, file));
	line[strcspn(line, "\n")] = '\0';
	fclose(file);
}

static void each_is_refused(void **state)
{
	char dir[] = "/tmp/test_bad_images.XXXXXX", command[512], path[512], why[256], text[4096];
	struct dirent *entry;
	int count = 0;
	DIR *d;

	assert_non_null(mkdtemp(dir));
	snprintf(command, sizeof(command), TOP "/build/tests/bad --write %s 2>&1", dir);
	if (run(command, text, sizeof(text)))
		fail_msg("%s", text);
	d = opendir(dir);
	while ((entry = readdir(d))) {
		char *dot = strrchr(entry->d_name, '.');
		int status;

		if (!dot || strcmp(dot, ".why"))
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
		read_line(path, why, sizeof(why));
		snprintf(command, sizeof(command),
			 TOP "/build/userspace/qcow2ctl info %s/%.*s.qcow2 2>&1", dir,
			 (int)(dot - entry->d_name), entry->d_name);
		status = run(command, text, sizeof(text));
		if (status != 2 || !strstr(text, why))
			fail_msg("%s: wanted status 2 and '%s', got %d and %s", entry->d_name, why,
				 status, text);
		count++;
	}
	closedir(d);
	assert_true(count >= 80);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	assert_int_equal(run(command, text, sizeof(text)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_is_refused),
	};

	return cmocka_run_group_tests_name("bad images", tests, NULL, NULL);
}
