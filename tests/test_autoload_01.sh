#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Who asks for the netlink family gets the module loaded: nobody needs modprobe.
# timeout: 20
. "$(dirname "$0")/test_common.sh"
need modinfo setpriv

check "the module has the family's alias" eval \
	"modinfo -F alias qcow2blk | grep -qx net-pf-16-proto-16-family-qcow2blk"
qcow2ctl detach --all >/dev/null
check "it is unloaded" rmmod qcow2blk
# Nobody, who may not load modules.
check "nobody asks what is attached" setpriv --reuid 65534 --clear-groups qcow2ctl list
check "that has loaded it" test -d /sys/module/qcow2blk
finish
