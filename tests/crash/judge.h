/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The verdict on one state of an image after a crash. */
#ifndef CRASH_JUDGE_H
#define CRASH_JUDGE_H

#include "bitmaps.h"
#include "check.h"
#include "guest.h"
#include "journal.h"
#include "replay.h"
#include "snaps.h"

#define LEAK_LIMIT	(64ULL << 20)

/**
 * struct judge - one log, and what a state of it is held against
 * @check: of the state that was judged last.
 * @guest: what the guest reads then; valid if it opens.
 * @merged: the image is an overlay of the file beside it, into which it is merged.
 * @below: what that one reads as; @below_check: of it.
 * @below_leaks: clusters that it leaked before.
 * @below_was: what it read as then, up to @below_size, bytes. It may grow to what the disk has.
 * @below_bitmaps: its persistent bitmaps, before the log.
 * @words: what is wrong with it.
 * @header: of the image before the log.
 * @leaks: clusters that the image leaked before, also past the end of the file.
 * @snaps: internal snapshots.
 * @bitmaps: persistent bitmaps, before the log.
 * @end: the state is what a clean detach left.
 * @kept: by host sector, what they keep, if the workload leaves them alone.
 */
struct judge {
	struct replay replay;
	struct journal journal;
	struct log log;
	struct base base;
	bool merged;
	struct base below;
	struct check below_check;
	unsigned int below_leaks;
	uint32_t *below_was;
	uint64_t below_size;
	struct bitmaps below_bitmaps;
	struct snaps snaps;
	struct bitmaps bitmaps;
	struct check check;
	uint32_t *guest;
	char words[320];
	bool end;

	struct qcow2_header header;
	unsigned int leaks;
	uint32_t *initial_guest;
	bool *kept;
};

/* @base_path: what lies below, raw, or NULL. Return: false, with words. */
bool judge_start(struct judge *j, const char *log, const char *image, const char *base_path);
void judge_end(struct judge *j);

/* Judge j->replay.state as what a crash after @point records left. Return: false, with words. */
bool judge_state(struct judge *j, size_t point);

/* The state after a clean detach, if the log has one: nothing may be missing or leaked. */
bool judge_end_state(struct judge *j);

#endif
