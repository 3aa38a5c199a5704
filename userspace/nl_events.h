/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hear of what happens to devices, as it happens. */
#ifndef QCOW2CTL_NL_EVENTS_H
#define QCOW2CTL_NL_EVENTS_H

#include "nl.h"

struct qcow2_nl_events;

/* Beside enum qcow2blk_event. */
#define QCOW2_NL_EVENT_LOST	1000	/* too many came at once: some are not told of */
#define QCOW2_NL_EVENT_GONE	1001	/* the module was unloaded: there will be no more */
#define QCOW2_NL_EVENT_NONE	1002	/* none came in the time that was given */

/**
 * struct qcow2_nl_event - something that has happened
 * @type: enum qcow2blk_event or one of the above.
 * @index: of the device; not of those above.
 * @error: ERROR, STOPPED, BITMAPS, KEPT, QCOW2BLK_EVENT_LOST: a positive errno, else 0.
 * @offset: ERROR: guest offset, bytes.
 * @layer: ERROR: position in the chain, 0 is the top.
 * @size: RESIZED: bytes.
 */
struct qcow2_nl_event {
	uint32_t type;
	uint32_t index;
	uint32_t error;
	uint64_t offset;
	uint32_t layer;
	uint64_t size;
};

/**
 * qcow2_nl_events_open() - listen from now on
 * @events: (out) to be given to qcow2_nl_events_close().
 * @nl: a connection to the module.
 * @err: (out) filled in on error.
 *
 * Needs no rights. Return: 0 or QCOW2_EXIT_FAILED.
 */
int qcow2_nl_events_open(struct qcow2_nl_events **events, const struct qcow2_nl *nl,
			 struct qcow2_error *err);

/** qcow2_nl_events_close() - @events: may be NULL. */
void qcow2_nl_events_close(struct qcow2_nl_events *events);

/**
 * qcow2_nl_events_next() - wait for the next event
 * @events: who listens.
 * @event: (out) what it is; of a type that is not known yet, perhaps.
 * @err: (out) filled in on error.
 *
 * Return: 0 or QCOW2_EXIT_FAILED.
 */
int qcow2_nl_events_next(struct qcow2_nl_events *events, struct qcow2_nl_event *event,
			 struct qcow2_error *err);

/**
 * qcow2_nl_events_detached() - wait until a device is gone and its files are closed
 * @events: who has listened since before it could go; NULL: nobody, there is no wait.
 * @index: the device.
 * @usec: how long, microseconds.
 *
 * A device leaves the kernel's list before its files are closed; this event comes after that.
 *
 * Return: enum qcow2blk_event, DETACHED or KEPT, or QCOW2_NL_EVENT_NONE where it cannot be told.
 */
uint32_t qcow2_nl_events_detached(struct qcow2_nl_events *events, int index, uint64_t usec);

#endif /* QCOW2CTL_NL_EVENTS_H */
