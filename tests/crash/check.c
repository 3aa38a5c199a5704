// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "bitmaps.h"
#include "check.h"
#include "rig.h"

/* What a cluster is used for. The active tables use each of theirs once. */
enum use {
	USE_NONE,
	USE_HEADER,
	USE_REFCOUNT_TABLE,
	USE_REFCOUNT_BLOCK,
	USE_L1,
	USE_L2,
	USE_DATA,
	USE_COMPRESSED,
	USE_SNAPSHOTS,
	USE_BITMAPS,
	USE_BITMAP_TABLE,
	USE_BITMAP,
	USE_ENCRYPTION,
	USE_ACTIVE = 0x80,	/* with USE_L2, USE_DATA */
};

static const char *const use_names[] = {
	"nothing", "the header", "the refcount table", "a refcount block", "an L1 table",
	"an L2 table", "data", "compressed data", "the snapshot table", "the bitmap directory",
	"a bitmap table", "a bitmap", "the LUKS header",
};

/**
 * struct walk - one check in progress
 * @refs, @uses: of each cluster, by what points to it.
 * @clusters: in the file, the last one perhaps in part.
 * @seen: clusters that have something in @refs; can be one more.
 * @file_len: as qemu-img sees it, whole sectors.
 */
struct walk {
	struct check *check;
	const struct image *img;
	const struct qcow2_header *h;
	uint32_t *refs;
	uint8_t *uses;
	uint64_t clusters;
	uint64_t seen;
	uint64_t file_len;
	uint64_t ref_max;
};

static void __attribute__((format(printf, 3, 4))) fault(struct check *c, unsigned int *count,
							const char *format, ...)
{
	va_list args;

	++*count;
	if (c->what[0])
		return;
	va_start(args, format);
	vsnprintf(c->what, sizeof(c->what), format, args);
	va_end(args);
}

#define corrupt(w, ...) fault((w)->check, &(w)->check->corruptions, __VA_ARGS__)

/* --- what points where --------------------------------------------------------------------- */

static void note_use(struct walk *w, uint64_t cluster, uint8_t use)
{
	uint8_t *was = &w->uses[cluster], kind = use & ~USE_ACTIVE, old = *was & ~USE_ACTIVE;
	bool twice = (use & *was & USE_ACTIVE) || kind < USE_L2 || kind >= USE_SNAPSHOTS;

	if (old && (old != kind || twice))
		fault(w->check, &w->check->strict, "cluster %llu is used for %s and for %s",
		      (unsigned long long)cluster, use_names[old], use_names[kind]);
	*was |= use;
}

/* Something refers to these bytes. */
static void refer(struct walk *w, uint64_t off, uint64_t len, uint8_t use)
{
	uint64_t bits = w->h->cluster_bits;

	if (!len)
		return;
	/* The last cluster may be there in part. */
	if (off + len >= w->file_len + w->h->cluster_size) {
		corrupt(w, "%s at %llu is past the end of the file", use_names[use & ~USE_ACTIVE],
			(unsigned long long)off);
		return;
	}
	for (uint64_t i = off >> bits; i <= (off + len - 1) >> bits; i++) {
		if (w->refs[i] == w->ref_max) {
			corrupt(w, "cluster %llu has more references than a refcount can say",
				(unsigned long long)i);
			continue;
		}
		w->refs[i]++;
		if (i >= w->seen)
			w->seen = i + 1;
		note_use(w, i, use);
	}
}

static uint64_t refcount(const struct walk *w, uint64_t cluster)
{
	unsigned int order = w->h->refcount_order;
	uint64_t block_bits = w->h->cluster_bits + 3 - order;
	uint64_t idx = cluster >> block_bits, in_block = cluster & ((1ULL << block_bits) - 1);
	uint64_t bit = in_block << order, off, value;

	if (idx >= (uint64_t)w->h->refcount_table_clusters << w->h->cluster_bits >> 3)
		return 0;
	off = image_be64(w->img, w->h->refcount_table_offset + idx * 8) & QCOW2_ENTRY_OFFSET_MASK;
	if (!off)
		return 0;
	value = image_be64(w->img, off + bit / 64 * 8);
	if (order == 6)
		return value;
	/* Bytes in order of their place, and within a byte the lowest bits first. */
	if (order >= 3)
		return value >> (64 - (1 << order) - bit % 64) & ((1ULL << (1 << order)) - 1);
	return value >> (56 - bit % 64 / 8 * 8) >> bit % 8 & ((1 << (1 << order)) - 1);
}

/* COPIED says that the refcount is one. */
static void check_copied(struct walk *w, uint64_t entry, uint64_t off, const char *what)
{
	bool copied = entry & QCOW2_ENTRY_COPIED;
	uint64_t count = refcount(w, off >> w->h->cluster_bits);
	bool once = count == 1;

	if (copied != once)
		corrupt(w, "%s entry %llx with refcount %llu", what, (unsigned long long)entry,
			(unsigned long long)count);
}

/* --- tables -------------------------------------------------------------------------------- */

/* Data in a file of their own have no refcounts, but a place. */
static void check_data(struct walk *w, uint64_t entry, const struct qcow2_cluster *c,
		       uint64_t guest_off)
{
	struct qcow2_fault why;

	if (qcow2_check_place(w->h, c, guest_off, &why))
		fault(w->check, &w->check->strict, "%s: %llx", why.sentence,
		      (unsigned long long)entry);
	if (c->mapped && !(entry & QCOW2_ENTRY_COPIED))
		corrupt(w, "an L2 entry of a data file without COPIED: %llx",
			(unsigned long long)entry);
}

/* @guest_off: of what the table maps. */
static void walk_l2(struct walk *w, uint64_t l2_off, uint64_t guest_off, bool active)
{
	uint8_t use = USE_DATA | (active ? USE_ACTIVE : 0);
	struct qcow2_cluster c;
	struct qcow2_fault why;

	for (uint64_t off = l2_off; off < l2_off + w->h->cluster_size; off += w->h->l2_entry_size) {
		struct qcow2_l2_entry entry = image_l2_entry(w->img, w->h, off);

		if (!entry.word && !entry.bitmap)
			continue;
		if (qcow2_l2_decode(w->h, entry, &c, &why)) {
			/* These QEMU does not mind. */
			bool lenient = entry.word & QCOW2_ENTRY_ZERO &&
				       !(entry.word & QCOW2_L2_RESERVED_MASK) &&
				       (w->h->version < 3 || w->h->subclusters > 1);

			fault(w->check, lenient ? &w->check->strict : &w->check->corruptions,
			      "%s: %llx %llx", why.sentence, (unsigned long long)entry.word,
			      (unsigned long long)entry.bitmap);
			continue;
		}
		if (qcow2_has_data_file(w->h)) {
			check_data(w, entry.word, &c, guest_off +
				   ((off - l2_off) / w->h->l2_entry_size << w->h->cluster_bits));
		} else if (c.compressed) {
			uint64_t start = c.host_off & ~(uint64_t)(SECTOR - 1);

			if (entry.word & QCOW2_ENTRY_COPIED)
				corrupt(w, "COPIED in a compressed entry: %llx",
					(unsigned long long)entry.word);
			refer(w, start, c.host_off + c.csize - start, USE_COMPRESSED);
		} else if (c.mapped) {
			refer(w, c.host_off, w->h->cluster_size, use);
			if (active)
				check_copied(w, entry.word, c.host_off, "an L2");
		}
	}
}

static void walk_l1(struct walk *w, uint64_t l1_off, uint64_t entries, bool active)
{
	uint8_t use = USE_L2 | (active ? USE_ACTIVE : 0);
	struct qcow2_fault why;

	refer(w, l1_off, entries * 8, USE_L1);
	for (uint64_t i = 0; i < entries; i++) {
		u64 entry = image_be64(w->img, l1_off + i * 8), off;

		if (qcow2_l1_decode(w->h, entry, &off, &why)) {
			corrupt(w, "%s: %llx", why.sentence, (unsigned long long)entry);
			continue;
		}
		if (!off) {
			if (entry)
				fault(w->check, &w->check->strict, "an L1 entry with flags only");
			continue;
		}
		refer(w, off, w->h->cluster_size, use);
		if (active)
			check_copied(w, entry, off, "an L1");
		walk_l2(w, off, i << (w->h->l2_bits + w->h->cluster_bits), active);
	}
}

/**
 * struct snapshot - what an entry of the snapshot table says
 * @size: of its disk; 0 where the entry does not say.
 * @name, @name_len: where its name is.
 * @next: where the next one begins.
 * @end: where this one ends.
 */
struct snapshot {
	uint64_t l1_off;
	uint64_t l1_entries;
	uint64_t size;
	uint64_t name;
	uint64_t name_len;
	uint64_t next;
	uint64_t end;
};

static void read_snapshot(const struct image *img, uint64_t off, struct snapshot *s)
{
	uint64_t sizes = image_be64(img, off + 8);
	uint64_t extra = (uint32_t)image_be64(img, off + 32);

	s->l1_off = image_be64(img, off);
	s->l1_entries = sizes >> 32;
	s->size = extra < 16 ? 0 : image_be64(img, off + 48) / SECTOR * SECTOR;
	s->name = off + 40 + extra + (sizes >> 16 & 0xffff);
	s->name_len = sizes & 0xffff;
	s->end = s->name + s->name_len;
	s->next = (s->end + 7) & ~7ULL;
}

static bool snapshot_is_sane(const struct qcow2_header *h, const struct snapshot *s)
{
	return !(s->l1_off & (h->cluster_size - 1)) && s->l1_entries <= QCOW2_MAX_L1_BYTES / 8 &&
	       s->end >> h->cluster_bits < 1U << 30;
}

static void walk_snapshots(struct walk *w)
{
	uint64_t off = w->h->snapshots_offset;
	struct snapshot s = { .end = off };

	for (uint32_t i = 0; i < w->h->nb_snapshots; i++) {
		read_snapshot(w->img, off, &s);
		if (!snapshot_is_sane(w->h, &s)) {
			corrupt(w, "snapshot %u is damaged", i);
			return;
		}
		walk_l1(w, s.l1_off, s.l1_entries, false);
		off = s.next;
	}
	refer(w, w->h->snapshots_offset, s.end - w->h->snapshots_offset, USE_SNAPSHOTS);
}

static void walk_bitmaps(struct walk *w)
{
	const char *why;
	struct bitmaps b;
	u64 off;
	bool ones;

	if (!bitmaps_list(&b, w->img, w->h, &why)) {
		corrupt(w, "%s", why);
		return;
	}
	refer(w, b.dir.directory_offset, b.dir.directory_size, USE_BITMAPS);
	for (unsigned int i = 0; i < b.nr; i++) {
		const struct qcow2_bitmap_entry *e = &b.list[i].entry;

		refer(w, e->table_offset, e->table_size * sizeof(uint64_t), USE_BITMAP_TABLE);
		for (uint32_t n = 0; n < e->table_size; n++) {
			if (!bitmaps_entry(w->img, w->h, &b.list[i], n, &off, &ones))
				corrupt(w, "bitmap table entry %u is malformed", n);
			else if (off)
				refer(w, off, w->h->cluster_size, USE_BITMAP);
		}
	}
}

static void walk_refcounts(struct walk *w)
{
	uint64_t table_len = (uint64_t)w->h->refcount_table_clusters << w->h->cluster_bits;

	refer(w, w->h->refcount_table_offset, table_len, USE_REFCOUNT_TABLE);
	for (uint64_t i = 0; i < table_len / 8; i++) {
		uint64_t off = image_be64(w->img, w->h->refcount_table_offset + i * 8);
		uint64_t cluster = off >> w->h->cluster_bits;

		if (!off)
			continue;
		if (off & (w->h->cluster_size - 1) || off & ~QCOW2_ENTRY_OFFSET_MASK) {
			corrupt(w, "refcount table entry %llx", (unsigned long long)off);
			continue;
		}
		if (cluster >= w->clusters) {
			corrupt(w, "refcount block %llu is past the end of the file",
				(unsigned long long)i);
			continue;
		}
		refer(w, off, w->h->cluster_size, USE_REFCOUNT_BLOCK);
		if (w->refs[cluster] != 1)
			corrupt(w, "refcount block %llu is used for something else, too",
				(unsigned long long)i);
	}
}

static void compare(struct walk *w)
{
	uint64_t end = w->seen > w->clusters ? w->seen : w->clusters;

	for (uint64_t i = 0; i < end; i++) {
		uint64_t count = refcount(w, i);

		if (count < w->refs[i])
			corrupt(w, "cluster %llu, %s, has refcount %llu and %u references",
				(unsigned long long)i, use_names[w->uses[i] & ~USE_ACTIVE & 15],
				(unsigned long long)count, w->refs[i]);
		else if (count > w->refs[i])
			w->check->leaks++;
	}
}

/* --- all of it ----------------------------------------------------------------------------- */

bool check_header(struct check *c, const struct image *img)
{
	static uint8_t buf[65536];	/* no extension lies further on */
	size_t len = sizeof(buf) < img->size ? sizeof(buf) : img->size;
	uint32_t cluster_size;
	struct qcow2_fault why;

	memset(c, 0, sizeof(*c));
	image_read(img, 0, buf, SECTOR);
	if (!qcow2_header_probe(buf, len < SECTOR ? len : SECTOR, &cluster_size, &why)) {
		len = len < cluster_size ? len : cluster_size;
		image_read(img, 0, buf, len);
		c->opens = !qcow2_header_parse(buf, len, img->size, &c->header, &why) &&
			   !qcow2_header_unsupported(&c->header, &why);
	}
	if (!c->opens)
		fault(c, &c->strict, "%s: %llx", why.sentence, (unsigned long long)why.value);
	return c->opens;
}

void check_image(struct check *c, const struct image *img)
{
	struct walk w = { .check = c, .img = img, .h = &c->header };

	if (!check_header(c, img))
		return;
	w.file_len = (img->size + SECTOR - 1) / SECTOR * SECTOR;
	w.clusters = (img->size + c->header.cluster_size - 1) >> c->header.cluster_bits;
	w.refs = calloc(w.clusters + 2, sizeof(*w.refs));
	w.uses = calloc(w.clusters + 2, sizeof(*w.uses));
	if (!w.refs || !w.uses)
		die("no memory");
	w.ref_max = c->header.refcount_order < 5 ? (1U << (1 << c->header.refcount_order)) - 1 : ~0U;

	if (c->header.incompatible_features & QCOW2_INCOMPAT_CORRUPT)
		fault(c, &c->strict, "the corrupt bit is set");
	refer(&w, 0, c->header.cluster_size, USE_HEADER);
	refer(&w, c->header.crypto_off, c->header.crypto_len, USE_ENCRYPTION);
	walk_l1(&w, c->header.l1_table_offset, c->header.l1_size, true);
	walk_snapshots(&w);
	walk_bitmaps(&w);
	walk_refcounts(&w);
	compare(&w);
	free(w.refs);
	free(w.uses);
}

unsigned int check_hidden_leaks(const struct image *img, const struct qcow2_header *h)
{
	struct walk w = { .img = img, .h = h };
	uint64_t end = (img->size + h->cluster_size - 1) >> h->cluster_bits;
	uint64_t blocks = (uint64_t)h->refcount_table_clusters << h->cluster_bits >> 3;
	uint64_t per_block = 1ULL << (h->cluster_bits + 3 - h->refcount_order);
	unsigned int count = 0;

	for (uint64_t block = end / per_block; block < blocks; block++) {
		if (!image_be64(img, h->refcount_table_offset + block * 8))
			continue;
		for (uint64_t i = block * per_block; i < (block + 1) * per_block; i++)
			count += i >= end && refcount(&w, i);
	}
	return count;
}

/* --- what snapshots keep ------------------------------------------------------------------- */

static void visit_l2(const struct image *img, const struct qcow2_header *h, uint64_t l2_off,
		     void (*visit)(void *data, uint64_t off, uint64_t len), void *data)
{
	struct qcow2_cluster c;
	struct qcow2_fault why;

	visit(data, l2_off, h->cluster_size);
	for (uint64_t off = l2_off; off < l2_off + h->cluster_size; off += h->l2_entry_size) {
		if (qcow2_l2_decode(h, image_l2_entry(img, h, off), &c, &why) || !c.mapped)
			continue;
		visit(data, c.host_off, c.compressed ? c.csize : h->cluster_size);
	}
}

void check_snapshot_ranges(const struct image *img, const struct qcow2_header *h,
			   void (*visit)(void *data, uint64_t off, uint64_t len), void *data)
{
	u64 off = h->snapshots_offset, l2_off;
	struct qcow2_fault why;
	struct snapshot s;

	for (uint32_t i = 0; i < h->nb_snapshots; i++, off = s.next) {
		read_snapshot(img, off, &s);
		if (!snapshot_is_sane(h, &s))
			return;
		visit(data, off, s.end - off);
		visit(data, s.l1_off, s.l1_entries * 8);
		for (uint64_t j = 0; j < s.l1_entries; j++) {
			if (!qcow2_l1_decode(h, image_be64(img, s.l1_off + j * 8), &l2_off, &why) &&
			    l2_off)
				visit_l2(img, h, l2_off, visit, data);
		}
	}
}

unsigned int check_list_snapshots(const struct image *img, const struct qcow2_header *h,
				  struct check_snapshot *list, unsigned int max)
{
	uint64_t off = h->snapshots_offset;
	struct snapshot s;
	unsigned int i;

	for (i = 0; i < h->nb_snapshots && i < max; i++, off = s.next) {
		size_t room = sizeof(list[i].name) - 1;

		read_snapshot(img, off, &s);
		memset(list[i].name, 0, sizeof(list[i].name));
		image_read(img, s.name, list[i].name, s.name_len < room ? s.name_len : room);
		list[i].header = *h;
		list[i].header.l1_table_offset = s.l1_off;
		list[i].header.l1_size = s.l1_entries;
		if (s.size)
			list[i].header.size = s.size;
	}
	return i;
}
