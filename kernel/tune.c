// SPDX-License-Identifier: GPL-2.0
/* What of a device is set while it is in use. See device.h for the contracts. */
#include "device.h"

int qcow2_device_set_cache(u32 index, u64 bytes, const char **why)
{
	struct qcow2_device *dev = qcow2_device_claim(index);
	unsigned int noio;
	int err;

	*why = IS_ERR(dev) && PTR_ERR(dev) == -ENODEV ? "no such device" :
							"the device is being changed";
	if (IS_ERR(dev))
		return PTR_ERR(dev);
	dev->cache_wanted = bytes;
	noio = qcow2_disk_pause(&dev->disk);
	err = qcow2_chain_set_cache(&dev->target.chain, bytes, &dev->cache_size);
	qcow2_disk_resume(&dev->disk, noio);
	qcow2_device_unclaim(dev);
	*why = "there is not enough memory for a cache of that size";
	return err;
}
