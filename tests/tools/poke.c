// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * poke FILE FIELD=VALUE...
 *
 * Set fields of a qcow2 header. FIELD: a name of the specification, or OFFSET:WIDTH
 * with a width in bytes.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "qcow2_format.h"
#include "rig.h"

static const struct {
	const char *name;
	size_t off;
	size_t width;
} fields[] = {
#define FIELD(name) { #name, offsetof(struct qcow2_disk_header, name), \
	sizeof(((struct qcow2_disk_header *)0)->name) }
	FIELD(magic), FIELD(version), FIELD(backing_file_offset), FIELD(backing_file_size),
	FIELD(cluster_bits), FIELD(size), FIELD(crypt_method), FIELD(l1_size),
	FIELD(l1_table_offset), FIELD(refcount_table_offset), FIELD(refcount_table_clusters),
	FIELD(nb_snapshots), FIELD(snapshots_offset), FIELD(incompatible_features),
	FIELD(compatible_features), FIELD(autoclear_features), FIELD(refcount_order),
	FIELD(header_length), FIELD(compression_type),
};

static void find_field(const char *name, size_t len, unsigned long long *off, size_t *width)
{
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		if (strlen(fields[i].name) == len && !strncmp(fields[i].name, name, len)) {
			*off = fields[i].off;
			*width = fields[i].width;
			return;
		}
	}
	if (sscanf(name, "%lli:%zu=", (long long *)off, width) != 2 || *width < 1 || *width > 8)
		die("poke: what is %s?", name);
}

int main(int argc, char **argv)
{
	int fd;

	if (argc < 3)
		die("usage: poke FILE FIELD=VALUE...");
	fd = open(argv[1], O_WRONLY);
	if (fd < 0)
		die("%s: %m", argv[1]);
	for (int i = 2; i < argc; i++) {
		const char *equals = strchr(argv[i], '=');
		unsigned long long off, value;
		unsigned char bytes[8];
		size_t width;

		if (!equals)
			die("poke: no value in %s", argv[i]);
		find_field(argv[i], equals - argv[i], &off, &width);
		value = strtoull(equals + 1, NULL, 0);
		for (size_t j = 0; j < width; j++)
			bytes[j] = value >> (width - 1 - j) * 8;
		if (pwrite(fd, bytes, width, off) != (ssize_t)width)
			die("%s: %m", argv[1]);
	}
	return close(fd) ? 1 : 0;
}
