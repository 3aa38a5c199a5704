#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Malformed images, one fault each: refused in so many words, or an I/O error with one log line.
# timeout: 120
. "$(dirname "$0")/test_common.sh"

check "each malformed image gets its refusal, or its error and nobody else's" \
	"$test_top/build/tests/bad" "$test_dir/image.qcow2"
finish
