# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Sourced by each tests/test_<group>_<nn>.sh: KTAP results, and what is undone at the end.
#
#	# kernels: uml uml-debug 6.1	(a comment in the script: where it runs; default: anywhere)
#	# timeout: 60			(seconds on a fast kernel; tests/run multiplies on slow ones)
#	. "$(dirname "$0")/test_common.sh"
#	check "two and two are four" test $((2 + 2)) = 4
#	finish
#
# Exit status: 0 passed, 1 something failed, 4 all of it was skipped.
set -u

test_top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PATH=$test_top/build/userspace:$PATH
test_count=0 test_failed=0 test_undo=()
# Every test has a directory for itself: tests/run hands one down.
test_dir=$(mktemp -d "${TMPDIR:-/tmp}/test.XXXXXX")

echo "KTAP version 1"

pass() { echo "ok $((++test_count)) - $*"; }
skip() { echo "ok $((++test_count)) - $1 # SKIP ${*:2}"; }

# A failure, and what was seen, one argument a line.
fail() {
	test_failed=$((test_failed + 1))
	echo "not ok $((++test_count)) - $1"
	shift
	[ $# = 0 ] || printf '%s\n' "$@" | sed 's/^/# /'
}

# check DESCRIPTION COMMAND...: passes if the command does; shows its output if not.
check() {
	local what=$1 output status
	shift
	output=$("$@" 2>&1)
	status=$?
	if [ $status = 0 ]; then
		pass "$what"
	else
		fail "$what" "exit status $status: $*" "$output"
	fi
	return $status
}

# refuse DESCRIPTION STATUS PATTERN COMMAND...: passes if the command fails with this exit status
# and says something that the extended regular expression matches.
refuse() {
	local what=$1 want=$2 pattern=$3 output status
	shift 3
	output=$("$@" 2>&1)
	status=$?
	if [ $status != "$want" ]; then
		fail "$what" "exit status $status instead of $want: $*" "$output"
	elif ! grep -qE -- "$pattern" <<<"$output"; then
		fail "$what" "'$pattern' is not in what this said: $*" "$output"
	else
		pass "$what"
	fi
}

# All of the test needs something that is not there.
skip_all() {
	echo "1..0 # SKIP $*"
	exit 4
}

need() {	# TOOL...
	local tool
	for tool; do
		command -v "$tool" >/dev/null || skip_all "$tool is not installed"
	done
}

# For mount -t qcow2, in $test_dir: mount(8) looks for helpers in /sbin, which is read-only in VMs.
have_mount_helpers() {
	local helper
	[ ! -e /sbin/mount.qcow2 ] || return 0
	[ -d /run/root/usr/sbin ] || skip_all "mount.qcow2 is not installed"
	mkdir sbin && cp -as /run/root/usr/sbin/. sbin/
	for helper in mount.qcow2 umount.qcow2; do
		ln -s "$test_top/build/userspace/mount.qcow2" sbin/$helper
	done
	mount --bind sbin /usr/sbin && at_exit umount /usr/sbin
}

# Undo things at the end, last first, whatever happened.
at_exit() { test_undo+=("$*"); }

test_cleanup() {
	local status=$? undo_step
	for ((undo_step = ${#test_undo[@]} - 1; undo_step >= 0; undo_step--)); do
		eval "${test_undo[undo_step]}" >/dev/null 2>&1 || true
	done
	rm -rf "$test_dir"
	exit $status
}
trap test_cleanup EXIT

finish() {
	echo "1..$test_count"
	[ $test_failed = 0 ]
	exit
}
