// SPDX-License-Identifier: GPL-2.0
/* Encrypted images. See crypt.h for the contract. */
#include <crypto/skcipher.h>
#include <linux/highmem.h>
#include <linux/log2.h>
#include <linux/mempool.h>
#include <linux/mm.h>
#include <linux/refcount.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "crypt.h"

/* No cipher of the crypto API asks for more. */
#define MAX_IV	32

/**
 * struct qcow2_crypt - the cipher of a layer, and of those that show its snapshots
 * @users: who has it.
 * @tfm: with its key; the only place that has it.
 * @iv: how the number of a sector becomes its vector.
 * @by_guest_off: which number.
 * @jobs: one for each run of sectors under way. Who has one waits for the cipher only.
 */
struct qcow2_crypt {
	refcount_t users;
	struct crypto_skcipher *tfm;
	enum qcow2blk_iv iv;
	bool by_guest_off;
	mempool_t *jobs;
};

/**
 * struct job - what it takes to encrypt or decrypt sectors, one after the other
 * @whole: a sector that lies in pieces.
 * @iv: the sector's vector.
 * @crypt: by what.
 * @encrypt: or decrypt.
 * @sector: number of the next one.
 * @wait: for ciphers that answer later.
 * @sg: where the sector is.
 * @req: with the cipher's own room behind it.
 *
 * Ciphers copy what is not aligned as they like it. So a job's size is rounded up to a power of
 * two, which kmalloc() aligns to itself.
 */
struct job {
	u8 whole[SECTOR_SIZE];
	u8 iv[MAX_IV];
	struct qcow2_crypt *crypt;
	bool encrypt;
	u64 sector;
	struct crypto_wait wait;
	struct scatterlist sg;
	struct skcipher_request req;
};

static int make_cipher(struct qcow2_crypt *c, const struct qcow2_crypt_key *key, const char **why)
{
	int err;

	/* In the way of writes that free memory, no cipher may allocate any. */
	c->tfm = crypto_alloc_skcipher(key->cipher, 0, CRYPTO_ALG_ALLOCATES_MEMORY);
	if (IS_ERR(c->tfm)) {
		err = PTR_ERR(c->tfm);
		*why = err == -ENOENT ? "the kernel does not have the image's cipher" :
					"the image's cipher cannot be used";
		return err == -ENOENT ? -EOPNOTSUPP : err;
	}
	if (crypto_skcipher_ivsize(c->tfm) > MAX_IV ||
	    SECTOR_SIZE % crypto_skcipher_blocksize(c->tfm)) {
		*why = "the image's cipher is none for sectors";
		err = -EINVAL;
	} else {
		*why = "the key does not suit the image's cipher";
		err = crypto_skcipher_setkey(c->tfm, key->key, key->len);
	}
	if (err)
		crypto_free_skcipher(c->tfm);
	return err;
}

static struct qcow2_crypt *create(const struct qcow2_crypt_key *key, bool by_guest_off,
				  const char **why)
{
	struct qcow2_crypt *c = kzalloc(sizeof(*c), GFP_KERNEL);
	size_t job_size;
	int err;

	*why = "out of memory";
	if (!c)
		return ERR_PTR(-ENOMEM);
	refcount_set(&c->users, 1);
	c->iv = key->iv;
	c->by_guest_off = by_guest_off;
	err = make_cipher(c, key, why);
	if (err)
		goto free;
	job_size = sizeof(struct job) + crypto_skcipher_reqsize(c->tfm);
	c->jobs = mempool_create_kmalloc_pool(1, roundup_pow_of_two(job_size));
	if (c->jobs)
		return c;
	*why = "out of memory";
	err = -ENOMEM;
	crypto_free_skcipher(c->tfm);
free:
	kfree(c);
	return ERR_PTR(err);
}

struct qcow2_crypt *qcow2_crypt_get(const struct qcow2_crypt_key *key, bool by_guest_off,
				    const char **why)
{
	if (!key->shared)
		return create(key, by_guest_off, why);
	refcount_inc(&key->shared->users);
	return key->shared;
}

void qcow2_crypt_put(struct qcow2_crypt *c)
{
	if (!c || !refcount_dec_and_test(&c->users))
		return;
	mempool_destroy(c->jobs);
	crypto_free_skcipher(c->tfm);
	kfree(c);
}

const char *qcow2_crypt_cipher(const struct qcow2_crypt *c)
{
	return crypto_tfm_alg_name(crypto_skcipher_tfm(c->tfm));
}

static struct job *begin_job(struct qcow2_crypt *c, bool encrypt, u64 off, u64 host_off)
{
	struct job *j = mempool_alloc(c->jobs, GFP_NOIO);

	j->crypt = c;
	j->encrypt = encrypt;
	j->sector = (c->by_guest_off ? off : host_off) >> SECTOR_SHIFT;
	crypto_init_wait(&j->wait);
	sg_init_table(&j->sg, 1);
	skcipher_request_set_tfm(&j->req, c->tfm);
	skcipher_request_set_callback(&j->req,
				      CRYPTO_TFM_REQ_MAY_BACKLOG | CRYPTO_TFM_REQ_MAY_SLEEP,
				      crypto_req_done, &j->wait);
	return j;
}

static void end_job(struct job *j)
{
	mempool_free(j, j->crypt->jobs);
}

/* The next sector, which is described by @j->sg. */
static int crypt_sector(struct job *j)
{
	__le64 number = cpu_to_le64(j->crypt->iv == QCOW2BLK_IV_PLAIN ? (u32)j->sector :
									j->sector);

	memset(j->iv, 0, sizeof(j->iv));
	memcpy(j->iv, &number, sizeof(number));
	skcipher_request_set_crypt(&j->req, &j->sg, &j->sg, SECTOR_SIZE, j->iv);
	j->sector++;
	return crypto_wait_req(j->encrypt ? crypto_skcipher_encrypt(&j->req) :
					    crypto_skcipher_decrypt(&j->req), &j->wait) ? -EIO : 0;
}

static void copy_sector(struct bio *bio, struct bvec_iter iter, u8 *sector, bool to_bio)
{
	struct bvec_iter it;
	struct bio_vec bv;

	iter.bi_size = SECTOR_SIZE;
	__bio_for_each_segment(bv, bio, it, iter) {
		if (to_bio)
			memcpy_to_bvec(&bv, sector);
		else
			memcpy_from_bvec(sector, &bv);
		sector += bv.bv_len;
	}
}

/* A sector that lies in several pieces, which is rare, is put together first. */
static int crypt_pieces(struct job *j, struct bio *bio, struct bvec_iter iter)
{
	int err;

	copy_sector(bio, iter, j->whole, false);
	sg_set_page(&j->sg, virt_to_page(j->whole), SECTOR_SIZE, offset_in_page(j->whole));
	err = crypt_sector(j);
	copy_sector(bio, iter, j->whole, true);
	return err;
}

int qcow2_crypt_bio(struct qcow2_crypt *c, struct bio *bio, struct bvec_iter iter, u64 off,
		    u64 host_off)
{
	struct job *j = begin_job(c, false, off, host_off);
	struct bio_vec bv;
	int err = 0;

	while (iter.bi_size && !err) {
		bv = bio_iter_iovec(bio, iter);
		if (bv.bv_len >= SECTOR_SIZE) {
			sg_set_page(&j->sg, bv.bv_page, SECTOR_SIZE, bv.bv_offset);
			err = crypt_sector(j);
		} else {
			err = crypt_pieces(j, bio, iter);
		}
		bvec_iter_advance(bio->bi_io_vec, &iter, SECTOR_SIZE);
	}
	end_job(j);
	return err;
}

int qcow2_crypt_buffer(struct qcow2_crypt *c, bool encrypt, void *buf, u32 len, u64 off,
		       u64 host_off)
{
	struct job *j = begin_job(c, encrypt, off, host_off);
	int err = 0;

	for (; len && !err; len -= SECTOR_SIZE, buf += SECTOR_SIZE) {
		sg_set_page(&j->sg, vmalloc_to_page(buf), SECTOR_SIZE, offset_in_page(buf));
		err = crypt_sector(j);
	}
	end_job(j);
	return err;
}
