# imgtool verify-set, dump-pt and info of sets that are not what they should be.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
. "$TESTS_DIR/cli/disk_fixture.sh"
requires mkfs.ext4 mkfs.fat mcopy mkntfs ntfscp mkswap fdisk sfdisk zstd jq

disk=$TMP/disk.img
good=$TMP/good
set=$TMP/set
m=$set/backup.manifest.json
make_disk "$disk" gpt 512
"$IMGTOOL" backup-disk -q --block-size 64K "$disk" "$good"

fresh() {
	rm -rf "$set"
	cp -r "$good" "$set"
}

# edit FILTER: change the manifest
edit() {
	fresh
	jq -c "$1" "$good/backup.manifest.json" >"$m"
}

# damaged REASON DESC: verify-set finds it
damaged() {
	check_status 7 "$2" "$IMGTOOL" verify-set "$set"
	check_grep "$1" "$TMP/err" 'and says what'
	check_grep 'DAMAGED' "$TMP/out" 'on stdout too'
}

fresh
check 'a good set' "$IMGTOOL" verify-set "$set"
check_grep '^.*/set: OK$' "$TMP/out" 'is OK'
check_eq "$(grep -c ': OK, ' "$TMP/out")" 5 'and so is each image'
cp "$set/part-1.img.zst" "$set/part-9.img.zst"
check 'an image too many' "$IMGTOOL" verify-set --quick "$set"
check_grep 'part-9.img.zst is no part of the set' "$TMP/err" 'is told'
rm "$set/part-9.img.zst"
check '--quick' "$IMGTOOL" verify-set --quick --sample 20 --seed 7 --json "$set"
events verify-set <"$TMP/out" >"$TMP/quick"
check_eq "$(jq -c '[.sample_percent, .seed, .blocks_checked < .blocks / 2, .code]' "$TMP/quick")" \
	'[20,7,true,0]' 'checks a sample of each image'
check_status 2 '--seed without --quick' "$IMGTOOL" verify-set --seed 7 "$set"

# ---- Files ----
rm "$set/part-3.img.zst"
damaged 'part-3.img.zst: No such file' 'an image that is missing'
check_grep 'part-4.img.zst .*: OK' "$TMP/out" 'the others are checked all the same'
fresh
truncate -s -1 "$set/part-2.img.zst"
damaged 'part-2.img.zst has [0-9]+ bytes, the manifest says [0-9]+' 'one that is cut'
fresh
flip "$set/part-1.img.zst" 200000
damaged 'part-1.img.zst is damaged' 'a block that is damaged'
fresh
mv "$set/part-1.img.zst" "$TMP/one"
mv "$set/part-2.img.zst" "$set/part-1.img.zst"
mv "$TMP/one" "$set/part-2.img.zst"
damaged 'part-1.img.zst' 'two images that are exchanged'
fresh
"$IMGTOOL" image -q --force --uuid "$(jq -r '.partitions[3].image.uuid' "$m")" "$TMP/part.swap" \
	"$set/part-4.img.zst"
edit_sizes=$(stat -c %s "$set/part-4.img.zst")
jq -c ".partitions[3].image.file_bytes = $edit_sizes" "$good/backup.manifest.json" >"$m"
damaged 'part-4.img.zst: its root is' 'another image with the UUID and the size'

# ---- The manifest against the disk's own table ----
edit '.partitions[3].start_bytes += 512'
damaged 'the start_bytes of partition 4 is' 'a partition that was moved'
check_status 7 'dump-pt does not believe it either' "$IMGTOOL" dump-pt "$set"
edit '.partitions[1].guid = "99999999-9999-4999-8999-999999999999"'
damaged 'the guid of partition 2 is' 'another GUID'
edit 'del(.partitions[3])'
damaged 'partition 4 is new' 'a partition that was taken out'

# ---- Hostile manifests ----
# refused STATUS REASON FILTER DESC
refused() {
	edit "$3"
	check_status "$1" "$4" "$IMGTOOL" verify-set "$set"
	check_grep "$2" "$TMP/err" 'is named'
}
refused 7 'partitions\[1\].image.file' '.partitions[0].image.file = "../good/part-1.img.zst"' \
	'a path in a manifest'
refused 7 'partitions\[1\].image.file' '.partitions[0].image.file = "/etc/passwd"' 'an absolute one'
refused 8 'version 2 is not supported' '.version = 2' 'a later version'
refused 8 'is no manifest' '.format = "other"' 'another format'
refused 7 'snapshots: no such member' '.snapshots = 1' 'an unknown member'
refused 7 'partitions\[2\].start_bytes' '.partitions[1].start_bytes = 1.5' 'half a byte'
refused 7 'overlaps partition 1' '.partitions[1].start_bytes = 1048576' 'an overlap'
refused 7 'lies outside the disk' '.partitions[3].size_bytes = "9223372036854775807"' \
	'a large size'
fresh
head -c 100 "$good/backup.manifest.json" >"$m"
check_status 8 'half a manifest' "$IMGTOOL" verify-set "$set"
head -c 5M /dev/zero >"$m"
check_status 8 'a manifest without end' "$IMGTOOL" verify-set "$set"
check_status 3 'no set' "$IMGTOOL" verify-set "$TMP"
check_status 3 'nothing' "$IMGTOOL" verify-set "$TMP/none"

# ---- dump-pt: what sfdisk makes of it ----
fresh
"$IMGTOOL" dump-pt "$set" >"$TMP/dumped"
truncate -s 96M "$TMP/new.img"
check 'sfdisk takes the dump' sh -c "sfdisk -q $TMP/new.img <$TMP/dumped"
check_eq "$(sfdisk --dump "$TMP/new.img" | sed 's|/new.img|/disk.img|')" \
	"$(sfdisk --dump "$disk")" 'and makes the same table'
got=$("$IMGTOOL" dump-pt --json "$disk")
check_eq "$(jq -c "[.table, .device, (.partitions | length)]" <<<"$got")" \
	"[\"gpt\",\"$disk\",4]" '--json'
check_status 2 '--sector-size of a set' "$IMGTOOL" dump-pt --sector-size 512 "$set"
sfdisk -q --part-label "$disk" 1 "$(printf 'a"b\\c`d$e \303\274')"
"$IMGTOOL" dump-pt "$disk" >"$TMP/dumped"
check_eq "$(sed 's/ *$//' "$TMP/dumped")" "$(dump_of "$disk" 512)" 'names that need care'
check 'sfdisk takes them' sh -c "sfdisk -q $TMP/new.img <$TMP/dumped"
check_eq "$(sfdisk --part-label "$TMP/new.img" 1)" "$(sfdisk --part-label "$disk" 1)" \
	'and has the same name'

done_testing
