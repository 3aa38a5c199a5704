// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "decrypt.h"
#include "judge.h"
#include "rig.h"

static bool __attribute__((format(printf, 2, 3))) wrong(struct judge *j, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(j->words, sizeof(j->words), format, args);
	va_end(args);
	return false;
}

/* Where a sector's content comes from, in words. */
static void describe(char *text, size_t room, uint32_t content)
{
	const struct content *c = &contents[content];

	if (content == CONTENT_POISON)
		snprintf(text, room, "what cannot be read, or was never written");
	else if (c->kind == SECTOR_ZEROS)
		snprintf(text, room, "zeros");
	else if (c->kind == SECTOR_DATA)
		snprintf(text, room, "sector %llu, version %x, run %x", (unsigned long long)c->id.lba,
			 c->id.version, c->id.run);
	else
		snprintf(text, room, "%02x%02x%02x%02x...", c->data[0], c->data[1], c->data[2],
			 c->data[3]);
}

/* What lies below the image in this state: a raw file, or an image that changes like this one. */
static const struct base *below(struct judge *j, const struct image *state)
{
	if (!j->merged)
		return &j->base;
	guest_read(state->data, &j->below_check.header, &j->base, j->below.ids);
	j->below.sectors = j->below_check.header.size / SECTOR;
	return &j->below;
}

/* That image by itself. */
static bool below_is_right(struct judge *j)
{
	struct check *c = &j->below_check;

	if (!j->merged)
		return true;
	check_image(c, j->replay.state.data);
	if (!c->opens || c->corruptions || c->strict)
		return wrong(j, "CORRUPT: the base: %u faults: %s", c->corruptions + c->strict, c->what);
	if ((uint64_t)c->leaks << c->header.cluster_bits > LEAK_LIMIT)
		return wrong(j, "LEAKS: %u clusters of the base", c->leaks);
	if (c->header.size != j->below_size && c->header.size != j->header.size)
		return wrong(j, "SIZE: %llu bytes of the base", (unsigned long long)c->header.size);
	return true;
}

static bool contents_are_right(struct judge *j, size_t point)
{
	uint64_t first = 0, sectors = j->check.header.size / SECTOR;
	unsigned int bad = 0;
	const char *word = NULL;
	char text[96];

	if (!journal_move(&j->journal, point, sectors))
		return wrong(j, "SIZE: %llu bytes", (unsigned long long)j->check.header.size);
	guest_read(&j->replay.state, &j->check.header, below(j, &j->replay.state), j->guest);
	for (uint64_t s = 0; s < sectors; s++) {
		const char *is = journal_judge(&j->journal, s, j->guest[s]);

		if (is && !bad++) {
			first = s;
			word = is;
		}
	}
	if (!bad)
		return true;
	describe(text, sizeof(text), j->guest[first]);
	return wrong(j, "%s: sector %llu (of %u) holds %s", word, (unsigned long long)first, bad, text);
}

/* A raw data file alone is a disk like any other, and the same one as with the image. */
static bool data_are_right(struct judge *j)
{
	const struct image *data = j->replay.state.data;
	char text[96];

	uint64_t sectors = j->check.header.size / SECTOR;

	for (uint64_t s = 0; qcow2_data_file_is_raw(&j->check.header) && s < sectors; s++) {
		const char *is = journal_judge(&j->journal, s, data->ids[s]);

		if (!is && contents[data->ids[s]].hash != contents[j->guest[s]].hash)
			is = "DIFFERS";
		if (!is)
			continue;
		describe(text, sizeof(text), data->ids[s]);
		return wrong(j, "RAW %s: sector %llu of the data file holds %s", is,
			     (unsigned long long)s, text);
	}
	return true;
}

static bool snapshots_are_right(struct judge *j, size_t point)
{
	return snaps_judge(&j->snaps, &j->journal, &j->replay.state, &j->base, &j->check.header,
			   point) || wrong(j, "%s", j->snaps.words);
}

static bool snapshots_are_kept(struct judge *j)
{
	const struct image *was = &j->replay.initial, *is = &j->replay.state;

	if (j->snaps.any_change)
		return true;
	for (uint32_t s = 0; j->header.nb_snapshots && s < was->sectors; s++) {
		if (j->kept[s] && contents[was->ids[s]].hash != contents[is->ids[s]].hash)
			return wrong(j, "SNAPSHOT: sector %u of the file was changed", s);
	}
	return true;
}

/* Bits that nobody knows must be gone before anything else is written. */
static bool autoclear_is_clear(struct judge *j)
{
	const struct image *was = &j->replay.initial, *is = &j->replay.state;
	uint64_t unknown = j->check.header.autoclear_features &
			   ~(uint64_t)(QCOW2_AUTOCLEAR_BITMAPS | QCOW2_AUTOCLEAR_DATA_FILE_RAW);

	for (uint32_t s = 1; unknown && s < was->sectors; s++) {
		if (contents[was->ids[s]].hash != contents[is->ids[s]].hash)
			return wrong(j, "AUTOCLEAR: bits %llx are set, and sector %u is written",
				     (unsigned long long)unknown, s);
	}
	return true;
}

static bool bitmaps_are_true(struct judge *j)
{
	const char *why = bitmaps_judge(&j->bitmaps, j->initial_guest, &j->replay.state,
					&j->check.header, j->guest, j->journal.sectors,
					&j->journal, j->end);

	return !why || wrong(j, "%s", why);
}

/* Did a flush of the base fail? Then the disk goes on; what was reserved there, or in use, stays so. */
static bool below_has_failed(const struct judge *j)
{
	for (size_t i = 0; i < j->log.count; i++)
		if (j->log.ops[i].data_file && j->log.ops[i].type == LOG_FSYNC_END &&
		    j->log.ops[i].arg)
			return true;
	return false;
}

static bool bitmaps_below_are_true(struct judge *j)
{
	const char *why = NULL;

	if (j->merged)
		why = bitmaps_judge(&j->below_bitmaps, j->below_was, j->replay.state.data,
				    &j->below_check.header, j->below.ids, j->below_size / SECTOR,
				    NULL, j->end && !below_has_failed(j));
	return !why || wrong(j, "the base: %s", why);
}

bool judge_state(struct judge *j, size_t point)
{
	struct check *c = &j->check;

	check_image(c, &j->replay.state);
	if (!c->opens || c->corruptions || c->strict)
		return wrong(j, "CORRUPT: %u faults: %s", c->corruptions + c->strict, c->what);
	if ((uint64_t)c->leaks << c->header.cluster_bits > LEAK_LIMIT)
		return wrong(j, "LEAKS: %u clusters", c->leaks);
	if (qcow2_data_file_is_raw(&c->header) != qcow2_data_file_is_raw(&j->header))
		return wrong(j, "RAW: the bit has changed");
	return below_is_right(j) && contents_are_right(j, point) && data_are_right(j) &&
	       snapshots_are_right(j, point) && snapshots_are_kept(j) && autoclear_is_clear(j) &&
	       bitmaps_are_true(j) && bitmaps_below_are_true(j);
}

bool judge_end_state(struct judge *j)
{
	bool right;

	if (j->journal.detached == NEVER)
		return true;
	replay_prefix(&j->replay, j->log.count);
	j->end = true;
	right = judge_state(j, j->log.count);
	j->end = false;
	if (!right)
		return false;
	if (j->check.leaks > j->leaks)
		return wrong(j, "LEAKS: %u clusters after a clean detach", j->check.leaks);
	if (j->merged && !below_has_failed(j) && j->below_check.leaks > j->below_leaks)
		return wrong(j, "LEAKS: %u clusters of the base after a clean detach",
			     j->below_check.leaks);
	for (uint64_t s = 0; qcow2_data_file_is_raw(&j->check.header) &&
			     s < j->check.header.size / SECTOR; s++) {
		uint32_t is = j->replay.state.data->ids[s];

		if (contents[is].hash != contents[j->guest[s]].hash)
			return wrong(j, "RAW: sector %llu of the data file is not the disk's",
				     (unsigned long long)s);
	}
	return true;
}

static void keep(void *data, uint64_t off, uint64_t len)
{
	struct judge *j = data;
	uint64_t end = (off + len + SECTOR - 1) / SECTOR;

	for (uint64_t s = off / SECTOR; s < end && s < j->replay.initial.sectors; s++)
		j->kept[s] = true;
}

static bool reads_are_right(struct judge *j)
{
	uint32_t id;
	uint64_t lba;
	const char *word = journal_judge_reads(&j->journal, &id, &lba);

	return !word || wrong(j, "READ %s: read %u, sector %llu", word, id, (unsigned long long)lba);
}

/* The image into which this one is merged, if it is. */
static bool start_below(struct judge *j)
{
	struct check *c = &j->below_check;
	const struct image *img = j->replay.initial.data;
	uint64_t sectors;
	const char *why;

	j->merged = img && !qcow2_has_data_file(&j->header);
	if (!j->merged)
		return true;
	check_image(c, img);
	if (!c->opens || c->corruptions || c->strict)
		return wrong(j, "the base was corrupt before: %s", c->what);
	j->below_leaks = c->leaks + check_hidden_leaks(img, &c->header);
	j->below_size = c->header.size;
	sectors = (j->below_size > j->header.size ? j->below_size : j->header.size) / SECTOR;
	j->below.ids = calloc(sectors + 1, sizeof(*j->below.ids));
	j->below_was = calloc(sectors + 1, sizeof(*j->below_was));
	if (!j->below.ids || !j->below_was)
		die("no memory");
	guest_read(img, &c->header, &j->base, j->below_was);
	return bitmaps_read(&j->below_bitmaps, img, &c->header, &why) || wrong(j, "the base: %s", why);
}

bool judge_start(struct judge *j, const char *log, const char *image, const char *base_path)
{
	uint64_t sectors;
	const char *why;

	memset(j, 0, sizeof(*j));
	contents_start();
	if (!log_load(&j->log, log, &why))
		return wrong(j, "the log %s", why);
	if (!replay_start(&j->replay, &j->log, image))
		return wrong(j, "%s cannot be read, or is no image of this log, or became too big", image);
	if (!decrypt_start(image))
		return wrong(j, "%s.key cannot be used", image);
	if (base_path && !base_load(&j->base, base_path))
		return wrong(j, "%s cannot be read", base_path);

	if (!replay_is_complete(&j->replay))
		return wrong(j, "TEST: the log does not give the file that the store had at the end");

	check_image(&j->check, &j->replay.initial);
	if (!j->check.opens || j->check.corruptions || j->check.strict)
		return wrong(j, "the image was corrupt before: %s", j->check.what);
	j->header = j->check.header;
	j->leaks = j->check.leaks + check_hidden_leaks(&j->replay.initial, &j->header);
	sectors = journal_most_sectors(&j->log, j->header.size / SECTOR);
	j->guest = calloc(sectors + 1, sizeof(*j->guest));
	j->initial_guest = calloc(sectors + 1, sizeof(*j->initial_guest));
	j->kept = calloc(j->replay.initial.sectors + 1, sizeof(*j->kept));
	if (!j->guest || !j->initial_guest || !j->kept)
		die("no memory");
	if (!start_below(j))
		return false;
	guest_read(&j->replay.initial, &j->header, below(j, &j->replay.initial), j->initial_guest);
	check_snapshot_ranges(&j->replay.initial, &j->header, keep, j);
	if (!bitmaps_read(&j->bitmaps, &j->replay.initial, &j->header, &why))
		return wrong(j, "%s", why);
	if (!journal_load(&j->journal, &j->log, j->initial_guest, j->header.size / SECTOR, &why))
		return wrong(j, "the log %s", why);
	if (!snaps_start(&j->snaps, &j->journal, &j->replay, &j->base, &j->header))
		return wrong(j, "%s", j->snaps.words);
	return reads_are_right(j);
}

void judge_end(struct judge *j)
{
	snaps_end(&j->snaps);
	bitmaps_free(&j->bitmaps);
	journal_free(&j->journal);
	replay_end(&j->replay);
	if (j->log.ops)
		log_free(&j->log);
	free(j->base.ids);
	free(j->below.ids);
	free(j->below_was);
	bitmaps_free(&j->below_bitmaps);
	free(j->guest);
	free(j->initial_guest);
	free(j->kept);
	guest_forget();
	decrypt_end();
	contents_free();
}
