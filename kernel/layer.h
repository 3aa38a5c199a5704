/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Layers: one image file each, qcow2 or raw, and the chain they form.
 */
#ifndef _QCOW2_LAYER_H
#define _QCOW2_LAYER_H

#include <linux/ratelimit.h>

#include "map.h"

/**
 * struct qcow2_layer - one image file of a chain
 * @name: of the device, for log lines.
 * @index: position in the chain, 0 is the top.
 * @file: the image file.
 * @format: qcow2 or raw.
 * @size: bytes, a multiple of 512. A raw file's last sector is padded with zeros.
 * @h: the header, qcow2 only.
 * @map: the mapping, qcow2 only.
 * @log_rate: of qcow2_layer_err().
 *
 * Constant while attached, but for what the map keeps behind its own locks.
 */
struct qcow2_layer {
	char name[16];
	unsigned int index;
	struct qcow2_file file;
	enum qcow2blk_format format;
	u64 size;
	struct qcow2_header h;
	struct qcow2_map map;
	struct ratelimit_state log_rate;
};

/**
 * struct qcow2_chain - the layers of a device
 * @nr: how many, 1 to QCOW2BLK_MAX_LAYERS.
 * @layers: top first.
 */
struct qcow2_chain {
	unsigned int nr;
	struct qcow2_layer *layers[QCOW2BLK_MAX_LAYERS];
};

/**
 * qcow2_layer_open() - take an image file into use
 * @name: of the device, for log lines.
 * @index: position in the chain.
 * @filp: the file; its reference is taken over on success only.
 * @format: what it is. Never guessed.
 * @mode: whether to use direct I/O.
 * @why: (out) a sentence, constant, on error.
 *
 * Parses and checks the header, refuses features that are not supported. The tables
 * are left alone: see qcow2_layer_load(). Details of a refusal go to the log.
 * Context: may sleep. Return: the layer, or ERR_PTR.
 */
struct qcow2_layer *qcow2_layer_open(const char *name, unsigned int index,
				     struct file *filp, enum qcow2blk_format format,
				     enum qcow2blk_direct_io mode, const char **why);

/** qcow2_layer_close() - close the file and free the layer. Context: may sleep. */
void qcow2_layer_close(struct qcow2_layer *l);

/**
 * qcow2_chain_load() - make all layers of a chain ready for lookups
 * @cache_bytes: room for table slices of all layers together; 0 for the default.
 * @used: (out) what was granted.
 * @why: (out) a sentence, constant, on error.
 * @bad: (out) the layer at fault, on error.
 * Context: may sleep. Return: 0 or the error of the layer at fault.
 */
int qcow2_chain_load(struct qcow2_chain *chain, u64 cache_bytes, u64 *used,
		     const char **why, unsigned int *bad);

/**
 * qcow2_chain_lookup() - where are these guest bytes, in which layer?
 * @off: guest offset, below the size of the top layer.
 * @len: bytes wanted, at least 1, within that size.
 * @may_sleep: read absent tables.
 * @ext: (out) see qcow2_map_lookup(); never UNALLOCATED: what no layer has, and what
 *	lies past the end of one, is zero. On an error, @ext->layer is the one at fault.
 *
 * A bad entry is logged. Context: any without @may_sleep.
 * Return: 0; -EAGAIN a table is absent and @may_sleep is false; -EIO.
 */
int qcow2_chain_lookup(const struct qcow2_chain *chain, u64 off, u64 len, bool may_sleep,
		       struct qcow2_extent *ext);

/* A line in the log about a layer; at most ten in five seconds for each layer. */
#define qcow2_layer_err(l, fmt, ...)						\
	do {									\
		if (__ratelimit(&(l)->log_rate))				\
			pr_err("%s: layer %u (%pD): " fmt, (l)->name,		\
			       (l)->index, (l)->file.filp, ##__VA_ARGS__);	\
	} while (0)

#endif /* _QCOW2_LAYER_H */
