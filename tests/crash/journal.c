// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdlib.h>
#include <string.h>

#include "journal.h"
#include "rig.h"

/* --- marks --------------------------------------------------------------------------------- */

/* A number and the comma after it. */
static bool number(const char **text, const char *end, uint64_t *value)
{
	const char *at = *text;

	*value = 0;
	while (at < end && *at >= '0' && *at <= '9')
		*value = *value * 10 + *at++ - '0';
	if (at == *text || (at < end && *at != ','))
		return false;
	*text = at < end ? at + 1 : at;
	return true;
}

static struct entry *entry_of(struct journal *j, uint64_t id)
{
	if (!id || id >= VERSION_INITIAL)
		return NULL;
	if (id >= j->count) {
		uint32_t more = id + 64;

		j->entries = realloc(j->entries, more * sizeof(*j->entries));
		if (!j->entries)
			die("no memory");
		memset(j->entries + j->count, 0, (more - j->count) * sizeof(*j->entries));
		j->count = more;
	}
	return &j->entries[id];
}

static bool is_of_snapshot(const struct entry *e)
{
	return e->type == 'S' || e->type == 'A' || e->type == 'D';
}

/* Nobody knows whether one that failed has come to pass, until the next one has. */
static bool take_size(struct journal *j, struct entry *e, const char *text, const char *end)
{
	if (!number(&text, end, &e->count) || e->count > j->sectors)
		return false;
	e->lba = e->count < j->size ? e->count : j->size;
	return true;
}

static bool take_start(struct journal *j, char type, uint64_t id, const char *text,
		       const char *end, size_t place)
{
	struct entry *e = entry_of(j, id);

	if (!e || e->type)
		return false;
	*e = (struct entry) { .type = type, .start = place, .done = NEVER };
	if (type == 'f' || type == 'q')
		return true;
	if (is_of_snapshot(e)) {
		if (end - text > SNAPSHOT_NAME_MAX)
			return false;
		memcpy(e->name, text, end - text);
		return end > text;
	}
	if (type == 'R')
		return take_size(j, e, text, end);
	return number(&text, end, &e->lba) && number(&text, end, &e->count) &&
	       e->lba < j->sectors && e->count <= j->sectors - e->lba;
}

static bool take_end(struct journal *j, char type, uint64_t id, const char *text,
		     const char *end, size_t place)
{
	struct entry *e = entry_of(j, id);

	if (!e || !e->type || e->done != NEVER)
		return false;
	if (type == 'v') {
		e->values = text;
		e->values_len = end - text;
	}
	if (type != 'x')
		e->done = place;
	if (e->type == 'q')
		j->detached = e->done;
	if (e->type == 'R' && e->done != NEVER)
		j->size = e->count;
	return true;
}

static bool take(struct journal *j, const char *text, const char *end, size_t place)
{
	uint64_t id;
	char type;

	if (end - text < 3 || text[1] != ',')
		return false;
	type = text[0];
	text += 2;
	if (!number(&text, end, &id))
		return false;
	if (type == 'b') {
		j->run = id;
		return true;
	}
	if (strchr("wzdrfqSADR", type))
		return take_start(j, type, id, text, end, place);
	if (strchr("cxv", type))
		return take_end(j, type, id, text, end, place);
	return false;
}

uint64_t journal_most_sectors(const struct log *log, uint64_t sectors)
{
	for (size_t i = 0; i < log->count; i++) {
		const char *text = log->ops[i].data, *end = text + log->ops[i].len, *next;
		uint64_t id, size;

		for (; log->ops[i].type == LOG_MARK && text < end; text = next) {
			const char *stop = memchr(text, ';', end - text);

			stop = stop ? stop : end;
			next = stop + 1;
			if (*text != 'R' || end - text < 3)
				continue;
			text += 2;
			if (number(&text, stop, &id) && number(&text, stop, &size) && size > sectors)
				sectors = size;
		}
	}
	return sectors;
}

bool journal_load(struct journal *j, const struct log *log, const uint32_t *initial,
		  uint64_t sectors, const char **why)
{
	memset(j, 0, sizeof(*j));
	j->first_size = sectors;
	j->size = sectors;
	sectors = journal_most_sectors(log, sectors);
	j->sectors = sectors;
	j->initial = initial;
	j->detached = NEVER;
	j->point = NEVER;
	j->settled = calloc(sectors + 1, sizeof(*j->settled));
	j->zeros = calloc(sectors + 1, sizeof(*j->zeros));
	if (!j->settled || !j->zeros)
		die("no memory");
	for (size_t i = 0; i < log->count; i++) {
		const char *text = log->ops[i].data;
		const char *end = text + log->ops[i].len;

		if (log->ops[i].type != LOG_MARK)
			continue;
		while (text < end) {
			const char *stop = memchr(text, ';', end - text);

			if (!stop)
				stop = end;
			if (stop > text && !take(j, text, stop, i)) {
				*why = "has a mark that makes no sense";
				return false;
			}
			text = stop + 1;
		}
	}
	return true;
}

void journal_free(struct journal *j)
{
	free(j->entries);
	free(j->settled);
	free(j->zeros);
}

/* --- what may be --------------------------------------------------------------------------- */

static void settle_sectors(struct journal *j, const struct entry *e, uint64_t lba, uint64_t count)
{
	for (uint64_t s = lba; s < lba + count; s++) {
		if (j->settled[s] < e->start + 1)
			j->settled[s] = e->start + 1;
	}
}

static void settle(struct journal *j, size_t flushed, size_t applied)
{
	memset(j->settled, 0, j->sectors * sizeof(*j->settled));
	for (uint32_t id = 1; id < j->count; id++) {
		const struct entry *e = &j->entries[id];

		if ((e->type == 'w' || e->type == 'z') && e->done < flushed)
			settle_sectors(j, e, e->lba, e->count);
		else if (e->type == 'A' && e->done < applied)
			settle_sectors(j, e, 0, j->sectors);
		else if (e->type == 'R' && e->is_size)
			settle_sectors(j, e, e->lba, j->sectors - e->lba);
	}
}

/* Not over when the last settled write of the sector started. */
static bool may_last(const struct journal *j, const struct entry *e, uint64_t lba)
{
	return e->done == NEVER || e->done + 1 > j->settled[lba];
}

static void find_applied_zeros(struct journal *j, const struct entry *e)
{
	for (uint64_t s = 0; s < j->sectors; s++)
		j->zeros[s] |= may_last(j, e, s) && (!e->applied || !contents[e->applied[s]].hash);
}

static void find_zeros(struct journal *j)
{
	for (uint64_t s = 0; s < j->sectors; s++)
		j->zeros[s] = !contents[j->initial[s]].hash && !j->settled[s];
	for (uint32_t id = 1; id < j->count; id++) {
		const struct entry *e = &j->entries[id];

		if (e->type == 'A' && e->start < j->point)
			find_applied_zeros(j, e);
		for (uint64_t s = e->lba; e->type == 'R' && e->is_size && s < j->sectors; s++)
			j->zeros[s] |= may_last(j, e, s);
		if ((e->type != 'z' && e->type != 'd') || e->start >= j->point)
			continue;
		for (uint64_t s = e->lba; s < e->lba + e->count; s++)
			j->zeros[s] |= may_last(j, e, s);
	}
}

/* The new size that was done last before this place, or NULL. */
static const struct entry *last_size(const struct journal *j, size_t point)
{
	const struct entry *last = NULL;

	for (uint32_t id = 1; id < j->count; id++) {
		const struct entry *e = &j->entries[id];

		if (e->type == 'R' && e->done < point && (!last || e->start > last->start))
			last = e;
	}
	return last;
}

/*
 * Which sizes has the disk had, if it has this one now? Those that were done, and one that is on its
 * way, or has failed in the end. Return: the sum of places, for these; 0: it cannot have it.
 */
static size_t find_sizes(struct journal *j, size_t point, uint64_t sectors)
{
	const struct entry *last = last_size(j, point);
	bool found = (last ? last->count : j->first_size) == sectors;
	size_t sum = 1;

	for (uint32_t id = 1; id < j->count; id++) {
		struct entry *e = &j->entries[id];
		bool later = e->start < point && e->done >= point && (!last || e->start > last->start);

		if (e->type != 'R')
			continue;
		e->is_size = e->done < point || (later && !found && e->count == sectors);
		found |= e->is_size && later;
		sum += e->is_size ? e->start + 1 : 0;
	}
	return found ? sum : 0;
}

static void look_at(struct journal *j, size_t flushed, size_t applied, size_t resized,
		    size_t point)
{
	if (j->point == NEVER || flushed != j->flushed || applied != j->applied ||
	    resized != j->resized)
		settle(j, flushed, applied);
	j->flushed = flushed;
	j->applied = applied;
	j->resized = resized;
	j->point = point;
	find_zeros(j);
}

bool journal_move(struct journal *j, size_t point, uint64_t sectors)
{
	size_t resized = find_sizes(j, point, sectors);
	size_t flushed = 0, applied = 0;

	for (uint32_t id = 1; id < j->count; id++) {
		const struct entry *e = &j->entries[id];

		if (e->done >= point)
			continue;
		if ((e->type == 'f' || e->type == 'q' || e->type == 'R' || is_of_snapshot(e)) &&
		    e->start >= flushed)
			flushed = e->start + 1;
		if (e->type == 'A' && e->done >= applied)
			applied = e->done + 1;
	}
	if (resized)
		look_at(j, flushed, applied, resized, point);
	return resized;
}

void journal_move_to_read(struct journal *j, size_t start, size_t done)
{
	const struct entry *last = last_size(j, start);
	size_t resized = find_sizes(j, start, last ? last->count : j->first_size);

	look_at(j, start + 1, start + 1, resized, done);
}

static const char *judge_version(const struct journal *j, uint64_t lba, uint64_t version)
{
	const struct entry *e = version && version < j->count ? &j->entries[version] : NULL;

	if (!e || e->type != 'w' || lba < e->lba || lba >= e->lba + e->count)
		return "FOREIGN";
	if (e->start >= j->point)
		return "FUTURE";
	return may_last(j, e, lba) ? NULL : "LOST";
}

/* Has it come with a snapshot? */
static bool may_be_applied(const struct journal *j, uint64_t lba, uint64_t hash)
{
	for (uint32_t id = 1; id < j->count; id++) {
		const struct entry *e = &j->entries[id];

		if (e->type == 'A' && e->start < j->point && may_last(j, e, lba) &&
		    (!e->applied || contents[e->applied[lba]].hash == hash))
			return true;
	}
	return false;
}

static const char *judge_content(const struct journal *j, uint64_t lba, uint32_t content)
{
	const struct content *c = &contents[content], *initial = &contents[j->initial[lba]];

	if (c->kind == SECTOR_ZEROS)
		return j->zeros[lba] ? NULL : "ZEROS";
	if (content == j->initial[lba] || c->hash == initial->hash)
		return j->settled[lba] ? "LOST" : NULL;
	if (c->kind != SECTOR_DATA)
		return "GARBAGE";
	if (c->id.lba != lba || c->id.run != j->run)
		return "FOREIGN";
	return judge_version(j, lba, c->id.version);
}

const char *journal_judge(const struct journal *j, uint64_t lba, uint32_t content)
{
	const char *word = judge_content(j, lba, content);

	return word && may_be_applied(j, lba, contents[content].hash) ? NULL : word;
}

static const char *judge_value(const struct journal *j, uint64_t lba, const char *text, size_t len)
{
	if (len == 1 && *text == '-')
		return j->zeros[lba] ? NULL : "ZEROS";
	if (*text != 'h')
		return judge_version(j, lba, strtoull(text, NULL, 10));
	if (contents[j->initial[lba]].hash != strtoull(text + 1, NULL, 16))
		return "FOREIGN";
	return j->settled[lba] ? "LOST" : NULL;
}

/* The hash of a sector that a write of this run has filled. */
static uint64_t hash_of_version(const struct journal *j, uint64_t lba, uint32_t version)
{
	char buf[SECTOR];

	sector_fill(buf, &(struct sector_id){ .lba = lba, .version = version, .run = j->run });
	return sector_hash(buf);
}

static const char *judge_read_sector(const struct journal *j, uint64_t lba, const char *text,
				     size_t len)
{
	uint64_t hash = *text == 'h' ? strtoull(text + 1, NULL, 16) :
		       *text == '-' ? 0 : hash_of_version(j, lba, strtoul(text, NULL, 10));
	const char *word = judge_value(j, lba, text, len);

	return word && may_be_applied(j, lba, hash) ? NULL : word;
}

static const char *judge_read(struct journal *j, const struct entry *e, uint64_t *lba)
{
	const char *at = e->values, *end = at + e->values_len, *word;

	journal_move_to_read(j, e->start, e->done);
	for (*lba = e->lba; *lba < e->lba + e->count; (*lba)++) {
		const char *stop = memchr(at, ',', end - at);

		if (!stop)
			stop = end;
		if (at >= end)
			return "MISSING";
		word = judge_read_sector(j, *lba, at, stop - at);
		if (word)
			return word;
		at = stop + 1;
	}
	return NULL;
}

const char *journal_judge_reads(struct journal *j, uint32_t *bad, uint64_t *lba)
{
	for (*bad = 1; *bad < j->count; (*bad)++) {
		const struct entry *e = &j->entries[*bad];
		const char *word;

		if (e->type != 'r' || !e->values)
			continue;
		word = judge_read(j, e, lba);
		if (word)
			return word;
	}
	return NULL;
}
