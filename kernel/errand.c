// SPDX-License-Identifier: GPL-2.0
/* What nobody may interrupt. See errand.h for the contract. */
#include <linux/errno.h>
#include <linux/sched/mm.h>

#include "errand.h"

/* One may wait for another, on a device below: as many as there are. */
static struct workqueue_struct *wq;

/**
 * struct errand - what a task waits for
 * @work: in a worker.
 * @fn: what to do.
 * @arg: with what.
 * @ret: what has come of it.
 */
struct errand {
	struct work_struct work;
	int (*fn)(void *arg);
	void *arg;
	int ret;
};

static void errand_work(struct work_struct *work)
{
	struct errand *e = container_of(work, struct errand, work);
	/* Memory must not wait for the disk that this holds something of. */
	unsigned int noio = memalloc_noio_save();

	e->ret = e->fn(e->arg);
	memalloc_noio_restore(noio);
}

int qcow2_errand(int (*fn)(void *arg), void *arg)
{
	struct errand e = { .fn = fn, .arg = arg };

	INIT_WORK_ONSTACK(&e.work, errand_work);
	queue_work(wq, &e.work);
	flush_work(&e.work);
	destroy_work_on_stack(&e.work);
	return e.ret;
}

void qcow2_errand_queue(struct work_struct *work)
{
	queue_work(wq, work);
}

int qcow2_errand_init(void)
{
	wq = alloc_workqueue("qcow2blk-errands", WQ_UNBOUND, 0);
	return wq ? 0 : -ENOMEM;
}

void qcow2_errand_exit(void)
{
	destroy_workqueue(wq);
}
