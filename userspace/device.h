/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Attached devices as the commands see them: found by name or image, shown as JSON. */
#ifndef QCOW2CTL_DEVICE_H
#define QCOW2CTL_DEVICE_H

#include "chain.h"
#include "nl.h"

#include <json-c/json.h>
#include <sys/stat.h>

/**
 * struct qcow2_devices - all attached devices, at one moment
 * @nl: the connection; NULL where the module is not loaded.
 * @list: by rising index.
 * @count: how many.
 */
struct qcow2_devices {
	struct qcow2_nl *nl;
	struct qcow2_nl_device *list;
	unsigned int count;
};

/**
 * qcow2_devices_read() - ask the kernel
 * @devices: (out) to be given to qcow2_devices_free(), also on error.
 * @err: (out) filled in on error.
 *
 * Return: 0, also where the module is not loaded, or QCOW2_EXIT_FAILED.
 */
int qcow2_devices_read(struct qcow2_devices *devices, struct qcow2_error *err);

/**
 * qcow2_devices_free() - release what qcow2_devices_read() took
 * @devices: the devices.
 */
void qcow2_devices_free(struct qcow2_devices *devices);

/**
 * qcow2_device_is_committed() - is it being merged into its backing file now?
 * @index: its number.
 *
 * Return: true if so; the kernel does that by itself, no process may be seen to use the device.
 */
bool qcow2_device_is_committed(int index);

/**
 * qcow2_devices_by_index() - find a device by its number
 * @devices: where to look.
 * @index: the number.
 *
 * Return: the device, or NULL.
 */
const struct qcow2_nl_device *qcow2_devices_by_index(const struct qcow2_devices *devices,
						     int index);

/**
 * qcow2_devices_find() - find a device by what a user calls it
 * @devices: where to look.
 * @name: /dev/qcowN, qcowN, or the image that one device was made of.
 * @index: (out) its number.
 * @err: (out) filled in on error.
 *
 * Return: 0, QCOW2_EXIT_USAGE where there is none, QCOW2_EXIT_FAILED where there are several.
 */
int qcow2_devices_find(const struct qcow2_devices *devices, const char *name, int *index,
		       struct qcow2_error *err);

/**
 * qcow2_devices_open_image() - open the image that the user names, or that of a device
 * @devices: all devices.
 * @name: an image, or a device as qcow2_node_parse() knows them.
 * @policy: see qcow2_chain_open_top().
 * @device: (out) the device that was named, or NULL.
 * @chain: (out) the top layer, to be given to qcow2_chain_close(), also on error. It is qcow2
 *	where no device says otherwise.
 * @err: (out) filled in on error.
 *
 * Return: 0, QCOW2_EXIT_USAGE where there is no such device or file, or QCOW2_EXIT_FAILED.
 */
int qcow2_devices_open_image(const struct qcow2_devices *devices, const char *name,
			     const struct qcow2_chain_policy *policy,
			     const struct qcow2_nl_device **device, struct qcow2_chain *chain,
			     struct qcow2_error *err);

/**
 * qcow2_device_is_of() - is this file the top layer of a device?
 * @device: the device.
 * @st: the file.
 *
 * Return: true if so.
 */
bool qcow2_device_is_of(const struct qcow2_nl_device *device, const struct stat *st);

/**
 * qcow2_device_image() - what the user has attached
 * @device: the device.
 *
 * Return: its top layer; the one below where the top is a temporary file.
 */
const struct qcow2_nl_layer *qcow2_device_image(const struct qcow2_nl_device *device);

/**
 * qcow2_device_has_data() - is this the external data file of a device's top layer?
 * @device: the device.
 * @st: the file.
 *
 * Return: true if so.
 */
bool qcow2_device_has_data(const struct qcow2_nl_device *device, const struct stat *st);

/**
 * qcow2_device_has() - is this file any layer of a device, or the data file of one?
 * @device: the device.
 * @st: the file.
 *
 * Return: true if so.
 */
bool qcow2_device_has(const struct qcow2_nl_device *device, const struct stat *st);

/**
 * qcow2_device_explain_lock() - a layer cannot be locked: is it a device of ours that has it?
 * @layer: the layer.
 * @otherwise: what else the user can do where the device only reads it: ", or ...".
 * @err: filled in anew if so.
 */
void qcow2_device_explain_lock(const struct qcow2_layer *layer, const char *otherwise,
			       struct qcow2_error *err);

/**
 * qcow2_device_stats_json() - the counters of a device
 * @device: the device.
 *
 * Return: a new JSON object.
 */
struct json_object *qcow2_device_stats_json(const struct qcow2_nl_device *device);

/**
 * qcow2_device_json() - describe a device
 * @device: the device.
 *
 * Return: a new JSON object.
 */
struct json_object *qcow2_device_json(const struct qcow2_nl_device *device);

#endif /* QCOW2CTL_DEVICE_H */
