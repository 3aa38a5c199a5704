// SPDX-License-Identifier: GPL-2.0-or-later
#include "image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Enough for qcow2_header_probe(). */
#define PROBE_LEN	QCOW2_SECTOR_SIZE

/* How qcow2_header_unsupported() calls what only the feature name table can name. */
#define UNKNOWN_FEATURE	"incompatible feature bit"

ssize_t qcow2_image_pread(int fd, void *buf, size_t len, uint64_t off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, (char *)buf + done, len - done, off + done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		done += n;
	}
	return done;
}

static int cannot_write(const char *file, struct qcow2_error *err)
{
	return qcow2_error_set(err, QCOW2_EXIT_FAILED, file, "cannot write it: %s",
			       strerror(errno));
}

int qcow2_image_pwrite(int fd, const char *file, const void *buf, size_t len, uint64_t off,
		       struct qcow2_error *err)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pwrite(fd, (const char *)buf + done, len - done, off + done);

		if (n < 0 && errno != EINTR)
			return cannot_write(file, err);
		done += n < 0 ? 0 : n;
	}
	return 0;
}

int qcow2_image_fsync(int fd, const char *file, struct qcow2_error *err)
{
	return fsync(fd) ? cannot_write(file, err) : 0;
}

/* "FILE: FIELD VALUE WHY; REMEDY" */
static int refuse(const char *file, const struct qcow2_fault *fault, struct qcow2_error *err)
{
	unsigned long long value = fault->value;

	if (!strcmp(fault->field, "magic"))
		return qcow2_error_set(err, QCOW2_EXIT_FAILED, file,
				       "magic 0x%08llx %s; --format raw attaches a raw image",
				       value, fault->why);
	return qcow2_error_set(err, QCOW2_EXIT_FAILED, file,
			       "%s %llu %s; the image is damaged: restore it from a backup, or try qemu-img check -r all %s",
			       fault->field, value, fault->why, file);
}

static int cannot_read(const char *file, ssize_t error, struct qcow2_error *err)
{
	return qcow2_error_set(err, QCOW2_EXIT_FAILED, file, "cannot read it: %s",
			       strerror(-error));
}

int qcow2_image_read(int fd, uint64_t file_size, const char *file,
		     struct qcow2_image *image, struct qcow2_error *err)
{
	struct qcow2_disk_header start[PROBE_LEN / sizeof(struct qcow2_disk_header)];
	struct qcow2_fault fault;
	uint32_t cluster_size;
	ssize_t len;

	image->buf = NULL;
	len = qcow2_image_pread(fd, start, sizeof(start), 0);
	if (len < 0)
		return cannot_read(file, len, err);
	if (qcow2_header_probe(start, len, &cluster_size, &fault))
		return refuse(file, &fault, err);

	image->buf = malloc(cluster_size);
	if (!image->buf)
		qcow2_error_nomem();
	len = qcow2_image_pread(fd, image->buf, cluster_size, 0);
	if (len < 0)
		return cannot_read(file, len, err);
	if (qcow2_header_parse(image->buf, len, file_size, &image->header, &fault))
		return refuse(file, &fault, err);
	return 0;
}

void qcow2_image_free(struct qcow2_image *image)
{
	free(image->buf);
	image->buf = NULL;
}

int qcow2_image_check_supported(const struct qcow2_image *image, const char *file,
				struct qcow2_error *err)
{
	struct qcow2_fault fault;
	char name[64];

	if (!qcow2_header_unsupported(&image->header, &fault))
		return 0;
	if (strcmp(fault.field, UNKNOWN_FEATURE))
		return qcow2_error_set(err, QCOW2_EXIT_FAILED, file,
				       "%s %llu %s; convert it: qemu-img convert -O qcow2",
				       fault.field, (unsigned long long)fault.value, fault.why);
	if (!qcow2_feature_name(image->buf, &image->header, QCOW2_FEATURE_INCOMPATIBLE,
				fault.value, name))
		strcpy(name, "(the image does not name it)");
	return qcow2_error_set(err, QCOW2_EXIT_FAILED, file,
			       "%s %llu, %s, %s; a newer qcow2blk may know it", UNKNOWN_FEATURE,
			       (unsigned long long)fault.value, name, fault.why);
}

int qcow2_image_check_known(const struct qcow2_image *image, const char *file,
			    struct qcow2_error *err)
{
	struct qcow2_fault fault;

	if (!qcow2_header_unsupported(&image->header, &fault) ||
	    strcmp(fault.field, UNKNOWN_FEATURE))
		return 0;
	return qcow2_image_check_supported(image, file, err);
}

int qcow2_image_string(const struct qcow2_image *image, const struct qcow2_span *span,
		       const char *file, const char *what, char **text,
		       struct qcow2_error *err)
{
	const char *bytes = (const char *)image->buf + span->off;

	*text = NULL;
	if (!span->len)
		return 0;
	if (memchr(bytes, '\0', span->len))
		return qcow2_error_set(err, QCOW2_EXIT_FAILED, file,
				       "the %s holds a zero byte (length %u); set it again with qemu-img rebase -u",
				       what, span->len);
	*text = strndup(bytes, span->len);
	if (!*text)
		qcow2_error_nomem();
	return 0;
}
