// SPDX-License-Identifier: GPL-2.0-or-later
#include "command.h"
#include "device.h"
#include "node.h"
#include "output.h"
#include "repair.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Those of qemu-img check. */
enum exit {
	EXIT_CLEAN,
	EXIT_NOT_CHECKED,
	EXIT_CORRUPT,
	EXIT_LEAKS,
	EXIT_NOT_SUPPORTED = 63,
};

/* Faults are told up to this number; all are counted. */
#define MAX_TOLD	100U

/* How often a fault of an image that is being written must be seen; so many are followed. */
#define LOOKS		4
#define MAX_FOLLOWED	16384U
#define NAP_USEC	100000

enum repair { REPAIR_NOTHING, REPAIR_LEAKS, REPAIR_ALL };

/**
 * struct seen - a fault
 * @again: it was seen in this look, too.
 */
struct seen {
	enum qcow2_fault_kind kind;
	u64 where;
	char *what;
	bool again;
};

/**
 * struct check - the command, at work
 * @seen: the first faults, in order.
 * @nr_seen: how many.
 * @corruptions: all there are, and
 * @leaks: after the last look.
 */
struct check {
	enum repair repair;
	bool json;
	struct qcow2_checker checker;
	struct qcow2_progress progress;
	struct seen seen[MAX_FOLLOWED];
	unsigned int nr_seen;
	u64 corruptions;
	u64 leaks;
	u64 corruptions_fixed;
	u64 leaks_fixed;
};

/* --- one look ------------------------------------------------------------------------------ */

static void keep(void *data, enum qcow2_fault_kind kind, u64 where, const char *what)
{
	struct check *check = data;
	struct seen *seen = &check->seen[check->nr_seen];

	if (check->nr_seen == MAX_FOLLOWED)
		return;
	*seen = (struct seen) { kind, where, strdup(what), false };
	if (!seen->what)
		qcow2_error_nomem();
	check->nr_seen++;
}

static void forget(struct check *check)
{
	while (check->nr_seen)
		free(check->seen[--check->nr_seen].what);
}

static int look(struct check *check, const struct qcow2_layer *layer, const char *what,
		void (*report)(void *data, enum qcow2_fault_kind kind, u64 where,
			       const char *text),
		struct qcow2_error *err)
{
	int ret;

	qcow2_checker_free(&check->checker);
	check->checker = (struct qcow2_checker) {
		.progress = &check->progress, .report = report, .data = check,
	};
	qcow2_progress_begin(&check->progress, layer->name, what);
	ret = qcow2_repair_check(layer, &check->checker, err);
	qcow2_progress_end(&check->progress);
	check->corruptions = qcow2_checker_corruptions(&check->checker);
	check->leaks = check->checker.found[QCOW2_FAULT_LEAK];
	return ret;
}

/* --- an image that is being written ---------------------------------------------------------- */

/*
 * Tables change under our eyes, so a look may see faults that are none. But nothing keeps a
 * place in between two states for long: what is seen in the same place each time is a fault.
 * Clusters without references are no fault at all: the device keeps some in reserve.
 */
static void see_again(void *data, enum qcow2_fault_kind kind, u64 where, const char *what)
{
	struct check *check = data;
	unsigned int i;

	(void)what;
	for (i = 0; i < check->nr_seen; i++)
		if (check->seen[i].kind == kind && check->seen[i].where == where)
			check->seen[i].again = true;
}

static void drop_others(struct check *check)
{
	unsigned int i, kept = 0;

	for (i = 0; i < check->nr_seen; i++) {
		struct seen *seen = &check->seen[i];

		if (!seen->again) {
			free(seen->what);
			continue;
		}
		seen->again = false;
		check->seen[kept++] = *seen;
	}
	check->nr_seen = kept;
}

static void keep_corruption(void *data, enum qcow2_fault_kind kind, u64 where,
			    const char *what)
{
	if (kind != QCOW2_FAULT_LEAK)
		keep(data, kind, where, what);
}

/* What was written to the device goes to the image; its tables agree then, for a moment. */
static int flush_device(const struct qcow2_nl_device *device, struct qcow2_error *err)
{
	char path[QCOW2_NODE_NAME_LEN];
	int fd, error = 0;

	if (device->flags & QCOW2BLK_F_STOPPED)
		return 0;
	fd = open(qcow2_node_path(device->index, path), O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fsync(fd))
		error = errno;
	if (fd >= 0)
		close(fd);
	return error ? qcow2_error_set(err, QCOW2_EXIT_FAILED, path, "cannot flush it: %s",
				       strerror(error)) : 0;
}

/* The header, too, may have changed, and so may the size of the file. */
static int refresh(struct qcow2_layer *layer, const struct qcow2_nl_device *device,
		   struct qcow2_error *err)
{
	int ret = flush_device(device, err);

	if (ret)
		return ret;
	posix_fadvise(layer->fd, 0, 0, POSIX_FADV_DONTNEED);
	layer->file_size = lseek(layer->fd, 0, SEEK_END);
	qcow2_image_free(&layer->image);
	return qcow2_image_read(layer->fd, layer->file_size, layer->name, &layer->image, err);
}

static int check_online(struct check *check, struct qcow2_layer *layer,
			const struct qcow2_nl_device *device, struct qcow2_error *err)
{
	int looks, ret;

	ret = refresh(layer, device, err) ?:
	      look(check, layer, "checking", keep_corruption, err);
	for (looks = 1; looks < LOOKS && check->nr_seen && !ret; looks++) {
		usleep(NAP_USEC);
		ret = refresh(layer, device, err) ?:
		      look(check, layer, "checking again", see_again, err);
		if (!ret)
			drop_others(check);
	}
	check->corruptions = check->nr_seen;
	return ret;
}

/* --- one that is not ------------------------------------------------------------------------ */

static bool is_flagged(const struct qcow2_layer *layer)
{
	return layer->image.header.incompatible_features &
	       (QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT);
}

/* May what was found be repaired, as the user wants it? */
static bool may_repair(const struct check *check, const struct qcow2_layer *layer)
{
	if (check->repair == REPAIR_NOTHING ||
	    (!check->corruptions && !check->leaks && !is_flagged(layer)))
		return false;
	if (check->repair == REPAIR_ALL ||
	    layer->image.header.incompatible_features & QCOW2_INCOMPAT_DIRTY)
		return true;
	return !check->corruptions;
}

static int repair(struct check *check, struct qcow2_layer *layer, struct qcow2_error *err)
{
	u64 corruptions = check->corruptions, leaks = check->leaks;
	int ret;

	if (!check->checker.found[QCOW2_FAULT_STRUCTURE]) {
		qcow2_progress_begin(&check->progress, layer->name, "repairing");
		ret = qcow2_repair(layer, &check->checker, err);
		qcow2_progress_end(&check->progress);
	} else if (check->repair == REPAIR_ALL) {
		ret = qcow2_repair_by_qemu(layer, err);
	} else {
		return 0;
	}
	forget(check);
	ret = ret ?: look(check, layer, "checking again", keep, err);
	if (!ret && corruptions > check->corruptions)
		check->corruptions_fixed = corruptions - check->corruptions;
	if (!ret && leaks > check->leaks)
		check->leaks_fixed = leaks - check->leaks;
	return ret;
}

static int check_offline(struct check *check, struct qcow2_layer *layer, struct qcow2_error *err)
{
	int ret = look(check, layer, "checking", keep, err);

	return !ret && may_repair(check, layer) ? repair(check, layer, err) : ret;
}

/* --- what it says --------------------------------------------------------------------------- */

static int exit_of(const struct check *check)
{
	return check->corruptions ? EXIT_CORRUPT : check->leaks ? EXIT_LEAKS : EXIT_CLEAN;
}

static struct json_object *faults_json(const struct check *check)
{
	struct json_object *list = json_object_new_array();
	unsigned int i;

	for (i = 0; i < check->nr_seen && i < MAX_TOLD; i++)
		json_object_array_add(list, qcow2_output_string(check->seen[i].what));
	return list;
}

/* The keys of qemu-img check, and some more. */
static void print_json(const struct check *check, const struct qcow2_layer *layer, bool online)
{
	struct json_object *o = json_object_new_object();

	qcow2_output_add_str(o, "filename", layer->name);
	qcow2_output_add_str(o, "format", "qcow2");
	qcow2_output_add_int(o, "check-errors", 0);
	qcow2_output_add_int(o, "image-end-offset", check->checker.image_end);
	qcow2_output_add_int(o, "corruptions", check->corruptions);
	qcow2_output_add_int(o, online ? "reserved-or-leaked" : "leaks", check->leaks);
	if (check->repair != REPAIR_NOTHING) {
		qcow2_output_add_int(o, "corruptions-fixed", check->corruptions_fixed);
		qcow2_output_add_int(o, "leaks-fixed", check->leaks_fixed);
	}
	qcow2_output_add_int(o, "total-clusters", check->checker.guest_clusters);
	qcow2_output_add_int(o, "allocated-clusters", check->checker.allocated);
	qcow2_output_add_int(o, "fragmented-clusters", check->checker.fragmented);
	qcow2_output_add_int(o, "compressed-clusters", check->checker.compressed);
	qcow2_output_add_bool(o, "dirty-flag", layer->image.header.incompatible_features &
			      QCOW2_INCOMPAT_DIRTY);
	qcow2_output_add_bool(o, "corrupt", layer->image.header.incompatible_features &
			      QCOW2_INCOMPAT_CORRUPT);
	json_object_object_add(o, "faults", faults_json(check));
	qcow2_output_json(o);
}

static void print_faults(const struct check *check)
{
	unsigned int i;

	for (i = 0; i < check->nr_seen && i < MAX_TOLD; i++) {
		qcow2_output_text(stdout, check->seen[i].what);
		putchar('\n');
	}
	if (check->nr_seen > MAX_TOLD)
		puts("... and more");
}

static void print_flags(u64 features)
{
	if (features & QCOW2_INCOMPAT_DIRTY)
		puts("The image is dirty: it was not closed cleanly, or is in use.");
	if (features & QCOW2_INCOMPAT_CORRUPT)
		puts("The image is marked corrupt.");
}

static const char *remedy(const struct check *check, const struct qcow2_layer *layer)
{
	if (check->repair == REPAIR_ALL)
		return "";
	if (!check->checker.found[QCOW2_FAULT_STRUCTURE] &&
	    layer->image.header.incompatible_features & QCOW2_INCOMPAT_DIRTY)
		return "; --repair rebuilds refcounts";
	if (check->checker.found[QCOW2_FAULT_STRUCTURE])
		return "; --repair=all tries qemu-img check -r all, or restore a backup";
	return "; --repair=all corrects refcounts and flags";
}

static void print_verdict(const struct check *check, const struct qcow2_layer *layer, bool online)
{
	char size[QCOW2_OUTPUT_SIZE_LEN];

	qcow2_output_size(check->leaks * layer->image.header.cluster_size, size);
	if (check->corruptions_fixed || check->leaks_fixed)
		printf("%llu errors were corrected, %llu leaked clusters freed.\n",
		       check->corruptions_fixed, check->leaks_fixed);
	if (check->corruptions)
		printf("%llu errors: data may be wrong, and what writes it may make it worse%s.\n",
		       check->corruptions, online ? "" : remedy(check, layer));
	if (check->leaks && online)
		printf("%llu clusters (%s) are in the device's reserve, or leaked: detach tells.\n",
		       check->leaks, size);
	else if (check->leaks)
		printf("%llu leaked clusters: %s are lost, but no data%s.\n", check->leaks,
		       size, check->corruptions ? "" : "; --repair frees them");
	if (!check->corruptions && (!check->leaks || online))
		puts("No errors were found.");
}

static double percent(u64 part, u64 whole)
{
	return whole ? 100.0 * part / whole : 0.0;
}

static void print_statistics(const struct qcow2_checker *c)
{
	printf("%llu of %llu clusters are allocated (%.2f%%)", c->allocated, c->guest_clusters,
	       percent(c->allocated, c->guest_clusters));
	printf("; of those, %.2f%% are fragmented, %.2f%% compressed.\n",
	       percent(c->fragmented, c->allocated), percent(c->compressed, c->allocated));
	printf("The image ends at %llu.\n", c->image_end);
}

static void print_text(const struct check *check, const struct qcow2_layer *layer, bool online)
{
	print_faults(check);
	print_flags(layer->image.header.incompatible_features);
	print_verdict(check, layer, online);
	print_statistics(&check->checker);
}

/* --- the command ----------------------------------------------------------------------------- */

static void explain_lock(const struct qcow2_layer *layer, struct qcow2_error *err)
{
	qcow2_device_explain_lock(layer, "", err);
}

static bool is_written(const struct qcow2_nl_device *device)
{
	return !(device->flags & QCOW2BLK_F_READ_ONLY);
}

/* The device that writes the image, by its own name or by that of the image; or NULL. */
static const struct qcow2_nl_device *find_writer(const struct qcow2_devices *devices,
						 const char *name)
{
	const struct qcow2_nl_device *device;
	struct stat st;
	unsigned int i;
	int index;

	if (qcow2_node_parse(name, &index)) {
		device = qcow2_devices_by_index(devices, index);
		return device && is_written(device) ? device : NULL;
	}
	if (stat(name, &st))
		return NULL;
	for (i = 0; i < devices->count; i++) {
		device = &devices->list[i];
		if (qcow2_device_is_of(device, &st) && is_written(device))
			return device;
	}
	return NULL;
}

/* Is there an image at all? What is none cannot be checked, but is not broken either. */
static bool is_other_format(const char *name)
{
	int fd = open(name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	__be32 magic = 0;
	bool other;

	if (fd < 0)
		return false;
	other = pread(fd, &magic, sizeof(magic), 0) >= 0 && be32toh(magic) != QCOW2_MAGIC;
	close(fd);
	return other;
}

static int check_layer(struct check *check, struct qcow2_layer *layer,
		       const struct qcow2_nl_device *writer, struct qcow2_error *err)
{
	int ret = qcow2_image_check_known(&layer->image, layer->name, err);

	if (!ret)
		ret = writer ? check_online(check, layer, writer, err) :
			       check_offline(check, layer, err);
	if (ret)
		return ret;
	(check->json ? print_json : print_text)(check, layer, writer);
	return 0;
}

static int check_image(struct check *check, const struct qcow2_devices *devices,
		       const char *name, struct qcow2_error *err)
{
	const struct qcow2_nl_device *writer = find_writer(devices, name), *device;
	struct qcow2_chain_policy policy;
	struct qcow2_chain chain;
	char path[QCOW2_NODE_NAME_LEN];
	int ret, status;

	if (writer && check->repair != REPAIR_NOTHING) {
		qcow2_error_set(err, QCOW2_EXIT_FAILED, name,
				"it is attached as %s, which writes it; detach that first",
				qcow2_node_path(writer->index, path));
		return EXIT_NOT_CHECKED;
	}
	qcow2_chain_policy_init(&policy);
	policy.check = !writer;
	policy.writable = check->repair != REPAIR_NOTHING;
	policy.explain_lock = explain_lock;
	ret = qcow2_devices_open_image(devices, name, &policy, &device, &chain, err);
	if (ret) {
		status = !device && is_other_format(name) ? EXIT_NOT_SUPPORTED : EXIT_NOT_CHECKED;
	} else if (chain.layer[0].format != QCOW2BLK_FORMAT_QCOW2) {
		qcow2_error_set(err, QCOW2_EXIT_FAILED, name, "a raw image cannot be checked");
		status = EXIT_NOT_SUPPORTED;
	} else {
		ret = check_layer(check, &chain.layer[0], writer, err);
		status = ret ? EXIT_NOT_CHECKED : exit_of(check);
		if (writer && status == EXIT_LEAKS)
			status = EXIT_CLEAN;
	}
	qcow2_chain_close(&chain);
	return status;
}

static int parse_repair(const char *value, enum repair *repair)
{
	if (!value || !strcmp(value, "leaks"))
		*repair = REPAIR_LEAKS;
	else if (!strcmp(value, "all"))
		*repair = REPAIR_ALL;
	else
		return qcow2_error_usage("check", "--repair=%s: leaks and all are known", value);
	return 0;
}

static int parse_options(struct check *check, int argc, char **argv)
{
	static const struct option options[] = {
		{ "repair", optional_argument, NULL, 'r' },
		{ "json", no_argument, NULL, 'j' },
		{ }
	};
	int opt, ret;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'j') {
			check->json = true;
			continue;
		}
		ret = opt == 'r' ? parse_repair(optarg, &check->repair) :
				   qcow2_error_usage("check", NULL);
		if (ret)
			return ret;
	}
	if (argc - optind != 1)
		return qcow2_error_usage("check", "give one IMAGE or DEVICE");
	return 0;
}

static int run(int argc, char **argv)
{
	static struct check check;
	struct qcow2_devices devices;
	struct qcow2_error err = { };
	int status;

	memset(&check, 0, sizeof(check));
	if (parse_options(&check, argc, argv))
		return EXIT_NOT_CHECKED;
	if (qcow2_devices_read(&devices, &err))
		qcow2_error_warn(NULL, "%s", err.text);
	status = check_image(&check, &devices, argv[optind], &err);
	if (status == EXIT_NOT_CHECKED || status == EXIT_NOT_SUPPORTED)
		qcow2_error_print(&err);
	forget(&check);
	qcow2_checker_free(&check.checker);
	qcow2_devices_free(&devices);
	return status;
}

const struct qcow2_command qcow2_command_check = {
	.name = "check",
	.usage = "[--repair[=leaks|all]] [--json] IMAGE|DEVICE",
	.summary = "Check that an image is consistent, and mend it",
	.help =
		"Follows all tables of the image, counts what refers to each cluster, and compares\n"
		"with the refcounts: what qemu-img check does. Backing files and data files are not\n"
		"looked at, nor is encrypted or compressed content. Needs no module; locks the image,\n"
		"so that nobody writes it meanwhile.\n"
		"\n"
		"An image that is attached and written is checked as it is: the device is flushed, and\n"
		"only what is found wrong several times in the same place is an error. Clusters that\n"
		"nothing refers to may be the device's reserve then, and are no error.\n"
		"\n"
		"  --repair, --repair=leaks free leaked clusters and give their space back; safe at any\n"
		"                           moment. If the image is dirty (not closed cleanly), all\n"
		"                           refcounts are rebuilt first\n"
		"  --repair=all             correct wrong refcounts and flags, too, if need be with\n"
		"                           qemu-img check -r all (but for encrypted images, of which\n"
		"                           that wants the passphrase). Make a copy first\n"
		"  --json                   as a JSON object, with the keys of qemu-img check\n",
	.exits =
		"0 no errors; 1 not checked: wrong usage, in use, unreadable; 2 corrupt;\n"
		"3 leaks only; 63 not a qcow2 image.",
	.run = run,
};
