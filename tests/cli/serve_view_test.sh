# What servers show of disks, byte for byte: a set with all that lies between its partitions, and
# the partitions of sets, of imaged disks and of raw ones, by each way to name them.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
. "$TESTS_DIR/cli/serve_fixture.sh"
requires sfdisk jq python3

disk=$TMP/disk
seen=$TMP/seen
client() { python3 "$TESTS_DIR/cli/proxy_client.py" "$address" "$@"; }

# look ARGUMENT...: all that serve-proxy shows, in $seen
look() {
	local at bytes step=$((2 << 20)) # the longest read there is
	serve serve-proxy --port 0 "$@"
	bytes=$(client info | cut -d ' ' -f 1)
	for ((at = 0; at < bytes; at += step)); do
		client read "$at" "$step" 2>/dev/null
	done | head -c "$bytes" >"$seen"
	stop_server
}
# piece OFFSET LENGTH: of the disk
piece() {
	dd if="$disk" bs=64K iflag=skip_bytes,count_bytes,fullblock skip="$1" count="$2" status=none
}

# Random bytes everywhere but where the table is: also in the gaps and behind the last partition.
head -c 9M /dev/urandom >"$disk"
dd if=/dev/zero of="$disk" bs=1M count=1 conv=notrunc status=none
sfdisk -q -w never "$disk" <<'TABLE'
label: gpt
start=2048, size=4096, name=first
start=8192, size=3075, uuid=01234567-89ab-4cde-8f01-23456789abcd, name=second
TABLE

first=$TMP/first second=$TMP/second
piece $((1 << 20)) $((2 << 20)) >"$first"
piece $((4 << 20)) $((3075 * 512)) >"$second"

# ---- A set ----
"$IMGTOOL" backup-disk -q --unallocated --block-size 64K "$disk" "$TMP/all"
look --set-dir "$TMP/all"
same_file "$seen" "$disk" 'a set with --unallocated is the disk, with its gaps'
"$IMGTOOL" backup-disk -q --block-size 64K "$disk" "$TMP/set"
cp "$disk" "$TMP/bare"
dd if=/dev/zero of="$TMP/bare" bs=1M seek=3 count=1 conv=notrunc status=none
look "$TMP/set"
check 'without it, all but the gaps' cmp -n $((5 << 20)) "$seen" "$TMP/bare"
check_eq "$(stat -c %s "$seen")" "$(stat -c %s "$disk")" 'and the size is the same'
look "$TMP/all" --partition second
same_file "$seen" "$second" 'a partition of a set'

# ---- A disk in one image, and the disk itself ----
image_quietly --block-size 64K "$disk" "$TMP/disk.zst"
for what in disk.zst disk; do
	look "$TMP/$what" --partition 1
	same_file "$seen" "$first" "$what: a partition by its number"
	look "$TMP/$what" --partition second
	same_file "$seen" "$second" 'by its name'
	look "$TMP/$what" --partition 01234567-89AB-4CDE-8F01-23456789ABCD
	same_file "$seen" "$second" 'by its GUID'
	look "$TMP/$what" --partition first --offset 70001 --length 1000003
	same_file "$seen" <(piece $(((1 << 20) + 70001)) 1000003) 'a window of one'
done

# ---- The same through nbdkit ----
if command -v nbdkit nbdcopy >/dev/null && nbdkit_loads_plugin "$IMGTOOL"; then
	uri="nbd+unix:///?socket=$TMP/nbd"
	serve serve-nbd --pipe "$TMP/nbd" --set-dir "$TMP/all"
	wait_until nbdcopy "$uri" "$seen"
	same_file "$seen" "$disk" 'serve-nbd: the set'
	stop_server
	rm "$TMP/nbd"
	serve serve-nbd --pipe "$TMP/nbd" "$TMP/disk.zst" --partition second
	wait_until nbdcopy "$uri" "$TMP/seen.part"
	same_file "$TMP/seen.part" "$second" 'and a partition of the imaged disk'
	stop_server
else
	skip_case 'serve-nbd' 'no nbdkit, or it does not load a plugin with a sanitizer'
fi
done_testing
