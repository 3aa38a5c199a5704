// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * volume_key IMAGE PASSPHRASE-FILE
 *
 * Print how an encrypted image is decrypted, for rig_attach(): the cipher, the kind of vector,
 * and the volume key, in hex. Uses the tool's code, which itself never tells a key.
 */
#include <stdio.h>

#include "key.h"

int main(int argc, char **argv)
{
	struct qcow2_key_files files = { .image = argc == 3 ? argv[2] : NULL };
	static struct qcow2_nl_key keys[QCOW2BLK_MAX_LAYERS];
	struct qcow2_chain_policy policy;
	static struct qcow2_chain chain;
	struct qcow2_error err;

	if (argc != 3) {
		fputs("volume_key IMAGE PASSPHRASE-FILE\n", stderr);
		return QCOW2_EXIT_USAGE;
	}
	qcow2_chain_policy_init(&policy);
	if (qcow2_chain_open_top(&chain, argv[1], QCOW2BLK_FORMAT_QCOW2, &policy, &err) ||
	    qcow2_key_unlock(&chain, &files, keys, &err))
		return qcow2_error_print(&err);
	printf("%s %u ", keys[0].cipher, keys[0].iv);
	for (unsigned int i = 0; i < keys[0].len; i++)
		printf("%02x", keys[0].bytes[i]);
	putchar('\n');
	return 0;
}
