// SPDX-License-Identifier: GPL-2.0
/*
 * What a device is, in sysfs. See sysfs.h.
 *
 * The disk is removed, and with it these files, which waits for who reads one, before anything
 * goes that they show. A layer below the top can be replaced at any time: so each is looked at
 * once, under the devices lock, which is what replacing waits for.
 */
#include <linux/fs.h>
#include <linux/kdev_t.h>
#include <linux/slab.h>
#include <linux/stat.h>
#include <linux/string_helpers.h>

#include "device.h"
#include "sysfs.h"

static struct qcow2_device *to_qcow2(struct device *d)
{
	return container_of(dev_to_disk(d)->private_data, struct qcow2_device, disk);
}

static struct qcow2_layer *top_of(struct device *d)
{
	return to_qcow2(d)->target.chain.layers[0];
}

/* --- paths --------------------------------------------------------------------------------- */

/*
 * A path for a line of its own: newlines and backslashes as \ooo. Of what does not fit before
 * @room nothing is written. Return: bytes, or -ENOSPC.
 */
static ssize_t put_path(char *to, size_t room, const struct file *filp, char *scratch)
{
	char *path = file_path((struct file *)filp, scratch, PATH_MAX);
	int len;

	if (IS_ERR(path))
		path = "?";
	len = string_escape_mem(path, strlen(path), to, room, ESCAPE_OCTAL, "\n\\");
	return len <= room ? len : -ENOSPC;
}

static ssize_t image_show(struct device *d, struct device_attribute *attr, char *buf)
{
	char *scratch = kmalloc(PATH_MAX, GFP_KERNEL);
	ssize_t len;

	if (!scratch)
		return -ENOMEM;
	len = put_path(buf, PAGE_SIZE - 2, top_of(d)->file.filp, scratch);
	kfree(scratch);
	if (len >= 0)
		len += sysfs_emit_at(buf, len, "\n");
	return len;
}
static DEVICE_ATTR_ADMIN_RO(image);

/* A line: format, path, and that of a data file. Return: its bytes, or -ENOSPC. */
static ssize_t put_layer(char *to, size_t room, const struct qcow2_layer *l, char *scratch)
{
	const char *format = l->format == QCOW2BLK_FORMAT_QCOW2 ? "qcow2\t" : "raw\t";
	ssize_t done = strlen(format), len;

	if (room < done + 2)
		return -ENOSPC;
	memcpy(to, format, done);
	len = put_path(to + done, room - done - 1, l->file.filp, scratch);
	if (len >= 0 && qcow2_layer_has_data_file(l) && room > done + len + 2) {
		done += len;
		to[done++] = '\t';
		len = put_path(to + done, room - done - 1, l->data->filp, scratch);
	}
	if (len < 0)
		return len;
	to[done + len] = '\n';
	return done + len + 1;
}

/* A page holds no 64 paths of any length: the last line tells of those that are left out. */
static ssize_t chain_show(struct device *d, struct device_attribute *attr, char *buf)
{
	const struct qcow2_chain *chain = &to_qcow2(d)->target.chain;
	char *scratch = kmalloc(PATH_MAX, GFP_KERNEL);
	ssize_t done = 0, len;
	unsigned int i;

	if (!scratch)
		return -ENOMEM;
	qcow2_devices_lock();
	for (i = 0; i < chain->nr; i++) {
		len = put_layer(buf + done, PAGE_SIZE - sizeof("...\n") - done,
				READ_ONCE(chain->layers[i]), scratch);
		if (len < 0) {
			done += sysfs_emit_at(buf, done, "...\n");
			break;
		}
		done += len;
	}
	qcow2_devices_unlock();
	kfree(scratch);
	return done;
}
static DEVICE_ATTR_ADMIN_RO(chain);

/* --- what udev wants to know --------------------------------------------------------------- */

static ssize_t image_name_show(struct device *d, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%pD\n", top_of(d)->file.filp);
}
static DEVICE_ATTR_ADMIN_RO(image_name);

static ssize_t name_show(struct device *d, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%s\n", to_qcow2(d)->label);
}
static DEVICE_ATTR_RO(name);

static ssize_t activate_show(struct device *d, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", !!(to_qcow2(d)->flags & QCOW2BLK_F_ACTIVATE));
}
static DEVICE_ATTR_RO(activate);

/* --- what may be known ----------------------------------------------------------------------- */

/* What stat(2) says of the image file: not so the inode on btrfs, or that of a block device. */
static int stat_image(struct device *d, struct kstat *stat)
{
	return vfs_getattr(&top_of(d)->file.filp->f_path, stat, STATX_INO, AT_STATX_DONT_SYNC);
}

static ssize_t image_dev_show(struct device *d, struct device_attribute *attr, char *buf)
{
	struct kstat stat;
	int err = stat_image(d, &stat);

	return err ?: sysfs_emit(buf, "%u:%u\n", MAJOR(stat.dev), MINOR(stat.dev));
}
static DEVICE_ATTR_RO(image_dev);

static ssize_t image_ino_show(struct device *d, struct device_attribute *attr, char *buf)
{
	struct kstat stat;
	int err = stat_image(d, &stat);

	return err ?: sysfs_emit(buf, "%llu\n", stat.ino);
}
static DEVICE_ATTR_RO(image_ino);

static ssize_t format_show(struct device *d, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%s\n",
			  top_of(d)->format == QCOW2BLK_FORMAT_QCOW2 ? "qcow2" : "raw");
}
static DEVICE_ATTR_RO(format);

static ssize_t mode_show(struct device *d, struct device_attribute *attr, char *buf)
{
	u32 flags = qcow2_device_flags(to_qcow2(d));

	return sysfs_emit(buf, "%s\n", flags & QCOW2BLK_F_STOPPED ? "stopped" :
				       flags & QCOW2BLK_F_READ_ONLY ? "ro" : "rw");
}
static DEVICE_ATTR_RO(mode);

static ssize_t direct_io_show(struct device *d, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", top_of(d)->data->direct);
}
static DEVICE_ATTR_RO(direct_io);

static ssize_t layers_show(struct device *d, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", to_qcow2(d)->target.chain.nr);
}
static DEVICE_ATTR_RO(layers);

static ssize_t snapshot_show(struct device *d, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%s\n", to_qcow2(d)->snapshot);
}
static DEVICE_ATTR_RO(snapshot);

static ssize_t parent_show(struct device *d, struct device_attribute *attr, char *buf)
{
	const struct qcow2_device *parent = to_qcow2(d)->parent;

	return sysfs_emit(buf, "%s\n", parent ? parent->name : "");
}
static DEVICE_ATTR_RO(parent);

static ssize_t version_show(struct device *d, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", top_of(d)->h.version);
}
static DEVICE_ATTR_RO(version);

static ssize_t cluster_size_show(struct device *d, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", top_of(d)->h.cluster_size);
}
static DEVICE_ATTR_RO(cluster_size);

static ssize_t subcluster_size_show(struct device *d, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", top_of(d)->h.subcluster_size);
}
static DEVICE_ATTR_RO(subcluster_size);

/* Words, in this order. */
static ssize_t features_show(struct device *d, struct device_attribute *attr, char *buf)
{
	const struct qcow2_layer *l = top_of(d);
	const struct qcow2_header *h = &l->h;
	const struct {
		bool has;
		const char *word;
	} words[] = {
		{ h->subclusters > 1, "extended-l2" },
		{ h->compression_type == QCOW2_COMPRESSION_ZSTD, "zstd" },
		{ h->compatible_features & QCOW2_COMPAT_LAZY_REFCOUNTS, "lazy-refcounts" },
		{ qcow2_layer_has_data_file(l), "data-file" },
		{ h->autoclear_features & QCOW2_AUTOCLEAR_DATA_FILE_RAW, "data-file-raw" },
		{ h->autoclear_features & QCOW2_AUTOCLEAR_BITMAPS, "bitmaps" },
		{ h->crypt_method == QCOW2_CRYPT_LUKS, "luks" },
		{ h->crypt_method == QCOW2_CRYPT_AES, "aes" },
		{ h->incompatible_features & QCOW2_INCOMPAT_DIRTY, "dirty" },
		{ h->incompatible_features & QCOW2_INCOMPAT_CORRUPT, "corrupt" },
	};
	unsigned int i;
	int done = 0;

	for (i = 0; i < ARRAY_SIZE(words); i++)
		if (words[i].has)
			done += sysfs_emit_at(buf, done, "%s%s", done ? " " : "", words[i].word);
	return done + sysfs_emit_at(buf, done, "\n");
}
static DEVICE_ATTR_RO(features);

/* --- the cache of table slices --------------------------------------------------------------- */

static ssize_t cache_size_show(struct device *d, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%llu\n", READ_ONCE(to_qcow2(d)->cache_size));
}
static DEVICE_ATTR_RO(cache_size);

static ssize_t cache_used_show(struct device *d, struct device_attribute *attr, char *buf)
{
	const struct qcow2_chain *chain = &to_qcow2(d)->target.chain;
	const struct qcow2_cache *c;
	unsigned int i;
	u64 used = 0;

	qcow2_devices_lock();
	for (i = 0; i < chain->nr; i++) {
		/* A raw layer's is empty. */
		c = &READ_ONCE(chain->layers[i])->map.cache;
		used += (u64)READ_ONCE(c->nr) << c->slice_bits;
	}
	qcow2_devices_unlock();
	return sysfs_emit(buf, "%llu\n", used);
}
static DEVICE_ATTR_RO(cache_used);

static struct attribute *attrs[] = {
	&dev_attr_image.attr,
	&dev_attr_chain.attr,
	&dev_attr_image_name.attr,
	&dev_attr_name.attr,
	&dev_attr_activate.attr,
	&dev_attr_image_dev.attr,
	&dev_attr_image_ino.attr,
	&dev_attr_format.attr,
	&dev_attr_mode.attr,
	&dev_attr_direct_io.attr,
	&dev_attr_layers.attr,
	&dev_attr_snapshot.attr,
	&dev_attr_parent.attr,
	&dev_attr_cache_size.attr,
	&dev_attr_cache_used.attr,
	&dev_attr_version.attr,
	&dev_attr_cluster_size.attr,
	&dev_attr_subcluster_size.attr,
	&dev_attr_features.attr,
	NULL
};

/* A raw image has no header. */
static umode_t is_visible(struct kobject *kobj, struct attribute *attr, int i)
{
	static const struct attribute * const of_header[] = {
		&dev_attr_version.attr, &dev_attr_cluster_size.attr,
		&dev_attr_subcluster_size.attr, &dev_attr_features.attr,
	};
	bool raw = top_of(kobj_to_dev(kobj))->format == QCOW2BLK_FORMAT_RAW;
	unsigned int j;

	for (j = 0; j < ARRAY_SIZE(of_header); j++)
		if (attr == of_header[j] && raw)
			return 0;
	return attr->mode;
}

static const struct attribute_group group = {
	.name = "qcow2",
	.attrs = attrs,
	.is_visible = is_visible,
};

const struct attribute_group *qcow2_sysfs_groups[] = { &group, NULL };
