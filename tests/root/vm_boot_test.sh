# Disks that boot: imaged, restored onto a larger disk, and booted again in an emulator, by the
# machine's own BIOS and the boot loader on the disk. One GPT with an ext4 root, one MBR with
# logical partitions and an NTFS volume that the kernel's ntfs3 mounts.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
. "$TESTS_DIR/cli/disk_fixture.sh"
. "$(dirname "$0")/vm.sh"
vm_module virtio_pci virtio_blk crc32c_generic ext4 ntfs3
vm_requires
requires extlinux mkfs.ext4 mkntfs ntfscp sfdisk sgdisk losetup jq e2fsck
MBR=/usr/lib/syslinux/mbr
[ -e $MBR/mbr.bin ] || skip 'syslinux-common is not installed'

# small_initramfs FILE: busybox, the modules, and an init that goes over to the root on the disk
small_initramfs() {
	local root=$TMP/boot.root
	mkdir -p "$root"/{bin,proc,sys,dev,mnt,lib/modules,vm}
	cp "$(command -v busybox)" "$root/bin/busybox"
	vm_copy_modules "$root"
	printf '%s\n' "${vm_modules[@]}" >"$root/vm/modules"
	cat >"$root/init" <<'SH'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r m; do modprobe "$m"; done </vm/modules
root=$(sed 's/.*imgroot=\([^ ]*\).*/\1/' /proc/cmdline)
mount "$root" /mnt || echo "NO ROOT $root"
mount --move /dev /mnt/dev
exec switch_root /mnt /sbin/init
SH
	chmod +x "$root/init"
	(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$1"
	rm -rf "$root"
}

# boot_part FILE ROOT: an ext4 file system with kernel, loader and the name of the root's partition
boot_part() {
	truncate -s 64M "$1"
	mkfs.ext4 -q -F -O ^64bit,^metadata_csum -L boot "$1"
	loop_of "$1"
	mount_at "$LOOP" "$TMP/boot.mnt"
	cp "$vm_kernel_dir/boot/vmlinuz-$vm_release" "$TMP/boot.mnt/vmlinuz"
	cp "$TMP/small.gz" "$TMP/boot.mnt/initrd.gz"
	mkdir "$TMP/boot.mnt/extlinux"
	cat >"$TMP/boot.mnt/extlinux/extlinux.conf" <<END
SERIAL 0 115200
PROMPT 0
DEFAULT linux
LABEL linux
  KERNEL /vmlinuz
  INITRD /initrd.gz
  APPEND console=ttyS0 quiet loglevel=1 panic=-1 no_timer_check imgroot=$2
END
	extlinux --install "$TMP/boot.mnt/extlinux" >/dev/null 2>&1
	umount "$TMP/boot.mnt"
	losetup -d "$LOOP"
	unset 'tap_cleanups[-1]' 'tap_cleanups[-1]'
}

# root_part FILE MARKER [NTFS]: a root file system that says who it is, and switches the machine off
root_part() {
	local tree=$TMP/root.tree
	rm -rf "$tree"
	mkdir -p "$tree"/{bin,sbin,dev,proc,sys,mnt}
	cp "$(command -v busybox)" "$tree/bin/busybox"
	head -c 3M /dev/urandom >"$tree/data"
	(cd "$tree" && sha256sum data >data.sum)
	cat >"$tree/sbin/init" <<SH
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
exec >/dev/ttyS0 2>&1
cd /
/bin/busybox sha256sum -c data.sum
echo "I AM $2"
if [ -n "${3:-}" ]; then
	/bin/busybox mount -t ntfs3 -o ro "${3:-}" /mnt && /bin/busybox cat /mnt/marker
fi
/bin/busybox poweroff -f
SH
	chmod +x "$tree/sbin/init"
	truncate -s 32M "$1"
	mkfs.ext4 -q -F -L root -d "$tree" "$1"
}

# boot DISK LOG: from the disk alone
boot() {
	timeout --kill-after=5 "${VM_SECONDS:-120}" qemu-system-x86_64 -accel tcg -cpu max -m 512 \
		-nodefaults -nographic -no-reboot -boot c -serial "file:$2" \
		-drive "if=virtio,file=$1,format=raw" </dev/null >/dev/null 2>&1
}

# booted DISK MARKER DESC
booted() {
	check "$3: boots" boot "$1" "$TMP/console"
	tr -d '\r\000' <"$TMP/console" >"$TMP/console.text"
	check_grep "^I AM $2\$" "$TMP/console.text" "$3: its root says so"
	check_grep 'data: OK$' "$TMP/console.text" "$3: and its data is right"
}

small_initramfs "$TMP/small.gz"

# ---- GPT ----
boot_part "$TMP/boot.part" /dev/vda2
root_part "$TMP/root.part" 'the gpt disk'
disk=$TMP/gpt.img
truncate -s 104M "$disk"
table "$disk" 512 <<'END'
label: gpt
start=1M, size=64M, name=boot, attrs="LegacyBIOSBootable"
start=66M, size=32M, name=root
END
put "$TMP/boot.part" "$disk" 1
put "$TMP/root.part" "$disk" 66
dd if=$MBR/gptmbr.bin of="$disk" bs=440 count=1 conv=notrunc status=none
booted "$disk" 'the gpt disk' 'the source'
check 'gpt: backup-disk' "$IMGTOOL" backup-disk -q "$disk" "$TMP/gpt"
rm "$disk"
head -c 2M /dev/urandom >"$TMP/target"
truncate -s 256M "$TMP/target"
loop_of "$TMP/target"
target=$LOOP
check 'gpt: restore-physical onto a larger disk' "$IMGTOOL" restore-physical --force --yes-destroy \
	"$(basename "$target")" --verify-after --grow-last "$TMP/gpt" "$target"
check_grep 'No problems found' <(sgdisk -v "$target") 'gpt: its table is whole'
sync
booted "$TMP/target" 'the gpt disk' 'gpt: the restored disk'
check 'gpt: restore-set with new identities' "$IMGTOOL" restore-set -q --new-guids "$TMP/gpt" \
	"$TMP/ids.img"
booted "$TMP/ids.img" 'the gpt disk' 'gpt: the disk with new identities'

# ---- MBR, logical partitions, NTFS ----
boot_part "$TMP/boot.part" /dev/vda5
root_part "$TMP/root.part" 'the mbr disk' /dev/vda6
truncate -s 16M "$TMP/ntfs.part"
mkntfs -q -F -Q -s 512 -p 0 -H 16 -S 63 "$TMP/ntfs.part" >/dev/null 2>&1
echo 'I AM in the ntfs volume' >"$TMP/marker"
ntfscp -q "$TMP/ntfs.part" "$TMP/marker" marker >/dev/null
disk=$TMP/mbr.img
truncate -s 128M "$disk"
table "$disk" 512 <<'END'
label: dos
start=1M, size=64M, type=83, bootable
start=65M, size=62M, type=5
start=66M, size=32M, type=83
start=100M, size=16M, type=7
END
put "$TMP/boot.part" "$disk" 1
put "$TMP/root.part" "$disk" 66
put "$TMP/ntfs.part" "$disk" 100
dd if=$MBR/mbr.bin of="$disk" bs=440 count=1 conv=notrunc status=none
booted "$disk" 'the mbr disk' 'the source'
check 'mbr: backup-disk' "$IMGTOOL" backup-disk -q "$disk" "$TMP/mbr"
rm "$disk"
dd if=/dev/urandom of="$TMP/target" bs=1M count=2 conv=notrunc status=none
check 'mbr: restore-physical onto a larger disk' "$IMGTOOL" restore-physical --force --yes-destroy \
	"$(basename "$target")" --verify-after "$TMP/mbr" "$target"
check_grep 'No errors detected' <(sfdisk --verify "$target" 2>&1) 'mbr: its table is whole'
sync
booted "$TMP/target" 'the mbr disk' 'mbr: the restored disk'
check_grep '^I AM in the ntfs volume$' "$TMP/console.text" 'mbr: ntfs3 mounts the NTFS partition'
check 'mbr: a clone' "$IMGTOOL" clone -q "$TMP/target" "$TMP/clone.img"
booted "$TMP/clone.img" 'the mbr disk' 'mbr: the clone'

done_testing
