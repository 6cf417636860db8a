# imgtool mount, read at random and compared: across every border, by many at once, past the end,
# with a damaged table and with bad ranges. What the kernel and ntfs-3g make of it is in
# root/mount_test.sh.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
. "$TESTS_DIR/cli/serve_fixture.sh"
requires mkfs.ext4 zstd jq python3 fusermount3
[ -w /dev/fuse ] || skip 'no access to /dev/fuse'
[[ $(ldd "$IMGTOOL") != *libtsan* ]] || skip 'ThreadSanitizer does not know pthread_clockjoin_np'

dir=$TMP/mnt
mkdir "$dir"
cleanup eval 'fusermount3 -uqz "$dir" || true' # should the server die
make_served

# seek_map FILE: OFFSET LENGTH TYPE of each run that SEEK_DATA and SEEK_HOLE find: data 0, holes 3.
seek_map() {
	python3 - "$1" <<'PY'
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
size, at, kind = os.fstat(fd).st_size, 0, 0
while at < size:
    try:
        end = os.lseek(fd, at, os.SEEK_HOLE if kind == 0 else os.SEEK_DATA)
    except OSError as problem:
        if problem.errno != 6 or kind == 0: raise    # ENXIO: no more data
        end = size
    if end > at: print(at, end - at, kind)
    at, kind = end, 3 - kind
PY
}
# read_at OFFSET LENGTH: how many bytes one call gives
read_at() {
	python3 -c 'import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
print(len(os.pread(fd, int(sys.argv[3]), int(sys.argv[2]))))' "$dir/disk.img" "$@"
}

borders_of "$img" "$TMP/borders"
serve mount "$img" "$dir" --cache-size 4M
random_reads 'thousands of random reads, also across every border' file "$dir/disk.img" "$raw" \
	1 2000
random_reads 'also by 16 at once' file "$dir/disk.img" "$raw" 16 150
size=$(stat -c %s "$raw")
check_eq "$(read_at $((size - 10)) 100) $(read_at "$size" 100) $(read_at $((size + 5000)) 1)" \
	'10 0 0' 'a read past the end is short'
check_eq "$(seek_map "$dir/disk.img")" "$(extents_of "$img" | sed 's/2$/3/' | merge_extents)" \
	'SEEK_DATA and SEEK_HOLE find what the image says, where it says'
stop_server
# Every other connection goes around the cache of the kernel, if the rest should not.
check_eq "$(events served <"$TMP/served" | jq '.server.requests >= 4400 / 2')" true \
	'it was the server that was read'

break_table "$img" "$TMP/bad.zst"
serve mount "$TMP/bad.zst" "$dir"
check 'a damaged table: SEEK_DATA and SEEK_HOLE work all the same' seek_map "$dir/disk.img"
check_eq "$(awk -v at="$chunk_at" '$1 <= at && at < $1 + $2 { print $3 }' "$TMP/out")" 0 \
	'its chunk is data'
random_reads 'which can not be read, and all the rest can' file "$dir/disk.img" "$raw" 4 200 \
	--bad "$chunk_at" "$chunk_length"
stop_server

mixed=$TESTS_DIR/golden/v2.0-mixed.img.zst
zstd -q -dc "$mixed" >"$TMP/mixed"
borders_of "$mixed" "$TMP/borders"
serve mount "$mixed" "$dir"
random_reads 'bad ranges, and nothing beside them, are errors' direct "$dir/disk.img" "$TMP/mixed" \
	4 500 "${bad[@]}"
check_grep '^2000 [1-9]' "$TMP/out" 'which were hit'
stop_server
done_testing
