// SPDX-License-Identifier: GPL-2.0
/* The end of the machine, and its sleep. See shutdown.h. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/notifier.h>
#include <linux/printk.h>
#include <linux/reboot.h>
#include <linux/suspend.h>

#include "device.h"
#include "shutdown.h"

/* For all devices together. */
#define PATIENCE	(20 * HZ)

static struct qcow2_commit *commit_of(struct qcow2_device *dev)
{
	struct qcow2_layer *top = dev->target.chain.layers[0];

	return top->writable ? &top->commit : NULL;
}

/*
 * Has a commit that began when we asked for one, or later, ended? One that was on its way may have
 * been too early for the last changes.
 */
static bool is_done(struct qcow2_commit *c, u64 begun)
{
	return qcow2_commit_stopped(c) || READ_ONCE(c->done) > begun;
}

/* Under the devices lock: nobody goes. Without waiters, which would have to be taken back. */
static void commit_one(struct qcow2_device *dev, struct qcow2_commit *c, unsigned long deadline)
{
	u64 begun = READ_ONCE(c->begun);

	qcow2_commit_kick(c);
	while (!is_done(c, begun) && time_before(jiffies, deadline))
		msleep(20);
	if (!is_done(c, begun))
		pr_warn("%s: what was written since the last flush is not durable: the file system below does not answer\n",
			dev->name);
}

static void commit_all(void)
{
	unsigned long deadline = jiffies + PATIENCE;
	struct qcow2_device *dev;

	qcow2_devices_lock();
	for (dev = qcow2_device_next(0); dev; dev = qcow2_device_next(dev->index + 1))
		if (commit_of(dev))
			commit_one(dev, commit_of(dev), deadline);
	qcow2_devices_unlock();
}

static int machine_ends(struct notifier_block *nb, unsigned long action, void *data)
{
	commit_all();
	return NOTIFY_DONE;
}

static int machine_sleeps(struct notifier_block *nb, unsigned long action, void *data)
{
	if (action == PM_SUSPEND_PREPARE || action == PM_HIBERNATION_PREPARE)
		commit_all();
	return NOTIFY_DONE;
}

static struct notifier_block reboot_block = { .notifier_call = machine_ends };
static struct notifier_block sleep_block = { .notifier_call = machine_sleeps };

int qcow2_shutdown_init(void)
{
	int err = register_reboot_notifier(&reboot_block);

	if (err)
		return err;
	err = register_pm_notifier(&sleep_block);
	if (err)
		unregister_reboot_notifier(&reboot_block);
	return err;
}

void qcow2_shutdown_exit(void)
{
	unregister_pm_notifier(&sleep_block);
	unregister_reboot_notifier(&reboot_block);
}
