// SPDX-License-Identifier: GPL-2.0-or-later
#include "image.h"

#include <stdlib.h>
#include <string.h>

/* QEMU's limit. */
#define MAX_TABLE_LEN	(1024ULL * QCOW2_MAX_SNAPSHOTS)

/* Where the walk through the table stands. */
struct walk {
	int fd;
	const char *file;
	uint64_t off;		/* of what comes next */
	uint64_t end;		/* of the file, or of the longest table */
	uint32_t idx;
	struct qcow2_error *err;
};

static int bad_entry(const struct walk *walk, const char *field, unsigned long long value,
		     const char *why)
{
	return qcow2_error_set(walk->err, QCOW2_EXIT_FAILED, walk->file,
			       "snapshot table entry %u: %s %llu %s; try qemu-img check -r all %s",
			       walk->idx, field, value, why, walk->file);
}

static int take(struct walk *walk, void *buf, uint32_t len, const char *field)
{
	ssize_t n;

	if (walk->off > walk->end || len > walk->end - walk->off)
		return bad_entry(walk, field, len, "reaches past the end of the file or table");
	n = qcow2_image_pread(walk->fd, buf, len, walk->off);
	if (n < 0)
		return qcow2_error_set(walk->err, QCOW2_EXIT_FAILED, walk->file,
				       "cannot read the snapshot table: %s", strerror(-n));
	if (n < (ssize_t)len)
		return bad_entry(walk, field, len, "reaches past the end of the file");
	walk->off += len;
	return 0;
}

static int take_string(struct walk *walk, uint16_t len, const char *field, char **text)
{
	char *s = calloc(1, len + 1);

	if (!s)
		qcow2_error_nomem();
	*text = s;
	if (take(walk, s, len, field))
		return QCOW2_EXIT_FAILED;
	if (memchr(s, '\0', len))
		return bad_entry(walk, field, len, "counts a zero byte");
	return 0;
}

static int take_extra(struct walk *walk, uint32_t len, const struct qcow2_image *image,
		      struct qcow2_snapshot *snapshot)
{
	union {
		struct qcow2_disk_snapshot_extra known;
		char all[QCOW2_MAX_SNAPSHOT_EXTRA];
	} extra;

	if (len > QCOW2_MAX_SNAPSHOT_EXTRA)
		return bad_entry(walk, "extra_data_size", len, "is too big: 1024 are the most");
	if (take(walk, extra.all, len, "extra_data_size"))
		return QCOW2_EXIT_FAILED;

	if (len >= offsetof(struct qcow2_disk_snapshot_extra, disk_size))
		snapshot->vm_state_size = be64_to_cpu(extra.known.vm_state_size);
	snapshot->disk_size = len >= offsetof(struct qcow2_disk_snapshot_extra, icount) ?
		be64_to_cpu(extra.known.disk_size) : image->header.size;
	snapshot->icount = len >= sizeof(extra.known) ?
		be64_to_cpu(extra.known.icount) : UINT64_MAX;
	return 0;
}

static int take_entry(struct walk *walk, const struct qcow2_image *image,
		      struct qcow2_snapshot *snapshot)
{
	struct qcow2_disk_snapshot entry;

	if (take(walk, &entry, sizeof(entry), "entry size"))
		return QCOW2_EXIT_FAILED;
	snapshot->l1_table_offset = be64_to_cpu(entry.l1_table_offset);
	snapshot->l1_size = be32_to_cpu(entry.l1_size);
	snapshot->date_sec = be32_to_cpu(entry.date_sec);
	snapshot->date_nsec = be32_to_cpu(entry.date_nsec);
	snapshot->vm_clock_nsec = be64_to_cpu(entry.vm_clock_nsec);
	snapshot->vm_state_size = be32_to_cpu(entry.vm_state_size);

	if (take_extra(walk, be32_to_cpu(entry.extra_len), image, snapshot) ||
	    take_string(walk, be16_to_cpu(entry.id_len), "id_str_size", &snapshot->id) ||
	    take_string(walk, be16_to_cpu(entry.name_len), "name_size", &snapshot->name))
		return QCOW2_EXIT_FAILED;
	snapshot->end = walk->off;
	walk->off = (walk->off + 7) & ~7ULL;
	return 0;
}

int qcow2_image_snapshots(const struct qcow2_image *image, int fd, uint64_t file_size,
			  const char *file, struct qcow2_snapshot **snapshots,
			  struct qcow2_error *err)
{
	const struct qcow2_header *h = &image->header;
	struct walk walk = {
		.fd = fd, .file = file, .off = h->snapshots_offset, .end = file_size, .err = err,
	};
	struct qcow2_snapshot *table;

	*snapshots = NULL;
	if (!h->nb_snapshots)
		return 0;
	/* The header's parser has checked both numbers against the file and the limits. */
	if (file_size - h->snapshots_offset > MAX_TABLE_LEN)
		walk.end = h->snapshots_offset + MAX_TABLE_LEN;
	table = calloc(h->nb_snapshots, sizeof(*table));
	if (!table)
		qcow2_error_nomem();
	for (; walk.idx < h->nb_snapshots; walk.idx++) {
		if (take_entry(&walk, image, &table[walk.idx])) {
			qcow2_image_snapshots_free(table, h->nb_snapshots);
			return QCOW2_EXIT_FAILED;
		}
	}
	*snapshots = table;
	return 0;
}

void qcow2_image_snapshots_free(struct qcow2_snapshot *snapshots, uint32_t count)
{
	uint32_t i;

	if (!snapshots)
		return;
	for (i = 0; i < count; i++) {
		free(snapshots[i].id);
		free(snapshots[i].name);
	}
	free(snapshots);
}
