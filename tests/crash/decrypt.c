// SPDX-License-Identifier: GPL-2.0-or-later
#include <endian.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "decrypt.h"
#include "rig.h"

static struct evp_cipher_ctx_st *ctx;

/* By content: where it was, plus one, and what it is there. Few are ever in two places. */
static struct {
	uint64_t place;
	uint32_t content;
} *known;
static uint32_t known_count;

static bool set_key(const char *cipher, const char *hex)
{
	const EVP_CIPHER *type = strlen(hex) == 128 ? EVP_aes_256_xts() : EVP_aes_128_xts();
	uint8_t key[64];

	if (strcmp(cipher, "xts(aes)") || (strlen(hex) != 128 && strlen(hex) != 64))
		return false;
	for (unsigned int i = 0; hex[2 * i]; i++)
		if (sscanf(hex + 2 * i, "%2hhx", &key[i]) != 1)
			return false;
	ctx = EVP_CIPHER_CTX_new();
	return ctx && EVP_DecryptInit_ex(ctx, type, NULL, key, NULL) == 1;
}

bool decrypt_start(const char *image)
{
	char path[4096], cipher[128], hex[129];
	unsigned int iv;
	FILE *f;
	bool good;

	snprintf(path, sizeof(path), "%s.key", image);
	f = fopen(path, "re");
	if (!f)
		return true;
	good = fscanf(f, "%127s %u %128s", cipher, &iv, hex) == 3 &&
	       iv == QCOW2BLK_IV_PLAIN64 && set_key(cipher, hex);
	fclose(f);
	return good;
}

static uint32_t decrypt_sector(uint32_t content, uint64_t sector)
{
	uint64_t iv[2] = { htole64(sector) };
	uint8_t plain[SECTOR];
	int len;

	if (EVP_DecryptInit_ex(ctx, NULL, NULL, NULL, (uint8_t *)iv) != 1 ||
	    EVP_DecryptUpdate(ctx, plain, &len, contents[content].data, SECTOR) != 1)
		die("a sector cannot be decrypted");
	return contents_add_copy(plain, SECTOR);
}

static void make_room(uint32_t content)
{
	uint32_t count = known_count;

	if (content < count)
		return;
	known_count = content * 2 + 65536;
	known = realloc(known, known_count * sizeof(*known));
	if (!known)
		die("no memory");
	memset(known + count, 0, (known_count - count) * sizeof(*known));
}

uint32_t decrypt(uint32_t content, uint64_t sector)
{
	if (!ctx)
		return content;
	/* What nobody has encrypted is noise, wherever it lies. */
	if (content == CONTENT_ZEROS || content == CONTENT_POISON)
		sector = 0;
	make_room(content);
	if (known[content].place != sector + 1) {
		known[content].content = decrypt_sector(content, sector);
		known[content].place = sector + 1;
	}
	/* An image takes zeros for one and the same. */
	return contents[known[content].content].hash ? known[content].content : CONTENT_ZEROS;
}

void decrypt_end(void)
{
	EVP_CIPHER_CTX_free(ctx);
	ctx = NULL;
	free(known);
	known = NULL;
	known_count = 0;
}
