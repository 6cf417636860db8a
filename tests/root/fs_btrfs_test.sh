#!/usr/bin/env bash
# Btrfs as the kernel leaves it: mounted, filled, emptied, fragmented, with snapshots, reflinks and
# compression, balanced and defragmented; unmounted, and snapshots of a mounted and busy file
# system, with log trees of an fsync. The map of a clean one is what btrfs-progs print of its trees;
# a copy that holds the data of the map and garbage everywhere else passes btrfs check and scrub,
# and holds, file for file, what a full copy holds.
. "$(dirname "$0")/../lib.sh"
requires_root
requires mkfs.btrfs btrfs losetup mkfs.xfs python3 partclone.btrfs jq zstd

BUILD=${BUILD:-$TOP/build}
case $BUILD in /*) ;; *) BUILD=$TOP/$BUILD ;; esac
TOOL=$BUILD/tests/unit/fs_btrfs_test
[ -x "$TOOL" ] || make -C "$TOP" -s BUILD="$BUILD" "$TOOL" >&2
MAP=$TESTS_DIR/corpus/fs/btrfs_map.py

# What was on the loop devices before may have been a Btrfs of several.
btrfs device scan --forget

# Backing files lie on XFS: a reflink copy of a file is what it was at one instant, also under load.
xfs=$TMP/xfs
if [ -w /dev/shm ] && [ "$(df --output=avail /dev/shm | tail -n 1)" -gt 4000000 ] &&
	[ "$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo)" -gt 8000000 ]; then
	xfs=$(mktemp /dev/shm/imgtool-test.XXXXXX)
	cleanup rm -f "$xfs"
fi
truncate -s 4G "$xfs"
mkfs.xfs -q -f -m reflink=1 "$xfs"
mkdir "$TMP/w" "$TMP/mnt" "$TMP/sums"
mount -o loop "$xfs" "$TMP/w" 2>"$TMP/err" || skip "no loop mount of XFS: $(cat "$TMP/err")"
# A loop device lets go of its file a moment after it was detached.
unmount_w() {
	local i
	for ((i = 0; i < 50; i++)); do
		! umount "$TMP/w" 2>"$TMP/err" || return 0
		sleep 0.2
	done
	cat "$TMP/err"
	return 1
}
cleanup unmount_w
W=$TMP/w
mnt=$TMP/mnt

truncate -s 128M "$W/fs"
mkfs.btrfs -q "$W/fs" >/dev/null
mount -o loop "$W/fs" "$mnt" 2>"$TMP/err" || skip "no mount of Btrfs: $(cat "$TMP/err")"
umount "$mnt"

busy_pid=
stop_busy() {
	[ -z "$busy_pid" ] || { kill "$busy_pid" && wait "$busy_pid"; } 2>/dev/null || true
	busy_pid=
}
unmount_all() {
	local dir
	stop_busy
	for dir in "$mnt" "$TMP/sums"; do
		! mountpoint -q "$dir" || umount "$dir"
	done
}
cleanup unmount_all

fill() { # DIR ROUND: many small files, some inline, some large, some compressible
	local i max
	RANDOM=$2
	mkdir -p "$1/r$2/a/b"
	for ((i = 0; i < 120; i++)); do
		max=$((i % 20 == 0 ? 1000000 : i % 3 == 0 ? 1500 : 30000))
		head -c $((RANDOM * RANDOM % max)) /dev/urandom >"$1/r$2/f$i"
	done
	cp -r "$TOP/src" "$1/r$2/a/b/src"
	truncate -s 5M "$1/r$2/sparse"
	echo end >>"$1/r$2/sparse"
	fallocate -l 3M "$1/r$2/preallocated"
	ln "$1/r$2/f1" "$1/r$2/hard"
	cp --reflink=always "$1/r$2/f20" "$1/r$2/reflink"
}

churn() { # DIR ROUND
	local i
	for ((i = 0; i < 120; i += 3)); do rm "$1/r$2/f$i"; done
	for ((i = 0; i < 80; i++)); do
		head -c 3000 /dev/urandom >>"$1/grow-a"
		head -c 5000 /dev/urandom >>"$1/grow-b"
		# Rewritten in the middle: pieces of one extent become others.
		head -c 4096 /dev/urandom | dd of="$1/grow-a" bs=4096 seek=$((i / 4)) conv=notrunc \
			status=none
		[ $((i % 16)) -ne 0 ] || sync -f "$1"
	done
	rm -rf "$1/r$2/a"
}

# Writes without end, with commits and fsyncs.
busy() { # DIR
	local n=0 i
	while :; do
		n=$((n + 1))
		mkdir -p "$1/busy/d$n"
		for i in 1 2 3 4 5 6 7 8; do
			head -c $((n * 777 % 40000 + i * 1000)) /dev/urandom >"$1/busy/d$n/$i"
		done
		[ $((n % 7)) -ne 0 ] || sync "$1/busy/d$n/1"
		[ $((n % 3)) -ne 0 ] || rm -rf "$1/busy/d$((n - 2))"
		[ $((n % 20)) -ne 0 ] || sync -f "$1"
		[ $((n % 90)) -ne 0 ] || rm -rf "$1/busy"
	done
}

# Snapshots, one of them deleted again; subvolumes; a file that is in three of them.
subvolumes() { # DIR
	[ -d "$1/sub" ] || btrfs -q subvolume create "$1/sub"
	cp "$1/r1/f40" "$1/sub/in-sub"
	btrfs -q subvolume snapshot "$1/sub" "$1/snap2"
	btrfs -q subvolume snapshot -r "$1" "$1/all"
	btrfs -q subvolume snapshot "$1" "$1/gone"
	head -c 100000 /dev/urandom >"$1/gone/own"
	btrfs -q subvolume delete -c "$1/gone"
}

tree_sums() { # IMAGE: mounted (which replays a log), every name and every byte
	mount -o loop "$1" "$TMP/sums" || return 1
	(cd "$TMP/sums" && find . -printf '%p %y %s %m %n\n' | sort &&
		find . -type f -print0 | sort -z | xargs -0 -r sha256sum)
	umount "$TMP/sums"
}

# copied SNAPSHOT DESC: the map is used-only, and $W/copy is made by it.
copied() {
	local got
	got=$("$TOOL" --copy "$1" "$W/copy") || true
	case $got in
	used_only=1\ *) ok "$2: used only ($got)" ;;
	*)
		nok "$2: used only" "$got"
		return 1
		;;
	esac
}

# same SNAPSHOT DESC: a copy made by the map is whole and equals the snapshot. Without a log.
same() {
	copied "$1" "$2" || return 0
	check "$2: btrfs check, with all data" btrfs check --check-data-csum "$W/copy"
	same_files "$1" "$2"
	rm -f "$W/copy"
}

# same_files SNAPSHOT DESC: $W/copy holds what the snapshot holds, and a scrub finds nothing: it
# reads both copies of DUP. Two file systems of one UUID are never mounted at the same time.
same_files() {
	cp --reflink=auto "$1" "$W/full"
	tree_sums "$W/full" >"$TMP/want" || nok "$2: the full copy mounts"
	tree_sums "$W/copy" >"$TMP/got" || nok "$2: the used-only copy mounts"
	[ -s "$TMP/want" ] || nok "$2: no files in the snapshot"
	check "$2: every file is the same" cmp "$TMP/want" "$TMP/got"
	mount -o loop "$W/copy" "$TMP/sums"
	check "$2: scrub" btrfs scrub start -B "$TMP/sums"
	check_grep 'no errors found' "$TMP/out" "$2: scrub finds no errors"
	umount "$TMP/sums"
	rm -f "$W/full"
}

# Outside of what the list says is free the copy is the source, inside it is garbage.
cat >"$TMP/where.py" <<'PY'
import sys
with open(sys.argv[1], 'rb') as a, open(sys.argv[2], 'rb') as b, open(sys.argv[3]) as m:
    size, at = a.seek(0, 2), 0
    a.seek(0)
    for off, length in [map(int, line.split()) for line in m] + [[size, 0]]:
        while at < off:
            n = min(off - at, 1 << 20)
            if a.read(n) != b.read(n):
                sys.exit('differs near %d' % at)
            at += n
        a.seek(length, 1)
        if b.read(length) != b'\xa5' * length:
            sys.exit('not free near %d' % at)
        at += length
PY

# exact IMAGE DESC: what is free is what btrfs-progs say.
exact() {
	python3 "$MAP" "$1" >"$TMP/free"
	check_eq "$("$TOOL" --copy "$1" "$W/copy" | sed 's/.*free=\([0-9]*\).*/\1/')" \
		"$(awk '{ n += $2 } END { printf "%.0f", n }' "$TMP/free")" \
		"$2: free is what btrfs-progs say"
	check "$2: and where they say" python3 "$TMP/where.py" "$1" "$W/copy" "$TMP/free"
	rm -f "$W/copy"
}

# make_fs SIZE MKFS-OPTIONS..., or SIZE CORPUS-IMAGE (which is smaller; life makes it grow).
make_fs() {
	rm -f "$W/fs"
	case $2 in
	*.zst)
		zstd -dqc "$2" >"$W/fs"
		truncate -s "$1" "$W/fs"
		;;
	*)
		truncate -s "$1" "$W/fs"
		mkfs.btrfs -q -f "${@:2}" "$W/fs" >/dev/null 2>&1
		;;
	esac
}

# life NAME MOUNT-OPTIONS SIZE MKFS...: snapshots through a whole life.
life() {
	local name=$1 options=$2
	make_fs "${@:3}"
	mount -o "loop,$options" "$W/fs" "$mnt"
	btrfs -q filesystem resize max "$mnt" >/dev/null
	fill "$mnt" 1
	subvolumes "$mnt"
	churn "$mnt" 1
	sync -f "$mnt"
	cp --reflink=always "$W/fs" "$W/snap"
	same "$W/snap" "$name, synced but mounted"
	exact "$W/snap" "$name, synced but mounted"
	busy "$mnt" &
	busy_pid=$!
	sleep 1
	cp --reflink=always "$W/fs" "$W/snap"
	stop_busy
	copied "$W/snap" "$name, busy" && same_files "$W/snap" "$name, busy"
	rm -f "$W/copy"
	fill "$mnt" 2
	btrfs -q filesystem defragment -r "$mnt/r2" >/dev/null
	churn "$mnt" 2
	# Relocation has trees of its own; a snapshot that is deleted is deleted bit by bit.
	btrfs -q subvolume delete "$mnt/all"
	btrfs balance start --full-balance "$mnt" >"$TMP/balance" 2>&1 &
	busy_pid=$!
	sleep 0.2
	cp --reflink=always "$W/fs" "$W/snap"
	check "$name: balance" wait "$busy_pid"
	busy_pid=
	copied "$W/snap" "$name, in a balance" && same_files "$W/snap" "$name, in a balance"
	rm -f "$W/copy"
	umount "$mnt"
	same "$W/fs" "$name, unmounted"
	exact "$W/fs" "$name, unmounted"
}

life 'dup' defaults 400M -m dup
life 'single, 4 KiB nodes, quota' defaults 400M -m single -n 4096 -R quota --csum blake2
life 'dup data, zstd' compress-force=zstd 600M -m dup -d dup -n 65536
life 'mixed' compress=lzo 300M --mixed
life 'old features' space_cache=v1 400M -R ^free-space-tree --csum xxhash \
	-O ^no-holes,^skinny-metadata,^extref
# LESSONS 23. The mkfs.btrfs of Debian 12 can't make it.
life 'block group tree' autodefrag 400M "$TESTS_DIR/corpus/fs/btrfs-block-group-tree.img.zst"

# The kernel's own numbers: allocated and used bytes of every profile.
make_fs 400M -m dup
mount -o loop "$W/fs" "$mnt"
fill "$mnt" 1
churn "$mnt" 1
sync -f "$mnt"
used=$(btrfs filesystem df -b "$mnt" | sed -n \
	's/^\(Data\|System\|Metadata\), \([a-zA-Z0-9]*\): .*used=\([0-9]*\)/\2 \3/p' |
	awk '{ n += ($1 == "DUP" ? 2 : 1) * $2 } END { printf "%.0f", n }')
umount "$mnt"
free=$("$TOOL" --copy "$W/fs" "$W/copy" | sed 's/.*free=\([0-9]*\).*/\1/')
# Besides what is used the first MiB is data, and 64 KiB for the second superblock.
check_eq $((400 * 1024 * 1024 - free)) $((used + 1024 * 1024 + 64 * 1024)) \
	'data is what the kernel calls used'

# What another imaging tool keeps. It takes chunks of metadata whole, and of DUP the first copy
# only, so its word is heard about chunks of data.
make_fs 400M -m single -n 4096
mount -o loop "$W/fs" "$mnt"
fill "$mnt" 1
churn "$mnt" 1
umount "$mnt"
partclone.btrfs -c -s "$W/fs" -o "$W/pc.img" -L "$TMP/pc.log" >"$TMP/out" 2>&1
"$TOOL" --copy "$W/fs" "$W/copy" >/dev/null
cat >"$TMP/partclone.py" <<'PY'
import re
import struct
import subprocess
import sys

# partclone.h, image_desc_v2: the number of blocks at 60, their size at 84, at 110 a bit for each.
image = open(sys.argv[1], 'rb').read()
total, = struct.unpack_from('<Q', image, 60)
size, = struct.unpack_from('<I', image, 84)
bits = image[110:110 + (total + 7) // 8]
text = subprocess.run(['btrfs', 'inspect-internal', 'dump-tree', '-t', 'chunk', sys.argv[2]],
                      check=True, stdout=subprocess.PIPE).stdout.decode()
compared = kept = 0
with open(sys.argv[3], 'rb') as copy:
    for length, start in re.findall(r'length (\d+) owner 2 .* type DATA\|single\n(?:.*\n)*?'
                                    r'\t+stripe 0 devid 1 offset (\d+)', text):
        for at in range(int(start), int(start) + int(length), size):
            if 1 << 26 <= at < (1 << 26) + 65536:
                continue  # the second superblock
            copy.seek(at)
            ours = copy.read(size) != b'\xa5' * size
            theirs = bits[at // size // 8] >> at // size % 8 & 1
            if ours != theirs:
                sys.exit('block at %d: ours %d, theirs %d' % (at, ours, theirs))
            compared += 1
            kept += ours
if not 0 < kept < compared:
    sys.exit('compared %d blocks, %d kept' % (compared, kept))
PY
check 'partclone keeps the same of the data' python3 "$TMP/partclone.py" "$W/pc.img" "$W/fs" \
	"$W/copy"
rm -f "$W/pc.img" "$W/copy"

# Log trees: what fsync wrote since the last commit is there after a restore.
log_root_of() { # IMAGE
	btrfs inspect-internal dump-super "$1" | awk '$1 == "log_root" { print $2 }'
}
make_fs 400M -m dup
mount -o loop,commit=300 "$W/fs" "$mnt"
fill "$mnt" 1
subvolumes "$mnt"
sync -f "$mnt"
for i in 1 2 3 4 5 6 7 8; do
	head -c $((i * 70000)) /dev/urandom >"$mnt/fsynced$i"
	sync "$mnt/fsynced$i"
	head -c 500 /dev/urandom >"$mnt/sub/inline$i"
	sync "$mnt/sub/inline$i"
done
for ((i = 0; i < 400; i++)); do
	dd if=/dev/urandom of="$mnt/many" bs=4096 count=1 seek=$((i * 2)) conv=notrunc status=none
done
sync "$mnt/many"
mv "$mnt/r1/f5" "$mnt/r1/renamed"
sync "$mnt/r1/renamed"
head -c 50000 /dev/urandom | dd of="$mnt/r1/f20" bs=4096 seek=3 conv=notrunc,fsync status=none
cp --reflink=always "$W/fs" "$W/snap"
(cd "$mnt" && sha256sum fsynced* sub/inline* many r1/renamed r1/f20) >"$TMP/fsynced"
check 'a log tree: there is one' test "$(log_root_of "$W/snap")" -ne 0
exact "$W/snap" 'a log tree'
copied "$W/snap" 'a log tree' || true
check_eq "$(log_root_of "$W/copy")" "$(log_root_of "$W/snap")" 'a log tree: it is in the copy'
umount "$mnt"
same_files "$W/snap" 'a log tree'
mount -o loop "$W/copy" "$mnt"
fsynced_are_there() { (cd "$mnt" && sha256sum --quiet -c "$TMP/fsynced"); }
check 'a log tree: the files of the fsync are there' fsynced_are_there
umount "$mnt"
check 'a log tree: whole after the replay' btrfs check --check-data-csum "$W/copy"

# The whole job, through the program: image, verify, restore.
check 'a log tree: image' "$IMGTOOL" image -q --json "$W/snap" "$W/snap.img.zst"
check_eq "$("$IMGTOOL" info --json "$W/snap.img.zst" | jq -r .head.map.kind)" used \
	'a log tree: the image is used-only'
check 'a log tree: verify' "$IMGTOOL" verify -q "$W/snap.img.zst"
check 'a log tree: restore' "$IMGTOOL" restore -q "$W/snap.img.zst" "$W/restored"
mv "$W/restored" "$W/copy"
same_files "$W/snap" 'a log tree, restored'
check 'a log tree, restored: whole' btrfs check --check-data-csum "$W/copy"
rm -f "$W/copy" "$W/snap.img.zst"

# A block device, through its descriptor; grown and shrunk while mounted.
make_fs 300M -m dup
truncate -s 500M "$W/fs"
loop_of "$W/fs"
mount "$LOOP" "$mnt"
fill "$mnt" 1
btrfs -q filesystem resize max "$mnt" >/dev/null
fill "$mnt" 2
# So many references to one extent that they become items of their own.
for ((i = 0; i < 150; i++)); do cp --reflink=always "$mnt/r1/f20" "$mnt/r2/reflink$i"; done
churn "$mnt" 1
btrfs -q filesystem resize 450M "$mnt" >/dev/null
umount "$mnt"
check_grep 'EXTENT_DATA_REF [0-9]' <(btrfs inspect-internal dump-tree -t extent "$LOOP") \
	'resized: there are items for references'
same "$LOOP" 'a block device, resized'
exact "$W/fs" 'resized'

# Moved to a larger device, which is then no larger to the file system.
truncate -s 600M "$W/fs2"
old=$LOOP
loop_of "$W/fs2"
mount "$old" "$mnt"
btrfs replace start -B 1 "$LOOP" "$mnt" >"$TMP/out" 2>&1
umount "$mnt"
same "$LOOP" 'a device that replaced another'
exact "$W/fs2" 'a device that replaced another'

# Converted from single to DUP and back, interrupted in the middle: two profiles at the same time.
make_fs 500M -m single
mount -o loop "$W/fs" "$mnt"
fill "$mnt" 1
churn "$mnt" 1
btrfs balance start -q -f -mconvert=dup -sconvert=dup -dconvert=dup,limit=1 "$mnt" \
	>"$TMP/out" 2>&1 || true
umount "$mnt"
same "$W/fs" 'converted'
exact "$W/fs" 'converted'

done_testing
