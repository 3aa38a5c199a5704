// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fill FILE SIZE SEED
 *
 * Write SIZE bytes in which every sector is different. Most compress well, some
 * not at all, as in a real disk.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rig.h"

#define SECTOR 512

static void make_sector(char *sector, uint64_t number, uint64_t seed)
{
	static const char *const words[] = {
		"cluster ", "table ", "guest ", "host ", "offset ", "entry ", "layer ", "extent ",
	};
	uint64_t state = seed << 32 ^ number;
	uint64_t kind = rig_random(&(uint64_t){ seed << 32 ^ number / 16 }) % 8;
	size_t used = snprintf(sector, SECTOR, "%016llx sector %llu\n", (unsigned long long)seed,
			       (unsigned long long)number);

	if (kind == 0) {
		for (; used + 8 <= SECTOR; used += 8)
			memcpy(sector + used, &(uint64_t){ rig_random(&state) }, 8);
		memset(sector + used, 'r', SECTOR - used);
	} else if (kind == 1) {
		memset(sector + used, number, SECTOR - used);
	} else {
		while (used < SECTOR) {
			const char *word = words[rig_random(&state) % ARRAY_SIZE(words)];
			size_t len = strlen(word);

			if (len > SECTOR - used)
				len = SECTOR - used;
			memcpy(sector + used, word, len);
			used += len;
		}
	}
}

int main(int argc, char **argv)
{
	uint64_t size, seed;
	FILE *file;

	if (argc != 4)
		die("usage: fill FILE SIZE SEED");
	size = strtoull(argv[2], NULL, 0);
	seed = strtoull(argv[3], NULL, 0);
	file = fopen(argv[1], "wb");
	if (!file)
		die("%s: %m", argv[1]);
	for (uint64_t off = 0; off < size; off += SECTOR) {
		char sector[SECTOR + 1];

		make_sector(sector, off / SECTOR, seed);
		fwrite(sector, 1, size - off < SECTOR ? size - off : SECTOR, file);
	}
	return fclose(file) ? 1 : 0;
}
