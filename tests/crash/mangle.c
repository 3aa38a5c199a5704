// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * mangle N SEED IMAGE...
 *
 * Is check.c right? Tables of images are changed at random, N times, and its verdict is held
 * against that of qemu-img check. Prints one result in KTAP. The images need no backing file, or have it
 * beside them.
 */
#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "judge.h"
#include "rig.h"
#include "second.h"

#define MAX_TABLES	512

/* Where tables are: their entries are what is changed. */
struct tables {
	uint64_t off[MAX_TABLES];
	uint64_t len[MAX_TABLES];
	unsigned int count;
};

static void add_table(struct tables *t, uint64_t off, uint64_t len)
{
	if (!len || t->count == MAX_TABLES)
		return;
	t->off[t->count] = off;
	t->len[t->count++] = len;
}

/* A table of offsets, and what they lead to. */
static void add_tables_of(struct tables *t, const struct image *img, const struct qcow2_header *h,
			  uint64_t off, uint64_t entries)
{
	add_table(t, off, entries * 8);
	for (uint64_t i = 0; i < entries; i++) {
		uint64_t below = image_be64(img, off + i * 8) & QCOW2_ENTRY_OFFSET_MASK;

		if (below)
			add_table(t, below, h->cluster_size);
	}
}

static void find_tables(struct tables *t, const struct image *img, const struct qcow2_header *h)
{
	t->count = 0;
	add_tables_of(t, img, h, h->refcount_table_offset,
		      (uint64_t)h->refcount_table_clusters << h->cluster_bits >> 3);
	add_tables_of(t, img, h, h->l1_table_offset, h->l1_size);
}

static void put_be64(struct image *img, uint64_t off, uint64_t value)
{
	value = htobe64(value);
	image_write(img, off, &value, sizeof(value));
}

static uint64_t changed(const struct image *img, const struct qcow2_header *h, uint64_t off,
			uint64_t len, uint64_t entry, uint64_t *random)
{
	switch (rig_random(random) % 10) {
	case 0:
		return entry ^ QCOW2_ENTRY_COPIED;
	case 1:
		return 0;
	case 2:
		return entry + h->cluster_size;
	case 3:
		return entry - h->cluster_size;
	case 4:
		return entry ^ QCOW2_ENTRY_COMPRESSED;
	case 5:
		return entry ^ QCOW2_ENTRY_ZERO;
	case 6:
		return entry ^ 1ULL << rig_random(random) % 64;
	case 7:	/* of another one */
		return image_be64(img, off + rig_random(random) % (len / 8) * 8);
	case 8:	/* a byte, a refcount perhaps, up or down by one */
		return entry + (1ULL << rig_random(random) % 8 * 8);
	default:
		return entry - (1ULL << rig_random(random) % 8 * 8);
	}
}

static void change(struct image *img, const struct qcow2_header *h, const struct tables *t,
		   uint64_t *random)
{
	unsigned int which = rig_random(random) % t->count;
	uint64_t off = t->off[which], len = t->len[which], at, entry = 0;

	if (!(rig_random(random) % 20)) {
		image_resize(img, img->size - rig_random(random) % (4 * h->cluster_size) / SECTOR * SECTOR);
		return;
	}
	/* Mostly one that is in use. */
	for (int tries = 0; tries < 50 && !entry; tries++) {
		at = off + rig_random(random) % (len / 8) * 8;
		entry = image_be64(img, at);
	}
	put_be64(img, at, changed(img, h, off, len, entry, random));
}

int main(int argc, char **argv)
{
	unsigned int count, good = 0, leaky = 0, corrupt = 0, unclear = 0, bad = 0;
	struct judge j = { .words = "" };
	struct image initial = { .size = 0 };
	uint64_t random;
	struct tables t;
	char path[64], path_kept[80];

	if (argc < 4)
		die("usage: mangle N SEED IMAGE...");
	count = atoi(argv[1]);
	random = strtoull(argv[2], NULL, 0);
	snprintf(path, sizeof(path), "%s/mangle-%d.img", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm",
		 getpid());
	for (int image = 3; image < argc; image++) {
		contents_start();
		memset(&initial, 0, sizeof(initial));
		if (!image_load(&initial, argv[image]))
			die("%s cannot be read", argv[image]);
		image_init(&j.replay.state, initial.size);
		if (!check_header(&j.check, &initial))
			die("%s: %s", argv[image], j.check.what);
		find_tables(&t, &initial, &j.check.header);
		for (unsigned int i = 0; i < count / (argc - 3); i++) {
			struct qcow2_header h;

			image_copy(&j.replay.state, &initial);
			check_header(&j.check, &initial);
			h = j.check.header;
			for (unsigned int n = 1 + rig_random(&random) % 2; n; n--)
				change(&j.replay.state, &h, &t, &random);
			check_image(&j.check, &j.replay.state);
			if (j.check.strict || !j.check.opens)
				unclear++;
			else if (j.check.corruptions)
				corrupt++;
			else if (j.check.leaks)
				leaky++;
			else
				good++;
			if (second_check(&j, path, NULL))
				continue;
			if (bad++ >= 5)
				continue;
			snprintf(path_kept, sizeof(path_kept), "%s.bad%u", path, bad);
			image_save(&j.replay.state, path_kept);
			printf("# %s: %s; see %s\n", argv[image], j.words, path_kept);
		}
		image_free(&initial);
		image_free(&j.replay.state);
		contents_free();
	}
	printf("%s 1 - check.c and qemu-img check agree: %u corrupt, %u leaking, %u good; %u too broken to compare\n",
	       bad || !corrupt || !leaky || !good ? "not ok" : "ok", corrupt, leaky, good, unclear);
	return bad ? 1 : 0;
}
