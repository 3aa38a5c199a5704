/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The data clusters of encrypted images: LUKS, aes-xts-plain64. */
#ifndef CRASH_DECRYPT_H
#define CRASH_DECRYPT_H

#include "image.h"

/* Take the key from IMAGE.key, if there is such a file. Return: false if it is of no use. */
bool decrypt_start(const char *image);

/* The content that is read where @content lies in @sector of the file; itself without a key. */
uint32_t decrypt(uint32_t content, uint64_t sector);

/* Forget the key, and what was decrypted; needed when the contents are freed. */
void decrypt_end(void);

#endif
