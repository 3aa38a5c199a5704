/* SPDX-License-Identifier: GPL-2.0 */
/*
 * I/O that a worker does for a request counts as that of whose request it is: of the cgroup of its
 * bio, with its weight and limits.
 *
 * What is done for all (commits, refcounts, free space) is nobody's, that is the root's. A table is
 * read on account of who wants it first. The page cache of an image file that is not read and
 * written directly is nobody's memory, either, so nor are its writes: were it the memory of whose
 * request it is, a cgroup that is full of pages that wait for the device would be killed.
 */
#ifndef _QCOW2_CHARGE_H
#define _QCOW2_CHARGE_H

#include <linux/blk-cgroup.h>
#include <linux/kthread.h>
#include <linux/sched.h>

/** qcow2_charge_is_root() - is there nobody to charge? @bio: or NULL. Context: any. */
static inline bool qcow2_charge_is_root(struct bio *bio)
{
	struct cgroup_subsys_state *css = bio ? bio_blkcg_css(bio) : NULL;

	return !css || css == blkcg_root_css;
}

/**
 * qcow2_charge_misplaced() - would I/O by this task be charged to the wrong one?
 * A kernel thread may act for somebody already, who cannot be asked for: a worker of ours does it
 * then. Context: any.
 */
static inline bool qcow2_charge_misplaced(struct bio *bio)
{
	return current->flags & PF_KTHREAD && !qcow2_charge_is_root(bio);
}

/**
 * qcow2_charge_begin() - what this worker does from here on is for a request
 * @bio: the request's first, or NULL; it may end before qcow2_charge_end().
 * Context: a worker of ours, which acts for nobody yet. Return: what to give to
 * qcow2_charge_end().
 */
static inline bool qcow2_charge_begin(struct bio *bio)
{
	if (qcow2_charge_is_root(bio))
		return false;
	kthread_associate_blkcg(bio_blkcg_css(bio));
	return true;
}

static inline void qcow2_charge_end(bool charged)
{
	if (charged)
		kthread_associate_blkcg(NULL);
}

#endif /* _QCOW2_CHARGE_H */
