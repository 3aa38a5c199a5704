// SPDX-License-Identifier: GPL-2.0-or-later
/* kernel/format.c: the decoding of L1 and L2 entries for every cluster size. */
#include "format_image.h"

static struct qcow2_header header_of(u32 version, u32 cluster_bits)
{
	struct image image = make_image(version, cluster_bits);
	struct qcow2_header h;
	struct qcow2_fault fault;

	assert_int_equal(parse(&image, &h, &fault), 0);
	free(image.buf);
	return h;
}

static void l1_entries(void **state)
{
	for (u32 bits = QCOW2_MIN_CLUSTER_BITS; bits <= QCOW2_MAX_CLUSTER_BITS; bits++) {
		struct qcow2_header h = header_of(3, bits);
		u64 top = (1ULL << 56) - h.cluster_size;
		struct qcow2_fault fault;
		u64 off = 1;

		assert_int_equal(qcow2_l1_decode(&h, 0, &off, &fault), 0);
		assert_int_equal(off, 0);
		assert_int_equal(qcow2_l1_decode(&h, 1ULL << bits, &off, &fault), 0);
		assert_int_equal(off, 1ULL << bits);
		assert_int_equal(qcow2_l1_decode(&h, QCOW2_ENTRY_COPIED | top, &off, &fault), 0);
		assert_int_equal(off, top);

		for (unsigned int bit = 0; bit < 63; bit++) {
			int err = qcow2_l1_decode(&h, 4ULL << bits | 1ULL << bit, &off, &fault);

			if (bit >= bits && bit < 56) {
				assert_int_equal(err, 0);
				assert_int_equal(off, 4ULL << bits | 1ULL << bit);
				continue;
			}
			assert_int_equal(err, -EINVAL);
			if (bit >= 9 && bit < bits)
				assert_fault(&fault,
					     "L2 table offset is not a multiple of the cluster size");
			else
				assert_fault(&fault, "L1 entry has reserved bits set");
		}
	}
}

static void assert_cluster(const struct qcow2_header *h, u64 entry, enum qcow2_cluster_type type,
			   bool copied, u64 host_off, u32 csize)
{
	struct qcow2_l2_entry whole = { .word = entry };
	struct qcow2_cluster c;
	struct qcow2_fault fault;

	memset(&c, 0xa5, sizeof(c));
	assert_int_equal(qcow2_l2_decode(h, whole, &c, &fault), 0);
	assert_int_equal(qcow2_subcluster_type(&c, 0), type);
	assert_int_equal(c.copied, copied);
	assert_int_equal(c.host_off, host_off);
	assert_int_equal(c.csize, csize);
	if (c.compressed)
		return;
	whole = qcow2_l2_encode(h, &c);
	/* COPIED on nothing is dropped, in a data file it is on everything */
	assert_int_equal(whole.word, copied ? entry | QCOW2_ENTRY_COPIED :
					      entry & ~QCOW2_ENTRY_COPIED);
	assert_int_equal(whole.bitmap, 0);
}

static void assert_bad_entry(const struct qcow2_header *h, u64 word, u64 bitmap,
			     const char *sentence)
{
	struct qcow2_cluster c;
	struct qcow2_fault fault;

	assert_int_equal(qcow2_l2_decode(h, (struct qcow2_l2_entry){ word, bitmap }, &c, &fault),
			 -EINVAL);
	assert_fault(&fault, sentence);
}

static void assert_bad_cluster(const struct qcow2_header *h, u64 entry, const char *sentence)
{
	assert_bad_entry(h, entry, 0, sentence);
}

static void standard_l2_entries(void **state)
{
	for (u32 bits = QCOW2_MIN_CLUSTER_BITS; bits <= QCOW2_MAX_CLUSTER_BITS; bits++) {
		struct qcow2_header h = header_of(3, bits);
		struct qcow2_header v2 = header_of(2, bits);
		u64 top = (1ULL << 56) - h.cluster_size;
		u64 off = 5ULL << bits;

		assert_cluster(&h, 0, QCOW2_CLUSTER_UNALLOCATED, false, 0, 0);
		/* COPIED on nothing: as QEMU reads it */
		assert_cluster(&h, QCOW2_ENTRY_COPIED, QCOW2_CLUSTER_UNALLOCATED, false, 0, 0);
		assert_cluster(&h, QCOW2_ENTRY_ZERO, QCOW2_CLUSTER_ZERO_PLAIN, false, 0, 0);
		assert_cluster(&h, off | QCOW2_ENTRY_ZERO, QCOW2_CLUSTER_ZERO_ALLOC, false, off, 0);
		assert_cluster(&h, QCOW2_ENTRY_COPIED | off | QCOW2_ENTRY_ZERO,
			       QCOW2_CLUSTER_ZERO_ALLOC, true, off, 0);
		assert_cluster(&h, off, QCOW2_CLUSTER_NORMAL, false, off, 0);
		assert_cluster(&h, QCOW2_ENTRY_COPIED | off, QCOW2_CLUSTER_NORMAL, true, off, 0);
		assert_cluster(&h, top, QCOW2_CLUSTER_NORMAL, false, top, 0);

		assert_bad_cluster(&v2, QCOW2_ENTRY_ZERO,
				   "L2 entry has the zero bit, which version 2 lacks");
		assert_bad_cluster(&v2, off | QCOW2_ENTRY_ZERO,
				   "L2 entry has the zero bit, which version 2 lacks");
		assert_cluster(&v2, QCOW2_ENTRY_COPIED | off, QCOW2_CLUSTER_NORMAL, true, off, 0);

		for (unsigned int bit = 1; bit < 9; bit++)
			assert_bad_cluster(&h, off | 1ULL << bit, "L2 entry has reserved bits set");
		for (unsigned int bit = 9; bit < bits; bit++)
			assert_bad_cluster(&h, off | 1ULL << bit,
					   "cluster offset is not a multiple of the cluster size");
		for (unsigned int bit = 9; bit < bits; bit++)
			assert_bad_cluster(&h, 1ULL << bit | QCOW2_ENTRY_ZERO,
					   "cluster offset is not a multiple of the cluster size");
		for (unsigned int bit = 56; bit < 62; bit++)
			assert_bad_cluster(&h, off | 1ULL << bit, "L2 entry has reserved bits set");
	}
}

static void compressed_l2_entries(void **state)
{
	for (u32 bits = QCOW2_MIN_CLUSTER_BITS; bits <= QCOW2_MAX_CLUSTER_BITS; bits++) {
		struct qcow2_header h = header_of(3, bits);
		u32 shift = 62 - (bits - 8);
		u64 most = (1ULL << (bits - 8)) - 1;
		u64 highest = (1ULL << (shift < 56 ? shift : 56)) - 1;
		u64 compressed = QCOW2_ENTRY_COMPRESSED;
		u64 off = 5ULL << bits;

		/* no additional sector, aligned: one sector; unaligned: what is left of it */
		assert_cluster(&h, compressed | off, QCOW2_CLUSTER_COMPRESSED, false, off, 512);
		assert_cluster(&h, compressed | (off + 1), QCOW2_CLUSTER_COMPRESSED, false,
			       off + 1, 511);
		assert_cluster(&h, compressed | (off + 511), QCOW2_CLUSTER_COMPRESSED, false,
			       off + 511, 1);
		assert_cluster(&h, compressed | most << shift | (off + 100),
			       QCOW2_CLUSTER_COMPRESSED, false, off + 100, (most + 1) * 512 - 100);
		assert_cluster(&h, compressed | most << shift | highest, QCOW2_CLUSTER_COMPRESSED,
			       false, highest, most * 512 + 1);
		/* two clusters are the most a stream can occupy */
		assert_cluster(&h, compressed | most << shift | off, QCOW2_CLUSTER_COMPRESSED,
			       false, off, 2U << bits);
		/* COPIED is wrong here, and QEMU reads the cluster; it is never "ours to write" */
		assert_cluster(&h, QCOW2_ENTRY_COPIED | compressed | off,
			       QCOW2_CLUSTER_COMPRESSED, false, off, 512);

		for (unsigned int bit = 56; bit < shift; bit++)
			assert_bad_cluster(&h, compressed | off | 1ULL << bit,
					   "compressed cluster offset has reserved bits set");
		assert_bad_cluster(&h, compressed,
				   "compressed cluster offset points into the header");
		assert_bad_cluster(&h, compressed | (h.cluster_size - 1),
				   "compressed cluster offset points into the header");
		assert_cluster(&h, compressed | h.cluster_size, QCOW2_CLUSTER_COMPRESSED, false,
			       h.cluster_size, 512);
	}
}

/* Without a file of their own data are where they like; with one, where the guest has them. */
static void data_file_entries(void **state)
{
	for (u32 bits = QCOW2_MIN_CLUSTER_BITS; bits <= QCOW2_MAX_CLUSTER_BITS; bits++) {
		struct qcow2_header plain = header_of(3, bits), h = plain;
		struct qcow2_cluster c = { .mapped = true, .host_off = 5ULL << bits };
		u64 off = c.host_off;
		struct qcow2_fault fault;

		h.incompatible_features = QCOW2_INCOMPAT_DATA_FILE;
		assert_cluster(&h, 0, QCOW2_CLUSTER_UNALLOCATED, false, 0, 0);
		assert_cluster(&h, QCOW2_ENTRY_COPIED, QCOW2_CLUSTER_NORMAL, true, 0, 0);
		assert_cluster(&h, QCOW2_ENTRY_COPIED | QCOW2_ENTRY_ZERO, QCOW2_CLUSTER_ZERO_PLAIN,
			       false, 0, 0);
		assert_cluster(&h, QCOW2_ENTRY_COPIED | off, QCOW2_CLUSTER_NORMAL, true, off, 0);
		assert_cluster(&h, off, QCOW2_CLUSTER_NORMAL, true, off, 0);
		assert_cluster(&h, off | QCOW2_ENTRY_ZERO, QCOW2_CLUSTER_ZERO_ALLOC, true, off, 0);
		assert_bad_cluster(&h, QCOW2_ENTRY_COMPRESSED | off,
				   "L2 entry is compressed, which is not possible with an external data file");

		assert_int_equal(qcow2_check_place(&plain, &c, 0, &fault), 0);
		assert_int_equal(qcow2_check_place(&h, &c, off, &fault), 0);
		assert_int_equal(qcow2_check_place(&h, &c, off + h.cluster_size, &fault), -EINVAL);
		assert_fault(&fault, "cluster offset is not the guest offset, as it must be in an external data file");
		c.mapped = false;
		c.host_off = 0;
		assert_int_equal(qcow2_check_place(&h, &c, off, &fault), 0);
	}
}

#define BITMAP(alloc, zero) ((alloc) | (u64)(zero) << 32)

static struct qcow2_header extended_header(u32 cluster_bits)
{
	struct image image = make_image(3, cluster_bits);
	struct qcow2_header h;
	struct qcow2_fault fault;

	put(&image, FIELD(incompatible_features), QCOW2_INCOMPAT_EXTL2);
	put(&image, FIELD(size), 1 * MiB);
	assert_int_equal(parse(&image, &h, &fault), 0);
	assert_int_equal(h.subcluster_size, h.cluster_size / 32);
	free(image.buf);
	return h;
}

static void extended_l2_entries(void **state)
{
	for (u32 bits = QCOW2_MIN_CLUSTER_BITS_EXTL2; bits <= QCOW2_MAX_CLUSTER_BITS; bits++) {
		struct qcow2_header h = extended_header(bits);
		u64 off = 5ULL << bits, copied = QCOW2_ENTRY_COPIED;
		const struct {
			u64 word, bitmap;
			u32 sc;
			enum qcow2_cluster_type type;
		} rows[] = {
			{ 0, 0, 0, QCOW2_CLUSTER_UNALLOCATED },
			{ 0, 0, 31, QCOW2_CLUSTER_UNALLOCATED },
			{ 0, BITMAP(0, 1U << 31), 31, QCOW2_CLUSTER_ZERO_PLAIN },
			{ 0, BITMAP(0, 1U << 31), 30, QCOW2_CLUSTER_UNALLOCATED },
			{ off, 0, 0, QCOW2_CLUSTER_UNALLOCATED },
			{ off, BITMAP(1, 2), 0, QCOW2_CLUSTER_NORMAL },
			{ off, BITMAP(1, 2), 1, QCOW2_CLUSTER_ZERO_ALLOC },
			{ off, BITMAP(1, 2), 2, QCOW2_CLUSTER_UNALLOCATED },
			{ copied | off, BITMAP(~0U, 0), 31, QCOW2_CLUSTER_NORMAL },
			{ copied | off, BITMAP(0, ~0U), 31, QCOW2_CLUSTER_ZERO_ALLOC },
		};

		for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
			struct qcow2_l2_entry entry = { rows[i].word, rows[i].bitmap }, again;
			struct qcow2_cluster c;
			struct qcow2_fault fault;

			assert_int_equal(qcow2_l2_decode(&h, entry, &c, &fault), 0);
			assert_int_equal(qcow2_subcluster_type(&c, rows[i].sc), rows[i].type);
			assert_int_equal(c.copied, !!(rows[i].word & copied));
			assert_int_equal(c.host_off, rows[i].word & off);
			again = qcow2_l2_encode(&h, &c);
			assert_memory_equal(&again, &entry, sizeof(entry));
		}

		assert_bad_entry(&h, QCOW2_ENTRY_ZERO, 0,
				 "L2 entry has the zero bit, which extended entries lack");
		assert_bad_entry(&h, off, BITMAP(1U << 31, 1U << 31),
				 "subcluster bitmap has subclusters that are allocated and read as zeros");
		assert_bad_entry(&h, 0, BITMAP(1U << 7, 0),
				 "subcluster bitmap has allocated subclusters, but there is no cluster");
		assert_bad_entry(&h, QCOW2_ENTRY_COMPRESSED | off, 1,
				 "subcluster bitmap is not zero, but the cluster is compressed");
		assert_bad_entry(&h, off | 1 << 8, BITMAP(1, 0), "L2 entry has reserved bits set");
		assert_bad_entry(&h, off | 1 << 9, BITMAP(1, 0),
				 "cluster offset is not a multiple of the cluster size");
	}
}

/* The first cluster of a data file, with COPIED, is at offset 0. */
static void extended_data_file_entries(void **state)
{
	struct qcow2_header h = extended_header(16);
	struct qcow2_l2_entry entry = { QCOW2_ENTRY_COPIED, BITMAP(1, 2) }, again;
	struct qcow2_cluster c;
	struct qcow2_fault fault;

	assert_bad_entry(&h, entry.word, entry.bitmap,
			 "subcluster bitmap has allocated subclusters, but there is no cluster");
	h.incompatible_features |= QCOW2_INCOMPAT_DATA_FILE;
	assert_int_equal(qcow2_l2_decode(&h, entry, &c, &fault), 0);
	assert_true(c.mapped && c.copied);
	assert_int_equal(qcow2_subcluster_type(&c, 0), QCOW2_CLUSTER_NORMAL);
	assert_int_equal(qcow2_subcluster_type(&c, 1), QCOW2_CLUSTER_ZERO_ALLOC);
	assert_int_equal(qcow2_subcluster_type(&c, 2), QCOW2_CLUSTER_UNALLOCATED);
	again = qcow2_l2_encode(&h, &c);
	assert_memory_equal(&again, &entry, sizeof(entry));
	assert_int_equal(qcow2_check_place(&h, &c, 0, &fault), 0);
	assert_int_equal(qcow2_check_place(&h, &c, h.cluster_size, &fault), -EINVAL);

	entry.word = 0;
	entry.bitmap = BITMAP(0, 1);
	assert_int_equal(qcow2_l2_decode(&h, entry, &c, &fault), 0);
	assert_false(c.mapped || c.copied);
	assert_bad_entry(&h, 0, BITMAP(1, 0),
			 "subcluster bitmap has allocated subclusters, but there is no cluster");
}

static void subcluster_masks(void **state)
{
	assert_int_equal(qcow2_subcluster_mask(0, 32), ~0U);
	assert_int_equal(qcow2_subcluster_mask(0, 1), 1);
	assert_int_equal(qcow2_subcluster_mask(31, 32), 1U << 31);
	assert_int_equal(qcow2_subcluster_mask(3, 5), 0x18);
	assert_int_equal(qcow2_subcluster_mask(5, 5), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(l1_entries),
		cmocka_unit_test(standard_l2_entries),
		cmocka_unit_test(compressed_l2_entries),
		cmocka_unit_test(data_file_entries),
		cmocka_unit_test(extended_l2_entries),
		cmocka_unit_test(extended_data_file_entries),
		cmocka_unit_test(subcluster_masks),
	};

	return cmocka_run_group_tests_name("entries", tests, NULL, NULL);
}
