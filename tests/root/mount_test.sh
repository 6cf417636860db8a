# imgtool mount: the files of images and sets, used by loop devices, the kernel and ntfs-3g.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
. "$TESTS_DIR/cli/serve_fixture.sh"
requires_root
requires mkfs.ext4 mkntfs ntfs-3g zstd jq sfdisk losetup fusermount3

src=$TMP/src.img
img=$TMP/i.zst
raw=$TMP/raw.img
dir=$TMP/mnt
mkdir "$dir" "$TMP/inside"
make_ext4 "$src"
image_quietly --chunk-size 4M --block-size 64K "$src" "$img"
zstd -q -dc "$img" >"$raw"
unmount_all() { umount -l "$TMP/inside" "$dir" 2>/dev/null || true; }
cleanup unmount_all

serve mount "$img" "$dir"
check_eq "$address" "$dir" 'it says where'
check_eq "$(ls "$dir" | tr '\n' ' ')" 'disk.img info.json ' 'a volume has one file, and facts'
check_eq "$(jq -c '[.bytes, .offset]' "$dir/info.json")" "[$(stat -c %s "$raw"),0]" 'info.json'
same_file "$dir/disk.img" "$raw" 'disk.img is the volume'
check_fails 'nothing can be written' dd if=/dev/zero of="$dir/disk.img" bs=1 count=1 conv=notrunc
check_fails 'no file can be made' touch "$dir/new"
cp --sparse=auto "$dir/disk.img" "$TMP/copy"
same_file "$TMP/copy" "$raw" 'a copy is right'
# The file's holes are the image's: SEEK_HOLE answers.
check_eq "$(python3 - "$dir/disk.img" <<'PY'
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
size, at, data = os.fstat(fd).st_size, 0, 0
while at < size:
    try:
        start = os.lseek(fd, at, os.SEEK_DATA)
    except OSError:
        break
    at = os.lseek(fd, start, os.SEEK_HOLE)
    data += at - start
print(data)
PY
)" "$(info_of "$img" .data_bytes)" 'SEEK_DATA and SEEK_HOLE say what is data'
loop=$(losetup -r -f --show "$dir/disk.img")
cleanup losetup -d "$loop"
check 'the kernel mounts it through a loop device' mount -o ro,noload "$loop" "$TMP/inside"
check 'every file is there' diff -r "$TMP/tree" "$TMP/inside" -x lost+found
umount "$TMP/inside"
losetup -d "$loop"
exec 7<"$dir/disk.img"
stop_server
check_eq $status 0 'a signal unmounts it, also while a file is open'
exec 7<&-
check_eq "$(ls "$dir" | wc -l)" 0 'it is gone'
serve mount "$img" "$dir"
umount "$dir"
status=0
wait "$server" || status=$?
check_eq $status 0 'unmounted from outside, it ends'

# ---- NTFS ----
make_ntfs "$TMP/ntfs.img"
image_quietly "$TMP/ntfs.img" "$TMP/n.zst"
serve mount "$TMP/n.zst" --mount-point "$dir"
check 'ntfs-3g -o ro takes the file' ntfs-3g -o ro "$dir/disk.img" "$TMP/inside"
same_file "$TMP/inside/random" "$TMP/tree/random" 'its files are right'
umount "$TMP/inside"
stop_server

# ---- Damage: errors for the damaged block alone ----
find_block "$img"
cp "$img" "$TMP/bad.zst"
flip "$TMP/bad.zst" $((at + 100))
serve mount "$TMP/bad.zst" "$dir"
check_fails 'a damaged block' dd if="$dir/disk.img" of=/dev/null bs=4096 count=1 \
	skip=$((block / 4096))
check_grep 'Input/output error' "$TMP/err" 'is an input/output error'
dd if="$dir/disk.img" of="$TMP/good" bs=65536 count=16 status=none \
	skip=$(((block + length) / 65536))
same_file "$TMP/good" <(tail -c +$((block + length + 1)) "$raw" | head -c 1M) 'what follows is not'
stop_server
check_eq "$(events served <"$TMP/served" | jq '.server.failures > 0')" true 'and it is counted'

# ---- A set ----
truncate -s 96M "$TMP/disk"
sfdisk -q "$TMP/disk" <<'TABLE'
label: gpt
start=2048, size=131072, name=data
start=135168, size=40960, name=rest
TABLE
dd if="$raw" of="$TMP/disk" bs=1M seek=1 conv=notrunc status=none
"$IMGTOOL" backup-disk --quiet --device "$TMP/disk" --set-dir "$TMP/set"
serve mount --set-dir "$TMP/set" "$dir"
check_eq "$(ls "$dir" | tr '\n' ' ')" 'disk.img info.json partition-1.img partition-2.img ' \
	'a disk has a file for each partition'
same_file "$dir/disk.img" "$TMP/disk" 'the disk'
same_file "$dir/partition-1.img" "$raw" 'a partition'
check_eq "$(jq -c '[.partitions[].name]' "$dir/info.json")" '["data","rest"]' \
	'info.json names them'
stop_server
serve mount "$TMP/set" "$dir" --partition data --offset 4K --length 8K --cache-size 1M \
	--read-ahead 1
same_file "$dir/disk.img" <(tail -c +4097 "$raw" | head -c 8192) '--partition, --offset, --length'
stop_server
check_eq "$(events served <"$TMP/served" | jq .cache.limit_bytes)" 1048576 '--cache-size'

# ---- A table that cannot be read ----
image_quietly --block-size 64K "$TMP/disk" "$TMP/disk.zst"
find_block "$TMP/disk.zst" 50
check_eq "$block" 0 'the table is in the first block'
flip "$TMP/disk.zst" $((at + 30))
serve mount "$TMP/disk.zst" "$dir"
check_eq "$(ls "$dir" | tr '\n' ' ')" 'disk.img info.json ' 'a disk whose table is damaged'
check_grep 'no files of partitions: .*source offset 0' \
	<(events warning <"$TMP/served" | jq -r .text) 'says why it has no partitions'
check_grep 'source offset 0' <(jq -r .partitions_error "$dir/info.json") 'also in info.json'
stop_server

# ---- Others ----
chmod 755 "$tap_dir" "$TMP"
as_nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
serve mount "$img" "$dir"
check_fails 'another user sees nothing' as_nobody cat "$dir/info.json"
stop_server
serve mount "$img" "$dir" --allow-other
check '--allow-other: another user may look' as_nobody cat "$dir/info.json"
stop_server
check_status 3 'a directory that does not exist' "$IMGTOOL" mount "$img" "$TMP/none"
check_status 2 'a file as a directory' "$IMGTOOL" mount "$img" "$img"
check_status 2 'no directory' "$IMGTOOL" mount "$img"
done_testing
