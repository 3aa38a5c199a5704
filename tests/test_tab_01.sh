#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# /etc/qcow2tab: what is wrong with it, by line numbers; attached and detached by name; the units
# that the generator makes of it.
# kernels: uml 6.1
# timeout: 60
. "$(dirname "$0")/test_common.sh"
need qemu-img jq systemd-escape systemd-analyze
at_exit qcow2ctl detach --all

cd "$test_dir" || exit 1
echo 1 >/sys/kernel/rcu_expedited && at_exit 'echo 0 >/sys/kernel/rcu_expedited'
tab() { qcow2ctl tab "$@" --file "$test_dir/qcow2tab"; }
mkdir images
for i in web db old "my data"; do
	qemu-img create -q -f qcow2 "images/$i.qcow2" 4M
done
qemu-img resize -q images/"my data.qcow2" 64G
qcow2ctl snapshot create images/old.qcow2 before

# --- what is wrong --------------------------------------------------------------------------
cat >qcow2tab <<END
# name image options

web	$test_dir/images/web.qcow2
db	images/db.qcow2	noauto
w/eb	$test_dir/images/db.qcow2
only
old	$test_dir/images/old.qcow2	ro,read-ahead=3
web	$test_dir/images/old.qcow2
four	$test_dir/images/old.qcow2	ro	0
value	$test_dir/images/old.qcow2	snapshot
none	$test_dir/images/old.qcow2	repair=1
size	$test_dir/images/old.qcow2	cache-size=much
good	$test_dir/images/my\040data.qcow2	cache-size=1M,_netdev # a comment
END
tab check >out 2>said
check "a file with mistakes fails" test $? = 2
is_said() { check "line $1: $2" grep -qE "qcow2tab:$1: .*$2" said; }
is_said 4 "image 'images/db.qcow2': an absolute path is wanted"
is_said 5 "name 'w/eb': letters, digits"
is_said 6 "name 'only' has no image; a line is NAME IMAGE"
is_said 7 "option 'read-ahead=3' is not known"
is_said 8 "name 'web' stands in line 3 already"
is_said 9 "name 'four' has more than an image and options"
is_said 10 "option 'snapshot' wants a value"
is_said 11 "option 'repair=1' has no value"
check "what attach says" grep -q "cache-size 'much': a number of bytes" said
is_said 12 "name 'size': attach does not take these options"
check "nothing else" test "$(grep -c qcow2tab: said)" = 9
check "lines that are right are used" tab attach good
check "a link may be made of its name" test "$(cat /sys/block/qcow0/qcow2/name)" = good
check "by hand, it is there already" tab attach good
check "its options are taken" jq -e '.[0]."cache-size" == 1048576' <<<"$(qcow2ctl list --json)"
refuse "one that is wrong is not" 2 "no line, or none that is right, has the name 'db'" tab attach db
refuse "what cannot be attached is said with its line" 2 "qcow2tab:12: size is not attached" \
	tab attach size
check "detach" tab detach good
check "once more" tab detach good

# --- all of them ----------------------------------------------------------------------------
cat >qcow2tab <<END
web-1 $test_dir/images/web.qcow2
db $test_dir/images/db.qcow2 noauto,nofail
old $test_dir/images/old.qcow2 snapshot=before,nofail,x-systemd.whatever
far $test_dir/images/my\040data.qcow2 _netdev
END
check "a file that is right" tab check
check "--all attaches all but noauto" tab attach --all
check "that is three" test "$(qcow2ctl list --json | jq -r '[.[].name] | sort | join(" ")')" = "far old web-1"
check "a snapshot is read-only" jq -e '.[] | select(.name == "old") | ."read-only"' <<<"$(qcow2ctl list --json)"
exec 7</dev/"$(qcow2ctl list --json | jq -r '.[] | select(.name == "old") | .device | ltrimstr("/dev/")')"
check "detach of all, one in use" tab detach --all
check "that goes later" test "$(qcow2ctl list --json | jq -r '.[].name')" = old
exec 7<&-
for ((i = 0; i < 100; i++)); do
	[ "$(qcow2ctl list)" ] || break
	sleep 0.05
done
check "none is left" test -z "$(qcow2ctl list)"
check "no file is an empty one" qcow2ctl tab check --file nowhere

# --- units ----------------------------------------------------------------------------------
cat >fstab <<END
/dev/qcow2/web-1 /srv/my\040web ext4 nofail 0 0
/dev/qcow2/old-part2 /old xfs ro 0 0
/dev/qcow2/db none swap sw 0 0
/dev/sda1 / ext4 defaults 0 1
END
sed "s,@SBINDIR@,$test_top/build/userspace,; s,/qcow2ctl$,&,; s,@UNITDIR@,/usr/lib/systemd/system," \
	"$test_top/userspace/packaging/systemd/qcow2blk-generator.in" >generator
mkdir units
check "the generator" env QCOW2TAB="$test_dir/qcow2tab" FSTAB="$test_dir/fstab" sh generator \
	"$test_dir/units" "$test_dir/units" "$test_dir/units"
has() { grep -qxF -- "$2" "units/$1" || { cat "units/$1"; return 1; }; }
web='qcow2blk@web\x2d1.service'
check "a unit for each, wanted by the local ones" test -L "units/local-fs.target.wants/$web" -a \
	-L units/local-fs.target.wants/qcow2blk@old.service
check "or the remote ones" test -L units/remote-fs.target.wants/qcow2blk@far.service
check "but not noauto" test ! -e units/local-fs.target.wants/qcow2blk@db.service
check "after the mount of its image" has "$web.d/50-qcow2tab.conf" \
	"RequiresMountsFor=\"$test_dir/images/web.qcow2\""
check "before local mounts are done" has "$web.d/50-qcow2tab.conf" "Before=local-fs.target"
check "but not nofail" eval "! has qcow2blk@old.service.d/50-qcow2tab.conf Before=local-fs.target >/dev/null"
check "a remote one, after the network" has qcow2blk@far.service.d/50-qcow2tab.conf \
	"After=network-online.target"
check "a mount waits for it" has 'srv-my\x20web.mount.d/50-qcow2tab.conf' "After=$web"
check "also one of a partition" has old.mount.d/50-qcow2tab.conf "After=qcow2blk@old.service"
check "and swap" has dev-qcow2-db.swap.d/50-qcow2tab.conf "Wants=qcow2blk@db.service"
check "others do not" test "$(find units -name '*.mount.d' | wc -l)" = 2
printf 'bad\n' >qcow2tab
check "what is wrong is said" grep -q "qcow2tab:1: name 'bad' has no image" \
	<(QCOW2TAB=$test_dir/qcow2tab FSTAB=/dev/null sh generator "$test_dir/units" 2>&1)
mkdir verify
sed "s,@SBINDIR@,$test_top/build/userspace," "$test_top/userspace/packaging/systemd/qcow2blk@.service.in" \
	>verify/qcow2blk@.service
check "systemd likes the unit" eval "said=\$(systemd-analyze verify --man=no ./verify/qcow2blk@web.service 2>&1); [ -z \"\$(grep qcow2blk <<<\"\$said\")\" ] || { echo \"\$said\"; false; }"
finish
