/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a device has done since it was attached. Each room counts for itself, per CPU where
 * requests come by often, else under a lock that it holds anyway; here it is put together.
 *
 * Where waiting takes time the clock is read twice: around file I/O and decompression, never
 * on the way of a request that is served where it came. How long those take the block layer
 * knows: its own statistics are told, too.
 */
#ifndef _QCOW2_STATS_H
#define _QCOW2_STATS_H

#include "device.h"

/**
 * qcow2_stats_collect() - the counters of a device
 * @dev: is there as long as this takes.
 * @stat: (out) QCOW2BLK_A_STAT_MAX + 1 numbers, by enum qcow2blk_stat_attr.
 * They are of no single moment: requests go on. Context: process; nothing is waited for.
 */
void qcow2_stats_collect(const struct qcow2_device *dev, u64 *stat);

#endif /* _QCOW2_STATS_H */
