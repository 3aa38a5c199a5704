// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * libFuzzer target for kernel/format.c. An input is 8 bytes that make the file's
 * size, then the file's first bytes; whatever words follow the first cluster are
 * taken for L1 and L2 entries.
 */
#include <stdint.h>

#include "invariants.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct qcow2_header h;
	__be64 word, pair[2] = { 0 };
	u64 file_size, l2_off;
	size_t i;

	if (len < sizeof(word))
		return 0;
	memcpy(&word, data, sizeof(word));
	file_size = be64_to_cpu(word);
	data += sizeof(word);
	len -= sizeof(word);
	if (file_size < len)
		file_size = len;

	if (!exercise_header(data, len, file_size, &h))
		return 0;
	for (i = h.cluster_size; i + sizeof(word) <= len; i += sizeof(word)) {
		memcpy(&word, data + i, sizeof(word));
		exercise_l1_entry(&h, be64_to_cpu(word), &l2_off);
		/* What follows is its bitmap, if it has one. */
		memcpy(pair, data + i, len - i < sizeof(pair) ? sizeof(word) : sizeof(pair));
		exercise_l2_entry(&h, (struct qcow2_l2_entry) {
			be64_to_cpu(pair[0]), h.subclusters > 1 ? be64_to_cpu(pair[1]) : 0,
		});
	}
	return 0;
}
