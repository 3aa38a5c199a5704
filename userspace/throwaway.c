// SPDX-License-Identifier: GPL-2.0-or-later
#include "throwaway.h"
#include "qcow2_format.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CLUSTER_BITS	17U
#define CLUSTER_SIZE	(1ULL << CLUSTER_BITS)
/* What an L2 table maps: entries have two words. */
#define L2_REACH	(CLUSTER_SIZE / (2 * sizeof(__be64)) << CLUSTER_BITS)

/* Clusters of the file, in order; the L1 table is last. */
enum { HEADER, REFTABLE, REFBLOCK, L1 };

/* The kernel shows the name to whoever asks what is attached: it says what becomes of the file. */
#define SUFFIX		".lost-at-detach.XXXXXX"

/* Behind the header: the base's format, no further extension, the base's name. */
static size_t put_backing(const struct qcow2_layer *base, char *cluster,
			  struct qcow2_disk_header *h)
{
	const char *format = qcow2_chain_format_name(base->format);
	struct qcow2_disk_extension ext = {
		.type = htobe32(QCOW2_EXT_BACKING_FORMAT), .length = htobe32(strlen(format)),
	};
	size_t at = sizeof(*h);

	memcpy(cluster + at, &ext, sizeof(ext));
	at += sizeof(ext);
	memcpy(cluster + at, format, strlen(format));
	at += (strlen(format) + 7) & ~7UL;
	at += sizeof(ext);	/* zeros: the end */
	h->backing_file_offset = htobe64(at);
	h->backing_file_size = htobe32(strlen(base->path));
	memcpy(cluster + at, base->path, strlen(base->path));
	return at + strlen(base->path);
}

static bool write_at(int fd, const void *buf, size_t len, uint64_t cluster)
{
	ssize_t ret = pwrite(fd, buf, len, cluster << CLUSTER_BITS);

	if (ret >= 0 && ret != (ssize_t)len)
		errno = ENOSPC;
	return ret == (ssize_t)len;
}

static bool write_header(int fd, const struct qcow2_layer *base, uint64_t size, uint64_t l1_size)
{
	char cluster[sizeof(struct qcow2_disk_header) + 64 + QCOW2_MAX_BACKING_NAME] = "";
	struct qcow2_disk_header h = {
		.magic = htobe32(QCOW2_MAGIC),
		.version = htobe32(3),
		.cluster_bits = htobe32(CLUSTER_BITS),
		.size = htobe64(size),
		.l1_size = htobe32(l1_size),
		.l1_table_offset = htobe64(L1 << CLUSTER_BITS),
		.refcount_table_offset = htobe64(REFTABLE << CLUSTER_BITS),
		.refcount_table_clusters = htobe32(1),
		.incompatible_features = htobe64(QCOW2_INCOMPAT_EXTL2),
		.refcount_order = htobe32(4),
		.header_length = htobe32(sizeof(h)),
	};
	size_t len = put_backing(base, cluster, &h);

	memcpy(cluster, &h, sizeof(h));
	return write_at(fd, cluster, len, HEADER);
}

/* A file as long as the L1 table reaches, which is a hole, and so are the tables' unused parts. */
static bool write_image(int fd, const struct qcow2_layer *base, uint64_t size)
{
	uint64_t l1_size = (size + L2_REACH - 1) / L2_REACH;
	uint64_t clusters = L1 + (l1_size * sizeof(__be64) + CLUSTER_SIZE - 1) / CLUSTER_SIZE;
	__be64 block = htobe64(REFBLOCK << CLUSTER_BITS);
	__be16 refcounts[L1 + QCOW2_MAX_L1_BYTES / CLUSTER_SIZE];
	uint64_t i;

	for (i = 0; i < clusters; i++)
		refcounts[i] = htobe16(1);
	return !ftruncate(fd, clusters << CLUSTER_BITS) &&
	       write_at(fd, refcounts, clusters * sizeof(*refcounts), REFBLOCK) &&
	       write_at(fd, &block, sizeof(block), REFTABLE) &&
	       write_header(fd, base, size, l1_size);
}

static uint64_t size_of(const struct qcow2_layer *base)
{
	uint64_t size = base->format == QCOW2BLK_FORMAT_QCOW2 ? base->image.header.size :
			base->file_size;

	return (size + QCOW2_SECTOR_SIZE - 1) & ~(uint64_t)(QCOW2_SECTOR_SIZE - 1);
}

int qcow2_throwaway_create(const char *dir, const struct qcow2_layer *base, int *fd, char **name,
			   struct qcow2_error *err)
{
	const char *slash = strrchr(base->path, '/');
	uint64_t size = size_of(base);

	*fd = -1;
	if (!dir)
		dir = getenv("TMPDIR");
	if (!dir || !*dir)
		dir = "/var/tmp";
	if (strlen(base->path) > QCOW2_MAX_BACKING_NAME)
		return qcow2_error_set(err, QCOW2_EXIT_FAILED, base->name,
				       "its path has more than %u bytes, too many for an overlay",
				       QCOW2_MAX_BACKING_NAME);
	if (size > QCOW2_MAX_L1_BYTES / sizeof(__be64) * L2_REACH)
		return qcow2_error_set(err, QCOW2_EXIT_FAILED, base->name,
				       "it is too large for a temporary overlay");
	if (asprintf(name, "%s/%.200s" SUFFIX, dir, slash ? slash + 1 : base->path) < 0)
		qcow2_error_nomem();
	*fd = mkostemp(*name, O_CLOEXEC);
	if (*fd >= 0 && !unlink(*name) && write_image(*fd, base, size))
		return 0;
	return qcow2_error_set(err, QCOW2_EXIT_FAILED, *name,
			       "cannot make a temporary file: %s; --temporary=DIR or TMPDIR names another directory",
			       strerror(errno));
}
