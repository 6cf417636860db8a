#!/usr/bin/env bash
# ext2, ext3 and ext4 as the kernel leaves them: mounted, filled, emptied, fragmented; unmounted,
# frozen, and above all snapshots of a mounted and busy file system. A copy holds the data of the
# map and garbage everywhere else; it must pass e2fsck and hold, file for file, what a full copy
# holds.
. "$(dirname "$0")/../lib.sh"
requires_root
requires mke2fs e2fsck dumpe2fs resize2fs fsfreeze losetup mkfs.xfs

BUILD=${BUILD:-$TOP/build}
case $BUILD in /*) ;; *) BUILD=$TOP/$BUILD ;; esac
TOOL=$BUILD/tests/unit/fs_ext_test
[ -x "$TOOL" ] || make -C "$TOP" -s BUILD="$BUILD" "$TOOL" >&2

# Backing files lie on XFS: a reflink copy of a file is what it was at one instant, also under load.
# In memory where there is plenty: the test syncs all the time.
xfs=$TMP/xfs
if [ -w /dev/shm ] && [ "$(df --output=avail /dev/shm | tail -n 1)" -gt 4000000 ] &&
	[ "$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo)" -gt 8000000 ]; then
	xfs=$(mktemp /dev/shm/imgtool-test.XXXXXX)
	cleanup rm -f "$xfs"
fi
truncate -s 3G "$xfs"
mkfs.xfs -q -f -m reflink=1 "$xfs"
mkdir "$TMP/w"
mount -o loop "$xfs" "$TMP/w" 2>"$TMP/err" || skip "no loop mount of XFS: $(cat "$TMP/err")"
cleanup umount "$TMP/w"
W=$TMP/w

fill() { # DIR ROUND
	local i max
	RANDOM=$2
	mkdir -p "$1/r$2/a/b"
	for ((i = 0; i < 150; i++)); do
		max=$((i % 20 == 0 ? 2000000 : 30000))
		head -c $((RANDOM * RANDOM % max)) /dev/urandom >"$1/r$2/f$i"
	done
	cp -r "$TOP/src" "$1/r$2/a/b/src"
	truncate -s 5M "$1/r$2/sparse"
	echo end >>"$1/r$2/sparse"
	ln "$1/r$2/f1" "$1/r$2/hard"
}

churn() { # DIR ROUND
	local i
	for ((i = 0; i < 150; i += 3)); do rm "$1/r$2/f$i"; done
	for ((i = 0; i < 300; i++)); do
		head -c 3000 /dev/urandom >>"$1/grow-a"
		head -c 5000 /dev/urandom >>"$1/grow-b"
	done
	rm -rf "$1/r$2/a"
}

# Writes without end: the journal goes round, directories come and go (revocations).
busy() { # DIR
	local n=0
	while :; do
		n=$((n + 1))
		mkdir -p "$1/busy/d$n"
		for i in 1 2 3 4 5 6 7 8; do
			head -c $((n * 777 % 40000 + i * 1000)) /dev/urandom >"$1/busy/d$n/$i"
		done
		[ $((n % 3)) -ne 0 ] || rm -rf "$1/busy/d$((n - 2))"
		[ $((n % 25)) -ne 0 ] || sync -f "$1"
		[ $((n % 90)) -ne 0 ] || rm -rf "$1/busy"
	done
}

tree_sums() { # IMAGE: mounted (which replays a copy's journal), every name and every byte
	local dir=$TMP/sums
	mkdir -p "$dir"
	mount -o loop "$1" "$dir" || return 1
	(cd "$dir" && find . -printf '%p %y %s %m %T@ %n\n' | sort &&
		find . -type f -print0 | sort -z | xargs -0 -r sha256sum)
	umount "$dir"
}

# same SNAPSHOT DESC: the map of the snapshot is used-only, and a copy made by it equals the
# snapshot.
same() {
	local got
	got=$("$TOOL" --copy "$1" "$W/copy") || true
	case $got in
	used_only=1\ *) ok "$2: used only ($got)" ;;
	*)
		nok "$2: used only" "$got"
		return
		;;
	esac
	cp --reflink=always "$W/copy" "$W/checked"
	cp --reflink=auto "$1" "$W/full"
	tree_sums "$W/full" >"$TMP/want" || nok "$2: the full copy mounts"
	tree_sums "$W/copy" >"$TMP/got" || nok "$2: the used-only copy mounts"
	[ -s "$TMP/want" ] || nok "$2: no files in the snapshot"
	check "$2: every file is the same" cmp "$TMP/want" "$TMP/got"
	check "$2: clean after the kernel's recovery" e2fsck -fn "$W/copy"
	# And by the other replayer, on a copy that the kernel did not touch.
	e2fsck -fy "$W/checked" >"$TMP/fsck" 2>&1 || true
	if grep -Eiq 'differences|claimed|illegal|corrupt|invalid' "$TMP/fsck"; then
		nok "$2: e2fsck replays and finds nothing else" "$(cat "$TMP/fsck")"
	else
		ok "$2: e2fsck replays and finds nothing else"
	fi
	check "$2: clean after e2fsck's recovery" e2fsck -fn "$W/checked"
	rm -f "$W/copy" "$W/checked" "$W/full"
}

refused() { # SNAPSHOT WORD DESC
	local got
	got=$("$TOOL" --copy "$1" "$W/copy") || true
	case $got in
	used_only=0\ *"$2"*) ok "$3: all blocks ($got)" ;;
	*) nok "$3: all blocks" "$got" ;;
	esac
	check "$3: all blocks are all blocks" cmp "$1" "$W/copy"
	rm -f "$W/copy"
}

# free_equals IMAGE DESC: a clean file system's free space is what dumpe2fs says.
free_equals() {
	local want
	want=$(dumpe2fs -h "$1" 2>/dev/null |
		awk -F: '/^Free blocks/ { f = $2 } /^Block size/ { b = $2 }
			END { printf "%d", f * b }')
	check_eq "$("$TOOL" --copy "$1" "$W/copy" | sed 's/.*free=\([0-9]*\).*/\1/')" "$want" \
		"$2: free is what dumpe2fs says"
	rm -f "$W/copy"
}

make_fs() { # SIZE MKE2FS OPTIONS...
	rm -f "$W/fs"
	truncate -s "$1" "$W/fs"
	mke2fs -q -F "${@:2}" "$W/fs"
}

mnt=$TMP/mnt
mkdir "$mnt"
busy_pid=
stop_busy() {
	[ -z "$busy_pid" ] || { kill "$busy_pid" && wait "$busy_pid"; } 2>/dev/null || true
	busy_pid=
}
unmount_mnt() {
	stop_busy
	! mountpoint -q "$mnt" || umount "$mnt"
}
cleanup unmount_mnt

# life NAME MOUNT-OPTIONS SIZE MKE2FS...: snapshots through a whole life.
life() {
	local name=$1 options=$2 i
	make_fs "${@:3}"
	mount -o "loop,$options" "$W/fs" "$mnt"
	fill "$mnt" 1
	fill "$mnt" 2
	sync -f "$mnt"
	cp --reflink=always "$W/fs" "$W/snap"
	same "$W/snap" "$name, synced but mounted"
	churn "$mnt" 1
	busy "$mnt" &
	busy_pid=$!
	for i in 1 2; do
		sleep 1.3
		cp --reflink=always "$W/fs" "$W/snap"
		same "$W/snap" "$name, busy $i"
	done
	stop_busy
	fsfreeze -f "$mnt"
	cp --reflink=always "$W/fs" "$W/snap"
	fsfreeze -u "$mnt"
	same "$W/snap" "$name, frozen"
	free_equals "$W/snap" "$name, frozen"
	churn "$mnt" 2
	umount "$mnt"
	same "$W/fs" "$name, unmounted"
	free_equals "$W/fs" "$name, unmounted"
}

life ext4 defaults 400M -t ext4 -b 4096
life 'ext4 1 KiB, small journal' defaults 256M -t ext4 -b 1024 -J size=2
life 'ext4 data=journal' data=journal 256M -t ext4 -b 4096 -J size=16
life 'ext4 bigalloc' defaults 400M -t ext4 -O bigalloc -C 16384
life 'ext4 without checksums' defaults 256M -t ext4 -b 1024 -O '^metadata_csum,uninit_bg,^64bit'
life 'ext4 journal_checksum' journal_checksum 256M -t ext4 -b 4096 -O '^metadata_csum,uninit_bg'
life ext3 defaults 256M -t ext3 -b 1024
life 'ext4 orphan_file' defaults 256M -t ext4 -b 2048 -O orphan_file

# Without a journal nothing says what a mounted file system will look like.
for type in ext2 ext4; do
	make_fs 128M -t $type -O ^has_journal
	mount -o loop "$W/fs" "$mnt"
	fill "$mnt" 1
	sync -f "$mnt"
	cp --reflink=always "$W/fs" "$W/snap"
	umount "$mnt"
	refused "$W/snap" 'not cleanly unmounted' "$type without journal, mounted"
	same "$W/fs" "$type without journal, unmounted"
	free_equals "$W/fs" "$type without journal, unmounted"
done

# Files that are deleted but open: the orphan list is worked off after the replay.
make_fs 128M -t ext4
mount -o loop "$W/fs" "$mnt"
fill "$mnt" 1
exec 7<"$mnt/r1/f20" 8<"$mnt/r1/f40"
rm "$mnt/r1/f20" "$mnt/r1/f40"
sync -f "$mnt"
cp --reflink=always "$W/fs" "$W/snap"
exec 7<&- 8<&-
umount "$mnt"
same "$W/snap" 'deleted but open files'

# Resized while mounted: the journal holds the new size, or has been emptied; never a wrong map.
make_fs 64M -t ext4 -b 1024
truncate -s 256M "$W/fs"
mount -o loop "$W/fs" "$mnt"
fill "$mnt" 1
loop=$(findmnt -no SOURCE "$mnt")
resized=1
resize2fs "$loop" >"$TMP/out" 2>&1 || resized=
fill "$mnt" 2
sync -f "$mnt"
cp --reflink=always "$W/fs" "$W/snap"
umount "$mnt"
if [ -z "$resized" ]; then
	skip_case 'resized while mounted' "$(grep -m 1 'resize2fs: ' "$TMP/out")"
else
	got=$("$TOOL" --copy "$W/snap" "$W/copy")
	case $got in
	used_only=1*) same "$W/snap" 'resized while mounted' ;;
	*) refused "$W/snap" 'change of size' 'resized while mounted' ;;
	esac
fi
same "$W/fs" 'resized, unmounted'

# Fast commits: used only when there are none to replay, all blocks otherwise; both are right.
make_fs 256M -t ext4 -O fast_commit
mount -o loop "$W/fs" "$mnt"
fill "$mnt" 1
sync -f "$mnt"
for i in 1 2 3 4 5; do
	head -c 50000 /dev/urandom >"$mnt/fast$i"
	sync "$mnt/fast$i"
done
cp --reflink=always "$W/fs" "$W/snap"
umount "$mnt"
refused "$W/snap" 'fast commits' 'fast commits in the journal'
same "$W/fs" 'fast commits, unmounted'

# A block device, through its descriptor.
make_fs 128M -t ext4
loop_of "$W/fs"
mount "$LOOP" "$mnt"
fill "$mnt" 1
umount "$mnt"
same "$LOOP" 'a block device'

done_testing
