// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "oracle.h"
#include "rig.h"

#define MAGIC	0x71636f7732646966ULL

/* The first words of a sector that oracle_make() made. */
struct stamp {
	uint64_t magic;
	uint64_t lba;
	uint64_t version;
};

void oracle_init(struct oracle *oracle)
{
	memset(oracle, 0, sizeof(*oracle));
	pthread_mutex_init(&oracle->lock, NULL);
	pthread_cond_init(&oracle->released, NULL);
}

void oracle_add(struct oracle *oracle, uint64_t off, uint64_t len, int fd, uint64_t fd_off)
{
	struct oracle_window *window = &oracle->windows[oracle->window_count++];

	if (oracle->window_count > ORACLE_MAX_WINDOWS)
		die("too many windows");
	window->off = off;
	window->len = len;
	window->bytes = mmap(NULL, len + !len, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (window->bytes == MAP_FAILED)
		die("no memory for an oracle of %llu bytes", (unsigned long long)len);
	if (fd >= 0 && rig_pread(fd, window->bytes, len, fd_off))
		die("an oracle cannot be read");
}

void oracle_resize(struct oracle *oracle, unsigned int number, uint64_t len)
{
	struct oracle_window *window = &oracle->windows[number];
	uint64_t old = window->len;

	window->bytes = mremap(window->bytes, old + !old, len + !len, MREMAP_MAYMOVE);
	if (window->bytes == MAP_FAILED)
		die("no memory for an oracle of %llu bytes", (unsigned long long)len);
	window->len = len;
	/* The last page may hold something from before. */
	if (len > old)
		memset(window->bytes + old, 0, len - old);
}

bool oracle_has(const struct oracle *oracle, uint64_t off, uint64_t len)
{
	for (unsigned int i = 0; i < oracle->window_count; i++) {
		const struct oracle_window *window = &oracle->windows[i];

		if (off >= window->off && off - window->off < window->len)
			return len <= window->len - (off - window->off);
	}
	return false;
}

void oracle_free(struct oracle *oracle)
{
	for (unsigned int i = 0; i < oracle->window_count; i++)
		munmap(oracle->windows[i].bytes, oracle->windows[i].len + !oracle->windows[i].len);
}

unsigned char *oracle_at(struct oracle *oracle, uint64_t off)
{
	for (unsigned int i = 0; i < oracle->window_count; i++) {
		const struct oracle_window *window = &oracle->windows[i];

		if (off >= window->off && off - window->off < window->len)
			return window->bytes + (off - window->off);
	}
	die("no oracle for offset %llu", (unsigned long long)off);
}

static bool is_free(const struct oracle *oracle, uint64_t start, uint64_t end, bool exclusive)
{
	for (unsigned int i = 0; i < ORACLE_MAX_THREADS; i++) {
		const struct oracle_claim *claim = &oracle->claims[i];

		if (claim->start < end && start < claim->end && (exclusive || claim->exclusive))
			return false;
	}
	return true;
}

void oracle_claim(struct oracle *oracle, unsigned int thread, uint64_t off, uint64_t len,
		  bool exclusive)
{
	pthread_mutex_lock(&oracle->lock);
	while (!is_free(oracle, off, off + len, exclusive))
		pthread_cond_wait(&oracle->released, &oracle->lock);
	oracle->claims[thread] = (struct oracle_claim){ off, off + len, exclusive };
	pthread_mutex_unlock(&oracle->lock);
}

void oracle_release(struct oracle *oracle, unsigned int thread)
{
	pthread_mutex_lock(&oracle->lock);
	oracle->claims[thread].end = 0;
	pthread_cond_broadcast(&oracle->released);
	pthread_mutex_unlock(&oracle->lock);
}

void oracle_make(void *buf, uint64_t off, size_t len, uint64_t version)
{
	for (size_t done = 0; done < len; done += SECTOR) {
		uint64_t lba = (off + done) / SECTOR, *words = (uint64_t *)((char *)buf + done);
		struct stamp stamp = { MAGIC, lba, version };
		uint64_t word = (lba + 1) * 0x9e3779b97f4a7c15 ^ version * 0xbf58476d1ce4e5b9;

		for (unsigned int i = sizeof(stamp) / 8; i < SECTOR / 8; i++)
			words[i] = word += 0x94d049bb133111eb;
		memcpy(words, &stamp, sizeof(stamp));
	}
}

static void describe(char *text, size_t room, const unsigned char *sector)
{
	static const unsigned char zeros[SECTOR];
	struct stamp stamp;

	memcpy(&stamp, sector, sizeof(stamp));
	if (stamp.magic == MAGIC)
		snprintf(text, room, "sector %llu of write %llx", (unsigned long long)stamp.lba,
			 (unsigned long long)stamp.version);
	else if (!memcmp(sector, zeros, SECTOR))
		snprintf(text, room, "zeros");
	else
		snprintf(text, room, "%02x%02x%02x%02x%02x%02x%02x%02x...", sector[0], sector[1],
			 sector[2], sector[3], sector[4], sector[5], sector[6], sector[7]);
}

bool oracle_compare(struct oracle *oracle, uint64_t off, const void *got, size_t len, char *what)
{
	const unsigned char *want = oracle_at(oracle, off), *first = NULL, *bytes = got;
	unsigned int wrong = 0;
	char is[64], should[64];

	if (!memcmp(want, got, len))
		return true;
	for (size_t i = 0; i < len; i += SECTOR) {
		if (!memcmp(want + i, bytes + i, SECTOR))
			continue;
		wrong++;
		if (!first)
			first = want + i;
	}
	describe(should, sizeof(should), first);
	describe(is, sizeof(is), bytes + (first - want));
	snprintf(what, 512, "sector %llu holds %s instead of %s, %u of %zu sectors wrong",
		 (unsigned long long)(off + (first - want)) / SECTOR, is, should, wrong,
		 len / SECTOR);
	return false;
}
