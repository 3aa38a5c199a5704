// SPDX-License-Identifier: GPL-2.0
/* Persistent dirty bitmaps. See bitmap.h for the contract. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bitmap.h>
#include <linux/bitops.h>
#include <linux/mm.h>
#include <linux/printk.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "bitmap.h"
#include "mutant.h"

/* Bitmaps may take this part of the machine's memory. */
#define MEMORY_PART	4

static u64 cluster_size(const struct qcow2_dirty_bitmaps *b)
{
	return b->alloc->h->cluster_size;
}

static void *chunk(const struct qcow2_dirty_bitmaps *b, const struct qcow2_dirty_bitmap *bm, u32 i)
{
	return bm->bits + ((size_t)i << b->alloc->h->cluster_bits);
}

/* --- loading --------------------------------------------------------------------------------- */

/**
 * struct load - where loading stands
 * @b: what is loaded.
 * @ext: the bitmaps extension.
 * @dir: the bitmap directory.
 * @i: the entry.
 * @off: of it, in the directory.
 * @e: what it says.
 * @table: its table.
 * @last: where the next bitmap is linked.
 * @disabled: it is those that are disabled that are wanted. The rest is known.
 * @why: see qcow2_bitmaps_load().
 */
struct load {
	struct qcow2_dirty_bitmaps *b;
	struct qcow2_bitmaps ext;
	void *dir;
	u32 i;
	u64 off;
	struct qcow2_bitmap_entry e;
	struct qcow2_table table;
	struct qcow2_dirty_bitmap **last;
	bool disabled;
	const char **why;
};

static bool is_consistent(const struct qcow2_bitmap_entry *e)
{
	return !(e->flags & QCOW2_BITMAP_IN_USE);
}

static bool is_enabled(const struct qcow2_bitmap_entry *e)
{
	return e->flags & QCOW2_BITMAP_AUTO;
}

static bool is_wanted(const struct load *ld)
{
	return is_consistent(&ld->e) && is_enabled(&ld->e) != ld->disabled;
}

static int bad(struct load *ld, const struct qcow2_fault *fault)
{
	*ld->why = fault->sentence;
	pr_err("%s (%pD): bitmap directory entry %u: %s %llu %s; attach -r does not need it\n",
	       ld->b->name, ld->b->alloc->file->filp, ld->i, fault->field, fault->value,
	       fault->why);
	return -EINVAL;
}

/* @field and @why must be string literals. */
#define refuse(ld, val, field_, why_)						\
	bad(ld, &(const struct qcow2_fault) {					\
		.field = field_, .value = val, .why = why_,			\
		.sentence = field_ " " why_,					\
	})

/* All of it, or it is an error: @why is a sentence about a short file. */
static int read_exactly(struct load *ld, void *buf, u64 off, u64 len, const char *why)
{
	ssize_t got = qcow2_file_read(ld->b->alloc->file, buf, off, len);

	if (got == len)
		return 0;
	*ld->why = got < 0 ? "the bitmaps cannot be read" : why;
	return got < 0 ? got : -EUCLEAN;
}

static int read_extension(struct load *ld)
{
	const struct qcow2_header *h = ld->b->alloc->h;
	u32 len = h->bitmaps.off + h->bitmaps.len;
	struct qcow2_fault fault;
	void *buf = kvmalloc(len, GFP_KERNEL);
	int err;

	if (!buf)
		return -ENOMEM;
	err = read_exactly(ld, buf, 0, len, "the header has become shorter");
	if (!err && qcow2_bitmaps_parse(buf, h, qcow2_file_size(ld->b->alloc->file), &ld->ext,
					&fault))
		err = bad(ld, &fault);
	kvfree(buf);
	return err;
}

static int protect(struct load *ld, u64 off, u64 len)
{
	int err = ld->disabled ? 0 : qcow2_overlap_add(ld->b->alloc->overlap, off, len);

	if (err != -EEXIST)
		return err;
	*ld->why =
		"bitmaps overlap other metadata: run qemu-img check -r all, or attach read-only";
	return -EUCLEAN;
}

/* The clusters of a bitmap are nobody else's. Of one that is IN_USE, as far as one can tell. */
static int protect_clusters(struct load *ld)
{
	u64 file_size = qcow2_file_size(ld->b->alloc->file), off;
	struct qcow2_fault fault;
	bool ones;
	int err = 0;
	u32 i;

	for (i = 0; i < ld->table.nr && !err; i++) {
		err = qcow2_bitmap_decode(ld->b->alloc->h, qcow2_table_get(&ld->table, i), &off,
					  &ones, &fault);
		if (!err && off && off < file_size)
			err = protect(ld, off, cluster_size(ld->b));
		else if (!is_consistent(&ld->e))
			err = 0;
		else if (err)
			err = bad(ld, &fault);
		else if (off)
			err = refuse(ld, off, "bitmap cluster offset",
				     "lies past the end of the file: is it truncated?");
		cond_resched();
	}
	return err;
}

/* What the parser leaves to those who use the bits. */
static int check_usable(struct load *ld)
{
	const struct qcow2_header *h = ld->b->alloc->h;

	if (ld->e.table_size != qcow2_bitmap_table_size(h, h->size, ld->e.granularity_bits))
		return refuse(ld, ld->e.table_size, "bitmap_table_size",
			      "does not fit the size of the disk");
	if (ld->e.extra_len && is_wanted(ld) &&
	    !(ld->e.flags & QCOW2_BITMAP_EXTRA_COMPATIBLE))
		return refuse(ld, ld->e.extra_len, "bitmap's extra_data_size",
			      "is not 0: what keeps the bitmap true is not known; attach read-only");
	return 0;
}

static void free_bitmap(struct qcow2_dirty_bitmap *bm)
{
	if (bm->larger)
		free_bitmap(bm->larger);
	qcow2_table_free(&bm->table);
	kvfree(bm->bits);
	kvfree(bm->changed);
	kfree(bm->name);
	kfree(bm);
}

/* A lot, perhaps: better none than somebody else's. */
static void *alloc_bits(u64 bytes)
{
	return kvzalloc(bytes, GFP_KERNEL | __GFP_NOWARN | __GFP_RETRY_MAYFAIL);
}

/* Clear what lies behind the last bit. */
static void clear_tail(const struct qcow2_dirty_bitmaps *b, struct qcow2_dirty_bitmap *bm)
{
	unsigned int bits = b->alloc->h->cluster_bits;
	u64 bit = bm->nr_bits;
	u32 i;

	for (; bit & 7; bit++) {
		if (!test_bit_le(bit, bm->bits))
			continue;
		__clear_bit_le(bit, bm->bits);
		__set_bit(bit >> (bits + 3), bm->changed);
	}
	for (i = bit >> (bits + 3); i < bm->table.nr; i++, bit = (u64)i << (bits + 3)) {
		void *from = bm->bits + bit / 8;
		size_t len = ((size_t)(i + 1) << bits) - bit / 8;

		if (!memchr_inv(from, 0, len))
			continue;
		memset(from, 0, len);
		__set_bit(i, bm->changed);
	}
}

static int load_bits(struct load *ld, struct qcow2_dirty_bitmap *bm)
{
	struct qcow2_fault fault;
	ssize_t got;
	bool ones;
	u64 off;
	u32 i;

	for (i = 0; i < bm->table.nr; i++) {
		if (qcow2_bitmap_decode(ld->b->alloc->h, qcow2_table_get(&bm->table, i), &off,
					&ones, &fault))
			return bad(ld, &fault);
		if (ones)
			memset(chunk(ld->b, bm, i), 0xff, cluster_size(ld->b));
		if (!off)
			continue;
		/* The file may end within its last cluster. */
		got = qcow2_file_read(ld->b->alloc->file, chunk(ld->b, bm, i), off,
				      cluster_size(ld->b));
		if (got < 0) {
			*ld->why = "the bitmaps cannot be read";
			return got;
		}
	}
	clear_tail(ld->b, bm);
	return 0;
}

/* Memory for what the entry says; it takes over the table. */
static struct qcow2_dirty_bitmap *make_bitmap(struct load *ld)
{
	u64 bytes = (u64)ld->e.table_size << ld->b->alloc->h->cluster_bits;
	struct qcow2_dirty_bitmap *bm = kzalloc(sizeof(*bm), GFP_KERNEL);

	if (!bm)
		return NULL;
	bm->name = kmemdup_nul(ld->dir + ld->off + ld->e.name_off, ld->e.name_len, GFP_KERNEL);
	bm->bits = alloc_bits(bytes);
	bm->changed = kvcalloc(BITS_TO_LONGS(ld->e.table_size), sizeof(long), GFP_KERNEL);
	if (!bm->name || !bm->bits || !bm->changed) {
		free_bitmap(bm);
		return NULL;
	}
	bm->entry_off = ld->ext.directory_offset + ld->off;
	bm->flags = ld->e.flags;
	bm->granularity_bits = ld->e.granularity_bits;
	bm->nr_bits = qcow2_bitmap_bits(ld->b->alloc->h->size, bm->granularity_bits);
	bm->nr = ld->e.table_size;
	bm->room = round_up(bm->nr, ld->b->alloc->h->cluster_size / sizeof(__be64));
	bm->table = ld->table;
	ld->table.entries = NULL;
	ld->table.dirty = NULL;
	return bm;
}

static int keep_bitmap(struct load *ld)
{
	struct qcow2_dirty_bitmaps *b = ld->b;
	struct qcow2_dirty_bitmap *bm;
	int err;

	b->bytes += (u64)ld->e.table_size << b->alloc->h->cluster_bits;
	if (b->bytes >> PAGE_SHIFT > totalram_pages() / MEMORY_PART)
		return refuse(ld, b->bytes, "bitmaps' bytes",
			      "are more than a quarter of memory: attach read-only");
	bm = make_bitmap(ld);
	if (!bm)
		return -ENOMEM;
	err = load_bits(ld, bm);
	if (err) {
		free_bitmap(bm);
		return err;
	}
	*ld->last = bm;
	ld->last = &bm->next;
	return 0;
}

static int load_entry(struct load *ld)
{
	u64 bytes = (u64)ld->e.table_size * sizeof(__be64);
	int err;

	if (ld->disabled && !is_wanted(ld))
		return 0;
	err = is_consistent(&ld->e) ? check_usable(ld) : 0;
	if (err)
		return err;
	err = qcow2_table_read(&ld->table, ld->b->alloc->file, ld->e.table_offset,
			       ld->e.table_size);
	if (err == -ENODATA && is_consistent(&ld->e))
		return refuse(ld, ld->e.table_offset, "bitmap_table_offset",
			      "puts the bitmap table past the end of the file");
	/* What may lie there one day is not a bitmap's. */
	if (err == -ENODATA)
		return 0;
	if (err) {
		if (err != -ENOMEM)
			*ld->why = "the bitmaps cannot be read";
		return err;
	}
	err = protect(ld, ld->e.table_offset, bytes) ?: protect_clusters(ld);
	if (!err && is_wanted(ld))
		err = keep_bitmap(ld);
	else if (!err)
		ld->b->others += is_consistent(&ld->e);
	qcow2_table_free(&ld->table);
	return err;
}

static int load_directory(struct load *ld)
{
	struct qcow2_fault fault;
	int err;

	err = protect(ld, ld->ext.directory_offset, ld->ext.directory_size) ?:
	      read_exactly(ld, ld->dir, ld->ext.directory_offset, ld->ext.directory_size,
			   "the bitmap directory lies past the end of the file");
	for (; ld->i < ld->ext.nb_bitmaps && !err; ld->i++) {
		if (qcow2_bitmap_parse(ld->b->alloc->h, ld->dir + ld->off,
				       ld->ext.directory_size - ld->off, &ld->e, &fault))
			return bad(ld, &fault);
		err = load_entry(ld);
		ld->off += ld->e.entry_len;
	}
	if (!err && ld->off != ld->ext.directory_size)
		err = refuse(ld, ld->ext.directory_size, "bitmap_directory_size",
			     "is more than its entries need");
	return err;
}

static int load(struct load *ld)
{
	int err;

	*ld->why = "out of memory";
	err = read_extension(ld);
	if (err)
		return err;
	ld->dir = kvmalloc(ld->ext.directory_size, GFP_KERNEL | __GFP_NOWARN);
	if (!ld->dir)
		return -ENOMEM;
	err = load_directory(ld);
	kvfree(ld->dir);
	return err;
}

int qcow2_bitmaps_load(struct qcow2_dirty_bitmaps *b, const char *name,
		       struct qcow2_alloc *alloc, const char **why)
{
	struct load ld = { .b = b, .last = &b->first, .why = why };
	int err;

	b->name = name;
	b->alloc = alloc;
	err = qcow2_header_has_bitmaps(alloc->h) ? load(&ld) : 0;
	b->last = ld.last;
	return err;
}

static void free_list(struct qcow2_dirty_bitmap *bm)
{
	while (bm) {
		struct qcow2_dirty_bitmap *next = bm->next;

		free_bitmap(bm);
		bm = next;
	}
}

void qcow2_bitmaps_free(struct qcow2_dirty_bitmaps *b)
{
	free_list(b->first);
	free_list(b->disabled);
	b->first = NULL;
	b->disabled = NULL;
}

/* --- while it is written ------------------------------------------------------------------- */

/* Size and flags, in one sector: entries begin at multiples of 8. @flags: further ones. */
static int write_entry(struct qcow2_dirty_bitmaps *b, struct qcow2_dirty_bitmap *bm, u32 flags)
{
	struct {
		__be32 table_size;
		__be32 flags;
	} disk = { cpu_to_be32(bm->nr), cpu_to_be32(bm->flags | flags) };

	return qcow2_commit_write(b->alloc->commit, &disk,
				  bm->entry_off + offsetof(struct qcow2_disk_bitmap, table_size),
				  sizeof(disk));
}

int qcow2_bitmaps_begin(struct qcow2_dirty_bitmaps *b)
{
	struct qcow2_dirty_bitmap *bm;
	int err = 0;

	if (!b->first || b->in_use)
		return 0;
	for (bm = b->first; bm && !err; bm = bm->next)
		err = write_entry(b, bm, QCOW2_BITMAP_IN_USE);
	if (!err && !qcow2_is_mutant(IN_USE_LATE))
		err = qcow2_commit_sync(b->alloc->commit);
	b->in_use = !err;
	return err;
}

/* Tell that some bit of the cluster with @bit was set. */
static void note_change(const struct qcow2_dirty_bitmaps *b, struct qcow2_dirty_bitmap *bm, u64 bit)
{
	u32 i = bit >> (b->alloc->h->cluster_bits + 3);

	if (!test_bit(i, bm->changed))
		set_bit(i, bm->changed);
}

/*
 * Look before each change: most bits that are set are set already, and who only looks does not
 * take the cache line from the others.
 */
static void set_bits(const struct qcow2_dirty_bitmaps *b, struct qcow2_dirty_bitmap *bm,
		     u64 bit, u64 end)
{
	unsigned long *word;

	while (bit < end) {
		if (!(bit % BITS_PER_LONG) && end - bit >= BITS_PER_LONG) {
			word = (unsigned long *)bm->bits + bit / BITS_PER_LONG;
			if (READ_ONCE(*word) != ~0UL) {
				/* Whoever sets bits of this word meanwhile sets no more. */
				WRITE_ONCE(*word, ~0UL);
				note_change(b, bm, bit);
			}
			bit += BITS_PER_LONG;
			continue;
		}
		if (!test_bit_le(bit, bm->bits)) {
			set_bit_le(bit, bm->bits);
			note_change(b, bm, bit);
		}
		bit++;
	}
}

void qcow2_bitmaps_set(struct qcow2_dirty_bitmaps *b, u64 off, u64 len)
{
	struct qcow2_dirty_bitmap *bm;
	u64 end;

	for (bm = b->first; bm; bm = bm->next) {
		if (!(bm->flags & QCOW2_BITMAP_AUTO))
			continue;
		end = qcow2_bitmap_bits(off + len, bm->granularity_bits);
		set_bits(b, bm, off >> bm->granularity_bits, min(end, bm->nr_bits));
	}
}

/* --- another size ---------------------------------------------------------------------------- */

static void drop_larger(struct qcow2_dirty_bitmap *bm)
{
	if (bm->larger)
		free_bitmap(bm->larger);
	bm->larger = NULL;
}

/* Memory for a table of @nr entries. */
static int make_larger(struct qcow2_dirty_bitmaps *b, struct qcow2_dirty_bitmap *bm, u32 nr)
{
	struct qcow2_dirty_bitmap *larger = kzalloc(sizeof(*larger), GFP_KERNEL);

	bm->larger = larger;
	if (!larger)
		return -ENOMEM;
	larger->changed = kvcalloc(BITS_TO_LONGS(nr), sizeof(long), GFP_KERNEL);
	larger->bits = alloc_bits((u64)nr << b->alloc->h->cluster_bits);
	if (!larger->changed || !larger->bits)
		return -ENOMEM;
	return qcow2_table_alloc(&larger->table, bm->table.off, nr);
}

static int prepare_one(struct qcow2_dirty_bitmaps *b, struct qcow2_dirty_bitmap *bm, u64 size,
		       const char **why)
{
	const struct qcow2_header *h = b->alloc->h;
	u64 nr = qcow2_bitmap_table_size(h, size, bm->granularity_bits);
	int err = 0;

	drop_larger(bm);
	if (nr > bm->room || nr << h->cluster_bits > QCOW2_MAX_BITMAP_BYTES) {
		*why = "a bitmap has no room for that size: see qemu-img bitmap --remove";
		return -EOPNOTSUPP;
	}
	if (nr > bm->table.nr)
		err = make_larger(b, bm, nr);
	if (err) {
		drop_larger(bm);
		*why = "out of memory";
	}
	return err;
}

static int load_disabled(struct qcow2_dirty_bitmaps *b, const char **why)
{
	struct load ld = { .b = b, .last = &b->disabled, .disabled = true, .why = why };
	u64 bytes = b->bytes;
	int err;

	if (!b->others || b->disabled)
		return 0;
	err = load(&ld);
	if (err) {
		free_list(b->disabled);
		b->disabled = NULL;
		b->bytes = bytes;
	}
	return err;
}

int qcow2_bitmaps_prepare_resize(struct qcow2_dirty_bitmaps *b, u64 size, const char **why)
{
	struct qcow2_dirty_bitmap *bm;
	int err = size == b->alloc->h->size ? 0 : load_disabled(b, why);

	for (bm = b->first; bm && !err; bm = bm->next)
		err = prepare_one(b, bm, size, why);
	for (bm = b->disabled; bm && !err; bm = bm->next)
		err = prepare_one(b, bm, size, why);
	return err;
}

int qcow2_bitmaps_begin_resize(struct qcow2_dirty_bitmaps *b)
{
	struct qcow2_dirty_bitmap *bm;
	int err = 0;

	if (!b->disabled)
		return 0;
	for (bm = b->disabled; bm && !err; bm = bm->next)
		err = write_entry(b, bm, QCOW2_BITMAP_IN_USE);
	if (!err && !qcow2_is_mutant(IN_USE_LATE))
		err = qcow2_commit_sync(b->alloc->commit);
	if (err)
		return err;
	*b->last = b->disabled;
	while (*b->last)
		b->last = &(*b->last)->next;
	b->disabled = NULL;
	b->others = 0;
	b->in_use = true;
	return 0;
}

/* What was there, in more room. Nobody knows what the table's clusters hold behind its end. */
static void adopt_larger(struct qcow2_dirty_bitmaps *b, struct qcow2_dirty_bitmap *bm)
{
	struct qcow2_dirty_bitmap *larger = bm->larger;
	u32 i;

	memcpy(larger->bits, bm->bits, (size_t)bm->table.nr << b->alloc->h->cluster_bits);
	bitmap_copy(larger->changed, bm->changed, bm->table.nr);
	for (i = 0; i < larger->table.nr; i++)
		qcow2_table_set(&larger->table, i,
				i < bm->table.nr ? qcow2_table_get(&bm->table, i) : 0, true);
	swap(bm->table, larger->table);
	swap(bm->bits, larger->bits);
	swap(bm->changed, larger->changed);
	drop_larger(bm);
}

void qcow2_bitmaps_resize(struct qcow2_dirty_bitmaps *b, u64 size)
{
	struct qcow2_dirty_bitmap *bm;

	for (bm = b->first; bm; bm = bm->next) {
		if (bm->larger)
			adopt_larger(b, bm);
		bm->nr_bits = qcow2_bitmap_bits(size, bm->granularity_bits);
		bm->nr = qcow2_bitmap_table_size(b->alloc->h, size, bm->granularity_bits);
		clear_tail(b, bm);
	}
}

/* --- storing ----------------------------------------------------------------------------- */

/* A cluster, with a refcount of 1 in memory. */
static int take_cluster(struct qcow2_dirty_bitmaps *b, u64 *off)
{
	struct qcow2_run run;
	int err;

	while ((err = qcow2_alloc_take(b->alloc, 1, &run)) != 0) {
		err = qcow2_alloc_wait(b->alloc, err);
		if (err)
			return err;
	}
	*off = run.start << b->alloc->h->cluster_bits;
	/* The table in memory has it. */
	qcow2_alloc_published(b->alloc, 1);
	return qcow2_overlap_add(b->alloc->overlap, *off, cluster_size(b)) ? -EUCLEAN : 0;
}

static int store_chunk(struct qcow2_dirty_bitmaps *b, struct qcow2_dirty_bitmap *bm, u32 i)
{
	const void *bytes = chunk(b, bm, i);
	struct qcow2_fault fault;
	bool ones;
	u64 off;
	int err = 0;

	if (qcow2_bitmap_decode(b->alloc->h, qcow2_table_get(&bm->table, i), &off, &ones, &fault))
		return -EUCLEAN;
	/* Where all bits are the same, the first one tells which. */
	ones = test_bit_le(0, bytes);
	if (!off && !memchr_inv(bytes, ones ? 0xff : 0, cluster_size(b))) {
		qcow2_table_set(&bm->table, i, ones ? QCOW2_BITMAP_ALL_ONES : 0, true);
		return 0;
	}
	if (!off) {
		err = take_cluster(b, &off);
		if (err)
			return err;
		qcow2_table_set(&bm->table, i, off, true);
	}
	return qcow2_commit_write(b->alloc->commit, bytes, off, cluster_size(b));
}

/* Its clusters; on an error as many as can be. */
static int store_bits(struct qcow2_dirty_bitmaps *b, struct qcow2_dirty_bitmap *bm)
{
	int err = 0;
	u32 i;

	for_each_set_bit(i, bm->changed, bm->nr) {
		err = store_chunk(b, bm, i);
		if (err)
			break;
		cond_resched();
	}
	return err;
}

/* Also if bits failed: the clusters that were taken for them are not lost then. */
static int store_table(struct qcow2_dirty_bitmaps *b, struct qcow2_dirty_bitmap *bm)
{
	u8 sector[SECTOR_SIZE];
	bool ordered;
	int err = 0;
	u64 off;

	while (!err && qcow2_table_freeze(&bm->table, sector, &off, &ordered))
		err = qcow2_commit_write(b->alloc->commit, sector, off, sizeof(sector));
	return err;
}

/* The clusters of entries that the table no longer has. Those that cannot be freed now leak. */
static void free_dropped(struct qcow2_dirty_bitmaps *b, struct qcow2_dirty_bitmap *bm)
{
	struct qcow2_free_batch *batch;
	struct qcow2_fault fault;
	bool ones;
	u64 off;
	u32 i;

	for (i = bm->nr; i < bm->table.nr; i++) {
		if (qcow2_bitmap_decode(b->alloc->h, qcow2_table_get(&bm->table, i), &off, &ones,
					&fault) || !off)
			continue;
		batch = qcow2_alloc_batch(b->alloc);
		if (!batch)
			return;
		qcow2_overlap_remove(b->alloc->overlap, off, cluster_size(b));
		qcow2_alloc_batch_add(batch, off >> b->alloc->h->cluster_bits, 1);
		qcow2_alloc_free(b->alloc, batch);
	}
}

static int store_all(struct qcow2_dirty_bitmaps *b)
{
	struct qcow2_commit *c = b->alloc->commit;
	struct qcow2_dirty_bitmap *bm;
	int err;

	for (bm = b->first; bm; bm = bm->next)
		bm->err = store_bits(b, bm);
	err = qcow2_commit_wait(c);
	if (err)
		return err;
	for (bm = b->first; bm; bm = bm->next)
		bm->table_err = store_table(b, bm);
	if (!qcow2_is_mutant(CONSISTENT_EARLY))
		err = qcow2_commit_sync(c);
	for (bm = b->first; bm && !err; bm = bm->next)
		if (!bm->table_err)
			bm->table_err = write_entry(b, bm, bm->err ? QCOW2_BITMAP_IN_USE : 0);
	err = err ?: qcow2_commit_sync(c);
	for (bm = b->first; bm && !err; bm = bm->next)
		if (!bm->table_err)
			free_dropped(b, bm);
	return err;
}

int qcow2_bitmaps_store(struct qcow2_dirty_bitmaps *b)
{
	struct qcow2_dirty_bitmap *bm;
	int err, reason, first = 0;

	if (!b->in_use)
		return 0;
	err = qcow2_commit_stopped(b->alloc->commit) ?: store_all(b);
	for (bm = b->first; bm; bm = bm->next) {
		reason = err ?: bm->err ?: bm->table_err;
		if (!reason)
			continue;
		first = first ?: reason;
		pr_err("%s (%pD): the bitmap %*pE cannot be stored, error %d: it stays in use, and incremental backups cannot go by it\n",
		       b->name, b->alloc->file->filp, (int)strlen(bm->name), bm->name,
		       reason);
	}
	b->in_use = false;
	return first;
}
