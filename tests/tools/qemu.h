/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QEMU's programs, as judges of images. */
#ifndef TEST_QEMU_H
#define TEST_QEMU_H

#include <stdbool.h>
#include <stddef.h>

#define QEMU_SAID	65536

/* A secret object: the passphrase of all encrypted images. */
#define QEMU_SECRET	"secret,id=s,data=qcow2blk"

/* @file, a qcow2 image, maybe encrypted, for --image-opts. @spec: (out) QEMU_SPEC bytes. */
#define QEMU_SPEC	512
const char *qemu_spec(const char *file, char *spec);

/*
 * Run a program in the directory @dir. @said: (out) QEMU_SAID bytes, the beginning of what it said.
 * Return: exit status, or 256.
 */
int qemu_run(int dir, const char *const argv[], char *said);

/* qemu-img check. Return: true if there is neither error nor leak; @leaks: leaks are no failure. */
bool qemu_check(int dir, const char *file, bool leaks, char *said);

/*
 * Bring the output of "qemu-img map --output=json" into a form in which two images that hold the
 * same in different places of their files look alike. In place; it gets shorter.
 */
void qemu_normalize_map(char *map);

#endif
