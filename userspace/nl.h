/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Talk to the module, by libmnl; nl_events.c listens. The protocol is <linux/qcow2blk.h>. */
#ifndef QCOW2CTL_NL_H
#define QCOW2CTL_NL_H

#include "error.h"

#include <linux/qcow2blk.h>
#include <stdint.h>
#include <sys/types.h>

struct qcow2_nl;

#define QCOW2_NL_CIPHER_LEN	128

/**
 * struct qcow2_nl_key - how an encrypted layer is decrypted
 * @cipher: as the kernel's crypto API names it; empty: the layer is not encrypted.
 * @iv: enum qcow2blk_iv.
 * @len: bytes of the key.
 * @bytes: the key, secret.
 */
struct qcow2_nl_key {
	char cipher[QCOW2_NL_CIPHER_LEN];
	uint8_t iv;
	uint8_t len;
	uint8_t bytes[QCOW2BLK_MAX_KEY];
};

/**
 * struct qcow2_nl_layer - one layer, in a request or as the kernel describes it
 * @fd: (in) the open file.
 * @data_fd: (in) likewise of its external data file, with @has_data.
 * @name: (in) what to call it in an error.
 * @format: (in, out) what it is.
 * @key: (in) NULL, or how it is decrypted.
 * @cipher: (out) of an encrypted layer, as in its key; else NULL.
 * @path: (out) where it is now; NULL where the kernel does not tell.
 * @dev: (out) device of the file.
 * @ino: (out) its inode number.
 * @direct_io: (out) is it read with direct I/O?
 * @cluster_size: (out) bytes; 0 for a raw layer.
 * @size: (out) bytes, virtual size.
 * @has_data: (in, out) there is an external data file.
 * @data_path, @data_dev, @data_ino: (out) of that file, likewise.
 */
struct qcow2_nl_layer {
	int fd;
	int data_fd;
	const char *name;
	uint8_t format;
	const struct qcow2_nl_key *key;
	char *cipher;
	char *path;
	dev_t dev;
	uint64_t ino;
	bool direct_io;
	uint32_t cluster_size;
	uint64_t size;
	bool has_data;
	char *data_path;
	dev_t data_dev;
	uint64_t data_ino;
};

#define QCOW2_NL_ANY_INDEX	(-1)

/* What became of the last commit of a device, if there was one. */
enum qcow2_nl_commit_state {
	QCOW2_NL_COMMIT_NONE,
	QCOW2_NL_COMMIT_RUNNING,
	QCOW2_NL_COMMIT_DONE,
	QCOW2_NL_COMMIT_INTERRUPTED,
	QCOW2_NL_COMMIT_FAILED,
};

/**
 * struct qcow2_nl_commit - how far a commit is
 * @state: where it is.
 * @error: FAILED: a positive errno.
 * @done: guest bytes that were looked at.
 * @total: the disk's.
 * @left: bytes that were found again at the end.
 */
struct qcow2_nl_commit {
	enum qcow2_nl_commit_state state;
	uint32_t error;
	uint64_t done;
	uint64_t total;
	uint64_t left;
};

/**
 * struct qcow2_nl_device - a device: to be attached, or as the kernel describes it
 * @index: its number; QCOW2_NL_ANY_INDEX lets the kernel choose. (in, out)
 * @flags: enum qcow2blk_flags. (in, out)
 * @direct_io: enum qcow2blk_direct_io. (in)
 * @cache_size: bytes; 0 is the default. (in, out)
 * @size: bytes, size of the disk. (out)
 * @snapshot: name or ID of the snapshot to show, or NULL (in); its ID (out).
 * @name: the user's name for it, or NULL. (in, out)
 * @parent: number of the device whose files it shares, or QCOW2_NL_ANY_INDEX; @layers are
 *	not looked at then. (in, out)
 * @nr_layers: how many.
 * @layers: top first.
 * @commit: its last commit. (out)
 * @stats: counters, by enum qcow2blk_stat_attr. (out)
 */
struct qcow2_nl_device {
	int index;
	uint32_t flags;
	uint8_t direct_io;
	uint64_t cache_size;
	uint64_t size;
	char *snapshot;
	char *name;
	int parent;
	unsigned int nr_layers;
	struct qcow2_nl_layer layers[QCOW2BLK_MAX_LAYERS];
	struct qcow2_nl_commit commit;
	uint64_t stats[QCOW2BLK_A_STAT_MAX + 1];
};

/**
 * qcow2_nl_open() - find the module
 * @nl: (out) the connection; NULL where the module is not loaded.
 * @err: (out) filled in on error.
 *
 * Return: 0, also where the module is not loaded, or QCOW2_EXIT_FAILED.
 */
int qcow2_nl_open(struct qcow2_nl **nl, struct qcow2_error *err);

/**
 * qcow2_nl_close() - end the connection
 * @nl: the connection or NULL.
 */
void qcow2_nl_close(struct qcow2_nl *nl);

/**
 * qcow2_nl_family() - for nl_events.c: the numbers that the kernel has given to the protocol
 * @nl: the connection.
 * @events: (out) that of the group of events.
 *
 * Return: that of the family.
 */
uint16_t qcow2_nl_family(const struct qcow2_nl *nl, uint32_t *events);

/**
 * qcow2_nl_attach() - make a device of a chain
 * @nl: the connection.
 * @device: what to attach; @device->index and @device->size are filled in.
 * @err: (out) filled in on error: the kernel's sentence, and the layer it is about.
 *
 * Return: 0 or QCOW2_EXIT_FAILED.
 */
int qcow2_nl_attach(struct qcow2_nl *nl, struct qcow2_nl_device *device,
		    struct qcow2_error *err);

/**
 * qcow2_nl_detach() - remove a device
 * @nl: the connection.
 * @index: which.
 * @flags: QCOW2BLK_F_FORCE, QCOW2BLK_F_LAZY: it may still be there then, if it is in use.
 * @error: (out) why it is refused: EBUSY, the device is open; EIO, what was written cannot
 *	be made durable; or another positive errno; or 0.
 * @err: (out) filled in on error.
 *
 * Return: 0, QCOW2_EXIT_USAGE where there is none, or QCOW2_EXIT_FAILED.
 */
int qcow2_nl_detach(struct qcow2_nl *nl, int index, uint32_t flags, int *error,
		    struct qcow2_error *err);

/**
 * qcow2_nl_snapshot() - create, apply or delete an internal snapshot
 * @nl: the connection.
 * @index: of the device.
 * @op: enum qcow2blk_snapshot_op.
 * @name: of the snapshot; its ID will do, too, where there is one.
 * @flags: QCOW2BLK_F_FORCE or 0.
 * @err: (out) filled in on error.
 *
 * Return: 0, QCOW2_EXIT_USAGE where there is no such device or snapshot, or
 * QCOW2_EXIT_FAILED.
 */
int qcow2_nl_snapshot(struct qcow2_nl *nl, int index, uint8_t op, const char *name,
		      uint32_t flags, struct qcow2_error *err);

/**
 * qcow2_nl_resize() - give a disk another size
 * @nl: the connection.
 * @index: of the device.
 * @size: bytes.
 * @flags: QCOW2BLK_F_SHRINK or 0.
 * @error: (out) why it is refused: EBUSY, it would shrink and is open; ENOTEMPTY, a partition is
 *	behind its end; or another positive errno; or 0.
 * @err: (out) filled in on error.
 *
 * Return: 0, QCOW2_EXIT_USAGE where there is no such device, or QCOW2_EXIT_FAILED.
 */
int qcow2_nl_resize(struct qcow2_nl *nl, int index, uint64_t size, uint32_t flags, int *error,
		    struct qcow2_error *err);

/**
 * qcow2_nl_commit() - a step of a commit
 * @nl: the connection.
 * @index: of the device.
 * @op: enum qcow2blk_commit_op.
 * @base: QCOW2BLK_COMMIT_OPEN: the layer, else NULL.
 * @err: (out) filled in on error.
 *
 * Return: 0, QCOW2_EXIT_USAGE where there is no such device, or QCOW2_EXIT_FAILED.
 */
int qcow2_nl_commit(struct qcow2_nl *nl, int index, uint8_t op, const struct qcow2_nl_layer *base,
		    struct qcow2_error *err);

/**
 * qcow2_nl_set_cache() - give a device another room for table slices
 * @nl: the connection.
 * @index: of the device.
 * @bytes: wanted; 0 is the default. What was granted qcow2_nl_list() tells.
 * @err: (out) filled in on error.
 *
 * Return: 0, QCOW2_EXIT_USAGE where there is no such device, or QCOW2_EXIT_FAILED.
 */
int qcow2_nl_set_cache(struct qcow2_nl *nl, int index, uint64_t bytes, struct qcow2_error *err);

/**
 * qcow2_nl_list() - describe all devices
 * @nl: the connection; NULL where the module is not loaded: there are none then.
 * @devices: (out) by rising index, to be given to qcow2_nl_free_list().
 * @count: (out) how many.
 * @err: (out) filled in on error.
 *
 * Return: 0 or QCOW2_EXIT_FAILED.
 */
int qcow2_nl_list(struct qcow2_nl *nl, struct qcow2_nl_device **devices,
		  unsigned int *count, struct qcow2_error *err);

/**
 * qcow2_nl_free_list() - release what qcow2_nl_list() allocated
 * @devices: the list or NULL.
 * @count: how many.
 */
void qcow2_nl_free_list(struct qcow2_nl_device *devices, unsigned int count);

#endif /* QCOW2CTL_NL_H */
