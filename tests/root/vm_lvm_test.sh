# Snapshots under a mounted ext4 that is being written, imaged used-only and restored: whole, and
# with every file that was there before. One of LVM, which freezes the file system for a moment; and
# one of device mapper without that, as storage below the machine makes them: its journal holds what
# the file system does not show yet (R2).
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/vm.sh"
vm_program lvm dmsetup mkfs.ext4 e2fsck md5sum dumpe2fs
vm_module dm-mod dm-snapshot ext4
vm_file "$TESTS_DIR/cli/fixture.sh" /tests/cli/fixture.sh
vm_requires

truncate -s 112M "$TMP/lvm"
truncate -s 64M "$TMP/target" "$TMP/plain" "$TMP/cow"
vm_run 'snapshots' - "$TMP/lvm" "$TMP/target" "$TMP/plain" "$TMP/cow" <<'VM'
. /tests/cli/fixture.sh
cd "$TMP"
mkdir live back
head -c 300000 /dev/urandom >noise

# begin DEVICE: a file system with files, with stale bytes in free space, and with a writer whose
# blocks come and go. Sets WRITER.
begin() {
	local i rounds=0
	mkfs.ext4 -q "$1"
	mount "$1" live
	for i in $(seq 20); do head -c 200000 /dev/urandom >"live/before$i"; done
	head -c 9000000 /dev/urandom >live/gone
	sync
	rm live/gone
	(cd live && md5sum before*) >sums
	rm -f rounds
	touch writing
	while [ -e writing ]; do
		for i in 1 2 3 4 5 6; do cp noise "live/during$i"; done
		rm live/during[135]
		mkdir -p live/d/e/f && rmdir live/d/e/f live/d/e live/d
		# Committed to the journal, and not yet where it belongs.
		sync live
		rounds=$((rounds + 1))
		echo $rounds >rounds
	done &
	WRITER=$!
	wait_until grep -qE '^([3-9]|[0-9]{2,})$' rounds
}

# judge NAME SNAPSHOT: while the writer goes on
judge() {
	local name=$1 status
	check "$name: is imaged while the writer goes on" "$IMGTOOL" image --chunk-size 8M "$2" \
		i.zst
	tap_comment <"$TMP/err"
	cp rounds before
	check "$name: the writer was busy all the time" wait_until eval '! cmp -s rounds before'
	check_eq "$(info_of i.zst .head.map.kind)" used "$name: used-only"
	[ "$(info_of i.zst .free_bytes)" -gt 8000000 ] && ok "$name: free space is left out" ||
		nok "$name: free space is left out" "$(info_of i.zst .free_bytes)"
	rm writing
	wait $WRITER
	check "$name: the image verifies" "$IMGTOOL" verify -q i.zst
	# Over ones, so that a hole which is not restored shows.
	head -c 64M /dev/zero | tr '\0' '\377' >/dev/vdb
	check "$name: restore" "$IMGTOOL" restore -q --force --yes-destroy vdb i.zst /dev/vdb
	# 1: something was mended. That is the journal, and e2fsck has nothing else to say.
	status=0
	e2fsck -fp /dev/vdb >fsck 2>&1 || status=$?
	check_eq "$((status & ~1)) $(grep -v -e ': recovering journal$' -e 'non-contiguous' fsck)" \
		'0 ' "$name: e2fsck finds nothing to mend but the journal"
	tap_comment <fsck
	check "$name: and then it is clean" e2fsck -fn /dev/vdb
	check "$name: it is mounted" mount -o ro /dev/vdb back
	check "$name: every file that was there is the same" \
		eval '(cd back && md5sum -c --quiet) <sums'
	umount back live
	rm i.zst
}

# features DEVICE: of the file system in it
features() { dumpe2fs -h "$1" 2>/dev/null >super && grep '^Filesystem features' super; }

{
	lvm pvcreate -q /dev/vda
	lvm vgcreate -q vg /dev/vda
	lvm lvcreate -q -y -Zn -L 64M -n data vg
} >/dev/null 2>&1
dmsetup mknodes
begin /dev/mapper/vg-data
check 'LVM: a snapshot' lvm lvcreate -q -y -s -L 40M -n snap vg/data
dmsetup mknodes
judge LVM /dev/mapper/vg-snap
lvm vgremove -q -y vg >/dev/null 2>&1

sectors=$(blockdev --getsz /dev/vdc)
device() { # NAME TABLE
	dmsetup create "$1" --table "0 $sectors $2"
	dmsetup mknodes "$1"
}
device base 'linear /dev/vdc 0'
device origin 'linear /dev/mapper/base 0'
begin /dev/mapper/origin
dmsetup suspend --nolockfs origin
device snap 'snapshot /dev/mapper/base /dev/vdd N 8'
dmsetup load origin --table "0 $sectors snapshot-origin /dev/mapper/base"
dmsetup resume origin
check_grep ' needs_recovery' <(features /dev/mapper/snap) \
	'not frozen: the journal is to be replayed'
judge 'not frozen' /dev/mapper/snap
VM
done_testing
