// SPDX-License-Identifier: GPL-2.0-or-later
#include "size.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool qcow2_size_parse(const char *text, uint64_t *size)
{
	static const char suffixes[] = "KMGT";
	unsigned long long number;
	const char *suffix;
	unsigned int shift = 0;
	char *end;

	errno = 0;
	number = strtoull(text, &end, 10);
	if (*end) {
		suffix = strchr(suffixes, *end++);
		shift = suffix ? 10 * (suffix - suffixes + 1) : 64;
	}
	if (text[0] < '0' || text[0] > '9' || errno || *end || shift == 64 ||
	    number > UINT64_MAX >> shift)
		return false;
	*size = number << shift;
	return true;
}
