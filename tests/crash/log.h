/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log of what was done to an image file, in the order in which the store did it.
 * recfs and dmlog write it, states replays it.
 *
 * A file of records, each followed by its data padded to 8 bytes, in the machine's own byte
 * order. A record of a write or a mark carries @len bytes; writes of nothing but zeros carry none
 * (LOG_ZEROS).
 */
#ifndef CRASH_LOG_H
#define CRASH_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define LOG_MAGIC	0x31676f6c68737263ULL	/* "crshlog1" */

enum log_type {
	LOG_WRITE,		/* @arg: LOG_FUA: it is durable at once */
	LOG_ZEROS,		/* a write of zeros */
	LOG_ALLOCATE,		/* fallocate: @arg is its mode */
	LOG_DISCARD,		/* of a block device: what was there, or anything else */
	LOG_TRUNCATE,		/* @off is the new size */
	LOG_FSYNC_BEGIN,
	LOG_FSYNC_END,		/* @arg: 0 or an errno; @off: the number of its begin */
	LOG_MARK,
	LOG_END,		/* the file's size was @off, sector_mix() of all sectors @len */
};

#define LOG_FUA	1

/* With the type: it is about the external data file, not about the image. */
#define LOG_DATA_FILE	0x100U

struct log_record {
	uint32_t type;
	uint32_t arg;
	uint64_t off;
	uint64_t len;
};

/**
 * struct log_header - the first bytes of the file
 * @flags: LOG_BLOCK_DEVICE: the size never changes, and what was never written is poison.
 * @size: of the file before the first record.
 * @data_size: of the external data file; 0: there is none.
 */
struct log_header {
	uint64_t magic;
	uint64_t flags;
	uint64_t size;
	uint64_t data_size;
};

#define LOG_BLOCK_DEVICE	1

/* One record in memory. @data is NULL where there is none. */
struct log_op {
	enum log_type type;
	bool data_file;
	uint32_t arg;
	uint64_t off;
	uint64_t len;
	const void *data;
};

struct log {
	uint64_t flags;
	uint64_t size;
	uint64_t data_size;
	struct log_op *ops;
	size_t count;
	void *file;		/* what the data points into */
	size_t file_len;
};

/* Write. The stream is buffered: what was not flushed is lost with the process. */
void log_begin(FILE *out, uint64_t flags, uint64_t size, uint64_t data_size);
/* @type: enum log_type, with LOG_DATA_FILE or without. */
void log_add(FILE *out, uint32_t type, uint32_t arg, uint64_t off, uint64_t len,
	     const void *data);

/* Read. A record that is cut short ends the log. Return: false with a word in @why. */
bool log_load(struct log *log, const char *path, const char **why);
void log_free(struct log *log);

bool log_all_zeros(const void *data, size_t len);

#endif
