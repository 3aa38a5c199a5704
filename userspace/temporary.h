/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The device that a command works on: one that is attached, or one that is made of the
 * image for the command's time, so that what the kernel does is done in one place.
 */
#ifndef QCOW2CTL_TEMPORARY_H
#define QCOW2CTL_TEMPORARY_H

#include "chain.h"
#include "device.h"
#include "key.h"

#include <getopt.h>
#include <signal.h>

/**
 * struct qcow2_temporary_options - how to attach an image that is not
 * @policy: what backing files may be.
 * @top_only: the command does not look at the content, so it needs no backing files.
 * @key_files: passphrases.
 */
struct qcow2_temporary_options {
	struct qcow2_chain_policy policy;
	bool top_only;
	struct qcow2_key_files key_files;
};

enum {
	QCOW2_TEMPORARY_BACKING_DIR = 512,
	QCOW2_TEMPORARY_ALLOW_BACKING,
	QCOW2_TEMPORARY_KEY_FILE,
	QCOW2_TEMPORARY_DATA_FILE,
};

/* For getopt_long(); those of backing files where the command needs these. */
#define QCOW2_TEMPORARY_OPTION_DIR						\
	{ "backing-dir", required_argument, NULL, QCOW2_TEMPORARY_BACKING_DIR }
#define QCOW2_TEMPORARY_OPTION_ALLOW						\
	{ "allow-backing", no_argument, NULL, QCOW2_TEMPORARY_ALLOW_BACKING }
#define QCOW2_TEMPORARY_OPTION_DATA						\
	{ "data-file", required_argument, NULL, QCOW2_TEMPORARY_DATA_FILE }
#define QCOW2_TEMPORARY_OPTION_KEY						\
	{ "key-file", required_argument, NULL, QCOW2_TEMPORARY_KEY_FILE }

/* For --help. */
#define QCOW2_TEMPORARY_BACKING_HELP						\
	"  --backing-dir DIR        for an IMAGE that is not attached: backing files may lie\n"	\
	"                           below DIR, too; may be given several times\n"		\
	"  --allow-backing          likewise: anywhere\n"
#define QCOW2_TEMPORARY_DATA_HELP						\
	"  --data-file [LAYER=]FILE for an IMAGE that is not attached: its data file, as\n"	\
	"                           for attach\n"
#define QCOW2_TEMPORARY_KEY_HELP						\
	"  --key-file [LAYER=]FILE  for an IMAGE that is not attached, and is encrypted: its\n"	\
	"                           passphrase, as for attach\n"

/**
 * qcow2_temporary_init() - no options yet
 * @o: (out) to be given to qcow2_temporary_free().
 */
void qcow2_temporary_init(struct qcow2_temporary_options *o);
void qcow2_temporary_free(struct qcow2_temporary_options *o);

/**
 * qcow2_temporary_set() - take one of the options
 * @o: what was given so far.
 * @command: the command.
 * @opt: from getopt_long(); @value: optarg.
 *
 * Return: 0; or QCOW2_EXIT_USAGE, also for an option that is none of these, and has said why.
 */
int qcow2_temporary_set(struct qcow2_temporary_options *o, const char *command, int opt,
			const char *value);

/**
 * struct qcow2_temporary - a device to work on
 * @devices: all devices, with @devices.nl.
 * @index: the one.
 * @made: it was made for this.
 * @signals: those that were blocked before.
 */
struct qcow2_temporary {
	struct qcow2_devices devices;
	int index;
	bool made;
	sigset_t signals;
};

/**
 * qcow2_temporary_begin() - find a device, or make one
 * @t: (out) to be given to qcow2_temporary_end(), also on error.
 * @name: a device, or an image. One that is the top of a device stands for that.
 * @o: how to make one.
 * @err: (out) filled in on error.
 *
 * All signals are blocked when it returns: a device that was made must go. Return: 0,
 * QCOW2_EXIT_USAGE where there is no such device or image, or QCOW2_EXIT_FAILED.
 */
int qcow2_temporary_begin(struct qcow2_temporary *t, const char *name,
			  const struct qcow2_temporary_options *o, struct qcow2_error *err);

/**
 * qcow2_temporary_end() - the device is not needed any longer
 * @t: as qcow2_temporary_begin() left it.
 * @ret: what the command returns.
 * @err: (out) filled in where only the end has failed.
 *
 * Signals come through again. Return: @ret, or QCOW2_EXIT_FAILED.
 */
int qcow2_temporary_end(struct qcow2_temporary *t, int ret, struct qcow2_error *err);

#endif /* QCOW2CTL_TEMPORARY_H */
