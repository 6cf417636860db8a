# imgtool backup-disk: disks in files, put together again by other tools.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
. "$TESTS_DIR/cli/disk_fixture.sh"
requires mkfs.ext4 mkfs.fat mcopy mkntfs ntfscp ntfscat mkswap fdisk sfdisk sgdisk zstd jq e2fsck

set=$TMP/set
out=$TMP/out.img

# cut DISK MIB SIZE NAME: a partition as a file
cut_part() {
	dd if="$1" of="$4" bs=1M skip="$2" count="$3" status=none
}

# check_disk DISK KIND SECTOR: a used-only set, rebuilt; file systems and tables held against what
# their own tools say.
check_disk() {
	local disk=$1 what="$2 $3"
	rm -rf "$set"
	check "$what: backup-disk" "$IMGTOOL" backup-disk --sector-size "$3" "$disk" "$set"
	rebuild "$set" "$out"
	check_eq "$(dump_of "$out" "$3" | sed 's|/out.img|/disk|')" \
		"$(dump_of "$disk" "$3" | sed "s|/${disk##*/}|/disk|")" "$what: the same table"
	same_bytes "$disk" "$out" 0 $((1 << 20)) "$what: all before the first partition"
	same_bytes "$disk" "$out" $((95 << 20)) $((1 << 20)) "$what: the last MiB"
	cut_part "$out" 1 16 "$TMP/o.ext4"
	check "$what: e2fsck" e2fsck -fn "$TMP/o.ext4"
	mkdir -p "$TMP/files"
	debugfs -R "rdump / $TMP/files" "$TMP/o.ext4" >/dev/null 2>&1
	rm -rf "$TMP/files/lost+found"
	check "$what: its files" diff -r "$TMP/small" "$TMP/files"
	rm -rf "$TMP/files"
	cut_part "$out" 18 40 "$TMP/o.fat"
	check "$what: the file of FAT" sh -c \
		"mcopy -i $TMP/o.fat ::program - | cmp - $TMP/small/program"
	cut_part "$out" 60 12 "$TMP/o.ntfs"
	check "$what: the file of NTFS" sh -c \
		"ntfscat $TMP/o.ntfs program | cmp - $TMP/small/program"
	cut_part "$out" 74 4 "$TMP/o.swap"
	check_eq "$(blkid -p -o value -s LABEL "$TMP/o.swap")" Swap "$what: the swap area"
	check "$what: verify-set" "$IMGTOOL" verify-set "$set"
	check_eq "$("$IMGTOOL" dump-pt "$set")" "$(dump_of "$disk" "$3")" \
		"$what: dump-pt of the set is fdisk's dump"
	check_eq "$("$IMGTOOL" dump-pt --sector-size "$3" "$disk")" "$(dump_of "$disk" "$3")" \
		"$what: and of the disk"
}

# ---- Every table, every sector size ----
for kind in gpt dos; do
	for sector in 512 4096; do
		make_disk "$TMP/$kind-$sector.img" $kind $sector
		check_disk "$TMP/$kind-$sector.img" $kind $sector
	done
done
check 'sfdisk --verify of an MBR' sfdisk --verify "$TMP/dos-512.img"
check_eq "$(jq -r '.partitions[] | [.index, (.logical, .container, .active, .image != null |
	if . then 1 else 0 end)] | join(" ")' \
	"$set/backup.manifest.json")" \
	"$(printf '1 0 0 1 1\n2 0 0 0 1\n3 0 1 0 0\n5 1 0 0 1\n6 1 0 0 1')" \
	'the manifest knows logical partitions and their container'

disk=$TMP/gpt-512.img
rm -rf "$set"
"$IMGTOOL" backup-disk -q "$disk" "$set"
rebuild "$set" "$out"
check 'sgdisk -v of what was put together' sgdisk -v "$out"
check_grep 'No problems found' "$TMP/out" 'finds nothing'
# The known trap: a disk of other sectors is no disk without partitions.
check_status 9 '512 bytes are not guessed' "$IMGTOOL" backup-disk "$TMP/gpt-4096.img" "$TMP/none"
check_grep 'sectors of 4096 bytes' "$TMP/err" 'the reason'
check_fails 'and nothing is begun' test -e "$TMP/none"
check_status 2 'a sector has no 1000 bytes' "$IMGTOOL" backup-disk --sector-size 1000 "$disk" \
	"$TMP/none"

# ---- The manifest ----
m=$set/backup.manifest.json
check_eq "$(jq -c '[.partitions[].file_system.type]' "$m")" '["ext4","vfat","ntfs","swap"]' \
	'file systems'
check_eq "$(jq -r '.partitions[] |
	[.type, .guid, .start_bytes / 512, .size_bytes / 512] | join(" ")' "$m")" \
	"$(sfdisk --json "$disk" | jq -r '.partitiontable.partitions[] |
		[(.type | ascii_downcase), (.uuid | ascii_downcase), .start, .size] | join(" ")')" \
	'partitions are those of sfdisk'
check_eq "$(jq -c '[.partitions[].attributes]' "$m")" \
	'[null,"0x0000000000000001","0x9000000000000000",null]' 'attributes are'
check_eq "$(jq -r '.table.id' "$m")" \
	"$(sfdisk --disk-id "$disk" | tr 'A-F' 'a-f')" 'and the GUID of the disk'
check_eq "$(jq -r '.partitions[0].image.map.kind' "$m")" used 'used-only by default'
check_eq "$(jq -r '.partitions[0].image.root' "$m")" "$(info_of "$set/part-1.img.zst" .root)" \
	'root hashes are those of the images'
check_eq "$(jq -S . "$m")" "$("$IMGTOOL" info --json "$set" | jq -S 'del(.event, .set_dir)')" \
	'info --json is the manifest'
check 'info of a set' "$IMGTOOL" info "$set"
check_grep '^ 1 +1048576 +16.0 MiB +Linux data +root fs +ext4 +Root +part-1.img.zst' "$TMP/out" \
	'has a line for each partition'
check_status 2 '--chunks of a set' "$IMGTOOL" info --chunks "$set"

# ---- Options ----
check '--all-blocks --unallocated' "$IMGTOOL" backup-disk -q --all-blocks --unallocated "$disk" \
	"$TMP/all"
rebuild "$TMP/all" "$out"
same_file "$disk" "$out" 'is every byte of the disk'
check_grep 'in a gap' <(zstd -dc "$TMP/all/disk.img.zst" | tr -d '\000') 'gaps with --unallocated'
zstd -dc "$set/disk.img.zst" | tr -d '\000' >"$TMP/regions"
check_fails 'no gaps without it' grep -q 'in a gap' "$TMP/regions"
check_eq "$(jq -c '[.table.unallocated]' "$m" "$TMP/all/backup.manifest.json" | paste -s)" \
	"$(printf '[false]\t[true]')" 'the manifest says so'
rm -rf "$TMP/all"

check '--json' "$IMGTOOL" backup-disk --json --verify full --level 1 --hash sha256 \
	--chunk-size 4M --device "$disk" --set-dir "$TMP/opt"
events backup-disk <"$TMP/out" >"$TMP/result"
check 'verify-set --set-dir' "$IMGTOOL" verify-set --set-dir "$TMP/opt"
check 'dump-pt --device' "$IMGTOOL" dump-pt --device "$TMP/opt"
check_eq "$(sed 's/ *$//' "$TMP/out")" "$(dump_of "$disk" 512)" 'is the dump'
check_eq "$(jq -c '[.code, (.images | length), .images[1].verified.code]' "$TMP/result")" \
	'[0,5,0]' '--verify reads each image back'
check_eq "$(jq '.left_out_bytes' "$TMP/result")" $(((96 - 1 - 1 - 72) << 20)) \
	'what is left out is said'
check_eq "$(info_of "$TMP/opt/part-1.img.zst" \
	'[.hash, .chunk_bytes, .head.settings.level] | @csv')" \
	'"sha256",4194304,1' 'settings reach the images'
rm -rf "$TMP/opt"

check '--dry-run' "$IMGTOOL" backup-disk --dry-run "$disk" "$TMP/dry"
check_grep '^part-3.img.zst +partition 3 +12.0 MiB +ntfs +used' "$TMP/out" 'prints the plan'
check_fails 'and writes nothing' test -e "$TMP/dry"

# ---- R8 ----
cp "$m" "$TMP/kept"
check_status 9 'R8: a set is not replaced' "$IMGTOOL" backup-disk "$disk" "$set"
check_status 9 'R8: nor gone on with' "$IMGTOOL" backup-disk --resume "$disk" "$set"
same_file "$m" "$TMP/kept" 'it is as it was'
check '--force replaces it' "$IMGTOOL" backup-disk -q --force "$disk" "$set"
check_fails 'by another' cmp -s "$m" "$TMP/kept"
mkdir "$TMP/foreign"
echo mine >"$TMP/foreign/part-3.img.zst"
check_status 9 'R8: a file with the name of an image' "$IMGTOOL" backup-disk "$disk" "$TMP/foreign"
check_eq "$(ls "$TMP/foreign")" part-3.img.zst 'is seen before anything is written'
cp -r "$TMP/foreign" "$TMP/foreign2"
check '--force replaces it, too' "$IMGTOOL" backup-disk -q --force "$disk" "$TMP/foreign2"
check_status 3 'nothing to resume' "$IMGTOOL" backup-disk --resume "$disk" "$TMP/foreign"
check_status 2 'a file is no directory' "$IMGTOOL" backup-disk "$disk" "$TMP/kept"

# ---- No table, and tables that lie ----
check 'a file system on the whole disk' "$IMGTOOL" backup-disk -q "$TMP/part.ext4" "$TMP/whole"
check_eq "$(ls "$TMP/whole" | paste -s)" "$(printf 'backup.manifest.json\twhole.img.zst')" \
	'is one image'
check_eq "$(jq -c '[.table.type, .partitions[0].index, .partitions[0].image.map.kind]' \
	"$TMP/whole/backup.manifest.json")" '["none",0,"used"]' 'with its own map'
check 'verify-set of it' "$IMGTOOL" verify-set "$TMP/whole"
check_status 3 'dump-pt of it' "$IMGTOOL" dump-pt "$TMP/whole"
cp "$TMP/dos-512.img" "$TMP/bad"
printf '\x01\x00\x00\x00' | dd of="$TMP/bad" bs=1 seek=$((446 + 16 + 8)) conv=notrunc status=none
check_status 9 'partitions that overlap' "$IMGTOOL" backup-disk "$TMP/bad" "$TMP/none"
check_grep 'overlaps partition' "$TMP/err" 'are named'
check_grep 'imgtool image --all-blocks takes the disk as it is' "$TMP/err" 'and what to do'

done_testing
