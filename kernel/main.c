// SPDX-License-Identifier: GPL-2.0
/* qcow2blk: attach qcow2 images as block devices. The init chain, nothing else. */
#include <linux/module.h>

static int __init qcow2blk_init(void)
{
	return 0;
}

static void __exit qcow2blk_exit(void)
{
}

module_init(qcow2blk_init);
module_exit(qcow2blk_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("qcow2 images as block devices");
