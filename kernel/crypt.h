/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Encrypted images: sectors of 512 bytes, by the kernel's crypto API.
 *
 * The initialization vector of a sector is its number: of the place in the file for LUKS, so
 * that what is copied to another cluster is decrypted and encrypted again; of the guest offset for
 * AES, the legacy method. Only clusters with data are encrypted: not metadata, not compressed
 * clusters (as QEMU keeps it), and a zero entry reads as zeros. Space in the file that
 * reads as zeros, though, is no zeros of the guest.
 */
#ifndef _QCOW2_CRYPT_H
#define _QCOW2_CRYPT_H

#include <linux/bio.h>
#include <uapi/linux/qcow2blk.h>

struct qcow2_crypt;

/**
 * struct qcow2_crypt_key - how a layer is encrypted; nothing of it is kept
 * @cipher: as the crypto API names it: "xts(aes)", "essiv(cbc(aes),sha256)"; NULL: not at all.
 * @iv: how the number of a sector becomes its vector.
 * @key: the volume key, secret.
 * @len: its bytes.
 * @shared: what another layer made of all that; instead of all that; or NULL.
 */
struct qcow2_crypt_key {
	const char *cipher;
	enum qcow2blk_iv iv;
	const u8 *key;
	u32 len;
	struct qcow2_crypt *shared;
};

/**
 * qcow2_crypt_get() - get a cipher ready, or share one
 * @key: see there.
 * @by_guest_off: sectors are numbered by guest offset, not by host offset.
 * @why: (out) a sentence, constant, on error.
 * Context: may sleep. Return: it, or ERR_PTR.
 */
struct qcow2_crypt *qcow2_crypt_get(const struct qcow2_crypt_key *key, bool by_guest_off,
				    const char **why);

/** qcow2_crypt_put() - the last one wipes the key; NULL is fine. Context: may sleep. */
void qcow2_crypt_put(struct qcow2_crypt *c);

/** qcow2_crypt_cipher() - its name in the crypto API. */
const char *qcow2_crypt_cipher(const struct qcow2_crypt *c);

/**
 * qcow2_crypt_bio() - decrypt memory of a bio, where it is
 * @iter: which; whole sectors.
 * @off: guest offset of the first byte.  @host_off: host offset.
 * Context: may sleep, for no I/O, with a reserve for what it allocates; any number at a time.
 * Return: 0, -EIO the cipher failed.
 */
int qcow2_crypt_bio(struct qcow2_crypt *c, struct bio *bio, struct bvec_iter iter, u64 off,
		    u64 host_off);

/**
 * qcow2_crypt_buffer() - encrypt or decrypt kernel memory, where it is
 * @encrypt: or decrypt.
 * @buf: vmalloc memory, at a multiple of 512.  @len: bytes, whole sectors.
 * @off: guest offset of the first byte.  @host_off: host offset.
 * Context, return: see qcow2_crypt_bio().
 */
int qcow2_crypt_buffer(struct qcow2_crypt *c, bool encrypt, void *buf, u32 len, u64 off,
		       u64 host_off);

#endif /* _QCOW2_CRYPT_H */
