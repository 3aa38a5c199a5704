// SPDX-License-Identifier: GPL-2.0-or-later
#include "module.h"

#include <errno.h>
#include <libkmod.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#define MODULE_NAME	"qcow2blk"

/* Returns 0 or a negative errno; -ENOENT where this kernel has no such module. */
static int load(void)
{
	struct kmod_ctx *ctx = kmod_new(NULL, NULL);
	struct kmod_list *list = NULL, *item;
	int ret;

	if (!ctx)
		qcow2_error_nomem();
	/* The error is ours to tell. */
	kmod_set_log_priority(ctx, 0);
	ret = kmod_module_new_from_lookup(ctx, MODULE_NAME, &list);
	if (!ret && !list)
		ret = -ENOENT;
	kmod_list_foreach(item, list) {
		struct kmod_module *module = kmod_module_get_module(item);

		ret = kmod_module_probe_insert_module(module, KMOD_PROBE_APPLY_BLACKLIST_ALIAS_ONLY,
						      NULL, NULL, NULL, NULL);
		kmod_module_unref(module);
		if (ret)
			break;
	}
	kmod_module_unref_list(list);
	kmod_unref(ctx);
	return ret;
}

static const char *remedy(int error)
{
	switch (error) {
	case ENOENT:
		return "it is not installed for this kernel: 'make install' or DKMS does that";
	case EPERM:
		return "only root may load modules (try sudo), unless sysctl forbids it";
	case ENOKEY:
	case EKEYREJECTED:
	case EKEYEXPIRED:
	case EKEYREVOKED:
		return "Secure Boot wants it signed with a key that 'mokutil --import' enrolled";
	case ENOEXEC:
	case EINVAL:
		return "it was built for another kernel: build and install it for this one";
	default:
		return "dmesg tells more; 'modprobe " MODULE_NAME "' tries again";
	}
}

int qcow2_module_load(struct qcow2_error *err)
{
	struct utsname uts;
	int ret = load();

	if (!ret || ret == -EEXIST)
		return 0;
	/* libkmod hands positive numbers back for a blacklisted module. */
	if (ret > 0)
		ret = -EACCES;
	uname(&uts);
	return qcow2_error_set(err, QCOW2_EXIT_FAILED, NULL,
			       "cannot load the module " MODULE_NAME " into kernel %s: %s; %s",
			       uts.release, strerror(-ret), remedy(-ret));
}

int qcow2_module_connect(struct qcow2_nl **nl, struct qcow2_error *err)
{
	int ret = qcow2_nl_open(nl, err);

	if (ret || *nl)
		return ret;
	ret = qcow2_module_load(err) ?: qcow2_nl_open(nl, err);
	if (!ret && !*nl)
		ret = qcow2_error_set(err, QCOW2_EXIT_FAILED, NULL,
				      "the module qcow2blk is loaded, but does not answer; is this the initial network namespace?");
	return ret;
}
