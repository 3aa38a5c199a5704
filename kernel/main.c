// SPDX-License-Identifier: GPL-2.0
/* qcow2blk: qcow2 images as block devices. The init chain, nothing else. */
#include <linux/module.h>
#include <net/genetlink.h>

#include "cache.h"
#include "debugfs.h"
#include "device.h"
#include "errand.h"
#include "disk.h"
#include "io.h"
#include "mutant.h"
#include "netlink.h"
#include "shutdown.h"
#include "sysfs.h"

#ifdef QCOW2_MUTANTS
unsigned int qcow2_mutant;
module_param_named(mutant, qcow2_mutant, uint, 0644);
MODULE_PARM_DESC(mutant, "which mistake to make, enum qcow2_mutant; 0: none");
#endif

static int __init qcow2blk_init(void)
{
	int err;

	err = qcow2_io_init();
	if (err)
		return err;
	err = qcow2_errand_init();
	if (err)
		goto exit_io;
	qcow2_disk_set_groups(qcow2_sysfs_groups);
	err = qcow2_shutdown_init();
	if (err)
		goto exit_errand;
	err = qcow2_netlink_init();
	if (err)
		goto exit_shutdown;
	qcow2_debugfs_init();
	return 0;

exit_shutdown:
	qcow2_shutdown_exit();
exit_errand:
	qcow2_errand_exit();
exit_io:
	qcow2_io_exit();
	return err;
}

static void __exit qcow2blk_exit(void)
{
	qcow2_debugfs_exit();
	qcow2_netlink_exit();
	qcow2_shutdown_exit();
	qcow2_errand_exit();
	qcow2_cache_exit();
	qcow2_io_exit();
}

module_init(qcow2blk_init);
module_exit(qcow2blk_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("qcow2 images as block devices");
MODULE_ALIAS_GENL_FAMILY(QCOW2BLK_GENL_NAME);
