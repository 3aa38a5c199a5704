// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/genetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "events.h"
#include "rig.h"

static struct mnl_socket *sock;

static uint32_t group_id(const struct nlattr *groups)
{
	const struct nlattr *group, *attr;

	mnl_attr_for_each_nested(group, groups) {
		const char *name = "";
		uint32_t id = 0;

		mnl_attr_for_each_nested(attr, group) {
			if (mnl_attr_get_type(attr) == CTRL_ATTR_MCAST_GRP_NAME)
				name = mnl_attr_get_str(attr);
			else if (mnl_attr_get_type(attr) == CTRL_ATTR_MCAST_GRP_ID)
				id = mnl_attr_get_u32(attr);
		}
		if (!strcmp(name, QCOW2BLK_GENL_MCGRP_EVENTS))
			return id;
	}
	return 0;
}

static int find_group(const struct nlmsghdr *nlh, void *data)
{
	const struct nlattr *attr;

	mnl_attr_for_each(attr, nlh, sizeof(struct genlmsghdr)) {
		if (mnl_attr_get_type(attr) == CTRL_ATTR_MCAST_GROUPS)
			*(uint32_t *)data = group_id(attr);
	}
	return MNL_CB_OK;
}

void events_start(void)
{
	char buf[8192];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct genlmsghdr *genl;
	uint32_t group = 0;
	int len;

	sock = mnl_socket_open2(NETLINK_GENERIC, SOCK_CLOEXEC);
	if (!sock || mnl_socket_bind(sock, 0, MNL_SOCKET_AUTOPID) < 0)
		die("no generic netlink: %m");
	nlh->nlmsg_type = GENL_ID_CTRL;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	genl = mnl_nlmsg_put_extra_header(nlh, sizeof(*genl));
	genl->cmd = CTRL_CMD_GETFAMILY;
	genl->version = 1;
	mnl_attr_put_strz(nlh, CTRL_ATTR_FAMILY_NAME, QCOW2BLK_GENL_NAME);
	if (mnl_socket_sendto(sock, nlh, nlh->nlmsg_len) < 0)
		die("no generic netlink: %m");
	len = mnl_socket_recvfrom(sock, buf, sizeof(buf));
	mnl_cb_run(buf, len, 0, 0, find_group, &group);
	if (!group || mnl_socket_setsockopt(sock, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)))
		die("no group of events");
}

struct one_event {
	uint32_t type;
	uint32_t index;
	uint32_t error;
};

static int parse(const struct nlmsghdr *nlh, void *data)
{
	struct one_event *one = data;
	const struct nlattr *attr;

	mnl_attr_for_each(attr, nlh, sizeof(struct genlmsghdr)) {
		switch (mnl_attr_get_type(attr)) {
		case QCOW2BLK_A_EVENT:
			one->type = mnl_attr_get_u32(attr);
			break;
		case QCOW2BLK_A_INDEX:
			one->index = mnl_attr_get_u32(attr);
			break;
		case QCOW2BLK_A_ERRNO:
			one->error = mnl_attr_get_u32(attr);
			break;
		}
	}
	return MNL_CB_OK;
}

static void take(struct events *ev, unsigned int index)
{
	char buf[8192];
	ssize_t len;

	while ((len = recv(mnl_socket_get_fd(sock), buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
		struct one_event one = { .index = UINT32_MAX };

		mnl_cb_run(buf, len, 0, 0, parse, &one);
		if (one.index != index || one.type >= ARRAY_SIZE(ev->count))
			continue;
		ev->count[one.type]++;
		if (one.error)
			ev->last_errno[one.type] = one.error;
	}
}

void events_take(struct events *ev, unsigned int index)
{
	memset(ev, 0, sizeof(*ev));
	take(ev, index);
}

void events_await(struct events *ev, unsigned int index, enum qcow2blk_event type)
{
	memset(ev, 0, sizeof(*ev));
	for (unsigned int ms = 0; ms < 10000; ms += 10) {
		take(ev, index);
		if (ev->count[type])
			return;
		usleep(10 * 1000);
	}
}
