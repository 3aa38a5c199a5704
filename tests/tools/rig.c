// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/genetlink.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rig.h"

void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(2);
}

uint64_t rig_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* A socket for each thread, for as long as that lives: sequence numbers stay simple. */
static __thread struct mnl_socket *sock;
static pthread_key_t sock_key;
static pthread_once_t sock_once = PTHREAD_ONCE_INIT;
static __thread uint32_t sequence;
static __thread uint16_t family;

struct answer {
	uint32_t index;
	uint32_t flags;
	uint64_t size;
	uint64_t stats[QCOW2BLK_A_STAT_MAX + 1];
	uint8_t commit_state;
	uint32_t commit_error;
	char *sentence;
	size_t sentence_len;
};

static struct nlmsghdr *request(char *buf, uint16_t type, uint8_t command)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct genlmsghdr *genl;

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	nlh->nlmsg_seq = ++sequence;
	genl = mnl_nlmsg_put_extra_header(nlh, sizeof(*genl));
	genl->cmd = command;
	genl->version = QCOW2BLK_GENL_VERSION;
	return nlh;
}

static void take_error(const struct nlmsghdr *nlh, struct answer *answer)
{
	const struct nlmsgerr *err = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *attr;

	if (!(nlh->nlmsg_flags & NLM_F_ACK_TLVS) || !answer->sentence)
		return;
	mnl_attr_for_each(attr, nlh, sizeof(*err)) {
		if (mnl_attr_get_type(attr) == NLMSGERR_ATTR_MSG)
			snprintf(answer->sentence, answer->sentence_len, "%s",
				 mnl_attr_get_str(attr));
	}
}

static void take_data(const struct nlmsghdr *nlh, struct answer *answer)
{
	const struct nlattr *attr, *stat;

	mnl_attr_for_each(attr, nlh, sizeof(struct genlmsghdr)) {
		if (nlh->nlmsg_type == GENL_ID_CTRL) {
			if (mnl_attr_get_type(attr) == CTRL_ATTR_FAMILY_ID)
				family = mnl_attr_get_u16(attr);
			continue;
		}
		switch (mnl_attr_get_type(attr)) {
		case QCOW2BLK_A_INDEX:
			answer->index = mnl_attr_get_u32(attr);
			break;
		case QCOW2BLK_A_COMMIT:
			mnl_attr_for_each_nested(stat, attr) {
				if (mnl_attr_get_type(stat) == QCOW2BLK_A_COMMIT_STATE)
					answer->commit_state = mnl_attr_get_u8(stat);
				else if (mnl_attr_get_type(stat) == QCOW2BLK_A_COMMIT_ERRNO)
					answer->commit_error = mnl_attr_get_u32(stat);
			}
			break;
		case QCOW2BLK_A_FLAGS:
			answer->flags = mnl_attr_get_u32(attr);
			break;
		case QCOW2BLK_A_SIZE:
			answer->size = mnl_attr_get_u64(attr);
			break;
		case QCOW2BLK_A_STATS:
			mnl_attr_for_each_nested(stat, attr) {
				unsigned int type = mnl_attr_get_type(stat);

				if (type > QCOW2BLK_A_STAT_PAD && type <= QCOW2BLK_A_STAT_MAX)
					answer->stats[type] = mnl_attr_get_u64(stat);
			}
			break;
		}
	}
}

/* Send, and read up to the acknowledgment. Return: 0 or negative errno. */
static int talk(struct nlmsghdr *nlh, struct answer *answer)
{
	char buf[64 * 1024];

	if (mnl_socket_sendto(sock, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	for (;;) {
		int len = mnl_socket_recvfrom(sock, buf, sizeof(buf));
		const struct nlmsghdr *reply = (const struct nlmsghdr *)buf;

		if (len < 0)
			return -errno;
		for (; mnl_nlmsg_ok(reply, len); reply = mnl_nlmsg_next(reply, &len)) {
			if (reply->nlmsg_seq != sequence)
				continue;
			if (reply->nlmsg_type != NLMSG_ERROR) {
				take_data(reply, answer);
				continue;
			}
			take_error(reply, answer);
			return ((const struct nlmsgerr *)mnl_nlmsg_get_payload(reply))->error;
		}
	}
}

static void hang_up(void *socket)
{
	mnl_socket_close(socket);
}

static void make_sock_key(void)
{
	if (pthread_key_create(&sock_key, hang_up))
		die("no key for threads");
}

static void connect_to_module(void)
{
	char buf[1024];
	struct answer answer = { 0 };
	struct nlmsghdr *nlh;
	int one = 1;

	if (sock)
		return;
	sock = mnl_socket_open2(NETLINK_GENERIC, SOCK_CLOEXEC);
	if (!sock || mnl_socket_bind(sock, 0, MNL_SOCKET_AUTOPID) < 0)
		die("no generic netlink: %m");
	pthread_once(&sock_once, make_sock_key);
	pthread_setspecific(sock_key, sock);
	mnl_socket_setsockopt(sock, NETLINK_EXT_ACK, &one, sizeof(one));
	mnl_socket_setsockopt(sock, NETLINK_CAP_ACK, &one, sizeof(one));
	nlh = request(buf, GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
	mnl_attr_put_strz(nlh, CTRL_ATTR_FAMILY_NAME, QCOW2BLK_GENL_NAME);
	if (talk(nlh, &answer) || !family)
		die("the kernel does not know %s: is the module loaded?", QCOW2BLK_GENL_NAME);
}

/* The key of an encrypted layer, if there is one. @file: where it is, or NULL. */
static void put_key(struct nlmsghdr *nlh, int fd, const char *file)
{
	char path[4096], link[64], cipher[128], hex[2 * QCOW2BLK_MAX_KEY + 1];
	uint8_t key[QCOW2BLK_MAX_KEY];
	unsigned int iv, len = 0;
	ssize_t path_len;
	FILE *f;

	if (!file) {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		path_len = readlink(link, path, sizeof(path) - sizeof(".key"));
		if (path_len < 0)
			return;
		strcpy(path + path_len, ".key");
		file = path;
	}
	f = fopen(file, "re");
	if (!f)
		return;
	if (fscanf(f, "%127s %u %256s", cipher, &iv, hex) != 3)
		die("%s: no key", file);
	fclose(f);
	for (const char *p = hex; sscanf(p, "%2hhx", &key[len]) == 1; p += 2)
		len++;
	mnl_attr_put_strz(nlh, QCOW2BLK_A_LAYER_CIPHER, cipher);
	mnl_attr_put_u8(nlh, QCOW2BLK_A_LAYER_IV, iv);
	mnl_attr_put(nlh, QCOW2BLK_A_LAYER_KEY, len, key);
}

int rig_attach(struct rig_attach *a)
{
	char buf[32768];
	struct answer answer = {
		.sentence = a->sentence,
		.sentence_len = sizeof(a->sentence),
	};
	struct nlattr *layers, *layer;
	struct nlmsghdr *nlh;
	int err;

	connect_to_module();
	a->sentence[0] = '\0';
	nlh = request(buf, family, QCOW2BLK_CMD_ATTACH);
	mnl_attr_put_u32(nlh, QCOW2BLK_A_FLAGS,
			 a->flags | (a->writable ? 0 : QCOW2BLK_F_READ_ONLY));
	mnl_attr_put_u8(nlh, QCOW2BLK_A_DIRECT_IO, a->direct_io);
	if (a->cache_size)
		mnl_attr_put_u64(nlh, QCOW2BLK_A_CACHE_SIZE, a->cache_size);
	if (a->want_index)
		mnl_attr_put_u32(nlh, QCOW2BLK_A_INDEX, a->want_index - 1);
	layers = mnl_attr_nest_start(nlh, QCOW2BLK_A_LAYERS);
	for (unsigned int i = 0; i < a->count; i++) {
		layer = mnl_attr_nest_start(nlh, QCOW2BLK_A_LAYER);
		mnl_attr_put_u32(nlh, QCOW2BLK_A_LAYER_FD, a->fds[i]);
		mnl_attr_put_u8(nlh, QCOW2BLK_A_LAYER_FORMAT,
				a->raw[i] ? QCOW2BLK_FORMAT_RAW : QCOW2BLK_FORMAT_QCOW2);
		put_key(nlh, a->fds[i], i ? NULL : a->key_file);
		if (a->data_fds[i])
			mnl_attr_put_u32(nlh, QCOW2BLK_A_LAYER_DATA_FD, a->data_fds[i]);
		mnl_attr_nest_end(nlh, layer);
	}
	mnl_attr_nest_end(nlh, layers);
	err = talk(nlh, &answer);
	if (err)
		return err;
	a->size = answer.size;
	return answer.index;
}

int rig_send(uint8_t command, void (*put)(struct nlmsghdr *nlh), char *sentence)
{
	char buf[16384];
	struct answer answer = { .sentence = sentence, .sentence_len = 256 };
	struct nlmsghdr *nlh;

	connect_to_module();
	if (sentence)
		sentence[0] = '\0';
	nlh = request(buf, family, command);
	if (put)
		put(nlh);
	return talk(nlh, &answer);
}

size_t rig_send_back(uint8_t command, void (*put)(struct nlmsghdr *nlh), void *back, size_t size)
{
	const struct nlmsgerr *err;
	char buf[16384];
	struct nlmsghdr *nlh;
	int len, caps = 0;

	connect_to_module();
	mnl_socket_setsockopt(sock, NETLINK_CAP_ACK, &caps, sizeof(caps));
	nlh = request(buf, family, command);
	put(nlh);
	len = mnl_socket_sendto(sock, nlh, nlh->nlmsg_len) < 0 ? 0 :
	      mnl_socket_recvfrom(sock, buf, sizeof(buf));
	caps = 1;
	mnl_socket_setsockopt(sock, NETLINK_CAP_ACK, &caps, sizeof(caps));
	if (!mnl_nlmsg_ok(nlh, len) || nlh->nlmsg_type != NLMSG_ERROR)
		return 0;
	err = mnl_nlmsg_get_payload(nlh);
	if (!err->error || nlh->nlmsg_flags & NLM_F_CAPPED || err->msg.nlmsg_len > size)
		return 0;
	memcpy(back, &err->msg, err->msg.nlmsg_len);
	return err->msg.nlmsg_len;
}

static int send_detach(int index, uint32_t flags)
{
	char buf[1024];
	struct answer answer = { 0 };
	struct nlmsghdr *nlh;

	connect_to_module();
	nlh = request(buf, family, QCOW2BLK_CMD_DETACH);
	mnl_attr_put_u32(nlh, QCOW2BLK_A_INDEX, index);
	if (flags)
		mnl_attr_put_u32(nlh, QCOW2BLK_A_FLAGS, flags);
	return talk(nlh, &answer);
}

int rig_try_detach(int index)
{
	return send_detach(index, 0);
}

int rig_force_detach(int index)
{
	return send_detach(index, QCOW2BLK_F_FORCE);
}

int rig_lazy_detach(int index)
{
	return send_detach(index, QCOW2BLK_F_LAZY);
}

int rig_snapshot(int index, uint8_t op, const char *name)
{
	char buf[1024];
	struct answer answer = { 0 };
	struct nlmsghdr *nlh;

	connect_to_module();
	nlh = request(buf, family, QCOW2BLK_CMD_SNAPSHOT);
	mnl_attr_put_u32(nlh, QCOW2BLK_A_INDEX, index);
	mnl_attr_put_u8(nlh, QCOW2BLK_A_SNAPSHOT_OP, op);
	mnl_attr_put_strz(nlh, QCOW2BLK_A_SNAPSHOT, name);
	if (op == QCOW2BLK_SNAPSHOT_APPLY)
		mnl_attr_put_u32(nlh, QCOW2BLK_A_FLAGS, QCOW2BLK_F_FORCE);
	return talk(nlh, &answer);
}

int rig_resize(int index, uint64_t size)
{
	char buf[1024];
	struct answer answer = { 0 };
	struct nlmsghdr *nlh;

	connect_to_module();
	nlh = request(buf, family, QCOW2BLK_CMD_RESIZE);
	mnl_attr_put_u32(nlh, QCOW2BLK_A_INDEX, index);
	mnl_attr_put_u64(nlh, QCOW2BLK_A_SIZE, size);
	mnl_attr_put_u32(nlh, QCOW2BLK_A_FLAGS, QCOW2BLK_F_SHRINK);
	return talk(nlh, &answer);
}

uint8_t rig_parse_direct_io(const char *word)
{
	static const char *const modes[] = { "auto", "on", "off" };

	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		if (!strcmp(word, modes[i]))
			return i;
	}
	die("--direct-io: auto, on or off");
}

int rig_detach(int index)
{
	int err = -EBUSY;

	for (int tries = 0; tries < 500 && err == -EBUSY; tries++) {
		if (tries)
			usleep(10000);
		err = rig_try_detach(index);
	}
	return err;
}

static struct answer get_device(int index)
{
	char buf[1024];
	struct answer answer = { 0 };
	struct nlmsghdr *nlh;

	connect_to_module();
	nlh = request(buf, family, QCOW2BLK_CMD_GET);
	mnl_attr_put_u32(nlh, QCOW2BLK_A_INDEX, index);
	if (talk(nlh, &answer))
		die("cannot ask for device %d", index);
	return answer;
}

uint64_t rig_stat(int index, unsigned int stat)
{
	return get_device(index).stats[stat];
}

bool rig_exists(int index)
{
	char buf[1024];
	struct answer answer = { 0 };
	struct nlmsghdr *nlh;

	connect_to_module();
	nlh = request(buf, family, QCOW2BLK_CMD_GET);
	mnl_attr_put_u32(nlh, QCOW2BLK_A_INDEX, index);
	return talk(nlh, &answer) != -ENODEV;
}

uint32_t rig_flags(int index)
{
	return get_device(index).flags;
}

static int commit_step(int index, uint8_t op, int fd)
{
	char buf[1024];
	struct answer answer = { 0 };
	struct nlattr *layers, *layer;
	struct nlmsghdr *nlh;

	connect_to_module();
	nlh = request(buf, family, QCOW2BLK_CMD_COMMIT);
	mnl_attr_put_u32(nlh, QCOW2BLK_A_INDEX, index);
	mnl_attr_put_u8(nlh, QCOW2BLK_A_COMMIT_OP, op);
	if (op == QCOW2BLK_COMMIT_OPEN) {
		layers = mnl_attr_nest_start(nlh, QCOW2BLK_A_LAYERS);
		layer = mnl_attr_nest_start(nlh, QCOW2BLK_A_LAYER);
		mnl_attr_put_u32(nlh, QCOW2BLK_A_LAYER_FD, fd);
		mnl_attr_put_u8(nlh, QCOW2BLK_A_LAYER_FORMAT, QCOW2BLK_FORMAT_QCOW2);
		mnl_attr_nest_end(nlh, layer);
		mnl_attr_nest_end(nlh, layers);
	}
	return talk(nlh, &answer);
}

int rig_commit(int index, int fd)
{
	struct answer answer;
	int err = commit_step(index, QCOW2BLK_COMMIT_OPEN, fd);

	if (!err)
		err = commit_step(index, QCOW2BLK_COMMIT_START, -1);
	if (err)
		return err;
	do {
		usleep(1000);
		answer = get_device(index);
	} while (answer.commit_state == QCOW2BLK_COMMIT_RUNNING);
	return -(int)answer.commit_error;
}

int rig_open_disk(int index, int flags)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/dev/" QCOW2BLK_DISK_NAME "%d", index);
	fd = open(path, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int rig_pread(int fd, void *buf, size_t len, off_t off)
{
	while (len) {
		ssize_t done = pread(fd, buf, len, off);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		if (!done)
			return -ENODATA;
		buf = (char *)buf + done;
		len -= done;
		off += done;
	}
	return 0;
}

void rig_log_start(struct rig_log *log)
{
	memset(log, 0, sizeof(*log));
	log->fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (log->fd < 0)
		die("/dev/kmsg: %m");
	lseek(log->fd, 0, SEEK_END);
}

static bool is_splat(const char *text)
{
	static const char *const complaints[] = {
		"BUG:", "WARNING:", "Oops", "KASAN:", "UBSAN:", "general protection",
		"Kernel panic", "unreferenced object", "blocked for more than", "soft lockup",
		"refcount_t:", "corruption", "sleeping function called", "scheduling while atomic",
		"possible circular", "inconsistent lock", "suspicious RCU",
	};

	for (size_t i = 0; i < ARRAY_SIZE(complaints); i++) {
		if (strstr(text, complaints[i]))
			return true;
	}
	return false;
}

/* A record is "priority,sequence,time,flags;text\n", and perhaps lines of key=value. */
void rig_log_read(struct rig_log *log)
{
	char record[8192];

	log->lines = 0;
	log->line[0] = '\0';
	log->splat[0] = '\0';
	for (;;) {
		ssize_t len = read(log->fd, record, sizeof(record) - 1);
		char *text, *end;

		if (len < 0 && errno == EPIPE)	/* overwritten before we came */
			continue;
		if (len <= 0)
			return;
		record[len] = '\0';
		text = strchr(record, ';');
		if (!text)
			continue;
		text++;
		end = strchr(text, '\n');
		if (end)
			*end = '\0';
		if (is_splat(text) && !log->splat[0])
			snprintf(log->splat, sizeof(log->splat), "%s", text);
		if (strstr(text, QCOW2BLK_GENL_NAME ": ") == text) {
			log->lines++;
			snprintf(log->line, sizeof(log->line), "%s", text);
		}
	}
}
