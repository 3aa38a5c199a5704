// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdlib.h>
#include <string.h>

#include "bitmaps.h"
#include "rig.h"

bool bitmaps_list(struct bitmaps *b, const struct image *img, const struct qcow2_header *h,
		  const char **why)
{
	static uint8_t buf[65536];
	struct qcow2_fault fault;
	uint64_t at = 0, left;

	memset(b, 0, sizeof(*b));
	if (!qcow2_header_has_bitmaps(h))
		return true;
	image_read(img, 0, buf, h->bitmaps.off + h->bitmaps.len);
	if (qcow2_bitmaps_parse(buf, h, img->size, &b->dir, &fault)) {
		*why = fault.sentence;
		return false;
	}
	*why = "the test knows of fewer bitmaps, and of smaller directories";
	if (b->dir.nb_bitmaps > MAX_BITMAPS || b->dir.directory_size > sizeof(buf))
		return false;
	image_read(img, b->dir.directory_offset, buf, b->dir.directory_size);
	for (; b->nr < b->dir.nb_bitmaps; b->nr++) {
		struct bitmap *bitmap = &b->list[b->nr];
		struct qcow2_bitmap_entry *e = &bitmap->entry;

		left = b->dir.directory_size - at;
		if (qcow2_bitmap_parse(h, buf + at, left, e, &fault)) {
			*why = fault.sentence;
			return false;
		}
		memcpy(bitmap->name, buf + at + e->name_off,
		       e->name_len < sizeof(bitmap->name) ? e->name_len : sizeof(bitmap->name) - 1);
		bitmap->count = qcow2_bitmap_bits(h->size, e->granularity_bits);
		at += e->entry_len;
	}
	return true;
}

bool bitmaps_entry(const struct image *img, const struct qcow2_header *h,
		   const struct bitmap *bitmap, uint32_t i, u64 *off, bool *ones)
{
	uint64_t entry = image_be64(img, bitmap->entry.table_offset + i * sizeof(uint64_t));
	struct qcow2_fault fault;

	return !qcow2_bitmap_decode(h, entry, off, ones, &fault);
}

static bool read_bits(struct bitmap *bitmap, const struct image *img, const struct qcow2_header *h)
{
	uint64_t size = h->cluster_size, off;
	bool ones;

	bitmap->bits = calloc(bitmap->entry.table_size, size);
	if (!bitmap->bits)
		die("no memory");
	for (uint32_t i = 0; i < bitmap->entry.table_size; i++) {
		if (!bitmaps_entry(img, h, bitmap, i, (u64 *)&off, &ones))
			return false;
		if (off)
			image_read(img, off, bitmap->bits + i * size, size);
		else
			memset(bitmap->bits + i * size, ones ? 0xff : 0, size);
	}
	return true;
}

bool bitmaps_read(struct bitmaps *b, const struct image *img, const struct qcow2_header *h,
		  const char **why)
{
	if (!bitmaps_list(b, img, h, why))
		return false;
	*why = "a bitmap table entry is malformed";
	for (unsigned int i = 0; i < b->nr; i++)
		if (!read_bits(&b->list[i], img, h))
			return false;
	return true;
}

void bitmaps_free(struct bitmaps *b)
{
	for (unsigned int i = 0; i < b->nr; i++)
		free(b->list[i].bits);
	b->nr = 0;
}

static bool bit(const struct bitmap *bitmap, uint64_t i)
{
	return bitmap->bits[i / 8] >> i % 8 & 1;
}

/* Set the bits of all that some operation has named. */
static void set_touched(struct bitmap *touched, const struct journal *journal)
{
	uint64_t g = touched->entry.granularity_bits;

	for (uint32_t i = 1; i <= journal->count; i++) {
		const struct entry *e = &journal->entries[i];
		uint64_t first = e->lba * SECTOR >> g, last;

		if (!strchr("wzdA", e->type) || !e->type)
			continue;
		last = ((e->lba + e->count) * SECTOR - 1) >> g;
		if (e->type == 'A') {
			first = 0;
			last = touched->count - 1;
		}
		for (; first <= last && first < touched->count; first++)
			touched->bits[first / 8] |= 1 << first % 8;
	}
}

static const char *judge_end(const struct bitmap *was, const struct bitmap *is,
			     const struct journal *journal)
{
	struct bitmap may = *was;
	uint64_t bytes = (was->count + 7) / 8;
	const char *wrong = NULL;

	may.bits = malloc(bytes);
	if (!may.bits)
		die("no memory");
	memcpy(may.bits, was->bits, bytes);
	set_touched(&may, journal);
	for (uint64_t i = 0; i < is->count && !wrong; i++)
		if (bit(is, i) && !bit(&may, i))
			wrong = "BITMAP: a bit is set for what nobody wrote";
	free(may.bits);
	return wrong;
}

/* Where something failed, there may have been no room for bitmaps, either. */
static bool all_went_well(const struct journal *journal)
{
	for (uint32_t i = 1; journal && i <= journal->count; i++)
		if (journal->entries[i].type && journal->entries[i].done == NEVER)
			return false;
	return true;
}

static bool was_resized(const struct journal *journal)
{
	for (uint32_t i = 1; journal && i <= journal->count; i++)
		if (journal->entries[i].type == 'R')
			return true;
	return false;
}

/* Neither was in use. */
static const char *judge_bits(const struct bitmap *was, const struct bitmap *is,
			      const uint32_t *guest_was, const uint32_t *guest, uint64_t sectors)
{
	bool enabled = was->entry.flags & QCOW2_BITMAP_AUTO;

	for (uint64_t i = 0; i < was->count; i++)
		if (bit(was, i) ? !bit(is, i) : bit(is, i) && !enabled)
			return "BITMAP: a bit is not what it was";
	for (uint64_t s = 0; s < sectors && enabled; s++)
		if (contents[guest_was[s]].hash != contents[guest[s]].hash &&
		    !bit(is, s * SECTOR >> is->entry.granularity_bits))
			return "BITMAP: no bit is set for what was written";
	return NULL;
}

static const char *judge_one(const struct qcow2_header *h, const struct bitmap *was,
			     const struct bitmap *is,
			     const uint32_t *guest_was, const uint32_t *guest, uint64_t sectors,
			     const struct journal *journal, bool end)
{
	const char *wrong;

	if (strcmp(was->name, is->name) || (was->entry.flags ^ is->entry.flags) & ~QCOW2_BITMAP_IN_USE)
		return "BITMAP: one has become another";
	if (was->entry.flags & QCOW2_BITMAP_IN_USE)
		return is->entry.flags & QCOW2_BITMAP_IN_USE ? NULL :
		       "BITMAP: what was in use is not";
	if (is->entry.flags & QCOW2_BITMAP_IN_USE)
		return !(was->entry.flags & QCOW2_BITMAP_AUTO) && !was_resized(journal) ?
		       "BITMAP: a disabled one is in use" :
		       end && all_went_well(journal) ? "BITMAP: one is in use after a clean detach" :
		       NULL;
	if (is->entry.table_size != qcow2_bitmap_table_size(h, h->size, is->entry.granularity_bits))
		return "BITMAP: one does not fit the disk";
	/* A disk that has another size now, or had for a while: see tests/test_bitmap_01.sh. */
	if (is->count != was->count || was_resized(journal))
		return NULL;
	wrong = judge_bits(was, is, guest_was, guest, sectors);
	return wrong || !end || !journal ? wrong : judge_end(was, is, journal);
}

const char *bitmaps_judge(const struct bitmaps *was, const uint32_t *guest_was,
			  const struct image *img, const struct qcow2_header *h,
			  const uint32_t *guest, uint64_t sectors, const struct journal *journal,
			  bool end)
{
	const char *wrong = NULL;
	struct bitmaps is;

	if (!was->nr)
		return NULL;
	if (bitmaps_read(&is, img, h, &wrong)) {
		wrong = is.nr == was->nr ? NULL : "BITMAP: they are gone";
		for (unsigned int i = 0; i < was->nr && !wrong; i++)
			wrong = judge_one(h, &was->list[i], &is.list[i], guest_was, guest, sectors,
					  journal, end);
	}
	bitmaps_free(&is);
	return wrong;
}
