// SPDX-License-Identifier: GPL-2.0-or-later
#include "mend.h"
#include "repair.h"

#include <stdio.h>

static bool has(const struct qcow2_layer *layer, u64 feature)
{
	return layer->image.header.incompatible_features & feature;
}

/* The first fault that counting does not mend. */
static void note_worst(void *data, enum qcow2_fault_kind kind, u64 where, const char *what)
{
	char *worst = data;

	(void)where;
	if (kind == QCOW2_FAULT_STRUCTURE && !worst[0])
		snprintf(worst, 256, "%s", what);
}

static int refuse_structure(const struct qcow2_layer *layer, bool tried, const char *worst,
			    struct qcow2_error *err)
{
	if (tried)
		return qcow2_error_set(err, QCOW2_EXIT_FAILED, layer->name,
				       "qemu-img check -r all did not mend it: %s; -r attaches it read-only",
				       worst);
	return qcow2_error_set(err, QCOW2_EXIT_FAILED, layer->name,
			       "the image is dirty (not closed cleanly), and not only its refcounts are wrong: %s; attach --repair may mend it, -r attaches it read-only",
			       worst);
}

/* What qemu-img has done is checked like anything else. */
static int check_again(struct qcow2_layer *layer, struct qcow2_checker *c, char *worst,
		       struct qcow2_error *err)
{
	struct qcow2_progress *progress = c->progress;

	qcow2_checker_free(c);
	*c = (struct qcow2_checker) {
		.progress = progress, .report = note_worst, .data = worst,
	};
	worst[0] = '\0';
	return qcow2_repair_by_qemu(layer, err) ?: qcow2_repair_check(layer, c, err);
}

static int mend_image(struct qcow2_layer *layer, bool repair, struct qcow2_checker *c, char *worst,
		      struct qcow2_error *err)
{
	bool tried = false;
	int ret = qcow2_repair_check(layer, c, err);

	if (!ret && c->found[QCOW2_FAULT_STRUCTURE] && repair) {
		qcow2_progress_end(c->progress);
		qcow2_error_warn(layer->name, "%s; qemu-img check -r all tries to mend it", worst);
		tried = true;
		ret = check_again(layer, c, worst, err);
	}
	if (!ret && c->found[QCOW2_FAULT_STRUCTURE])
		ret = refuse_structure(layer, tried, worst, err);
	return ret ?: qcow2_repair(layer, c, err);
}

static void tell(const struct qcow2_layer *layer, bool was_dirty, const struct qcow2_checker *c)
{
	u64 corrected = qcow2_checker_corruptions(c), freed = c->found[QCOW2_FAULT_LEAK];

	if (was_dirty || corrected || freed)
		qcow2_error_warn(layer->name,
				 "%s%llu refcounts and flags were corrected, %llu leaked clusters freed",
				 was_dirty ? "the image was dirty (not closed cleanly): " : "",
				 corrected, freed);
}

int qcow2_mend_before_writing(struct qcow2_layer *layer, bool repair, struct qcow2_error *err)
{
	bool dirty = has(layer, QCOW2_INCOMPAT_DIRTY);
	struct qcow2_progress progress;
	char worst[256] = "";
	struct qcow2_checker c = {
		.progress = &progress, .report = note_worst, .data = worst,
	};
	int ret;

	if (has(layer, QCOW2_INCOMPAT_CORRUPT) && !repair)
		return qcow2_error_set(err, QCOW2_EXIT_FAILED, layer->name,
				       "the image is marked corrupt, so it is not written; attach --repair mends it where that is possible, -r attaches it read-only");
	if (!dirty && !repair)
		return 0;
	qcow2_progress_begin(&progress, layer->name, dirty ? "rebuilding refcounts" : "checking");
	ret = mend_image(layer, repair, &c, worst, err);
	qcow2_progress_end(&progress);
	if (!ret)
		tell(layer, dirty, &c);
	qcow2_checker_free(&c);
	return ret;
}
