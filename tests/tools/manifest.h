/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The list of images that tests/images/make leaves beside them.
 *
 * A line: NAME SIZE LAYER... CHECK... SNAPSHOT...
 *	LAYER: qcow2:FILE or raw:FILE, top first; after one that has it, its external data file:
 *		data:FILE, or rawdata:FILE where that reads as the disk does
 *	CHECK: OFFSET+LENGTH=FILE: these bytes of the disk are the whole of FILE
 *	SNAPSHOT: snapshot:TAG=FILE: what an internal snapshot holds
 */
#ifndef TEST_MANIFEST_H
#define TEST_MANIFEST_H

#include <linux/qcow2blk.h>
#include <stdbool.h>
#include <stdint.h>

#define MANIFEST_MAX_CHECKS	16
#define MANIFEST_MAX_SNAPSHOTS	4

struct manifest_layer {
	const char *file;
	bool raw;
	const char *data;	/* or NULL */
	bool data_is_raw;
};

struct manifest_check {
	uint64_t off;
	uint64_t len;
	const char *file;
};

struct manifest_snapshot {
	const char *tag;
	const char *file;
};

/* One line. @line holds the words that all the others point into. */
struct manifest_image {
	char *line;
	const char *name;
	uint64_t size;
	struct manifest_layer layers[QCOW2BLK_MAX_LAYERS];
	unsigned int layer_count;
	struct manifest_check checks[MANIFEST_MAX_CHECKS];
	unsigned int check_count;
	struct manifest_snapshot snapshots[MANIFEST_MAX_SNAPSHOTS];
	unsigned int snapshot_count;
};

/* Where the files are that checks compare with: beside the manifest. */
extern const char *manifest_dir;

/*
 * Lines whose name matches one of @patterns are wanted, and those of a later !pattern not; where
 * there are no patterns, or the first is of the second kind, all others are.
 */
void manifest_open(const char *path, char **patterns, int pattern_count);

/* The next image that is wanted, for any thread, or false. */
bool manifest_next(struct manifest_image *image);
void manifest_free(struct manifest_image *image);

/* Open @file in @dir, without an access time, or die. */
int manifest_open_file(const char *dir, const char *file, int flags);

#endif
