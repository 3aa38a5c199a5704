// SPDX-License-Identifier: GPL-2.0-or-later
#include "repair.h"
#include "lock.h"
#include "rebuild.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* An image as qemu-img gets it. */
#define SPELLED_LEN	320

/* What a program that writes the image may leave as it is. */
#define KNOWN_AUTOCLEAR	(QCOW2_AUTOCLEAR_BITMAPS | QCOW2_AUTOCLEAR_DATA_FILE_RAW)

int qcow2_repair_check(const struct qcow2_layer *layer, struct qcow2_checker *c,
		       struct qcow2_error *err)
{
	c->fd = layer->fd;
	c->file = layer->name;
	c->file_size = layer->file_size;
	c->image = &layer->image;
	return qcow2_checker_run(c, err);
}

/* The header and the size of the file, after they have changed. */
static int read_again(struct qcow2_layer *layer, struct qcow2_error *err)
{
	layer->file_size = lseek(layer->fd, 0, SEEK_END);
	qcow2_image_free(&layer->image);
	return qcow2_image_read(layer->fd, layer->file_size, layer->name, &layer->image, err);
}

/* --- feature bits -------------------------------------------------------------------------- */

static bool is_dirty(const struct qcow2_layer *layer)
{
	return layer->image.header.incompatible_features & QCOW2_INCOMPAT_DIRTY;
}

/* The three fields lie in one sector; version 2 has none of them. */
static int set_features(struct qcow2_layer *layer, uint64_t incompatible, struct qcow2_error *err)
{
	struct qcow2_header *h = &layer->image.header;
	uint64_t autoclear = h->autoclear_features & KNOWN_AUTOCLEAR;
	const __be64 fields[] = {
		htobe64(incompatible), htobe64(h->compatible_features), htobe64(autoclear),
	};

	if (h->version < 3 || (h->incompatible_features == incompatible &&
			       h->autoclear_features == autoclear))
		return 0;
	h->incompatible_features = incompatible;
	h->autoclear_features = autoclear;
	return qcow2_image_pwrite(layer->fd, layer->name, fields, sizeof(fields),
				  offsetof(struct qcow2_disk_header, incompatible_features),
				  err) ?:
	       qcow2_image_fsync(layer->fd, layer->name, err);
}

static int mark_good(struct qcow2_layer *layer, struct qcow2_error *err)
{
	return set_features(layer, layer->image.header.incompatible_features &
			    ~(QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT), err);
}

/* --- leaks --------------------------------------------------------------------------------- */

/* Return: a refcount of the block was too high. */
static bool lower_block(const struct qcow2_checker *c, void *block, uint64_t first)
{
	uint32_t order = c->image->header.refcount_order;
	uint64_t i, n = qcow2_checker_refcounts(c), end = qcow2_refs_end(c->refs);
	bool changed = false;

	for (i = 0; i < n; i++) {
		uint64_t count = first + i < end ? qcow2_refs_count(c->refs, first + i) : 0;

		if (qcow2_refcount_get(block, order, i) <= count)
			continue;
		qcow2_refcount_set(block, order, i, count);
		changed = true;
	}
	return changed;
}

static int lower_blocks(const struct qcow2_checker *c, void *block, struct qcow2_error *err)
{
	uint32_t len = c->image->header.cluster_size, i;

	for (i = 0; i < c->reftable_entries; i++) {
		ssize_t n;

		if (!c->reftable[i])
			continue;
		n = qcow2_image_pread(c->fd, block, len, c->reftable[i]);
		if (n < 0)
			return qcow2_error_set(err, QCOW2_EXIT_FAILED, c->file,
					       "cannot read it: %s", strerror(-n));
		memset((char *)block + n, 0, len - n);
		if (lower_block(c, block, i * qcow2_checker_refcounts(c)) &&
		    qcow2_image_pwrite(c->fd, c->file, block, len, c->reftable[i], err))
			return QCOW2_EXIT_FAILED;
	}
	return qcow2_image_fsync(c->fd, c->file, err);
}

static int lower_refcounts(const struct qcow2_checker *c, struct qcow2_error *err)
{
	void *block = malloc(c->image->header.cluster_size);
	int ret;

	if (!block)
		qcow2_error_nomem();
	ret = lower_blocks(c, block, err);
	free(block);
	return ret;
}

/* Space that nothing uses any more; a file system that cannot take it keeps it. */
static void give_back(const struct qcow2_checker *c, const struct qcow2_refs *now)
{
	uint32_t bits = c->image->header.cluster_bits;
	size_t i;

	for (i = 0; i < c->nr_leaked; i++) {
		uint64_t first = c->leaked[i].first, end = first + c->leaked[i].count;

		while (first < end) {
			uint64_t used = qcow2_refs_next(now, first);
			uint64_t last = used < end ? used : end;

			if (first < last &&
			    fallocate(c->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				      first << bits, (last - first) << bits))
				return;
			first = last + 1;
		}
	}
}

static int mend_leaks(struct qcow2_layer *layer, const struct qcow2_checker *c,
		      struct qcow2_error *err)
{
	int ret = set_features(layer, layer->image.header.incompatible_features, err);

	if (!ret && c->found[QCOW2_FAULT_LEAK]) {
		ret = lower_refcounts(c, err);
		if (!ret)
			give_back(c, c->refs);
	}
	return ret ?: mark_good(layer, err);
}

/* --- anything that counting mends ----------------------------------------------------------- */

static int mend_refcounts(struct qcow2_layer *layer, const struct qcow2_checker *c,
			  struct qcow2_error *err)
{
	if (c->found[QCOW2_FAULT_REFCOUNT] || c->found[QCOW2_FAULT_REFCOUNT_TABLE])
		return qcow2_rebuild_refcounts(c, err) ?: read_again(layer, err);
	return c->found[QCOW2_FAULT_LEAK] ? lower_refcounts(c, err) : 0;
}

/* Refcounts are right now: flags follow them. The check that does it is also the proof. */
static int mend_flags(struct qcow2_layer *layer, const struct qcow2_checker *before,
		      struct qcow2_error *err)
{
	struct qcow2_checker c = { .fix_copied = true, .progress = before->progress };
	int ret = qcow2_repair_check(layer, &c, err);

	if (!ret && (qcow2_checker_corruptions(&c) || c.found[QCOW2_FAULT_LEAK]))
		ret = qcow2_error_set(err, QCOW2_EXIT_FAILED, layer->name,
				      "its refcounts were written anew and are wrong again; is somebody else writing it?");
	ret = ret ?: qcow2_image_fsync(layer->fd, layer->name, err) ?: mark_good(layer, err);
	if (!ret)
		give_back(before, c.refs);
	qcow2_checker_free(&c);
	return ret;
}

static int mend_all(struct qcow2_layer *layer, const struct qcow2_checker *c,
		    struct qcow2_error *err)
{
	return set_features(layer, layer->image.header.incompatible_features |
			    QCOW2_INCOMPAT_DIRTY, err) ?:
	       mend_refcounts(layer, c, err) ?:
	       mend_flags(layer, c, err);
}

int qcow2_repair(struct qcow2_layer *layer, const struct qcow2_checker *c,
		 struct qcow2_error *err)
{
	if (c->found[QCOW2_FAULT_STRUCTURE])
		return qcow2_error_set(err, QCOW2_EXIT_FAILED, layer->name,
				       "more is wrong than refcounts and flags");
	if (is_dirty(layer) || qcow2_checker_corruptions(c) || c->lowered)
		return mend_all(layer, c, err);
	return mend_leaks(layer, c, err);
}

/* --- what only guessing mends --------------------------------------------------------------- */

/*
 * For QEMU the image is alone: what it names as its backing file or data file may be anything. A
 * check reads neither, only that there is a data file matters. The image is the one that is open
 * here, whatever lies at its path by now.
 */
static void spell_image(const struct qcow2_layer *layer, int fd, char text[static SPELLED_LEN])
{
	char data[128] = "";

	if (qcow2_has_data_file(&layer->image.header))
		snprintf(data, sizeof(data),
			 ",\"data-file\":{\"driver\":\"null-co\",\"size\":%llu}",
			 (unsigned long long)layer->image.header.size);
	snprintf(text, SPELLED_LEN,
		 "json:{\"driver\":\"qcow2\",\"backing\":null%s,\"file\":{\"driver\":\"%s\",\"filename\":\"/proc/self/fd/%d\"}}",
		 data, S_ISBLK(layer->st.st_mode) ? "host_device" : "file", fd);
}

static int run_qemu_img(const struct qcow2_layer *layer, int *status)
{
	char image[SPELLED_LEN];
	pid_t pid = fork();
	int fd;

	if (pid < 0)
		return errno;
	if (!pid) {
		dup2(STDERR_FILENO, STDOUT_FILENO);
		fd = dup(layer->fd);	/* is not closed by exec */
		if (fd < 0)
			_exit(126);
		spell_image(layer, fd, image);
		execlp("qemu-img", "qemu-img", "check", "-r", "all", image, NULL);
		_exit(errno == ENOENT ? 127 : 126);
	}
	while (waitpid(pid, status, 0) < 0)
		if (errno != EINTR)
			return errno;
	return 0;
}

int qcow2_repair_by_qemu(struct qcow2_layer *layer, struct qcow2_error *err)
{
	int error, status = 0;

	if (layer->image.header.crypt_method)
		return qcow2_error_set(err, QCOW2_EXIT_FAILED, layer->name,
				       "more is wrong than refcounts and flags, which is work for qemu-img check -r all, and that wants the passphrase: --object secret,id=s,file=FILE --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=%s",
				       layer->path);
	qcow2_lock_release(layer->fd);
	error = run_qemu_img(layer, &status);
	if (qcow2_lock_take(layer->fd, layer->name, &qcow2_lock_repairer, err))
		return QCOW2_EXIT_FAILED;
	if (error)
		return qcow2_error_set(err, QCOW2_EXIT_FAILED, layer->name,
				       "cannot run qemu-img check -r all: %s", strerror(error));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return qcow2_error_set(err, QCOW2_EXIT_FAILED, layer->name,
				       "more is wrong than refcounts and flags, which is work for qemu-img check -r all, but qemu-img is not installed");
	return read_again(layer, err);
}
