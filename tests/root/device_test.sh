#!/usr/bin/env bash
# The device layer on real block devices: loop devices of both sector sizes, with partitions, file
# systems, swap and what is stacked on them; and targets that fill up. The witnesses are dd, cmp,
# sfdisk, blkid, lsblk and the kernel's own refusals.
# shellcheck disable=SC2154  # LOOP is set by loop_of
. "$(dirname "$0")/../lib.sh"
requires_root
requires losetup sfdisk partx mkfs.ext4 mkswap swapon blkid lsblk blockdev unshare python3
requires "${CC:-cc}"

tool=$TMP/device_tool
"${CC:-cc}" -std=c11 -D_GNU_SOURCE -I"$TOP/src" -o "$tool" "$TESTS_DIR/root/device_tool.c" \
	"$(dirname "$IMGTOOL")/libimgtool.a" -luring -lblkid -pthread

settle() {
	if command -v udevadm >/dev/null; then udevadm settle || true; fi
}

# says PATTERN DESC: a line of the last command's output matches.
says() {
	check_grep "$1" "$TMP/out" "$2"
}

# noise FILE SIZE
noise() {
	head -c "$2" /dev/urandom >"$1"
}

# loop_part N: sets PART to the loop device's partition N.
loop_part() {
	local i
	PART=${LOOP}p$1
	# Some kernels read no partition tables themselves.
	[ -b "$PART" ] || partx -u "$LOOP"
	for ((i = 0; i < 50; i++)); do
		[ -b "$PART" ] && return
		sleep 0.1
	done
	return 1
}

same_bytes() { # DEVICE FILE
	# Through a descriptor of its own, past every cache of ours.
	blockdev --flushbufs "$1" 2>/dev/null || true
	cmp "$1" "$2"
}

# ---- Reading and writing -------------------------------------------------------------------

for sector in 512 4096; do
	noise "$TMP/disk$sector" 8388608
	loop_of "$TMP/disk$sector" --sector-size $sector
	check "a loop device of $sector" "$tool" info "$LOOP" ''
	says "^size=8388608 logical=$sector physical=[0-9]+ align=1 writable=0 block=1" \
		"sizes, $sector"
	check "the same, direct" "$tool" info "$LOOP" wd
	says "logical=$sector physical=[0-9]+ align=$sector writable=1 block=1 discard=1" \
		"direct, alignment, discard, $sector"
	for how in w wd; do
		for aio in uring threads; do
			check "random reads and writes, $sector, $how, $aio" \
				env IMGTOOL_AIO=$aio "$tool" model "$LOOP" $how "$TMP/model"
			check "the bytes are there, $sector, $how, $aio" \
				same_bytes "$LOOP" "$TMP/model"
		done
	done
done
check_fails 'the kernel does refuse 512 bytes of O_DIRECT on 4096-byte sectors' \
	dd if="$LOOP" of=/dev/null bs=512 count=1 iflag=direct

# A size that is no multiple of the sector: the last bytes can be had through the cache only.
noise "$TMP/odd" $((8388608 + 3 * 512))
loop_of "$TMP/odd" --sector-size 4096
size=$(blockdev --getsize64 "$LOOP")
for how in w wd; do
	if dd if="$LOOP" of=/dev/null bs=512 skip=16384 2>"$TMP/err"; then
		check "random reads and writes up to an odd end ($size), $how" \
			"$tool" model "$LOOP" $how "$TMP/model"
		check "the bytes are there, odd end, $how" same_bytes "$LOOP" "$TMP/model"
	else
		# The kernel cannot read them: then it is an error, and at that offset.
		check_status 5 "an end that the kernel cannot read ($size), $how" \
			"$tool" model "$LOOP" $how "$TMP/model"
		check_grep "read $LOOP at 8388608: Input/output error" "$TMP/err" "where, $how"
	fi
done

# Files on a file system on 4096-byte sectors: O_DIRECT needs 4096 there too.
truncate -s 64M "$TMP/fs4096"
loop_of "$TMP/fs4096" --sector-size 4096
mkfs.ext4 -q "$LOOP"
mount_at "$LOOP" "$TMP/mnt4096"
noise "$TMP/mnt4096/file" 1234567
check 'a file on 4096-byte sectors, direct' "$tool" info "$TMP/mnt4096/file" wd
says 'align=4096' 'its alignment'
check 'random reads and writes on it' "$tool" model "$TMP/mnt4096/file" wd "$TMP/model"
check 'the bytes are there' cmp "$TMP/mnt4096/file" "$TMP/model"

noise "$TMP/ro" 1048576
loop_of "$TMP/ro" -r
check 'a read-only device is read' "$tool" info "$LOOP" d
check_status 4 'and not opened for writing' "$tool" info "$LOOP" w
check_status 2 'a block device cannot be cut' "$tool" info "$LOOP" wt

# ---- Discard and zero ----------------------------------------------------------------------

noise "$TMP/holes" 8388608
loop_of "$TMP/holes"
cp "$TMP/holes" "$TMP/want"
dd if=/dev/zero of="$TMP/want" bs=1 seek=1000 count=3000000 conv=notrunc status=none
check 'zero from and to odd offsets' "$tool" zero "$LOOP" wd 1000 3000000
check 'exactly those bytes are zero' same_bytes "$LOOP" "$TMP/want"
before=$(stat -c %b "$TMP/holes")
check 'discard from and to odd offsets' "$tool" discard "$LOOP" w 4194305 1048576
after=$(stat -c %b "$TMP/holes")
check 'the bytes around it stay' cmp -n 4194816 "$LOOP" "$TMP/want"
check 'the bytes behind it stay' cmp -i 5242881 "$LOOP" "$TMP/want"
check 'the file under the device shrank' [ "$after" -lt $((before - 2000)) ]

# ---- Identity ------------------------------------------------------------------------------

for sector in 512 4096; do
	truncate -s 64M "$TMP/table$sector"
	loop_of "$TMP/table$sector" --sector-size $sector -P
	sfdisk -q "$LOOP" <<-END
		label: gpt
		label-id: 11111111-2222-3333-4444-555555555555
		start=1MiB, size=20MiB, name="the first", uuid=AAAAAAAA-0000-0000-0000-000000000001
		size=16MiB, type=S
	END
	settle
	loop_part 2
	swap=$PART
	loop_part 1
	name=${PART#/dev/}
	mkfs.ext4 -q -L "label $sector" "$PART"
	mkswap "$swap" >"$TMP/out"
	check "identity of a partition, $sector" "$tool" identity "$PART" ''
	says "^parent=${LOOP#/dev/}$" "its disk, $sector"
	says '^part_guid=aaaaaaaa-0000-0000-0000-000000000001$' "PARTUUID, $sector"
	says '^part_name=the first$' "partition name, $sector"
	says '^part_type=0fc63daf-8483-4772-8e79-3d69d8477de4$' "partition type, $sector"
	says '^part_number=1$' "partition number, $sector"
	says '^start=1048576$' "start, $sector"
	says '^size=20971520$' "size, $sector"
	says "^logical=$sector$" "sector, $sector"
	says '^disk_id=11111111-2222-3333-4444-555555555555$' "disk GUID of a partition, $sector"
	says '^part_table=$' "a partition has no table, $sector"
	says "^fs_label=label $sector$" "label, $sector"
	says "^fs_uuid=$(blkid -p -o value -s UUID "$PART")$" "UUID as blkid says, $sector"
	cp "$TMP/out" "$TMP/one"
	check "the same from the list, $sector" "$tool" list "$name"
	check_eq "$(cat "$TMP/out")" "$(cat "$TMP/one")" "they agree, $sector"
	check "identity of the disk, $sector" "$tool" identity "$LOOP" d
	says '^part_table=gpt$' "table, $sector"
	says '^disk_id=11111111-2222-3333-4444-555555555555$' "disk GUID, $sector"
	says '^kind=loop$' "kind, $sector"
	check "identity of the swap partition, $sector" "$tool" identity "$swap" d
	says '^fs_type=swap$' "swap, $sector"
done
# Other tests make and remove loop devices meanwhile: as often as it takes.
list_as_lsblk() {
	local i
	for ((i = 0; i < 20; i++)); do
		"$tool" list | sort >"$TMP/list"
		lsblk -nlb -o NAME,SIZE | awk '$2 > 0 && $1 !~ /^z?ram/ { print $1 }' |
			sort -u >"$TMP/lsblk"
		cmp -s "$TMP/list" "$TMP/lsblk" && return
	done
	diff "$TMP/list" "$TMP/lsblk"
}
check 'the list has what lsblk has' list_as_lsblk

# Without root the devices cannot be opened: sysfs is enough for the list.
chmod 755 "$TMP" "$tool"
check 'the list for nobody' setpriv --reuid=65534 --regid=65534 --clear-groups "$tool" list "$name"
says '^size=20971520$' 'knows the size'
says '^fs_type=' 'and does without the content'

# ---- Holders -------------------------------------------------------------------------------
# LOOP has partitions 1 (ext4) and 2 (swap), both idle.

free() { # DESC PATH
	check "ask: $1" "$tool" holders "$2" ''
	says '^in_use=0$' "free: $1"
}

in_use() { # DESC PATTERN PATH
	check "ask: $1" "$tool" holders "$3" ''
	says '^in_use=1$' "in use: $1"
	says "$2" "the reason: $1"
}

disk=$LOOP
file=$TMP/table4096
free 'an idle disk' "$disk"
free 'an idle partition' "$PART"
free 'a file behind an idle loop device' "$file"
says "behind loop device $disk" 'but that it is behind one is said'
check 'an idle disk opens exclusively' "$tool" holders "$disk" wx
says '^in_use=0$' 'and is free to who holds it'

mkdir "$TMP/a b"
mount_at "$PART" "$TMP/a b"
in_use 'a mounted partition' "^$PART: mounted at $TMP/a b$" "$PART"
in_use 'its disk' "^$PART: mounted at" "$disk"
in_use 'the file below' "^$PART: mounted at" "$file"
free 'the other partition' "$swap"
check_status 11 'a mounted partition does not open exclusively' "$tool" info "$PART" wx
check_status 11 'nor does its disk' "$tool" info "$disk" wx
check_status 0 'the other partition does' "$tool" info "$swap" wx
loop_of "$file" --sector-size 4096 -r
in_use 'another loop device over the same file' "^$PART: mounted at" "$LOOP"
umount "$TMP/a b"
mount "$PART" "$TMP/a b"
umount "$TMP/a b"
free 'unmounted again' "$disk"
mount "$PART" "$TMP/a b" # so that the clean-up finds something

swapon "$swap"
cleanup swapoff "$swap"
in_use 'a swap partition' "^$swap: in use as swap$" "$swap"
in_use 'its disk by swap' "^$swap: in use as swap$" "$disk"

dd if=/dev/zero of="$TMP/a b/swap file" bs=1M count=4 status=none
chmod 600 "$TMP/a b/swap file"
mkswap "$TMP/a b/swap file" >"$TMP/out"
free 'a file' "$TMP/a b/swap file"
if swapon "$TMP/a b/swap file" 2>/dev/null; then
	in_use 'a swap file' ': in use as swap$' "$TMP/a b/swap file"
	swapoff "$TMP/a b/swap file"
else
	skip_case 'a swap file' 'this kernel swaps to no file here'
fi

# A loop device over a partition, and what it is over.
truncate -s 32M "$TMP/under"
loop_of "$TMP/under"
under=$LOOP
mkfs.ext4 -q "$under"
loop_of "$under"
free 'a block device behind an idle loop device' "$under"
mount_at "$LOOP" "$TMP/over"
in_use 'a block device behind a mounted loop device' "^$LOOP: mounted at" "$under"
in_use 'the loop device over it' "^$LOOP: mounted at" "$LOOP"
in_use 'the file below both' "^$LOOP: mounted at" "$TMP/under"

# Mounted where our mountinfo does not show it: the kernel knows.
truncate -s 32M "$TMP/hidden"
loop_of "$TMP/hidden"
mkfs.ext4 -q "$LOOP"
mkdir "$TMP/hidden.mnt"
mkfifo "$TMP/go"
unshare -m --propagation private bash -c \
	"mount $LOOP '$TMP/hidden.mnt' && echo ready >'$TMP/go' && read -r _ <'$TMP/go'" &
read -r _ <"$TMP/go"
in_use 'a device mounted in another namespace' 'held by the kernel or another program' "$LOOP"
echo end >"$TMP/go"
wait
free 'that namespace is gone' "$LOOP"

# The second device of a Btrfs is in no mount table.
if command -v mkfs.btrfs >/dev/null && grep -qw btrfs /proc/filesystems; then
	truncate -s 128M "$TMP/btrfs1" "$TMP/btrfs2"
	loop_of "$TMP/btrfs1"
	first=$LOOP
	loop_of "$TMP/btrfs2"
	# The kernel would take the next file system on these loop devices for a part of this one.
	cleanup btrfs device scan --forget
	mkfs.btrfs -q "$first" "$LOOP"
	free 'an idle Btrfs' "$LOOP"
	mount_at "$first" "$TMP/btrfs" -o "device=$LOOP"
	in_use 'the first device of a Btrfs' "^$first: mounted at" "$first"
	in_use 'the second device of a Btrfs' "^$LOOP: part of mounted Btrfs" "$LOOP"
	in_use 'the file under the second' "^$LOOP: part of mounted Btrfs" "$TMP/btrfs2"
else
	skip_case 'Btrfs on two devices' 'no Btrfs here'
fi

# A device-mapper volume on a partition.
truncate -s 16M "$TMP/mapped"
loop_of "$TMP/mapped"
if dmsetup create "imgtool-test-$$" --table "0 16384 linear $LOOP 0" 2>/dev/null; then
	cleanup dmsetup remove "imgtool-test-$$"
	in_use 'a device under device-mapper' \
		"^$LOOP: held by /dev/dm-[0-9]+ \\(imgtool-test-$$\\)" "$LOOP"
else
	skip_case 'a device under device-mapper' 'this kernel has no device-mapper'
fi

root=$(findmnt -n -o SOURCE /)
if [ -b "$root" ] && "$tool" info "$root" '' >/dev/null 2>&1; then
	in_use 'R5: the root file system' 'root file system' "$root"
else
	skip_case 'R5: the root file system' "it is on $root, which cannot be opened here"
fi

# ---- No room -------------------------------------------------------------------------------

# The pattern of `device_tool append`.
pattern() { # SIZE
	python3 -c 'import sys
size = int(sys.argv[1])
sys.stdout.buffer.write((bytes(range(251)) * (size // 251 + 1))[:size])' "$1"
}

fill() { # DESC DIR FLAGS AIO
	check_status 6 "no room: $1" env IMGTOOL_AIO="$4" "$tool" append "$2/image" "$3" 40000000
	check_grep "write $2/image at [0-9]+: No space left on device" "$TMP/err" \
		"the file and the offset: $1"
	local committed
	committed=$(sed -n 's/^committed=//p' "$TMP/out")
	check "something was committed: $1" [ "$committed" -gt 1000000 ]
	pattern "$committed" >"$TMP/pattern"
	check "what was committed is there: $1" cmp -n "$committed" "$2/image" "$TMP/pattern"
	rm "$2/image"
	check "it fits: $1" env IMGTOOL_AIO="$4" "$tool" append "$2/image" "$3" 3000001
	pattern 3000001 >"$TMP/pattern"
	check "to the byte: $1" cmp "$2/image" "$TMP/pattern"
	rm "$2/image"
}

truncate -s 24M "$TMP/small"
loop_of "$TMP/small"
mkfs.ext4 -q "$LOOP"
mount_at "$LOOP" "$TMP/ext4"
mount_at none "$TMP/tmpfs" -t tmpfs -o size=16M
for aio in uring threads; do
	for flags in wc wcd; do
		fill "ext4, $flags, $aio" "$TMP/ext4" $flags $aio
		fill "tmpfs, $flags, $aio" "$TMP/tmpfs" $flags $aio
	done
done

done_testing
