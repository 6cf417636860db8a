# The main job on block devices: image, verify, restore, compare every file; and what restore
# refuses.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
requires_root
requires losetup mkfs.ext4 mkntfs e2fsck zstd jq blkid

# fill DIR: files of all kinds, and some that are deleted again, so that free space holds stale
# data.
fill() {
	make_tree "$1/tree"
	cp -a /usr/share/common-licenses "$1/" 2>/dev/null || true
	head -c 9000000 /dev/urandom >"$1/stale"
	sync -f "$1"
	rm "$1/stale"
	head -c 2000000 /dev/urandom >"$1/umlaut-ä"
	ln "$1/umlaut-ä" "$1/hard-link"
	ln -s tree "$1/link"
	sync -f "$1"
}

# sums DIR: lines for each file: mode, time, links, name, and checksum and size
sums() {
	(cd "$1" && find . -xdev -printf '%y %m %T@ %n %l %p\n' | LC_ALL=C sort &&
		find . -xdev -type f -printf '%s %p\n' | LC_ALL=C sort &&
		find . -xdev -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum)
}

# disk NAME SIZE [LOSETUP OPTION...]: a loop device over $TMP/NAME. Sets LOOP.
disk() {
	truncate -s "$2" "$TMP/$1"
	loop_of "$TMP/$1" "${@:3}"
}

name_of() { basename "$1"; }

try_fs() { # KIND MKFS... : the main job with one file system
	local kind=$1 source target img=$TMP/$1.zst
	shift
	disk "$kind.source" 128M
	source=$LOOP
	"$@" "$source" >/dev/null 2>&1
	mkdir -p "$TMP/mnt"
	mount "$source" "$TMP/mnt" 2>/dev/null ||
		{ skip_case "$kind: the main job" 'it can not be mounted here' && return; }
	fill "$TMP/mnt"
	sums "$TMP/mnt" >"$TMP/$kind.sums"
	umount "$TMP/mnt"

	check "$kind: image" "$IMGTOOL" image "$source" "$img"
	check_eq "$(info_of "$img" \
		'.head | [.map.kind, .source.kind, .source.file_system.uuid] | join(" ")')" \
		"used loop $(blkid -o value -s UUID "$source")" \
		"$kind: used only, with its identity"
	check "$kind: verify" "$IMGTOOL" verify -q "$img"
	check "$kind: zstd takes it" zstd -tq "$img"
	disk "$kind.target" 128M
	target=$LOOP
	check_status 9 "$kind: R4: a device is not overwritten unasked" "$IMGTOOL" restore "$img" \
		"$target"
	check_grep "would be overwritten \(--yes-destroy $(name_of "$target") allows it\)" \
		"$TMP/err" "$kind: what allows it"
	check "$kind: restore to a device" "$IMGTOOL" restore --yes-destroy "$(name_of "$target")" \
		"$img" "$target"
	zstd -dcq "$img" | cmp - "$target" && ok "$kind: the device has what zstd restores" ||
		nok "$kind: the device"
	case $kind in
	ext4) check "$kind: the file system is whole" e2fsck -fn "$target" ;;
	ntfs) check "$kind: the file system is whole" ntfsfix -n "$target" ;;
	esac
	mount -o ro "$target" "$TMP/mnt"
	sums "$TMP/mnt" >"$TMP/$kind.restored"
	umount "$TMP/mnt"
	check "$kind: every file is the same" diff "$TMP/$kind.sums" "$TMP/$kind.restored"
}

try_fs ext4 mkfs.ext4 -q -F
ext4=$TMP/ext4.zst
check 'the source device is as it was: it is imaged read-only' e2fsck -fn "$TMP/ext4.source"
try_fs ntfs mkntfs -q -F -Q

# ---- A live source ----
disk live 64M
live=$LOOP
mkfs.ext4 -q -F "$live"
mount_at "$live" "$TMP/live.mnt"
fill "$TMP/live.mnt"
check 'a mounted source is imaged' "$IMGTOOL" image "$live" "$TMP/live.zst"
check_grep "warning: $live is mounted for writing at $TMP/live\.mnt" "$TMP/err" 'with a warning'
check_grep 'mounted for writing' <(info_of "$TMP/live.zst" .head.map.note) \
	'which the image keeps'
check 'the image verifies' "$IMGTOOL" verify -q "$TMP/live.zst"
check 'through the file under the loop device' "$IMGTOOL" image "$TMP/live" "$TMP/live2.zst"
check_grep "warning: .* is mounted for writing at $TMP/live\.mnt" "$TMP/err" \
	'there is the same warning'
: >"$TMP/live3.zst.partial"
check_status 9 'R5: resume of a live source' "$IMGTOOL" image --resume "$live" "$TMP/live3.zst"
check_grep 'is mounted for writing' "$TMP/err" 'why'
check 'read-only, it is not live' mount -o remount,ro "$live"
check 'and imaged' "$IMGTOOL" image "$live" "$TMP/live4.zst"
grep -q warning "$TMP/err" && nok 'without a warning' || ok 'without a warning'

# ---- What restore refuses ----
image_of() { # BYTES: an image of that many bytes. Sets IMG.
	head -c "$1" /dev/urandom >"$TMP/random"
	image_quietly --force "$TMP/random" "$TMP/random.zst" 2>/dev/null
	IMG=$TMP/random.zst
}
refuses() { # PATTERN DESC ARGUMENTS...
	local pattern=$1 desc=$2
	shift 2
	check_status 9 "$desc" "$IMGTOOL" restore "$@"
	check_grep "$pattern" "$TMP/err" "$desc: why"
}
image_of 64M
all() { echo --force --yes-destroy "$(name_of "$1")"; }
# shellcheck disable=SC2046
refuses 'is in use: .*/live\.mnt' 'R5: a mounted device, not even with --force' $(all "$live") \
	"$IMG" "$live"
refuses 'is in use' 'R5: the file under a loop device, not even with --force' --force "$IMG" \
	"$TMP/live"
cmp -s "$TMP/live" "$TMP/random" && nok 'nothing was written' || ok 'nothing was written'

disk swap 64M
mkswap "$LOOP" >/dev/null
if swapon "$LOOP" 2>/dev/null; then
	cleanup swapoff "$LOOP"
	# shellcheck disable=SC2046
	refuses 'is in use: .*swap' 'R5: swap, not even with --force' $(all "$LOOP") "$IMG" "$LOOP"
else
	skip_case 'R5: swap' 'no swap here'
fi

root=$(findmnt -no SOURCE /)
if [ -b "$root" ] && size=$(blockdev --getsize64 "$root" 2>/dev/null); then
	# shellcheck disable=SC2046
	check_status 9 'R5: the system disk, not even with --force' "$IMGTOOL" restore --dry-run \
		$(all "$root") "$IMG" "$root"
	check_grep 'refused \(R5\): .*root file system' "$TMP/out" 'why'
	check_eq "$(blockdev --getsize64 "$root")" "$size" 'it is there'
else
	skip_case 'R5: the system disk' "/ is on $root, which can not be opened"
fi

disk holder 96M
holder=$LOOP
mkfs.ext4 -q -F "$holder"
mount_at "$holder" "$TMP/holder.mnt"
image_of 8M
cp "$IMG" "$TMP/holder.mnt/image.zst"
# shellcheck disable=SC2046
refuses 'holds the image' 'R5: the device that holds the image' $(all "$holder") \
	"$TMP/holder.mnt/image.zst" "$holder"

image_of 64M
disk target 64M
target=$LOOP
head -c 64M /dev/zero | tr '\0' '\377' >"$target"
before=$(sha256sum <"$target")
disk small 63M
# shellcheck disable=SC2046
refuses 'is too small: 66060288 bytes, the image has 67108864' \
	'R4: a smaller device, not even with --force' $(all "$LOOP") "$IMG" "$LOOP"
disk large 65M
refuses 'is larger: .* \(--force allows it\)' 'R4: a larger device' --yes-destroy \
	"$(name_of "$LOOP")" "$IMG" "$LOOP"
# shellcheck disable=SC2046
check 'with --force' "$IMGTOOL" restore -q $(all "$LOOP") "$IMG" "$LOOP"
cmp -n 67108864 "$LOOP" "$TMP/random" && ok 'it gets the content' || nok 'it gets the content'
refuses "'$(name_of "$LOOP")' is not its name" 'R4: the name of another device' --yes-destroy \
	"$(name_of "$LOOP")" "$IMG" "$target"
if disk big-sectors 64M --sector-size 4096; then
	refuses 'has sectors of 4096 bytes, the source had 512' 'R4: other sectors' --yes-destroy \
		"$(name_of "$LOOP")" "$IMG" "$LOOP"
	# shellcheck disable=SC2046
	check 'with --force' "$IMGTOOL" restore -q $(all "$LOOP") "$IMG" "$LOOP"
	cmp "$LOOP" "$TMP/random" && ok 'it gets the content' || nok 'it gets the content'
	check 'a device of large sectors is imaged' image_quietly --force "$LOOP" "$TMP/4k.zst"
	check_eq "$(info_of "$TMP/4k.zst" .logical_bytes)" 4096 \
		'with its sector size'
	zstd -dcq "$TMP/4k.zst" | cmp - "$TMP/random" && ok 'and its content' ||
		nok 'and its content'
fi
losetup -r "$(losetup -f)" "$TMP/random" 2>/dev/null &&
	LOOP=$(losetup -j "$TMP/random" | cut -d: -f1 | tail -n 1) && {
	cleanup losetup -d "$LOOP"
	# shellcheck disable=SC2046
	refuses 'is read-only' 'R5: a read-only device' $(all "$LOOP") "$IMG" "$LOOP"
}
check_status 2 'export-raw to a device' "$IMGTOOL" export-raw --force "$IMG" "$target"
check_status 2 'an image on a device' "$IMGTOOL" image --force "$TMP/random" "$target"
check '--dry-run of what is allowed' "$IMGTOOL" restore --dry-run --yes-destroy \
	"$(name_of "$target")" "$IMG" "$target"
check_grep "^would overwrite $target \(loop, 64\.0 MiB\)" "$TMP/out" 'shows the plan'
check_eq "$(sha256sum <"$target")" "$before" 'R4: none of this has written a byte'

# Somebody else has it open for himself.
python3 - "$target" "$TMP/taken" <<'PY' &
import os, sys, time
os.open(sys.argv[1], os.O_RDWR | os.O_EXCL)
open(sys.argv[2], "w").close()
time.sleep(60)
PY
pid=$!
wait_until test -e "$TMP/taken"
# shellcheck disable=SC2046
check_status 9 'R5: a device that another program has for itself' "$IMGTOOL" restore \
	$(all "$target") "$IMG" "$target"
check_eq "$(sha256sum <"$target")" "$before" 'is not written to'
kill $pid
wait $pid 2>/dev/null || true

# ---- --free, on a device full of ones ----
make_ext4 "$TMP/fs.img"
image_quietly "$TMP/fs.img" "$TMP/fs.zst"
hole=$("$IMGTOOL" repl "$TMP/fs.zst" <<'LUA'
for n = 0, img:facts().chunks - 1 do
  for _, e in ipairs(img:chunk(n).entries) do if e.kind == 'free' then at = e.offset end end
end
print(at)
LUA
)
for free in leave zero discard; do
	tr '\0' '\377' </dev/zero 2>/dev/null | head -c 64M >"$target" || true
	check "restore --free $free" "$IMGTOOL" restore -q --free $free --yes-destroy \
		"$(name_of "$target")" "$TMP/fs.zst" "$target"
	byte=$(dd if="$target" bs=4096 skip=$((hole / 4096)) count=1 iflag=direct status=none |
		od -An -tx1 -N 1 | tr -d ' ')
	case $free in leave) want=ff ;; *) want=00 ;; esac
	check_eq "$byte" $want "--free $free: what free space holds"
	check "--free $free: the file system is whole" e2fsck -fn "$target"
done

# ---- R9: what was on a device is not taken for what was restored ----
if command -v mkfs.btrfs >/dev/null; then
	truncate -s 128M "$TMP/swap.img"
	mkswap -q "$TMP/swap.img"
	check 'a swap area is imaged' image_quietly --block-size 64K "$TMP/swap.img" "$TMP/swap.zst"
	disk used 128M
	mkfs.btrfs -q "$LOOP"
	# A superblock of an array (version 1.0: its magic number at the end, less 8 KiB).
	printf '\374\116\053\251\001\000\000\000' |
		dd of="$LOOP" bs=8K seek=$((128 * 128 - 1)) oflag=sync status=none
	before=$(dd if="$LOOP" bs=1M skip=64 count=1 status=none | sha256sum)
	check 'restore --free leave over a Btrfs in an array' "$IMGTOOL" restore -q --free leave \
		--verify-after --yes-destroy "$(name_of "$LOOP")" "$TMP/swap.zst" "$LOOP"
	check_eq "$(blkid -p -o value -s TYPE "$LOOP")" swap 'R9: it is a swap area, nothing else'
	check_eq "$(dd if="$LOOP" bs=8K skip=$((128 * 128 - 1)) iflag=direct status=none |
		tr -d '\0' | wc -c)" 0 'R9: nothing is left of the array'
	check_eq "$(dd if="$LOOP" bs=1M skip=64 count=1 iflag=direct status=none | sha256sum)" \
		"$before" 'R9: the rest of free space is left'
else
	skip_case 'R9: old signatures' 'no mkfs.btrfs'
fi

# ---- A partition ----
LOOP=none
if command -v sfdisk >/dev/null; then
	truncate -s 64M "$TMP/parted"
	printf '%s\n' 'label: gpt' 'start=2048, size=65536, name=first' \
		'start=67584, size=49152, name="second part"' |
		sfdisk -q "$TMP/parted"
	loop_of "$TMP/parted" --partscan
	wait_until test -b "${LOOP}p2" || true
fi
if [ -b "${LOOP}p2" ]; then
	mkfs.ext4 -q -F -L second "${LOOP}p2"
	check 'a partition is imaged' image_quietly "${LOOP}p2" "$TMP/"
	check 'after its label' test -f "$TMP/second.img.zst"
	check_eq "$(info_of "$TMP/second.img.zst" '.head.source |
		[.kind, .partition.number, .partition.name, .partition.guid] | join(" ")')" \
		"partition 2 second part $(blkid -p -o value -s PART_ENTRY_UUID "${LOOP}p2")" \
		'with its identity'
	"$IMGTOOL" list --json >"$TMP/list"
	check_eq "$(jq -r --arg name "$(name_of "$LOOP")p2" \
		'select(.name == $name) | [.parent, .fs_label] | join(" ")' "$TMP/list")" \
		"$(name_of "$LOOP") second" 'list has it below its disk'
	check_status 9 'R4: restore to another partition' "$IMGTOOL" restore --yes-destroy \
		"$(name_of "$LOOP")p1" "$TMP/second.img.zst" "${LOOP}p1"
	check_grep 'is another device: partition GUID' "$TMP/err" 'why'
	check 'restore to the same partition' "$IMGTOOL" restore -q --yes-destroy \
		"$(name_of "$LOOP")p2" "$TMP/second.img.zst" "${LOOP}p2"
else
	skip_case 'a partition is imaged' 'no partitions on loop devices here'
fi

# ---- A device that fails: the file under it is cut ----
head -c 32M /dev/urandom >"$TMP/failing"
loop_of "$TMP/failing"
truncate -s 30M "$TMP/failing"
check_status 5 'a device with unreadable sectors' "$IMGTOOL" image "$LOOP" "$TMP/failing.zst"
check_status 12 '--on-read-error zero' "$IMGTOOL" image --force --on-read-error zero \
	--read-retries 1 "$LOOP" "$TMP/failing.zst"
check_eq "$(info_of "$TMP/failing.zst" '[.bad_ranges[0][0], .bad_range_bytes]')" \
	"[31457280,2097152]" 'R9: exactly those are recorded as bad'
check_status 0 'the image verifies' "$IMGTOOL" verify -q "$TMP/failing.zst"

# ---- It is not begun to restore what is known to fail ----
head -c 32M /dev/zero | tr '\0' '\252' >"$TMP/whole"
cp "$TMP/whole" "$TMP/before"
loop_of "$TMP/whole"
onto=(restore --undo-dir "$TMP/undo" --yes-destroy "$(name_of "$LOOP")")
check_status 9 'R4: an image with bad ranges' "$IMGTOOL" "${onto[@]}" "$TMP/failing.zst" "$LOOP"
check_grep '2097152 bytes could not be read when .*--on-read-error zero allows it' "$TMP/err" \
	'what allows it'
check 'not a byte was written' cmp "$TMP/before" "$TMP/whole"
check_status 9 'R4: --dry-run' "$IMGTOOL" "${onto[@]}" --dry-run "$TMP/failing.zst" "$LOOP"
check_grep '2097152 bytes could not be read' "$TMP/out" 'shows it'
check_status 12 'with zeros' "$IMGTOOL" "${onto[@]}" --on-read-error zero "$TMP/failing.zst" "$LOOP"

done_testing
