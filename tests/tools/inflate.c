// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * inflate zlib|zstd FILE SECONDS
 *
 * Compress FILE in clusters of 64 KiB, as qemu-img does, and decompress them from memory, over
 * and over, in one thread. Prints KiB a second.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zlib.h>
#include <zstd.h>

#include "rig.h"

#define CLUSTER	65536

struct cluster {
	size_t len;
	void *data;
};

/* -1 where it got no smaller: such clusters are not compressed in an image either. */
static ssize_t deflate_cluster(const void *src, void *dst)
{
	z_stream z = {
		.next_in = (void *)src, .avail_in = CLUSTER,
		.next_out = dst, .avail_out = CLUSTER,
	};
	int err;

	if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY) != Z_OK)
		die("deflateInit2 failed");
	err = deflate(&z, Z_FINISH);
	deflateEnd(&z);
	return err == Z_STREAM_END ? (ssize_t)z.total_out : -1;
}

static void inflate_cluster(const struct cluster *c, void *dst)
{
	z_stream z = {
		.next_in = c->data, .avail_in = c->len,
		.next_out = dst, .avail_out = CLUSTER,
	};

	if (inflateInit2(&z, -12) != Z_OK || inflate(&z, Z_FINISH) != Z_STREAM_END)
		die("inflate failed");
	inflateEnd(&z);
}

static ssize_t zstd_compress_cluster(const void *src, void *dst)
{
	size_t len = ZSTD_compress(dst, CLUSTER, src, CLUSTER, ZSTD_CLEVEL_DEFAULT);

	return ZSTD_isError(len) ? -1 : (ssize_t)len;
}

static void zstd_decompress_cluster(const struct cluster *c, void *dst)
{
	static ZSTD_DCtx *ctx;

	if (!ctx)
		ctx = ZSTD_createDCtx();
	if (ZSTD_decompressDCtx(ctx, dst, CLUSTER, c->data, c->len) != CLUSTER)
		die("zstd failed");
}

static size_t load(const char *name, bool zstd, struct cluster **clusters)
{
	static unsigned char plain[CLUSTER], packed[CLUSTER];
	FILE *f = fopen(name, "r");
	struct cluster *c = NULL;
	size_t n = 0;
	ssize_t len;

	if (!f)
		die("%s: cannot be opened", name);
	while (fread(plain, CLUSTER, 1, f) == 1) {
		len = zstd ? zstd_compress_cluster(plain, packed) : deflate_cluster(plain, packed);
		if (len < 0)
			continue;
		c = realloc(c, (n + 1) * sizeof(*c));
		c[n].len = len;
		c[n].data = memcpy(malloc(len), packed, len);
		n++;
	}
	fclose(f);
	if (!n)
		die("%s: nothing to compress", name);
	*clusters = c;
	return n;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	static unsigned char plain[CLUSTER];
	struct cluster *clusters;
	double start, seconds;
	size_t n, done = 0;
	bool zstd;

	if (argc != 4)
		die("usage: inflate zlib|zstd FILE SECONDS");
	zstd = !strcmp(argv[1], "zstd");
	seconds = atof(argv[3]);
	n = load(argv[2], zstd, &clusters);
	start = now();
	do {
		const struct cluster *c = &clusters[done++ % n];

		if (zstd)
			zstd_decompress_cluster(c, plain);
		else
			inflate_cluster(c, plain);
	} while (now() - start < seconds);
	printf("%.0f\n", done * (CLUSTER / 1024) / (now() - start));
	return 0;
}
