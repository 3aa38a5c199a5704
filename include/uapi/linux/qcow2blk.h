/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The generic netlink protocol of qcow2blk.
 *
 * Family "qcow2blk", version 1, one multicast group "events". The kernel opens
 * no path: a request to attach carries one open file descriptor for each layer
 * of the chain, and the kernel keeps those very files until detach, with the
 * locks that lie on them.
 *
 * Every message is validated strictly: an unknown attribute, a wrong length or
 * a trailing byte is refused. A refusal carries an extended-ack sentence, and,
 * where one attribute is to blame, its offset (for a layer: the offset of its
 * QCOW2BLK_A_LAYERS entry).
 *
 * Commands that change something need CAP_SYS_ADMIN in the initial user
 * namespace. QCOW2BLK_CMD_GET needs no capability, but leaves out paths
 * without CAP_SYS_ADMIN. Devices belong to the initial network namespace: the
 * family is not visible from another one.
 */
#ifndef _UAPI_LINUX_QCOW2BLK_H
#define _UAPI_LINUX_QCOW2BLK_H

#define QCOW2BLK_GENL_NAME		"qcow2blk"
#define QCOW2BLK_GENL_VERSION		1
#define QCOW2BLK_GENL_MCGRP_EVENTS	"events"

/* Device nodes are /dev/qcow<index>, partitions /dev/qcow<index>p<n>. */
#define QCOW2BLK_DISK_NAME		"qcow"

/* Layers in one chain, at most. */
#define QCOW2BLK_MAX_LAYERS		64

/* Bytes in the key of an encrypted layer, at most. */
#define QCOW2BLK_MAX_KEY		128

/* Bytes in the name of a device, at most. */
#define QCOW2BLK_MAX_NAME		63

/* Highest device index. */
#define QCOW2BLK_MAX_INDEX		32767

/**
 * enum qcow2blk_cmd - commands of the family
 *
 * @QCOW2BLK_CMD_GET: describe one device (QCOW2BLK_A_INDEX) or, as a dump, all
 *	of them, in the order of their index. Answer: one QCOW2BLK_CMD_GET
 *	message a device with the attributes marked (out).
 *	Errors: ENODEV no such device.
 * @QCOW2BLK_CMD_ATTACH: make a device of a chain. In: QCOW2BLK_A_LAYERS or
 *	QCOW2BLK_A_PARENT, QCOW2BLK_A_SNAPSHOT, QCOW2BLK_A_INDEX, QCOW2BLK_A_FLAGS,
 *	QCOW2BLK_A_DIRECT_IO, QCOW2BLK_A_CACHE_SIZE, QCOW2BLK_A_NAME. Answer:
 *	QCOW2BLK_CMD_ATTACH with QCOW2BLK_A_INDEX and QCOW2BLK_A_SIZE. When it
 *	arrives the disk exists; partitions are not scanned yet: unless
 *	QCOW2BLK_F_NO_PARTSCAN was given, the caller asks for that with BLKRRPART.
 *	Errors: EEXIST index or name in use, EINVAL a bad image or attribute,
 *	EOPNOTSUPP a feature that is not supported, EBUSY an image that
 *	nests too deep, EBADF/EIO the file, ENOKEY an encrypted image without a key.
 * @QCOW2BLK_CMD_DETACH: remove a device (QCOW2BLK_A_INDEX, QCOW2BLK_A_FLAGS). What was
 *	written is made durable first. Returns when the disk is gone and its files are
 *	closed.
 *	With QCOW2BLK_F_LAZY a device that is in use, or is being changed, goes when it is not any
 *	longer, that is, when the last opener of the disk and its partitions has closed it; the
 *	answer comes at once, and GET still shows the device, with that flag. An open that comes
 *	before it begins to go keeps it until it is closed; one that comes later gets ENXIO. Until
 *	then everything else can be done to it, a second DETACH too. If it cannot be made durable
 *	when it comes to it the device stays, without the flag; see QCOW2BLK_EVENT_KEPT.
 *	Errors: ENODEV no such device, EBUSY it is open, being changed or a parent, EIO it cannot be
 *	made durable and QCOW2BLK_F_FORCE was not given: the device stays.
 * @QCOW2BLK_CMD_SNAPSHOT: create, apply or delete an internal snapshot of the top layer
 *	(QCOW2BLK_A_INDEX, QCOW2BLK_A_SNAPSHOT_OP, QCOW2BLK_A_SNAPSHOT, QCOW2BLK_A_FLAGS).
 *	Requests wait meanwhile; all that was written before is in the snapshot.
 *	Errors: ENODEV, EBUSY the device is in use (apply) or being changed, EEXIST the
 *	name is taken, ENOENT there is no such snapshot, EROFS, EOPNOTSUPP a raw image,
 *	EOVERFLOW refcounts are too narrow, ENOSPC, EFBIG, EUCLEAN the image is broken, EIO.
 * @QCOW2BLK_CMD_RESIZE: give the disk and its top layer another size (QCOW2BLK_A_INDEX,
 *	QCOW2BLK_A_SIZE, QCOW2BLK_A_FLAGS). Requests wait meanwhile; it may be in use while it
 *	grows. What it grows by reads as zeros. Partitions stay as they are.
 *	Errors: ENODEV, EINVAL no multiple of 512 bytes, or smaller without
 *	QCOW2BLK_F_SHRINK, EBUSY the device is being changed, or it would shrink and is
 *	open, ENOTEMPTY a partition reaches behind its new end, EROFS, EOPNOTSUPP snapshots
 *	or bitmaps that would be wrong, a raw image on a block device, EFBIG, ENOSPC,
 *	EUCLEAN the image is broken, EIO.
 * @QCOW2BLK_CMD_COMMIT: merge the top layer into the one below, its backing file
 *	(QCOW2BLK_A_INDEX, QCOW2BLK_A_COMMIT_OP, for QCOW2BLK_COMMIT_OPEN QCOW2BLK_A_LAYERS). The
 *	disk may be in use and does not change. QCOW2BLK_COMMIT_START returns when it has
 *	begun; GET tells how far it is; nothing else can be done to the device meanwhile. A
 *	backing file that is smaller than the disk is made as large.
 *	Errors: ENODEV, EBUSY the device is being changed or another one shares its files, EINVAL
 *	there is no backing file, EROFS, EEXIST the top has snapshots, EBADF the backing file is
 *	not open for writing, EUCLEAN it is broken, EIO, from then on if what was written to the
 *	backing file could not be made durable; where it has to grow those of RESIZE.
 * @QCOW2BLK_CMD_SET: change how a device works while it is in use (QCOW2BLK_A_INDEX,
 *	QCOW2BLK_A_CACHE_SIZE). Requests wait meanwhile, for a time that grows with what is
 *	cached; nothing that was written is lost. GET tells what was granted.
 *	Errors: ENODEV, EBUSY the device is being changed, ENOMEM: some caches have the new
 *	size, others the old one.
 * @QCOW2BLK_CMD_EVENT: sent by the kernel to the group "events": QCOW2BLK_A_EVENT,
 *	QCOW2BLK_A_INDEX, and what the event names.
 */
enum qcow2blk_cmd {
	QCOW2BLK_CMD_UNSPEC,
	QCOW2BLK_CMD_GET,
	QCOW2BLK_CMD_ATTACH,
	QCOW2BLK_CMD_DETACH,
	QCOW2BLK_CMD_EVENT,
	QCOW2BLK_CMD_SNAPSHOT,
	QCOW2BLK_CMD_RESIZE,
	QCOW2BLK_CMD_COMMIT,
	QCOW2BLK_CMD_SET,

	__QCOW2BLK_CMD_MAX,
	QCOW2BLK_CMD_MAX = __QCOW2BLK_CMD_MAX - 1
};

/**
 * enum qcow2blk_attr - top-level attributes
 *
 * @QCOW2BLK_A_PAD: alignment only.
 * @QCOW2BLK_A_INDEX: u32, device index. In ATTACH: the one wanted; the kernel
 *	picks the lowest free one where it is absent.
 * @QCOW2BLK_A_FLAGS: u32, enum qcow2blk_flags. (in, out)
 * @QCOW2BLK_A_DIRECT_IO: u8, enum qcow2blk_direct_io, default AUTO. (in)
 * @QCOW2BLK_A_CACHE_SIZE: u64, bytes of table slices the device may keep.
 *	In: 0 or absent means enough for the whole disk, up to 32 MiB; the least
 *	is 64 KiB a layer, smaller values are raised to it. (in: ATTACH, SET; out)
 * @QCOW2BLK_A_LAYERS: nest of QCOW2BLK_A_LAYER entries, top first, 1 to
 *	QCOW2BLK_MAX_LAYERS. (in, out)
 * @QCOW2BLK_A_LAYER: nest of enum qcow2blk_layer_attr; only in QCOW2BLK_A_LAYERS.
 * @QCOW2BLK_A_SIZE: u64, bytes, size of the disk. (out, event; in: RESIZE)
 * @QCOW2BLK_A_STATS: nest of enum qcow2blk_stat_attr. (out)
 * @QCOW2BLK_A_EVENT: u32, enum qcow2blk_event. (event)
 * @QCOW2BLK_A_ERRNO: u32, positive errno of an error event. (event)
 * @QCOW2BLK_A_OFFSET: u64, bytes, guest offset of an error event. (event)
 * @QCOW2BLK_A_LAYER_INDEX: u32, position of the layer in the chain, 0 is the
 *	top, that an error event is about. (event)
 * @QCOW2BLK_A_SNAPSHOT_OP: u8, enum qcow2blk_snapshot_op. (in)
 * @QCOW2BLK_A_SNAPSHOT: string, 1 to 255 bytes: the name of a snapshot, or, of one that
 *	exists, its ID, which is looked for first. In ATTACH: the snapshot of the top layer
 *	that the disk shows; QCOW2BLK_F_READ_ONLY is needed then. (in; out: the ID of the one
 *	that is shown)
 * @QCOW2BLK_A_PARENT: u32, index of the device whose open files are used, with
 *	QCOW2BLK_A_SNAPSHOT and instead of QCOW2BLK_A_LAYERS. It cannot be detached before
 *	this one, and the snapshot cannot be deleted. (in, out)
 * @QCOW2BLK_A_COMMIT_OP: u8, enum qcow2blk_commit_op. (in)
 * @QCOW2BLK_A_COMMIT: nest of enum qcow2blk_commit_attr: the last COMMIT of the device; absent
 *	where there was none. (out)
 * @QCOW2BLK_A_NAME: string, 1 to QCOW2BLK_MAX_NAME bytes out of A-Z a-z 0-9 _ . - + : @, the first
 *	one no . or -: a name for the device, which no other one has. It stands in sysfs, so that
 *	udev can make a link of it, and means nothing else to the kernel. (ATTACH, out)
 */
enum qcow2blk_attr {
	QCOW2BLK_A_UNSPEC,
	QCOW2BLK_A_PAD,
	QCOW2BLK_A_INDEX,
	QCOW2BLK_A_FLAGS,
	QCOW2BLK_A_DIRECT_IO,
	QCOW2BLK_A_CACHE_SIZE,
	QCOW2BLK_A_LAYERS,
	QCOW2BLK_A_LAYER,
	QCOW2BLK_A_SIZE,
	QCOW2BLK_A_STATS,
	QCOW2BLK_A_EVENT,
	QCOW2BLK_A_ERRNO,
	QCOW2BLK_A_OFFSET,
	QCOW2BLK_A_LAYER_INDEX,
	QCOW2BLK_A_SNAPSHOT_OP,
	QCOW2BLK_A_SNAPSHOT,
	QCOW2BLK_A_PARENT,
	QCOW2BLK_A_COMMIT_OP,
	QCOW2BLK_A_COMMIT,
	QCOW2BLK_A_NAME,

	__QCOW2BLK_A_MAX,
	QCOW2BLK_A_MAX = __QCOW2BLK_A_MAX - 1
};

/**
 * enum qcow2blk_layer_attr - one layer, inside QCOW2BLK_A_LAYER
 *
 * @QCOW2BLK_A_LAYER_PAD: alignment only.
 * @QCOW2BLK_A_LAYER_FD: u32, a file descriptor of the caller, opened for reading, the
 *	top one of a writable disk for writing too, of a regular file or a block
 *	device. (in)
 * @QCOW2BLK_A_LAYER_FORMAT: u8, enum qcow2blk_format. (in, out)
 * @QCOW2BLK_A_LAYER_PATH: string, the path of the file as it is now; absent
 *	without CAP_SYS_ADMIN. (out)
 * @QCOW2BLK_A_LAYER_DEV: u32, device number of the file as userspace's
 *	stat(2) encodes it: major << 8 | minor of the 32-bit new encoding. (out)
 * @QCOW2BLK_A_LAYER_INO: u64, inode number of the file. (out)
 * @QCOW2BLK_A_LAYER_DIRECT_IO: u8, 1: the file is read with direct I/O, 0:
 *	through the page cache. (out)
 * @QCOW2BLK_A_LAYER_CLUSTER_SIZE: u32, bytes; 0 for a raw layer. (out)
 * @QCOW2BLK_A_LAYER_SIZE: u64, bytes, virtual size of the layer. (out)
 * @QCOW2BLK_A_LAYER_CIPHER: string, the cipher of an encrypted layer as the kernel's crypto
 *	API names it: "xts(aes)", "essiv(cbc(aes),sha256)". Needs the next two. (in, out)
 * @QCOW2BLK_A_LAYER_IV: u8, enum qcow2blk_iv. (in)
 * @QCOW2BLK_A_LAYER_KEY: binary, at most QCOW2BLK_MAX_KEY bytes, the volume key: not the
 *	passphrase. Never told to anybody; wiped at detach, and in the request before it is
 *	answered. Whether it is the right one, the kernel cannot know. (in)
 * @QCOW2BLK_A_LAYER_DATA_FD: u32, likewise of the image's external data file; needed for
 *	an image that has one, refused for others. (in)
 * @QCOW2BLK_A_LAYER_DATA_PATH: string, like QCOW2BLK_A_LAYER_PATH, of the data file; absent
 *	where there is none, as are the next two. (out)
 * @QCOW2BLK_A_LAYER_DATA_DEV: u32, like QCOW2BLK_A_LAYER_DEV. (out)
 * @QCOW2BLK_A_LAYER_DATA_INO: u64, like QCOW2BLK_A_LAYER_INO. (out)
 */
enum qcow2blk_layer_attr {
	QCOW2BLK_A_LAYER_UNSPEC,
	QCOW2BLK_A_LAYER_PAD,
	QCOW2BLK_A_LAYER_FD,
	QCOW2BLK_A_LAYER_FORMAT,
	QCOW2BLK_A_LAYER_PATH,
	QCOW2BLK_A_LAYER_DEV,
	QCOW2BLK_A_LAYER_INO,
	QCOW2BLK_A_LAYER_DIRECT_IO,
	QCOW2BLK_A_LAYER_CLUSTER_SIZE,
	QCOW2BLK_A_LAYER_SIZE,
	QCOW2BLK_A_LAYER_CIPHER,
	QCOW2BLK_A_LAYER_IV,
	QCOW2BLK_A_LAYER_KEY,
	QCOW2BLK_A_LAYER_DATA_FD,
	QCOW2BLK_A_LAYER_DATA_PATH,
	QCOW2BLK_A_LAYER_DATA_DEV,
	QCOW2BLK_A_LAYER_DATA_INO,

	__QCOW2BLK_A_LAYER_MAX,
	QCOW2BLK_A_LAYER_MAX = __QCOW2BLK_A_LAYER_MAX - 1
};

/**
 * enum qcow2blk_stat_attr - counters since attach, inside QCOW2BLK_A_STATS, all u64
 *
 * Those of reads, writes, discards and flushes are the block layer's own, with partitions; they
 * stand still while queue/iostats of the disk is 0. Times are the sums of how long each took, so
 * that several at once take more of it than there was. They are of no single moment.
 *
 * @QCOW2BLK_A_STAT_PAD: alignment only.
 * @QCOW2BLK_A_STAT_REQUESTS: requests of the block layer.
 * @QCOW2BLK_A_STAT_FILE_READS: reads of guest data sent to image files; one for
 *	each extent of a request.
 * @QCOW2BLK_A_STAT_INLINE: requests served by the submitting task, no worker.
 * @QCOW2BLK_A_STAT_SLICE_HITS: slices of L2 tables found in the cache.
 * @QCOW2BLK_A_STAT_SLICE_MISSES: table slices read from an image file.
 * @QCOW2BLK_A_STAT_SLICE_EVICTIONS: table slices dropped for others.
 * @QCOW2BLK_A_STAT_DECOMPRESSIONS: clusters decompressed.
 * @QCOW2BLK_A_STAT_DECOMPRESSED_HITS: reads answered from the cache of
 *	decompressed clusters.
 * @QCOW2BLK_A_STAT_ERRORS: requests that failed.
 * @QCOW2BLK_A_STAT_FILE_WRITES: writes of guest data sent to the image file; one for
 *	each extent of a request.
 * @QCOW2BLK_A_STAT_ALLOCATIONS: clusters allocated, for data and tables.
 * @QCOW2BLK_A_STAT_COPIES: writes that had to copy the rest of a cluster.
 * @QCOW2BLK_A_STAT_COMMITS: commits that wrote metadata.
 * @QCOW2BLK_A_STAT_FAST_COMMITS: those of them that needed one fsync only.
 * @QCOW2BLK_A_STAT_FSYNCS: of the image file and its data file.
 * @QCOW2BLK_A_STAT_SLICE_NSEC: ns, reading table slices from image files.
 * @QCOW2BLK_A_STAT_SLICE_BYTES: bytes of table slices that are in the cache now; a moment's
 *	excess over QCOW2BLK_A_CACHE_SIZE is what is dirty or being read. No counter.
 * @QCOW2BLK_A_STAT_REFCOUNT_HITS: slices of refcount blocks found in their cache.
 * @QCOW2BLK_A_STAT_REFCOUNT_MISSES: those read from the image file.
 * @QCOW2BLK_A_STAT_DECOMPRESS_NSEC: ns, reading and decompressing clusters.
 * @QCOW2BLK_A_STAT_COMMIT_NSEC: ns, of the commits that wrote metadata.
 * @QCOW2BLK_A_STAT_FSYNC_NSEC: ns, in fsync.
 * @QCOW2BLK_A_STAT_READS, @QCOW2BLK_A_STAT_READ_BYTES, @QCOW2BLK_A_STAT_READ_NSEC: reads of the
 *	disk: how many, bytes, ns.
 * @QCOW2BLK_A_STAT_WRITES, @QCOW2BLK_A_STAT_WRITE_BYTES, @QCOW2BLK_A_STAT_WRITE_NSEC: writes,
 *	write-zeroes among them.
 * @QCOW2BLK_A_STAT_DISCARDS, @QCOW2BLK_A_STAT_DISCARD_BYTES, @QCOW2BLK_A_STAT_DISCARD_NSEC:
 *	discards.
 * @QCOW2BLK_A_STAT_FLUSHES, @QCOW2BLK_A_STAT_FLUSH_NSEC: flushes: those that the block layer made
 *	one of count once.
 */
enum qcow2blk_stat_attr {
	QCOW2BLK_A_STAT_UNSPEC,
	QCOW2BLK_A_STAT_PAD,
	QCOW2BLK_A_STAT_REQUESTS,
	QCOW2BLK_A_STAT_FILE_READS,
	QCOW2BLK_A_STAT_INLINE,
	QCOW2BLK_A_STAT_SLICE_HITS,
	QCOW2BLK_A_STAT_SLICE_MISSES,
	QCOW2BLK_A_STAT_SLICE_EVICTIONS,
	QCOW2BLK_A_STAT_DECOMPRESSIONS,
	QCOW2BLK_A_STAT_DECOMPRESSED_HITS,
	QCOW2BLK_A_STAT_ERRORS,
	QCOW2BLK_A_STAT_FILE_WRITES,
	QCOW2BLK_A_STAT_ALLOCATIONS,
	QCOW2BLK_A_STAT_COPIES,
	QCOW2BLK_A_STAT_COMMITS,
	QCOW2BLK_A_STAT_FAST_COMMITS,
	QCOW2BLK_A_STAT_FSYNCS,
	QCOW2BLK_A_STAT_SLICE_NSEC,
	QCOW2BLK_A_STAT_SLICE_BYTES,
	QCOW2BLK_A_STAT_REFCOUNT_HITS,
	QCOW2BLK_A_STAT_REFCOUNT_MISSES,
	QCOW2BLK_A_STAT_DECOMPRESS_NSEC,
	QCOW2BLK_A_STAT_COMMIT_NSEC,
	QCOW2BLK_A_STAT_FSYNC_NSEC,
	QCOW2BLK_A_STAT_READS,
	QCOW2BLK_A_STAT_READ_BYTES,
	QCOW2BLK_A_STAT_READ_NSEC,
	QCOW2BLK_A_STAT_WRITES,
	QCOW2BLK_A_STAT_WRITE_BYTES,
	QCOW2BLK_A_STAT_WRITE_NSEC,
	QCOW2BLK_A_STAT_DISCARDS,
	QCOW2BLK_A_STAT_DISCARD_BYTES,
	QCOW2BLK_A_STAT_DISCARD_NSEC,
	QCOW2BLK_A_STAT_FLUSHES,
	QCOW2BLK_A_STAT_FLUSH_NSEC,

	__QCOW2BLK_A_STAT_MAX,
	QCOW2BLK_A_STAT_MAX = __QCOW2BLK_A_STAT_MAX - 1
};

/**
 * enum qcow2blk_commit_op - steps of QCOW2BLK_CMD_COMMIT
 *
 * @QCOW2BLK_COMMIT_OPEN: use another open file for the layer below the top, one that is open
 *	for writing too: QCOW2BLK_A_LAYERS has one layer, the same file, in the same format.
 *	What locks lay on the one that was used so far are gone when this returns.
 * @QCOW2BLK_COMMIT_START: begin. Where a part was merged before, go on.
 * @QCOW2BLK_COMMIT_STOP: end soon; what was merged stays so.
 */
enum qcow2blk_commit_op {
	QCOW2BLK_COMMIT_OPEN,
	QCOW2BLK_COMMIT_START,
	QCOW2BLK_COMMIT_STOP,
};

/**
 * enum qcow2blk_commit_state - where it is
 *
 * @QCOW2BLK_COMMIT_RUNNING: under way.
 * @QCOW2BLK_COMMIT_DONE: the backing file has all that the disk had when it began.
 * @QCOW2BLK_COMMIT_INTERRUPTED: stopped, by QCOW2BLK_COMMIT_STOP.
 * @QCOW2BLK_COMMIT_FAILED: by an error; the disk reads as it did.
 */
enum qcow2blk_commit_state {
	QCOW2BLK_COMMIT_RUNNING,
	QCOW2BLK_COMMIT_DONE,
	QCOW2BLK_COMMIT_INTERRUPTED,
	QCOW2BLK_COMMIT_FAILED,
};

/**
 * enum qcow2blk_commit_attr - what became of a COMMIT, inside QCOW2BLK_A_COMMIT
 *
 * @QCOW2BLK_A_COMMIT_PAD: alignment only.
 * @QCOW2BLK_A_COMMIT_STATE: u8, enum qcow2blk_commit_state.
 * @QCOW2BLK_A_COMMIT_ERRNO: u32, positive errno; only where it failed.
 * @QCOW2BLK_A_COMMIT_DONE: u64, guest bytes that were looked at.
 * @QCOW2BLK_A_COMMIT_TOTAL: u64, the disk's bytes.
 * @QCOW2BLK_A_COMMIT_COPIED: u64, bytes of data written to the backing file.
 * @QCOW2BLK_A_COMMIT_ZEROED: u64, bytes that were made zero there.
 * @QCOW2BLK_A_COMMIT_LEFT: u64: when all was merged it was looked through again, twice at most,
 *	for what was written meanwhile; so many bytes were found the last time.
 */
enum qcow2blk_commit_attr {
	QCOW2BLK_A_COMMIT_UNSPEC,
	QCOW2BLK_A_COMMIT_PAD,
	QCOW2BLK_A_COMMIT_STATE,
	QCOW2BLK_A_COMMIT_ERRNO,
	QCOW2BLK_A_COMMIT_DONE,
	QCOW2BLK_A_COMMIT_TOTAL,
	QCOW2BLK_A_COMMIT_COPIED,
	QCOW2BLK_A_COMMIT_ZEROED,
	QCOW2BLK_A_COMMIT_LEFT,

	__QCOW2BLK_A_COMMIT_MAX,
	QCOW2BLK_A_COMMIT_MAX = __QCOW2BLK_A_COMMIT_MAX - 1
};

/**
 * enum qcow2blk_flags - bits of QCOW2BLK_A_FLAGS
 *
 * @QCOW2BLK_F_READ_ONLY: the disk is read-only. Without it the file descriptor of the
 *	top layer must be open for writing too. (ATTACH, out)
 * @QCOW2BLK_F_NO_PARTSCAN: partitions are never scanned. (ATTACH, out)
 * @QCOW2BLK_F_NO_DISCARD: the disk announces no discard, and write-zeroes keep
 *	their clusters. (ATTACH, out)
 * @QCOW2BLK_F_FORCE: detach even if what was not yet flushed cannot be written; apply a
 *	snapshot even if the disk is open. (DETACH, SNAPSHOT)
 * @QCOW2BLK_F_LAZY: detach when nobody has it open. (DETACH; out: that will come)
 * @QCOW2BLK_F_ACTIVATE: what is found on the disk (LVM, MD) may be activated by itself. Stands in
 *	sysfs, for udev; nothing else to the kernel. (ATTACH, out)
 * @QCOW2BLK_F_SHRINK: the disk may become smaller. (RESIZE)
 * @QCOW2BLK_F_STOPPED: writing has stopped for good after an error: writes and
 *	flushes fail, reads go on. (out)
 * @QCOW2BLK_F_TEMPORARY: the file of the top layer is nobody else's and lost at detach, which
 *	therefore minds no error of it. (ATTACH, out)
 */
enum qcow2blk_flags {
	QCOW2BLK_F_READ_ONLY	= 1 << 0,
	QCOW2BLK_F_NO_PARTSCAN	= 1 << 1,
	QCOW2BLK_F_NO_DISCARD	= 1 << 2,
	QCOW2BLK_F_FORCE	= 1 << 3,
	QCOW2BLK_F_STOPPED	= 1 << 4,
	QCOW2BLK_F_SHRINK	= 1 << 5,
	QCOW2BLK_F_LAZY		= 1 << 6,
	QCOW2BLK_F_ACTIVATE	= 1 << 7,
	QCOW2BLK_F_TEMPORARY	= 1 << 8,
};

/**
 * enum qcow2blk_snapshot_op - what to do about a snapshot
 *
 * @QCOW2BLK_SNAPSHOT_CREATE: the disk as it is now becomes one.
 * @QCOW2BLK_SNAPSHOT_APPLY: the disk becomes what it was. It must not be open, or
 *	QCOW2BLK_F_FORCE is given.
 * @QCOW2BLK_SNAPSHOT_DELETE: forget it, and free what only it has.
 */
enum qcow2blk_snapshot_op {
	QCOW2BLK_SNAPSHOT_CREATE,
	QCOW2BLK_SNAPSHOT_APPLY,
	QCOW2BLK_SNAPSHOT_DELETE,
};

/**
 * enum qcow2blk_direct_io - how image files are read
 *
 * @QCOW2BLK_DIRECT_IO_AUTO: direct where the file can, else through the page cache.
 * @QCOW2BLK_DIRECT_IO_ON: direct, or the attach fails.
 * @QCOW2BLK_DIRECT_IO_OFF: through the page cache.
 */
enum qcow2blk_direct_io {
	QCOW2BLK_DIRECT_IO_AUTO,
	QCOW2BLK_DIRECT_IO_ON,
	QCOW2BLK_DIRECT_IO_OFF,
};

/**
 * enum qcow2blk_format - what a layer is; never guessed
 *
 * @QCOW2BLK_FORMAT_QCOW2: a qcow2 image, version 2 or 3.
 * @QCOW2BLK_FORMAT_RAW: the bytes themselves. Ends the chain.
 */
enum qcow2blk_format {
	QCOW2BLK_FORMAT_QCOW2,
	QCOW2BLK_FORMAT_RAW,
};

/**
 * enum qcow2blk_iv - how the number of a 512-byte sector becomes an initialization vector
 *
 * The number is that of the sector in the file where the image is LUKS, else in the disk. What
 * else there is to do (ESSIV) is part of the cipher.
 *
 * @QCOW2BLK_IV_PLAIN64: 64 bits, little-endian, then zeros.
 * @QCOW2BLK_IV_PLAIN: likewise, but the lower 32 bits only.
 */
enum qcow2blk_iv {
	QCOW2BLK_IV_PLAIN64,
	QCOW2BLK_IV_PLAIN,
};

/**
 * enum qcow2blk_event - what an event tells
 *
 * @QCOW2BLK_EVENT_ATTACHED: a device exists.
 * @QCOW2BLK_EVENT_DETACHED: a device is gone.
 * @QCOW2BLK_EVENT_ERROR: a request failed; QCOW2BLK_A_ERRNO, QCOW2BLK_A_OFFSET,
 *	QCOW2BLK_A_LAYER_INDEX. At most ten a second for each device.
 * @QCOW2BLK_EVENT_ENOSPC: the file system below is full: what needed room failed with
 *	ENOSPC, the rest goes on. At most one a second for each device.
 * @QCOW2BLK_EVENT_STOPPED: writing has stopped for good, see QCOW2BLK_F_STOPPED;
 *	QCOW2BLK_A_ERRNO. Once for each device.
 * @QCOW2BLK_EVENT_BITMAPS: some persistent bitmap could not be stored: it stays marked as in
 *	use, so nobody takes it for true; QCOW2BLK_A_ERRNO. While a device is detached, once;
 *	and at the end of a COMMIT, of a bitmap of the backing file.
 * @QCOW2BLK_EVENT_RESIZED: the disk has another size, QCOW2BLK_A_SIZE.
 * @QCOW2BLK_EVENT_KEPT: a device that was to go lazily stays: what was written to it cannot be made
 *	durable; QCOW2BLK_A_ERRNO.
 * @QCOW2BLK_EVENT_LOST: a device goes by force, and with it what was written since the last good
 *	flush; QCOW2BLK_A_ERRNO. QCOW2BLK_EVENT_DETACHED follows.
 */
enum qcow2blk_event {
	QCOW2BLK_EVENT_ATTACHED = 1,
	QCOW2BLK_EVENT_DETACHED,
	QCOW2BLK_EVENT_ERROR,
	QCOW2BLK_EVENT_ENOSPC,
	QCOW2BLK_EVENT_STOPPED,
	QCOW2BLK_EVENT_BITMAPS,
	QCOW2BLK_EVENT_RESIZED,
	QCOW2BLK_EVENT_KEPT,
	QCOW2BLK_EVENT_LOST,
};

#endif /* _UAPI_LINUX_QCOW2BLK_H */
