/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A copy of an image of a manifest, to be written: a directory with the top, and links to the
 * layers below it, so that QEMU's programs find them.
 */
#ifndef TEST_IMAGE_H
#define TEST_IMAGE_H

#include "manifest.h"
#include "rig.h"

/**
 * struct image_copy - it
 * @image: what it is a copy of.
 * @images: the directory of the layers.
 * @dir, @path: where it is.
 */
struct image_copy {
	const struct manifest_image *image;
	const char *images;
	int dir;
	char path[4096];
};

/* Make a copy in a new directory in @scratch. All of these die if they cannot. */
void image_copy(struct image_copy *copy, const struct manifest_image *image, const char *images,
		const char *scratch);

/* And another one, of that as it is now, in the new directory @parent/@image->name. Return: it. */
int image_copy_to(const struct image_copy *copy, const char *parent);

/* Leave the top as @parent/failed-NAME, and say so. */
void image_keep(const struct image_copy *copy, const char *parent);

/* Remove it, with @others, files of that directory, NULL at the end. */
void image_remove(struct image_copy *copy, const char *const others[]);

int image_open_at(int dir, const char *file, int flags);

/* Open the layers and attach them as @a says. Return: index or negative errno. */
int image_attach(const struct image_copy *copy, struct rig_attach *a);

static inline const char *image_top(const struct image_copy *copy)
{
	return copy->image->layers[0].file;
}

#endif
