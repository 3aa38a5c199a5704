// SPDX-License-Identifier: GPL-2.0-or-later
#include "luks.h"

#include <errno.h>
#include <libcryptsetup.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define COPY_LEN	65536

/* Section "LUKS header": where the cipher's mode stands, in 32 bytes. */
#define CIPHER_MODE_OFF	40

/**
 * struct qcow2_luks - a LUKS header
 * @name: of the image, for errors.
 * @cd: libcryptsetup's idea of it.
 * @fd: a copy of it in memory, a file of its own, which is what libcryptsetup wants.
 */
struct qcow2_luks {
	const char *name;
	struct crypt_device *cd;
	int fd;
};

/* What libcryptsetup had to say last. */
static char said[256];

static void take_message(int level, const char *message, void *unused)
{
	(void)unused;
	if (level == CRYPT_LOG_ERROR)
		snprintf(said, sizeof(said), "%.*s", (int)strcspn(message, "\n"), message);
}

static int bad_header(const struct qcow2_luks *luks, int error, struct qcow2_error *err)
{
	if (!said[0] && error == EINVAL)
		strcpy(said, "it is none of version 1");
	return qcow2_error_set(err, QCOW2_EXIT_FAILED, luks->name,
			       "its LUKS header cannot be used: %s",
			       said[0] ? said : strerror(error));
}

/*
 * ECB has no vectors. QEMU names some all the same, which libcryptsetup would ask the cipher
 * for: it is shown a header without. There is no checksum.
 */
static void drop_ecb_vectors(char *header)
{
	char *mode = header + CIPHER_MODE_OFF;

	if (!strncmp(mode, "ecb-", 4))
		mode[3] = '\0';
}

static int copy_header(struct qcow2_luks *luks, const struct qcow2_layer *layer,
		       struct qcow2_error *err)
{
	const struct qcow2_header *h = &layer->image.header;
	char buf[COPY_LEN];
	uint64_t done;
	ssize_t len;

	luks->fd = memfd_create("luks", MFD_CLOEXEC);
	if (luks->fd < 0)
		return bad_header(luks, errno, err);
	for (done = 0; done < h->crypto_len; done += len) {
		len = h->crypto_len - done < sizeof(buf) ? h->crypto_len - done : sizeof(buf);
		len = qcow2_image_pread(layer->fd, buf, len, h->crypto_off + done);
		if (len <= 0)
			return bad_header(luks, len ? -len : ENODATA, err);
		if (!done && len > CIPHER_MODE_OFF + 4)
			drop_ecb_vectors(buf);
		if (write(luks->fd, buf, len) != len)
			return bad_header(luks, errno, err);
	}
	return 0;
}

static int load(struct qcow2_luks *luks, struct qcow2_error *err)
{
	char path[64];
	int ret;

	said[0] = '\0';
	crypt_set_log_callback(NULL, take_message, NULL);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", luks->fd);
	ret = crypt_init(&luks->cd, path);
	if (!ret)
		ret = crypt_load(luks->cd, CRYPT_LUKS1, NULL);
	return ret ? bad_header(luks, -ret, err) : 0;
}

int qcow2_luks_open(const struct qcow2_layer *layer, struct qcow2_luks **out,
		    struct qcow2_error *err)
{
	struct qcow2_luks *luks = calloc(1, sizeof(*luks));

	if (!luks)
		qcow2_error_nomem();
	luks->name = layer->name;
	luks->fd = -1;
	*out = luks;
	if (!copy_header(luks, layer, err) && !load(luks, err))
		return 0;
	qcow2_luks_close(luks);
	*out = NULL;
	return QCOW2_EXIT_FAILED;
}

void qcow2_luks_close(struct qcow2_luks *luks)
{
	if (!luks)
		return;
	crypt_free(luks->cd);
	if (luks->fd >= 0)
		close(luks->fd);
	free(luks);
}

/* Up to one of @end; the rest is left in @text. */
static void take_name(char *name, const char **text, const char *end)
{
	size_t len = strcspn(*text, end);

	snprintf(name, QCOW2_LUKS_NAME_LEN, "%.*s", (int)len, *text);
	*text += len + !!(*text)[len];
}

void qcow2_luks_names(const struct qcow2_luks *luks, struct qcow2_luks_names *names)
{
	unsigned int bits = crypt_get_volume_key_size(luks->cd) * 8;
	const char *mode = crypt_get_cipher_mode(luks->cd);

	take_name(names->mode, &mode, "-");
	take_name(names->iv, &mode, ":");
	take_name(names->iv_hash, &mode, "");
	/* XTS takes two keys. */
	snprintf(names->cipher, sizeof(names->cipher), "%.20s-%u", crypt_get_cipher(luks->cd),
		 strcmp(names->mode, "xts") ? bits : bits / 2);
}

/* As the kernel's crypto API calls it. */
static const char *hash_name(const char *luks_name)
{
	return strcmp(luks_name, "ripemd160") ? luks_name : "rmd160";
}

/* "aes" and "cbc-essiv:sha256" are "essiv(cbc(aes),sha256)" to the kernel. */
static int name_cipher(const struct qcow2_luks *luks, struct qcow2_nl_key *key,
		       struct qcow2_error *err)
{
	const char *cipher = crypt_get_cipher(luks->cd);
	struct qcow2_luks_names names;
	size_t len = sizeof(key->cipher);
	const char *iv = names.iv;

	qcow2_luks_names(luks, &names);
	key->iv = strcmp(iv, "plain") ? QCOW2BLK_IV_PLAIN64 : QCOW2BLK_IV_PLAIN;
	if (crypt_get_volume_key_size(luks->cd) > (int)sizeof(key->bytes))
		key->cipher[0] = '\0';
	else if (!strcmp(iv, "essiv"))
		snprintf(key->cipher, len, "essiv(%s(%s),%s)", names.mode, cipher,
			 hash_name(names.iv_hash));
	else if (!*iv || !strcmp(iv, "plain") || !strcmp(iv, "plain64"))
		snprintf(key->cipher, len, "%s(%s)", names.mode, cipher);
	if (key->cipher[0])
		return 0;
	return qcow2_error_set(err, QCOW2_EXIT_FAILED, luks->name,
			       "the cipher %s-%s is not supported; convert it: qemu-img convert -O qcow2",
			       cipher, crypt_get_cipher_mode(luks->cd));
}

int qcow2_luks_unlock(struct qcow2_luks *luks, const void *passphrase, size_t len, bool *wrong,
		      struct qcow2_nl_key *key, struct qcow2_error *err)
{
	size_t key_len = sizeof(key->bytes);
	int ret = name_cipher(luks, key, err);

	*wrong = false;
	if (ret)
		return ret;
	said[0] = '\0';
	ret = crypt_volume_key_get(luks->cd, CRYPT_ANY_SLOT, (char *)key->bytes, &key_len,
				   passphrase, len);
	key->len = key_len;
	if (ret >= 0)
		return 0;
	*wrong = ret == -EPERM;
	if (!*wrong)
		return bad_header(luks, -ret, err);
	return qcow2_error_set(err, QCOW2_EXIT_FAILED, luks->name, "wrong passphrase");
}
