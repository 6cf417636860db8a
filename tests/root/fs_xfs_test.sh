#!/usr/bin/env bash
# XFS as the kernel leaves it: mounted, filled, emptied, fragmented, in many variants of mkfs.xfs;
# unmounted, frozen, and above all snapshots of a mounted and busy file system. A copy holds the
# data of the map and garbage everywhere else; it must pass xfs_repair and hold, file for file, what
# a full copy holds. What is free after an unmount must be what xfs_db lists.
. "$(dirname "$0")/../lib.sh"
requires_root
requires mkfs.xfs xfs_db xfs_repair xfs_growfs xfs_admin xfs_io xfs_logprint fsfreeze losetup \
	partclone.xfs partclone.info python3

BUILD=${BUILD:-$TOP/build}
case $BUILD in /*) ;; *) BUILD=$TOP/$BUILD ;; esac
TOOL=$BUILD/tests/unit/fs_xfs_test
[ -x "$TOOL" ] || make -C "$TOP" -s BUILD="$BUILD" "$TOOL" >&2

# Backing files lie on another XFS: a reflink copy of a file is what it was at one instant. In
# memory where there is plenty: the test syncs all the time.
under=$TMP/under
if [ -w /dev/shm ] && [ "$(df --output=avail /dev/shm | tail -n 1)" -gt 4000000 ] &&
	[ "$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo)" -gt 8000000 ]; then
	under=$(mktemp /dev/shm/imgtool-test.XXXXXX)
	cleanup rm -f "$under"
fi
truncate -s 3G "$under"
mkfs.xfs -q -f -m reflink=1 "$under"
mkdir "$TMP/w"
mount -o loop "$under" "$TMP/w" 2>"$TMP/err" || skip "no loop mount of XFS: $(cat "$TMP/err")"
cleanup umount "$TMP/w"
W=$TMP/w
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

fill() { # DIR ROUND
	local i max
	RANDOM=$2
	mkdir -p "$1/r$2/a/b" "$1/r$2/names"
	for ((i = 0; i < 80; i++)); do
		max=$((i % 20 == 0 ? 2000000 : 30000))
		head -c $((RANDOM * RANDOM % max)) /dev/urandom >"$1/r$2/f$i"
	done
	cp -r "$TOP/src" "$1/r$2/a/b/src"
	(cd "$1/r$2/names" && touch a-rather-long-name-for-an-empty-file-{1..1500})
	truncate -s 5M "$1/r$2/sparse"
	echo end >>"$1/r$2/sparse"
	ln "$1/r$2/f1" "$1/r$2/hard"
	# Shared blocks, then a part of them written anew.
	cp --reflink=auto "$1/r$2/f20" "$1/r$2/shared"
	printf x | dd of="$1/r$2/shared" bs=1 seek=5000 conv=notrunc status=none
	python3 -c 'import os, sys; os.setxattr(sys.argv[1], "user.x", b"v" * 3000)' "$1/r$2/f2"
}

churn() { # DIR ROUND
	local i
	for ((i = 0; i < 80; i += 3)); do rm "$1/r$2/f$i"; done
	for ((i = 0; i < 80; i++)); do
		head -c 3000 /dev/urandom >>"$1/grow-a"
		head -c 5000 /dev/urandom >>"$1/grow-b"
		[ $((i % 10)) -ne 0 ] || sync "$1/grow-a" "$1/grow-b"
	done
	rm -rf "$1/r$2/a"
	rm "$1/r$2/names/"*[1357]
}

# Writes without end: the log goes round, directories, inodes and shared blocks come and go.
busy() { # DIR
	local n=0 i
	while :; do
		n=$((n + 1))
		mkdir -p "$1/busy/d$n"
		for i in 1 2 3 4 5 6 7 8; do
			head -c $((n * 777 % 40000 + i * 1000)) /dev/urandom >"$1/busy/d$n/$i"
		done
		cp --reflink=auto "$1/busy/d$n/8" "$1/busy/d$n/9"
		printf x | dd of="$1/busy/d$n/9" bs=1 seek=4000 conv=notrunc status=none
		fallocate -p -o 4096 -l 4096 "$1/busy/d$n/7"
		[ $((n % 3)) -ne 0 ] || rm -rf "$1/busy/d$((n - 2))"
		[ $((n % 25)) -ne 0 ] || sync -f "$1"
		[ $((n % 90)) -ne 0 ] || rm -rf "$1/busy"
	done
}

make_fs() { # SIZE MKFS-OPTIONS...
	rm -f "$W/fs"
	truncate -s "$1" "$W/fs"
	mkfs.xfs -q -f --unsupported "${@:2}" "$W/fs" >"$TMP/out" 2>&1
}

# nouuid: the file system that it was copied from may be mounted too.
tree_sums() { # IMAGE [MOUNT-OPTION]: mounted (which recovers the log), every name and every byte
	local dir=$TMP/sums
	mkdir -p "$dir"
	mount -o "loop,nouuid${2:-}" "$1" "$dir" || return 1
	(cd "$dir" && find . -printf '%p %y %s %m %T@ %n\n' | sort &&
		find . -type f -print0 | sort -z | xargs -0 -r sha256sum)
	umount "$dir"
}

# same IMAGE DESC: the map is used-only, and a copy made by it equals the image. The copy as it was
# before a mount is $W/first, what the tool said is in $got.
same() {
	got=$("$TOOL" --copy "$1" "$W/copy") || true
	case $got in
	used_only=1\ *) ok "$2: used only ($got)" ;;
	*)
		nok "$2: used only" "$got"
		return
		;;
	esac
	cp --reflink=always "$W/copy" "$W/first"
	cp --reflink=auto "$1" "$W/full"
	tree_sums "$W/full" >"$TMP/want" || nok "$2: the full copy mounts"
	tree_sums "$W/copy" >"$TMP/got" || nok "$2: the used-only copy mounts"
	[ -s "$TMP/want" ] || nok "$2: no files in the image"
	check "$2: every file is the same" cmp "$TMP/want" "$TMP/got"
	check "$2: sound after it was mounted" xfs_repair -n "$W/copy"
	rm -f "$W/copy" "$W/full"
}

# clean IMAGE DESC: unmounted; besides, nothing else is free than what xfs_db says.
clean() {
	local got want partclone
	same "$1" "$2"
	check "$2: sound as it is" xfs_repair -n "$W/first"
	want=$("$TOP/tests/corpus/fs/xfs-free.sh" "$1" |
		awk '{ n += $2 } END { printf "%.0f\n", n }')
	check_grep "^used_only=1 free=$want note= reason=\$" <(echo "$got") \
		"$2: free is what xfs_db lists"
	partclone.xfs -c -s "$1" -o "$W/pc" -L "$TMP/pc.log" >/dev/null 2>&1
	partclone=$(partclone.info -s "$W/pc" 2>&1 |
		sed -n 's/^Free Space:.*= *\([0-9]*\) Blocks/\1/p')
	partclone=$((partclone * $(xfs_db -r -c 'sb 0' -c 'p blocksize' "$1" | awk '{ print $3 }')))
	check "$2: not more than partclone leaves out" [ "$want" -le "$partclone" ]
	rm -f "$W/pc"
}

refused() { # IMAGE WORD DESC
	local got
	got=$("$TOOL" --copy "$1" "$W/copy") || true
	case $got in
	used_only=0*"$2"*) ok "$3: all blocks ($got)" ;;
	*) nok "$3: all blocks, because of $2" "$got" ;;
	esac
	check "$3: the copy is everything" cmp "$1" "$W/copy"
	rm -f "$W/copy"
}

snapshot() {
	cp --reflink=always "$W/fs" "$W/snap"
}

# life NAME SIZE MKFS...: filled and aged with snapshots on the way, unmounted
life() {
	make_fs "${@:2}"
	mount -o loop "$W/fs" "$mnt"
	fill "$mnt" 1
	sync -f "$mnt"
	churn "$mnt" 1
	snapshot
	same "$W/snap" "$1, mounted"
	busy "$mnt" &
	busy_pid=$!
	sleep 1
	snapshot
	same "$W/snap" "$1, busy"
	stop_busy
	fill "$mnt" 2
	umount "$mnt"
	clean "$W/fs" "$1"
}

life defaults 160M
life '1 KiB blocks, rmapbt' 160M -b size=1024 -m rmapbt=1
life '2 KiB blocks and sectors' 160M -b size=2048 -s size=2048
life '64 KiB blocks' 400M -b size=65536
life '4 KiB sectors, nrext64' 160M -s size=4096 -i nrext64=1
life 'many groups, rmapbt' 400M -d agsize=24m -m rmapbt=1,reflink=1
life 'without newer features' 160M -m finobt=0,reflink=0,bigtime=0,inobtcount=0 -i sparse=0
life 'stripes' 400M -d su=64k,sw=4 -l su=256k

# Frozen: everything is in its place, but the log is left so that a mount recovers it.
make_fs 160M -b size=1024
mount -o loop "$W/fs" "$mnt"
fill "$mnt" 1
churn "$mnt" 1
fsfreeze -f "$mnt"
snapshot
fsfreeze -u "$mnt"
tree_sums "$W/snap" ,ro,norecovery >"$TMP/want"
same "$W/snap" 'frozen'
check_grep 'note=dirty log, 0 blocks' <(echo "$got") 'frozen: nothing to recover'
tree_sums "$W/first" ,ro,norecovery >"$TMP/got"
check 'frozen: every file is the same without recovery' cmp "$TMP/want" "$TMP/got"

# Deleted but open files: the unlinked list is worked off after the recovery.
exec 7<"$mnt/r1/f20" 8<"$mnt/r1/f40"
rm "$mnt/r1/f20" "$mnt/r1/f40"
sync -f "$mnt"
snapshot
exec 7<&- 8<&-
umount "$mnt"
same "$W/snap" 'deleted but open files'

# Stopped dead: what was not in the log by then never happened.
make_fs 160M
mount -o loop "$W/fs" "$mnt"
fill "$mnt" 1
xfs_io -x -c 'shutdown -f' "$mnt"
umount "$mnt"
same "$W/fs" 'shut down, log written'
mount -o loop "$W/fs" "$mnt"
churn "$mnt" 1
xfs_io -x -c 'shutdown' "$mnt"
umount "$mnt"
same "$W/fs" 'shut down, log not written'

# The log goes round, with records of one header and of eight: an end of it that lies before its
# begin.
for size in 32k 256k; do
	make_fs 64M -b size=1024 -m rmapbt=1
	mount -o "loop,logbsize=$size" "$W/fs" "$mnt"
	for ((i = 0; i < 200; i++)); do
		mkdir -p "$mnt/$((i % 7))"
		touch "$mnt/$((i % 7))/a-rather-long-name-$i-"{1..400}
		head -c 30000 /dev/urandom >"$mnt/$((i % 7))/file$i"
		[ $((i % 7)) -ne 5 ] || rm -rf "$mnt/$((i % 5))"
		sync -f "$mnt"
		[ $((i % 5)) -eq 0 ] || continue
		snapshot
		read -r tail head < <(xfs_logprint -t "$W/snap" 2>/dev/null |
			sed -n 's/.*log tail: \([0-9]*\) head: \([0-9]*\) .*/\1 \2/p')
		[ "$head" -ge "$tail" ] || break
	done
	umount "$mnt"
	check "a log of $size that goes round: $tail to $head" [ "$head" -lt "$tail" ]
	same "$W/snap" "a log of $size that goes round"
done

# Grown twice, the last group short; the UUID changed, which metadata does not follow.
make_fs 160M -d agcount=2
mount -o loop "$W/fs" "$mnt"
fill "$mnt" 1
umount "$mnt"
truncate -s 333M "$W/fs"
mount -o loop "$W/fs" "$mnt"
check 'grown' xfs_growfs "$mnt"
snapshot
fill "$mnt" 2
churn "$mnt" 1
umount "$mnt"
# The log may hold the new size, or be empty already; in neither case a wrong map.
case $("$TOOL" --copy "$W/snap" "$W/copy") in
used_only=1*) same "$W/snap" 'grown, mounted' ;;
*) refused "$W/snap" 'change of size' 'grown, mounted' ;;
esac
clean "$W/fs" 'grown'
check 'a new UUID' xfs_admin -U generate "$W/fs"
mount -o loop "$W/fs" "$mnt"
churn "$mnt" 2
umount "$mnt"
clean "$W/fs" 'a new UUID'

# R3: behind the file system there is somebody else's.
head -c 3000000 /dev/urandom >>"$W/fs"
same "$W/fs" 'a longer device'
"$TOOL" --copy "$W/fs" "$W/copy" >/dev/null
check 'a longer device: its end is kept' cmp <(tail -c 3000000 "$W/fs") <(tail -c 3000000 "$W/copy")

# A log elsewhere may hold anything.
rm -f "$W/fs"
truncate -s 300M "$W/fs"
truncate -s 64M "$W/log"
mkfs.xfs -q -f -l "logdev=$W/log" "$W/fs"
refused "$W/fs" 'log is on another device' 'external log'

# The whole job: image, restore onto garbage, repair finds nothing, every file is there.
make_fs 160M -m rmapbt=1
mount -o loop "$W/fs" "$mnt"
fill "$mnt" 1
churn "$mnt" 1
umount "$mnt"
loop_of "$W/fs"
check 'imaged' "$IMGTOOL" image --json "$LOOP" "$W/x.img.zst"
check_grep '"map": *"used"' "$TMP/out" 'imaged: used only'
head -c $((160 * 1024 * 1024)) /dev/zero | tr '\0' '\245' >"$W/copy"
check 'verified' "$IMGTOOL" verify "$W/x.img.zst"
check 'restored' "$IMGTOOL" restore --force "$W/x.img.zst" "$W/copy"
check 'restored: xfs_repair finds nothing' xfs_repair -n "$W/copy"
tree_sums "$W/fs" >"$TMP/want"
tree_sums "$W/copy" >"$TMP/got"
check 'restored: every file is the same' cmp "$TMP/want" "$TMP/got"

done_testing
