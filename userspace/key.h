/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Passphrases of encrypted layers: where they come from, and the keys that they unlock. */
#ifndef QCOW2CTL_KEY_H
#define QCOW2CTL_KEY_H

#include "chain.h"
#include "nl.h"

/**
 * struct qcow2_key_files - files that the user named, which hold passphrases
 * @image: of the image, or of the one layer that is encrypted; NULL: none. "-" is stdin.
 * @layer: of a layer; NULL: none.
 *
 * All of a file is the passphrase, as QEMU and cryptsetup take it.
 */
struct qcow2_key_files {
	const char *image;
	const char *layer[QCOW2BLK_MAX_LAYERS];
};

/**
 * qcow2_key_files_add() - take what --key-file says
 * @files: of the other ones.
 * @command: the command that it is given to.
 * @value: "FILE" or "LAYER=FILE".
 *
 * Return: 0; or QCOW2_EXIT_USAGE, and has printed why: there is one already for that layer, or
 * no such layer can be.
 */
int qcow2_key_files_add(struct qcow2_key_files *files, const char *command, const char *value);

/**
 * qcow2_key_check() - do the files suit the layers?
 * @chain: the layers.
 * @files: passphrases. They are not read yet.
 * @err: (out) filled in on error.
 *
 * Return: 0 or QCOW2_EXIT_USAGE.
 */
int qcow2_key_check(const struct qcow2_chain *chain, const struct qcow2_key_files *files,
		    struct qcow2_error *err);

/**
 * qcow2_key_unlock() - get the keys of all layers that need one
 * @chain: the layers; none: somebody else has unlocked them.
 * @files: passphrases, checked; those that are missing are asked for on the terminal.
 * @keys: (out) one a layer, of which those of encrypted layers have a cipher; wipe them, also
 *	on error.
 * @err: (out) filled in on error.
 *
 * Return: 0 or QCOW2_EXIT_FAILED.
 */
int qcow2_key_unlock(const struct qcow2_chain *chain, const struct qcow2_key_files *files,
		     struct qcow2_nl_key *keys, struct qcow2_error *err);

#endif /* QCOW2CTL_KEY_H */
