// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * bad FILE
 * bad --write DIR
 * bad --all DIR
 *
 * Malformed images, one fault each: what the driver refuses, and with which words;
 * what it attaches and answers with an I/O error and one line in the log; and what
 * looks odd but is read, as QEMU reads it. Everything that is not at fault must read
 * as if nothing was. FILE is overwritten with one image after the other.
 *
 *	--write DIR	do not attach: leave the images that are malformed beyond use in DIR,
 *			each NAME.qcow2 with what is wrong in NAME.why
 *	--all DIR	leave all of them there, without a word
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bad.h"
#include "rig.h"

static int write_file(const void *data, size_t len, const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0 || write(fd, data, len) != (ssize_t)len)
		die("%s: %m", path);
	return fd;
}

static int write_image(const struct image *image, const char *path)
{
	return write_file(image->data, image->len, path);
}

/* --- in the kernel ------------------------------------------------------------------------ */

static int failures;

static void __attribute__((format(printf, 2, 3)))
wrong(const struct row *row, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	printf("%s: ", row->name);
	vprintf(format, args);
	printf("\n");
	va_end(args);
	failures++;
}

/*
 * The driver says at most ten things of a kind in five seconds; each must be seen here. So
 * rows wait for their kind's turn, and others go first.
 */
#define KINDS		4
#define KIND_LINES	9
#define KIND_SECONDS	6

static int kind_of(const struct row *row)
{
	if (row->outcome != ERROR)
		return 0;
	if (strstr(row->words, "stream"))
		return 1;
	return strstr(row->words, BEYOND) ? 2 : 3;
}

static bool may_speak(int kind)
{
	static struct {
		time_t start;
		int lines;
	} kinds[KINDS];
	struct timespec now;

	if (!kind)
		return true;
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (now.tv_sec - kinds[kind].start > KIND_SECONDS) {
		kinds[kind].start = now.tv_sec;
		kinds[kind].lines = 0;
	}
	return kinds[kind].lines++ < KIND_LINES;
}

static void read_cluster(const struct row *row, const struct image *image, int disk, int guest,
			 struct rig_log *log)
{
	static unsigned char buf[CLUSTER] __attribute__((aligned(4096)));
	bool bad = row->outcome == ERROR && (row->guest == guest || row->guest == EVERYTHING);
	int err;

	rig_log_read(log);
	err = rig_pread(disk, buf, CLUSTER, guest * CLUSTER);
	rig_log_read(log);
	if (!bad && err)
		wrong(row, "guest cluster %d: %s; log: %s", guest, strerror(-err), log->line);
	else if (!bad && memcmp(buf, image->want + guest * CLUSTER, CLUSTER))
		wrong(row, "guest cluster %d reads other data", guest);
	else if (!bad && log->lines)
		wrong(row, "guest cluster %d: why this line? %s", guest, log->line);
	else if (bad && err != -EIO)
		wrong(row, "guest cluster %d: %s instead of an I/O error", guest, strerror(-err));
	else if (bad && log->lines != 1)
		wrong(row, "guest cluster %d: %u lines in the log instead of one", guest,
		      log->lines);
	else if (bad && !strstr(log->line, row->words))
		wrong(row, "guest cluster %d: no '%s' in '%s'", guest, row->words, log->line);
}

static void read_disk(const struct row *row, const struct image *image, int index,
		      struct rig_log *log)
{
	int disk = rig_open_disk(index, O_RDONLY | O_DIRECT);

	if (disk < 0) {
		wrong(row, "cannot open the disk: %s", strerror(-disk));
		return;
	}
	if (row->outcome == ERROR && row->guest == EVERYTHING) {
		read_cluster(row, image, disk, VICTIM, log);
	} else {
		for (int guest = 0; guest < GUEST_CLUSTERS; guest++) {
			/* What shares the faulty entry says the same. */
			if (row->extended && row->outcome == ERROR && guest != row->guest &&
			    guest / X_PER_CLUSTER == row->guest / X_PER_CLUSTER)
				continue;
			read_cluster(row, image, disk, guest, log);
		}
	}
	close(disk);
}

static void attach(const struct row *row, const struct image *image, const char *path,
		   struct rig_log *log)
{
	struct rig_attach a = {
		.count = 1, .fds = { write_image(image, path) }, .writable = row->bitmaps,
	};
	char data_path[4096];
	int index;

	if (image->file_len) {
		snprintf(data_path, sizeof(data_path), "%s.data", path);
		a.data_fds[0] = write_file(image->file, image->file_len, data_path);
	}
	index = rig_attach(&a);
	close(a.fds[0]);
	if (image->file_len)
		close(a.data_fds[0]);
	if (index < 0 && row->outcome != REFUSED)
		wrong(row, "refused: %s: %s", strerror(-index), a.sentence);
	else if (index < 0 && strcmp(a.sentence, row->words))
		wrong(row, "refused with '%s' instead of '%s'", a.sentence, row->words);
	else if (index < 0 && index != -EINVAL && index != -EOPNOTSUPP &&
		 !(row->bitmaps && index == -EUCLEAN))
		wrong(row, "refused with %s", strerror(-index));
	else if (index >= 0 && row->outcome == REFUSED)
		wrong(row, "attached; wanted '%s'", row->words);
	else if (index >= 0)
		read_disk(row, image, index, log);

	if (index >= 0 && rig_detach(index))
		wrong(row, "cannot detach");
	rig_log_read(log);
	if (log->splat[0])
		wrong(row, "the kernel complains: %s", log->splat);
}

/* The words themselves are format.c's; a feature that is not supported is nobody's fault. */
static void write_row(const struct row *row, const struct image *image, const char *dir)
{
	size_t len = image->len < CLUSTER ? image->len : CLUSTER;
	struct qcow2_header h;
	struct qcow2_fault fault;
	char path[4096];
	FILE *why;

	if (row->outcome != REFUSED || row->bitmaps)
		return;
	if (!qcow2_header_parse(image->data, len, image->len, &h, &fault)) {
		if (!qcow2_header_unsupported(&h, &fault) || strcmp(fault.sentence, row->words))
			wrong(row, "is not unsupported");
		return;
	}
	if (strcmp(fault.sentence, row->words))
		wrong(row, "'%s' instead of '%s'", fault.sentence, row->words);
	snprintf(path, sizeof(path), "%s/%s.qcow2", dir, row->name);
	close(write_image(image, path));
	snprintf(path, sizeof(path), "%s/%s.why", dir, row->name);
	why = fopen(path, "w");
	if (!why || fprintf(why, "%s\n", fault.why) < 0 || fclose(why))
		die("%s: %m", path);
}

static int write_all(const char *dir)
{
	static struct image image;
	char path[4096];

	mkdir(dir, 0755);
	for (size_t i = 0; i < bad_row_count; i++) {
		bad_build(&image, &bad_rows[i]);
		snprintf(path, sizeof(path), "%s/%s.qcow2", dir, bad_rows[i].name);
		close(write_image(&image, path));
	}
	return 0;
}

int main(int argc, char **argv)
{
	bool to_dir = argc == 3 && !strcmp(argv[1], "--write");
	static struct image image;
	bool *done = calloc(bad_row_count, sizeof(*done));
	size_t left = bad_row_count;
	struct rig_log log;

	if (argc == 3 && !strcmp(argv[1], "--all"))
		return write_all(argv[2]);
	if (argc != 2 && !to_dir)
		die("usage: bad FILE, bad --write DIR or bad --all DIR");
	if (to_dir)
		mkdir(argv[2], 0755);
	else
		rig_log_start(&log);
	while (left) {
		for (size_t i = 0; i < bad_row_count; i++) {
			if (done[i] || (!to_dir && !may_speak(kind_of(&bad_rows[i]))))
				continue;
			bad_build(&image, &bad_rows[i]);
			if (to_dir)
				write_row(&bad_rows[i], &image, argv[2]);
			else
				attach(&bad_rows[i], &image, argv[1], &log);
			done[i] = true;
			left--;
		}
		if (left)
			usleep(100000);
	}
	printf("%zu images, %d complaints\n", bad_row_count, failures);
	return failures ? 1 : 0;
}
