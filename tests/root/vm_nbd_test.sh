# The kernel's own NBD client: an image that is served here, mounted in the machine; ext4, NTFS by
# ntfs3, and a partition of a whole disk. The commands are those of docs/MOUNTING.md.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/vm.sh"
. "$TESTS_DIR/cli/fixture.sh"
. "$TESTS_DIR/cli/serve_fixture.sh"
requires_root
requires mkfs.ext4 mkntfs ntfscp jq nbdkit sfdisk
vm_program nbd-client md5sum
vm_module loop ext4 ntfs3
vm_packed_module nbd
vm_with_network
vm_requires

make_ext4 "$TMP/ext4.img"
make_ntfs "$TMP/ntfs.img"
(cd "$TMP/tree" && md5sum program random hole) >"$TMP/sums"
truncate -s 66M "$TMP/disk.img"
sfdisk -q "$TMP/disk.img" <<<$'label: gpt\nstart=2048, size=131072'
dd if="$TMP/ext4.img" of="$TMP/disk.img" bs=1M seek=1 conv=notrunc status=none
ports=()
for what in ext4 ntfs disk; do
	image_quietly --block-size 64K "$TMP/$what.img" "$TMP/$what.zst"
	port=$((20000 + RANDOM % 20000))
	serve serve-nbd "$TMP/$what.zst" --port $port
	ports+=("$port")
done
vm_run 'the kernel mounts what is served' - <<VM
set -- ${ports[*]}
mkdir "\$TMP/mnt"
check 'the module' modprobe nbd max_part=16
cat >"\$TMP/sums" <<'SUMS'
$(cat "$TMP/sums")
SUMS
check 'nbd-client takes the ext4 image' nbd-client 10.0.2.2 \$1 /dev/nbd0 -readonly
check 'and ext4 mounts it' mount -t ext4 -o ro,noload /dev/nbd0 "\$TMP/mnt"
check 'its files are right' sh -c "cd '\$TMP/mnt' && md5sum -c '\$TMP/sums'"
umount "\$TMP/mnt"
nbd-client -d /dev/nbd0
check 'nbd-client takes the NTFS image' nbd-client 10.0.2.2 \$2 /dev/nbd1 -readonly
check 'and ntfs3 mounts it' mount -t ntfs3 -o ro /dev/nbd1 "\$TMP/mnt"
check 'its files are right too' sh -c "cd '\$TMP/mnt' && md5sum -c '\$TMP/sums'"
umount "\$TMP/mnt"
nbd-client -d /dev/nbd1
check 'nbd-client takes the image of a disk' nbd-client 10.0.2.2 \$3 /dev/nbd2 -readonly
blockdev --rereadpt /dev/nbd2 # what udev does elsewhere: who opens it makes the kernel look
check 'its partition mounts' mount -o ro,noload /dev/nbd2p1 "\$TMP/mnt"
check 'and its files are right' sh -c "cd '\$TMP/mnt' && md5sum -c '\$TMP/sums'"
loop=\$(losetup -rPf --show /dev/nbd2)
check 'losetup -P shows the partition, too' cmp \${loop}p1 /dev/nbd2p1
losetup -d \$loop
umount "\$TMP/mnt"
nbd-client -d /dev/nbd2
VM
done_testing
