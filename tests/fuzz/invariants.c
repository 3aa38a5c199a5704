// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "invariants.h"

#define MUST(condition) do { \
	if (!(condition)) { \
		fprintf(stderr, "%s:%d: broken: %s\n", __func__, __LINE__, #condition); \
		abort(); \
	} \
} while (0)

static void check_fault(const struct qcow2_fault *fault)
{
	size_t field_len = strlen(fault->field);

	MUST(!memcmp(fault->sentence, fault->field, field_len));
	MUST(fault->sentence[field_len] == ' ');
	MUST(!strcmp(fault->sentence + field_len + 1, fault->why));
}

static bool inside(u64 off, u64 len, u64 size)
{
	return off <= size && len <= size - off;
}

static void check_span(const struct qcow2_header *h, struct qcow2_span span, size_t buf_len)
{
	if (!span.len)
		return;
	MUST(span.off >= h->header_length);
	MUST(inside(span.off, span.len, buf_len));
	MUST(inside(span.off, span.len, h->cluster_size));
}

static void check_header(const struct qcow2_header *h, size_t len, u64 file_size)
{
	u64 l1_len = (u64)h->l1_size * 8;
	u64 refcount_len = (u64)h->refcount_table_clusters << h->cluster_bits;
	u64 l1_covers = (u64)h->cluster_size << h->l2_bits;

	MUST(h->version == 2 || h->version == 3);
	MUST(h->cluster_bits >= QCOW2_MIN_CLUSTER_BITS && h->cluster_bits <= QCOW2_MAX_CLUSTER_BITS);
	MUST(h->cluster_size == 1U << h->cluster_bits);
	MUST(h->l2_entry_size << h->l2_bits == h->cluster_size);
	MUST(h->l2_entry_size == (h->subclusters == 1 ? 8 : 16));
	MUST(h->subclusters * h->subcluster_size == h->cluster_size);
	MUST(h->subcluster_size == 1U << h->subcluster_bits && h->subcluster_bits >= 9);
	MUST(h->header_length <= len && h->header_length <= h->cluster_size);
	MUST(h->refcount_order <= QCOW2_MAX_REFCOUNT_ORDER);
	MUST(h->compression_type <= QCOW2_COMPRESSION_ZSTD);
	MUST(h->crypt_method <= QCOW2_CRYPT_LUKS);

	MUST(h->size % 512 == 0 && h->size < 1ULL << 63);
	MUST(l1_len <= QCOW2_MAX_L1_BYTES);
	MUST(h->l1_entries_needed <= h->l1_size);
	MUST((h->size + l1_covers - 1) / l1_covers <= h->l1_entries_needed);
	MUST(h->l1_table_offset % h->cluster_size == 0);
	MUST(refcount_len && refcount_len <= QCOW2_MAX_REFTABLE_BYTES);
	MUST(h->refcount_table_offset && h->refcount_table_offset % h->cluster_size == 0);
	MUST(inside(h->refcount_table_offset, refcount_len, file_size));
	if (h->l1_size) {
		MUST(h->l1_table_offset);
		MUST(inside(h->l1_table_offset, l1_len, file_size));
		MUST(h->l1_table_offset + l1_len <= h->refcount_table_offset ||
		     h->refcount_table_offset + refcount_len <= h->l1_table_offset);
	}
	MUST(h->nb_snapshots <= QCOW2_MAX_SNAPSHOTS);
	MUST(h->snapshots_offset % h->cluster_size == 0);
	if (h->nb_snapshots)
		MUST(h->snapshots_offset && inside(h->snapshots_offset, h->nb_snapshots * 40ULL,
						   file_size));

	MUST(h->backing_file.len <= QCOW2_MAX_BACKING_NAME);
	check_span(h, h->backing_file, len);
	check_span(h, h->backing_format, len);
	check_span(h, h->feature_names, len);
	check_span(h, h->data_file, len);
	check_span(h, h->bitmaps, len);
	check_span(h, h->crypto, len);
	MUST(h->feature_names.len % sizeof(struct qcow2_disk_feature_name) == 0);
}

static void check_feature_names(const void *buf, const struct qcow2_header *h)
{
	/* In memory of its own, so that ASan sees a step beyond. */
	char *name = malloc(47);

	for (unsigned int bit = 0; bit < 64; bit += 9) {
		if (qcow2_feature_name(buf, h, bit % 3, bit, name))
			MUST(strnlen(name, 47) > 0 && strnlen(name, 47) < 47);
	}
	free(name);
}

bool exercise_header(const void *buf, size_t len, u64 file_size, struct qcow2_header *h)
{
	struct qcow2_fault fault = { 0 };
	u32 cluster_size = 0;
	int err;

	err = qcow2_header_probe(buf, len, &cluster_size, &fault);
	if (err) {
		MUST(err == -EINVAL);
		check_fault(&fault);
		MUST(qcow2_header_parse(buf, len, file_size, h, &fault) == -EINVAL);
		return false;
	}
	MUST(cluster_size >= 512 && cluster_size <= 2U << 20);
	if (len > cluster_size)
		len = cluster_size;

	err = qcow2_header_parse(buf, len, file_size, h, &fault);
	if (err) {
		MUST(err == -EINVAL);
		check_fault(&fault);
		return false;
	}
	check_header(h, len, file_size);
	check_feature_names(buf, h);

	err = qcow2_header_unsupported(h, &fault);
	if (err) {
		MUST(err == -EOPNOTSUPP);
		check_fault(&fault);
	}
	return true;
}

void exercise_l1_entry(const struct qcow2_header *h, u64 entry, u64 *l2_off)
{
	struct qcow2_fault fault = { 0 };
	int err;

	*l2_off = 0;
	err = qcow2_l1_decode(h, entry, l2_off, &fault);
	if (err) {
		MUST(err == -EINVAL);
		MUST(!*l2_off);
		check_fault(&fault);
		return;
	}
	MUST(*l2_off % h->cluster_size == 0 && *l2_off < 1ULL << 56);
}

static void check_cluster(const struct qcow2_header *h, const struct qcow2_cluster *c)
{
	u32 all = qcow2_subcluster_mask(0, h->subclusters);

	MUST(c->host_off < 1ULL << 56);
	MUST(!(c->alloc & c->zero) && !((c->alloc | c->zero) & ~all));
	if (c->compressed) {
		MUST(c->mapped && !qcow2_has_data_file(h));
		MUST(!c->copied && !c->alloc && !c->zero);
		MUST(c->host_off >= h->cluster_size);
		MUST(c->csize > 0 && c->csize <= 2 * h->cluster_size);
		MUST((c->host_off + c->csize) % 512 == 0);
		return;
	}
	MUST(!c->csize && c->host_off % h->cluster_size == 0);
	MUST(c->mapped || (!c->host_off && !c->copied && !c->alloc));
	/* The first cluster of a data file holds data, that of an image the header. */
	MUST(!c->mapped || c->host_off || qcow2_has_data_file(h));
	MUST(h->version > 2 || !c->zero);
	MUST(h->subclusters > 1 || !c->mapped || c->alloc || c->zero);
}

void exercise_l2_entry(const struct qcow2_header *h, struct qcow2_l2_entry entry)
{
	struct qcow2_fault fault = { 0 };
	struct qcow2_cluster c, again;
	struct qcow2_l2_entry encoded;
	int err;

	memset(&c, 0xff, sizeof(c));
	err = qcow2_l2_decode(h, entry, &c, &fault);
	if (err) {
		MUST(err == -EINVAL);
		check_fault(&fault);
		return;
	}
	check_cluster(h, &c);
	MUST(!qcow2_check_place(h, &c, c.host_off, &fault));
	MUST(qcow2_check_place(h, &c, c.host_off + 512, &fault) ==
	     (qcow2_has_data_file(h) && c.mapped ? -EINVAL : 0));
	if (c.compressed)
		return;
	encoded = qcow2_l2_encode(h, &c);
	MUST(!qcow2_l2_decode(h, encoded, &again, &fault));
	MUST(again.copied == c.copied && again.mapped == c.mapped);
	MUST(again.host_off == c.host_off);
	MUST(again.alloc == c.alloc && again.zero == c.zero);
}
