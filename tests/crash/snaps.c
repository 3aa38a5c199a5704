// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "rig.h"
#include "snaps.h"

static bool __attribute__((format(printf, 2, 3))) wrong(struct snaps *s, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(s->words, sizeof(s->words), format, args);
	va_end(args);
	return false;
}

static struct snap *find(struct snaps *s, const char *name)
{
	for (unsigned int i = 0; i < s->count; i++) {
		if (!strcmp(s->all[i].name, name))
			return &s->all[i];
	}
	return NULL;
}

static struct snap *add(struct snaps *s, const char *name)
{
	struct snap *snap = &s->all[s->count++];

	if (s->count > SNAPS_MAX)
		die("so many snapshots");
	strcpy(snap->name, name);
	return snap;
}

static uint32_t *read_ids(const struct image *img, const struct base *base,
			  const struct check_snapshot *found)
{
	uint32_t *ids = calloc(found->header.size / SECTOR + 1, sizeof(*ids));

	if (!ids)
		die("no memory");
	guest_read(img, &found->header, base, ids);
	return ids;
}

/* --- what they hold ------------------------------------------------------------------------- */

/* What a new one holds a read at that time could have returned. */
static bool is_right(struct snaps *s, const struct snap *snap, struct journal *journal)
{
	if (!snap->create)
		return true;
	journal_move_to_read(journal, snap->create->start, snap->create->done);
	for (uint64_t lba = 0; lba < snap->sectors; lba++) {
		const char *word = journal_judge(journal, lba, snap->ids[lba]);

		if (word)
			return wrong(s, "SNAPSHOT %s: %s, sector %llu", snap->name, word,
				     (unsigned long long)lba);
	}
	return true;
}

/* One that was seen holds what it held when it was first seen. */
static bool holds_the_same(struct snaps *s, struct snap *snap, uint32_t *ids,
			   struct journal *journal)
{
	if (!snap->ids) {
		snap->ids = ids;
		return is_right(s, snap, journal);
	}
	for (uint64_t lba = 0; lba < snap->sectors; lba++) {
		if (contents[ids[lba]].hash != contents[snap->ids[lba]].hash) {
			free(ids);
			return wrong(s, "SNAPSHOT %s: CHANGED, sector %llu", snap->name,
				     (unsigned long long)lba);
		}
	}
	free(ids);
	return true;
}

static bool judge_one(struct snaps *s, struct snap *snap, struct journal *journal,
		      const struct image *img, const struct base *base,
		      const struct check_snapshot *found)
{
	uint64_t sectors = found->header.size / SECTOR;

	if (!snap->ids)
		snap->sectors = snap->create ? s->sectors : sectors;
	if (sectors != snap->sectors)
		return wrong(s, "SNAPSHOT %s: SIZE", snap->name);
	return holds_the_same(s, snap, read_ids(img, base, found), journal);
}

/* --- the start ------------------------------------------------------------------------------ */

/* The operation on snapshots that started first, of those from @from on. */
static struct entry *next_operation(struct journal *journal, size_t from)
{
	struct entry *next = NULL;

	for (uint32_t id = 1; id < journal->count; id++) {
		struct entry *e = &journal->entries[id];

		if (e->name[0] && e->start >= from && (!next || e->start < next->start))
			next = e;
	}
	return next;
}

static bool take_created(struct snaps *s, const struct entry *e, struct journal *journal,
			 struct replay *replay, const struct base *base)
{
	struct check_snapshot list[SNAPS_MAX];
	struct snap *snap = add(s, e->name);
	struct check check;
	unsigned int count;

	snap->create = e;
	if (e->done == NEVER)
		return true;
	replay_prefix(replay, e->done + 1);
	check_image(&check, &replay->state);
	if (!check.opens || check.corruptions || check.strict)
		return wrong(s, "CORRUPT after snapshot %s was created: %.90s", e->name, check.what);
	count = check_list_snapshots(&replay->state, &check.header, list, SNAPS_MAX);
	for (unsigned int i = 0; i < count; i++) {
		if (!strcmp(list[i].name, e->name))
			return judge_one(s, snap, journal, &replay->state, base, &list[i]);
	}
	return wrong(s, "SNAPSHOT %s: MISSING right after it was created", e->name);
}

static bool take_operation(struct snaps *s, struct entry *e, struct journal *journal,
			   struct replay *replay, const struct base *base)
{
	struct snap *snap = find(s, e->name);

	s->any_change = true;
	if (e->type == 'S')
		return take_created(s, e, journal, replay, base);
	if (!snap)
		return wrong(s, "TEST: nobody knows of snapshot %s", e->name);
	if (e->type == 'A')
		e->applied = snap->ids;
	else
		snap->destroy = e;
	return true;
}

bool snaps_start(struct snaps *s, struct journal *journal, struct replay *replay,
		 const struct base *base, const struct qcow2_header *header)
{
	struct check_snapshot list[SNAPS_MAX];
	unsigned int count = check_list_snapshots(&replay->initial, header, list, SNAPS_MAX);
	struct entry *e;

	s->sectors = header->size / SECTOR;
	for (unsigned int i = 0; i < count; i++) {
		if (!judge_one(s, add(s, list[i].name), journal, &replay->initial, base, &list[i]))
			return false;
	}
	for (size_t from = 0; (e = next_operation(journal, from)); from = e->start + 1) {
		if (!take_operation(s, e, journal, replay, base))
			return false;
	}
	return true;
}

void snaps_end(struct snaps *s)
{
	for (unsigned int i = 0; i < s->count; i++)
		free(s->all[i].ids);
}

/* --- a state -------------------------------------------------------------------------------- */

static bool may_be(const struct snap *snap, size_t point)
{
	return (!snap->create || snap->create->start < point) &&
	       (!snap->destroy || snap->destroy->done >= point);
}

static bool must_be(const struct snap *snap, size_t point)
{
	return (!snap->create || snap->create->done < point) &&
	       (!snap->destroy || snap->destroy->start >= point);
}

bool snaps_judge(struct snaps *s, struct journal *journal, const struct image *state,
		 const struct base *base, const struct qcow2_header *header, size_t point)
{
	struct check_snapshot list[SNAPS_MAX];
	unsigned int count = check_list_snapshots(state, header, list, SNAPS_MAX);
	bool seen[SNAPS_MAX] = { false };

	for (unsigned int i = 0; i < count; i++) {
		struct snap *snap = find(s, list[i].name);

		if (!snap || !may_be(snap, point) || seen[snap - s->all])
			return wrong(s, "SNAPSHOT %s: there should be none", list[i].name);
		seen[snap - s->all] = true;
		if (!judge_one(s, snap, journal, state, base, &list[i]))
			return false;
	}
	for (unsigned int i = 0; i < s->count; i++) {
		if (must_be(&s->all[i], point) && !seen[i])
			return wrong(s, "SNAPSHOT %s: MISSING", s->all[i].name);
	}
	return true;
}

bool snaps_are_changing(const struct journal *journal, size_t point)
{
	for (uint32_t id = 1; id < journal->count; id++) {
		const struct entry *e = &journal->entries[id];

		if ((e->name[0] || e->type == 'R') && e->start < point && e->done >= point &&
		    e->done != NEVER)
			return true;
	}
	return false;
}
