// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * iolist [--scratch DIR] [--keep DIR] [--jobs N] MANIFEST [PATTERN...]
 *
 * Do to images what lists of tests/images/iotests say, and compare what comes of it with what QEMU
 * made of the same: the content, and where the case asks for it, which clusters take space.
 * qemu-img check finds neither errors nor leaks.
 *
 * A list has commands as qemu-io knows them, sizes being multiples of a sector:
 *	write -P BYTE OFFSET LENGTH	aio_write: with the others up to the next aio_flush, at once
 *	write -z [-u] OFFSET LENGTH	zeroes; -u: the space may go
 *	discard OFFSET LENGTH
 *	read -P BYTE OFFSET LENGTH	and see that all is this byte
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "image.h"
#include "qemu.h"

#define MAX_AIO	160

struct command {
	char words[256];
	bool is_write;
	bool is_aio;
	bool is_zeroes;
	bool is_discard;
	bool may_unmap;
	unsigned char byte;
	uint64_t off;
	uint64_t len;
};

struct test {
	struct image_copy copy;
	const char *name;
	int disk;
	bool failed;
	bool leaks;
	struct command aio[MAX_AIO];
	unsigned int aio_count;
	pthread_barrier_t all_here;
};

struct aio_thread {
	pthread_t thread;
	struct test *test;
	struct command *command;
};

static const char *scratch, *keep;
static unsigned int case_count, failed_count, command_count;

static void __attribute__((format(printf, 2, 3))) fail(struct test *test, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	flockfile(stdout);
	printf("%s: ", test->name);
	vprintf(format, args);
	printf("\n");
	funlockfile(stdout);
	va_end(args);
	test->failed = true;
}

/* --- commands ----------------------------------------------------------------------------- */

static uint64_t parse_size(const char *word)
{
	char *end;
	uint64_t size = strtoull(word, &end, 0);

	switch (*end) {
	case 'k':
		return size << 10;
	case 'M':
		return size << 20;
	case 'G':
		return size << 30;
	case '\0':
		return size;
	}
	die("what size is %s?", word);
}

/* Return: false for a line without a command. */
static bool parse(const char *line, struct command *command)
{
	char copy[256], *rest, *word;
	unsigned int sizes = 0;

	memset(command, 0, sizeof(*command));
	snprintf(command->words, sizeof(command->words), "%.*s", (int)strcspn(line, "\n"), line);
	snprintf(copy, sizeof(copy), "%s", command->words);
	word = strtok_r(copy, " \t", &rest);
	if (!word || word[0] == '#')
		return false;
	command->is_aio = !strncmp(word, "aio_", 4);
	command->is_write = !!strstr(word, "write");
	command->is_discard = !strcmp(word, "discard");
	if (!strcmp(word, "aio_flush"))
		return true;
	if (!command->is_write && !command->is_discard && strcmp(word, "read"))
		die("what is %s?", command->words);
	while ((word = strtok_r(NULL, " \t", &rest))) {
		if (!strcmp(word, "-P"))
			command->byte = strtoul(strtok_r(NULL, " \t", &rest) ?: "", NULL, 0);
		else if (!strcmp(word, "-z"))
			command->is_zeroes = true;
		else if (!strcmp(word, "-u"))
			command->may_unmap = true;
		else
			*(sizes++ ? &command->len : &command->off) = parse_size(word);
	}
	if (sizes != 2)
		die("what is %s?", command->words);
	return true;
}

static void check_bytes(struct test *test, const struct command *command, const unsigned char *buf)
{
	for (uint64_t i = 0; i < command->len; i++) {
		if (buf[i] != command->byte) {
			fail(test, "%s: byte %02x at %llu", command->words, buf[i],
			     (unsigned long long)(command->off + i));
			return;
		}
	}
}

static void transfer(struct test *test, const struct command *command)
{
	unsigned char *buf;
	ssize_t done;

	if (posix_memalign((void **)&buf, 4096, command->len))
		die("no memory");
	if (command->is_write) {
		memset(buf, command->byte, command->len);
		done = pwrite(test->disk, buf, command->len, command->off);
	} else {
		done = pread(test->disk, buf, command->len, command->off);
	}
	if (done != (ssize_t)command->len)
		fail(test, "%s: %s", command->words, done < 0 ? strerror(errno) : "short");
	else if (!command->is_write)
		check_bytes(test, command, buf);
	free(buf);
}

/* What a v2 image cannot do is seen when contents are compared. */
static void zero_or_discard(struct test *test, const struct command *command)
{
	uint64_t range[] = { command->off, command->len };
	int err;

	if (command->is_discard) {
		err = ioctl(test->disk, BLKDISCARD, range);
		if (err && errno == EOPNOTSUPP)
			return;
	} else if (command->may_unmap) {
		err = fallocate(test->disk, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				command->off, command->len);
		if (err && errno == EOPNOTSUPP)
			err = ioctl(test->disk, BLKZEROOUT, range);
	} else {
		err = ioctl(test->disk, BLKZEROOUT, range);
	}
	if (err)
		fail(test, "%s: %m", command->words);
}

static void *run_aio(void *data)
{
	struct aio_thread *aio = data;

	pthread_barrier_wait(&aio->test->all_here);
	transfer(aio->test, aio->command);
	return NULL;
}

static void flush_aio(struct test *test)
{
	struct aio_thread threads[MAX_AIO];

	if (!test->aio_count)
		return;
	pthread_barrier_init(&test->all_here, NULL, test->aio_count);
	for (unsigned int i = 0; i < test->aio_count; i++) {
		threads[i] = (struct aio_thread){ .test = test, .command = &test->aio[i] };
		pthread_create(&threads[i].thread, NULL, run_aio, &threads[i]);
	}
	for (unsigned int i = 0; i < test->aio_count; i++)
		pthread_join(threads[i].thread, NULL);
	pthread_barrier_destroy(&test->all_here);
	test->aio_count = 0;
}

static void run_command(struct test *test, const struct command *command)
{
	__atomic_add_fetch(&command_count, 1, __ATOMIC_RELAXED);
	if (command->is_aio && command->is_write) {
		if (test->aio_count == MAX_AIO)
			die("%s: more than %u at once", test->name, MAX_AIO);
		test->aio[test->aio_count++] = *command;
		return;
	}
	flush_aio(test);
	if (command->is_zeroes || command->is_discard)
		zero_or_discard(test, command);
	else if (!command->is_aio)
		transfer(test, command);
}

static void run_list(struct test *test)
{
	struct command command;
	char path[4096], line[256];
	FILE *list;

	snprintf(path, sizeof(path), "%s/%s.list", manifest_dir, test->name);
	list = fopen(path, "r");
	if (!list)
		die("%s: %m", path);
	while (!test->failed && fgets(line, sizeof(line), list)) {
		if (line[0] == '#' && strstr(line, "leaks"))
			test->leaks = true;
		if (parse(line, &command))
			run_command(test, &command);
	}
	flush_aio(test);
	fclose(list);
}

/* --- cases -------------------------------------------------------------------------------- */

static void compare_map(struct test *test, char *said)
{
	static __thread char want[QEMU_SAID];
	const char *top = image_top(&test->copy);
	char path[4096];
	size_t len;
	FILE *map;

	snprintf(path, sizeof(path), "%s/%s.map", manifest_dir, test->name);
	map = fopen(path, "r");
	if (!map)
		return;
	len = fread(want, 1, sizeof(want) - 1, map);
	want[len] = '\0';
	fclose(map);
	qemu_normalize_map(want);
	if (qemu_run(test->copy.dir, (const char *[]){ "qemu-img", "map", "--output=json", "-f",
						       "qcow2", top, NULL }, said))
		die("%s: qemu-img map: %s", test->name, said);
	qemu_normalize_map(said);
	if (strcmp(said, want))
		fail(test, "the map is\n%sinstead of\n%s", said, want);
}

static void judge(struct test *test)
{
	const char *top = image_top(&test->copy);
	char path[4096], said[QEMU_SAID];

	if (!qemu_check(test->copy.dir, top, test->leaks, said))
		fail(test, "qemu-img check: %s", said);
	snprintf(path, sizeof(path), "%s/%s.want.qcow2", manifest_dir, test->name);
	if (qemu_run(test->copy.dir, (const char *[]){ "qemu-img", "compare", "-f", "qcow2", "-F",
						       "qcow2", path, top, NULL }, said))
		fail(test, "qemu-img compare with what QEMU made of it: %s", said);
	compare_map(test, said);
}

static bool run_case(const struct manifest_image *image)
{
	struct test test = { .name = image->name };
	struct rig_attach a = { .writable = true };
	int index;

	image_copy(&test.copy, image, manifest_dir, scratch);
	index = image_attach(&test.copy, &a);
	if (index < 0) {
		fail(&test, "not attached: %s: %s", strerror(-index), a.sentence);
	} else {
		test.disk = rig_open_disk(index, O_RDWR | O_DIRECT);
		if (test.disk < 0)
			die("%s: %s", test.name, strerror(-test.disk));
		run_list(&test);
		close(test.disk);
		if (rig_detach(index))
			fail(&test, "cannot be detached");
		judge(&test);
	}
	if (test.failed && keep)
		image_keep(&test.copy, keep);
	image_remove(&test.copy, (const char *const[]){ NULL });
	return !test.failed;
}

static void *run_cases(void *unused)
{
	struct manifest_image image;

	while (manifest_next(&image)) {
		__atomic_add_fetch(&case_count, 1, __ATOMIC_RELAXED);
		if (!run_case(&image))
			__atomic_add_fetch(&failed_count, 1, __ATOMIC_RELAXED);
		manifest_free(&image);
	}
	return unused;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "scratch", required_argument, NULL, 's' },
		{ "keep", required_argument, NULL, 'k' },
		{ "jobs", required_argument, NULL, 'j' },
		{ }
	};
	unsigned int job_count = 2;
	pthread_t jobs[16];
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 's':
			scratch = optarg;
			break;
		case 'k':
			keep = optarg;
			break;
		case 'j':
			job_count = strtoul(optarg, NULL, 0);
			break;
		default:
			die("iolist: see the head of iolist.c");
		}
	}
	if (optind == argc || !job_count || job_count > ARRAY_SIZE(jobs))
		die("iolist: see the head of iolist.c");
	scratch = scratch ?: getenv("TMPDIR") ?: "/tmp";
	manifest_open(argv[optind], argv + optind + 1, argc - optind - 1);
	for (unsigned int i = 0; i < job_count; i++)
		pthread_create(&jobs[i], NULL, run_cases, NULL);
	for (unsigned int i = 0; i < job_count; i++)
		pthread_join(jobs[i], NULL);
	printf("%u cases, %u commands, %u cases failed\n", case_count, command_count, failed_count);
	return failed_count || !case_count;
}
