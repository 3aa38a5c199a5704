// SPDX-License-Identifier: GPL-2.0-or-later
#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "failmem.h"
#include "rig.h"

#define KNOBS "/sys/kernel/debug/"
#define MAX_WORKERS 256

static void __attribute__((format(printf, 2, 3))) set(const char *path, const char *format, ...)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	va_list args;

	va_start(args, format);
	if (fd < 0 || vdprintf(fd, format, args) < 0)
		die("%s: %m", path);
	va_end(args);
	close(fd);
}

/* Of both: allocations of objects, and of pages. */
#define set_both(name, ...)						\
	do {								\
		set(KNOBS "failslab/" name, __VA_ARGS__);		\
		set(KNOBS "fail_page_alloc/" name, __VA_ARGS__);	\
	} while (0)

/* Where the module's code lies. Return: false: it is not loaded. */
static bool find_module(unsigned long *start, unsigned long *end)
{
	FILE *f = fopen("/proc/modules", "r");
	char line[512], name[64];
	unsigned long size;
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f))
		found = sscanf(line, "%63s %lu %*s %*s %*s %lx", name, &size, start) == 3 &&
			!strcmp(name, QCOW2BLK_GENL_NAME);
	if (f)
		fclose(f);
	*end = *start + size;
	return found;
}

/* A function's address, 0 if there is none. */
static unsigned long address_of(const char *function)
{
	FILE *f = fopen("/proc/kallsyms", "r");
	unsigned long address, found = 0;
	char line[512], name[256];

	while (f && !found && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx %*c %255s", &address, name) == 2 && !strcmp(name, function))
			found = address;
	}
	if (f)
		fclose(f);
	return found;
}

bool failmem_start(bool below)
{
	unsigned long start, end, reject_start = 0, reject_end = 0;

	if (access(KNOBS "failslab/require-start", W_OK) ||
	    access(KNOBS "fail_page_alloc/require-start", W_OK) ||
	    !find_module(&start, &end))
		return false;
	/* The kernel is linked in the order of its directories: fs, ipc, security, crypto, block, io_uring. */
	if (!below) {
		reject_start = address_of("vfs_fallocate");
		reject_end = address_of("io_uring_setup");
		if (!reject_start || reject_end <= reject_start)
			return false;
	}
	set_both("probability", "0");
	set_both("verbose", "0");
	set_both("ignore-gfp-wait", "N");
	set_both("interval", "1");
	set_both("space", "0");
	set_both("times", "-1");
	set_both("require-start", "%#lx", start);
	set_both("require-end", "%#lx", end);
	set_both("reject-start", "%#lx", reject_start);
	set_both("reject-end", "%#lx", reject_end);
	set(KNOBS "fail_page_alloc/ignore-gfp-highmem", "N");
	set(KNOBS "fail_page_alloc/min-order", "0");
	return true;
}

void failmem_random(unsigned int percent)
{
	set_both("probability", "%u", percent);
}

/* --- the Nth ------------------------------------------------------------------------------- */

static int open_nth(const char *task, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%s/fail-nth", task);
	return open(path, flags | O_CLOEXEC);
}

/* Return: false: there is no such task. */
static bool arm(const char *task, unsigned int nth)
{
	int fd = open_nth(task, O_WRONLY);
	bool done = fd >= 0 && dprintf(fd, "%u", nth) > 0;

	if (fd >= 0)
		close(fd);
	return done;
}

/* How many allocations from the one that fails; 0: it did; -1: there is no such task. */
static int distance(const char *task)
{
	int fd = open_nth(task, O_RDONLY), left = -1;
	char text[32] = "";

	if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0)
		sscanf(text, "%d", &left);
	if (fd >= 0)
		close(fd);
	return left;
}

void failmem_nth(unsigned int nth)
{
	if (!arm("thread-self", nth))
		die("/proc/thread-self/fail-nth: %m");
}

bool failmem_nth_met(void)
{
	bool met = !distance("thread-self");

	failmem_nth(0);
	return met;
}

static char workers[MAX_WORKERS][16];
static unsigned int worker_count;

static void find_workers(void)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	char path[288], name[16];
	int fd;

	worker_count = 0;
	while ((entry = readdir(dir)) && worker_count < MAX_WORKERS) {
		if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
			continue;
		snprintf(path, sizeof(path), "/proc/%s/comm", entry->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (read(fd, name, sizeof(name)) > 9 && !strncmp(name, "kworker/u", 9))
			snprintf(workers[worker_count++], sizeof(workers[0]), "%.15s", entry->d_name);
		close(fd);
	}
	closedir(dir);
}

void failmem_nth_of_workers(unsigned int nth)
{
	find_workers();
	for (unsigned int i = 0; i < worker_count; i++)
		arm(workers[i], nth);
}

bool failmem_nth_of_workers_met(void)
{
	bool met = false;

	for (unsigned int i = 0; i < worker_count; i++) {
		met |= !distance(workers[i]);
		arm(workers[i], 0);
	}
	return met;
}
