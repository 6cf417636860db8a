# Disks in files: a partition table with real file systems in it, made without root. Sourced after
# fixture.sh.
# shellcheck shell=bash

# table FILE SECTOR < SCRIPT: a table from a script of sfdisk, for any sector size.
table() {
	cat >"$TMP/table"
	printf 'I\n%s\nw\n' "$TMP/table" | fdisk -b "$2" "$1" >/dev/null 2>&1
}

# dump_of FILE SECTOR: what fdisk reads in it, as sfdisk's dump
dump_of() {
	rm -f "$TMP/dump"
	printf 'O\n%s\nq\n' "$TMP/dump" | fdisk -b "$2" "$1" >/dev/null 2>&1
	sed 's/ *$//' "$TMP/dump"
}

# put FILE DISK MIB: the file's content at a place of the disk
put() {
	dd if="$1" of="$2" bs=1M seek="$3" conv=notrunc,sparse status=none
}

# make_parts SECTOR: the file systems of a disk in $TMP/part.*
make_parts() {
	local small=$TMP/small
	if [ ! -d "$small" ]; then
		mkdir -p "$small/deep"
		head -c 2000000 "$IMGTOOL" >"$small/program"
		head -c 1500000 /dev/urandom >"$small/random"
		echo deep >"$small/deep/file"
	fi
	rm -f "$TMP"/part.*
	head -c 12M /dev/urandom >"$TMP/part.ext4" # stale data
	truncate -s 16M "$TMP/part.ext4"
	mkfs.ext4 -q -F -E nodiscard,lazy_itable_init=0 -L Root -d "$small" "$TMP/part.ext4"
	truncate -s 40M "$TMP/part.fat"
	mkfs.fat -S "$1" -n ESP "$TMP/part.fat" >/dev/null
	mcopy -i "$TMP/part.fat" "$small/program" ::program
	truncate -s 12M "$TMP/part.ntfs"
	mkntfs -q -F -Q -s "$1" -p 0 -H 16 -S 63 -L Win "$TMP/part.ntfs" >/dev/null 2>&1
	ntfscp -q "$TMP/part.ntfs" "$small/program" program >/dev/null
	head -c 4M /dev/urandom >"$TMP/part.swap" # old pages
	mkswap -q -L Swap "$TMP/part.swap" 2>/dev/null
}

# make_disk FILE gpt|dos SECTOR: 96 MiB: ext4 at 1M, FAT at 18M, NTFS at 60M, swap at 74M; of an
# MBR the last two are logical. Boot code, a loader behind the table, stale bytes in a gap and at
# the end.
make_disk() {
	local disk=$1 kind=$2 sector=$3
	make_parts "$sector"
	rm -f "$disk"
	truncate -s 96M "$disk"
	if [ "$kind" = gpt ]; then
		table "$disk" "$sector" <<'END'
label: gpt
start=1M, size=16M, name="root fs"
start=18M, size=40M, type=U, name="ESP", attrs="RequiredPartition"
start=60M, size=12M, type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7, attrs="GUID:60,63"
start=74M, size=4M, type=swap
END
	else
		table "$disk" "$sector" <<'END'
label: dos
start=1M, size=16M, type=83, bootable
start=18M, size=40M, type=c
start=59M, size=35M, type=5
start=60M, size=12M, type=7
start=74M, size=4M, type=82
END
	fi
	put "$TMP/part.ext4" "$disk" 1
	put "$TMP/part.fat" "$disk" 18
	put "$TMP/part.ntfs" "$disk" 60
	put "$TMP/part.swap" "$disk" 74
	printf 'boot code' | dd of="$disk" bs=1 conv=notrunc status=none
	printf 'loader' | dd of="$disk" bs=1 seek=500000 conv=notrunc status=none
	printf 'in a gap' | dd of="$disk" bs=1 seek=$((80 << 20)) conv=notrunc status=none
	printf 'raid' | dd of="$disk" bs=1 seek=$(((96 << 20) - 40000)) conv=notrunc status=none
}

# parts_of SET: index, start and file of each partition's image
parts_of() {
	jq -r '.partitions[] | select(.image) | "\(.index) \(.start_bytes) \(.image.file)"' \
		"$1/backup.manifest.json"
}

# rebuild SET FILE: the disk put together by zstd and dd alone
rebuild() {
	local index start file
	zstd -q -d -f -c "$1/disk.img.zst" >"$2"
	parts_of "$1" | while read -r index start file; do
		zstd -q -d -c "$1/$file" | dd of="$2" bs=512 seek=$((start / 512)) conv=notrunc \
			iflag=fullblock status=none
	done
}

# same_bytes A B OFFSET LENGTH DESC
same_bytes() {
	check "$5" cmp -i "$3" -n "$4" "$1" "$2"
}

# manifest_of SET: the manifest without what differs from run to run
manifest_of() {
	jq -S 'del(.. | .finished?)' "$1/backup.manifest.json"
}

# same_set A B DESC: all images and the manifest
same_set() {
	local file
	check_eq "$(cd "$1" && ls)" "$(cd "$2" && ls)" "$3: the files"
	for file in "$2"/*.img.zst; do
		same_file "$1/${file##*/}" "$file" "$3: ${file##*/}"
	done
	check_eq "$(manifest_of "$1")" "$(manifest_of "$2")" "$3: the manifest"
}
