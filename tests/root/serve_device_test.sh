# serve-proxy and imgtool mount on a block device as it is: also one with sectors of 4 KiB, of which
# any byte can be asked for.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
. "$TESTS_DIR/cli/disk_fixture.sh"
. "$TESTS_DIR/cli/serve_fixture.sh"
requires_root
requires fdisk jq python3 losetup fusermount3

client() { python3 "$TESTS_DIR/cli/proxy_client.py" "$address" "$@"; }
dir=$TMP/mnt
mkdir "$dir"
cleanup eval 'umount -l "$dir" 2>/dev/null || true' # should a server die

for sector in 512 4096; do
	disk=$TMP/disk.$sector
	head -c 8M /dev/urandom >"$disk"
	dd if=/dev/zero of="$disk" bs=1M count=1 conv=notrunc status=none
	table "$disk" "$sector" <<'TABLE'
label: gpt
start=1M, size=2M, name=first
start=4M, size=3M, name=second
TABLE
	dd if="$disk" of="$TMP/second" bs=1M skip=4 count=3 status=none
	loop_of "$disk" --sector-size "$sector"

	serve serve-proxy "$LOOP" --port 0
	check_eq "$(client info)" "$((8 << 20)) 1 1" "$sector: serve-proxy: the device's size"
	check 'its bytes, wherever and however many' client compare "$disk" 4 100
	stop_server
	serve serve-proxy "$LOOP" --partition second --port 0
	check_eq "$(client info)" "$((3 << 20)) 1 1" 'a partition of it'
	check 'its bytes' client compare "$TMP/second" 2 100
	stop_server

	serve mount "$LOOP" "$dir"
	check_eq "$(cd "$dir" && echo *)" 'disk.img info.json partition-1.img partition-2.img' \
		'mount: a file for each partition'
	same_file "$dir/disk.img" "$disk" 'the disk'
	same_file "$dir/partition-2.img" "$TMP/second" 'a partition'
	check_fails 'nothing can be written' dd if=/dev/zero of="$dir/disk.img" bs=1 count=1 \
		conv=notrunc
	stop_server
	check_eq $status 0 'and it ends well'
done
done_testing
