// SPDX-License-Identifier: GPL-2.0-or-later
#include "attach.h"
#include "node.h"
#include "temporary.h"

#include <string.h>
#include <sys/stat.h>

void qcow2_temporary_init(struct qcow2_temporary_options *o)
{
	memset(o, 0, sizeof(*o));
	qcow2_chain_policy_init(&o->policy);
}

void qcow2_temporary_free(struct qcow2_temporary_options *o)
{
	qcow2_chain_policy_free(&o->policy);
}

int qcow2_temporary_set(struct qcow2_temporary_options *o, const char *command, int opt,
			const char *value)
{
	struct qcow2_error err;

	switch (opt) {
	case QCOW2_TEMPORARY_BACKING_DIR:
		if (qcow2_chain_policy_allow_dir(&o->policy, value, &err))
			return qcow2_error_print(&err);
		return 0;
	case QCOW2_TEMPORARY_ALLOW_BACKING:
		o->policy.anywhere = true;
		return 0;
	case QCOW2_TEMPORARY_DATA_FILE:
		return qcow2_chain_policy_set_data_file(&o->policy, command, value);
	case QCOW2_TEMPORARY_KEY_FILE:
		return qcow2_key_files_add(&o->key_files, command, value);
	default:
		return qcow2_error_usage(command, NULL);
	}
}

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
		const struct qcow2_temporary_options *o, struct qcow2_error *err)
{
	struct qcow2_nl *nl;
	int ret;

	qcow2_devices_free(&t->devices);
	memset(&t->devices, 0, sizeof(t->devices));
	ret = qcow2_attach_unseen(image, &o->policy, o->top_only, &o->key_files, &nl, &t->index,
				  &t->signals, err);
	t->made = !ret;
	qcow2_nl_close(nl);
	return ret ?: qcow2_devices_read(&t->devices, err);
}

int qcow2_temporary_begin(struct qcow2_temporary *t, const char *name,
			  const struct qcow2_temporary_options *o, struct qcow2_error *err)
{
	sigset_t all;
	int ret;

	t->made = false;
	ret = qcow2_devices_read(&t->devices, err);
	if (!ret && is_unattached(&t->devices, name))
		return make(t, name, o, err);
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
