# A snapshot of LVM under a mounted ext4 that is being written: its journal is full of what the file
# system does not show yet. Imaged used-only, restored, it is whole, and has every file that was
# there before.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/vm.sh"
vm_program lvm dmsetup mkfs.ext4 e2fsck md5sum dumpe2fs
vm_module dm-mod dm-snapshot ext4
vm_file "$TESTS_DIR/cli/fixture.sh" /tests/cli/fixture.sh
vm_requires

truncate -s 160M "$TMP/disk"
truncate -s 64M "$TMP/target"
vm_run 'a snapshot' - "$TMP/disk" "$TMP/target" <<'VM'
. /tests/cli/fixture.sh
cd "$TMP"
{
	lvm pvcreate -q /dev/vda
	lvm vgcreate -q vg /dev/vda
	lvm lvcreate -q -y -Zn -L 64M -n data vg
} >/dev/null
dmsetup mknodes
mkfs.ext4 -q /dev/mapper/vg-data
mkdir live back
mount /dev/mapper/vg-data live
for i in $(seq 40); do head -c 200000 /dev/urandom >"live/before$i"; done
# Stale bytes in free space, and files whose blocks come and go while the snapshot is taken.
head -c 9000000 /dev/urandom >live/gone
sync
rm live/gone
(cd live && md5sum before*) >sums
head -c 300000 /dev/urandom >noise
touch writing
rounds=0
while [ -e writing ]; do
	for i in 1 2 3 4 5 6; do cp noise "live/during$i"; done
	rm live/during[135]
	mkdir -p live/d/e/f && rmdir live/d/e/f live/d/e live/d
	rounds=$((rounds + 1))
	echo "$rounds" >rounds
done &
writer=$!
wait_until test -s rounds
lvm lvcreate -q -y -s -L 40M -n snap vg/data >/dev/null
dmsetup mknodes
check 'the file system under the snapshot is dirty' \
	eval 'dumpe2fs -h /dev/mapper/vg-snap 2>/dev/null | grep -q needs_recovery'
check 'the snapshot is imaged while the writer goes on' "$IMGTOOL" image --chunk-size 8M \
	/dev/mapper/vg-snap snap.zst
tap_comment <"$TMP/err"
check_eq "$(cat rounds >before; sleep 1; cmp -s rounds before && echo idle || echo busy)" busy \
	'the writer was busy all the time'
check_eq "$(info_of snap.zst .head.map.kind)" used 'used-only: the journal was taken into account'
[ "$(info_of snap.zst .free_bytes)" -gt 8000000 ] && ok 'free space is left out' ||
	nok 'free space is left out' "$(info_of snap.zst .free_bytes)"
rm writing
wait $writer
check 'the image verifies' "$IMGTOOL" verify -q snap.zst
# Over ones, so that a hole which is not restored shows.
tr '\0' '\377' </dev/zero 2>/dev/null | dd of=/dev/vdb bs=1M count=64 iflag=fullblock status=none
check 'restore' "$IMGTOOL" restore -q --force --yes-destroy vdb snap.zst /dev/vdb
e2fsck -fy /dev/vdb >fsck 2>&1 && status=0 || status=$?
check_eq "$((status & ~1))" 0 'e2fsck: the journal is replayed, and nothing is wrong'
check_fails 'and nothing had to be mended' grep -E 'FIXED|Fix|MODIFIED.*differ' fsck
tap_comment <fsck
check 'a second look finds it clean' e2fsck -fn /dev/vdb
check 'it is mounted' mount -o ro /dev/vdb back
check 'every file that was there before is the same' eval '(cd back && md5sum -c --quiet) <sums'
umount back live
lvm vgremove -q -y vg >/dev/null 2>&1
VM
done_testing
