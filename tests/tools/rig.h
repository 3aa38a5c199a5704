/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the C test programs share: attach and detach over netlink without the tool,
 * so that a test can pass what the tool would refuse and pays no fork; and a look
 * at the kernel's log.
 */
#ifndef TEST_RIG_H
#define TEST_RIG_H

#include <linux/qcow2blk.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

void __attribute__((noreturn, format(printf, 1, 2))) die(const char *format, ...);

/* A pseudo-random number; *state is the seed. */
uint64_t rig_random(uint64_t *state);

/**
 * struct rig_attach - what to attach, and what came of it
 * @fds, @raw: layers, top first.
 * @data_fds: their external data files; 0: none.
 * @count: how many.
 * @direct_io: enum qcow2blk_direct_io.
 * @cache_size: bytes; 0 for the default.
 * @want_index: plus one; 0 lets the kernel choose.
 * @writable: attach for writing; the top must be open for that.
 * @flags: further enum qcow2blk_flags.
 * @key_file: of the top, if it is encrypted: what volume_key printed; NULL: its name is that of
 *	the top and ".key". Keys of other layers have such names, too.
 * @sentence: (out) the kernel's words on refusal.
 * @size: (out) bytes of the disk.
 */
struct rig_attach {
	int fds[QCOW2BLK_MAX_LAYERS];
	int data_fds[QCOW2BLK_MAX_LAYERS];
	bool raw[QCOW2BLK_MAX_LAYERS];
	unsigned int count;
	uint8_t direct_io;
	uint64_t cache_size;
	unsigned int want_index;
	bool writable;
	uint32_t flags;
	const char *key_file;
	char sentence[256];
	uint64_t size;
};

/* Attach. Return: index or negative errno. Dies where there is no module. */
int rig_attach(struct rig_attach *a);

/*
 * Send a message of one's own making. @command: of the protocol; @put: adds attributes, or
 * NULL; @sentence: (out) 256 bytes, or NULL. Return: 0 or negative errno.
 */
struct nlmsghdr;
int rig_send(uint8_t command, void (*put)(struct nlmsghdr *nlh), char *sentence);

/*
 * Likewise of one that is refused, and get it back as the kernel leaves it. @back: (out) @size bytes
 * at most. Return: how many; 0: it was not refused, or there was no answer.
 */
size_t rig_send_back(uint8_t command, void (*put)(struct nlmsghdr *nlh), void *back, size_t size);

/* A word of the command line: auto, on or off. Dies if it is another one. */
uint8_t rig_parse_direct_io(const char *word);

/* Detach; waits up to five seconds where udev still holds the disk. Return: 0 or negative errno. */
int rig_detach(int index);

/* Detach, once. Return: 0 or negative errno. */
int rig_try_detach(int index);

/* Detach even if what was written is lost by it. Return: 0 or negative errno. */
int rig_force_detach(int index);

/* Detach when nobody has it open, see QCOW2BLK_F_LAZY. Return: 0 or negative errno. */
int rig_lazy_detach(int index);

/* Is there such a device? */
bool rig_exists(int index);

/*
 * Create, apply or delete a snapshot. @op: enum qcow2blk_snapshot_op. An apply is forced: who asks
 * has the disk open. Return: 0 or negative errno.
 */
int rig_snapshot(int index, uint8_t op, const char *name);

/* Give the disk another size, also a smaller one. Return: 0 or negative errno. */
int rig_resize(int index, uint64_t size);

/*
 * Merge the top into the layer below, and wait for that. @fd: that layer's file, open for writing.
 * Return: 0 or negative errno.
 */
int rig_commit(int index, int fd);

/* enum qcow2blk_flags of a device. */
uint32_t rig_flags(int index);

/* Counter of a device. @stat: enum qcow2blk_stat_attr. */
uint64_t rig_stat(int index, unsigned int stat);

/* Open /dev/qcow@index. Return: descriptor or negative errno. */
int rig_open_disk(int index, int flags);

/* Read all @len bytes or fail. Return: 0 or negative errno. */
int rig_pread(int fd, void *buf, size_t len, off_t off);

/*
 * The kernel's log from here on. Each call of rig_log_read() looks at what came since
 * the last one: it counts lines of the driver and keeps the last of them, and finds the
 * first complaint (oops, WARN, KASAN, lockdep...).
 */
struct rig_log {
	int fd;
	unsigned int lines;
	char line[512];
	char splat[512];
};

void rig_log_start(struct rig_log *log);
void rig_log_read(struct rig_log *log);

#endif
