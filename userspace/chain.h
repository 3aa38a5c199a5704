/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A chain of images: opened by policy, locked, ready for the kernel.
 *
 * The policy, as an image may come from somebody who is not to be trusted. The top
 * is what the user named. A backing file is opened only if
 * - its format is named, by the image or by the user: it is never guessed, for a raw
 *   guest could write a qcow2 header into its own first sector;
 * - its name is one of a local file: json: and protocol names are refused;
 * - it is a regular file or a block device, which is known before it is opened, for
 *   opening a device can already do something;
 * - where it really is, symlinks resolved, is below the directory where the top
 *   image really is, or below one that the user allowed; a top on a block device has no
 *   such directory, for in /dev are the host's disks;
 * - it is not in the chain already.
 * An image's external data file is held to the same, but for its format, which is raw. One
 * that the user names may lie anywhere.
 * What was checked is what is used: checks are made on an O_PATH descriptor, and the
 * file is then opened through it.
 */
#ifndef QCOW2CTL_CHAIN_H
#define QCOW2CTL_CHAIN_H

#include "error.h"
#include "image.h"

#include <linux/qcow2blk.h>
#include <sys/stat.h>

/**
 * struct qcow2_layer - one image of a chain
 * @fd: open for reading, the top of a chain to be written for writing too; -1 where it is not.
 * @format: what the file is.
 * @name: as QEMU would call it: as the user or the layer above named it, joined
 *	with the directory of the layer that did.
 * @path: where it really is.
 * @st: the file.
 * @file_size: bytes in the file or block device.
 * @image: its header; not for a raw layer.
 * @backing_name: as the image spells it; NULL where it names none.
 * @backing_format: as the image spells it; NULL where it names none.
 * @data_name: name of the external data file, as the image spells it; NULL where it names none.
 * @data: the external data file, as a raw layer; NULL where there is none, or where the chain
 *	is only looked at.
 */
struct qcow2_layer {
	int fd;
	enum qcow2blk_format format;
	char *name;
	char *path;
	struct stat st;
	uint64_t file_size;
	struct qcow2_image image;
	char *backing_name;
	char *backing_format;
	char *data_name;
	struct qcow2_layer *data;
};

/**
 * struct qcow2_chain - open layers, top first
 * @depth: how many there are.
 * @layer: the layers.
 */
struct qcow2_chain {
	unsigned int depth;
	struct qcow2_layer layer[QCOW2BLK_MAX_LAYERS];
};

#define QCOW2_CHAIN_FORMAT_UNKNOWN	(-1)

/**
 * struct qcow2_chain_policy - what the user allows
 * @backing_dirs: directories that backing files may lie in, real paths.
 * @nr_backing_dirs: how many.
 * @anywhere: backing files may lie anywhere.
 * @backing_format: formats of layers whose overlay does not name them, or
 *	QCOW2_CHAIN_FORMAT_UNKNOWN; entry 0 is not used.
 * @data_file: names of the layers' external data files, where the user gives them; else NULL.
 * @attach: the chain is to be attached: layers are locked, and refused where the
 *	module cannot read them. Otherwise they are only looked at.
 * @check: the top is to be checked: it is locked, but not refused for what it is.
 * @writable: the top is to be written: it is opened and locked for that. If it is to be
 *	attached, a dirty one is mended first, see qcow2_mend_before_writing().
 * @temporary: with @attach: for the time of a command only. So there is no hint that it can be
 *	attached read-only.
 * @repair: and one that is worse, too.
 * @explain_lock: where a layer cannot be locked: fill in a better error, if the caller
 *	knows who has it; or NULL.
 */
struct qcow2_chain_policy {
	char **backing_dirs;
	unsigned int nr_backing_dirs;
	bool anywhere;
	signed char backing_format[QCOW2BLK_MAX_LAYERS];
	const char *data_file[QCOW2BLK_MAX_LAYERS];
	bool attach;
	bool temporary;
	bool check;
	bool writable;
	bool repair;
	void (*explain_lock)(const struct qcow2_layer *layer, struct qcow2_error *err);
};

/**
 * qcow2_chain_policy_init() - allow nothing but what every image may
 * @policy: (out) the policy.
 */
void qcow2_chain_policy_init(struct qcow2_chain_policy *policy);

/**
 * qcow2_chain_policy_allow_dir() - let backing files lie below a directory
 * @policy: the policy.
 * @dir: the directory.
 * @err: (out) filled in on error.
 *
 * Return: 0, or QCOW2_EXIT_USAGE where there is no such directory.
 */
int qcow2_chain_policy_allow_dir(struct qcow2_chain_policy *policy, const char *dir,
				 struct qcow2_error *err);

/**
 * qcow2_chain_policy_set_data_file() - where an external data file is
 * @policy: the policy.
 * @command: the command that has the option, for the error.
 * @value: FILE: the image's; LAYER=FILE: that of a backing file. It stays the caller's.
 *
 * Return: 0, or QCOW2_EXIT_USAGE, which was printed.
 */
int qcow2_chain_policy_set_data_file(struct qcow2_chain_policy *policy, const char *command,
				     const char *value);

/**
 * qcow2_chain_policy_free() - release what the policy holds
 * @policy: the policy.
 */
void qcow2_chain_policy_free(struct qcow2_chain_policy *policy);

/**
 * qcow2_chain_open_top() - open the image that the user named
 * @chain: (out) to be given to qcow2_chain_close(), also on error.
 * @name: the image.
 * @format: what it is.
 * @policy: what is allowed.
 * @err: (out) filled in on error.
 *
 * Return: 0, QCOW2_EXIT_USAGE where there is no such file, or QCOW2_EXIT_FAILED.
 */
int qcow2_chain_open_top(struct qcow2_chain *chain, const char *name,
			 enum qcow2blk_format format,
			 const struct qcow2_chain_policy *policy, struct qcow2_error *err);

/**
 * qcow2_chain_open_backing() - open all layers below the top
 * @chain: as qcow2_chain_open_top() left it.
 * @policy: what is allowed.
 * @err: (out) filled in on error.
 *
 * Return: 0 or QCOW2_EXIT_FAILED; the layers that were opened stay in the chain.
 */
int qcow2_chain_open_backing(struct qcow2_chain *chain,
			     const struct qcow2_chain_policy *policy,
			     struct qcow2_error *err);

/**
 * qcow2_chain_backing_path() - the name of a layer's backing file as QEMU resolves it
 * @layer: a layer with a backing file.
 * @path: (out) to be freed.
 * @err: (out) filled in on error.
 *
 * Return: 0, or QCOW2_EXIT_FAILED: a json: or protocol name.
 */
int qcow2_chain_backing_path(const struct qcow2_layer *layer, char **path,
			     struct qcow2_error *err);

/**
 * qcow2_chain_reopen() - open for I/O what an O_PATH descriptor shows
 * @fd: the descriptor; it stays open.
 * @flags: of open(2).
 *
 * It is that file, whatever lies at its path by now. Return: another descriptor, or -1 with errno.
 */
int qcow2_chain_reopen(int fd, int flags);

/**
 * qcow2_chain_close() - close all layers; locks that nobody else holds go with them
 * @chain: the chain.
 */
void qcow2_chain_close(struct qcow2_chain *chain);

/**
 * qcow2_chain_parse_format() - "qcow2" or "raw"
 * @text: terminated.
 *
 * Return: enum qcow2blk_format or QCOW2_CHAIN_FORMAT_UNKNOWN.
 */
int qcow2_chain_parse_format(const char *text);

/**
 * qcow2_chain_format_name() - the other way round
 * @format: the format.
 *
 * Return: a constant.
 */
const char *qcow2_chain_format_name(enum qcow2blk_format format);

#endif /* QCOW2CTL_CHAIN_H */
