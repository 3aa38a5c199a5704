// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image.h"

#define BLOCK	4096

int image_open_at(int dir, const char *file, int flags)
{
	int fd = openat(dir, file, flags | O_CLOEXEC, 0644);

	if (fd < 0)
		die("%s: %m", file);
	return fd;
}

/* Zeros become holes. Both are closed. */
static void copy_file(int from, int to)
{
	static const char zeros[BLOCK];
	char blocks[32 * BLOCK];
	off_t off = 0;
	ssize_t len;

	while ((len = pread(from, blocks, sizeof(blocks), off)) > 0) {
		for (ssize_t done = 0; done < len; done += BLOCK) {
			ssize_t part = len - done < BLOCK ? len - done : BLOCK;

			if (memcmp(blocks + done, zeros, part) &&
			    pwrite(to, blocks + done, part, off + done) != part)
				die("cannot copy an image: %m");
		}
		off += len;
	}
	if (len || ftruncate(to, off))
		die("cannot copy an image: %m");
	close(from);
	close(to);
}

static int create_at(int dir, const char *file)
{
	return image_open_at(dir, file, O_RDWR | O_CREAT | O_EXCL);
}

/* A link, or where there are none, as on vfat, a copy. */
static void link_to(const char *images, const char *file, int dir)
{
	char *real = realpath(images, NULL), target[4096];

	snprintf(target, sizeof(target), "%s/%s", real, file);
	free(real);
	if (!symlinkat(target, dir, file))
		return;
	if (errno != EPERM)
		die("%s: %m", target);
	copy_file(image_open_at(AT_FDCWD, target, O_RDONLY), create_at(dir, file));
}

/* The key of an encrypted top, by the name that rig_attach() looks for. */
static void link_key(const struct image_copy *copy, int dir)
{
	char key[256], path[4096];

	snprintf(key, sizeof(key), "%s.key", image_top(copy));
	snprintf(path, sizeof(path), "%s/%s", copy->images, key);
	if (!access(path, F_OK))
		link_to(copy->images, key, dir);
}

/* Copies of the top and its data that lie in @from, links to the rest. */
static void fill_dir(const struct image_copy *copy, int from, int dir)
{
	const struct manifest_layer *layer = copy->image->layers;
	const struct manifest_layer *end = layer + copy->image->layer_count;

	copy_file(image_open_at(from, layer->file, O_RDONLY), create_at(dir, layer->file));
	if (layer->data)
		copy_file(image_open_at(from, layer->data, O_RDONLY), create_at(dir, layer->data));
	while (++layer < end) {
		link_to(copy->images, layer->file, dir);
		if (layer->data)
			link_to(copy->images, layer->data, dir);
	}
	link_key(copy, dir);
}

static int open_dir(const char *path)
{
	int dir = open(path, O_DIRECTORY | O_CLOEXEC);

	if (dir < 0)
		die("%s: %m", path);
	return dir;
}

void image_copy(struct image_copy *copy, const struct manifest_image *image, const char *images,
		const char *scratch)
{
	int from = open_dir(images);

	copy->image = image;
	copy->images = images;
	snprintf(copy->path, sizeof(copy->path), "%s/%s.XXXXXX", scratch, image->name);
	if (!mkdtemp(copy->path))
		die("%s: %m", copy->path);
	copy->dir = open_dir(copy->path);
	fill_dir(copy, from, copy->dir);
	close(from);
}

int image_copy_to(const struct image_copy *copy, const char *parent)
{
	char path[4096];
	int dir;

	snprintf(path, sizeof(path), "%s/%s", parent, copy->image->name);
	if (mkdir(path, 0755))
		die("%s: %m", path);
	dir = open_dir(path);
	fill_dir(copy, copy->dir, dir);
	return dir;
}

void image_keep(const struct image_copy *copy, const char *parent)
{
	char path[4096];
	int to;

	snprintf(path, sizeof(path), "%s/failed-%s", parent, image_top(copy));
	to = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (to < 0)
		die("%s: %m", path);
	copy_file(image_open_at(copy->dir, image_top(copy), O_RDONLY), to);
	printf("%s: kept as %s\n", copy->image->name, path);
}

void image_remove(struct image_copy *copy, const char *const others[])
{
	char key[256];

	snprintf(key, sizeof(key), "%s.key", image_top(copy));
	unlinkat(copy->dir, key, 0);
	for (unsigned int i = 0; i < copy->image->layer_count; i++) {
		unlinkat(copy->dir, copy->image->layers[i].file, 0);
		if (copy->image->layers[i].data)
			unlinkat(copy->dir, copy->image->layers[i].data, 0);
	}
	while (*others)
		unlinkat(copy->dir, *others++, 0);
	close(copy->dir);
	rmdir(copy->path);
}

int image_attach(const struct image_copy *copy, struct rig_attach *a)
{
	int flags = (a->writable ? O_RDWR : O_RDONLY) | O_NOATIME, index;

	a->count = copy->image->layer_count;
	for (unsigned int i = 0; i < a->count; i++) {
		const char *file = copy->image->layers[i].file;

		a->raw[i] = copy->image->layers[i].raw;
		a->fds[i] = i ? manifest_open_file(copy->images, file, O_RDONLY) :
				image_open_at(copy->dir, file, flags);
		file = copy->image->layers[i].data;
		a->data_fds[i] = !file ? 0 : i ? manifest_open_file(copy->images, file, O_RDONLY) :
						 image_open_at(copy->dir, file, flags);
	}
	index = rig_attach(a);
	for (unsigned int i = 0; i < a->count; i++) {
		close(a->fds[i]);
		if (a->data_fds[i])
			close(a->data_fds[i]);
	}
	return index;
}
