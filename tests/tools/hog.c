// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * hog FREE-MIB WORK-MIB SECONDS
 *
 * A process larger than RAM: it locks memory until FREE-MIB are available, then two threads write
 * and verify pages of WORK-MIB more, at random, for so long at least, and until half as much has gone to
 * swap. What does not fit must go there and come back as it was.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "rig.h"

#define MIB	(1ULL << 20)
#define PAGE	4096ULL
#define WORDS	(PAGE / sizeof(uint64_t))
#define THREADS	2

struct worker {
	pthread_t thread;
	uint64_t number;
	uint64_t *pages;
	uint32_t *versions;	/* of each page, how often it was written */
	uint64_t count;
	uint64_t writes;
	uint64_t wrong;
};

static time_t end;
static uint64_t swapped_before, to_swap;

/* The number behind @field and what separates them. */
static uint64_t read_field(const char *path, const char *field)
{
	FILE *in = fopen(path, "re");
	char line[256];
	unsigned long long number = 0;

	if (!in)
		die("%s: %m", path);
	while (fgets(line, sizeof(line), in)) {
		if (!strncmp(line, field, strlen(field)))
			sscanf(line + strlen(field), "%*[: ]%llu", &number);
	}
	fclose(in);
	return number;
}

static uint64_t available(void)
{
	return read_field("/proc/meminfo", "MemAvailable") << 10;
}

/* Written to swap since the machine has started. */
static uint64_t swapped(void)
{
	return read_field("/proc/vmstat", "pswpout") * PAGE;
}

/* A machine that has little time for us needs more of it. */
static bool is_over(void)
{
	return time(NULL) >= end && swapped() - swapped_before >= to_swap;
}

static void *map(uint64_t len, int flags)
{
	void *memory = mmap(NULL, len, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	if (memory == MAP_FAILED)
		die("no %llu MiB: %m", (unsigned long long)(len / MIB));
	return memory;
}

/* Not all at once: what is free already may be in use soon. */
static void lock_all_but(uint64_t free_bytes)
{
	uint64_t now, step;

	while ((now = available()) > free_bytes + 2 * MIB) {
		step = (now - free_bytes) / 2 / PAGE * PAGE;
		if (mlock(map(step, 0), step))
			die("mlock: %m");
	}
}

/* Every word of a page says which page and which version it is of. */
static void write_page(struct worker *w, uint64_t page)
{
	uint64_t value = ++w->versions[page] | page << 32;

	for (uint64_t i = 0; i < WORDS; i++)
		w->pages[page * WORDS + i] = value ^ i << 56;
	w->writes++;
}

static void check_page(struct worker *w, uint64_t page)
{
	uint64_t value = w->versions[page] | page << 32;

	for (uint64_t i = 0; i < WORDS; i++) {
		uint64_t want = w->versions[page] ? value ^ i << 56 : 0;

		if (w->pages[page * WORDS + i] != want) {
			if (!w->wrong++)
				printf("page %llu word %llu: %#llx instead of %#llx\n",
				       (unsigned long long)page, (unsigned long long)i,
				       (unsigned long long)w->pages[page * WORDS + i],
				       (unsigned long long)want);
			return;
		}
	}
}

static void *work(void *data)
{
	struct worker *w = data;
	uint64_t random = w->number;

	for (uint64_t page = 0; page < w->count; page++)
		write_page(w, page);
	for (unsigned int round = 0; round % 256 || !is_over(); round++) {
		/* Runs of pages: swap reads and writes ahead. */
		uint64_t page = rig_random(&random) % w->count;
		uint64_t nr = 1 + rig_random(&random) % 32;

		for (; nr && page < w->count; nr--, page++) {
			check_page(w, page);
			if (rig_random(&random) % 2)
				write_page(w, page);
		}
	}
	for (uint64_t page = 0; page < w->count; page++)
		check_page(w, page);
	return NULL;
}

int main(int argc, char **argv)
{
	struct worker workers[THREADS] = { };
	uint64_t bytes, wrong = 0, writes = 0;

	if (argc != 4)
		die("hog: see the head of hog.c");
	bytes = strtoull(argv[2], NULL, 0) * MIB / THREADS;
	lock_all_but(strtoull(argv[1], NULL, 0) * MIB);
	swapped_before = swapped();
	to_swap = bytes * THREADS / 2;
	end = time(NULL) + strtoul(argv[3], NULL, 0);
	for (int i = 0; i < THREADS; i++) {
		workers[i].number = i + 1;
		workers[i].count = bytes / PAGE;
		workers[i].pages = map(bytes, 0);
		workers[i].versions = map(bytes / PAGE * sizeof(uint32_t), 0);
		pthread_create(&workers[i].thread, NULL, work, &workers[i]);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		wrong += workers[i].wrong;
		writes += workers[i].writes;
	}
	printf("%llu pages written, %llu wrong, %llu MiB went to swap\n",
	       (unsigned long long)writes, (unsigned long long)wrong,
	       (unsigned long long)((swapped() - swapped_before) / MIB));
	return !!wrong;
}
