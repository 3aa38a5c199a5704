// SPDX-License-Identifier: GPL-2.0-or-later
#include <string.h>

#include "sector.h"

#define MAGIC	0x726f746365736b63ULL	/* "cksector" */
#define WORDS	(SECTOR / 8)

static uint64_t hash_words(const uint64_t *words, unsigned int count)
{
	uint64_t h = 0x9e3779b97f4a7c15ULL;

	for (unsigned int i = 0; i < count; i++) {
		h = (h ^ words[i]) * 0xff51afd7ed558ccdULL;
		h ^= h >> 32;
	}
	return h;
}

/* Not the hash itself, which the hash of all words would cancel. */
static uint64_t checksum(const uint64_t *words)
{
	return hash_words(words, WORDS - 1) * 0x9e3779b97f4a7c15ULL + 1;
}

uint64_t sector_hash(const void *buf)
{
	static const uint64_t zeros[WORDS];
	uint64_t words[WORDS];

	if (!memcmp(buf, zeros, SECTOR))
		return 0;
	memcpy(words, buf, SECTOR);
	return hash_words(words, WORDS);
}

uint64_t sector_mix(uint64_t place, uint64_t hash)
{
	uint64_t h = (hash ^ place * 0x9e3779b97f4a7c15ULL) * 0xff51afd7ed558ccdULL;

	return hash ? h ^ h >> 31 : 0;
}

void sector_fill(void *buf, const struct sector_id *id)
{
	uint64_t words[WORDS] = { MAGIC, id->lba, (uint64_t)id->run << 32 | id->version };
	uint64_t filler = hash_words(words, 3);

	for (unsigned int i = 3; i < WORDS - 1; i++) {
		words[i] = filler;
		/* Compresses, but not to nothing. */
		if (i < WORDS * 5 / 8)
			filler = (filler ^ filler >> 29) * 0xbf58476d1ce4e5b9ULL;
	}
	words[WORDS - 1] = checksum(words);
	memcpy(buf, words, SECTOR);
}

enum sector_kind sector_identify(const void *buf, struct sector_id *id)
{
	uint64_t words[WORDS];

	if (!sector_hash(buf))
		return SECTOR_ZEROS;
	memcpy(words, buf, SECTOR);
	if (words[0] != MAGIC || words[WORDS - 1] != checksum(words))
		return SECTOR_OTHER;
	*id = (struct sector_id) {
		.lba = words[1], .version = (uint32_t)words[2], .run = words[2] >> 32,
	};
	return SECTOR_DATA;
}

/* Someone else's data: a sector of a run that there never is. */
void sector_poison(void *buf)
{
	sector_fill(buf, &(struct sector_id){ .lba = 7, .version = 7, .run = ~0U });
}
