/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the workload did, told by the marks in the log; and what a sector may hold after a crash.
 *
 * A mark is a list of entries separated by ';', each of fields separated by ',':
 *
 *	b,RUN			the beginning; the workload's run, for its sectors
 *	w,ID,LBA,COUNT		a write starts; its sectors carry ID as their version
 *	z,ID,LBA,COUNT		a write of zeros
 *	d,ID,LBA,COUNT		a discard
 *	r,ID,LBA,COUNT		a read
 *	f,ID			a flush
 *	q,ID			detach, which is a flush, too
 *	S,ID,NAME		a snapshot is created
 *	A,ID,NAME		it is applied
 *	D,ID,NAME		it is deleted
 *	R,ID,COUNT		the disk gets another size, in sectors
 *	c,ID			it is done
 *	x,ID			it has failed
 *	v,ID,VALUE...		a read is done, and this is what came of it: for each sector - for
 *				zeros, the version of a write of this run that belongs there, or h
 *				and the sector_hash() of anything else, in hexadecimal
 *
 * IDs count from 1. What ends stands before what starts in one mark. Of snapshots and sizes there
 * is one operation at a time, and each is a flush, too. What the disk grows by is used when it is done.
 */
#ifndef CRASH_JOURNAL_H
#define CRASH_JOURNAL_H

#include "image.h"
#include "log.h"
#include "marks.h"

#define NEVER	SIZE_MAX

/**
 * struct entry - one operation of the workload
 * @type: its letter above.
 * @lba, @count: of a new size: @count is it, and from @lba on sectors come or go.
 * @start, @done: places in the log; @done is NEVER where it failed or was cut off.
 * @values: of a read, text.
 * @name: of a snapshot.
 * @is_size: of a new size: the disk has had it.
 * @applied: of an apply, what each sector holds then: contents; NULL as long as nobody knows.
 */
struct entry {
	char type;
	uint64_t lba;
	uint64_t count;
	size_t start;
	size_t done;
	const char *values;
	size_t values_len;
	char name[SNAPSHOT_NAME_MAX + 1];
	bool is_size;
	const uint32_t *applied;
};

/**
 * struct journal - all of them
 * @entries: by their ID; entry 0 is not used.
 * @sectors: that the disk has at most, at any time.
 * @first_size: that it has at first.
 * @size: (while marks are collected) that it has.
 * @detached: where detach was done; NEVER if it was not.
 */
struct journal {
	struct entry *entries;
	uint32_t count;
	uint32_t run;
	uint64_t sectors;
	uint64_t first_size;
	uint64_t size;
	const uint32_t *initial;
	size_t detached;

	/*
	 * What sectors may hold at @point, see journal_move(): what was done before the place
	 * @flushed is settled, snapshots that were applied before the place @applied, sizes that
	 * the disk has had, of which @resized is the sum of places; the place where the last
	 * settled write started, plus one, or 0; whether zeros are fine.
	 */
	size_t point;
	size_t flushed;
	size_t applied;
	size_t resized;
	size_t *settled;
	bool *zeros;
};

/** journal_most_sectors() - that the disk has at any time, by the marks; @sectors before them */
uint64_t journal_most_sectors(const struct log *log, uint64_t sectors);

/**
 * journal_load() - collect the marks of a log
 * @initial: contents of the disk's sectors before it, with zeros behind them up to
 *	journal_most_sectors(); must stay.
 * Return: false, with a sentence in @why, for marks that make no sense.
 */
bool journal_load(struct journal *j, const struct log *log, const uint32_t *initial,
		  uint64_t sectors, const char **why);
void journal_free(struct journal *j);

/**
 * journal_move() - look at a crash after so many records of the log
 *
 * A flush that was done before @point settles what was done before it started: of a sector's
 * writes only those may be seen that were not over when the last of the settled ones
 * started. A write that had not started at @point cannot be seen. A discard may have been
 * ignored; after it zeros may be seen, too. To apply a snapshot is a write of the whole disk that is
 * settled when it is done. A new size is a write of zeros, to what comes or goes, that is settled
 * when the disk has it.
 * @sectors: that the disk has. Return: false, and nothing can be judged: it cannot have that size.
 */
bool journal_move(struct journal *j, size_t point, uint64_t sectors);

/* Look at what a read could return that started and ended at these places. */
void journal_move_to_read(struct journal *j, size_t start, size_t done);

/* May sector @lba hold this? Return: NULL, or what is wrong, one word. */
const char *journal_judge(const struct journal *j, uint64_t lba, uint32_t content);

/*
 * Judge what reads returned while the workload ran. Return: NULL, or a word, with @bad and
 * @lba saying where.
 */
const char *journal_judge_reads(struct journal *j, uint32_t *bad, uint64_t *lba);

#endif
