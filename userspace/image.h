/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One qcow2 image, read by the tool: its header, its strings, its snapshot table. */
#ifndef QCOW2CTL_IMAGE_H
#define QCOW2CTL_IMAGE_H

#include "error.h"
#include "qcow2_format.h"

#include <stdint.h>
#include <sys/types.h>

/**
 * struct qcow2_image - the checked header, and the bytes that it came from
 * @header: see qcow2_header_parse().
 * @buf: the first cluster, or the whole file where that is shorter.
 */
struct qcow2_image {
	struct qcow2_header header;
	void *buf;
};

/**
 * struct qcow2_snapshot - an entry of the snapshot table, in CPU byte order
 * @id: terminated; unique in the image.
 * @name: terminated; may be empty, may repeat.
 * @date_sec: when it was taken, seconds since 1970.
 * @date_nsec: and nanoseconds.
 * @vm_clock_nsec: how long the VM had run, nanoseconds.
 * @vm_state_size: bytes; 0 where the VM was off.
 * @disk_size: bytes; that of the disk then.
 * @icount: instructions run; UINT64_MAX where that was not recorded.
 * @l1_size: entries in its L1 table.
 * @l1_table_offset: where that lies.
 * @end: where the entry itself ends, from the start of the file.
 *
 * Section "Snapshots" of the specification. The numbers are as the image gives
 * them: nothing is done with them but showing.
 */
struct qcow2_snapshot {
	char *id;
	char *name;
	uint32_t date_sec;
	uint32_t date_nsec;
	uint64_t vm_clock_nsec;
	uint64_t vm_state_size;
	uint64_t disk_size;
	uint64_t icount;
	uint32_t l1_size;
	uint64_t l1_table_offset;
	uint64_t end;
};

/**
 * struct qcow2_bitmap - a persistent bitmap
 * @entry: what the directory says.
 * @name: terminated.
 */
struct qcow2_bitmap {
	struct qcow2_bitmap_entry entry;
	char *name;
};

/**
 * qcow2_image_read() - read and check the header of an image
 * @fd: the image, open for reading.
 * @file_size: bytes in it.
 * @file: its name, for the error.
 * @image: (out) to be given to qcow2_image_free(), also on error.
 * @err: (out) filled in on error.
 *
 * Return: 0 or QCOW2_EXIT_FAILED.
 */
int qcow2_image_read(int fd, uint64_t file_size, const char *file,
		     struct qcow2_image *image, struct qcow2_error *err);

/**
 * qcow2_image_free() - release what qcow2_image_read() allocated
 * @image: the image; all zeros is fine.
 */
void qcow2_image_free(struct qcow2_image *image);

/**
 * qcow2_image_check_supported() - can the module read this image?
 * @image: the image.
 * @file: its name, for the error.
 * @err: (out) filled in if not; names the feature, also an unknown one that the
 *	image's feature name table knows.
 *
 * Return: 0 or QCOW2_EXIT_FAILED.
 */
int qcow2_image_check_supported(const struct qcow2_image *image, const char *file,
				struct qcow2_error *err);

/**
 * qcow2_image_check_known() - is all of this image known, if not supported by the module?
 * @image: the image.
 * @file: its name, for the error.
 * @err: (out) filled in if there is an unknown incompatible feature.
 *
 * Return: 0 or QCOW2_EXIT_FAILED.
 */
int qcow2_image_check_known(const struct qcow2_image *image, const char *file,
			    struct qcow2_error *err);

/**
 * qcow2_image_string() - a string of the header or an extension
 * @image: the image.
 * @span: where it stands.
 * @file: the image's name, for the error.
 * @what: what the string is, for the error.
 * @text: (out) terminated, to be freed; NULL where @span is empty.
 * @err: (out) filled in on error.
 *
 * Return: 0 or QCOW2_EXIT_FAILED: a string that holds a zero byte is refused,
 * as two programs would not read the same in it.
 */
int qcow2_image_string(const struct qcow2_image *image, const struct qcow2_span *span,
		       const char *file, const char *what, char **text,
		       struct qcow2_error *err);

/**
 * qcow2_image_snapshots() - read the snapshot table
 * @image: the image.
 * @fd: its file.
 * @file_size: bytes in it.
 * @file: its name, for the error.
 * @snapshots: (out) header.nb_snapshots entries, to be given to
 *	qcow2_image_snapshots_free(); NULL where there are none or on error.
 * @err: (out) filled in on error.
 *
 * Return: 0 or QCOW2_EXIT_FAILED.
 */
int qcow2_image_snapshots(const struct qcow2_image *image, int fd, uint64_t file_size,
			  const char *file, struct qcow2_snapshot **snapshots,
			  struct qcow2_error *err);

/**
 * qcow2_image_snapshots_free() - release a snapshot table
 * @snapshots: the table or NULL.
 * @count: entries in it.
 */
void qcow2_image_snapshots_free(struct qcow2_snapshot *snapshots, uint32_t count);

/**
 * qcow2_image_bitmaps() - read the bitmap directory
 * @image: the image.
 * @fd: its file.
 * @file_size: bytes in it.
 * @file: its name, for the error.
 * @bitmaps: (out) to be given to qcow2_image_bitmaps_free(); NULL where there are none or on
 *	error.
 * @count: (out) how many.
 * @err: (out) filled in on error.
 *
 * Return: 0 or QCOW2_EXIT_FAILED.
 */
int qcow2_image_bitmaps(const struct qcow2_image *image, int fd, uint64_t file_size,
			const char *file, struct qcow2_bitmap **bitmaps, uint32_t *count,
			struct qcow2_error *err);

/**
 * qcow2_image_bitmaps_free() - release a list of bitmaps
 * @bitmaps: the list or NULL.
 * @count: how many.
 */
void qcow2_image_bitmaps_free(struct qcow2_bitmap *bitmaps, uint32_t count);

/**
 * qcow2_image_pread() - pread(2) until all is there or the file ends
 * @fd: the file.
 * @buf: where to.
 * @len: bytes wanted.
 * @off: from where.
 *
 * Return: bytes read, less than @len only at the end of the file, or a negative errno.
 */
ssize_t qcow2_image_pread(int fd, void *buf, size_t len, uint64_t off);

/**
 * qcow2_image_pwrite() - pwrite(2) until all is written
 * @fd: the file.
 * @file: its name, for the error.
 * @buf: what.
 * @len: bytes.
 * @off: where to.
 * @err: (out) filled in on error.
 *
 * Return: 0 or QCOW2_EXIT_FAILED.
 */
int qcow2_image_pwrite(int fd, const char *file, const void *buf, size_t len, uint64_t off,
		       struct qcow2_error *err);

/**
 * qcow2_image_fsync() - make what was written durable
 * @fd: the file.
 * @file: its name, for the error.
 * @err: (out) filled in on error.
 *
 * Return: 0 or QCOW2_EXIT_FAILED.
 */
int qcow2_image_fsync(int fd, const char *file, struct qcow2_error *err);

#endif /* QCOW2CTL_IMAGE_H */
