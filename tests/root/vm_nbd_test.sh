# The kernel's own NBD client: an image that is served here, mounted in the machine; ext4, and NTFS
# by ntfs3.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/vm.sh"
. "$TESTS_DIR/cli/fixture.sh"
. "$TESTS_DIR/cli/serve_fixture.sh"
requires_root
requires mkfs.ext4 mkntfs ntfscp jq nbdkit
vm_program nbd-client md5sum
vm_module nbd ext4 ntfs3
vm_with_network
vm_requires

make_ext4 "$TMP/ext4.img"
make_ntfs "$TMP/ntfs.img"
(cd "$TMP/tree" && md5sum program random hole) >"$TMP/sums"
for fs in ext4 ntfs; do image_quietly --block-size 64K "$TMP/$fs.img" "$TMP/$fs.zst"; done
ports=()
for fs in ext4 ntfs; do
	port=$((20000 + RANDOM % 20000))
	serve serve-nbd "$TMP/$fs.zst" --port $port
	ports+=("$port")
done
vm_run 'the kernel mounts what is served' - <<VM
set -- ${ports[*]}
mkdir "\$TMP/mnt"
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
VM
done_testing
