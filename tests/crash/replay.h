/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The states in which a crash may leave an image, from the log of what was done to it.
 *
 * What was done before an fsync began is there once the fsync has ended. Of what was done later any
 * part may be there: each operation or not, of a write some sectors, and in a regular file the
 * end may lie anywhere between where it was for certain and where it was last. An fsync that
 * failed makes nothing durable, and what it should have written no later one does. An external
 * data file has fsyncs of its own; it is as long as the disk all the time.
 */
#ifndef CRASH_REPLAY_H
#define CRASH_REPLAY_H

#include "image.h"
#include "log.h"

/**
 * struct replay - a log, and the state it was brought to
 * @state: what replay_prefix() or replay_sample() made.
 * @words: how, in short.
 * @durable: for each record the place from which on it is certain to be there.
 * @first: for each write the number of its first content.
 * @base: all that is certain, up to the record @base_at; it is so for crashes from @base_from on.
 */
struct replay {
	const struct log *log;
	struct image state;
	char words[160];

	size_t *durable;
	uint32_t *first;
	struct image initial;
	struct image base;
	size_t base_at;
	size_t base_from;
	size_t *optional;	/* scratch */
	bool *chosen;
};

/* Images are small; one that has grown to more is not looked at. */
#define REPLAY_MAX_SIZE	(1ULL << 30)

/*
 * @image: the file before the log; the rest of a block device is poison. An external data file
 * is IMAGE.data. Return: false if it cannot be read, or is not what the log says, or became too big.
 */
bool replay_start(struct replay *r, const struct log *log, const char *image);
void replay_end(struct replay *r);

/* Does all of the log give what the store had at the end? True if the log does not say. */
bool replay_is_complete(struct replay *r);

/* Does the record change the image? */
bool replay_changes(const struct log_op *op);

/* All of the first @point records. */
void replay_prefix(struct replay *r, size_t point);

/*
 * One of the states after a crash when @point records were done.
 * Return: false if there is nothing to choose from.
 */
bool replay_sample(struct replay *r, size_t point, uint64_t *random);

#endif
