#!/usr/bin/env bash
# fs_ntfs on volumes that ntfs-3g has mounted, filled, emptied and filled again: a copy rebuilt from
# the map's data alone, on top of garbage, passes ntfsfix and holds every file. Also copied while it
# is mounted, scheduled for chkdsk by ntfsfix, and hibernated.
. "$(dirname "$0")/../lib.sh"
requires_root
requires mkntfs ntfs-3g ntfs-3g.probe ntfsfix ntfsinfo ntfscluster losetup

# The map comes from the unit test's program: `fs_ntfs_test --map FILE`.
BUILD=${BUILD:-$TOP/build}
case $BUILD in /*) ;; *) BUILD=$TOP/$BUILD ;; esac
MAP=$BUILD/tests/unit/fs_ntfs_test
[ -x "$MAP" ] || make -C "$TOP" -s BUILD="$BUILD" "$MAP" >&2

[ -c /dev/fuse ] || skip 'no /dev/fuse'

# mount_ntfs DEVICE DIR [OPTIONS]: nearly always unmounted again at once; if not, at the end.
mount_ntfs() {
	mkdir -p "$2"
	cleanup unmount_left_over "$2"
	ntfs-3g -o "${3:-rw},permissions" "$1" "$2" >"$TMP/mount.log" 2>&1 || {
		tap_comment <"$TMP/mount.log"
		return 1
	}
}

unmount_left_over() { # DIR
	if mountpoint -q "$1"; then umount "$1"; fi
}

# Many files: sizes from nothing to megabytes, a tree, names that are not ASCII, sparse, compressed.
fill() { # DIR ROUND
	local i size
	RANDOM=$2
	mkdir -p "$1/tree/a/b/c" "$1/päckchen"
	for ((i = 0; i < 150; i++)); do
		size=$((RANDOM * RANDOM % (i % 10 == 0 ? 900000 : 20000)))
		head -c $size /dev/urandom >"$1/tree/r$2-$i"
	done
	cp -r "$TOP/src" "$1/päckchen/src-$2"
	truncate -s 5M "$1/tree/sparse-$2"
	echo end >>"$1/tree/sparse-$2"
}

# Remove every third file, then let two files grow through the gaps.
churn() { # DIR ROUND
	local i
	for ((i = 0; i < 150; i += 3)); do rm "$1/tree/r$2-$i"; done
	for ((i = 0; i < 200; i++)); do
		head -c 5000 /dev/urandom >>"$1/grow-a"
		head -c 3000 /dev/urandom >>"$1/grow-b"
	done
}

sums() { # DIR
	(cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum && find . | sort)
}

# rebuild SOURCE MAP COPY: the data ranges on a file of garbage.
rebuild() {
	local kind off len
	blockdev --getsize64 "$1" >"$TMP/size" 2>/dev/null || stat -c %s "$1" >"$TMP/size"
	head -c "$(cat "$TMP/size")" /dev/zero | tr '\0' '\245' >"$3"
	while read -r kind off len; do
		[ "$kind" = data ] || continue
		dd if="$1" of="$3" bs=1M skip="$off" seek="$off" count="$len" conv=notrunc \
			iflag=skip_bytes,count_bytes oflag=seek_bytes status=none
	done <"$2"
}

map_of() { # FILE: $TMP/map; fails when it was refused
	"$MAP" --map "$1" >"$TMP/map"
	! grep -q '^reason ' "$TMP/map"
}

free_of_map() {
	awk '$1 == "free" { n += $3 } END { printf "%d\n", n }' "$TMP/map"
}

free_of_ntfsinfo() { # FILE
	ntfsinfo -f -m "$1" | awk '/Cluster Size:/ { size = $3 } /Free Clusters:/ { n = $3 }
		END { printf "%d\n", n * size }'
}

# same_files COPY SUMS DESC: the copy is clean and has these files.
same_files() {
	check "$3: ntfsfix finds nothing" ntfsfix -n "$1"
	check_grep 'alternate boot sector... OK' "$TMP/out" "$3: the backup boot sector is there"
	mount_ntfs "$1" "$TMP/copy" ro
	sums "$TMP/copy" >"$TMP/copy.sums"
	umount "$TMP/copy"
	check "$3: every file is the same" cmp "$2" "$TMP/copy.sums"
}

volume() { # SECTOR CLUSTER: one volume through its life
	local sector=$1 cluster=$2 what="$1/$2" file="$TMP/volume"
	rm -f "$file"
	truncate -s $((120 * 1024 * 1024 + 5 * sector)) "$file"
	loop_of "$file" --sector-size "$sector"
	mkntfs -q -Q -s "$sector" -c "$cluster" "$LOOP" >/dev/null 2>&1
	mount_ntfs "$LOOP" "$TMP/mnt"
	fill "$TMP/mnt" 1
	churn "$TMP/mnt" 1
	fill "$TMP/mnt" 2
	churn "$TMP/mnt" 2
	sync

	# Mounted and in use: what is on the device now is one state, ours and the full copy's.
	cat "$LOOP" >"$TMP/live"
	check "$what: copied while mounted" map_of "$TMP/live"
	mount_ntfs "$TMP/live" "$TMP/copy" ro
	sums "$TMP/copy" >"$TMP/live.sums"
	umount "$TMP/copy"
	rebuild "$TMP/live" "$TMP/map" "$TMP/rebuilt"
	same_files "$TMP/rebuilt" "$TMP/live.sums" "$what live"

	sums "$TMP/mnt" >"$TMP/sums"
	umount "$TMP/mnt"
	blockdev --flushbufs "$LOOP"
	check "$what: unmounted" map_of "$LOOP"
	check_eq "$(free_of_map)" "$(free_of_ntfsinfo "$LOOP")" "$what: free bytes as ntfsinfo says"
	check "$what: it is fragmented" test "$(wc -l <"$TMP/map")" -gt 30
	rebuild "$LOOP" "$TMP/map" "$TMP/rebuilt"
	same_files "$TMP/rebuilt" "$TMP/sums" "$what"

	# ntfsfix empties the journal and schedules chkdsk: that is the dirty flag.
	grep -v '^note' "$TMP/map" >"$TMP/clean.map"
	ntfsfix "$LOOP" >/dev/null
	check "$what: dirty" map_of "$LOOP"
	check_grep '^note dirty volume$' "$TMP/map" "$what: the note says so"
	grep -v '^note' "$TMP/map" >"$TMP/dirty.map"
	check "$what: the walk through \$MFT finds what \$Bitmap says" \
		cmp "$TMP/clean.map" "$TMP/dirty.map"
	rebuild "$LOOP" "$TMP/map" "$TMP/rebuilt"
	same_files "$TMP/rebuilt" "$TMP/sums" "$what dirty"

	# With $Bitmap all zeros but its first bytes the walk alone must do.
	wipe_bitmap "$LOOP" "$cluster"
	check "$what: dirty, with a wiped bitmap" map_of "$LOOP"
	check_grep 'clusters in use were missing in .Bitmap' "$TMP/map" "$what: the note says so"
	rebuild "$LOOP" "$TMP/map" "$TMP/rebuilt"
	mount_ntfs "$TMP/rebuilt" "$TMP/copy" ro
	sums "$TMP/copy" >"$TMP/copy.sums"
	umount "$TMP/copy"
	check "$what: every file survives a wiped bitmap" cmp "$TMP/sums" "$TMP/copy.sums"
}

# Zero all of $Bitmap behind its first 64 bytes, in its first run.
wipe_bitmap() { # DEVICE CLUSTER
	local lcn bytes
	lcn=$(ntfscluster -f -I 6 "$1" 2>/dev/null | awk '/VCN/ { getline; print $2; exit }')
	bytes=$((120 * 1024 * 1024 / $2 / 8))
	dd if=/dev/zero of="$1" bs=1M seek=$((lcn * $2 + 64)) count=$((bytes - 64)) conv=notrunc \
		oflag=seek_bytes iflag=count_bytes status=none
}

volume 512 4096
volume 512 512
volume 512 65536
volume 4096 4096

# Hibernated: as ntfs-3g judges it, and all blocks.
truncate -s 40M "$TMP/hibernated"
mkntfs -F -q -Q "$TMP/hibernated" >/dev/null 2>&1
check_status 0 'ntfs-3g.probe takes it' ntfs-3g.probe --readwrite "$TMP/hibernated"
mount_ntfs "$TMP/hibernated" "$TMP/mnt"
{ printf 'hibr' && head -c 1000000 /dev/zero; } >"$TMP/mnt/hiberfil.sys"
umount "$TMP/mnt"
check_status 14 'hibernated, says ntfs-3g.probe' ntfs-3g.probe --readwrite "$TMP/hibernated"
check_fails 'hibernated: refused' map_of "$TMP/hibernated"
check_grep '^note Windows is hibernated$' "$TMP/map" 'hibernated: the note'
check_grep '^reason Windows is hibernated' "$TMP/map" 'hibernated: the reason'
mount_ntfs "$TMP/hibernated" "$TMP/mnt" remove_hiberfile
umount "$TMP/mnt"
check 'woken up again' map_of "$TMP/hibernated"

done_testing
