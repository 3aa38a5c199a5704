// SPDX-License-Identifier: GPL-2.0-or-later
#include <endian.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dmlog.h"
#include "log.h"
#include "rig.h"

#define SUPER_MAGIC	0x6a736677736872ULL
#define MAX_ENTRY	(16U << 20)

/* On the device, little-endian; each begins a sector. */
struct super {
	uint64_t magic;
	uint64_t version;
	uint64_t nr_entries;
	uint32_t sectorsize;
} __attribute__((packed));

struct dm_entry {
	uint64_t sector;
	uint64_t nr_sectors;
	uint64_t flags;
	uint64_t data_len;
} __attribute__((packed));

enum { ENTRY_FLUSH = 1, ENTRY_FUA = 2, ENTRY_DISCARD = 4, ENTRY_MARK = 8 };

/* Return: bytes of data that follow in sectors of their own. */
static uint64_t convert_entry(FILE *out, const struct dm_entry *e, uint32_t sector, char *data,
			      int in, uint64_t off, uint64_t *fsyncs)
{
	uint64_t len = le64toh(e->nr_sectors) * sector, at = le64toh(e->sector) * sector;
	uint64_t flags = le64toh(e->flags);

	if (flags & ENTRY_MARK) {
		const char *text = (const char *)(e + 1);

		/* The target makes one of its own at the end. */
		if (strncmp(text, "dm-log-writes", 13))
			log_add(out, LOG_MARK, 0, 0, le64toh(e->data_len), text);
		return 0;
	}
	if (flags & ENTRY_DISCARD) {
		log_add(out, LOG_DISCARD, 0, at, len, NULL);
		return 0;
	}
	if (flags & ENTRY_FLUSH) {
		log_add(out, LOG_FSYNC_BEGIN, 0, ++*fsyncs, 0, NULL);
		log_add(out, LOG_FSYNC_END, 0, *fsyncs, 0, NULL);
	}
	if (!len)
		return 0;
	if (len > MAX_ENTRY || rig_pread(in, data, len, off))
		die("the log of dm-log-writes is damaged");
	log_add(out, LOG_WRITE, flags & ENTRY_FUA ? LOG_FUA : 0, at, len, data);
	return len;
}

void dmlog_convert(const char *device, uint64_t size, const char *path)
{
	char sector[4096], *data = malloc(MAX_ENTRY);
	struct super *super = (struct super *)sector;
	int in = open(device, O_RDONLY | O_CLOEXEC);
	FILE *out = fopen(path, "we");
	uint64_t entries, off, fsyncs = 0;
	uint32_t sector_size;

	if (in < 0 || !out || !data || rig_pread(in, sector, sizeof(sector), 0))
		die("%s or %s: %m", device, path);
	if (le64toh(super->magic) != SUPER_MAGIC)
		die("%s has no log", device);
	entries = le64toh(super->nr_entries);
	sector_size = le32toh(super->sectorsize);
	log_begin(out, LOG_BLOCK_DEVICE, size, 0);
	off = sector_size;
	for (uint64_t i = 0; i < entries; i++) {
		if (sector_size > sizeof(sector) || rig_pread(in, sector, sector_size, off))
			die("the log of dm-log-writes is damaged");
		off += sector_size;
		off += convert_entry(out, (struct dm_entry *)sector, sector_size, data, in, off,
				     &fsyncs);
	}
	close(in);
	free(data);
	if (fclose(out))
		die("%s: %m", path);
}
