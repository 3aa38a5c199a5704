/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The module's events, as they came. */
#ifndef TEST_EVENTS_H
#define TEST_EVENTS_H

#include <linux/qcow2blk.h>
#include <stdbool.h>

/**
 * struct events - what was told since the last look
 * @count: of each type.
 * @last_errno: of the last one of each type that names one.
 */
struct events {
	unsigned int count[QCOW2BLK_EVENT_LOST + 1];
	unsigned int last_errno[QCOW2BLK_EVENT_LOST + 1];
};

/* Listen to the group from now on. Dies where it cannot. */
void events_start(void);

/* Those of the device @index, since the last call; others are dropped. */
void events_take(struct events *ev, unsigned int index);

/*
 * The same, once there is one of @type, or after ten seconds: an event is told by whoever met its
 * cause, while others see what that led to already.
 */
void events_await(struct events *ev, unsigned int index, enum qcow2blk_event type);

#endif
