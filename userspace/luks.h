/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The LUKS header inside an image. The only user of libcryptsetup, which derives the keys. */
#ifndef QCOW2CTL_LUKS_H
#define QCOW2CTL_LUKS_H

#include "chain.h"
#include "nl.h"

struct qcow2_luks;

/**
 * qcow2_luks_open() - read and check the LUKS header of a layer
 * @layer: the layer, of crypt_method LUKS.
 * @luks: (out) to be given to qcow2_luks_close(); NULL on error.
 * @err: (out) filled in on error.
 *
 * Return: 0 or QCOW2_EXIT_FAILED.
 */
int qcow2_luks_open(const struct qcow2_layer *layer, struct qcow2_luks **luks,
		    struct qcow2_error *err);

/**
 * qcow2_luks_close() - release it
 * @luks: it or NULL.
 */
void qcow2_luks_close(struct qcow2_luks *luks);

/**
 * qcow2_luks_cipher() - how data is encrypted
 * @luks: the header.
 * @mode: (out) mode and vectors: "xts-plain64", "cbc-essiv:sha256"; lives as long as @luks.
 * @key_len: (out) bytes of the volume key.
 *
 * Return: the cipher's name: "aes"; lives as long as @luks.
 */
const char *qcow2_luks_cipher(const struct qcow2_luks *luks, const char **mode,
			      unsigned int *key_len);

/**
 * qcow2_luks_unlock() - the volume key, by passphrase
 * @luks: the header.
 * @passphrase: @len bytes.
 * @len: how many.
 * @wrong: (out) it is not the right one; @err is filled in, too.
 * @key: (out) all of it; wipe it.
 * @err: (out) filled in on error.
 *
 * Return: 0 or QCOW2_EXIT_FAILED.
 */
int qcow2_luks_unlock(struct qcow2_luks *luks, const void *passphrase, size_t len, bool *wrong,
		      struct qcow2_nl_key *key, struct qcow2_error *err);

#endif /* QCOW2CTL_LUKS_H */
