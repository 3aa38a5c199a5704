/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Mutants of valid images. A mutant is named by a seed and a number and comes out
 * the same everywhere, so a case is two numbers and a corpus.
 */
#ifndef FUZZ_MUTATOR_H
#define FUZZ_MUTATOR_H

#include <stdio.h>

#include "qcow2_format.h"

/**
 * struct mutator - an image in memory, and what was changed in it
 * @name: of the file it was read from.
 * @data: the image, with the mutant's edits.
 * @len: bytes in the mutant (an edit may cut the file).
 * @what: the edits in words.
 */
struct mutator {
	char *name;
	u8 *data;
	size_t len;
	char what[512];

	/* private */
	size_t whole_len;
	struct qcow2_header h;
	u64 *l2_tables;
	size_t l2_table_count;
	struct {
		size_t off;
		u8 old;
	} *undo;
	size_t undo_count;
	u64 random;
};

/* Read a valid image of at most 1 MiB. Return: 0, or -1 after a message on stderr. */
int mutator_load(struct mutator *m, const char *path);
void mutator_free(struct mutator *m);

/* Turn the image into mutant @number of @seed; and back into itself. */
void mutator_apply(struct mutator *m, u64 seed, u64 number);
void mutator_undo(struct mutator *m);

/* One edit more: let an L2 entry point to metadata, as if to a cluster that may be written. */
void mutator_aim(struct mutator *m);

#endif
