// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * mutate COUNT SEED CASE-DIR IMAGE...
 *
 * Run COUNT mutants of the images through kernel/format.c, walking the tables as
 * the driver does. A mutant that makes it crash or break its word is left in
 * CASE-DIR as the file it was and a line that says which one.
 *
 * mutate --write NUMBER SEED FILE IMAGE...
 *
 * Write mutant NUMBER to FILE.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n)		((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n)	((void)(p), (void)(n))
#define __sanitizer_set_death_callback(f)	((void)(f))
#endif

#include "invariants.h"
#include "mutator.h"

static struct mutator *images, *current;
static int image_count;
static u64 current_number, current_seed;
static const char *case_dir;
static u64 valid_count, entry_count;

static void choose(u64 seed, u64 number)
{
	current = &images[number % image_count];
	current_seed = seed;
	current_number = number;
	mutator_apply(current, seed, number);
}

static int write_file(const char *path, const void *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	ssize_t done = fd < 0 ? -1 : write(fd, data, len);

	close(fd);
	return done == (ssize_t)len ? 0 : -1;
}

/* The process is about to die: no allocation, no stdio locks held by us. */
static void keep_case(void)
{
	static bool kept;
	char path[4096], line[1024];

	if (kept || !current)
		return;
	kept = true;
	mkdir(case_dir, 0755);
	snprintf(path, sizeof(path), "%s/format-%llu-%llu.qcow2", case_dir,
		 (unsigned long long)current_seed, (unsigned long long)current_number);
	ASAN_UNPOISON_MEMORY_REGION(current->data, current->whole_len);
	write_file(path, current->data, current->len);
	snprintf(line, sizeof(line), "seed %llu number %llu image %s: %s\n",
		 (unsigned long long)current_seed, (unsigned long long)current_number,
		 current->name, current->what);
	fputs(line, stderr);
	snprintf(path, sizeof(path), "%s/format-%llu-%llu.txt", case_dir,
		 (unsigned long long)current_seed, (unsigned long long)current_number);
	write_file(path, line, strlen(line));
}

static void on_signal(int number)
{
	keep_case();
	signal(number, SIG_DFL);
	raise(number);
}

static u64 entry_at(const struct mutator *m, u64 off)
{
	__be64 word;

	memcpy(&word, m->data + off, sizeof(word));
	return be64_to_cpu(word);
}

static void walk_l2(const struct mutator *m, const struct qcow2_header *h, u64 l2_off)
{
	/* Tables of a 64 KiB cluster hold mostly nothing. */
	u64 entries = 1U << h->l2_bits < 128 ? 1U << h->l2_bits : 128;
	u64 size = h->l2_entry_size;

	for (u64 off = l2_off; off < l2_off + entries * size && off + size <= m->len; off += size) {
		exercise_l2_entry(h, (struct qcow2_l2_entry) {
			entry_at(m, off), h->subclusters > 1 ? entry_at(m, off + 8) : 0,
		});
		entry_count++;
	}
}

static void walk(struct mutator *m)
{
	struct qcow2_header h;
	u32 cluster_size;
	struct qcow2_fault fault;
	size_t len = m->len;
	bool valid;

	/* The driver reads the first cluster; beyond it there is nothing to see. */
	if (!qcow2_header_probe(m->data, len, &cluster_size, &fault) && cluster_size < len)
		len = cluster_size;
	ASAN_POISON_MEMORY_REGION(m->data + len, m->whole_len - len);
	valid = exercise_header(m->data, len, m->len, &h);
	ASAN_UNPOISON_MEMORY_REGION(m->data + len, m->whole_len - len);
	if (!valid)
		return;
	valid_count++;

	for (u32 i = 0; i < h.l1_size && i < 16; i++) {
		u64 l2_off;

		exercise_l1_entry(&h, entry_at(m, h.l1_table_offset + i * 8ULL), &l2_off);
		if (l2_off)
			walk_l2(m, &h, l2_off);
	}
}

static int load(char **paths, int count)
{
	images = calloc(count, sizeof(*images));
	for (image_count = 0; image_count < count; image_count++) {
		if (mutator_load(&images[image_count], paths[image_count]))
			return -1;
	}
	return 0;
}

static int explain(void)
{
	fprintf(stderr, "usage: mutate COUNT SEED CASE-DIR IMAGE...\n"
			"       mutate --write NUMBER SEED FILE IMAGE...\n");
	return 1;
}

int main(int argc, char **argv)
{
	bool to_file = argc > 1 && !strcmp(argv[1], "--write");
	u64 count, seed;

	argv += to_file;
	argc -= to_file;
	if (argc < 5)
		return explain();
	count = strtoull(argv[1], NULL, 0);
	seed = strtoull(argv[2], NULL, 0);
	case_dir = argv[3];
	if (load(argv + 4, argc - 4))
		return 1;

	if (to_file) {
		choose(seed, count);
		fprintf(stderr, "%s: %s\n", current->name, current->what);
		return write_file(argv[3], current->data, current->len) ? 1 : 0;
	}

	__sanitizer_set_death_callback(keep_case);
	signal(SIGABRT, on_signal);
	signal(SIGSEGV, on_signal);
	for (u64 number = 0; number < count; number++) {
		choose(seed, number);
		walk(current);
		mutator_undo(current);
	}
	printf("%llu mutants of %d images, seed %llu: %llu with a valid header, %llu L2 entries\n",
	       (unsigned long long)count, image_count, (unsigned long long)seed,
	       (unsigned long long)valid_count, (unsigned long long)entry_count);
	for (int i = 0; i < image_count; i++)
		mutator_free(&images[i]);
	free(images);
	/* Mutants that never get past the header would test little. */
	return valid_count > count / 4 ? 0 : 1;
}
