// SPDX-License-Identifier: GPL-2.0-or-later
#include "nl_events.h"
#include "node.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/genetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#define SECOND	1000000ULL

/* The group in which generic netlink tells of families that come and go: its number is fixed. */
#define FAMILIES	GENL_ID_CTRL

struct qcow2_nl_events {
	struct mnl_socket *socket;
	uint16_t family;
	int left;			/* bytes of @buffer that are still to be looked at */
	const struct nlmsghdr *next;	/* there */
	char buffer[16384] __attribute__((aligned(NLMSG_ALIGNTO)));
};

static int join(struct qcow2_nl_events *events, uint32_t group)
{
	return mnl_socket_setsockopt(events->socket, NETLINK_ADD_MEMBERSHIP, &group,
				     sizeof(group));
}

int qcow2_nl_events_open(struct qcow2_nl_events **out, const struct qcow2_nl *nl,
			 struct qcow2_error *err)
{
	struct qcow2_nl_events *events = calloc(1, sizeof(*events));
	uint32_t group;

	if (!events)
		qcow2_error_nomem();
	*out = events;
	events->family = qcow2_nl_family(nl, &group);
	events->socket = mnl_socket_open2(NETLINK_GENERIC, SOCK_CLOEXEC);
	if (events->socket && mnl_socket_bind(events->socket, 0, MNL_SOCKET_AUTOPID) >= 0 &&
	    join(events, FAMILIES) >= 0 && join(events, group) >= 0)
		return 0;
	return qcow2_error_set(err, QCOW2_EXIT_FAILED, NULL,
			       "cannot listen to events by generic netlink: %s", strerror(errno));
}

void qcow2_nl_events_close(struct qcow2_nl_events *events)
{
	if (events && events->socket)
		mnl_socket_close(events->socket);
	free(events);
}

static bool is_u32(const struct nlattr *attr)
{
	return mnl_attr_validate(attr, MNL_TYPE_U32) >= 0;
}

static bool is_u64(const struct nlattr *attr)
{
	return mnl_attr_validate(attr, MNL_TYPE_U64) >= 0;
}

static void take_attr(const struct nlattr *attr, struct qcow2_nl_event *event)
{
	switch (mnl_attr_get_type(attr)) {
	case QCOW2BLK_A_EVENT:
		event->type = is_u32(attr) ? mnl_attr_get_u32(attr) : 0;
		break;
	case QCOW2BLK_A_INDEX:
		event->index = is_u32(attr) ? mnl_attr_get_u32(attr) : 0;
		break;
	case QCOW2BLK_A_ERRNO:
		event->error = is_u32(attr) ? mnl_attr_get_u32(attr) : 0;
		break;
	case QCOW2BLK_A_LAYER_INDEX:
		event->layer = is_u32(attr) ? mnl_attr_get_u32(attr) : 0;
		break;
	case QCOW2BLK_A_OFFSET:
		event->offset = is_u64(attr) ? mnl_attr_get_u64(attr) : 0;
		break;
	case QCOW2BLK_A_SIZE:
		event->size = is_u64(attr) ? mnl_attr_get_u64(attr) : 0;
		break;
	}
}

/* Is it our family that is gone? */
static bool names_us(const struct nlmsghdr *nlh)
{
	const struct nlattr *attr;

	mnl_attr_for_each(attr, nlh, sizeof(struct genlmsghdr))
		if (mnl_attr_get_type(attr) == CTRL_ATTR_FAMILY_NAME &&
		    mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) >= 0)
			return !strcmp(mnl_attr_get_str(attr), QCOW2BLK_GENL_NAME);
	return false;
}

/* Is this message an event? */
static bool take_message(const struct qcow2_nl_events *events, const struct nlmsghdr *nlh,
			 struct qcow2_nl_event *event)
{
	const struct genlmsghdr *genl = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *attr;

	memset(event, 0, sizeof(*event));
	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*genl))
		return false;
	if (nlh->nlmsg_type == GENL_ID_CTRL && genl->cmd == CTRL_CMD_DELFAMILY && names_us(nlh)) {
		event->type = QCOW2_NL_EVENT_GONE;
		return true;
	}
	if (nlh->nlmsg_type != events->family || genl->cmd != QCOW2BLK_CMD_EVENT)
		return false;
	mnl_attr_for_each(attr, nlh, sizeof(*genl))
		take_attr(attr, event);
	return true;
}

int qcow2_nl_events_next(struct qcow2_nl_events *events, struct qcow2_nl_event *event,
			 struct qcow2_error *err)
{
	const struct nlmsghdr *nlh;
	ssize_t len;

	for (;;) {
		while (mnl_nlmsg_ok(events->next, events->left)) {
			nlh = events->next;
			events->next = mnl_nlmsg_next(nlh, &events->left);
			if (take_message(events, nlh, event))
				return 0;
		}
		len = mnl_socket_recvfrom(events->socket, events->buffer, sizeof(events->buffer));
		events->next = (const struct nlmsghdr *)events->buffer;
		events->left = len < 0 ? 0 : len;
		if (len < 0 && errno == ENOBUFS) {
			*event = (struct qcow2_nl_event) { .type = QCOW2_NL_EVENT_LOST };
			return 0;
		}
		if (len < 0 && errno == EAGAIN) {
			*event = (struct qcow2_nl_event) { .type = QCOW2_NL_EVENT_NONE };
			return 0;
		}
		if (len < 0 && errno != EINTR)
			return qcow2_error_set(err, QCOW2_EXIT_FAILED, NULL,
					       "cannot listen to events any longer: %s",
					       strerror(errno));
	}
}

/* Have qcow2_nl_events_next() return after @usec. */
static bool set_patience(const struct qcow2_nl_events *events, uint64_t usec)
{
	struct timeval tv = { .tv_sec = usec / SECOND, .tv_usec = usec % SECOND };

	return !setsockopt(mnl_socket_get_fd(events->socket), SOL_SOCKET, SO_RCVTIMEO, &tv,
			   sizeof(tv));
}

uint32_t qcow2_nl_events_detached(struct qcow2_nl_events *events, int index, uint64_t usec)
{
	uint64_t now = qcow2_node_now(), end = now + usec;
	struct qcow2_nl_event event;
	struct qcow2_error ignored;

	for (; events && now < end; now = qcow2_node_now()) {
		if (!set_patience(events, end - now) ||
		    qcow2_nl_events_next(events, &event, &ignored) ||
		    event.type == QCOW2_NL_EVENT_GONE || event.type == QCOW2_NL_EVENT_LOST)
			break;
		if ((event.type == QCOW2BLK_EVENT_DETACHED ||
		     event.type == QCOW2BLK_EVENT_KEPT) && event.index == (uint32_t)index)
			return event.type;
	}
	return QCOW2_NL_EVENT_NONE;
}
