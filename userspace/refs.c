// SPDX-License-Identifier: GPL-2.0-or-later
#include "refs.h"
#include "error.h"

#include <stdlib.h>

#define CHUNK_BITS	15
#define CHUNK_CLUSTERS	(1U << CHUNK_BITS)

/* A cell: the use, whether the image says that the refcount is one, and the count. */
#define COUNT_BITS	11
#define COUNT_MASK	((1U << COUNT_BITS) - 1)
#define SINGLE		(1U << COUNT_BITS)
#define USE_SHIFT	(COUNT_BITS + 1)

/* The use of a cell whose count lies in the hash table. */
#define USE_ODD		15U

/**
 * struct odd - a cluster that no cell can describe
 * @cluster: which.
 * @count: its references.
 * @l2_count: those of them as an L2 table.
 * @uses: a bit for each enum qcow2_use.
 * @mixed: its references contradict each other.
 * @taken: this slot of the table is in use.
 */
struct odd {
	uint64_t cluster;
	uint64_t count;
	uint64_t l2_count;
	uint16_t uses;
	bool mixed;
	bool taken;
};

struct qcow2_refs {
	uint64_t end;
	uint16_t **chunks;
	struct odd *odd;
	uint64_t odd_mask;
	uint64_t odd_count;
};

struct qcow2_refs *qcow2_refs_new(uint64_t clusters)
{
	struct qcow2_refs *refs = calloc(1, sizeof(*refs));

	if (!refs)
		qcow2_error_nomem();
	refs->end = clusters;
	refs->chunks = calloc((clusters >> CHUNK_BITS) + 1, sizeof(*refs->chunks));
	if (!refs->chunks)
		qcow2_error_nomem();
	return refs;
}

void qcow2_refs_free(struct qcow2_refs *refs)
{
	uint64_t i;

	if (!refs)
		return;
	for (i = 0; i <= refs->end >> CHUNK_BITS; i++)
		free(refs->chunks[i]);
	free(refs->chunks);
	free(refs->odd);
	free(refs);
}

uint64_t qcow2_refs_end(const struct qcow2_refs *refs)
{
	return refs->end;
}

/* --- cells --------------------------------------------------------------------------------- */

static uint16_t *cell_of(struct qcow2_refs *refs, uint64_t cluster)
{
	uint16_t **chunk = &refs->chunks[cluster >> CHUNK_BITS];

	if (!*chunk)
		*chunk = calloc(CHUNK_CLUSTERS, sizeof(**chunk));
	if (!*chunk)
		qcow2_error_nomem();
	return *chunk + cluster % CHUNK_CLUSTERS;
}

static uint16_t cell(const struct qcow2_refs *refs, uint64_t cluster)
{
	const uint16_t *chunk = refs->chunks[cluster >> CHUNK_BITS];

	return chunk ? chunk[cluster % CHUNK_CLUSTERS] : 0;
}

static unsigned int use_of(uint16_t value)
{
	return value >> USE_SHIFT;
}

void qcow2_refs_set_single(struct qcow2_refs *refs, uint64_t cluster)
{
	*cell_of(refs, cluster) |= SINGLE;
}

bool qcow2_refs_is_single(const struct qcow2_refs *refs, uint64_t cluster)
{
	return cell(refs, cluster) & SINGLE;
}

/* --- the hash table: linear probing, half of it empty -------------------------------------- */

static struct odd *slot_of(struct odd *table, uint64_t mask, uint64_t cluster)
{
	uint64_t i = cluster * 0x9e3779b97f4a7c15ULL >> 20 & mask;

	while (table[i].taken && table[i].cluster != cluster)
		i = (i + 1) & mask;
	return &table[i];
}

static void grow(struct qcow2_refs *refs)
{
	uint64_t i, mask = refs->odd ? refs->odd_mask * 2 + 1 : 63;
	struct odd *table = calloc(mask + 1, sizeof(*table));

	if (!table)
		qcow2_error_nomem();
	for (i = 0; refs->odd && i <= refs->odd_mask; i++)
		if (refs->odd[i].taken)
			*slot_of(table, mask, refs->odd[i].cluster) = refs->odd[i];
	free(refs->odd);
	refs->odd = table;
	refs->odd_mask = mask;
}

static struct odd *odd_of(const struct qcow2_refs *refs, uint64_t cluster)
{
	return slot_of(refs->odd, refs->odd_mask, cluster);
}

static bool is_l2(unsigned int use)
{
	return use == QCOW2_USE_L2 || use == QCOW2_USE_L2_ACTIVE;
}

/* Move what a cell says to the hash table. */
static struct odd *make_odd(struct qcow2_refs *refs, uint64_t cluster, uint16_t *value)
{
	unsigned int use = use_of(*value);
	struct odd *odd;

	if (!refs->odd || refs->odd_count * 2 > refs->odd_mask)
		grow(refs);
	odd = odd_of(refs, cluster);
	odd->taken = true;
	odd->cluster = cluster;
	odd->count = *value & COUNT_MASK;
	odd->l2_count = is_l2(use) ? odd->count : 0;
	odd->uses = 1U << use;
	refs->odd_count++;
	*value = (*value & SINGLE) | USE_ODD << USE_SHIFT;
	return odd;
}

/* --- counting ------------------------------------------------------------------------------ */

static bool may_share(unsigned int a, unsigned int b)
{
	if (is_l2(a))
		return is_l2(b);
	return a == b && (a == QCOW2_USE_DATA || a == QCOW2_USE_COMPRESSED);
}

static enum qcow2_use lowest_use(uint16_t uses)
{
	return __builtin_ctz(uses);
}

static enum qcow2_use add_odd(struct odd *odd, enum qcow2_use use, uint64_t times)
{
	enum qcow2_use before = lowest_use(odd->uses);
	bool contradicts = !may_share(before, use);
	bool first = contradicts && !odd->mixed;

	odd->uses |= 1U << use;
	odd->mixed |= contradicts;
	odd->l2_count += is_l2(use) ? times : 0;
	if (__builtin_add_overflow(odd->count, times, &odd->count))
		odd->count = UINT64_MAX;
	return first ? before : QCOW2_USE_NONE;
}

enum qcow2_use qcow2_refs_add(struct qcow2_refs *refs, uint64_t cluster, enum qcow2_use use,
			      uint64_t times)
{
	uint16_t *value = cell_of(refs, cluster);
	unsigned int before = use_of(*value);
	uint64_t count;

	if (before == USE_ODD)
		return add_odd(odd_of(refs, cluster), use, times);
	count = (*value & COUNT_MASK) + times;
	if (count > COUNT_MASK || (before && !may_share(before, use))) {
		if (!before)	/* an odd one has a use */
			*value |= use << USE_SHIFT;
		return add_odd(make_odd(refs, cluster, value), use, times);
	}
	if (before == QCOW2_USE_L2_ACTIVE)
		use = before;
	*value = use << USE_SHIFT | (*value & SINGLE) | count;
	return QCOW2_USE_NONE;
}

uint64_t qcow2_refs_count(const struct qcow2_refs *refs, uint64_t cluster)
{
	uint16_t value = cell(refs, cluster);

	return use_of(value) == USE_ODD ? odd_of(refs, cluster)->count : value & COUNT_MASK;
}

bool qcow2_refs_is_mixed(const struct qcow2_refs *refs, uint64_t cluster)
{
	return use_of(cell(refs, cluster)) == USE_ODD && odd_of(refs, cluster)->mixed;
}

uint64_t qcow2_refs_l2(const struct qcow2_refs *refs, uint64_t cluster, bool *active)
{
	uint16_t value = cell(refs, cluster);
	const struct odd *odd;

	if (use_of(value) != USE_ODD) {
		*active = use_of(value) == QCOW2_USE_L2_ACTIVE;
		return is_l2(use_of(value)) ? value & COUNT_MASK : 0;
	}
	odd = odd_of(refs, cluster);
	*active = odd->uses & 1U << QCOW2_USE_L2_ACTIVE;
	return odd->l2_count;
}

uint64_t qcow2_refs_next(const struct qcow2_refs *refs, uint64_t cluster)
{
	while (cluster < refs->end) {
		const uint16_t *chunk = refs->chunks[cluster >> CHUNK_BITS];

		if (!chunk) {
			cluster = (cluster | (CHUNK_CLUSTERS - 1)) + 1;
			continue;
		}
		do {
			if (use_of(chunk[cluster % CHUNK_CLUSTERS]))
				return cluster;
		} while (++cluster % CHUNK_CLUSTERS && cluster < refs->end);
	}
	return UINT64_MAX;
}
