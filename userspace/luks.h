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

#define QCOW2_LUKS_NAME_LEN	32

/**
 * struct qcow2_luks_names - how data is encrypted, as QEMU calls it
 * @cipher: with the bits of its key: "aes-256".
 * @mode: "xts".
 * @iv: "plain64".
 * @iv_hash: "sha256"; empty where @iv needs none.
 */
struct qcow2_luks_names {
	char cipher[QCOW2_LUKS_NAME_LEN];
	char mode[QCOW2_LUKS_NAME_LEN];
	char iv[QCOW2_LUKS_NAME_LEN];
	char iv_hash[QCOW2_LUKS_NAME_LEN];
};

/**
 * qcow2_luks_names() - tell how data is encrypted
 * @luks: the header.
 * @names: (out) all of it.
 */
void qcow2_luks_names(const struct qcow2_luks *luks, struct qcow2_luks_names *names);

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
