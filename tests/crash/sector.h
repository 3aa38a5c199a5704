/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the rig writes into sectors: each says where it belongs, which write put it there, and in
 * which run, so that whatever turns up elsewhere, or too late, is recognised. It compresses to two
 * thirds.
 */
#ifndef CRASH_SECTOR_H
#define CRASH_SECTOR_H

#include <stdint.h>

#define SECTOR	512U

/* Versions of what was there before the workload; those of the workload count from 1. */
#define VERSION_INITIAL	0x80000000U

enum sector_kind {
	SECTOR_ZEROS,
	SECTOR_DATA,		/* one of sector_fill()'s */
	SECTOR_OTHER,
};

struct sector_id {
	uint64_t lba;
	uint32_t version;
	uint32_t run;
};

void sector_fill(void *buf, const struct sector_id *id);

/* @id is filled in for SECTOR_DATA only. */
enum sector_kind sector_identify(const void *buf, struct sector_id *id);

/* Of 512 bytes; 0 for zeros, and for nothing else that is likely. */
uint64_t sector_hash(const void *buf);

/* A sector's part of a whole file's hash, which is the exclusive or of them all. */
uint64_t sector_mix(uint64_t place, uint64_t hash);

/* What a block device is full of before the image is put on it. */
void sector_poison(void *buf);

#endif
