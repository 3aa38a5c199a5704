// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * states [OPTION...] LIST
 *
 * Judge the states in which crashes may leave images, by logs of what was done to them. Prints a
 * result in KTAP for each line of LIST: NAME LOG IMAGE BASE
 *
 *	LOG	of recfs or dmlog, with the marks of workload
 *	IMAGE	the file before
 *	BASE	what lies below it, as a raw file, or -
 *
 *	--states N		so many different ones, over all logs; default 40000. At most half
 *				of them are plain prefixes of the log
 *	--seed S		which
 *	--scratch DIR		for what qemu-img shall look at, and for states that are wrong
 *	--check-every N		every Nth state is given to qemu-img check, too; 0: none
 *	--convert-every N	and to qemu-img convert
 *	--export N		write out so many of all states, drawn evenly,
 *	--export-dir DIR	there, with a list of them: NAME FILE
 *	--first			stop at the first state that is wrong
 *	--quiet			no line for a log that is fine
 *
 * Exit status: 0 all are right, 1 some are wrong, 2 it does not work.
 */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "judge.h"
#include "rig.h"
#include "second.h"

#define MOST_COMPLAINTS	3

static uint64_t states_wanted = 40000, seed = 1, export_wanted;
static unsigned int check_every = 20, convert_every = 200;
static const char *scratch = "/tmp", *export_dir;
static bool stop_at_first, quiet;

/* Over all logs. */
static uint64_t states, prefixes, checked, converted, exported, worst_leak, changing, changes;
static FILE *export_list;

/* --- states that were seen ------------------------------------------------------------------ */

static uint64_t *seen, seen_mask, seen_count;

static void see_again(uint64_t hash)
{
	uint64_t slot = hash & seen_mask;

	while (seen[slot])
		slot = (slot + 1) & seen_mask;
	seen[slot] = hash;
}

static bool is_new(uint64_t hash)
{
	uint64_t slot = hash & seen_mask;

	for (; seen && seen[slot]; slot = (slot + 1) & seen_mask) {
		if (seen[slot] == hash)
			return false;
	}
	if (!seen || seen_count * 2 > seen_mask) {
		uint64_t *old = seen, old_mask = seen_mask;

		seen_mask = old ? old_mask * 2 + 1 : 65535;
		seen = calloc(seen_mask + 1, sizeof(*seen));
		if (!seen)
			die("no memory");
		for (uint64_t i = 0; old && i <= old_mask; i++) {
			if (old[i])
				see_again(old[i]);
		}
		free(old);
	}
	see_again(hash);
	seen_count++;
	return true;
}

/* --- one log -------------------------------------------------------------------------------- */

/**
 * struct job - a line of the list
 * @points: in the log, at which there may be crashes: before each change, and before each
 *	fsync has ended.
 * @stretches: the first of them after each fsync.
 * @complaints: printed so far.
 */
struct job {
	char name[128];
	char log[1024];
	char image[1024];
	char base[1024];
	struct judge judge;
	size_t *points;
	size_t point_count;
	size_t *stretches;
	size_t stretch_count;
	uint64_t random;
	unsigned int complaints;
	uint64_t states;
	uint64_t prefixes;
};

static const char *base_of(const struct job *job)
{
	return strcmp(job->base, "-") ? job->base : NULL;
}

static void complain(struct job *job, size_t point, bool keep)
{
	char path[2048];

	if (job->complaints++ >= MOST_COMPLAINTS)
		return;
	printf("# %s, record %zu of %zu (%s): %s\n", job->name, point, job->judge.log.count,
	       job->judge.replay.words, job->judge.words);
	if (!keep)
		return;
	snprintf(path, sizeof(path), "%s/%s-%zu-%u.img", scratch, job->name, point, job->complaints);
	image_save(&job->judge.replay.state, path);
	printf("#   that state: %s\n", path);
}

static void find_points(struct job *job)
{
	const struct log *log = &job->judge.log;
	bool changed = false, ended = false;

	job->points = calloc(log->count + 1, sizeof(*job->points));
	job->stretches = calloc(log->count + 1, sizeof(*job->stretches));
	job->point_count = 0;
	job->stretch_count = 0;
	if (!job->points || !job->stretches)
		die("no memory");
	for (size_t i = 0; i <= log->count; i++) {
		bool change = i == log->count || replay_changes(&log->ops[i]);
		bool end = i < log->count && log->ops[i].type == LOG_FSYNC_END;

		if (!change && !end)
			continue;
		if (changed) {
			if (!job->point_count || ended)
				job->stretches[job->stretch_count++] = job->point_count;
			job->points[job->point_count++] = i;
		}
		changed = true;
		ended = end;
	}
}

/* An encrypted image's state has its key. */
static void link_key(const char *image, const char *path)
{
	char key[2048], link[2048 + 8];

	snprintf(key, sizeof(key), "%s.key", image);
	snprintf(link, sizeof(link), "%s.key", path);
	unlink(link);
	if (!access(key, F_OK) && symlink(key, link))
		die("%s: %m", link);
}

static void export_state(struct job *job)
{
	char path[2048];

	/* Evenly over all states. */
	if (!export_list || states * export_wanted / states_wanted <= exported)
		return;
	exported++;
	snprintf(path, sizeof(path), "%s/state-%llu.img", export_dir, (unsigned long long)exported);
	if (!image_save(&job->judge.replay.state, path))
		die("%s: %m", path);
	link_key(job->image, path);
	fprintf(export_list, "%s %s\n", job->name, path);
}

static bool second_opinion(struct job *job)
{
	struct judge *j = &job->judge;
	char path[2048];
	bool good = true;

	/* In memory: qemu-img's answer is soon there, the file's way to a disk is long. */
	snprintf(path, sizeof(path), "%s/crash-state-%d.img",
		 access("/dev/shm", W_OK) ? scratch : "/dev/shm", getpid());
	if (check_every && !(states % check_every)) {
		checked++;
		good = second_check(j, path, base_of(job));
	}
	if (good && convert_every && !(states % convert_every)) {
		converted++;
		good = second_convert(j, path, base_of(job));
	}
	return good;
}

/* Count, judge. Return: false if it is wrong. */
static bool take(struct job *job, size_t point)
{
	struct judge *j = &job->judge;
	bool good = judge_state(j, point);
	uint64_t leak = (uint64_t)j->check.leaks << j->check.header.cluster_bits;

	job->states++;
	states++;
	changing += snaps_are_changing(&j->journal, point);
	if (leak > worst_leak)
		worst_leak = leak;
	if (!good) {
		complain(job, point, true);
		return second_opinion(job) && false;
	}
	if (!second_opinion(job)) {
		complain(job, point, true);
		return false;
	}
	export_state(job);
	return true;
}

static int by_value(const void *a, const void *b)
{
	size_t x = *(const size_t *)a, y = *(const size_t *)b;

	return x < y ? -1 : x > y;
}

/* Of a random stretch between two fsyncs: short ones are where tables are written. */
static size_t draw_in_stretch(struct job *job)
{
	size_t stretch = rig_random(&job->random) % job->stretch_count;
	size_t first = job->stretches[stretch];
	size_t end = stretch + 1 < job->stretch_count ? job->stretches[stretch + 1] : job->point_count;

	return job->points[first + rig_random(&job->random) % (end - first)];
}

/* Points in ascending order, so that what is certain only grows. */
static size_t *draw_points(struct job *job, size_t count)
{
	size_t *points = calloc(count + 1, sizeof(*points));

	if (!points)
		die("no memory");
	for (size_t i = 0; i < count; i++)
		points[i] = i % 2 ? draw_in_stretch(job) :
				    job->points[rig_random(&job->random) % job->point_count];
	qsort(points, count, sizeof(*points), by_value);
	return points;
}

static bool judge_prefixes(struct job *job, uint64_t want)
{
	size_t *points;
	bool good = true;

	for (int round = 0; round < 4 && job->prefixes < want; round++) {
		size_t count = want - job->prefixes;

		points = draw_points(job, count);
		for (size_t i = 0; i < count; i++) {
			replay_prefix(&job->judge.replay, points[i]);
			if (!is_new(image_hash(&job->judge.replay.state)))
				continue;
			job->prefixes++;
			good &= take(job, points[i]);
			if (!good && stop_at_first)
				break;
		}
		free(points);
		if (!good && stop_at_first)
			break;
	}
	prefixes += job->prefixes;
	return good;
}

static bool judge_samples(struct job *job, uint64_t want)
{
	size_t *points;
	bool good = true;

	for (int round = 0; round < 6 && job->states < want; round++) {
		size_t count = (want - job->states) * 5 / 4 + 1;

		points = draw_points(job, count);
		for (size_t i = 0; i < count && job->states < want; i++) {
			if (!replay_sample(&job->judge.replay, points[i], &job->random) ||
			    !is_new(image_hash(&job->judge.replay.state)))
				continue;
			good &= take(job, points[i]);
			if (!good && stop_at_first)
				break;
		}
		free(points);
		if (!good && stop_at_first)
			break;
	}
	return good;
}

static bool is_change(const struct entry *e)
{
	return (e->name[0] || e->type == 'R') && e->done != NEVER;
}

static bool run_job(struct job *job, uint64_t want)
{
	bool good = judge_start(&job->judge, job->log, job->image, base_of(job));

	if (!good) {
		complain(job, 0, false);
	} else {
		find_points(job);
		if (job->point_count) {
			good = judge_prefixes(job, want / 2);
			if (good || !stop_at_first)
				good &= judge_samples(job, want);
		}
		if ((good || !stop_at_first) && !judge_end_state(&job->judge)) {
			complain(job, job->judge.log.count, true);
			good = false;
		}
		free(job->points);
		free(job->stretches);
	}
	for (uint32_t id = 1; id < job->judge.journal.count; id++)
		changes += is_change(&job->judge.journal.entries[id]);
	judge_end(&job->judge);
	return good;
}

/* --- the list ------------------------------------------------------------------------------- */

static struct job *load_list(const char *path, size_t *count)
{
	FILE *in = fopen(path, "r");
	struct job *jobs = NULL, job;
	char line[4096];

	if (!in)
		die("%s: %m", path);
	*count = 0;
	memset(&job, 0, sizeof(job));
	while (fgets(line, sizeof(line), in)) {
		if (sscanf(line, "%127s %1023s %1023s %1023s", job.name, job.log, job.image,
			   job.base) != 4)
			die("%s: a line of four words is wanted: %s", path, line);
		job.random = seed * 1000003 + *count;
		jobs = realloc(jobs, (*count + 1) * sizeof(*jobs));
		if (!jobs)
			die("no memory");
		jobs[(*count)++] = job;
	}
	fclose(in);
	return jobs;
}

static const struct option options[] = {
	{ "states", required_argument, NULL, 'n' },
	{ "seed", required_argument, NULL, 's' },
	{ "scratch", required_argument, NULL, 'd' },
	{ "check-every", required_argument, NULL, 'c' },
	{ "convert-every", required_argument, NULL, 'v' },
	{ "export", required_argument, NULL, 'e' },
	{ "export-dir", required_argument, NULL, 'x' },
	{ "first", no_argument, NULL, 'f' },
	{ "quiet", no_argument, NULL, 'q' },
	{ NULL, 0, NULL, 0 },
};

static void parse_options(int argc, char **argv)
{
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'n':
			states_wanted = strtoull(optarg, NULL, 0);
			break;
		case 's':
			seed = strtoull(optarg, NULL, 0);
			break;
		case 'd':
			scratch = optarg;
			break;
		case 'c':
			check_every = atoi(optarg);
			break;
		case 'v':
			convert_every = atoi(optarg);
			break;
		case 'e':
			export_wanted = strtoull(optarg, NULL, 0);
			break;
		case 'x':
			export_dir = optarg;
			break;
		case 'f':
			stop_at_first = true;
			break;
		case 'q':
			quiet = true;
			break;
		default:
			die("usage: see the head of states.c");
		}
	}
	if (optind != argc - 1)
		die("usage: states [OPTION...] LIST");
	if (export_dir) {
		char path[2048];

		snprintf(path, sizeof(path), "%s/list", export_dir);
		export_list = fopen(path, "w");
		if (!export_list)
			die("%s: %m", path);
	}
}

int main(int argc, char **argv)
{
	size_t count, bad = 0;
	struct job *jobs;

	parse_options(argc, argv);
	jobs = load_list(argv[optind], &count);
	for (size_t i = 0; i < count; i++) {
		struct job *job = &jobs[i];
		/* What one log does not give the others shall. */
		uint64_t want = (states_wanted - (states < states_wanted ? states : states_wanted)) /
				(count - i);
		bool good = run_job(job, want);

		bad += !good;
		if (!good || !quiet)
			printf("%s %zu - %s # %llu states, %llu of them prefixes\n",
			       good ? "ok" : "not ok", i + 1, job->name,
			       (unsigned long long)job->states, (unsigned long long)job->prefixes);
		fflush(stdout);
		if (!good && stop_at_first)
			break;
	}
	printf("# %llu changes of snapshots and sizes, %llu states in the middle of one\n",
	       (unsigned long long)changes, (unsigned long long)changing);
	printf("# %llu states of %zu logs, %llu of them prefixes; %llu seen by qemu-img check, %llu by convert; %llu bytes leaked at most\n",
	       (unsigned long long)states, count, (unsigned long long)prefixes,
	       (unsigned long long)checked, (unsigned long long)converted,
	       (unsigned long long)worst_leak);
	free(jobs);
	if (export_list)
		fclose(export_list);
	return bad ? 1 : 0;
}
