// SPDX-License-Identifier: GPL-2.0-or-later
#include "progress.h"
#include "node.h"
#include "output.h"

#include <stdio.h>
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
