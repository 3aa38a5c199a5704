// SPDX-License-Identifier: GPL-2.0-or-later
#include "attach.h"
#include "chain.h"
#include "command.h"
#include "device.h"
#include "key.h"
#include "module.h"
#include "nl.h"
#include "node.h"
#include "output.h"
#include "size.h"
#include "throwaway.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct attach_options {
	struct qcow2_chain_policy policy;
	bool top_only;
	struct qcow2_nl_device device;
	struct qcow2_key_files key_files;
	struct qcow2_nl_key keys[QCOW2BLK_MAX_LAYERS];
	const char *image;
	enum qcow2blk_format format;
	bool temporary;
	const char *temporary_dir;
	int temporary_fd;
	char *temporary_name;
	bool json;
	bool untold;
	bool unnamed;
};

enum {
	OPT_BACKING_DIR = 256,
	OPT_ALLOW_BACKING,
	OPT_BACKING_FORMAT,
	OPT_KEY_FILE,
	OPT_DATA_FILE,
	OPT_DIRECT_IO,
	OPT_CACHE_SIZE,
	OPT_DISCARD,
	OPT_LOAD_SNAPSHOT,
	OPT_NO_PARTSCAN,
	OPT_DEVICE,
	OPT_NAME,
	OPT_ACTIVATE,
	OPT_REPAIR,
	OPT_TEMPORARY,
	OPT_JSON,
};

static const struct option long_options[] = {
	{ "read-only", no_argument, NULL, 'r' },
	{ "format", required_argument, NULL, 'f' },
	{ "backing-dir", required_argument, NULL, OPT_BACKING_DIR },
	{ "allow-backing", no_argument, NULL, OPT_ALLOW_BACKING },
	{ "backing-format", required_argument, NULL, OPT_BACKING_FORMAT },
	{ "key-file", required_argument, NULL, OPT_KEY_FILE },
	{ "data-file", required_argument, NULL, OPT_DATA_FILE },
	{ "direct-io", required_argument, NULL, OPT_DIRECT_IO },
	{ "cache-size", required_argument, NULL, OPT_CACHE_SIZE },
	{ "discard", required_argument, NULL, OPT_DISCARD },
	{ "load-snapshot", required_argument, NULL, OPT_LOAD_SNAPSHOT },
	{ "no-partscan", no_argument, NULL, OPT_NO_PARTSCAN },
	{ "device", required_argument, NULL, OPT_DEVICE },
	{ "name", required_argument, NULL, OPT_NAME },
	{ "activate", no_argument, NULL, OPT_ACTIVATE },
	{ "repair", no_argument, NULL, OPT_REPAIR },
	{ "temporary", optional_argument, NULL, OPT_TEMPORARY },
	{ "json", no_argument, NULL, OPT_JSON },
	{ }
};

static int bad_value(const char *option, const char *value, const char *want)
{
	return qcow2_error_usage("attach", "--%s '%s': %s", option, value, want);
}

static int set_format(struct attach_options *o, const char *value)
{
	int format = qcow2_chain_parse_format(value);

	if (format == QCOW2_CHAIN_FORMAT_UNKNOWN)
		return bad_value("format", value, "qcow2 and raw are known");
	o->format = format;
	return 0;
}

static int set_backing_format(struct attach_options *o, const char *value)
{
	unsigned long layer;
	int format;
	char *end;

	layer = strtoul(value, &end, 10);
	format = *end == '=' ? qcow2_chain_parse_format(end + 1) : QCOW2_CHAIN_FORMAT_UNKNOWN;
	if (value[0] < '0' || value[0] > '9' || !layer || layer >= QCOW2BLK_MAX_LAYERS ||
	    format == QCOW2_CHAIN_FORMAT_UNKNOWN)
		return bad_value("backing-format", value,
				 "LAYER=qcow2 or LAYER=raw; LAYER 1 is the image's backing file, 2 that one's");
	o->policy.backing_format[layer] = format;
	return 0;
}

static int set_direct_io(struct attach_options *o, const char *value)
{
	static const char *const modes[] = {
		[QCOW2BLK_DIRECT_IO_AUTO] = "auto",
		[QCOW2BLK_DIRECT_IO_ON] = "on",
		[QCOW2BLK_DIRECT_IO_OFF] = "off",
	};
	unsigned int i;

	for (i = 0; i < sizeof(modes) / sizeof(*modes); i++) {
		if (!strcmp(value, modes[i])) {
			o->device.direct_io = i;
			return 0;
		}
	}
	return bad_value("direct-io", value, "auto, on and off are known");
}

static int set_cache_size(struct attach_options *o, const char *value)
{
	if (!qcow2_size_parse(value, &o->device.cache_size) || !o->device.cache_size)
		return bad_value("cache-size", value,
				 "a number of bytes, with K, M, G or T for powers of 1024");
	return 0;
}

static int set_discard(struct attach_options *o, const char *value)
{
	o->device.flags &= ~QCOW2BLK_F_NO_DISCARD;
	if (!strcmp(value, "ignore"))
		o->device.flags |= QCOW2BLK_F_NO_DISCARD;
	else if (strcmp(value, "unmap"))
		return bad_value("discard", value, "unmap and ignore are known");
	return 0;
}

static int set_option(struct attach_options *o, int opt, const char *value)
{
	struct qcow2_error err;

	switch (opt) {
	case 'r':
		o->device.flags |= QCOW2BLK_F_READ_ONLY;
		return 0;
	case 'f':
		return set_format(o, value);
	case OPT_BACKING_DIR:
		if (qcow2_chain_policy_allow_dir(&o->policy, value, &err))
			return qcow2_error_print(&err);
		return 0;
	case OPT_ALLOW_BACKING:
		o->policy.anywhere = true;
		return 0;
	case OPT_BACKING_FORMAT:
		return set_backing_format(o, value);
	case OPT_KEY_FILE:
		return qcow2_key_files_add(&o->key_files, "attach", value);
	case OPT_DATA_FILE:
		return qcow2_chain_policy_set_data_file(&o->policy, "attach", value);
	case OPT_DIRECT_IO:
		return set_direct_io(o, value);
	case OPT_CACHE_SIZE:
		return set_cache_size(o, value);
	case OPT_DISCARD:
		return set_discard(o, value);
	case OPT_LOAD_SNAPSHOT:
		o->device.snapshot = (char *)value;
		return 0;
	case OPT_NO_PARTSCAN:
		o->device.flags |= QCOW2BLK_F_NO_PARTSCAN;
		return 0;
	case OPT_DEVICE:
		if (!qcow2_node_parse(value, &o->device.index))
			return bad_value("device", value, "a name like qcow0 is wanted");
		return 0;
	case OPT_NAME:
		o->device.name = (char *)value;
		return 0;
	case OPT_ACTIVATE:
		o->device.flags |= QCOW2BLK_F_ACTIVATE;
		return 0;
	case OPT_REPAIR:
		o->policy.repair = true;
		return 0;
	case OPT_TEMPORARY:
		o->temporary = true;
		o->temporary_dir = value;
		o->device.flags |= QCOW2BLK_F_TEMPORARY;
		return 0;
	case OPT_JSON:
		o->json = true;
		return 0;
	default:
		return qcow2_error_usage("attach", NULL);
	}
}

static int parse_options(struct attach_options *o, int argc, char **argv)
{
	int opt, ret;

	while ((opt = getopt_long(argc, argv, "rf:", long_options, NULL)) != -1) {
		ret = set_option(o, opt, optarg);
		if (ret)
			return ret;
	}
	if (argc - optind != !o->unnamed)
		return qcow2_error_usage("attach", "give one IMAGE");
	o->image = argv[optind];
	if (o->device.snapshot && !(o->device.flags & QCOW2BLK_F_READ_ONLY))
		return qcow2_error_usage("attach",
					 "--load-snapshot needs -r: a snapshot is not written");
	if (o->temporary && (o->policy.repair || o->device.flags & QCOW2BLK_F_READ_ONLY))
		return qcow2_error_usage("attach",
					 "--temporary: the image is not written, but the device can be: neither -r nor --repair goes with that");
	o->policy.writable = !o->temporary && !(o->device.flags & QCOW2BLK_F_READ_ONLY);
	if (o->policy.repair && !o->policy.writable)
		return qcow2_error_usage("attach", "--repair writes the image, which -r forbids");
	return 0;
}

/* Options for layers that there are not. */
static int check_layers(const struct qcow2_chain *chain, const struct qcow2_chain_policy *policy,
			struct qcow2_error *err)
{
	bool format;
	unsigned int i;

	for (i = chain->depth; i < QCOW2BLK_MAX_LAYERS; i++) {
		format = policy->backing_format[i] != QCOW2_CHAIN_FORMAT_UNKNOWN;
		if (format || policy->data_file[i])
			return qcow2_error_set(err, QCOW2_EXIT_USAGE, chain->layer[0].name,
					       "there is no layer %u, as --%s says: the last one is %u",
					       i, format ? "backing-format" : "data-file",
					       chain->depth - 1);
	}
	return 0;
}

/* The device that has the image, whose files will do for its snapshots too. */
static int find_parent(struct attach_options *o, struct qcow2_error *err)
{
	struct qcow2_devices devices;
	struct stat st;
	unsigned int i;
	int ret;

	if (!o->device.snapshot || stat(o->image, &st))
		return 0;
	ret = qcow2_devices_read(&devices, err);
	for (i = 0; !ret && i < devices.count; i++)
		if (qcow2_device_is_of(&devices.list[i], &st))
			o->device.parent = devices.list[i].index;
	o->device.layers[0].name = o->image;
	qcow2_devices_free(&devices);
	return ret;
}

static void explain_lock(const struct qcow2_layer *layer, struct qcow2_error *err)
{
	qcow2_device_explain_lock(layer, ", or attach it read-only with -r", err);
}

/* What is written goes to a file of its own, which becomes the top. */
static int add_temporary(struct attach_options *o, const struct qcow2_chain *chain,
			 struct qcow2_error *err)
{
	const struct qcow2_layer *layer;
	int ret;

	if (chain->depth == QCOW2BLK_MAX_LAYERS)
		return qcow2_error_set(err, QCOW2_EXIT_FAILED, o->image,
				       "the chain has %u layers, and --temporary would be one too many",
				       chain->depth);
	for (layer = chain->layer; layer < chain->layer + chain->depth; layer++)
		if (!o->temporary_dir && layer->format == QCOW2BLK_FORMAT_QCOW2 &&
		    layer->image.header.crypt_method != QCOW2_CRYPT_NONE)
			return qcow2_error_set(err, QCOW2_EXIT_FAILED, layer->name,
					       "it is encrypted, and what is written would not be; --temporary=DIR puts it where that does no harm, such as on a tmpfs without swap");
	ret = qcow2_throwaway_create(o->temporary_dir, &chain->layer[0], &o->temporary_fd,
				     &o->temporary_name, err);
	o->device.layers[0] = (struct qcow2_nl_layer) {
		.fd = o->temporary_fd, .name = o->temporary_name,
		.format = QCOW2BLK_FORMAT_QCOW2,
	};
	return ret;
}

static void set_layers(struct attach_options *o, const struct qcow2_chain *chain)
{
	struct qcow2_nl_layer *l = &o->device.layers[o->temporary];
	unsigned int i;

	o->device.nr_layers = chain->depth + o->temporary;
	for (i = 0; i < chain->depth; i++, l++) {
		l->fd = chain->layer[i].fd;
		l->has_data = chain->layer[i].data;
		if (chain->layer[i].data)
			l->data_fd = chain->layer[i].data->fd;
		l->format = chain->layer[i].format;
		l->name = chain->layer[i].name;
		l->key = &o->keys[i];
	}
}

static int open_chain(struct attach_options *o, struct qcow2_chain *chain,
		      struct qcow2_error *err)
{
	int ret;

	memset(chain, 0, sizeof(*chain));
	ret = find_parent(o, err);
	if (ret || o->device.parent != QCOW2_NL_ANY_INDEX)
		return ret;
	ret = qcow2_chain_open_top(chain, o->image, o->format, &o->policy, err);
	if (!ret && !o->top_only)
		ret = qcow2_chain_open_backing(chain, &o->policy, err) ?:
		      check_layers(chain, &o->policy, err);
	ret = ret ?: qcow2_key_check(chain, &o->key_files, err);
	if (!ret && o->temporary)
		ret = add_temporary(o, chain, err);
	set_layers(o, chain);
	return ret;
}

/* Layer @on lies on a qcow device: is that made of a layer of this very chain? */
static int check_stack(const struct qcow2_chain *chain, const struct qcow2_layer *on,
		       const struct qcow2_nl_device *device, struct qcow2_error *err)
{
	char path[QCOW2_NODE_NAME_LEN];
	unsigned int i;

	for (i = 0; i < chain->depth; i++)
		if (qcow2_device_has(device, &chain->layer[i].st) ||
		    (chain->layer[i].data && qcow2_device_has(device, &chain->layer[i].data->st)))
			return qcow2_error_set(err, QCOW2_EXIT_FAILED, on->name,
					       "it is stored on %s, which is made of %s of the same chain; move it",
					       qcow2_node_path(device->index, path),
					       chain->layer[i].name);
	return 0;
}

/* Likewise of a file, which may be none of ours. */
static int check_file(const struct qcow2_chain *chain, const struct qcow2_layer *file,
		      struct qcow2_devices *devices, struct qcow2_error *err)
{
	const struct qcow2_nl_device *device;
	int index, ret = 0;

	if (!file || !qcow2_node_is_on(S_ISBLK(file->st.st_mode) ? file->st.st_rdev :
				       file->st.st_dev, &index))
		return 0;
	if (!devices->nl)
		ret = qcow2_devices_read(devices, err);
	device = qcow2_devices_by_index(devices, index);
	return ret || !device ? ret : check_stack(chain, file, device, err);
}

/* A layer that is stored on a device of its own chain is refused. */
static int check_stacks(const struct qcow2_chain *chain, struct qcow2_error *err)
{
	struct qcow2_devices devices = { };
	const struct qcow2_layer *layer;
	int ret = 0;

	for (layer = chain->layer; layer < chain->layer + chain->depth && !ret; layer++)
		ret = check_file(chain, layer, &devices, err) ?:
		      check_file(chain, layer->data, &devices, err);
	qcow2_devices_free(&devices);
	return ret;
}

/* All that must be there when the command returns: nodes, partitions, udev's links. */
static int make_usable(const struct attach_options *o, uint64_t since, struct qcow2_error *err)
{
	int index = o->device.index;
	int ret;

	ret = qcow2_node_wait(index, err);
	if (!ret && !(o->device.flags & QCOW2BLK_F_NO_PARTSCAN))
		ret = qcow2_node_scan_partitions(index, err);
	if (!ret)
		qcow2_node_settle(index, since);
	return ret;
}

int qcow2_attach_undo(struct qcow2_nl *nl, int index)
{
	uint64_t end = qcow2_node_now() + 3000000ULL;
	char path[QCOW2_NODE_NAME_LEN];
	struct qcow2_error err;
	int error;

	do
		qcow2_nl_detach(nl, index, 0, &error, &err);
	while (error == EBUSY && qcow2_node_nap(end));
	if (error)
		qcow2_error_warn(qcow2_node_path(index, path), "it stays attached: %s",
				 strerror(error));
	return error;
}

static int print_device(const struct attach_options *o, struct qcow2_error *err)
{
	const struct qcow2_nl_device *device;
	char path[QCOW2_NODE_NAME_LEN];
	struct qcow2_devices devices;
	int ret;

	qcow2_node_path(o->device.index, path);
	if (!o->json) {
		puts(path);
		return 0;
	}
	ret = qcow2_devices_read(&devices, err);
	device = qcow2_devices_by_index(&devices, o->device.index);
	if (!ret && !device)
		ret = qcow2_error_set(err, QCOW2_EXIT_FAILED, path,
				      "it was detached again by another process");
	if (!ret)
		qcow2_output_json(qcow2_device_json(device));
	qcow2_devices_free(&devices);
	return ret;
}

/* A device that nobody gets to know of is of no use. */
static int tell(const struct attach_options *o, struct qcow2_error *err)
{
	int ret = o->untold ? 0 : print_device(o, err);

	if (!ret && (fflush(stdout) || ferror(stdout)))
		ret = qcow2_error_set(err, QCOW2_EXIT_FAILED, NULL,
				      "cannot write to standard output: %s", strerror(errno));
	clearerr(stdout);
	return ret;
}

/* All that a disk of the image needs. */
static int get_ready(struct attach_options *o, struct qcow2_chain *chain, struct qcow2_nl **nl,
		     struct qcow2_error *err)
{
	*nl = NULL;
	return open_chain(o, chain, err) ?: check_stacks(chain, err) ?:
	       qcow2_module_connect(nl, err) ?:
	       qcow2_key_unlock(chain, &o->key_files, o->keys, err);
}

static int attach(struct attach_options *o, struct qcow2_error *err)
{
	uint64_t since = qcow2_node_now();
	struct qcow2_chain chain;
	struct qcow2_nl *nl;
	int ret;

	ret = get_ready(o, &chain, &nl, err) ?: qcow2_nl_attach(nl, &o->device, err);
	explicit_bzero(o->keys, sizeof(o->keys));
	if (!ret) {
		/* A device that is not wholly there is not left behind. */
		ret = make_usable(o, since, err) ?: tell(o, err);
		if (ret)
			qcow2_attach_undo(nl, o->device.index);
	}
	qcow2_nl_close(nl);
	qcow2_chain_close(&chain);
	if (o->temporary_fd >= 0)
		close(o->temporary_fd);
	free(o->temporary_name);
	return ret;
}

static void explain_temporary_lock(const struct qcow2_layer *layer, struct qcow2_error *err)
{
	qcow2_device_explain_lock(layer, "", err);
}

int qcow2_attach_unseen(const char *image, const struct qcow2_chain_policy *policy, bool top_only,
			const struct qcow2_key_files *key_files, struct qcow2_nl **nl, int *index,
			sigset_t *before, struct qcow2_error *err)
{
	struct attach_options o = {
		.device.index = QCOW2_NL_ANY_INDEX,
		.device.parent = QCOW2_NL_ANY_INDEX,
		.device.flags = QCOW2BLK_F_NO_PARTSCAN,
		.format = QCOW2BLK_FORMAT_QCOW2,
		.image = image,
		.key_files = *key_files,
		.policy = *policy,
		.top_only = top_only,
		.temporary_fd = -1,
	};
	struct qcow2_chain chain;
	sigset_t all;
	int ret;

	o.policy.attach = true;
	o.policy.temporary = true;
	o.policy.writable = true;
	o.policy.explain_lock = explain_temporary_lock;
	ret = get_ready(&o, &chain, nl, err);
	/* What comes before, mending the image, may take long. */
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, before);
	ret = ret ?: qcow2_nl_attach(*nl, &o.device, err);
	explicit_bzero(o.keys, sizeof(o.keys));
	*index = o.device.index;
	qcow2_chain_close(&chain);
	return ret;
}

/* @index: (out) the device, which is not printed then; or NULL. */
static int attach_by_options(int argc, char **argv, int *index)
{
	struct attach_options o = {
		.untold = index,
		.device.index = QCOW2_NL_ANY_INDEX,
		.device.parent = QCOW2_NL_ANY_INDEX,
		.format = QCOW2BLK_FORMAT_QCOW2,
		.temporary_fd = -1,
	};
	struct qcow2_error err;
	int ret;

	qcow2_chain_policy_init(&o.policy);
	o.policy.attach = true;
	o.policy.explain_lock = explain_lock;
	ret = parse_options(&o, argc, argv);
	if (!ret && attach(&o, &err))
		ret = qcow2_error_print(&err);
	if (index)
		*index = o.device.index;
	qcow2_chain_policy_free(&o.policy);
	return ret;
}

int qcow2_attach_by_options(int argc, char **argv, int *index)
{
	/* From the start, also where the program has parsed options of its own. */
	optind = 0;
	return attach_by_options(argc, argv, index);
}

int qcow2_attach_check_options(int argc, char **argv)
{
	struct attach_options o = { .unnamed = true };
	int ret;

	optind = 0;
	qcow2_chain_policy_init(&o.policy);
	ret = parse_options(&o, argc, argv);
	qcow2_chain_policy_free(&o.policy);
	return ret;
}

static int run(int argc, char **argv)
{
	return attach_by_options(argc, argv, NULL);
}

const struct qcow2_command qcow2_command_attach = {
	.name = "attach",
	.usage = "[OPTION]... IMAGE",
	.summary = "Attach an image and print its device",
	.help =
		"Prints the path of the device, /dev/qcowN, when the device, its partitions and\n"
		"udev's links are there. Loads the module if need be. Only the image itself is\n"
		"ever written, never its backing files, and no other program may have it open\n"
		"meanwhile. What is written survives a power failure once it was flushed, as with\n"
		"any disk; detach flushes.\n"
		"\n"
		"  -r, --read-only          the device cannot be written; the only way for images that\n"
		"                           lie on a read-only file system or are being read by others\n"
		"  --temporary[=DIR]        what is written is lost at detach: it goes to a temporary\n"
		"                           file without a name in DIR ($TMPDIR, else /var/tmp), and\n"
		"                           the image is only read, as with -r\n"
		"  --repair                 check the image first and mend it, if need be with qemu-img\n"
		"                           check -r all; for one that is marked corrupt. A dirty one\n"
		"                           (not closed cleanly) has its refcounts rebuilt anyway\n"
		"  -f, --format FORMAT      qcow2 (the default) or raw; never guessed\n"
		"  --backing-dir DIR        backing files may lie below DIR, not only below the\n"
		"                           image's own directory; may be given several times. An\n"
		"                           image on a block device has none: /dev does not count\n"
		"  --allow-backing          backing files may lie anywhere\n"
		"  --backing-format LAYER=FORMAT\n"
		"                           format of a backing file that its overlay does not\n"
		"                           name; LAYER 1 is the image's backing file\n"
		"  --key-file FILE          the passphrase of an encrypted image is the content of FILE;\n"
		"                           - is standard input; else it is asked for on the terminal\n"
		"  --key-file LAYER=FILE    likewise of a backing file, or, LAYER 0, of the image\n"
		"  --data-file [LAYER=]FILE the file that holds the data of an image with an external\n"
		"                           data file, where the image does not name it, or another\n"
		"                           than that; a name in an image is relative to the image\n"
		"  --direct-io auto|on|off  read image files past the page cache: where possible\n"
		"                           (the default), always or fail, never\n"
		"  --cache-size SIZE        bytes of table cache; K, M, G, T for powers of 1024;\n"
		"                           default: enough for the whole disk, up to 32M\n"
		"  --discard unmap|ignore   what a discard (fstrim) does: gives the clusters and their\n"
		"                           space back (the default), nothing\n"
		"  --load-snapshot NAME     show what this snapshot of the image holds, a name or an\n"
		"                           ID, with -r; also while the image is attached: it stays\n"
		"                           so until this device is detached\n"
		"  --no-partscan            no partitions\n"
		"  --name NAME              udev makes a link /dev/qcow2/NAME, and /dev/qcow2/NAME-part1\n"
		"                           to partitions; no two devices have the same name\n"
		"  --activate               volume groups, RAID arrays and the like that are found on it\n"
		"                           may be activated as on other disks; they are not, else,\n"
		"                           for they are the guest's\n"
		"  --device qcowN           this device, not the first free one\n"
		"  --json                   print all about the device as a JSON object\n",
	.run = run,
};
