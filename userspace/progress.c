// SPDX-License-Identifier: GPL-2.0-or-later
#include "progress.h"
#include "node.h"
#include "output.h"

#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

/* Microseconds. */
#define PATIENCE	500000
#define INTERVAL	100000

#define ERASE		"\r\033[K"

void qcow2_progress_begin(struct qcow2_progress *progress, const char *file, const char *what)
{
	progress->what = what;
	progress->file = file;
	progress->shown = false;
	progress->since = qcow2_node_now();
	progress->next = isatty(STDERR_FILENO) ? progress->since + PATIENCE : UINT64_MAX;
}

void qcow2_progress_update(struct qcow2_progress *progress, uint64_t done, uint64_t total)
{
	uint64_t now;

	if (!progress || progress->next == UINT64_MAX)
		return;
	now = qcow2_node_now();
	if (now < progress->next)
		return;
	progress->next = now + INTERVAL;
	progress->shown = true;
	fputs(ERASE "qcow2ctl: ", stderr);
	qcow2_output_text(stderr, progress->file);
	if (total)
		fprintf(stderr, ": %s %.0f%%", progress->what, 100.0 * done / total);
	else
		fprintf(stderr, ": %s, %.0f s", progress->what, (now - progress->since) / 1e6);
}

void qcow2_progress_end(struct qcow2_progress *progress)
{
	if (progress->shown)
		fputs(ERASE, stderr);
	progress->shown = false;
}

static void *watch_it(void *data)
{
	struct qcow2_progress_watch *watch = data;
	struct timespec next;

	clock_gettime(CLOCK_REALTIME, &next);
	pthread_mutex_lock(&watch->lock);
	while (!watch->over) {
		qcow2_progress_update(&watch->progress, 0, 0);
		next.tv_nsec += INTERVAL * 1000;
		next.tv_sec += next.tv_nsec / 1000000000;
		next.tv_nsec %= 1000000000;
		pthread_cond_timedwait(&watch->end, &watch->lock, &next);
	}
	pthread_mutex_unlock(&watch->lock);
	return NULL;
}

void qcow2_progress_watch(struct qcow2_progress_watch *watch, const char *file, const char *what)
{
	sigset_t all, before;

	qcow2_progress_begin(&watch->progress, file, what);
	pthread_mutex_init(&watch->lock, NULL);
	pthread_cond_init(&watch->end, NULL);
	watch->over = false;
	/* Signals are not for the thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	watch->runs = watch->progress.next != UINT64_MAX &&
		      !pthread_create(&watch->thread, NULL, watch_it, watch);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void qcow2_progress_unwatch(struct qcow2_progress_watch *watch)
{
	if (watch->runs) {
		pthread_mutex_lock(&watch->lock);
		watch->over = true;
		pthread_cond_signal(&watch->end);
		pthread_mutex_unlock(&watch->lock);
		pthread_join(watch->thread, NULL);
	}
	qcow2_progress_end(&watch->progress);
}
