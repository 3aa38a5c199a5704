// SPDX-License-Identifier: GPL-2.0-or-later
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "decrypt.h"
#include "replay.h"
#include "rig.h"

/* Of a write that was cut by the crash: which sectors got through. */
enum tear {
	TEAR_NONE,
	TEAR_HEAD,
	TEAR_TAIL,
	TEAR_RANDOM,
	TEAR_BUT_ONE,
};

/* How the operations that are not durable are chosen from. */
enum choice {
	CHOOSE_HALF,
	CHOOSE_MOST,
	CHOOSE_FEW,
	CHOOSE_BUT_ONE,
	CHOOSE_ONE,
	CHOOSE_TABLES,		/* what is no data, all of it or most */
	CHOOSE_DATA,
	CHOOSE_LATER,		/* all from some operation on */
	CHOICES,
};

static const char *const choice_names[CHOICES] = {
	"half", "most", "few", "all but one", "one", "tables", "data", "the later ones",
};

static bool is_write(const struct log_op *op)
{
	return op->type == LOG_WRITE || op->type == LOG_ZEROS;
}

bool replay_changes(const struct log_op *op)
{
	return is_write(op) || op->type == LOG_ALLOCATE || op->type == LOG_DISCARD ||
	       op->type == LOG_TRUNCATE;
}

static bool percent(uint64_t *random, unsigned int chance)
{
	return rig_random(random) % 100 < chance;
}

/* --- from when on is what there ------------------------------------------------------------ */

static size_t begin_of(const struct log *log, size_t end)
{
	size_t i = end;

	while (i-- > 0) {
		if (log->ops[i].type == LOG_FSYNC_BEGIN && log->ops[i].off == log->ops[end].off)
			return i;
	}
	return 0;
}

static void find_durable(struct replay *r)
{
	const struct log *log = r->log;
	size_t oldest[2] = { 0 };	/* of each file, all before it are settled */

	for (size_t i = 0; i < log->count; i++) {
		const struct log_op *op = &log->ops[i];
		bool at_once = !replay_changes(op) || (is_write(op) && op->arg & LOG_FUA);

		r->durable[i] = at_once ? i : SIZE_MAX - 1;
	}
	for (size_t end = 0; end < log->count; end++) {
		bool file = log->ops[end].data_file;
		size_t begin;

		if (log->ops[end].type != LOG_FSYNC_END)
			continue;
		begin = begin_of(log, end);
		for (size_t i = oldest[file]; i < begin; i++) {
			if (log->ops[i].data_file == file && r->durable[i] == SIZE_MAX - 1)
				r->durable[i] = log->ops[end].arg ? SIZE_MAX : end;
		}
		oldest[file] = begin > oldest[file] ? begin : oldest[file];
	}
}

/* --- applying one --------------------------------------------------------------------------- */

static void apply_allocate(struct image *img, const struct log_op *op)
{
	if (op->arg & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		image_zero(img, op->off, op->len);
	if (!(op->arg & FALLOC_FL_KEEP_SIZE) && op->off + op->len > img->size)
		image_resize(img, op->off + op->len);
}

static void apply(struct replay *r, struct image *img, size_t at)
{
	const struct log_op *op = &r->log->ops[at];
	uint64_t end = op->off + op->len;

	img = op->data_file ? img->data : img;
	switch (op->type) {
	case LOG_WRITE:
		if ((op->off | op->len) % SECTOR)
			image_write(img, op->off, op->data, op->len);
		else
			image_put(img, op->off, r->first[at], op->len, false);
		break;
	case LOG_ZEROS:
		if (end > img->size)
			image_resize(img, end);
		image_zero(img, op->off, op->len);
		break;
	case LOG_ALLOCATE:
		apply_allocate(img, op);
		break;
	case LOG_DISCARD:
		/* A device promises nothing of what was discarded. */
		image_put(img, op->off, CONTENT_POISON, op->len, true);
		break;
	case LOG_TRUNCATE:
		image_resize(img, op->off);
		break;
	default:
		break;
	}
}

static bool gets_through(enum tear tear, uint64_t sector, uint64_t where, uint64_t *random)
{
	switch (tear) {
	case TEAR_HEAD:
		return sector < where;
	case TEAR_TAIL:
		return sector >= where;
	case TEAR_BUT_ONE:
		return sector != where;
	case TEAR_RANDOM:
		return percent(random, 50);
	default:
		return true;
	}
}

/* A write of which some sectors are missing. The file is as long as with all of it. */
static void apply_torn(struct replay *r, size_t at, uint64_t *random)
{
	const struct log_op *op = &r->log->ops[at];
	uint64_t count = op->len / SECTOR, where = rig_random(random) % (count ? count : 1);
	enum tear tear = TEAR_HEAD + rig_random(random) % 4;
	struct image *img = op->data_file ? r->state.data : &r->state;
	bool zeros = op->type == LOG_ZEROS;

	if (!is_write(op) || count < 2 || (op->off | op->len) % SECTOR) {
		apply(r, &r->state, at);
		return;
	}
	if (op->off + op->len > img->size)
		image_resize(img, op->off + op->len);
	for (uint64_t i = 0; i < count; i++) {
		if (gets_through(tear, i, where, random))
			image_put(img, op->off + i * SECTOR,
				  zeros ? CONTENT_ZEROS : r->first[at] + i, SECTOR, zeros);
	}
}

/* --- states --------------------------------------------------------------------------------- */

/* Take in what is certain at @point. */
static void move_base(struct replay *r, size_t point)
{
	if (r->base_from > point) {
		image_copy(&r->base, &r->initial);
		r->base_at = 0;
		r->base_from = 0;
	}
	while (r->base_at < point && r->durable[r->base_at] < point) {
		if (r->durable[r->base_at] >= r->base_from)
			r->base_from = r->durable[r->base_at] + 1;
		apply(r, &r->base, r->base_at++);
	}
}

void replay_prefix(struct replay *r, size_t point)
{
	move_base(r, point);
	image_copy(&r->state, &r->base);
	for (size_t i = r->base_at; i < point; i++)
		apply(r, &r->state, i);
	snprintf(r->words, sizeof(r->words), "all");
}

static bool is_as_told(const struct image *img, const struct log_op *end)
{
	uint64_t hash = 0;

	for (uint64_t s = 0; s < img->sectors; s++)
		hash ^= sector_mix(s, contents[img->ids[s]].hash);
	return hash == end->len && img->size == end->off;
}

bool replay_is_complete(struct replay *r)
{
	const struct log_op *last = r->log->ops + r->log->count;

	replay_prefix(r, r->log->count);
	while (last-- > r->log->ops && last->type == LOG_END) {
		const struct image *img = last->data_file ? r->state.data : &r->state;

		if (img && !is_as_told(img, last))
			return false;
	}
	return true;
}

static size_t find_optional(struct replay *r, size_t point)
{
	size_t count = 0;

	for (size_t i = r->base_at; i < point; i++) {
		r->chosen[i] = r->durable[i] < point;
		if (!r->chosen[i])
			r->optional[count++] = i;
	}
	return count;
}

static bool is_data(const struct replay *r, size_t at)
{
	const struct log_op *op = &r->log->ops[at];

	return op->type == LOG_WRITE &&
	       contents[decrypt(r->first[at], op->off / SECTOR)].kind == SECTOR_DATA;
}

static void choose(struct replay *r, size_t count, enum choice choice, uint64_t *random)
{
	size_t one = rig_random(random) % count;
	unsigned int most = percent(random, 50) ? 100 : 85;

	for (size_t i = 0; i < count; i++) {
		size_t at = r->optional[i];
		bool data = is_data(r, at);

		switch (choice) {
		case CHOOSE_HALF:
			r->chosen[at] = percent(random, 50);
			break;
		case CHOOSE_MOST:
			r->chosen[at] = percent(random, 90);
			break;
		case CHOOSE_FEW:
			r->chosen[at] = percent(random, 10);
			break;
		case CHOOSE_BUT_ONE:
			r->chosen[at] = i != one;
			break;
		case CHOOSE_ONE:
			r->chosen[at] = i == one;
			break;
		case CHOOSE_TABLES:
			r->chosen[at] = !data && percent(random, most);
			break;
		case CHOOSE_DATA:
			r->chosen[at] = data && percent(random, most);
			break;
		default:
			r->chosen[at] = i >= one;
			break;
		}
	}
}

static uint64_t size_after(const struct log_op *op, uint64_t size)
{
	uint64_t end = op->off + op->len;

	if (op->type == LOG_TRUNCATE)
		return op->off;
	if (is_write(op) || (op->type == LOG_ALLOCATE && !(op->arg & FALLOC_FL_KEEP_SIZE)))
		return end > size ? end : size;
	return size;
}

/* What is certain of the image goes beyond the base, which ends where the data file's does not. */
static uint64_t certain_size(const struct replay *r, size_t point)
{
	uint64_t size = r->base.size;

	for (size_t i = r->base_at; i < point; i++) {
		if (r->durable[i] < point && !r->log->ops[i].data_file)
			size = size_after(r->log->ops + i, size);
	}
	return size;
}

/* The end of a regular file, moved back to somewhere between what is certain and what was last. */
static bool cut(struct replay *r, size_t point, size_t count, uint64_t *random)
{
	const struct log_op *op = &r->log->ops[r->optional[rig_random(random) % count]];
	uint64_t least = certain_size(r, point), to = percent(random, 50) ? op->off : op->off + op->len;

	if (r->log->flags & LOG_BLOCK_DEVICE || r->state.size <= least || op->data_file)
		return false;
	if (to < least || to >= r->state.size || percent(random, 40))
		to = least;
	image_resize(&r->state, to);
	return true;
}

bool replay_sample(struct replay *r, size_t point, uint64_t *random)
{
	enum choice choice = rig_random(random) % CHOICES;
	unsigned int tear = percent(random, 50) ? 0 : percent(random, 50) ? 25 : 80;
	size_t count, torn = 0, used = 0;
	bool is_cut;

	move_base(r, point);
	count = find_optional(r, point);
	if (!count)
		return false;
	choose(r, count, choice, random);
	image_copy(&r->state, &r->base);
	for (size_t i = r->base_at; i < point; i++) {
		if (!r->chosen[i])
			continue;
		if (r->durable[i] >= point && percent(random, tear)) {
			apply_torn(r, i, random);
			torn++;
		} else {
			apply(r, &r->state, i);
		}
		used += replay_changes(&r->log->ops[i]);
	}
	is_cut = percent(random, 33) && cut(r, point, count, random);
	snprintf(r->words, sizeof(r->words), "%s: %zu of %zu that are not durable, %zu of them torn%s",
		 choice_names[choice], used, count, torn, is_cut ? ", the end of the file cut" : "");
	return true;
}

/* --- start and end -------------------------------------------------------------------------- */

static bool load_initial(struct replay *r, const char *path)
{
	if (!image_load(&r->initial, path))
		return false;
	if (r->log->flags & LOG_BLOCK_DEVICE) {
		uint64_t len = (r->initial.size + SECTOR - 1) / SECTOR * SECTOR;

		image_put(&r->initial, len, CONTENT_POISON, r->log->size - len, true);
	}
	if (r->initial.data) {
		char data[4096];

		snprintf(data, sizeof(data), "%s.data", path);
		if (!image_load(r->initial.data, data) ||
		    r->initial.data->size != r->log->data_size)
			return false;
	}
	return r->initial.size == r->log->size;
}

static uint64_t most_size(const struct log *log, bool data_file)
{
	uint64_t most = data_file ? log->data_size : log->size;

	for (size_t i = 0; i < log->count; i++) {
		uint64_t end = log->ops[i].off + log->ops[i].len;

		if (log->ops[i].data_file == data_file && replay_changes(&log->ops[i]) && end > most)
			most = end;
	}
	return most;
}

bool replay_start(struct replay *r, const struct log *log, const char *image)
{
	uint64_t most = most_size(log, false), most_data = most_size(log, true);
	struct image *const images[] = { &r->initial, &r->base, &r->state };

	memset(r, 0, sizeof(*r));
	r->log = log;
	if (most > REPLAY_MAX_SIZE || most_data > REPLAY_MAX_SIZE)
		return false;
	r->durable = calloc(log->count + 1, sizeof(*r->durable));
	r->first = calloc(log->count + 1, sizeof(*r->first));
	r->optional = calloc(log->count + 1, sizeof(*r->optional));
	r->chosen = calloc(log->count + 1, sizeof(*r->chosen));
	if (!r->durable || !r->first || !r->optional || !r->chosen)
		die("no memory");
	for (size_t i = 0; i < ARRAY_SIZE(images); i++) {
		image_init(images[i], most);
		if (log->data_size)
			image_init_data(images[i], most_data);
	}
	if (!load_initial(r, image))
		return false;
	for (size_t i = 0; i < log->count; i++) {
		if (log->ops[i].type == LOG_WRITE)
			r->first[i] = contents_add(log->ops[i].data, log->ops[i].len);
	}
	find_durable(r);
	image_copy(&r->base, &r->initial);
	return true;
}

void replay_end(struct replay *r)
{
	image_free(&r->initial);
	image_free(&r->base);
	image_free(&r->state);
	free(r->durable);
	free(r->first);
	free(r->optional);
	free(r->chosen);
}
