/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How far a long work has come: a line on a terminal, nothing elsewhere. */
#ifndef QCOW2CTL_PROGRESS_H
#define QCOW2CTL_PROGRESS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/**
 * struct qcow2_progress - a line that changes
 * @what: what is being done, "checking"; the line is "qcow2ctl: FILE: WHAT 42%", or "WHAT, 7 s".
 * @file: to what.
 * @next: when to print again, see qcow2_node_now().
 * @since: when it began.
 * @shown: there is a line to be erased.
 */
struct qcow2_progress {
	const char *what;
	const char *file;
	uint64_t since;
	uint64_t next;
	bool shown;
};

/**
 * qcow2_progress_begin() - a work begins
 * @progress: (out) to be given to qcow2_progress_end().
 * @file: what it is about; must stay.
 * @what: what it is; must stay.
 *
 * Shows nothing in the first half of a second: most work is done by then.
 */
void qcow2_progress_begin(struct qcow2_progress *progress, const char *file, const char *what);

/**
 * qcow2_progress_update() - so much is done
 * @progress: the work, or NULL.
 * @done: in any unit.
 * @total: in the same unit; 0: nobody knows, so how long it has taken is shown.
 */
void qcow2_progress_update(struct qcow2_progress *progress, uint64_t done, uint64_t total);

/**
 * qcow2_progress_end() - take the line away
 * @progress: the work.
 */
void qcow2_progress_end(struct qcow2_progress *progress);

/**
 * struct qcow2_progress_watch - a line for what does not tell how far it is
 * @progress: the line; whose it is while @thread runs.
 * @thread: prints it, if @runs.
 * @lock: protects @over.  @end: says that it has changed.
 */
struct qcow2_progress_watch {
	struct qcow2_progress progress;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t end;
	bool runs;
	bool over;
};

/**
 * qcow2_progress_watch() - a work begins that keeps this task, in the kernel
 * @watch: (out) to be given to qcow2_progress_unwatch().
 * @file, @what: see qcow2_progress_begin().
 */
void qcow2_progress_watch(struct qcow2_progress_watch *watch, const char *file, const char *what);
void qcow2_progress_unwatch(struct qcow2_progress_watch *watch);

#endif /* QCOW2CTL_PROGRESS_H */
