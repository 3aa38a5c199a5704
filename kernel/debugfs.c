// SPDX-License-Identifier: GPL-2.0
/*
 * What devices are in the middle of. See debugfs.h.
 *
 * One file for all, read under the devices lock: what is in the table then stays, and of a layer
 * below the top only what lives as long as the layer is looked at.
 */
#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/srcu.h>

#include "debugfs.h"
#include "device.h"

/* Claims to name; of the others the number will do. */
#define MAX_CLAIMS	32U

static struct dentry *dir;

static unsigned int count(const struct list_head *list)
{
	const struct list_head *pos;
	unsigned int nr = 0;

	list_for_each(pos, list)
		nr++;
	return nr;
}

static void show_cache(struct seq_file *m, const char *what, const struct qcow2_cache *c)
{
	seq_printf(m, "  %s: %u of %u slices, %u dirty, %llu evictions\n", what, READ_ONCE(c->nr),
		   c->max, READ_ONCE(c->nr_dirty), READ_ONCE(c->evictions));
}

static void show_claims(struct seq_file *m, struct qcow2_claims *claims)
{
	struct qcow2_claim *c;
	struct rb_node *node;
	unsigned int nr = 0;

	spin_lock_irq(&claims->lock);
	for (node = rb_first(&claims->tree); node; node = rb_next(node), nr++) {
		c = rb_entry(node, struct qcow2_claim, node);
		if (nr < MAX_CLAIMS)
			seq_printf(m, "  claim: subclusters %llu to %llu, %u waiting\n", c->first,
				   c->last, count(&c->waiting));
	}
	if (claims->fence)
		seq_printf(m, "  fence: subclusters %llu to %llu\n", claims->fence->first,
			   claims->fence->last);
	spin_unlock_irq(&claims->lock);
	seq_printf(m, "  claims: %u\n", nr);
}

static void show_alloc(struct seq_file *m, struct qcow2_alloc *a)
{
	spin_lock_irq(&a->lock);
	seq_printf(m, "  pool: %u of %u clusters, %u runs\n", a->pool, a->pool_target, a->nr_runs);
	seq_printf(m, "  taken: %u, %u of them published, %u in the commit\n", a->taken,
		   a->published, a->committing);
	seq_printf(m, "  freed: %u, %u of them dropped, %u in the commit; limit of both %u\n",
		   a->freed, a->dropped, a->dropping, a->limit);
	seq_printf(m, "  batches: %u open, %u removing, %u drained\n",
		   count(&a->open), count(&a->removing),
		   count(&a->drained));
	seq_printf(m, "  waiting for space: %u\n", count(&a->waiting));
	spin_unlock_irq(&a->lock);
	seq_printf(m, "  file: %llu clusters, search from %llu, never used from %llu\n",
		   READ_ONCE(a->end), READ_ONCE(a->next), READ_ONCE(a->fresh));
	seq_printf(m, "  generation: %lu\n", get_state_synchronize_srcu(a->gen));
}

static void show_commit(struct seq_file *m, struct qcow2_commit *c)
{
	unsigned int waiting;

	spin_lock_irq(&c->lock);
	waiting = count(&c->waiting);
	spin_unlock_irq(&c->lock);
	seq_printf(m, "  commit: begun %llu, durable %llu, %u waiting, timer %s, error %d\n",
		   READ_ONCE(c->begun), READ_ONCE(c->done), waiting,
		   delayed_work_pending(&c->timer) ? "on" : "off", READ_ONCE(c->stopped));
}

static void show_layer(struct seq_file *m, struct qcow2_layer *l)
{
	bool qcow2 = l->format == QCOW2BLK_FORMAT_QCOW2;

	seq_printf(m, " layer %u: %s%s%s\n", l->index, qcow2 ? "qcow2" : "raw",
		   l->file.direct ? ", direct" : "", l->file.inline_io ? ", inline" : "");
	if (qcow2)
		show_cache(m, "L2 tables", &l->map.cache);
	if (!l->writable || l->index)
		return;
	show_commit(m, &l->commit);
	if (!qcow2)
		return;
	show_claims(m, &l->claims);
	/* Where data lie in a file of their own there may be no space to manage. */
	if (l->alloc.wq) {
		show_alloc(m, &l->alloc);
		show_cache(m, "refcounts", &l->refs.cache);
	}
}

static int state_show(struct seq_file *m, void *unused)
{
	struct qcow2_device *dev;
	unsigned int i;

	qcow2_devices_lock();
	for (dev = qcow2_device_next(0); dev; dev = qcow2_device_next(dev->index + 1)) {
		seq_printf(m, "%s: %llu requests under way%s\n", dev->name,
			   qcow2_io_under_way(&dev->target),
			   dev->detaching ? ", being changed" : "");
		for (i = 0; i < dev->target.chain.nr; i++)
			show_layer(m, READ_ONCE(dev->target.chain.layers[i]));
	}
	qcow2_devices_unlock();
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(state);

/* Without debugfs, or memory for it: without this. */
void qcow2_debugfs_init(void)
{
	dir = debugfs_create_dir(KBUILD_MODNAME, NULL);
	debugfs_create_file("state", 0400, dir, NULL, &state_fops);
}

void qcow2_debugfs_exit(void)
{
	debugfs_remove(dir);
}
