# Sets of block devices: partitioned loop devices of 512 and 4096-byte sectors, a disk that fails, a
# disk in use. No kernel node of a partition is needed.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
. "$TESTS_DIR/cli/disk_fixture.sh"
requires_root
requires losetup sfdisk fdisk mkfs.ext4 mkfs.fat mcopy mkntfs ntfscp mkswap e2fsck zstd jq blkid \
	findmnt mkfs.btrfs btrfs sgdisk

set=$TMP/set

# ---- Every table, every sector size ----
# lines FILTER: of jq on the set's manifest
lines() {
	jq -cr "$1" "$set/backup.manifest.json"
}

# partitions_of DEVICE SECTOR: index, start and size as sfdisk says, in bytes
partitions_of() {
	sfdisk --json "$1" | jq -r --argjson s "$2" '.partitiontable.partitions[] |
		[(.node | match("p([0-9]+)$").captures[0].string), .start * $s, .size * $s] |
		join(" ")'
}

# dump_as_disk DEVICE: sfdisk's dump with DISK for the device
dump_as_disk() {
	sfdisk --dump "$1" | sed "s|$1|DISK|; s/ *\$//"
}

check_disk() { # KIND SECTOR
	local disk what="$1 $2"
	make_disk "$TMP/disk.img" "$1" "$2"
	loop_of "$TMP/disk.img" --sector-size "$2"
	disk=$LOOP
	rm -rf "$set"
	check "$what: backup-disk" "$IMGTOOL" backup-disk -q "$disk" "$set"
	check_eq "$(lines '[.source.kind, .source.logical_bytes]')" "[\"loop\",$2]" \
		"$what: the sectors are the device's"
	check_eq "$(lines '.partitions[] | [.index, .start_bytes, .size_bytes] | join(" ")')" \
		"$(partitions_of "$disk" "$2")" "$what: partitions are those of sfdisk"
	check_eq "$("$IMGTOOL" dump-pt "$disk" | sed "s|$disk|DISK|")" "$(dump_as_disk "$disk")" \
		"$what: dump-pt is sfdisk's"
	rebuild "$set" "$TMP/out.img"
	loop_of "$TMP/out.img" --sector-size "$2"
	check_eq "$(dump_as_disk "$LOOP")" "$(dump_as_disk "$disk")" "$what: the same table again"
	check "$what: which sfdisk takes" sfdisk --verify "$LOOP"
	loop_of "$TMP/out.img" --offset $((1 << 20)) --sizelimit $((16 << 20))
	mkdir -p "$TMP/files"
	mount -o ro "$LOOP" "$TMP/files"
	check "$what: its files" diff -r -x lost+found "$TMP/small" "$TMP/files"
	umount "$TMP/files"
	check "$what: verify-set" "$IMGTOOL" verify-set -q "$set"
	check_status 2 "$what: --sector-size of a device" "$IMGTOOL" backup-disk \
		--sector-size 512 "$disk" "$TMP/none"
}
# An MBR with sectors of 512 bytes: tests/cli/backup_disk_test.sh
check_disk gpt 512
check_disk gpt 4096
check_disk dos 4096

# ---- A disk that fails: the file under it is cut ----
make_disk "$TMP/failing.img" gpt 512
loop_of "$TMP/failing.img"
truncate -s 77M "$TMP/failing.img"
check_status 5 'a disk with unreadable sectors' "$IMGTOOL" backup-disk "$LOOP" "$TMP/bad"
check_fails 'R7: is no set' test -e "$TMP/bad/backup.manifest.json"
check_status 12 '--on-read-error zero' "$IMGTOOL" backup-disk --force --on-read-error zero \
	--read-retries 0 "$LOOP" "$TMP/bad"
check_grep 'backup GPT is damaged' "$TMP/err" 'says what is odd about the table'
# The swap area is data in its first 64 KiB only, and those can be read.
check_eq "$(jq -c '[.regions, .partitions[].image] | map(.bad_range_bytes)' \
	"$TMP/bad/backup.manifest.json")" '[1048576,0,0,0,0]' 'R9: those are recorded'
check_eq "$(jq -c '.table | [.primary_valid, .backup_valid]' "$TMP/bad/backup.manifest.json")" \
	'[true,false]' 'and the copy of the GPT that was lost'
check 'verify-set' "$IMGTOOL" verify-set "$TMP/bad"
check_grep 'OK, 1.00 MiB of the source were unreadable' "$TMP/out" 'tells of them'

check_status 12 'it can be restored: --on-read-error zero' "$IMGTOOL" restore-set \
	--on-read-error zero "$TMP/bad" "$TMP/bad.img"
# sfdisk does not read the disk that fails.
dump_pt() { "$IMGTOOL" dump-pt "$1" | sed -E "s|$1p?|DISK|"; }
check_eq "$(dump_pt "$TMP/bad.img")" "$(dump_pt "$LOOP")" 'with the same table'
check_status 12 'and to a larger disk' "$IMGTOOL" restore-set --force --on-read-error zero \
	--verify-after --size 120M "$TMP/bad" "$TMP/bad.img"
check_grep 'No problems found' <(sgdisk -v "$TMP/bad.img") 'where its GPT is whole'
check_status 9 'R4: what could not be read is not cut off' "$IMGTOOL" restore-set --force \
	--on-read-error zero --size 90M "$TMP/bad" "$TMP/bad.img"
check_grep 'used space outside the partitions ends there' "$TMP/err" 'why'
check_status 12 'a clone of it' "$IMGTOOL" clone --on-read-error zero --read-retries 0 "$LOOP" \
	"$TMP/bad.clone"
check_eq "$(dump_pt "$TMP/bad.clone")" "$(dump_pt "$LOOP")" 'has the same table'

# ---- A disk in use ----
truncate -s 64M "$TMP/live.img"
mkfs.ext4 -q -F -L Live "$TMP/live.img"
loop_of "$TMP/live.img"
live=$LOOP
mount_at "$LOOP" "$TMP/live"
check_status 9 'R5: a set on the disk itself' "$IMGTOOL" backup-disk "$LOOP" "$TMP/live/set"
check_grep 'lies on .*, which is to be imaged' "$TMP/err" 'why'
check_fails 'and nothing is there' test -e "$TMP/live/set"
check_status 9 'R5: nor on a file of a disk that is mounted' "$IMGTOOL" backup-disk \
	"$TMP/live.img" "$TMP/live/set"
check_status 9 'R5: nor volumes' "$IMGTOOL" image --volumes "$LOOP,$TMP/part.fat" \
	--out-dir "$TMP/live/set"
head -c 40M /dev/urandom >"$TMP/live/data"
sync -f "$TMP/live"
check 'a disk that is mounted for writing' "$IMGTOOL" backup-disk "$LOOP" "$TMP/lset"
check_grep 'warning: .* is mounted for writing at .*/live' "$TMP/err" 'with a warning'
check_eq "$(jq -r '.partitions[0] | [.index, .mount_point, .file_system.label] | join(" ")' \
	"$TMP/lset/backup.manifest.json")" "0 $TMP/live Live" 'the manifest knows where'
check_grep 'was mounted for writing' <(info_of "$TMP/lset/whole.img.zst" .head.map.note) \
	'and the image'
"$IMGTOOL" backup-disk --all-blocks --chunk-size 1M --max-throughput 8M "$LOOP" "$TMP/lset2" \
	>"$TMP/run.out" 2>&1 &
PID=$!
wait_until larger "$TMP/lset2/whole.img.zst.partial" 1
kill -INT $PID
wait $PID || true
check_status 9 '--resume of a disk that is written' "$IMGTOOL" backup-disk --resume "$LOOP" \
	"$TMP/lset2"
check_grep 'has changed since' "$TMP/err" 'why'

# ---- The second device of a Btrfs: its mount names the first, and has a number of its own ----
truncate -s 128M "$TMP/b1" "$TMP/b2"
loop_of "$TMP/b1"
first=$LOOP
loop_of "$TMP/b2"
# The kernel would take the next file system on these loop devices for a part of this one.
cleanup btrfs device scan --forget
if mkfs.btrfs -q "$first" "$LOOP" >/dev/null &&
	mkdir "$TMP/b.mnt" && mount -o "device=$LOOP" "$first" "$TMP/b.mnt" 2>"$TMP/err"; then
	cleanup umount "$TMP/b.mnt"
	"$IMGTOOL" image --all-blocks --max-throughput 8M "$LOOP" "$TMP/b.img.zst" \
		>"$TMP/run.out" 2>"$TMP/run.err" &
	PID=$!
	wait_until test -e "$TMP/b.img.zst.partial"
	kill -INT $PID
	wait $PID || true
	check_grep "warning: .*is mounted for writing at $TMP/b.mnt" "$TMP/run.err" \
		'the second device of a Btrfs is known to be mounted'
	check_status 9 'R5: and a set is not made on it' "$IMGTOOL" backup-disk "$LOOP" \
		"$TMP/b.mnt/set"
	check_status 9 'and an image of it is not resumed' "$IMGTOOL" image --resume --all-blocks \
		"$LOOP" "$TMP/b.img.zst"
	check_grep 'is mounted for writing at' "$TMP/err" 'why'
else
	skip_case 'the second device of a Btrfs' "no mount of Btrfs: $(cat "$TMP/err")"
fi

# ---- list ----
"$IMGTOOL" list --json >"$TMP/list"
check_eq "$(jq -r --arg path "$live" 'select(.path == $path) |
	[.fs_type, .fs_label, .fs_uuid, .in_use, .mounts[0]] | join(" ")' "$TMP/list")" \
	"ext4 Live $(blkid -o value -s UUID "$live") true $TMP/live" 'list: what it is'
check_eq "$(jq -r --arg path "$live" 'select(.path == $path) | .holders' "$TMP/list" |
	grep -c "$TMP/live")" 1 'and what holds it'
"$IMGTOOL" list >"$TMP/list"
check_grep "^${live#/dev/} +64.0 MiB +loop .* in use$" "$TMP/list" 'in its table of disks'
check_grep "^${live#/dev/} +0 +64.0 MiB +whole +ext4 +Live +[0-9a-f-]+ +$TMP/live" "$TMP/list" \
	'and of volumes'

# ---- Where the kernel has nodes of partitions ----
make_disk "$TMP/nodes.img" gpt 512
loop_of "$TMP/nodes.img" --partscan
if wait_node=$(for i in 1 2 3 4; do [ -b "${LOOP}p1" ] && echo yes && break; sleep 0.2; done) &&
	[ -n "$wait_node" ]; then
	mount_at "${LOOP}p1" "$TMP/p1" -o ro
	check 'a mounted partition' "$IMGTOOL" backup-disk -q "$LOOP" "$TMP/nodes"
	m=$TMP/nodes/backup.manifest.json
	check_eq "$(jq -r '.partitions[0].mount_point' "$m")" "$TMP/p1" \
		'has its mount point in the manifest'
	"$IMGTOOL" list --json >"$TMP/list"
	check_eq "$(jq -r --arg path "${LOOP}p1" 'select(.path == $path) |
		[.start_bytes, .part_name, .part_guid] | join(" ")' "$TMP/list")" \
		"1048576 root fs $(sfdisk --part-uuid "$LOOP" 1 | tr A-F a-f)" 'list has partitions'
else
	skip_case 'a mounted partition' 'no partitions on loop devices here'
fi

done_testing
