// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * content LAYER LBA COUNT	print sectors of a disk as they are before any workload; LAYER tells
 *				those of the image, its base and its snapshots apart
 */
#include <stdio.h>
#include <stdlib.h>

#include "sector.h"

int main(int argc, char **argv)
{
	struct sector_id id;
	char buf[SECTOR];
	uint64_t end;

	if (argc != 4) {
		fprintf(stderr, "usage: content LAYER LBA COUNT\n");
		return 2;
	}
	id = (struct sector_id) { .version = VERSION_INITIAL + atoi(argv[1]) };
	end = strtoull(argv[2], NULL, 0) + strtoull(argv[3], NULL, 0);
	for (id.lba = strtoull(argv[2], NULL, 0); id.lba < end; id.lba++) {
		sector_fill(buf, &id);
		fwrite(buf, sizeof(buf), 1, stdout);
	}
	return 0;
}
