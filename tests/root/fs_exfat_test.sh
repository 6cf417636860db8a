#!/usr/bin/env bash
# exFAT as a driver leaves it: mounted through FUSE, filled, emptied and filled again; unmounted,
# and as it is on the device while it is mounted. A copy rebuilt from the map's data alone, on top
# of garbage, passes fsck.exfat and holds every file.
. "$(dirname "$0")/../lib.sh"
requires_root
requires mkfs.exfat fsck.exfat dump.exfat mount.exfat-fuse losetup
[ -c /dev/fuse ] || skip 'no /dev/fuse'

# The copies are made by the unit test's program: `fs_exfat_test --copy SOURCE COPY`.
BUILD=${BUILD:-$TOP/build}
case $BUILD in /*) ;; *) BUILD=$TOP/$BUILD ;; esac
TOOL=$BUILD/tests/unit/fs_exfat_test
[ -x "$TOOL" ] || make -C "$TOP" -s BUILD="$BUILD" "$TOOL" >&2

unmount_left_over() { # DIR
	if mountpoint -q "$1"; then umount "$1"; fi
}

mount_exfat() { # DEVICE DIR [OPTIONS]: nearly always unmounted again at once; if not, at the end
	mkdir -p "$2"
	cleanup unmount_left_over "$2"
	mount.exfat-fuse -o "${3:-rw}" "$1" "$2" >"$TMP/mount.log" 2>&1 || {
		tap_comment <"$TMP/mount.log"
		return 1
	}
}

fill() { # DIR ROUND
	local i size
	RANDOM=$2
	mkdir -p "$1/tree/a/b/c" "$1/päckchen"
	for ((i = 0; i < 150; i++)); do
		size=$((RANDOM * RANDOM % (i % 10 == 0 ? 900000 : 20000)))
		head -c $size /dev/urandom >"$1/tree/r$2-$i"
	done
	cp -r "$TOP/src" "$1/päckchen/src-$2"
}

# Remove every third file, then let two files grow through the gaps.
churn() { # DIR ROUND
	local i
	for ((i = 0; i < 150; i += 3)); do rm "$1/tree/r$2-$i"; done
	for ((i = 0; i < 100; i++)); do
		head -c 50000 /dev/urandom >>"$1/grow-a"
		head -c 30000 /dev/urandom >>"$1/grow-b"
	done
}

sums() { # DIR
	(cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum && find . | sort)
}

sums_of() { # VOLUME FILE SECTOR: the driver mounts block devices only
	local LOOP
	loop_of "$1" --sector-size "$3"
	mount_exfat "$LOOP" "$TMP/copy" ro
	sums "$TMP/copy" >"$2"
	umount "$TMP/copy"
}

# whole SOURCE SUMS DESC SECTOR: a copy of the source by its map has these files; $TMP/copied tells.
whole() {
	check "$3: a copy by the map" "$TOOL" --copy "$1" "$TMP/rebuilt"
	cp "$TMP/out" "$TMP/copied"
	check_grep '^used_only=1 ' "$TMP/copied" "$3: it has a map"
	check "$3: fsck.exfat finds nothing" fsck.exfat -n "$TMP/rebuilt"
	sums_of "$TMP/rebuilt" "$TMP/copy.sums" "$4"
	check "$3: every file is the same" cmp "$2" "$TMP/copy.sums"
}

volume() { # SECTOR CLUSTER: one volume through its life
	local what="$1/$2" file="$TMP/volume"
	rm -f "$file"
	truncate -s $((120 * 1024 * 1024 + 5 * $1)) "$file"
	loop_of "$file" --sector-size "$1"
	mkfs.exfat -c "$2" "$LOOP" >/dev/null
	mount_exfat "$LOOP" "$TMP/mnt"
	fill "$TMP/mnt" 1
	churn "$TMP/mnt" 1
	fill "$TMP/mnt" 2
	churn "$TMP/mnt" 2
	sync

	# Mounted and in use: what is on the device now is a state that a pulled stick may have.
	cat "$LOOP" >"$TMP/live"
	sums_of "$TMP/live" "$TMP/live.sums" "$1"
	check "$what: live: a copy by the map" "$TOOL" --copy "$TMP/live" "$TMP/rebuilt"
	check_grep '^used_only=' "$TMP/out" "$what: live: with a map or a reason"
	sums_of "$TMP/rebuilt" "$TMP/copy.sums" "$1"
	check "$what: live: every file is the same" cmp "$TMP/live.sums" "$TMP/copy.sums"

	sums "$TMP/mnt" >"$TMP/sums"
	umount "$TMP/mnt"
	blockdev --flushbufs "$LOOP"
	whole "$LOOP" "$TMP/sums" "$what" "$1"
	check_eq "$(sed -n 's/.* free=\([0-9]*\) .*/\1/p' "$TMP/copied")" \
		$(($(dump.exfat "$LOOP" | awk '/^Free Clusters/ { print $NF }') * $2)) \
		"$what: free bytes as dump.exfat says"

	# As a job: imaged, restored, checked.
	rm -f "$TMP/i.zst" "$TMP/restored"
	check "$what: image" "$IMGTOOL" image -q --used-only "$LOOP" "$TMP/i.zst"
	check "$what: restore" "$IMGTOOL" restore -q "$TMP/i.zst" "$TMP/restored"
	check "$what: fsck.exfat" fsck.exfat -n "$TMP/restored"
	sums_of "$TMP/restored" "$TMP/copy.sums" "$1"
	check "$what: restored: every file is the same" cmp "$TMP/sums" "$TMP/copy.sums"
}

volume 512 4096
volume 512 32768
volume 4096 131072

done_testing
