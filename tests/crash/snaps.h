/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The internal snapshots that a state may have: those of before, and those that the workload has
 * created, each wholly or not at all.
 */
#ifndef CRASH_SNAPS_H
#define CRASH_SNAPS_H

#include "check.h"
#include "guest.h"
#include "journal.h"
#include "replay.h"

#define SNAPS_MAX	128

/**
 * struct snap - a snapshot that there is, or was, or may be
 * @create, @destroy: operations of the workload, or NULL.
 * @sectors: of its disk; one of before may have another size.
 * @ids: what it holds; NULL as long as no state had it.
 */
struct snap {
	char name[32];
	const struct entry *create;
	const struct entry *destroy;
	uint64_t sectors;
	uint32_t *ids;
};

/**
 * struct snaps - all of them
 * @any_change: the workload has changed some.
 * @words: what is wrong.
 */
struct snaps {
	struct snap all[SNAPS_MAX];
	unsigned int count;
	uint64_t sectors;
	bool any_change;
	char words[160];
};

/*
 * Find out what each holds, and hold that against the journal; tell the journal what there was to
 * apply. @header: of the image before. Return: false, with words.
 */
bool snaps_start(struct snaps *s, struct journal *journal, struct replay *replay,
		 const struct base *base, const struct qcow2_header *header);
void snaps_end(struct snaps *s);

/* Judge those of a state after @point records; its @header is whole. Return: false, with words. */
bool snaps_judge(struct snaps *s, struct journal *journal, const struct image *state,
		 const struct base *base, const struct qcow2_header *header, size_t point);

/* Is one being created, applied or deleted after @point records, or the disk's size changing? */
bool snaps_are_changing(const struct journal *journal, size_t point);

#endif
