// SPDX-License-Identifier: GPL-2.0
/*
 * The generic netlink family. The protocol is documented in the uapi header.
 *
 * Operations run in parallel: none holds the family's mutex while it reads an
 * image file. What generic netlink holds all the same is its list of families, for
 * reading: a new family waits for an attach whose file hangs.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/capability.h>
#include <linux/crypto.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/printk.h>
#include <linux/slab.h>
#include <linux/stat.h>
#include <net/genetlink.h>

#include "device.h"
#include "netlink.h"
#include "stats.h"

static struct genl_family family;

enum { GROUP_EVENTS };

static const struct genl_multicast_group groups[] = {
	[GROUP_EVENTS] = { .name = QCOW2BLK_GENL_MCGRP_EVENTS },
};

#define ATTACH_FLAGS	(QCOW2BLK_F_READ_ONLY | QCOW2BLK_F_NO_PARTSCAN | QCOW2BLK_F_NO_DISCARD | \
			 QCOW2BLK_F_ACTIVATE | QCOW2BLK_F_TEMPORARY)

static const struct nla_policy index_policy[] = {
	[QCOW2BLK_A_INDEX]	= NLA_POLICY_MAX(NLA_U32, QCOW2BLK_MAX_INDEX),
};

static const struct nla_policy detach_policy[] = {
	[QCOW2BLK_A_INDEX]	= NLA_POLICY_MAX(NLA_U32, QCOW2BLK_MAX_INDEX),
	[QCOW2BLK_A_FLAGS]	= NLA_POLICY_MASK(NLA_U32, QCOW2BLK_F_FORCE | QCOW2BLK_F_LAZY),
};

static const struct nla_policy snapshot_policy[] = {
	[QCOW2BLK_A_INDEX]	 = NLA_POLICY_MAX(NLA_U32, QCOW2BLK_MAX_INDEX),
	[QCOW2BLK_A_FLAGS]	 = NLA_POLICY_MASK(NLA_U32, QCOW2BLK_F_FORCE),
	[QCOW2BLK_A_SNAPSHOT_OP] = NLA_POLICY_MAX(NLA_U8, QCOW2BLK_SNAPSHOT_DELETE),
	[QCOW2BLK_A_SNAPSHOT]	 = { .type = NLA_NUL_STRING, .len = QCOW2_SNAPSHOT_NAME_MAX },
};

static const struct nla_policy resize_policy[] = {
	[QCOW2BLK_A_INDEX]	= NLA_POLICY_MAX(NLA_U32, QCOW2BLK_MAX_INDEX),
	[QCOW2BLK_A_FLAGS]	= NLA_POLICY_MASK(NLA_U32, QCOW2BLK_F_SHRINK),
	[QCOW2BLK_A_SIZE]	= { .type = NLA_U64 },
};

static const struct nla_policy commit_policy[] = {
	[QCOW2BLK_A_INDEX]	= NLA_POLICY_MAX(NLA_U32, QCOW2BLK_MAX_INDEX),
	[QCOW2BLK_A_LAYERS]	= { .type = NLA_NESTED },
	[QCOW2BLK_A_COMMIT_OP]	= NLA_POLICY_MAX(NLA_U8, QCOW2BLK_COMMIT_STOP),
};

static const struct nla_policy set_policy[] = {
	[QCOW2BLK_A_INDEX]	= NLA_POLICY_MAX(NLA_U32, QCOW2BLK_MAX_INDEX),
	[QCOW2BLK_A_CACHE_SIZE]	= { .type = NLA_U64 },
};

static const struct nla_policy attach_policy[] = {
	[QCOW2BLK_A_INDEX]	= NLA_POLICY_MAX(NLA_U32, QCOW2BLK_MAX_INDEX),
	[QCOW2BLK_A_FLAGS]	= NLA_POLICY_MASK(NLA_U32, ATTACH_FLAGS),
	[QCOW2BLK_A_DIRECT_IO]	= NLA_POLICY_MAX(NLA_U8, QCOW2BLK_DIRECT_IO_OFF),
	[QCOW2BLK_A_CACHE_SIZE]	= { .type = NLA_U64 },
	[QCOW2BLK_A_LAYERS]	= { .type = NLA_NESTED },
	[QCOW2BLK_A_SNAPSHOT]	= { .type = NLA_NUL_STRING, .len = QCOW2_SNAPSHOT_NAME_MAX },
	[QCOW2BLK_A_PARENT]	= NLA_POLICY_MAX(NLA_U32, QCOW2BLK_MAX_INDEX),
	[QCOW2BLK_A_NAME]	= { .type = NLA_NUL_STRING, .len = QCOW2BLK_MAX_NAME },
};

static const struct nla_policy layer_policy[] = {
	[QCOW2BLK_A_LAYER_FD]	  = { .type = NLA_U32 },
	[QCOW2BLK_A_LAYER_FORMAT] = NLA_POLICY_MAX(NLA_U8, QCOW2BLK_FORMAT_RAW),
	[QCOW2BLK_A_LAYER_CIPHER] = { .type = NLA_NUL_STRING, .len = CRYPTO_MAX_ALG_NAME - 1 },
	[QCOW2BLK_A_LAYER_IV]	  = NLA_POLICY_MAX(NLA_U8, QCOW2BLK_IV_PLAIN),
	[QCOW2BLK_A_LAYER_KEY]	  = { .type = NLA_BINARY, .len = QCOW2BLK_MAX_KEY },
	[QCOW2BLK_A_LAYER_DATA_FD] = { .type = NLA_U32 },
};

#define LAYER_POLICY_MAX	(ARRAY_SIZE(layer_policy) - 1)

/* CAP_NET_ADMIN, which GENL_ADMIN_PERM asks for, is no right over disks. */
static bool may_change(struct sk_buff *skb)
{
	return netlink_capable(skb, CAP_SYS_ADMIN);
}

/* A refusal's sentence, constant, and the attribute to blame. */
static void blame(struct genl_info *info, const struct nlattr *nla, const char *why)
{
	if (!info->extack)
		return;
	info->extack->_msg = why;
	NL_SET_BAD_ATTR(info->extack, nla);
}

static int put_path(struct sk_buff *msg, int type, const struct qcow2_file *f, char *buf)
{
	char *path = file_path(f->filp, buf, PATH_MAX);

	return IS_ERR(path) ? 0 : nla_put_string(msg, type, path);
}

/* What a layer has of its own for its data. */
static int put_data_file(struct sk_buff *msg, const struct qcow2_layer *l, bool with_path,
			 char *buf)
{
	struct kstat stat;
	int err;

	if (!qcow2_layer_has_data_file(l))
		return 0;
	err = vfs_getattr(&l->data->filp->f_path, &stat, STATX_INO, AT_STATX_DONT_SYNC);
	if (err)
		return err;
	if ((with_path && put_path(msg, QCOW2BLK_A_LAYER_DATA_PATH, l->data, buf)) ||
	    nla_put_u32(msg, QCOW2BLK_A_LAYER_DATA_DEV, new_encode_dev(stat.dev)) ||
	    nla_put_u64_64bit(msg, QCOW2BLK_A_LAYER_DATA_INO, stat.ino, QCOW2BLK_A_LAYER_PAD))
		return -EMSGSIZE;
	return 0;
}

static int put_layer(struct sk_buff *msg, const struct qcow2_layer *l, bool with_path,
		     char *buf)
{
	struct nlattr *nest = nla_nest_start(msg, QCOW2BLK_A_LAYER);
	bool qcow2 = l->format == QCOW2BLK_FORMAT_QCOW2;
	struct kstat stat;
	int err;

	if (!nest)
		return -EMSGSIZE;
	/*
	 * What stat(2) says of the file that was opened, for that is compared with
	 * it: not so the inode on btrfs, or that of a block device.
	 */
	err = vfs_getattr(&l->file.filp->f_path, &stat, STATX_INO, AT_STATX_DONT_SYNC);
	if (err)
		return err;
	if ((with_path && put_path(msg, QCOW2BLK_A_LAYER_PATH, &l->file, buf)) ||
	    nla_put_u8(msg, QCOW2BLK_A_LAYER_FORMAT, l->format) ||
	    nla_put_u32(msg, QCOW2BLK_A_LAYER_DEV, new_encode_dev(stat.dev)) ||
	    nla_put_u64_64bit(msg, QCOW2BLK_A_LAYER_INO, stat.ino, QCOW2BLK_A_LAYER_PAD) ||
	    nla_put_u8(msg, QCOW2BLK_A_LAYER_DIRECT_IO, l->file.direct) ||
	    nla_put_u32(msg, QCOW2BLK_A_LAYER_CLUSTER_SIZE, qcow2 ? l->h.cluster_size : 0) ||
	    nla_put_u64_64bit(msg, QCOW2BLK_A_LAYER_SIZE, l->size, QCOW2BLK_A_LAYER_PAD))
		return -EMSGSIZE;
	err = put_data_file(msg, l, with_path, buf);
	if (!err && l->crypt)
		err = nla_put_string(msg, QCOW2BLK_A_LAYER_CIPHER, qcow2_crypt_cipher(l->crypt));
	nla_nest_end(msg, nest);
	return err;
}

static int put_layers(struct sk_buff *msg, const struct qcow2_chain *chain, bool with_paths)
{
	struct nlattr *nest = nla_nest_start(msg, QCOW2BLK_A_LAYERS);
	unsigned int i;
	char *buf;
	int err = 0;

	if (!nest)
		return -EMSGSIZE;
	buf = kmalloc(PATH_MAX, GFP_KERNEL);
	if (!buf)
		return -ENOMEM;
	for (i = 0; i < chain->nr && !err; i++)
		err = put_layer(msg, chain->layers[i], with_paths, buf);
	kfree(buf);
	/* An attribute's length has 16 bits. */
	if (!err && skb_tail_pointer(msg) - (unsigned char *)nest > U16_MAX)
		err = -EMSGSIZE;
	nla_nest_end(msg, nest);
	return err;
}

static int put_stats(struct sk_buff *msg, const struct qcow2_device *dev)
{
	struct nlattr *nest = nla_nest_start(msg, QCOW2BLK_A_STATS);
	u64 stat[QCOW2BLK_A_STAT_MAX + 1];
	unsigned int i;

	if (!nest)
		return -EMSGSIZE;
	qcow2_stats_collect(dev, stat);
	for (i = QCOW2BLK_A_STAT_PAD + 1; i <= QCOW2BLK_A_STAT_MAX; i++)
		if (nla_put_u64_64bit(msg, i, stat[i], QCOW2BLK_A_STAT_PAD))
			return -EMSGSIZE;
	nla_nest_end(msg, nest);
	return 0;
}

static int put_commit(struct sk_buff *msg, struct qcow2_merge *m)
{
	struct qcow2_merge_progress p;
	struct nlattr *nest;

	if (!m)
		return 0;
	qcow2_merge_get_progress(m, &p);
	nest = nla_nest_start(msg, QCOW2BLK_A_COMMIT);
	if (!nest || nla_put_u8(msg, QCOW2BLK_A_COMMIT_STATE, p.state) ||
	    (p.state == QCOW2BLK_COMMIT_FAILED &&
	     nla_put_u32(msg, QCOW2BLK_A_COMMIT_ERRNO, -p.err)) ||
	    nla_put_u64_64bit(msg, QCOW2BLK_A_COMMIT_DONE, p.done, QCOW2BLK_A_COMMIT_PAD) ||
	    nla_put_u64_64bit(msg, QCOW2BLK_A_COMMIT_TOTAL, p.total, QCOW2BLK_A_COMMIT_PAD) ||
	    nla_put_u64_64bit(msg, QCOW2BLK_A_COMMIT_COPIED, p.copied, QCOW2BLK_A_COMMIT_PAD) ||
	    nla_put_u64_64bit(msg, QCOW2BLK_A_COMMIT_ZEROED, p.zeroed, QCOW2BLK_A_COMMIT_PAD) ||
	    nla_put_u64_64bit(msg, QCOW2BLK_A_COMMIT_LEFT, p.left, QCOW2BLK_A_COMMIT_PAD))
		return -EMSGSIZE;
	nla_nest_end(msg, nest);
	return 0;
}

static int describe_device(struct sk_buff *msg, u32 portid, u32 seq, int flags,
			   const struct qcow2_device *dev, bool with_paths)
{
	void *hdr = genlmsg_put(msg, portid, seq, &family, flags, QCOW2BLK_CMD_GET);
	int err;

	if (!hdr)
		return -EMSGSIZE;
	err = nla_put_u32(msg, QCOW2BLK_A_INDEX, dev->index) ?:
	      nla_put_u32(msg, QCOW2BLK_A_FLAGS, qcow2_device_flags(dev)) ?:
	      nla_put_u64_64bit(msg, QCOW2BLK_A_CACHE_SIZE, dev->cache_size, QCOW2BLK_A_PAD) ?:
	      nla_put_u64_64bit(msg, QCOW2BLK_A_SIZE, dev->target.chain.layers[0]->size,
				QCOW2BLK_A_PAD);
	if (!err && dev->snapshot[0])
		err = nla_put_string(msg, QCOW2BLK_A_SNAPSHOT, dev->snapshot);
	if (!err && dev->label[0])
		err = nla_put_string(msg, QCOW2BLK_A_NAME, dev->label);
	if (!err && dev->parent)
		err = nla_put_u32(msg, QCOW2BLK_A_PARENT, dev->parent->index);
	err = err ?: put_layers(msg, &dev->target.chain, with_paths) ?:
	      put_stats(msg, dev) ?: put_commit(msg, dev->merge);
	if (err)
		genlmsg_cancel(msg, hdr);
	else
		genlmsg_end(msg, hdr);
	return err;
}

/* A message that describes a device; without paths where they are too long for one. */
static struct sk_buff *describe_alone(const struct genl_info *info,
				      const struct qcow2_device *dev, bool with_paths)
{
	size_t room = dev->target.chain.nr * (with_paths ? 1024 : 320) + 1024;
	struct sk_buff *msg = genlmsg_new(room, GFP_KERNEL);

	if (!msg || !describe_device(msg, info->snd_portid, info->snd_seq, 0, dev, with_paths))
		return msg;
	nlmsg_free(msg);
	return with_paths ? describe_alone(info, dev, false) : NULL;
}

static int get_doit(struct sk_buff *skb, struct genl_info *info)
{
	struct qcow2_device *dev;
	struct sk_buff *msg = NULL;
	u32 index;

	if (GENL_REQ_ATTR_CHECK(info, QCOW2BLK_A_INDEX))
		return -EINVAL;
	index = nla_get_u32(info->attrs[QCOW2BLK_A_INDEX]);

	qcow2_devices_lock();
	dev = qcow2_device_next(index);
	if (dev && dev->index != index)
		dev = NULL;
	if (dev)
		msg = describe_alone(info, dev, may_change(skb));
	qcow2_devices_unlock();
	if (msg)
		return genlmsg_reply(msg, info);
	if (dev)
		return -ENOMEM;
	blame(info, info->attrs[QCOW2BLK_A_INDEX], "no such device");
	return -ENODEV;
}

/* cb->args[0] is the lowest index still to come. */
static int get_dumpit(struct sk_buff *msg, struct netlink_callback *cb)
{
	bool with_paths = may_change(cb->skb);
	struct qcow2_device *dev;
	int err = 0;

	qcow2_devices_lock();
	while ((dev = qcow2_device_next(cb->args[0]))) {
		err = describe_device(msg, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq,
				      NLM_F_MULTI, dev, with_paths);
		/* Alone in a message, and still too long: without its paths, then. */
		if (err && !msg->len)
			err = describe_device(msg, NETLINK_CB(cb->skb).portid,
					      cb->nlh->nlmsg_seq, NLM_F_MULTI, dev, false);
		if (err)
			break;
		cb->args[0] = dev->index + 1;
	}
	qcow2_devices_unlock();
	return msg->len ?: err;
}

/* What is pointed to stays in the request; see wipe_keys(). */
static int parse_key(struct nlattr **tb, struct qcow2_crypt_key *key)
{
	struct nlattr *cipher = tb[QCOW2BLK_A_LAYER_CIPHER];
	struct nlattr *iv = tb[QCOW2BLK_A_LAYER_IV], *bytes = tb[QCOW2BLK_A_LAYER_KEY];

	if (!cipher != !iv || !cipher != !bytes)
		return -EINVAL;
	if (cipher) {
		key->cipher = nla_data(cipher);
		key->iv = nla_get_u8(iv);
		key->key = nla_data(bytes);
		key->len = nla_len(bytes);
	}
	return 0;
}

/* Keys are not left lying in memory, nor sent back with what is said of the request. */
static void wipe_keys(struct genl_info *info)
{
	struct nlattr *layer, *nla;
	int rem, left;

	if (!info->attrs[QCOW2BLK_A_LAYERS])
		return;
	nla_for_each_nested(layer, info->attrs[QCOW2BLK_A_LAYERS], rem)
		nla_for_each_nested(nla, layer, left)
			if (nla_type(nla) == QCOW2BLK_A_LAYER_KEY)
				memzero_explicit(nla_data(nla), nla_len(nla));
}

static int parse_layer(struct nlattr *nla, struct qcow2_attach *a, struct genl_info *info)
{
	struct nlattr *tb[LAYER_POLICY_MAX + 1];
	int err;

	if (nla_type(nla) != QCOW2BLK_A_LAYER || a->nr == QCOW2BLK_MAX_LAYERS) {
		blame(info, nla, a->nr == QCOW2BLK_MAX_LAYERS ?
				 "the chain has more than 64 layers" :
				 "a list of layers holds something else");
		return -EINVAL;
	}
	err = nla_parse_nested(tb, LAYER_POLICY_MAX, nla, layer_policy, info->extack);
	if (err)
		return err;
	if (!tb[QCOW2BLK_A_LAYER_FD] || !tb[QCOW2BLK_A_LAYER_FORMAT]) {
		blame(info, nla, "a layer needs a file descriptor and a format");
		return -EINVAL;
	}
	if (parse_key(tb, &a->layers[a->nr].key)) {
		blame(info, nla, "an encrypted layer needs a cipher, a kind of vector and a key");
		return -EINVAL;
	}
	a->layers[a->nr].format = nla_get_u8(tb[QCOW2BLK_A_LAYER_FORMAT]);
	a->layers[a->nr].filp = fget(nla_get_u32(tb[QCOW2BLK_A_LAYER_FD]));
	if (a->layers[a->nr].filp && tb[QCOW2BLK_A_LAYER_DATA_FD])
		a->layers[a->nr].data_filp = fget(nla_get_u32(tb[QCOW2BLK_A_LAYER_DATA_FD]));
	if (!a->layers[a->nr].filp ||
	    (tb[QCOW2BLK_A_LAYER_DATA_FD] && !a->layers[a->nr].data_filp)) {
		if (a->layers[a->nr].filp)
			fput(a->layers[a->nr].filp);
		blame(info, nla, "the file descriptor is not open");
		return -EBADF;
	}
	a->nr++;
	return 0;
}

static int parse_layers(struct qcow2_attach *a, struct genl_info *info)
{
	struct nlattr *nla;
	int rem, err;

	nla_for_each_nested(nla, info->attrs[QCOW2BLK_A_LAYERS], rem) {
		err = parse_layer(nla, a, info);
		if (err)
			return err;
	}
	if (rem || !a->nr) {
		blame(info, info->attrs[QCOW2BLK_A_LAYERS],
		      rem ? "bytes are left over after the layers" : "there is no layer");
		return -EINVAL;
	}
	return 0;
}

static int parse_attach(struct qcow2_attach *a, struct genl_info *info)
{
	struct nlattr **attrs = info->attrs;

	if (!attrs[QCOW2BLK_A_LAYERS] == !attrs[QCOW2BLK_A_PARENT]) {
		NL_SET_ERR_MSG(info->extack, "the request must name layers or a parent");
		return -EINVAL;
	}
	a->index = attrs[QCOW2BLK_A_INDEX] ? nla_get_u32(attrs[QCOW2BLK_A_INDEX]) : -1;
	if (attrs[QCOW2BLK_A_FLAGS])
		a->flags = nla_get_u32(attrs[QCOW2BLK_A_FLAGS]);
	if (attrs[QCOW2BLK_A_DIRECT_IO])
		a->direct_io = nla_get_u8(attrs[QCOW2BLK_A_DIRECT_IO]);
	if (attrs[QCOW2BLK_A_CACHE_SIZE])
		a->cache_size = nla_get_u64(attrs[QCOW2BLK_A_CACHE_SIZE]);
	if (attrs[QCOW2BLK_A_SNAPSHOT])
		a->snapshot = nla_data(attrs[QCOW2BLK_A_SNAPSHOT]);
	if (attrs[QCOW2BLK_A_NAME])
		a->label = nla_data(attrs[QCOW2BLK_A_NAME]);
	a->parent = attrs[QCOW2BLK_A_PARENT] ? nla_get_u32(attrs[QCOW2BLK_A_PARENT]) : -1;
	return attrs[QCOW2BLK_A_LAYERS] ? parse_layers(a, info) : 0;
}

/* Say why, and where: the nth layer's attribute, or all of them. */
static void refuse(struct genl_info *info, const struct qcow2_attach *a)
{
	const struct nlattr *blamed = info->attrs[QCOW2BLK_A_LAYERS];
	struct nlattr *nla;
	int rem, i = 0;

	if (!blamed) {
		blame(info, info->attrs[QCOW2BLK_A_PARENT], a->why);
		return;
	}
	nla_for_each_nested(nla, info->attrs[QCOW2BLK_A_LAYERS], rem)
		if (i++ == a->bad_layer)
			blamed = nla;
	blame(info, blamed, a->why);
}

static int reply_attached(struct genl_info *info, u32 index, u64 size)
{
	struct sk_buff *msg = genlmsg_new(NLMSG_DEFAULT_SIZE, GFP_KERNEL);
	void *hdr;

	if (!msg)
		return -ENOMEM;
	hdr = genlmsg_put_reply(msg, info, &family, 0, QCOW2BLK_CMD_ATTACH);
	if (!hdr || nla_put_u32(msg, QCOW2BLK_A_INDEX, index) ||
	    nla_put_u64_64bit(msg, QCOW2BLK_A_SIZE, size, QCOW2BLK_A_PAD)) {
		nlmsg_free(msg);
		return -EMSGSIZE;
	}
	genlmsg_end(msg, hdr);
	return genlmsg_reply(msg, info);
}

static void put_files(struct qcow2_attach *a)
{
	unsigned int i;

	for (i = 0; i < a->nr; i++) {
		if (a->layers[i].filp)
			fput(a->layers[i].filp);
		if (a->layers[i].data_filp)
			fput(a->layers[i].data_filp);
	}
}

/* Return: the device's index, or an error. */
static int attach_chain(struct genl_info *info, u64 *size)
{
	struct qcow2_attach *a = kzalloc(sizeof(*a), GFP_KERNEL);
	int ret;

	if (!a)
		return -ENOMEM;
	ret = parse_attach(a, info);
	if (!ret) {
		ret = qcow2_device_attach(a, size);
		if (ret < 0)
			refuse(info, a);
	}
	put_files(a);
	kfree(a);
	return ret;
}

static int attach_doit(struct sk_buff *skb, struct genl_info *info)
{
	u64 size;
	int index, err;

	index = may_change(skb) ? attach_chain(info, &size) : -EPERM;
	wipe_keys(info);
	if (index < 0)
		return index;

	/* Nobody would know of a device whose answer got lost. */
	err = reply_attached(info, index, size);
	if (err && qcow2_device_detach(index, QCOW2BLK_F_FORCE))
		pr_warn(QCOW2BLK_DISK_NAME "%d: stays, though its attacher was not told\n", index);
	return err;
}

static int detach_doit(struct sk_buff *skb, struct genl_info *info)
{
	u32 flags = 0;
	int err;

	if (!may_change(skb))
		return -EPERM;
	if (GENL_REQ_ATTR_CHECK(info, QCOW2BLK_A_INDEX)) {
		NL_SET_ERR_MSG(info->extack, "the request names no device");
		return -EINVAL;
	}
	if (info->attrs[QCOW2BLK_A_FLAGS])
		flags = nla_get_u32(info->attrs[QCOW2BLK_A_FLAGS]);
	err = qcow2_device_detach(nla_get_u32(info->attrs[QCOW2BLK_A_INDEX]), flags);
	if (err)
		blame(info, info->attrs[QCOW2BLK_A_INDEX],
		      err == -EBUSY ? "the device is in use" :
		      err == -ENODEV ? "no such device" :
		      "what was written cannot be made durable; detach by force loses it");
	return err;
}

static int snapshot_doit(struct sk_buff *skb, struct genl_info *info)
{
	struct nlattr **attrs = info->attrs;
	bool force = false;
	const char *why;
	int err;

	if (!may_change(skb))
		return -EPERM;
	if (GENL_REQ_ATTR_CHECK(info, QCOW2BLK_A_INDEX) ||
	    GENL_REQ_ATTR_CHECK(info, QCOW2BLK_A_SNAPSHOT_OP) ||
	    GENL_REQ_ATTR_CHECK(info, QCOW2BLK_A_SNAPSHOT)) {
		NL_SET_ERR_MSG(info->extack, "the request lacks a device, an operation or a name");
		return -EINVAL;
	}
	if (!*(char *)nla_data(attrs[QCOW2BLK_A_SNAPSHOT])) {
		blame(info, attrs[QCOW2BLK_A_SNAPSHOT], "the name is empty");
		return -EINVAL;
	}
	if (attrs[QCOW2BLK_A_FLAGS])
		force = nla_get_u32(attrs[QCOW2BLK_A_FLAGS]) & QCOW2BLK_F_FORCE;
	err = qcow2_device_snapshot(nla_get_u32(attrs[QCOW2BLK_A_INDEX]),
				    nla_get_u8(attrs[QCOW2BLK_A_SNAPSHOT_OP]),
				    nla_data(attrs[QCOW2BLK_A_SNAPSHOT]), force, &why);
	if (err)
		blame(info, attrs[QCOW2BLK_A_SNAPSHOT], why);
	return err;
}

static int resize_doit(struct sk_buff *skb, struct genl_info *info)
{
	struct nlattr **attrs = info->attrs;
	bool shrink = false;
	const char *why;
	int err;

	if (!may_change(skb))
		return -EPERM;
	if (GENL_REQ_ATTR_CHECK(info, QCOW2BLK_A_INDEX) ||
	    GENL_REQ_ATTR_CHECK(info, QCOW2BLK_A_SIZE)) {
		NL_SET_ERR_MSG(info->extack, "the request lacks a device or a size");
		return -EINVAL;
	}
	if (attrs[QCOW2BLK_A_FLAGS])
		shrink = nla_get_u32(attrs[QCOW2BLK_A_FLAGS]) & QCOW2BLK_F_SHRINK;
	err = qcow2_device_resize(nla_get_u32(attrs[QCOW2BLK_A_INDEX]),
				  nla_get_u64(attrs[QCOW2BLK_A_SIZE]), shrink, &why);
	if (err)
		blame(info, attrs[QCOW2BLK_A_SIZE], why);
	return err;
}

/* Another file for the layer below the top. */
static int open_base(struct genl_info *info, u32 index)
{
	struct qcow2_attach *a;
	int err;

	if (GENL_REQ_ATTR_CHECK(info, QCOW2BLK_A_LAYERS)) {
		NL_SET_ERR_MSG(info->extack, "the request names no layer");
		return -EINVAL;
	}
	a = kzalloc(sizeof(*a), GFP_KERNEL);
	if (!a)
		return -ENOMEM;
	err = parse_layers(a, info);
	if (!err) {
		err = qcow2_device_open_base(index, a);
		if (err)
			refuse(info, a);
	}
	put_files(a);
	kfree(a);
	return err;
}

static int commit_step(struct genl_info *info)
{
	const char *why;
	u32 index;
	int err;

	if (GENL_REQ_ATTR_CHECK(info, QCOW2BLK_A_INDEX) ||
	    GENL_REQ_ATTR_CHECK(info, QCOW2BLK_A_COMMIT_OP)) {
		NL_SET_ERR_MSG(info->extack, "the request lacks a device or a step");
		return -EINVAL;
	}
	index = nla_get_u32(info->attrs[QCOW2BLK_A_INDEX]);
	switch (nla_get_u8(info->attrs[QCOW2BLK_A_COMMIT_OP])) {
	case QCOW2BLK_COMMIT_OPEN:
		return open_base(info, index);
	case QCOW2BLK_COMMIT_START:
		err = qcow2_device_commit(index, &why);
		break;
	default:
		err = qcow2_device_stop_commit(index, &why);
	}
	if (err)
		blame(info, info->attrs[QCOW2BLK_A_INDEX], why);
	return err;
}

static int commit_doit(struct sk_buff *skb, struct genl_info *info)
{
	int err = may_change(skb) ? commit_step(info) : -EPERM;

	/* Whatever the step is: a layer has room for a key. */
	wipe_keys(info);
	return err;
}

static int set_doit(struct sk_buff *skb, struct genl_info *info)
{
	struct nlattr **attrs = info->attrs;
	const char *why;
	int err;

	if (!may_change(skb))
		return -EPERM;
	if (GENL_REQ_ATTR_CHECK(info, QCOW2BLK_A_INDEX) ||
	    GENL_REQ_ATTR_CHECK(info, QCOW2BLK_A_CACHE_SIZE)) {
		NL_SET_ERR_MSG(info->extack, "the request lacks a device or something to set");
		return -EINVAL;
	}
	err = qcow2_device_set_cache(nla_get_u32(attrs[QCOW2BLK_A_INDEX]),
				     nla_get_u64(attrs[QCOW2BLK_A_CACHE_SIZE]), &why);
	if (err)
		blame(info, attrs[QCOW2BLK_A_CACHE_SIZE], why);
	return err;
}

static void tell(const struct qcow2_event *ev)
{
	struct sk_buff *msg = genlmsg_new(NLMSG_DEFAULT_SIZE, GFP_KERNEL);
	void *hdr;

	if (!msg)
		return;
	hdr = genlmsg_put(msg, 0, 0, &family, 0, QCOW2BLK_CMD_EVENT);
	if (!hdr || nla_put_u32(msg, QCOW2BLK_A_EVENT, ev->type) ||
	    nla_put_u32(msg, QCOW2BLK_A_INDEX, ev->index))
		goto free;
	if (ev->type == QCOW2BLK_EVENT_ERROR &&
	    (nla_put_u32(msg, QCOW2BLK_A_ERRNO, -ev->err) ||
	     nla_put_u64_64bit(msg, QCOW2BLK_A_OFFSET, ev->off, QCOW2BLK_A_PAD) ||
	     nla_put_u32(msg, QCOW2BLK_A_LAYER_INDEX, ev->layer)))
		goto free;
	if (ev->type == QCOW2BLK_EVENT_RESIZED &&
	    nla_put_u64_64bit(msg, QCOW2BLK_A_SIZE, ev->size, QCOW2BLK_A_PAD))
		goto free;
	if ((ev->type == QCOW2BLK_EVENT_STOPPED || ev->type == QCOW2BLK_EVENT_BITMAPS ||
	     ev->type == QCOW2BLK_EVENT_KEPT || ev->type == QCOW2BLK_EVENT_LOST) &&
	    nla_put_u32(msg, QCOW2BLK_A_ERRNO, -ev->err))
		goto free;
	genlmsg_end(msg, hdr);
	genlmsg_multicast(&family, msg, 0, GROUP_EVENTS, GFP_KERNEL);
	return;
free:
	nlmsg_free(msg);
}

static const struct genl_ops ops[] = {
	{
		.cmd	 = QCOW2BLK_CMD_GET,
		.doit	 = get_doit,
		.dumpit	 = get_dumpit,
		.policy	 = index_policy,
		.maxattr = ARRAY_SIZE(index_policy) - 1,
	}, {
		.cmd	 = QCOW2BLK_CMD_ATTACH,
		.doit	 = attach_doit,
		.policy	 = attach_policy,
		.maxattr = ARRAY_SIZE(attach_policy) - 1,
	}, {
		.cmd	 = QCOW2BLK_CMD_DETACH,
		.doit	 = detach_doit,
		.policy	 = detach_policy,
		.maxattr = ARRAY_SIZE(detach_policy) - 1,
	}, {
		.cmd	 = QCOW2BLK_CMD_SNAPSHOT,
		.doit	 = snapshot_doit,
		.policy	 = snapshot_policy,
		.maxattr = ARRAY_SIZE(snapshot_policy) - 1,
	}, {
		.cmd	 = QCOW2BLK_CMD_RESIZE,
		.doit	 = resize_doit,
		.policy	 = resize_policy,
		.maxattr = ARRAY_SIZE(resize_policy) - 1,
	}, {
		.cmd	 = QCOW2BLK_CMD_COMMIT,
		.doit	 = commit_doit,
		.policy	 = commit_policy,
		.maxattr = ARRAY_SIZE(commit_policy) - 1,
	}, {
		.cmd	 = QCOW2BLK_CMD_SET,
		.doit	 = set_doit,
		.policy	 = set_policy,
		.maxattr = ARRAY_SIZE(set_policy) - 1,
	},
};

static struct genl_family family __ro_after_init = {
	.name		= QCOW2BLK_GENL_NAME,
	.version	= QCOW2BLK_GENL_VERSION,
	.module		= THIS_MODULE,
	.parallel_ops	= true,
	.ops		= ops,
	.n_ops		= ARRAY_SIZE(ops),
	.resv_start_op	= QCOW2BLK_CMD_UNSPEC + 1,
	.mcgrps		= groups,
	.n_mcgrps	= ARRAY_SIZE(groups),
};

int qcow2_netlink_init(void)
{
	int err;

	qcow2_device_on_event(tell);
	err = genl_register_family(&family);
	if (err)
		qcow2_device_on_event(NULL);
	return err;
}

void qcow2_netlink_exit(void)
{
	genl_unregister_family(&family);
	qcow2_device_on_event(NULL);
}
