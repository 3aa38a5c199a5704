// SPDX-License-Identifier: GPL-2.0-or-later
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"

static size_t padded(uint64_t len)
{
	return (len + 7) & ~7ULL;
}

bool log_all_zeros(const void *data, size_t len)
{
	const char *bytes = data;

	return !len || (!bytes[0] && !memcmp(bytes, bytes + 1, len - 1));
}

void log_begin(FILE *out, uint64_t flags, uint64_t size, uint64_t data_size)
{
	struct log_header header = {
		.magic = LOG_MAGIC, .flags = flags, .size = size, .data_size = data_size,
	};

	fwrite(&header, sizeof(header), 1, out);
}

void log_add(FILE *out, uint32_t type, uint32_t arg, uint64_t off, uint64_t len,
	     const void *data)
{
	static const char zeros[8];
	struct log_record record = { .type = type, .arg = arg, .off = off, .len = len };

	if ((type & ~LOG_DATA_FILE) == LOG_WRITE && log_all_zeros(data, len)) {
		record.type = LOG_ZEROS | (type & LOG_DATA_FILE);
		data = NULL;
	}
	fwrite(&record, sizeof(record), 1, out);
	if (data) {
		fwrite(data, len, 1, out);
		fwrite(zeros, padded(len) - len, 1, out);
	}
}

/* Count the records, and on a second walk (@ops) fill them in. */
static size_t walk(const struct log *log, struct log_op *ops)
{
	const char *at = (const char *)log->file + sizeof(struct log_header);
	const char *end = (const char *)log->file + log->file_len;
	size_t count = 0;

	while ((size_t)(end - at) >= sizeof(struct log_record)) {
		const struct log_record *record = (const struct log_record *)at;
		enum log_type type = record->type & ~LOG_DATA_FILE;
		bool has_data = type == LOG_WRITE || type == LOG_MARK;
		size_t len = has_data ? padded(record->len) : 0;

		at += sizeof(*record);
		if ((size_t)(end - at) < len)
			break;
		if (ops) {
			ops[count] = (struct log_op) {
				.type = type, .data_file = record->type & LOG_DATA_FILE,
				.arg = record->arg, .off = record->off, .len = record->len,
				.data = has_data ? at : NULL,
			};
		}
		count++;
		at += len;
	}
	return count;
}

bool log_load(struct log *log, const char *path, const char **why)
{
	const struct log_header *header;
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	memset(log, 0, sizeof(*log));
	*why = "cannot be read";
	if (fd < 0)
		return false;
	if (fstat(fd, &st) || (size_t)st.st_size < sizeof(*header)) {
		close(fd);
		return false;
	}
	log->file_len = st.st_size;
	log->file = mmap(NULL, log->file_len, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	close(fd);
	if (log->file == MAP_FAILED)
		return false;
	header = log->file;
	if (header->magic != LOG_MAGIC) {
		*why = "is no log";
		munmap(log->file, log->file_len);
		return false;
	}
	log->flags = header->flags;
	log->size = header->size;
	log->data_size = header->data_size;
	log->count = walk(log, NULL);
	log->ops = calloc(log->count + 1, sizeof(*log->ops));
	walk(log, log->ops);
	return true;
}

void log_free(struct log *log)
{
	free(log->ops);
	munmap(log->file, log->file_len);
}
