// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdarg.h>
#include <stdlib.h>

#include "mutator.h"

#define MAX_IMAGE	(1U << 20)
#define MAX_UNDO	8192
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

/* splitmix64: good enough, and every seed is a good one */
static u64 next_random(struct mutator *m)
{
	u64 z = m->random += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static u64 below(struct mutator *m, u64 limit)
{
	return limit ? next_random(m) % limit : 0;
}

static void __attribute__((format(printf, 2, 3))) say(struct mutator *m, const char *format, ...)
{
	size_t used = strlen(m->what);
	va_list args;

	va_start(args, format);
	vsnprintf(m->what + used, sizeof(m->what) - used, format, args);
	va_end(args);
}

static void set_byte(struct mutator *m, size_t off, u8 value)
{
	if (off >= m->whole_len || m->undo_count == MAX_UNDO)
		return;
	m->undo[m->undo_count].off = off;
	m->undo[m->undo_count++].old = m->data[off];
	m->data[off] = value;
}

static u64 get(const struct mutator *m, size_t off, size_t width)
{
	u64 value = 0;

	for (size_t i = 0; i < width && off + i < m->whole_len; i++)
		value = value << 8 | m->data[off + i];
	return value;
}

static void put(struct mutator *m, size_t off, size_t width, u64 value)
{
	for (size_t i = 0; i < width; i++)
		set_byte(m, off + i, value >> (width - 1 - i) * 8);
}

/* A number that is likely to be at some edge, made of the one that stands there. */
static u64 evil_number(struct mutator *m, u64 old)
{
	u64 cluster_size = m->h.cluster_size;

	switch (below(m, 16)) {
	case 0: return 0;
	case 1: return 1;
	case 2: return ~0ULL;
	case 3: return old + 1;
	case 4: return old - 1;
	case 5: return old ^ 1ULL << below(m, 64);
	case 6: return 1ULL << below(m, 64);
	case 7: return (1ULL << below(m, 64)) - 1;
	case 8: return next_random(m);
	case 9: return below(m, 256);
	case 10: return below(m, m->whole_len / cluster_size + 2) * cluster_size;
	case 11: return m->whole_len + below(m, 3) - 1;
	case 12: return (m->whole_len + cluster_size - 1) / cluster_size * cluster_size;
	case 13: return old * 2;
	case 14: return old / 2;
	default: return 1ULL << 63 | old;
	}
}

static void mutate_header(struct mutator *m)
{
#define FIELD(name) { #name, offsetof(struct qcow2_disk_header, name), \
	sizeof(((struct qcow2_disk_header *)0)->name) }
	static const struct {
		const char *name;
		size_t off;
		size_t width;
	} fields[] = {
		FIELD(magic), FIELD(version), FIELD(backing_file_offset), FIELD(backing_file_size),
		FIELD(cluster_bits), FIELD(size), FIELD(crypt_method), FIELD(l1_size),
		FIELD(l1_table_offset), FIELD(refcount_table_offset),
		FIELD(refcount_table_clusters), FIELD(nb_snapshots), FIELD(snapshots_offset),
		FIELD(incompatible_features), FIELD(compatible_features),
		FIELD(autoclear_features), FIELD(refcount_order), FIELD(header_length),
		FIELD(compression_type),
	};
	size_t i = below(m, ARRAY_SIZE(fields));
	u64 value = evil_number(m, get(m, fields[i].off, fields[i].width));

	put(m, fields[i].off, fields[i].width, value);
	say(m, "%s=%#llx; ", fields[i].name, (unsigned long long)value);
}

/* Types and lengths of extensions, the name behind them, or any byte up to there. */
static void mutate_extensions(struct mutator *m)
{
	static const u32 types[] = {
		QCOW2_EXT_END, QCOW2_EXT_BACKING_FORMAT, QCOW2_EXT_FEATURE_NAMES,
		QCOW2_EXT_BITMAPS, QCOW2_EXT_CRYPTO, QCOW2_EXT_DATA_FILE, 0x12345678,
	};
	size_t off = m->h.header_length;
	u64 skip = below(m, 5);

	while (skip-- && get(m, off, 4) && off < m->h.cluster_size)
		off += 8 + (get(m, off + 4, 4) + 7) / 8 * 8;

	switch (below(m, 4)) {
	case 0:
		put(m, off, 4, types[below(m, ARRAY_SIZE(types))]);
		break;
	case 1:
		put(m, off + 4, 4, evil_number(m, get(m, off + 4, 4)));
		break;
	case 2:
		put(m, off, 4, types[below(m, ARRAY_SIZE(types))]);
		put(m, off + 4, 4, below(m, 200));
		break;
	default:
		off = below(m, 1024);
		set_byte(m, off, next_random(m));
		break;
	}
	say(m, "extension at %zu; ", off);
}

static u64 evil_entry(struct mutator *m, u64 old)
{
	u64 cluster_size = m->h.cluster_size;
	u64 clusters = m->whole_len / cluster_size;

	switch (below(m, 12)) {
	case 0: return below(m, clusters + 1) * cluster_size;	/* some other thing in the file */
	case 1: return below(m, clusters + 1) * cluster_size | QCOW2_ENTRY_COPIED;
	case 2: return old ^ QCOW2_ENTRY_COMPRESSED;
	case 3: return old ^ QCOW2_ENTRY_ZERO;
	case 4: return old ^ QCOW2_ENTRY_COPIED;
	case 5: return old ^ 1ULL << below(m, 64);
	case 6: return old + 512 * (1 + below(m, 8));
	case 7: return (clusters + below(m, 4)) * cluster_size;	/* around the end of the file */
	case 8: return QCOW2_ENTRY_OFFSET_MASK & ~(cluster_size - 1);
	case 9: return QCOW2_ENTRY_COMPRESSED | next_random(m) >> 8;
	case 10: return next_random(m);
	default: return evil_number(m, old);
	}
}

static void mutate_l1(struct mutator *m)
{
	size_t off = m->h.l1_table_offset + below(m, m->h.l1_entries_needed) * 8;
	u64 entry = evil_entry(m, get(m, off, 8));

	put(m, off, 8, entry);
	say(m, "L1 entry at %zu=%#llx; ", off, (unsigned long long)entry);
}

/* Where an L2 entry lies; one that is in use if there is one nearby. */
static size_t pick_l2_entry(struct mutator *m, u64 flag)
{
	size_t entries = 1U << m->h.l2_bits, size = m->h.l2_entry_size;
	size_t table, i, n;

	if (!m->l2_table_count)
		return 0;
	table = m->l2_tables[below(m, m->l2_table_count)];
	i = below(m, entries);
	for (n = 0; n < entries; n++, i = (i + 1) % entries) {
		u64 entry = get(m, table + i * size, 8);

		if (flag ? (entry & flag) : entry)
			break;
	}
	return table + i * size;
}

static void mutate_l2(struct mutator *m)
{
	size_t off = pick_l2_entry(m, 0);
	u64 entry;

	if (!off)
		return;
	entry = evil_entry(m, get(m, off, 8));
	put(m, off, 8, entry);
	say(m, "L2 entry at %zu=%#llx; ", off, (unsigned long long)entry);
}

/* The second half of an extended entry. */
static void mutate_subclusters(struct mutator *m)
{
	size_t off = pick_l2_entry(m, 0) + 8;
	u64 bitmap = get(m, off, 8), bit = 1ULL << below(m, 64);

	if (m->h.subclusters == 1 || off == 8)
		return;
	switch (below(m, 6)) {
	case 0:
		bitmap = 0;
		break;
	case 1:
		bitmap = ~0ULL;
		break;
	case 2:
		bitmap = next_random(m);
		break;
	case 3:
		bitmap = bitmap << 32 | bitmap >> 32;
		break;
	default:
		bitmap ^= bit;
		break;
	}
	put(m, off, 8, bitmap);
	say(m, "bitmap at %zu=%#llx; ", off, (unsigned long long)bitmap);
}

static void mutate_compressed_entry(struct mutator *m)
{
	size_t off = pick_l2_entry(m, QCOW2_ENTRY_COMPRESSED);
	u64 entry = get(m, off, 8);
	u64 sectors = entry >> m->h.csize_shift & m->h.csize_mask;
	u64 host_off = entry & m->h.coffset_mask;

	if (!off || !(entry & QCOW2_ENTRY_COMPRESSED))
		return;
	switch (below(m, 6)) {
	case 0:
		sectors = 0;
		break;
	case 1:
		sectors = m->h.csize_mask;
		break;
	case 2:
		sectors--;
		break;
	case 3:
		host_off += below(m, 1024) - 512;
		break;
	case 4:
		host_off = m->whole_len - below(m, 600);
		break;
	default:
		sectors = next_random(m);
		break;
	}
	entry = (entry & QCOW2_ENTRY_COPIED) | QCOW2_ENTRY_COMPRESSED |
		(sectors & m->h.csize_mask) << m->h.csize_shift | (host_off & m->h.coffset_mask);
	put(m, off, 8, entry);
	say(m, "compressed entry at %zu=%#llx; ", off, (unsigned long long)entry);
}

static void mutate_stream(struct mutator *m)
{
	u64 entry = get(m, pick_l2_entry(m, QCOW2_ENTRY_COMPRESSED), 8);
	size_t off = entry & m->h.coffset_mask;
	size_t len = ((entry >> m->h.csize_shift & m->h.csize_mask) + 1) * 512;
	u64 edits = 1 + below(m, 4);

	if (!(entry & QCOW2_ENTRY_COMPRESSED))
		return;
	/* The first bytes say what follows: window, block type, frame size. */
	if (below(m, 2) && len > 16)
		len = 16;
	off += below(m, len);
	switch (below(m, 3)) {
	case 0:
		while (edits--)
			set_byte(m, off + edits, next_random(m));
		break;
	case 1:
		set_byte(m, off, get(m, off, 1) ^ 1U << below(m, 8));
		break;
	default:
		for (edits *= 16; edits--; )
			set_byte(m, off + edits, 0);
		break;
	}
	say(m, "stream at %zu; ", off);
}

/* An entry of the refcount table, or a refcount. */
static void mutate_refcounts(struct mutator *m)
{
	size_t off = m->h.refcount_table_offset;
	u64 block = get(m, off, 8);
	u64 value;

	if (below(m, 3)) {
		off = block + below(m, m->whole_len / m->h.cluster_size * 2);
		value = below(m, 2) ? below(m, 4) : next_random(m);
		set_byte(m, off, value);
	} else {
		off += below(m, 4) * 8;
		value = evil_entry(m, get(m, off, 8));
		put(m, off, 8, value);
	}
	say(m, "refcounts at %zu=%#llx; ", off, (unsigned long long)value);
}

/* A field, at @base, of one of those that @fields lists as offset and width. */
static void mutate_field(struct mutator *m, size_t base, const u8 (*fields)[2], size_t count)
{
	size_t i = below(m, count), off = base + fields[i][0];
	u64 value = evil_number(m, get(m, off, fields[i][1]));

	put(m, off, fields[i][1], value);
	say(m, "list at %zu=%#llx; ", off, (unsigned long long)value);
}

/* The snapshot table and the first snapshot's L1 table. */
static void mutate_snapshots(struct mutator *m)
{
	static const u8 fields[][2] = {
		{ 0, 8 }, { 8, 4 }, { 12, 2 }, { 14, 2 }, { 32, 4 }, { 36, 4 }, { 40, 8 },
	};
	size_t off = m->h.snapshots_offset;

	if (!m->h.nb_snapshots)
		return;
	if (below(m, 3)) {
		mutate_field(m, off, fields, ARRAY_SIZE(fields));
		return;
	}
	off = get(m, off, 8);
	put(m, off, 8, evil_entry(m, get(m, off, 8)));
	say(m, "snapshot's L1 entry at %zu; ", off);
}

/* The bitmaps extension, the first directory entry, the first bitmap table. */
static void mutate_bitmaps(struct mutator *m)
{
	static const u8 extension[][2] = { { 0, 4 }, { 4, 4 }, { 8, 8 }, { 16, 8 } };
	static const u8 entry[][2] = {
		{ 0, 8 }, { 8, 4 }, { 12, 4 }, { 16, 1 }, { 17, 1 }, { 18, 2 }, { 20, 4 },
	};
	size_t directory = get(m, m->h.bitmaps.off + 16, 8), off;

	if (!m->h.bitmaps.len)
		return;
	switch (below(m, 3)) {
	case 0:
		mutate_field(m, m->h.bitmaps.off, extension, ARRAY_SIZE(extension));
		break;
	case 1:
		mutate_field(m, directory, entry, ARRAY_SIZE(entry));
		break;
	default:
		off = get(m, directory, 8);
		put(m, off, 8, evil_entry(m, get(m, off, 8)));
		say(m, "bitmap table entry at %zu; ", off);
	}
}

static void mutate_anything(struct mutator *m)
{
	size_t off = below(m, m->whole_len);

	set_byte(m, off, get(m, off, 1) ^ 1U << below(m, 8));
	say(m, "byte %zu; ", off);
}

static void cut_file(struct mutator *m)
{
	m->len = below(m, 2) ? below(m, m->whole_len) :
		 below(m, m->whole_len / m->h.cluster_size) * m->h.cluster_size;
	say(m, "cut to %zu; ", m->len);
}

void mutator_apply(struct mutator *m, u64 seed, u64 number)
{
	static void (*const kinds[])(struct mutator *) = {
		mutate_header, mutate_header, mutate_extensions, mutate_l1, mutate_l2, mutate_l2,
		mutate_subclusters, mutate_compressed_entry, mutate_stream, mutate_stream,
		mutate_anything, cut_file, mutate_refcounts, mutate_snapshots, mutate_bitmaps,
	};
	u64 edits;

	m->random = seed * 0xd1342543de82ef95 + number;
	m->random = next_random(m);
	/* Mostly one: a second edit often hides the first. */
	edits = below(m, 3) ? 1 : 2 + below(m, 3);
	while (edits--)
		kinds[below(m, ARRAY_SIZE(kinds))](m);
}

void mutator_aim(struct mutator *m)
{
	u64 table = m->h.refcount_table_offset;
	u64 targets[] = {
		0, m->h.l1_table_offset, table, get(m, table, 8), m->h.snapshots_offset,
		m->l2_table_count ? m->l2_tables[below(m, m->l2_table_count)] : 0,
	};
	size_t off = pick_l2_entry(m, 0);
	u64 target = targets[below(m, ARRAY_SIZE(targets))];

	if (!off)
		return;
	put(m, off, 8, target | QCOW2_ENTRY_COPIED);
	say(m, "L2 entry at %zu points to metadata at %llu; ", off, (unsigned long long)target);
}

void mutator_undo(struct mutator *m)
{
	while (m->undo_count) {
		m->undo_count--;
		m->data[m->undo[m->undo_count].off] = m->undo[m->undo_count].old;
	}
	m->len = m->whole_len;
	m->what[0] = '\0';
}

static void find_l2_tables(struct mutator *m)
{
	struct qcow2_fault fault;
	u64 l2_off;

	m->l2_tables = calloc(m->h.l1_size + 1, sizeof(*m->l2_tables));
	for (u32 i = 0; i < m->h.l1_entries_needed; i++) {
		u64 entry = get(m, m->h.l1_table_offset + i * 8, 8);

		if (!qcow2_l1_decode(&m->h, entry, &l2_off, &fault) && l2_off &&
		    l2_off + m->h.cluster_size <= m->whole_len)
			m->l2_tables[m->l2_table_count++] = l2_off;
	}
}

int mutator_load(struct mutator *m, const char *path)
{
	struct qcow2_fault fault;
	size_t first_cluster;
	FILE *file = fopen(path, "rb");

	memset(m, 0, sizeof(*m));
	if (!file) {
		perror(path);
		return -1;
	}
	m->name = strdup(path);
	m->data = malloc(MAX_IMAGE + 1);
	m->undo = calloc(MAX_UNDO, sizeof(*m->undo));
	m->whole_len = fread(m->data, 1, MAX_IMAGE + 1, file);
	m->len = m->whole_len;
	fclose(file);
	if (m->whole_len > MAX_IMAGE) {
		fprintf(stderr, "%s: too big for a corpus\n", path);
		return -1;
	}
	first_cluster = m->len > 24 && m->data[23] < 22 ? 1UL << m->data[23] : m->len;
	if (qcow2_header_parse(m->data, m->len < first_cluster ? m->len : first_cluster, m->len,
			       &m->h, &fault)) {
		fprintf(stderr, "%s: not a valid image: %s\n", path, fault.sentence);
		return -1;
	}
	find_l2_tables(m);
	return 0;
}

void mutator_free(struct mutator *m)
{
	free(m->name);
	free(m->data);
	free(m->undo);
	free(m->l2_tables);
}
