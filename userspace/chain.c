// SPDX-License-Identifier: GPL-2.0-or-later
#include "chain.h"
#include "lock.h"
#include "mend.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const char *const format_names[] = {
	[QCOW2BLK_FORMAT_QCOW2] = "qcow2",
	[QCOW2BLK_FORMAT_RAW] = "raw",
};

int qcow2_chain_parse_format(const char *text)
{
	unsigned int i;

	for (i = 0; i < sizeof(format_names) / sizeof(*format_names); i++)
		if (!strcmp(text, format_names[i]))
			return i;
	return QCOW2_CHAIN_FORMAT_UNKNOWN;
}

const char *qcow2_chain_format_name(enum qcow2blk_format format)
{
	return format < sizeof(format_names) / sizeof(*format_names) ?
		format_names[format] : "unknown";
}

void qcow2_chain_policy_init(struct qcow2_chain_policy *policy)
{
	memset(policy, 0, sizeof(*policy));
	memset(policy->backing_format, QCOW2_CHAIN_FORMAT_UNKNOWN,
	       sizeof(policy->backing_format));
}

int qcow2_chain_policy_allow_dir(struct qcow2_chain_policy *policy, const char *dir,
				 struct qcow2_error *err)
{
	char *real = realpath(dir, NULL);
	struct stat st;
	char **dirs;

	if (!real || stat(real, &st) || !S_ISDIR(st.st_mode)) {
		qcow2_error_set(err, QCOW2_EXIT_USAGE, dir, "no backing directory: %s",
				strerror(real ? ENOTDIR : errno));
		free(real);
		return QCOW2_EXIT_USAGE;
	}
	dirs = reallocarray(policy->backing_dirs, policy->nr_backing_dirs + 1, sizeof(*dirs));
	if (!dirs)
		qcow2_error_nomem();
	dirs[policy->nr_backing_dirs++] = real;
	policy->backing_dirs = dirs;
	return 0;
}

int qcow2_chain_policy_set_data_file(struct qcow2_chain_policy *policy, const char *command,
				     const char *value)
{
	unsigned long layer = 0;
	const char *file = value;
	char *end;

	if (value[0] >= '0' && value[0] <= '9') {
		layer = strtoul(value, &end, 10);
		if (*end == '=')
			file = end + 1;
		else
			layer = 0;
	}
	if (!*file || layer >= QCOW2BLK_MAX_LAYERS)
		return qcow2_error_usage(command,
					 "--data-file '%s': FILE, or LAYER=FILE for a backing file",
					 value);
	policy->data_file[layer] = file;
	return 0;
}

void qcow2_chain_policy_free(struct qcow2_chain_policy *policy)
{
	while (policy->nr_backing_dirs)
		free(policy->backing_dirs[--policy->nr_backing_dirs]);
	free(policy->backing_dirs);
	policy->backing_dirs = NULL;
}

static const char *kind_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return "a directory";
	case S_IFIFO:
		return "a FIFO";
	case S_IFSOCK:
		return "a socket";
	case S_IFCHR:
		return "a character device";
	default:
		return "no file";
	}
}

/* Where @fd really is. A file without a name, or with one that others see only, has none. */
static int real_path(int fd, struct qcow2_layer *layer, struct qcow2_error *err)
{
	char link[64], path[PATH_MAX];
	struct stat st;
	ssize_t len;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, path, sizeof(path) - 1);
	if (len < 0)
		return qcow2_error_set(err, QCOW2_EXIT_FAILED, layer->name,
				       "cannot find out where it is: %s; is /proc mounted?",
				       strerror(errno));
	path[len] = '\0';
	if (path[0] != '/' || lstat(path, &st) || st.st_dev != layer->st.st_dev ||
	    st.st_ino != layer->st.st_ino)
		return qcow2_error_set(err, QCOW2_EXIT_FAILED, layer->name,
				       "it was moved or deleted while it was opened; try again");
	layer->path = strdup(path);
	if (!layer->path)
		qcow2_error_nomem();
	return 0;
}

/* What a file is to the chain. */
enum kind { IS_TOP, IS_BACKING, IS_DATA };

static const char *const kind_names[] = {
	[IS_TOP] = "image",
	[IS_BACKING] = "backing file",
	[IS_DATA] = "data file",
};

/* Find the file and tell what it is. Nothing is opened yet: see O_PATH. */
static int look_up(struct qcow2_layer *layer, enum kind kind, struct qcow2_error *err)
{
	int fd = open(layer->name, O_PATH | O_CLOEXEC);
	int ret, usage;

	if (fd < 0) {
		usage = kind == IS_TOP && (errno == ENOENT || errno == ENOTDIR);
		return qcow2_error_set(err, usage ? QCOW2_EXIT_USAGE : QCOW2_EXIT_FAILED,
				       layer->name, "cannot open the %s: %s", kind_names[kind],
				       strerror(errno));
	}
	if (fstat(fd, &layer->st))
		ret = qcow2_error_set(err, QCOW2_EXIT_FAILED, layer->name, "cannot stat it: %s",
				      strerror(errno));
	else if (!S_ISREG(layer->st.st_mode) && !S_ISBLK(layer->st.st_mode))
		ret = qcow2_error_set(err, QCOW2_EXIT_FAILED, layer->name,
				      "it is %s; an image is a regular file or a block device",
				      kind_of(layer->st.st_mode));
	else
		ret = real_path(fd, layer, err);
	if (ret) {
		close(fd);
		return ret;
	}
	layer->fd = fd;
	return 0;
}

static int cannot_open(const struct qcow2_layer *layer, bool writable, bool attach,
		       const char *why, struct qcow2_error *err)
{
	return qcow2_error_set(err, QCOW2_EXIT_FAILED, layer->name, "cannot open it%s: %s%s",
			       writable ? " for writing" : "", why,
			       writable && attach ? "; attach it read-only with -r" : "");
}

static const char *explain_open(int error, bool writable)
{
	if (error == EBUSY && writable)
		return "it is mounted or part of another device";
	if (error == EACCES && geteuid())
		return "permission denied (try sudo)";
	return strerror(error);
}

/* Size and write protection, which stat(2) does not tell. */
static int look_at_device(struct qcow2_layer *layer, bool writable, bool attach,
			  struct qcow2_error *err)
{
	int ro = 0;

	if (ioctl(layer->fd, BLKGETSIZE64, &layer->file_size) || ioctl(layer->fd, BLKROGET, &ro))
		return qcow2_error_set(err, QCOW2_EXIT_FAILED, layer->name,
				       "cannot get its size: %s", strerror(errno));
	if (writable && ro)
		return cannot_open(layer, true, attach, "the block device is read-only", err);
	return 0;
}

int qcow2_chain_reopen(int fd, int flags)
{
	char link[64];
	int copy;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	copy = open(link, flags | O_CLOEXEC | O_NOCTTY | O_NOATIME);
	if (copy < 0 && errno == EPERM)		/* not the owner's */
		copy = open(link, flags | O_CLOEXEC | O_NOCTTY);
	return copy;
}

/* Put a descriptor for I/O in the place of the O_PATH one, for the very same file. */
static int open_file(struct qcow2_layer *layer, bool writable, bool attach,
		     struct qcow2_error *err)
{
	int flags = writable ? O_RDWR : O_RDONLY;
	int fd;

	/* Nobody mounts a block device that is written as an image, nor the other way round. */
	if (writable && S_ISBLK(layer->st.st_mode))
		flags |= O_EXCL;
	fd = qcow2_chain_reopen(layer->fd, flags);
	if (fd < 0)
		return cannot_open(layer, writable, attach, explain_open(errno, writable), err);
	close(layer->fd);
	layer->fd = fd;

	layer->file_size = layer->st.st_size;
	return S_ISBLK(layer->st.st_mode) ? look_at_device(layer, writable, attach, err) : 0;
}

/* Could the user attach it read-only instead? */
static bool stays_attached(const struct qcow2_chain_policy *policy)
{
	return policy->attach && !policy->temporary;
}

static int lock(const struct qcow2_layer *layer, bool writable,
		const struct qcow2_chain_policy *policy, struct qcow2_error *err)
{
	const struct qcow2_lock_mode *mode = &qcow2_lock_reader;
	int ret;

	if (writable)
		mode = stays_attached(policy) ? &qcow2_lock_writer : &qcow2_lock_repairer;
	ret = qcow2_lock_take(layer->fd, layer->name, mode, err);
	if (ret && policy->explain_lock)
		policy->explain_lock(layer, err);
	return ret;
}

/* Is @path below @dir? Both are real paths. */
static bool is_below(const char *path, const char *dir, size_t dir_len)
{
	while (dir_len && dir[dir_len - 1] == '/')
		dir_len--;
	return !strncmp(path, dir, dir_len) && path[dir_len] == '/';
}

/* @owner: the name of the image that names @layer. */
static int check_place(const struct qcow2_chain *chain, const struct qcow2_layer *layer,
		       enum kind kind, const char *owner,
		       const struct qcow2_chain_policy *policy, struct qcow2_error *err)
{
	const char *top = chain->layer[0].path;
	/* Beside a block device lie all the host's disks, not the image's files. */
	bool in_dev = S_ISBLK(chain->layer[0].st.st_mode);
	unsigned int i;

	if (policy->anywhere || (!in_dev && is_below(layer->path, top, strrchr(top, '/') - top)))
		return 0;
	for (i = 0; i < policy->nr_backing_dirs; i++)
		if (is_below(layer->path, policy->backing_dirs[i],
			     strlen(policy->backing_dirs[i])))
			return 0;
	return qcow2_error_set(err, QCOW2_EXIT_FAILED, owner,
			       "the %s %s lies outside the image's directory%s; --backing-dir %.*s allows that, --allow-backing any place",
			       kind_names[kind], layer->path,
			       in_dev ? " (an image on a block device has none)" : "",
			       (int)(strrchr(layer->path, '/') - layer->path ?: 1), layer->path);
}

static bool is_same(const struct stat *a, const struct stat *b)
{
	if (S_ISBLK(a->st_mode) && S_ISBLK(b->st_mode))
		return a->st_rdev == b->st_rdev;
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static int check_new(const struct qcow2_chain *chain, const struct qcow2_layer *layer,
		     struct qcow2_error *err)
{
	unsigned int i, idx = layer - chain->layer;

	for (i = 0; i < idx; i++)
		if (is_same(&chain->layer[i].st, &layer->st))
			return qcow2_error_set(err, QCOW2_EXIT_FAILED, layer[-1].name,
					       "the backing file %s is already in the chain, as layers %u and %u; the chain is a loop or names a file twice: qemu-img rebase -u mends it",
					       layer->name, i, idx);
	return 0;
}

/* The kernel looks at them, too; here is room to say which value of which one it is. */
static int check_bitmaps(const struct qcow2_layer *layer, struct qcow2_error *err)
{
	struct qcow2_bitmap *bitmaps;
	struct qcow2_error why;
	uint32_t count;

	if (qcow2_image_bitmaps(&layer->image, layer->fd, layer->file_size, layer->name, &bitmaps,
				&count, &why))
		return qcow2_error_set(err, QCOW2_EXIT_FAILED, NULL,
				       "%s; -r attaches it read-only", why.text);
	qcow2_image_bitmaps_free(bitmaps, count);
	return 0;
}

/* Is a file, an image or one with data, a data file of the chain, or the other way round? */
static int check_data_new(const struct qcow2_chain *chain, const struct qcow2_layer *layer,
			  bool is_data, struct qcow2_error *err)
{
	const struct qcow2_layer *other = chain->layer;

	for (; other < chain->layer + chain->depth; other++)
		if ((is_data && is_same(&other->st, &layer->st)) ||
		    (other->data && is_same(&other->data->st, &layer->st)))
			return qcow2_error_set(err, QCOW2_EXIT_FAILED, layer->name,
					       "this file is already in the chain, as %s or its data file",
					       other->name);
	return 0;
}

/* Refcounts that may be wrong are no base for handing out clusters; reading needs none. */
static int check_state(struct qcow2_layer *layer, bool writable,
		       const struct qcow2_chain_policy *policy, struct qcow2_error *err)
{
	uint64_t features = layer->image.header.incompatible_features;

	if (writable)
		return qcow2_mend_before_writing(layer, policy->repair, err) ?:
		       check_bitmaps(layer, err);
	if (features & QCOW2_INCOMPAT_DIRTY)
		qcow2_error_warn(layer->name, "the image is dirty (not closed cleanly); read-only use is safe, qemu-img check -r all mends it");
	if (features & QCOW2_INCOMPAT_CORRUPT)
		qcow2_error_warn(layer->name, "the image is marked corrupt; what it reads may be wrong, qemu-img check -r all may mend it");
	return 0;
}

static int read_header(struct qcow2_layer *layer, bool writable,
		       const struct qcow2_chain_policy *policy, struct qcow2_error *err)
{
	const struct qcow2_header *h = &layer->image.header;
	int ret;

	ret = qcow2_image_read(layer->fd, layer->file_size, layer->name, &layer->image, err);
	if (!ret && policy->attach)
		ret = qcow2_image_check_supported(&layer->image, layer->name, err) ?:
		      check_state(layer, writable, policy, err);
	if (!ret)
		ret = qcow2_image_string(&layer->image, &h->backing_file, layer->name,
					 "backing file name", &layer->backing_name, err);
	if (!ret)
		ret = qcow2_image_string(&layer->image, &h->backing_format, layer->name,
					 "backing file format", &layer->backing_format, err);
	if (!ret)
		ret = qcow2_image_string(&layer->image, &h->data_file, layer->name,
					 "data file name", &layer->data_name, err);
	return ret;
}

static void free_layer(struct qcow2_layer *layer)
{
	if (layer->data)
		free_layer(layer->data);
	free(layer->data);
	if (layer->fd >= 0)
		close(layer->fd);
	free(layer->name);
	free(layer->path);
	free(layer->backing_name);
	free(layer->backing_format);
	free(layer->data_name);
	qcow2_image_free(&layer->image);
}

static void drop_last(struct qcow2_chain *chain)
{
	free_layer(&chain->layer[--chain->depth]);
}

/* As QEMU does: a colon before the first slash. */
static bool has_protocol(const char *name)
{
	return name[strcspn(name, ":/")] == ':';
}

/* Where a file is that @layer calls @name. @remedy: against a name that is no path. */
static int name_path(const struct qcow2_layer *layer, const char *name, enum kind kind,
		     const char *remedy, char **path, struct qcow2_error *err)
{
	const char *slash = strrchr(layer->name, '/');
	int dir_len = slash ? slash + 1 - layer->name : 0;

	*path = NULL;
	/* QEMU drops the prefix "file:"; what follows is not joined with a directory. */
	if (!strncmp(name, "file:/", 6))
		name += 5;
	if (has_protocol(name))
		return qcow2_error_set(err, QCOW2_EXIT_FAILED, layer->name,
				       "the %s %s is not named by a plain path (%.*s names are refused); %s",
				       kind_names[kind], name, (int)strcspn(name, ":") + 1, name,
				       remedy);
	if (name[0] == '/')
		dir_len = 0;
	if (asprintf(path, "%.*s%s", dir_len, layer->name, name) < 0)
		qcow2_error_nomem();
	return 0;
}

/* The name of a layer's data file: what the user says, or else the image. */
static int data_path(const struct qcow2_layer *layer, const char *given, char **path,
		     struct qcow2_error *err)
{
	if (!given && !layer->data_name)
		return qcow2_error_set(err, QCOW2_EXIT_FAILED, layer->name,
				       "its data lie in an external data file that it does not name; give it: --data-file FILE");
	if (!given)
		return name_path(layer, layer->data_name, IS_DATA, "--data-file FILE names another",
				 path, err);
	*path = strdup(given);
	if (!*path)
		qcow2_error_nomem();
	return 0;
}

/* What open_data() has made room for. */
static int fill_data(struct qcow2_chain *chain, struct qcow2_layer *data, bool writable,
		     const struct qcow2_chain_policy *policy, struct qcow2_error *err)
{
	const struct qcow2_layer *layer = &chain->layer[chain->depth - 1];
	const char *given = policy->data_file[chain->depth - 1];
	int ret;

	ret = data_path(layer, given, &data->name, err) ?: look_up(data, IS_DATA, err);
	if (!ret && !given)
		ret = check_place(chain, data, IS_DATA, layer->name, policy, err);
	return ret ?: check_data_new(chain, data, true, err) ?:
	       open_file(data, writable, policy->attach, err) ?:
	       lock(data, writable, policy, err);
}

/* The external data file of the chain's last layer. */
static int open_data(struct qcow2_chain *chain, bool writable,
		     const struct qcow2_chain_policy *policy, struct qcow2_error *err)
{
	struct qcow2_layer *layer = &chain->layer[chain->depth - 1];
	struct qcow2_layer *data;
	int ret;

	if (layer->format != QCOW2BLK_FORMAT_QCOW2 || !qcow2_has_data_file(&layer->image.header)) {
		if (!policy->data_file[chain->depth - 1])
			return 0;
		return qcow2_error_set(err, QCOW2_EXIT_USAGE, layer->name,
				       "it has no external data file; leave out --data-file");
	}
	data = calloc(1, sizeof(*data));
	if (!data)
		qcow2_error_nomem();
	data->fd = -1;
	data->format = QCOW2BLK_FORMAT_RAW;
	ret = fill_data(chain, data, writable, policy, err);
	/* Only now: it is no file of the chain before. */
	layer->data = data;
	return ret;
}

/* Takes over @name. On error the layer is not part of the chain. */
static int add_layer(struct qcow2_chain *chain, char *name, enum qcow2blk_format format,
		     const struct qcow2_chain_policy *policy, struct qcow2_error *err)
{
	struct qcow2_layer *layer = &chain->layer[chain->depth];
	bool is_top = !chain->depth, writable = is_top && policy->writable;
	int ret;

	memset(layer, 0, sizeof(*layer));
	layer->fd = -1;
	layer->name = name;
	layer->format = format;
	chain->depth++;

	ret = look_up(layer, is_top ? IS_TOP : IS_BACKING, err);
	if (!ret && !is_top)
		ret = check_place(chain, layer, IS_BACKING, layer[-1].name, policy, err) ?:
		      check_new(chain, layer, err) ?: check_data_new(chain, layer, false, err);
	if (!ret)
		ret = open_file(layer, writable, stays_attached(policy), err);
	/* Locked before it is read: whoever writes it may change what it says. */
	if (!ret && (policy->attach || policy->check))
		ret = lock(layer, writable, policy, err);
	if (!ret && format == QCOW2BLK_FORMAT_QCOW2)
		ret = read_header(layer, writable, policy, err);
	if (!ret && policy->attach)
		ret = open_data(chain, writable, policy, err);
	if (ret)
		drop_last(chain);
	return ret;
}

int qcow2_chain_backing_path(const struct qcow2_layer *layer, char **path,
			     struct qcow2_error *err)
{
	return name_path(layer, layer->backing_name, IS_BACKING,
			 "qemu-img rebase -u -b PATH changes the name", path, err);
}

/* The format of what is below @layer: the image names it, or the user does. */
static int backing_format(const struct qcow2_layer *layer, unsigned int below,
			  const struct qcow2_chain_policy *policy, struct qcow2_error *err)
{
	int named, given = policy->backing_format[below];

	if (!layer->backing_format) {
		if (given == QCOW2_CHAIN_FORMAT_UNKNOWN)
			qcow2_error_set(err, QCOW2_EXIT_FAILED, layer->name,
					"it does not name the format of its backing file %s, and that is not guessed; give it: --backing-format %u=qcow2 or %u=raw",
					layer->backing_name, below, below);
		return given;
	}
	named = qcow2_chain_parse_format(layer->backing_format);
	if (named == QCOW2_CHAIN_FORMAT_UNKNOWN)
		qcow2_error_set(err, QCOW2_EXIT_FAILED, layer->name,
				"the format %s of its backing file %s is not supported (qcow2 and raw are); convert that: qemu-img convert -O qcow2",
				layer->backing_format, layer->backing_name);
	else if (given != QCOW2_CHAIN_FORMAT_UNKNOWN && given != named) {
		qcow2_error_set(err, QCOW2_EXIT_FAILED, layer->name,
				"it names the format of its backing file itself, %s; leave out --backing-format %u=%s",
				layer->backing_format, below, qcow2_chain_format_name(given));
		return QCOW2_CHAIN_FORMAT_UNKNOWN;
	}
	return named;
}

int qcow2_chain_open_top(struct qcow2_chain *chain, const char *name,
			 enum qcow2blk_format format,
			 const struct qcow2_chain_policy *policy, struct qcow2_error *err)
{
	char *copy = strdup(name);

	if (!copy)
		qcow2_error_nomem();
	chain->depth = 0;
	return add_layer(chain, copy, format, policy, err);
}

int qcow2_chain_open_backing(struct qcow2_chain *chain,
			     const struct qcow2_chain_policy *policy,
			     struct qcow2_error *err)
{
	const struct qcow2_layer *layer = &chain->layer[chain->depth - 1];
	char *path;
	int format;
	int ret;

	for (; layer->backing_name; layer++) {
		if (chain->depth == QCOW2BLK_MAX_LAYERS)
			return qcow2_error_set(err, QCOW2_EXIT_FAILED, layer->name,
					       "it has a backing file, but is layer %u already and %u are the most; qemu-img rebase or commit makes the chain shorter",
					       chain->depth, QCOW2BLK_MAX_LAYERS);
		if (qcow2_chain_backing_path(layer, &path, err))
			return QCOW2_EXIT_FAILED;
		format = backing_format(layer, chain->depth, policy, err);
		if (format == QCOW2_CHAIN_FORMAT_UNKNOWN) {
			free(path);
			return QCOW2_EXIT_FAILED;
		}
		ret = add_layer(chain, path, format, policy, err);
		if (ret)
			return ret;
	}
	return 0;
}

void qcow2_chain_close(struct qcow2_chain *chain)
{
	while (chain->depth)
		drop_last(chain);
}
