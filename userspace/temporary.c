// SPDX-License-Identifier: GPL-2.0-or-later
#include "attach.h"
#include "node.h"
#include "temporary.h"

#include <string.h>
#include <sys/stat.h>

/* Is it for us to attach? What is no image, or the top of a device, is not. */
static bool is_unattached(const struct qcow2_devices *devices, const char *name)
{
	struct stat st;
	unsigned int i;
	int index;

	if (qcow2_node_parse(name, &index) || stat(name, &st))
		return false;
	for (i = 0; i < devices->count; i++)
		if (qcow2_device_is_of(&devices->list[i], &st))
			return false;
	return true;
}

static int make(struct qcow2_temporary *t, const char *image,
		const struct qcow2_chain_policy *backing, struct qcow2_error *err)
{
	struct qcow2_nl *nl;
	int ret;

	qcow2_devices_free(&t->devices);
	memset(&t->devices, 0, sizeof(t->devices));
	ret = qcow2_attach_unseen(image, backing, &nl, &t->index, &t->signals, err);
	t->made = !ret;
	qcow2_nl_close(nl);
	return ret ?: qcow2_devices_read(&t->devices, err);
}

int qcow2_temporary_begin(struct qcow2_temporary *t, const char *name,
			  const struct qcow2_chain_policy *backing, struct qcow2_error *err)
{
	sigset_t all;
	int ret;

	t->made = false;
	ret = qcow2_devices_read(&t->devices, err);
	if (!ret && is_unattached(&t->devices, name))
		return make(t, name, backing, err);
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &t->signals);
	return ret ?: qcow2_devices_find(&t->devices, name, &t->index, err);
}

int qcow2_temporary_end(struct qcow2_temporary *t, int ret, struct qcow2_error *err)
{
	char path[QCOW2_NODE_NAME_LEN];
	int error = 0;

	if (t->made)
		error = qcow2_attach_undo(t->devices.nl, t->index);
	if (error && !ret)
		ret = qcow2_error_set(err, QCOW2_EXIT_FAILED, qcow2_node_path(t->index, path),
				      "what was asked for was done, but this device stays attached: %s",
				      strerror(error));
	qcow2_devices_free(&t->devices);
	sigprocmask(SIG_SETMASK, &t->signals, NULL);
	return ret;
}
