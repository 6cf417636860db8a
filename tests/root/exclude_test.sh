#!/usr/bin/env bash
# Content rules on what drivers leave: ext4 that is mounted and whose journal is still to be
# replayed, and NTFS that ntfs-3g has filled and fragmented. After a restore the drivers find every
# other file as it was, and the chosen ones in their size, reading as zeros.
. "$(dirname "$0")/../lib.sh"
requires_root
requires mke2fs e2fsck mkswap swaplabel fallocate losetup mkntfs ntfs-3g ntfsfix jq
[ -c /dev/fuse ] || skip 'no /dev/fuse'

# unmount_left_over DIR
unmount_left_over() {
	if mountpoint -q "$1"; then umount "$1"; fi
}

# mounted TYPE FILE COMMAND...: run it with the file mounted on $TMP/m.
mkdir "$TMP/m"
cleanup unmount_left_over "$TMP/m"
mounted() {
	local type=$1 file=$2 status=0
	shift 2
	case $type in
	ntfs) ntfs-3g "$file" "$TMP/m" ;;
	*) mount -o loop "$file" "$TMP/m" ;;
	esac
	"$@" || status=$?
	umount "$TMP/m"
	return $status
}

# sums NAME...: of every file but these
sums() {
	local omit=() name
	for name; do omit+=(! -name "$name"); done
	(cd "$TMP/m" && find . -type f "${omit[@]}" -print0 | sort -z | xargs -0 sha256sum &&
		find . | sort)
}

# zeros_from FILE OFFSET: bytes behind the offset that are no zeros, and of the file
zeros_from() {
	printf '%d %d\n' "$(tail -c +$(($2 + 1)) "$TMP/m/$1" | tr -d '\0' | wc -c)" \
		"$(stat -c %s "$TMP/m/$1")"
}

fill() { # ROUND
	local i
	mkdir -p "$TMP/m/tree/r$1"
	for i in $(seq 80); do
		head -c $((i * 997 % 60000 + 1)) /dev/urandom >"$TMP/m/tree/r$1/f$i"
	done
}

# ---- ext4, mounted ----
src=$TMP/ext.img
truncate -s 200M "$src"
mke2fs -q -F -t ext4 "$src"
mount -o loop "$src" "$TMP/m"
fill 1
fallocate -l 20M "$TMP/m/swapfile"
chmod 600 "$TMP/m/swapfile"
mkswap -q "$TMP/m/swapfile"
mkdir "$TMP/m/old"
head -c 8M /dev/urandom >"$TMP/m/old/swap2"
chmod 600 "$TMP/m/old/swap2"
mkswap -q "$TMP/m/old/swap2"
rm -r "$TMP"/m/tree/r1/f?
fill 2
# In the journal by now, and not yet in its place; nothing writes while it is copied.
sync -f "$TMP/m"
cp "$src" "$TMP/snapshot"
sums swapfile swap2 >"$TMP/want"
umount "$TMP/m"

check 'a snapshot with a journal to be replayed' "$IMGTOOL" image "$TMP/snapshot" "$TMP/i.zst" \
	--exclude swap
check_grep 'dirty journal, [0-9]+ blocks to replay' "$TMP/err" 'it is one'
check_grep 'left out 27\.[0-9]+ MiB that 2 files contained' "$TMP/out" \
	'both swap files are left out'
check 'restore' "$IMGTOOL" restore -q "$TMP/i.zst" "$TMP/restored"
cp "$TMP/restored" "$TMP/checked"
e2fsck -fy "$TMP/checked" >"$TMP/out" 2>&1 || true
check 'e2fsck after its replay' e2fsck -fn "$TMP/checked"
rm "$TMP/checked"
mounted ext4 "$TMP/restored" sums swapfile swap2 >"$TMP/got"
check 'every other file is as it was' cmp "$TMP/got" "$TMP/want"
check_eq "$(mounted ext4 "$TMP/restored" zeros_from old/swap2 65536)" '0 8388608' \
	'a swap file reads as zeros behind its header'
check 'and is still one' mounted ext4 "$TMP/restored" swaplabel "$TMP/m/old/swap2"
check 'the other, too' mounted ext4 "$TMP/restored" swaplabel "$TMP/m/swapfile"
rm "$TMP/restored" "$TMP/snapshot" "$src"

# ---- NTFS, filled by its driver ----
src=$TMP/ntfs.img
truncate -s 200M "$src"
mkntfs -q -F -Q "$src" >/dev/null 2>&1
fill_ntfs() {
	local i
	fill 1
	for i in $(seq 150); do
		head -c 60000 /dev/urandom >>"$TMP/m/pagefile.sys"
		head -c 9000 /dev/urandom >>"$TMP/m/grow"
	done
	rm "$TMP"/m/tree/r1/f?
	head -c 3M /dev/urandom >>"$TMP/m/pagefile.sys"
	cp "$TMP/m/pagefile.sys" "$TMP/m/tree/pagefile.sys"
	fill 2
}
mounted ntfs "$src" fill_ntfs
mounted ntfs "$src" sums >"$TMP/all"
grep -v '  ./pagefile.sys$' "$TMP/all" >"$TMP/want"
check 'NTFS' "$IMGTOOL" image --force --json "$src" "$TMP/i.zst" --exclude pagefile
check_eq "$(jq -c 'select(.event == "image") | [.excluded_files, .excluded_bytes > 12000000]' \
	"$TMP/out")" '[1,true]' 'leaves out the page file'
check 'restore' "$IMGTOOL" restore -q "$TMP/i.zst" "$TMP/restored"
mounted ntfs "$TMP/restored" sums >"$TMP/all"
grep -v '  ./pagefile.sys$' "$TMP/all" >"$TMP/got"
check 'every other file is as it was, one of the same name too' cmp "$TMP/got" "$TMP/want"
check_eq "$(mounted ntfs "$TMP/restored" zeros_from pagefile.sys 0)" '0 12145728' \
	'the page file reads as zeros'
check 'ntfsfix finds nothing' ntfsfix -n "$TMP/restored"

done_testing
