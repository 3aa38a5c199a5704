// SPDX-License-Identifier: GPL-2.0-or-later
#include "nl.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <time.h>

/* A request for a full chain takes 20 KiB, with its keys; a description, with its paths, this. */
#define REQUEST_LEN	32768
#define ANSWER_LEN	(256 * 1024)

struct qcow2_nl {
	struct mnl_socket *socket;
	uint32_t seq;
	uint16_t family;
	uint32_t events;	/* the multicast group */
	char request[REQUEST_LEN] __attribute__((aligned(NLMSG_ALIGNTO)));
	char answer[ANSWER_LEN] __attribute__((aligned(NLMSG_ALIGNTO)));
};

/* A refusal: what the kernel has said with it. */
struct refusal {
	int error;		/* positive errno */
	const char *sentence;	/* or NULL */
	uint32_t off;		/* of the attribute to blame in the request, or 0 */
};

static struct nlmsghdr *start(struct qcow2_nl *nl, uint16_t type, uint16_t flags, uint8_t cmd,
			      uint8_t version)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(nl->request);
	struct genlmsghdr *genl;

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	nlh->nlmsg_seq = ++nl->seq;
	genl = mnl_nlmsg_put_extra_header(nlh, sizeof(*genl));
	genl->cmd = cmd;
	genl->version = version;
	return nlh;
}

static void read_refusal(const struct nlmsghdr *nlh, struct refusal *refusal)
{
	const struct nlmsgerr *e = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *attr;
	unsigned int len = sizeof(*e);

	refusal->error = -e->error;
	if (!(nlh->nlmsg_flags & NLM_F_ACK_TLVS))
		return;
	/* With the request, or, as asked for, with its header only. */
	if (!(nlh->nlmsg_flags & NLM_F_CAPPED))
		len += mnl_nlmsg_get_payload_len(&e->msg);
	mnl_attr_for_each(attr, nlh, len) {
		switch (mnl_attr_get_type(attr)) {
		case NLMSGERR_ATTR_MSG:
			if (mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) >= 0)
				refusal->sentence = mnl_attr_get_str(attr);
			break;
		case NLMSGERR_ATTR_OFFS:
			if (mnl_attr_validate(attr, MNL_TYPE_U32) >= 0)
				refusal->off = mnl_attr_get_u32(attr);
			break;
		}
	}
}

/* A dump that fails on the way ends with the error. */
static int dump_error(const struct nlmsghdr *nlh)
{
	int status = 0;

	if (mnl_nlmsg_get_payload_len(nlh) >= sizeof(status))
		memcpy(&status, mnl_nlmsg_get_payload(nlh), sizeof(status));
	return status < 0 ? -status : 0;
}

/*
 * Send the request and give each message of the answer to @take, up to the last
 * one, which says how it went. Returns 0 or a negative errno; the strings
 * of @refusal live in the answer's buffer.
 */
static int talk(struct qcow2_nl *nl, const struct nlmsghdr *request,
		int (*take)(const struct nlmsghdr *nlh, void *data), void *data,
		struct refusal *refusal)
{
	const struct nlmsghdr *nlh;
	ssize_t len;
	int left, ret;

	memset(refusal, 0, sizeof(*refusal));
	if (mnl_socket_sendto(nl->socket, request, request->nlmsg_len) < 0)
		return -(refusal->error = errno);
	for (;;) {
		len = mnl_socket_recvfrom(nl->socket, nl->answer, sizeof(nl->answer));
		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0)
			return -(refusal->error = errno);
		nlh = (const struct nlmsghdr *)nl->answer;
		for (left = len; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left)) {
			if (nlh->nlmsg_seq != request->nlmsg_seq)
				continue;
			switch (nlh->nlmsg_type) {
			case NLMSG_ERROR:
				read_refusal(nlh, refusal);
				return -refusal->error;
			case NLMSG_DONE:
				return -(refusal->error = dump_error(nlh));
			default:
				ret = take ? take(nlh, data) : 0;
				if (ret)
					return -(refusal->error = -ret);
			}
		}
	}
}

/* The only group there is. */
static void take_groups(const struct nlattr *groups, struct qcow2_nl *nl)
{
	const struct nlattr *group, *attr;

	mnl_attr_for_each_nested(group, groups)
		mnl_attr_for_each_nested(attr, group)
			if (mnl_attr_get_type(attr) == CTRL_ATTR_MCAST_GRP_ID &&
			    mnl_attr_validate(attr, MNL_TYPE_U32) >= 0)
				nl->events = mnl_attr_get_u32(attr);
}

static int take_family(const struct nlmsghdr *nlh, void *data)
{
	const struct nlattr *attr;
	struct qcow2_nl *nl = data;

	mnl_attr_for_each(attr, nlh, sizeof(struct genlmsghdr)) {
		if (mnl_attr_get_type(attr) == CTRL_ATTR_FAMILY_ID &&
		    mnl_attr_validate(attr, MNL_TYPE_U16) >= 0)
			nl->family = mnl_attr_get_u16(attr);
		else if (mnl_attr_get_type(attr) == CTRL_ATTR_MCAST_GROUPS)
			take_groups(attr, nl);
	}
	return 0;
}

static int find_family(struct qcow2_nl *nl, struct refusal *refusal)
{
	struct nlmsghdr *nlh = start(nl, GENL_ID_CTRL, 0, CTRL_CMD_GETFAMILY, 1);

	mnl_attr_put_strz(nlh, CTRL_ATTR_FAMILY_NAME, QCOW2BLK_GENL_NAME);
	return talk(nl, nlh, take_family, nl, refusal);
}

static int connect_kernel(struct qcow2_nl *nl)
{
	int on = 1;

	nl->socket = mnl_socket_open2(NETLINK_GENERIC, SOCK_CLOEXEC);
	if (!nl->socket || mnl_socket_bind(nl->socket, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    mnl_socket_setsockopt(nl->socket, NETLINK_EXT_ACK, &on, sizeof(on)) < 0 ||
	    mnl_socket_setsockopt(nl->socket, NETLINK_CAP_ACK, &on, sizeof(on)) < 0)
		return -errno;
	nl->seq = time(NULL);
	return 0;
}

int qcow2_nl_open(struct qcow2_nl **out, struct qcow2_error *err)
{
	struct qcow2_nl *nl = calloc(1, sizeof(*nl));
	struct refusal refusal;
	int ret;

	*out = NULL;
	if (!nl)
		qcow2_error_nomem();
	ret = connect_kernel(nl);
	if (!ret)
		ret = find_family(nl, &refusal);
	if (!ret) {
		*out = nl;
		return 0;
	}
	qcow2_nl_close(nl);
	if (ret == -ENOENT)
		return 0;
	return qcow2_error_set(err, QCOW2_EXIT_FAILED, NULL,
			       "cannot talk to the kernel by generic netlink: %s",
			       strerror(-ret));
}

uint16_t qcow2_nl_family(const struct qcow2_nl *nl, uint32_t *events)
{
	*events = nl->events;
	return nl->family;
}

void qcow2_nl_close(struct qcow2_nl *nl)
{
	if (nl && nl->socket)
		mnl_socket_close(nl->socket);
	free(nl);
}

static int refused(const struct refusal *refusal, int code, const char *file,
		   struct qcow2_error *err)
{
	const char *why = refusal->sentence ? refusal->sentence : strerror(refusal->error);

	/* Said before the kernel looks at anything else, and without a sentence. */
	if (refusal->error == EPERM && !refusal->sentence)
		why = "the kernel lets only root (CAP_SYS_ADMIN) do that; try sudo";
	return qcow2_error_set(err, code, file, "%s", why);
}

static int take_attached(const struct nlmsghdr *nlh, void *data)
{
	struct qcow2_nl_device *device = data;
	const struct nlattr *attr;

	mnl_attr_for_each(attr, nlh, sizeof(struct genlmsghdr)) {
		switch (mnl_attr_get_type(attr)) {
		case QCOW2BLK_A_INDEX:
			if (mnl_attr_validate(attr, MNL_TYPE_U32) < 0)
				return -EBADMSG;
			device->index = mnl_attr_get_u32(attr);
			break;
		case QCOW2BLK_A_SIZE:
			if (mnl_attr_validate(attr, MNL_TYPE_U64) < 0)
				return -EBADMSG;
			device->size = mnl_attr_get_u64(attr);
			break;
		}
	}
	return 0;
}

static void put_key(struct nlmsghdr *nlh, const struct qcow2_nl_key *key)
{
	if (!key || !key->cipher[0])
		return;
	mnl_attr_put_strz(nlh, QCOW2BLK_A_LAYER_CIPHER, key->cipher);
	mnl_attr_put_u8(nlh, QCOW2BLK_A_LAYER_IV, key->iv);
	mnl_attr_put(nlh, QCOW2BLK_A_LAYER_KEY, key->len, key->bytes);
}

/* @begin: (out) where each layer's attribute begins in the request, and the last one ends. */
static void put_layers(struct nlmsghdr *nlh, const struct qcow2_nl_device *device,
		       uint32_t *begin)
{
	struct nlattr *layers, *layer;
	unsigned int i;

	layers = mnl_attr_nest_start(nlh, QCOW2BLK_A_LAYERS);
	for (i = 0; i < device->nr_layers; i++) {
		begin[i] = nlh->nlmsg_len;
		layer = mnl_attr_nest_start(nlh, QCOW2BLK_A_LAYER);
		mnl_attr_put_u32(nlh, QCOW2BLK_A_LAYER_FD, device->layers[i].fd);
		mnl_attr_put_u8(nlh, QCOW2BLK_A_LAYER_FORMAT, device->layers[i].format);
		put_key(nlh, device->layers[i].key);
		if (device->layers[i].has_data)
			mnl_attr_put_u32(nlh, QCOW2BLK_A_LAYER_DATA_FD,
					 device->layers[i].data_fd);
		mnl_attr_nest_end(nlh, layer);
	}
	begin[i] = nlh->nlmsg_len;
	mnl_attr_nest_end(nlh, layers);
}

/* The file that a refusal is about: that of the layer which it points into, or the top. */
static const char *blamed(const struct qcow2_nl_device *device, const uint32_t *begin,
			  uint32_t off)
{
	unsigned int i;

	for (i = 0; i < device->nr_layers; i++)
		if (off >= begin[i] && off < begin[i + 1])
			return device->layers[i].name;
	return device->layers[0].name;
}

int qcow2_nl_attach(struct qcow2_nl *nl, struct qcow2_nl_device *device,
		    struct qcow2_error *err)
{
	struct nlmsghdr *nlh = start(nl, nl->family, 0, QCOW2BLK_CMD_ATTACH,
				     QCOW2BLK_GENL_VERSION);
	uint32_t begin[QCOW2BLK_MAX_LAYERS + 1];
	struct refusal refusal;
	int ret;

	if (device->index != QCOW2_NL_ANY_INDEX)
		mnl_attr_put_u32(nlh, QCOW2BLK_A_INDEX, device->index);
	mnl_attr_put_u32(nlh, QCOW2BLK_A_FLAGS, device->flags);
	mnl_attr_put_u8(nlh, QCOW2BLK_A_DIRECT_IO, device->direct_io);
	if (device->cache_size)
		mnl_attr_put_u64(nlh, QCOW2BLK_A_CACHE_SIZE, device->cache_size);
	if (device->snapshot)
		mnl_attr_put_strz(nlh, QCOW2BLK_A_SNAPSHOT, device->snapshot);
	if (device->name)
		mnl_attr_put_strz(nlh, QCOW2BLK_A_NAME, device->name);
	if (device->parent == QCOW2_NL_ANY_INDEX)
		put_layers(nlh, device, begin);
	else
		mnl_attr_put_u32(nlh, QCOW2BLK_A_PARENT, device->parent);

	ret = talk(nl, nlh, take_attached, device, &refusal);
	/* It has keys. */
	explicit_bzero(nl->request, sizeof(nl->request));
	if (!ret)
		return 0;
	return refused(&refusal, QCOW2_EXIT_FAILED, device->parent == QCOW2_NL_ANY_INDEX ?
		       blamed(device, begin, refusal.off) : device->layers[0].name, err);
}

int qcow2_nl_detach(struct qcow2_nl *nl, int index, uint32_t flags, int *error,
		    struct qcow2_error *err)
{
	struct nlmsghdr *nlh = start(nl, nl->family, 0, QCOW2BLK_CMD_DETACH,
				     QCOW2BLK_GENL_VERSION);
	struct refusal refusal;
	char name[32];

	mnl_attr_put_u32(nlh, QCOW2BLK_A_INDEX, index);
	if (flags)
		mnl_attr_put_u32(nlh, QCOW2BLK_A_FLAGS, flags);
	talk(nl, nlh, NULL, NULL, &refusal);
	*error = refusal.error;
	if (!*error)
		return 0;
	snprintf(name, sizeof(name), "/dev/" QCOW2BLK_DISK_NAME "%d", index);
	return refused(&refusal, refusal.error == ENODEV ? QCOW2_EXIT_USAGE : QCOW2_EXIT_FAILED,
		       name, err);
}

int qcow2_nl_snapshot(struct qcow2_nl *nl, int index, uint8_t op, const char *name,
		      uint32_t flags, struct qcow2_error *err)
{
	struct nlmsghdr *nlh = start(nl, nl->family, 0, QCOW2BLK_CMD_SNAPSHOT,
				     QCOW2BLK_GENL_VERSION);
	struct refusal refusal;
	char path[32];
	bool none;

	mnl_attr_put_u32(nlh, QCOW2BLK_A_INDEX, index);
	mnl_attr_put_u32(nlh, QCOW2BLK_A_FLAGS, flags);
	mnl_attr_put_u8(nlh, QCOW2BLK_A_SNAPSHOT_OP, op);
	mnl_attr_put_strz(nlh, QCOW2BLK_A_SNAPSHOT, name);
	if (!talk(nl, nlh, NULL, NULL, &refusal))
		return 0;
	none = refusal.error == ENODEV || refusal.error == ENOENT;
	snprintf(path, sizeof(path), "/dev/" QCOW2BLK_DISK_NAME "%d", index);
	return refused(&refusal, none ? QCOW2_EXIT_USAGE : QCOW2_EXIT_FAILED, path, err);
}

int qcow2_nl_resize(struct qcow2_nl *nl, int index, uint64_t size, uint32_t flags, int *error,
		    struct qcow2_error *err)
{
	struct nlmsghdr *nlh = start(nl, nl->family, 0, QCOW2BLK_CMD_RESIZE,
				     QCOW2BLK_GENL_VERSION);
	struct refusal refusal;
	char path[32];

	mnl_attr_put_u32(nlh, QCOW2BLK_A_INDEX, index);
	mnl_attr_put_u32(nlh, QCOW2BLK_A_FLAGS, flags);
	mnl_attr_put_u64(nlh, QCOW2BLK_A_SIZE, size);
	talk(nl, nlh, NULL, NULL, &refusal);
	*error = refusal.error;
	if (!*error)
		return 0;
	snprintf(path, sizeof(path), "/dev/" QCOW2BLK_DISK_NAME "%d", index);
	return refused(&refusal, refusal.error == ENODEV ? QCOW2_EXIT_USAGE : QCOW2_EXIT_FAILED,
		       path, err);
}

int qcow2_nl_commit(struct qcow2_nl *nl, int index, uint8_t op, const struct qcow2_nl_layer *base,
		    struct qcow2_error *err)
{
	struct nlmsghdr *nlh = start(nl, nl->family, 0, QCOW2BLK_CMD_COMMIT,
				     QCOW2BLK_GENL_VERSION);
	struct qcow2_nl_device layers = { .nr_layers = 1 };
	uint32_t begin[2];
	struct refusal refusal;
	char path[32];

	mnl_attr_put_u32(nlh, QCOW2BLK_A_INDEX, index);
	mnl_attr_put_u8(nlh, QCOW2BLK_A_COMMIT_OP, op);
	if (base) {
		layers.layers[0] = *base;
		put_layers(nlh, &layers, begin);
	}
	if (!talk(nl, nlh, NULL, NULL, &refusal))
		return 0;
	snprintf(path, sizeof(path), "/dev/" QCOW2BLK_DISK_NAME "%d", index);
	return refused(&refusal, refusal.error == ENODEV ? QCOW2_EXIT_USAGE : QCOW2_EXIT_FAILED,
		       base ? base->name : path, err);
}

int qcow2_nl_set_cache(struct qcow2_nl *nl, int index, uint64_t bytes, struct qcow2_error *err)
{
	struct nlmsghdr *nlh = start(nl, nl->family, 0, QCOW2BLK_CMD_SET, QCOW2BLK_GENL_VERSION);
	struct refusal refusal;
	char path[32];

	mnl_attr_put_u32(nlh, QCOW2BLK_A_INDEX, index);
	mnl_attr_put_u64(nlh, QCOW2BLK_A_CACHE_SIZE, bytes);
	if (!talk(nl, nlh, NULL, NULL, &refusal))
		return 0;
	snprintf(path, sizeof(path), "/dev/" QCOW2BLK_DISK_NAME "%d", index);
	return refused(&refusal, refusal.error == ENODEV ? QCOW2_EXIT_USAGE : QCOW2_EXIT_FAILED,
		       path, err);
}

struct list {
	struct qcow2_nl_device *devices;
	unsigned int count;
};

static bool read_u64(const struct nlattr *attr, uint64_t *value)
{
	if (mnl_attr_validate(attr, MNL_TYPE_U64) < 0)
		return false;
	*value = mnl_attr_get_u64(attr);
	return true;
}

static bool read_u32(const struct nlattr *attr, uint32_t *value)
{
	if (mnl_attr_validate(attr, MNL_TYPE_U32) < 0)
		return false;
	*value = mnl_attr_get_u32(attr);
	return true;
}

static bool read_u8(const struct nlattr *attr, uint8_t *value)
{
	if (mnl_attr_validate(attr, MNL_TYPE_U8) < 0)
		return false;
	*value = mnl_attr_get_u8(attr);
	return true;
}

static bool read_string(const struct nlattr *attr, char **string)
{
	if (*string || mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) < 0)
		return false;
	*string = strdup(mnl_attr_get_str(attr));
	if (!*string)
		qcow2_error_nomem();
	return true;
}

/* The kernel's 32-bit encoding, which stat(2) uses too: see new_encode_dev(). */
static dev_t decode_dev(uint32_t dev)
{
	return makedev((dev & 0xfff00) >> 8, (dev & 0xff) | ((dev >> 12) & 0xfff00));
}

static bool take_layer(const struct nlattr *nest, struct qcow2_nl_layer *layer)
{
	const struct nlattr *attr;
	uint8_t direct_io;
	uint32_t dev;
	bool ok = true;

	mnl_attr_for_each_nested(attr, nest) {
		switch (mnl_attr_get_type(attr)) {
		case QCOW2BLK_A_LAYER_FORMAT:
			ok &= read_u8(attr, &layer->format);
			break;
		case QCOW2BLK_A_LAYER_PATH:
			ok &= read_string(attr, &layer->path);
			break;
		case QCOW2BLK_A_LAYER_CIPHER:
			ok &= read_string(attr, &layer->cipher);
			break;
		case QCOW2BLK_A_LAYER_DEV:
			ok &= read_u32(attr, &dev);
			layer->dev = ok ? decode_dev(dev) : 0;
			break;
		case QCOW2BLK_A_LAYER_INO:
			ok &= read_u64(attr, &layer->ino);
			break;
		case QCOW2BLK_A_LAYER_DIRECT_IO:
			ok &= read_u8(attr, &direct_io);
			layer->direct_io = ok && direct_io;
			break;
		case QCOW2BLK_A_LAYER_CLUSTER_SIZE:
			ok &= read_u32(attr, &layer->cluster_size);
			break;
		case QCOW2BLK_A_LAYER_SIZE:
			ok &= read_u64(attr, &layer->size);
			break;
		case QCOW2BLK_A_LAYER_DATA_PATH:
			ok &= read_string(attr, &layer->data_path);
			break;
		case QCOW2BLK_A_LAYER_DATA_DEV:
			layer->has_data = true;
			ok &= read_u32(attr, &dev);
			layer->data_dev = ok ? decode_dev(dev) : 0;
			break;
		case QCOW2BLK_A_LAYER_DATA_INO:
			ok &= read_u64(attr, &layer->data_ino);
			break;
		}
	}
	return ok;
}

static bool take_layers(const struct nlattr *nest, struct qcow2_nl_device *device)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested(attr, nest) {
		if (mnl_attr_get_type(attr) != QCOW2BLK_A_LAYER)
			continue;
		if (device->nr_layers == QCOW2BLK_MAX_LAYERS)
			return false;
		if (!take_layer(attr, &device->layers[device->nr_layers++]))
			return false;
	}
	return true;
}

static bool take_stats(const struct nlattr *nest, struct qcow2_nl_device *device)
{
	const struct nlattr *attr;
	unsigned int type;

	mnl_attr_for_each_nested(attr, nest) {
		type = mnl_attr_get_type(attr);
		if (type > QCOW2BLK_A_STAT_PAD && type <= QCOW2BLK_A_STAT_MAX &&
		    !read_u64(attr, &device->stats[type]))
			return false;
	}
	return true;
}

static bool take_commit(const struct nlattr *nest, struct qcow2_nl_commit *commit)
{
	static const enum qcow2_nl_commit_state states[] = {
		[QCOW2BLK_COMMIT_RUNNING]     = QCOW2_NL_COMMIT_RUNNING,
		[QCOW2BLK_COMMIT_DONE]	      = QCOW2_NL_COMMIT_DONE,
		[QCOW2BLK_COMMIT_INTERRUPTED] = QCOW2_NL_COMMIT_INTERRUPTED,
		[QCOW2BLK_COMMIT_FAILED]      = QCOW2_NL_COMMIT_FAILED,
	};
	const struct nlattr *attr;
	uint8_t state = 0;
	bool ok = true;

	mnl_attr_for_each_nested(attr, nest) {
		switch (mnl_attr_get_type(attr)) {
		case QCOW2BLK_A_COMMIT_STATE:
			ok &= read_u8(attr, &state) && state < sizeof(states) / sizeof(*states);
			commit->state = ok ? states[state] : QCOW2_NL_COMMIT_NONE;
			break;
		case QCOW2BLK_A_COMMIT_ERRNO:
			ok &= read_u32(attr, &commit->error);
			break;
		case QCOW2BLK_A_COMMIT_DONE:
			ok &= read_u64(attr, &commit->done);
			break;
		case QCOW2BLK_A_COMMIT_TOTAL:
			ok &= read_u64(attr, &commit->total);
			break;
		case QCOW2BLK_A_COMMIT_LEFT:
			ok &= read_u64(attr, &commit->left);
			break;
		}
	}
	return ok;
}

static bool take_attr(const struct nlattr *attr, struct qcow2_nl_device *device)
{
	uint32_t index;

	switch (mnl_attr_get_type(attr)) {
	case QCOW2BLK_A_INDEX:
		if (!read_u32(attr, &index))
			return false;
		device->index = index;
		return true;
	case QCOW2BLK_A_PARENT:
		if (!read_u32(attr, &index))
			return false;
		device->parent = index;
		return true;
	case QCOW2BLK_A_SNAPSHOT:
		return read_string(attr, &device->snapshot);
	case QCOW2BLK_A_NAME:
		return read_string(attr, &device->name);
	case QCOW2BLK_A_FLAGS:
		return read_u32(attr, &device->flags);
	case QCOW2BLK_A_CACHE_SIZE:
		return read_u64(attr, &device->cache_size);
	case QCOW2BLK_A_SIZE:
		return read_u64(attr, &device->size);
	case QCOW2BLK_A_LAYERS:
		return take_layers(attr, device);
	case QCOW2BLK_A_STATS:
		return take_stats(attr, device);
	case QCOW2BLK_A_COMMIT:
		return take_commit(attr, &device->commit);
	default:
		return true;
	}
}

static int take_device(const struct nlmsghdr *nlh, void *data)
{
	struct list *list = data;
	struct qcow2_nl_device *device;
	const struct nlattr *attr;

	device = reallocarray(list->devices, list->count + 1, sizeof(*device));
	if (!device)
		qcow2_error_nomem();
	list->devices = device;
	device += list->count++;
	memset(device, 0, sizeof(*device));
	device->parent = QCOW2_NL_ANY_INDEX;
	mnl_attr_for_each(attr, nlh, sizeof(struct genlmsghdr))
		if (!take_attr(attr, device))
			return -EBADMSG;
	return 0;
}

int qcow2_nl_list(struct qcow2_nl *nl, struct qcow2_nl_device **devices,
		  unsigned int *count, struct qcow2_error *err)
{
	struct list list = { };
	struct refusal refusal;
	struct nlmsghdr *nlh;

	*devices = NULL;
	*count = 0;
	if (!nl)
		return 0;
	nlh = start(nl, nl->family, NLM_F_DUMP, QCOW2BLK_CMD_GET, QCOW2BLK_GENL_VERSION);
	if (talk(nl, nlh, take_device, &list, &refusal)) {
		qcow2_nl_free_list(list.devices, list.count);
		return refused(&refusal, QCOW2_EXIT_FAILED, "cannot list devices", err);
	}
	*devices = list.devices;
	*count = list.count;
	return 0;
}

void qcow2_nl_free_list(struct qcow2_nl_device *devices, unsigned int count)
{
	unsigned int i, j;

	for (i = 0; i < count; i++) {
		free(devices[i].snapshot);
		free(devices[i].name);
		for (j = 0; j < devices[i].nr_layers; j++) {
			free(devices[i].layers[j].cipher);
			free(devices[i].layers[j].path);
			free(devices[i].layers[j].data_path);
		}
	}
	free(devices);
}
