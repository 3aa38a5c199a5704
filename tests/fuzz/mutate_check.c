// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * mutate_check COUNT SEED CASE-DIR IMAGE...
 *
 * Run COUNT mutants of the images through the checker of qcow2ctl, and what it can mend through
 * its repair: after that a check must find nothing. One that makes it crash, takes long, or
 * is not mended is left in CASE-DIR.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#if __has_feature(address_sanitizer)
#include <sanitizer/common_interface_defs.h>
#else
#define __sanitizer_set_death_callback(f)	((void)(f))
#endif

#include "mutator.h"
#include "repair.h"

/* Seconds; each takes milliseconds. */
#define PATIENCE	20

static struct mutator *images, *current;
static int image_count;
static u64 current_number, current_seed;
static const char *case_dir;
static u64 checked, clean, leaky, corrupt, mended;

/* The process is about to die: no allocation, no stdio locks held by us. */
static void keep_case(void)
{
	char path[4096], line[1024];
	static bool kept;
	int fd;

	if (kept || !current)
		return;
	kept = true;
	mkdir(case_dir, 0755);
	snprintf(path, sizeof(path), "%s/check-%llu-%llu.qcow2", case_dir,
		 (unsigned long long)current_seed, (unsigned long long)current_number);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (write(fd, current->data, current->len) < 0)
		path[0] = '\0';
	close(fd);
	snprintf(line, sizeof(line), "seed %llu number %llu image %s: %s: left in %s\n",
		 (unsigned long long)current_seed, (unsigned long long)current_number,
		 current->name, current->what, path);
	if (write(STDERR_FILENO, line, strlen(line)) < 0)
		kept = false;
}

static void on_signal(int number)
{
	keep_case();
	signal(number, SIG_DFL);
	raise(number);
}

/* --- one mutant ----------------------------------------------------------------------------- */

static void __attribute__((noreturn)) broken(const char *what, const char *why)
{
	fprintf(stderr, "%s: %s\n", what, why);
	abort();
}

static void ignore(void *data, enum qcow2_fault_kind kind, u64 where, const char *what)
{
	u64 *faults = data;

	if (!what[0] || kind >= QCOW2_NR_FAULT_KINDS || where == ~0ULL)
		broken("a fault", "that says nothing");
	++*faults;
}

static void check_mended(const struct qcow2_layer *layer)
{
	struct qcow2_checker c = { };
	struct qcow2_error err;

	if (qcow2_repair_check(layer, &c, &err))
		broken("the check after the repair", err.text);
	if (qcow2_checker_corruptions(&c) || c.found[QCOW2_FAULT_LEAK])
		broken("the check after the repair", "finds faults");
	if (layer->image.header.incompatible_features &
	    (QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT))
		broken("the header after the repair", "is dirty or corrupt");
	mended++;
	qcow2_checker_free(&c);
}

static void check(struct qcow2_layer *layer)
{
	u64 corruptions, leaks, faults = 0;
	struct qcow2_checker c = { .report = ignore, .data = &faults };
	struct qcow2_error err;

	if (qcow2_repair_check(layer, &c, &err))
		broken("the check", err.text);
	corruptions = qcow2_checker_corruptions(&c);
	leaks = c.found[QCOW2_FAULT_LEAK];
	if (faults < corruptions || !faults != (!corruptions && !leaks))
		broken("the check", "counts other faults than it tells");
	checked++;
	corrupt += !!corruptions;
	leaky += !corruptions && leaks;
	clean += !corruptions && !leaks;
	/* It may refuse: narrow refcounts, faults behind faults. */
	if (!c.found[QCOW2_FAULT_STRUCTURE] && !qcow2_repair(layer, &c, &err))
		check_mended(layer);
	qcow2_checker_free(&c);
}

static void run(struct mutator *m, int fd)
{
	struct qcow2_layer layer = { .fd = fd, .name = m->name, .file_size = m->len };
	struct qcow2_error err;

	if (ftruncate(fd, 0) || pwrite(fd, m->data, m->len, 0) != (ssize_t)m->len)
		broken("the file", "cannot be written");
	if (!qcow2_image_read(fd, m->len, m->name, &layer.image, &err))
		check(&layer);
	qcow2_image_free(&layer.image);
}

/* --- all of them ----------------------------------------------------------------------------- */

static int load(char **paths, int count)
{
	images = calloc(count, sizeof(*images));
	for (image_count = 0; image_count < count; image_count++) {
		if (mutator_load(&images[image_count], paths[image_count]))
			return -1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	int fd = memfd_create("mutant", MFD_CLOEXEC);
	u64 count;

	if (argc < 5) {
		fprintf(stderr, "usage: mutate_check COUNT SEED CASE-DIR IMAGE...\n");
		return 1;
	}
	count = strtoull(argv[1], NULL, 0);
	current_seed = strtoull(argv[2], NULL, 0);
	case_dir = argv[3];
	if (load(argv + 4, argc - 4))
		return 1;

	__sanitizer_set_death_callback(keep_case);
	signal(SIGABRT, on_signal);
	signal(SIGSEGV, on_signal);
	signal(SIGALRM, on_signal);
	for (current_number = 0; current_number < count; current_number++) {
		current = &images[current_number % image_count];
		mutator_apply(current, current_seed, current_number);
		alarm(PATIENCE);
		run(current, fd);
		mutator_undo(current);
	}
	alarm(0);
	printf("%llu mutants of %d images, seed %llu: %llu checked: %llu clean, %llu with leaks, %llu corrupt; %llu mended\n",
	       (unsigned long long)count, image_count, (unsigned long long)current_seed,
	       (unsigned long long)checked, (unsigned long long)clean, (unsigned long long)leaky,
	       (unsigned long long)corrupt, (unsigned long long)mended);
	for (int i = 0; i < image_count; i++)
		mutator_free(&images[i]);
	free(images);
	/* Mutants that are all refused, or all fine, would test little. */
	return checked > count / 4 && corrupt > count / 20 && leaky > count / 100 ? 0 : 1;
}
