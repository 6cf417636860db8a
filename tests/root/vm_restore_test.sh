# What restore refuses, with a real LVM, swap and root disk; partitions that the kernel reads again;
# file systems that grow: in a machine in an emulator.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
. "$TESTS_DIR/cli/disk_fixture.sh"
. "$(dirname "$0")/vm.sh"
vm_program lvm dmsetup mkfs.ext4 e2fsck resize2fs dumpe2fs ntfsresize ntfscat mkswap swapon
vm_program swapoff sfdisk sgdisk chroot
vm_module ext4 dm-mod
vm_requires
requires mkntfs ntfscp mkfs.fat mcopy fdisk

# Sets: a disk whose last partition is ext4, and one whose last is NTFS.
mkdir "$TMP/sets"
make_parts 512
for fs in ext4 ntfs; do
	truncate -s 40M "$TMP/$fs.img"
	table "$TMP/$fs.img" 512 <<'END'
label: gpt
start=1M, size=2M, name=first
start=4M, size=30M, name=last
END
	truncate -s 30M "$TMP/part.$fs"
done
make_ext4 "$TMP/part.ext4" 30M
head -c 0 /dev/null >"$TMP/part.ntfs"
truncate -s 30M "$TMP/part.ntfs"
mkntfs -q -F -Q -s 512 -p 8192 -H 16 -S 63 "$TMP/part.ntfs" >/dev/null 2>&1
ntfscp -q "$TMP/part.ntfs" "$TMP/small/program" program >/dev/null
for fs in ext4 ntfs; do
	put "$TMP/part.$fs" "$TMP/$fs.img" 4
	"$IMGTOOL" backup-disk -q "$TMP/$fs.img" "$TMP/sets/$fs"
done
sha256sum <"$TMP/small/program" >"$TMP/sets/program.sum"
cp --sparse=always "$TMP/ext4.img" "$TMP/sets/ext4.img"
truncate -s 200M "$TMP/vda"
mkfs.ext4 -q -F -d "$TMP/sets" "$TMP/vda"
truncate -s 48M "$TMP/vdc" "$TMP/vdd"
truncate -s 160M "$TMP/vdb" "$TMP/vde"

vm_run 'restore' - "$TMP/vda" "$TMP/vdb" "$TMP/vdc" "$TMP/vdd" "$TMP/vde" <<'VM'
mkdir -p /mnt/sets /mnt/root
mount -o ro /dev/vda /mnt/sets
physical() { # SET DISK [OPTION...]
	"$IMGTOOL" restore-physical --force --yes-destroy "$(basename "$2")" "$1" "$2" "${@:3}"
}
# refused PATTERN DISK DESC: by each command, and not one byte changes
refused() {
	local before
	sync
	before=$(sha256sum <"$2")
	check_status 9 "R5: $3, restore-physical" physical /mnt/sets/ext4 "$2"
	check_grep "$1" "$TMP/err" "$3: why"
	check_status 9 "R5: $3, restore" "$IMGTOOL" restore --force --set-dir /mnt/sets/ext4 \
		--partition 2 --yes-destroy "$(basename "$2")" "$2"
	check_status 9 "R5: $3, clone" "$IMGTOOL" clone --force --yes-destroy "$(basename "$2")" \
		/dev/vda "$2"
	sync
	check_eq "$(sha256sum <"$2")" "$before" "$3: not one byte has changed"
}
lvm pvcreate -q /dev/vdc >/dev/null
lvm vgcreate -q vg /dev/vdc >/dev/null
lvm lvcreate -q -an -Zn -l 10 -n lv vg >/dev/null
lvm vgchange -ay vg >/dev/null
refused 'is in use: .*(LVM|vg-lv|dm-)' /dev/vdc 'a volume group that is in use'
lvm vgchange -an vg >/dev/null
mkswap -q /dev/vdd
swapon /dev/vdd
refused 'is in use: .*swap' /dev/vdd 'swap'
swapoff /dev/vdd
refused 'holds the set' /dev/vda 'the disk that holds the set'

# A root disk: a system of its own, as a process in it sees it.
mkfs.ext4 -q /dev/vde
mount /dev/vde /mnt/root
cp -a /usr /lib /lib64 /bin /sbin /mnt/root/
mkdir -p /mnt/root/{proc,sys,dev,tmp,mnt/sets,etc}
for dir in proc sys dev mnt/sets; do mount --bind /$dir /mnt/root/$dir; done
mount -o remount,ro /mnt/root
sync
before=$(sha256sum </dev/vde)
check_status 9 'R5: the root disk' chroot /mnt/root /usr/bin/imgtool restore-physical --force \
	--yes-destroy vde /mnt/sets/ext4 /dev/vde
check_grep 'root file system' "$TMP/err" 'the root disk: why'
check_eq "$(sha256sum </dev/vde)" "$before" 'the root disk: not one byte has changed'

# The kernel reads the new table; the last file system grows.
check 'ext4: --grow-last' physical /mnt/sets/ext4 /dev/vdb --grow-last --verify-after
check_grep 'its ext4 file system has grown, too' "$TMP/out" 'ext4: says so'
check_eq "$(blockdev --getsize64 /dev/vdb2)" $((155 << 20)) 'ext4: the kernel has the new partition'
check 'ext4: e2fsck' e2fsck -fn /dev/vdb2
check_eq "$(dumpe2fs -h /dev/vdb2 2>/dev/null |
	awk '/^Block count/ { n = $3 } /^Block size/ { print n * $3 }')" $((155 << 20)) \
	'ext4: all of the partition is used'
mount -o ro /dev/vdb2 /mnt/root/tmp
check_eq "$(cat /mnt/root/tmp/deep/er/file)" deep 'ext4: its files are there'
umount /mnt/root/tmp
check_grep 'No problems found' <(sgdisk -v /dev/vdb) 'ext4: the GPT is whole'
check 'ntfs: --grow-last' physical /mnt/sets/ntfs /dev/vdb --grow-last
check_grep 'its ntfs file system has grown, too' "$TMP/out" 'ntfs: says so'
volume=$(ntfsresize -if /dev/vdb2 2>/dev/null | awk '/^Current volume size/ { print $4 }')
[ "$volume" -gt 160000000 ] && ok 'ntfs: the volume is larger' ||
	nok 'ntfs: the volume is larger' "$volume"
check_eq "$(ntfscat -f /dev/vdb2 program | sha256sum)" "$(cat /mnt/sets/program.sum)" \
	'ntfs: its file is there'

# A partition in use: refused before; and a table that can't be read again is said.
check 'ext4 again' physical /mnt/sets/ext4 /dev/vdb
mount /dev/vdb2 /mnt/root/tmp
check_status 9 'R5: a partition of it is mounted' physical /mnt/sets/ext4 /dev/vdb
check_grep 'is in use: .*vdb2' "$TMP/err" 'why'
umount /mnt/root/tmp
check 'a partition of the set to a partition' "$IMGTOOL" restore --yes-destroy vdb2 --verify-after \
	--set-dir /mnt/sets/ext4 --partition last /dev/vdb2
check_grep '^  read back: OK' "$TMP/out" '--verify-after says so'
check 'clone: --grow-last' "$IMGTOOL" clone --force --grow-last --yes-destroy vdb \
	/mnt/sets/ext4.img /dev/vdb
check_grep 'its ext4 file system has grown, too' "$TMP/out" 'clone: says so'
check 'clone: e2fsck' e2fsck -fn /dev/vdb2
check_eq "$(dumpe2fs -h /dev/vdb2 2>/dev/null |
	awk '/^Block count/ { n = $3 } /^Block size/ { print n * $3 }')" $((155 << 20)) \
	'clone: all of the partition is used'
VM

done_testing
