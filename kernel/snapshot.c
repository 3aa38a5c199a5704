// SPDX-License-Identifier: GPL-2.0
/* Internal snapshots. See snapshot.h for the contract. */
#include <linux/kstrtox.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <linux/vmalloc.h>

#include "change.h"
#include "mutant.h"
#include "snapshot.h"

/* Section "Snapshots": the extra data that are known. */
struct disk_extra {
	__be64 vm_state_size;
	__be64 disk_size;
	__be64 icount;
} __packed;

/**
 * struct entry - where an entry of the snapshot table is
 * @at: its first byte in the table.
 * @len: bytes, with the padding.
 * @fixed: its fixed part.
 * @extra: extra data.
 * @extra_len: bytes of them.
 * @id: its ID, not terminated.
 * @id_len: bytes.
 * @name: its name, not terminated.
 * @name_len: bytes.
 */
struct entry {
	u32 at;
	u32 len;
	const struct qcow2_disk_snapshot *fixed;
	const struct disk_extra *extra;
	u32 extra_len;
	const char *id;
	u32 id_len;
	const char *name;
	u32 name_len;
};

/**
 * struct snapshots - a snapshot table
 * @buf: its bytes, with room for one more entry.
 * @bytes: how many.
 * @nr: entries.
 */
struct snapshots {
	void *buf;
	u32 bytes;
	u32 nr;
};

#define MAX_ENTRY	(sizeof(struct qcow2_disk_snapshot) + QCOW2_MAX_SNAPSHOT_EXTRA +	\
			 2 * (U16_MAX + 1))
#define MAX_TABLE	(1024U * QCOW2_MAX_SNAPSHOTS)

/* --- the table ------------------------------------------------------------------------------- */

static void parse_entry(const struct snapshots *t, u32 at, struct entry *e)
{
	e->at = at;
	e->fixed = t->buf + at;
	e->extra = (const void *)(e->fixed + 1);
	e->extra_len = be32_to_cpu(e->fixed->extra_len);
	e->id = (const char *)e->extra + e->extra_len;
	e->id_len = be16_to_cpu(e->fixed->id_len);
	e->name = e->id + e->id_len;
	e->name_len = be16_to_cpu(e->fixed->name_len);
	e->len = round_up(sizeof(*e->fixed) + e->extra_len + e->id_len + e->name_len, 8);
}

#define for_each_entry(e, t, i)							\
	for (i = 0, (e)->at = 0, (e)->len = 0;					\
	     i < (t)->nr && (parse_entry(t, (e)->at + (e)->len, e), true); i++)

/* Bytes of the table, which only a walk tells. */
static int measure(struct qcow2_layer *l, u32 *bytes)
{
	struct qcow2_disk_snapshot fixed;
	u64 off = l->h.snapshots_offset, len = 0;
	u32 i, extra;

	for (i = 0; i < l->h.nb_snapshots; i++) {
		if (qcow2_file_read(&l->file, &fixed, off + len, sizeof(fixed)) != sizeof(fixed))
			return -EUCLEAN;
		extra = be32_to_cpu(fixed.extra_len);
		len += round_up(sizeof(fixed) + (u64)extra + be16_to_cpu(fixed.id_len) +
				be16_to_cpu(fixed.name_len), 8);
		if (extra > QCOW2_MAX_SNAPSHOT_EXTRA || len > MAX_TABLE)
			return -EUCLEAN;
	}
	*bytes = len;
	return 0;
}

/* Is it what was measured? Whoever has the file open may have changed it since then. */
static bool is_as_measured(const struct snapshots *t)
{
	struct entry e;
	u32 i;

	for_each_entry(&e, t, i)
		if (e.extra_len > QCOW2_MAX_SNAPSHOT_EXTRA || e.len > t->bytes - e.at)
			return false;
	return true;
}

static int read_table(struct qcow2_layer *l, struct snapshots *t, const char **why)
{
	ssize_t got;
	int err = measure(l, &t->bytes);

	*why = "the snapshot table is broken: run qemu-img check -r all";
	if (err)
		return err;
	t->nr = l->h.nb_snapshots;
	t->buf = vzalloc(t->bytes + MAX_ENTRY);
	if (!t->buf) {
		*why = "out of memory";
		return -ENOMEM;
	}
	/* The last entry need not be padded. */
	got = qcow2_file_read(&l->file, t->buf, l->h.snapshots_offset, t->bytes);
	if (got < 0 || got + 8 <= t->bytes || !is_as_measured(t)) {
		vfree(t->buf);
		t->buf = NULL;
		return -EUCLEAN;
	}
	return 0;
}

static bool is_string(const char *s, u32 len, const char *want)
{
	return len == strlen(want) && !memcmp(s, want, len);
}

/* By ID, or else by name. */
static bool find_entry(const struct snapshots *t, const char *want, struct entry *e)
{
	u32 i;

	for_each_entry(e, t, i)
		if (is_string(e->id, e->id_len, want))
			return true;
	for_each_entry(e, t, i)
		if (is_string(e->name, e->name_len, want))
			return true;
	return false;
}

static bool has_disk_size(const struct entry *e)
{
	return e->extra_len >= offsetofend(struct disk_extra, disk_size);
}

static int describe(struct qcow2_layer *l, const struct entry *e, struct qcow2_snapshot *s,
		    const char **why)
{
	struct qcow2_fault fault;

	s->l1_table_offset = be64_to_cpu(e->fixed->l1_table_offset);
	s->l1_size = be32_to_cpu(e->fixed->l1_size);
	s->disk_size = l->h.size;
	if (has_disk_size(e))
		s->disk_size = round_down(be64_to_cpu(e->extra->disk_size), SECTOR_SIZE);
	strscpy(s->id, e->id, min_t(size_t, sizeof(s->id), e->id_len + 1));
	*why = "the snapshot's L1 table is misplaced: run qemu-img check";
	if (qcow2_snapshot_check_l1(&l->h, s->l1_table_offset, s->l1_size,
				    qcow2_file_size(&l->file), &fault))
		return -EUCLEAN;
	*why = "the snapshot's disk is larger than its L1 table can map: run qemu-img check";
	if (qcow2_map_l1_needed(&l->h, s->disk_size) > s->l1_size)
		return -EUCLEAN;
	return 0;
}

int qcow2_snapshot_find(struct qcow2_layer *l, const char *name, struct qcow2_snapshot *snapshot,
			const char **why)
{
	struct snapshots t;
	struct entry e;
	int err = read_table(l, &t, why);

	if (err)
		return err;
	*why = "there is no such snapshot";
	err = find_entry(&t, name, &e) ? describe(l, &e, snapshot, why) : -ENOENT;
	vfree(t.buf);
	return err;
}

int qcow2_snapshots_have_size(struct qcow2_layer *l, const char **why)
{
	struct snapshots t;
	struct entry e;
	u32 i;
	int err = read_table(l, &t, why);

	if (err)
		return err;
	*why =
		"a snapshot does not say how large its disk is: delete it first";
	for_each_entry(&e, &t, i)
		if (!has_disk_size(&e))
			err = -EOPNOTSUPP;
	vfree(t.buf);
	return err;
}

static u64 next_id(const struct snapshots *t)
{
	char text[24];
	struct entry e;
	u64 highest = 0, id;
	u32 i;

	for_each_entry(&e, t, i) {
		if (e.id_len >= sizeof(text))
			continue;
		memcpy(text, e.id, e.id_len);
		text[e.id_len] = '\0';
		if (!kstrtou64(text, 10, &id))
			highest = max(highest, id);
	}
	return highest + 1;
}

static void append_entry(struct snapshots *t, const struct qcow2_header *h, const char *name)
{
	struct qcow2_disk_snapshot *fixed = t->buf + t->bytes;
	struct disk_extra *extra = (void *)(fixed + 1);
	char *id = (char *)(extra + 1);
	size_t id_len = sprintf(id, "%llu", next_id(t)), name_len = strlen(name);
	struct timespec64 now;

	ktime_get_real_ts64(&now);
	*fixed = (struct qcow2_disk_snapshot) {
		.l1_table_offset = cpu_to_be64(h->l1_table_offset),
		.l1_size = cpu_to_be32(h->l1_size),
		.id_len = cpu_to_be16(id_len),
		.name_len = cpu_to_be16(name_len),
		.date_sec = cpu_to_be32(now.tv_sec),
		.date_nsec = cpu_to_be32(now.tv_nsec),
		.extra_len = cpu_to_be32(sizeof(*extra)),
	};
	*extra = (struct disk_extra) {
		.disk_size = cpu_to_be64(h->size),
		.icount = cpu_to_be64(U64_MAX),
	};
	memcpy(id + id_len, name, name_len);
	t->bytes += round_up(sizeof(*fixed) + sizeof(*extra) + id_len + name_len, 8);
	t->nr++;
}

static void remove_entry(struct snapshots *t, const struct entry *e)
{
	u32 end = e->at + e->len, len = e->len;

	memmove(t->buf + e->at, t->buf + end, t->bytes - end);
	t->bytes -= len;
	t->nr--;
}

/* --- the mapping ------------------------------------------------------------------------ */

/*
 * Let the active state have a table that a snapshot has, too: all below is used once more,
 * so no entry may say COPIED. One that does makes a copy necessary.
 */
static int adopt_l2(struct qcow2_change *c, __be64 *l1_entry)
{
	const __be64 copied = qcow2_is_mutant(STILL_COPIED) ? 0 : cpu_to_be64(QCOW2_ENTRY_COPIED);
	bool change = false;
	u64 off;
	u32 i;
	int err = qcow2_change_load_l2(c, *l1_entry, &off);

	if (err || !off)
		return err;
	err = qcow2_change_count(c, 1);
	for (i = 0; i < qcow2_change_l2_entries(c); i++) {
		change |= !!(*qcow2_change_entry(c, i) & copied);
		*qcow2_change_entry(c, i) &= ~copied;
	}
	if (err || change)
		return err ?: qcow2_change_write_l2(c, l1_entry);
	*l1_entry &= ~copied;
	/* It may have been a snapshot's alone, which are not known all. */
	qcow2_overlap_add(&c->l->overlap, off, c->l->h.cluster_size);
	return qcow2_shadow_ref(c->s, off >> c->l->h.cluster_bits, 1, 1);
}

/* COPIED is for what is used once. @change: (out) or-ed to. */
static int mark_entry(struct qcow2_change *c, u32 i, bool *change)
{
	__be64 *at = qcow2_change_entry(c, i), entry = *at & ~cpu_to_be64(QCOW2_ENTRY_COPIED);
	struct qcow2_cluster cluster;
	u64 start, nr, refcount = 0;
	int err = qcow2_change_decode(c, i, &cluster, &start, &nr);

	if (err || !nr || cluster.compressed)
		return err;
	err = qcow2_shadow_refcount(c->s, start, &refcount);
	if (refcount == 1)
		entry |= cpu_to_be64(QCOW2_ENTRY_COPIED);
	*change |= entry != *at;
	*at = entry;
	return err;
}

/* A table of the active state, after something else has lost what it may refer to. */
static int mark_l2(struct qcow2_change *c, __be64 *l1_entry)
{
	bool change = false;
	u64 off, refcount;
	u32 i;
	int err = qcow2_change_load_l2(c, *l1_entry, &off);

	if (err || !off)
		return err;
	for (i = 0; i < qcow2_change_l2_entries(c) && !err; i++)
		err = mark_entry(c, i, &change);
	cond_resched();
	if (!err && change)
		return qcow2_shadow_ref(c->s, off >> c->l->h.cluster_bits, 1, -1) ?:
		       qcow2_change_write_l2(c, l1_entry);
	err = err ?: qcow2_shadow_refcount(c->s, off >> c->l->h.cluster_bits, &refcount);
	if (!err)
		*l1_entry = cpu_to_be64(off | (refcount == 1 ? QCOW2_ENTRY_COPIED : 0));
	return err;
}

/* --- a change --------------------------------------------------------------------------- */

/**
 * struct change - a change of snapshots that is being made
 * @tables: the active ones.
 * @snapshots: the snapshot table, as it will be.
 * @other: another L1 table.
 */
struct change {
	struct qcow2_change tables;
	struct snapshots snapshots;
	__be64 *other;
};

static int get_memory(struct change *c, u32 l1_size, u32 other_size)
{
	c->other = vzalloc(max_t(size_t, (size_t)other_size * sizeof(__be64), 1));
	return c->other ? qcow2_change_memory(&c->tables, l1_size) : -ENOMEM;
}

static int place_snapshots(struct change *c)
{
	struct qcow2_change *t = &c->tables;
	struct qcow2_header *h = &t->l->h;
	u32 old_bytes;
	int err;

	if (h->nb_snapshots) {
		err = measure(t->l, &old_bytes) ?:
		      qcow2_shadow_ref(t->s, h->snapshots_offset >> h->cluster_bits,
				       qcow2_change_clusters(t, old_bytes), -1);
		if (err)
			return err;
	}
	t->roots.nb_snapshots = c->snapshots.nr;
	return qcow2_change_place(t, c->snapshots.buf, c->snapshots.bytes,
				  &t->roots.snapshots_offset);
}

static int begin_change(struct change *c, struct qcow2_shadow *s, struct qcow2_layer *l,
			const char **why)
{
	int err = qcow2_change_begin(&c->tables, s, l, why);

	if (err)
		return err;
	c->other = NULL;
	err = read_table(l, &c->snapshots, why);
	if (err)
		qcow2_shadow_end(s);
	return err;
}

/* The switch, or an end. */
static int end_change(struct change *c, int err, const char **why)
{
	vfree(c->snapshots.buf);
	vfree(c->other);
	return qcow2_change_end(&c->tables, err, why);
}

/* The end of what did not even begin. */
/* What is refused, with @err, leaves the image as it is. Else it is going to be written. */
static int begin_or_end(struct change *c, int err, const char **why)
{
	const char *reason = *why;

	if (!err) {
		reason = "writing has stopped";
		err = qcow2_layer_begin_writing(c->tables.l);
	}
	if (err) {
		err = end_change(c, err, why);
		*why = reason;
	}
	return err;
}

static int read_l1(struct change *c, __be64 *entries, u64 off, u32 nr)
{
	return qcow2_change_read(&c->tables, entries, off, (size_t)nr * sizeof(*entries));
}

int qcow2_snapshot_create(struct qcow2_shadow *s, struct qcow2_layer *l, const char *name,
			  const char **why)
{
	struct change c;
	struct qcow2_change *t = &c.tables;
	struct entry e;
	u32 i;
	int err;

	if (qcow2_has_data_file(&l->h)) {
		*why = "an image with an external data file has no snapshots";
		return -EOPNOTSUPP;
	}
	err = begin_change(&c, s, l, why);
	if (err)
		return err;
	*why = "there is a snapshot of this name";
	err = find_entry(&c.snapshots, name, &e) ? -EEXIST : 0;
	err = begin_or_end(&c, err, why);
	if (err)
		return err;
	append_entry(&c.snapshots, &l->h, name);
	if (c.snapshots.nr > QCOW2_MAX_SNAPSHOTS || c.snapshots.bytes > MAX_TABLE)
		err = -EFBIG;
	err = err ?: get_memory(&c, l->h.l1_size, 0) ?:
	      read_l1(&c, t->l1, l->h.l1_table_offset, t->l1_size);
	for (i = 0; i < t->l1_size && !err; i++)
		err = adopt_l2(t, &t->l1[i]);
	err = err ?: qcow2_change_place_l1(t) ?: place_snapshots(&c);
	return end_change(&c, err, why);
}

/* Find what a change is about. */
static int find(struct change *c, const char *name, struct entry *e,
		struct qcow2_snapshot *snapshot, const char **why)
{
	*why = "there is no such snapshot";
	return find_entry(&c->snapshots, name, e) ? describe(c->tables.l, e, snapshot, why) :
						    -ENOENT;
}

int qcow2_snapshot_apply(struct qcow2_shadow *s, struct qcow2_layer *l, const char *name,
			 const char **why)
{
	struct qcow2_snapshot snapshot;
	struct change c;
	struct qcow2_change *t = &c.tables;
	struct entry e;
	u32 i;
	int err = begin_change(&c, s, l, why);

	if (err)
		return err;
	err = find(&c, name, &e, &snapshot, why) ?:
	      qcow2_bitmaps_prepare_resize(&l->bitmaps, snapshot.disk_size, why);
	err = begin_or_end(&c, err, why);
	if (err)
		return err;
	err = qcow2_bitmaps_begin_resize(&l->bitmaps) ?:
	      get_memory(&c, max(l->h.l1_size, snapshot.l1_size), l->h.l1_size) ?:
	      read_l1(&c, t->l1, snapshot.l1_table_offset, snapshot.l1_size) ?:
	      read_l1(&c, c.other, l->h.l1_table_offset, l->h.l1_size);
	t->roots.size = snapshot.disk_size;
	/* In this order no refcount needs to be higher than it was, or than it will be. */
	for (i = 0; i < l->h.l1_size && !err; i++)
		err = qcow2_change_drop_l2(t, c.other[i]);
	for (i = 0; i < snapshot.l1_size && !err; i++)
		err = adopt_l2(t, &t->l1[i]);
	err = err ?: qcow2_change_drop_l1(t, l->h.l1_table_offset, l->h.l1_size) ?:
	      qcow2_change_place_l1(t);
	err = end_change(&c, err, why);
	if (!err) {
		qcow2_bitmaps_resize(&l->bitmaps, l->size);
		qcow2_bitmaps_mark(&l->bitmaps, 0, l->size);
	}
	return err;
}

int qcow2_snapshot_delete(struct qcow2_shadow *s, struct qcow2_layer *l, const char *name,
			  const char **why)
{
	struct qcow2_snapshot snapshot;
	struct change c;
	struct qcow2_change *t = &c.tables;
	struct entry e;
	u32 i;
	int err = begin_change(&c, s, l, why);

	if (err)
		return err;
	err = begin_or_end(&c, find(&c, name, &e, &snapshot, why), why);
	if (err)
		return err;
	remove_entry(&c.snapshots, &e);
	err = get_memory(&c, l->h.l1_size, snapshot.l1_size) ?:
	      read_l1(&c, t->l1, l->h.l1_table_offset, l->h.l1_size) ?:
	      read_l1(&c, c.other, snapshot.l1_table_offset, snapshot.l1_size);
	for (i = 0; i < snapshot.l1_size && !err; i++)
		err = qcow2_change_drop_l2(t, c.other[i]);
	err = err ?: qcow2_change_drop_l1(t, snapshot.l1_table_offset, snapshot.l1_size);
	for (i = 0; i < l->h.l1_size && !err; i++)
		err = mark_l2(t, &t->l1[i]);
	err = err ?: qcow2_change_drop_l1(t, l->h.l1_table_offset, l->h.l1_size) ?:
	      qcow2_change_place_l1(t) ?: place_snapshots(&c);
	return end_change(&c, err, why);
}
