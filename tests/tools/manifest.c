// SPDX-License-Identifier: GPL-2.0-or-later
#include <fcntl.h>
#include <fnmatch.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "manifest.h"
#include "rig.h"

const char *manifest_dir = ".";

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static FILE *manifest;	/* under the lock */
static char **patterns;
static int pattern_count;

static char *directory_of(const char *path)
{
	char *dir = realpath(path, NULL);

	*strrchr(dir, '/') = '\0';
	return dir;
}

void manifest_open(const char *path, char **wanted, int wanted_count)
{
	manifest = fopen(path, "r");
	if (!manifest)
		die("%s: %m", path);
	manifest_dir = directory_of(path);
	patterns = wanted;
	pattern_count = wanted_count;
}

static bool is_wanted(const char *line)
{
	bool wanted = !pattern_count || patterns[0][0] == '!';
	char name[256];

	if (line[0] == '#' || sscanf(line, "%255s", name) != 1)
		return false;
	for (int i = 0; i < pattern_count; i++) {
		bool without = patterns[i][0] == '!';

		if (!fnmatch(patterns[i] + without, name, 0))
			wanted = !without;
	}
	return wanted;
}

/* The next line that is wanted, to be freed, or NULL. */
static char *next_line(void)
{
	char *line = NULL;
	size_t room = 0;

	pthread_mutex_lock(&lock);
	do {
		if (getline(&line, &room, manifest) <= 0) {
			free(line);
			line = NULL;
			break;
		}
		line[strcspn(line, "\n")] = '\0';
	} while (!is_wanted(line));
	pthread_mutex_unlock(&lock);
	return line;
}

static void take_snapshot(struct manifest_image *image, char *word)
{
	char *file = strchr(word, '=');

	if (!file || image->snapshot_count == MANIFEST_MAX_SNAPSHOTS)
		die("%s: what is %s?", image->name, word);
	*file++ = '\0';
	image->snapshots[image->snapshot_count++] = (struct manifest_snapshot){
		.tag = strchr(word, ':') + 1,
		.file = file,
	};
}

static void take_word(struct manifest_image *image, char *word)
{
	struct manifest_layer *last = &image->layers[image->layer_count - 1];
	struct manifest_check check;
	int used;

	if (!strncmp(word, "qcow2:", 6) || !strncmp(word, "raw:", 4)) {
		if (image->layer_count == QCOW2BLK_MAX_LAYERS)
			die("%s: too many layers", image->name);
		image->layers[image->layer_count++] = (struct manifest_layer){
			.file = strchr(word, ':') + 1,
			.raw = word[0] == 'r',
		};
	} else if (image->layer_count &&
		   (!strncmp(word, "data:", 5) || !strncmp(word, "rawdata:", 8))) {
		last->data = strchr(word, ':') + 1;
		last->data_is_raw = word[0] == 'r';
	} else if (!strncmp(word, "snapshot:", 9)) {
		take_snapshot(image, word);
	} else if (sscanf(word, "%llu+%llu=%n", (unsigned long long *)&check.off,
			  (unsigned long long *)&check.len, &used) == 2) {
		if (image->check_count == MANIFEST_MAX_CHECKS)
			die("%s: too many checks", image->name);
		check.file = word + used;
		image->checks[image->check_count++] = check;
	} else {
		die("%s: what is %s?", image->name, word);
	}
}

bool manifest_next(struct manifest_image *image)
{
	char *rest, *word;

	memset(image, 0, sizeof(*image));
	image->line = next_line();
	if (!image->line)
		return false;
	image->name = strtok_r(image->line, " ", &rest);
	image->size = strtoull(strtok_r(NULL, " ", &rest) ?: "0", NULL, 0);
	while ((word = strtok_r(NULL, " ", &rest)))
		take_word(image, word);
	return true;
}

void manifest_free(struct manifest_image *image)
{
	free(image->line);
}

int manifest_open_file(const char *dir, const char *file, int flags)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	/* O_NOATIME as the tool does: a read must not write. */
	fd = open(path, flags | O_CLOEXEC | O_NOATIME);
	if (fd < 0)
		die("%s: %m", path);
	return fd;
}
