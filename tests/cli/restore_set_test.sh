# imgtool restore-set and restore --set-dir: raw disks, held against what zstd and dd put together.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
. "$TESTS_DIR/cli/disk_fixture.sh"
requires mkfs.ext4 mkfs.fat mcopy mkntfs ntfscp mkswap fdisk sfdisk sgdisk zstd jq e2fsck

out=$TMP/out.img
want=$TMP/want.img

# part FILE MIB SIZE NAME: a partition as a file
part() { dd if="$1" of="$4" bs=1M skip="$2" count="$3" status=none; }

for kind in gpt dos; do
	for sector in 512 4096; do
		if [ $kind-$sector = dos-4096 ]; then continue; fi
		what="$kind $sector"
		disk=$TMP/$kind.img
		set=$TMP/$kind-$sector
		make_disk "$disk" $kind $sector
		"$IMGTOOL" backup-disk -q --sector-size $sector "$disk" "$set"
		rebuild "$set" "$want"
		rm -f "$out"
		check "$what: restore-set" "$IMGTOOL" restore-set --verify-after "$set" "$out"
		check_grep '^  read back: OK' "$TMP/out" "$what: --verify-after says so"
		same_file "$out" "$want" "$what: what zstd and dd put together"
		check_eq "$(dump_of "$out" $sector | sed "s|${out##*/}|x|")" \
			"$(dump_of "$disk" $sector | sed "s|${disk##*/}|x|")" \
			"$what: the same table"
	done
done
check_fails 'R7: nothing incomplete is left' test -e "$out.partial"
set=$TMP/gpt-512
disk=$TMP/gpt.img
make_disk "$disk" gpt 512
set2=$TMP/dos-512
rebuild "$set" "$want"

# ---- The plan, and what is refused ----
rm -f "$out"
check '--dry-run' "$IMGTOOL" restore-set --dry-run "$set" --out-raw "$out"
check_grep '^would write partition 1 \(ext4\) at 1048576, 16\.0 MiB$' "$TMP/out" 'the plan'
check_grep '^would write the gpt partition table last$' "$TMP/out" 'to the end'
check_fails 'nothing is written' test -e "$out" -o -e "$out.partial"
echo mine >"$out"
check_status 9 'R8: a file is not replaced' "$IMGTOOL" restore-set "$set" "$out"
check_eq "$(cat "$out")" mine 'and is as it was'
check '--force, --set-dir, --out-raw' "$IMGTOOL" restore-set -q --force --set-dir "$set" --out-raw \
	"$out"
same_file "$out" "$want" 'are the operands'
check_status 9 'R5: an image of the set is not overwritten' "$IMGTOOL" restore-set --force "$set" \
	"$set/disk.img.zst"
check_grep 'is the image itself' "$TMP/err" 'why'
check_status 9 'R5: nor the manifest' "$IMGTOOL" restore-set --force "$set" \
	"$set/backup.manifest.json"
check_status 3 'no set' "$IMGTOOL" restore-set "$TMP" "$TMP/none.img"
"$IMGTOOL" restore-set --force --json --parallel 3 --pipeline-depth 7 --max-throughput 500M "$set" \
	"$out" >"$TMP/events"
check_eq "$(last_progress "$TMP/events" '[.workers, .depth, .max_bytes_per_s]')" \
	'[3,7,524288000]' '--parallel, --pipeline-depth and --max-throughput are in force'
check_eq "$(events restore-set <"$TMP/events" | jq -c '[.length, .partitions, .table, .losses]')" \
	'[100663296,4,"gpt",[]]' 'the answer as an object'

# ---- Sets that are damaged or lie: nothing is written ----
spoiled() { # DESC PATTERN
	rm -f "$TMP/s.img"
	check_status 7 "R4: $1" "$IMGTOOL" restore-set "$TMP/bad" "$TMP/s.img"
	check_grep "$2" "$TMP/err" "$1: why"
	check_fails "$1: nothing is written" test -e "$TMP/s.img" -o -e "$TMP/s.img.partial"
}
spoil() { rm -rf "$TMP/bad" && cp -r "$set" "$TMP/bad"; }
spoil
flip "$TMP/bad/part-3.img.zst" $(($(stat -c %s "$TMP/bad/part-3.img.zst") - 300))
spoiled 'a damaged image' 'part-3'
spoil
cp "$TMP/bad/part-1.img.zst" "$TMP/bad/part-4.img.zst"
spoiled 'another image under the name' 'part-4'
spoil
sed -i 's/"start_bytes":1048576/"start_bytes":1049088/' "$TMP/bad/backup.manifest.json"
spoiled 'a manifest that moves a partition' 'start'
spoil
sed -i 's/"logical_bytes":512/"logical_bytes":4096/' "$TMP/bad/backup.manifest.json"
spoiled 'a manifest with other sectors' 'sectors of 4096 bytes'
spoil
offset=$("$IMGTOOL" repl "$TMP/bad/part-1.img.zst" <<'LUA'
for _, x in ipairs(img:chunk(0).entries) do if x.kind == 'data' then e = x end end
print(e.file_offset + e.stored // 2)
LUA
)
flip "$TMP/bad/part-1.img.zst" "$offset"
check_status 7 'R6: a damaged block' "$IMGTOOL" restore-set "$TMP/bad" "$TMP/s.img"
check_grep 's\.img\.partial is incomplete' "$TMP/err" 'R7: what is left'
check_fails 'R7: it has no name' test -e "$TMP/s.img"
check_status 7 '--on-read-error zero' "$IMGTOOL" restore-set --force --on-read-error zero \
	"$TMP/bad" "$TMP/s.img"
check_grep 'bytes in 1 places are damaged' "$TMP/err" 'counts what is lost'
check_status 7 '--verify-after finds no other damage' "$IMGTOOL" restore-set --force \
	--on-read-error zero --verify-after "$TMP/bad" "$TMP/s.img"
check_grep '^  read back: OK, ' "$TMP/out" 'and says so'

# ---- Larger and smaller ----
check '--size' "$IMGTOOL" restore-set -q --force --size 200M "$set" "$out"
check_eq "$(stat -c %s "$out")" $((200 << 20)) 'a larger file'
check_grep 'No problems found' <(sgdisk -v "$out") 'its GPT holds for sgdisk'
check_grep 'No errors detected' <(sfdisk --verify "$out" 2>&1) 'and for sfdisk'
check_eq "$(dump_of "$out" 512 | grep -v last-lba | sed "s|${out##*/}|x|")" \
	"$(dump_of "$want" 512 | grep -v last-lba | sed "s|${want##*/}|x|")" \
	'partitions, names, GUIDs and attributes are the same'
same_bytes "$out" "$want" 2048 $((95 << 20)) 'and the content'
check_grep 'No errors detected' <("$IMGTOOL" restore-set -q --force --size 200M "$set2" "$out" &&
	sfdisk --verify "$out" 2>&1) 'a larger MBR'
check '--grow-last' "$IMGTOOL" restore-set --force --size 200M --grow-last "$set" "$out"
check_grep 'the last partition has 125\.0 MiB now, it had 4\.00 MiB' "$TMP/out" 'says what it did'
check_eq "$(sfdisk -J "$out" | jq -c '.partitiontable.partitions[3] | [.start, .size]')" \
	'[151552,256000]' 'the last partition ends at the end'
check '--grow-last, MBR' "$IMGTOOL" restore-set -q --force --size 200M --grow-last "$set2" "$out"
check_grep 'No errors detected' <(sfdisk --verify "$out" 2>&1) 'sfdisk takes it'
check_eq "$(sfdisk -J "$out" | jq -c '[.partitiontable.partitions[] | [.start + .size]]')" \
	'[[34816],[118784],[409600],[147456],[409600]]' \
	'the logical partition and its container grew'
check_status 9 'R4: a smaller one where used space does not fit' "$IMGTOOL" restore-set --force \
	--size 95M "$set" "$out"
check_grep 'too small: 99614720 bytes; the source has 100663296, and needs 100[0-9]* \(used space' \
	"$TMP/err" 'with the numbers'
dd if=/dev/zero of="$disk" bs=1 count=4 seek=$(((96 << 20) - 40000)) conv=notrunc status=none
"$IMGTOOL" backup-disk -q --force "$disk" "$TMP/tail"
check 'a smaller one where it does' "$IMGTOOL" restore-set -q --force --size 80M "$TMP/tail" "$out"
check_grep 'No problems found' <(sgdisk -v "$out") 'its GPT holds'
part "$out" 1 16 "$TMP/o.ext4"
check 'its file system is whole' e2fsck -fn "$TMP/o.ext4"
"$IMGTOOL" backup-disk -q --unallocated "$disk" "$TMP/tail.all"
check 'a smaller one is read back without what its table replaced' "$IMGTOOL" restore-set -q \
	--force --size 90M --verify-after "$TMP/tail.all" "$out"
check_status 9 'R4: not where a partition would be cut' "$IMGTOOL" restore-set --force --size 78M \
	"$TMP/tail" "$out"
check_grep 'needs 8180[0-9]* \(a partition ends there, and the backup of the GPT\)' "$TMP/err" 'why'

# A disk that is shorter than its table knows: the GPT's backup would lie in the last partition.
head -c 20M /dev/urandom >"$TMP/short.img"
printf 'label: gpt\nstart=1M, size=2M\nstart=8192, size=32735\n' | sfdisk -q "$TMP/short.img"
truncate -s -4096 "$TMP/short.img"
short=$((20 * 1048576 - 4096))
check 'a disk that was cut' "$IMGTOOL" backup-disk "$TMP/short.img" "$TMP/short"
check_grep 'warning: .*backup GPT is damaged or missing' "$TMP/err" 'says so'
check 'verify-set of it' "$IMGTOOL" verify-set -q "$TMP/short"
check 'as it is, to a disk of its size' "$IMGTOOL" restore-set -q --force --verify-after \
	"$TMP/short" "$out"
same_bytes "$out" "$TMP/short.img" $((1 << 20)) $((2 << 20)) 'its first partition'
same_bytes "$out" "$TMP/short.img" $((4 << 20)) $((32735 * 512)) 'its last partition'
check_eq "$(sfdisk -d "$out" 2>/dev/null | grep start)" \
	"$(sfdisk -d "$TMP/short.img" 2>/dev/null | grep start | sed "s|$TMP/short.img|$out|")" \
	'and the table'
check 'to one with room for the backup' "$IMGTOOL" restore-set -q --force --verify-after \
	--size 20M "$TMP/short" "$out"
check_grep 'No problems found' <(sgdisk -v "$out") 'which is there'
same_bytes "$out" "$TMP/short.img" $((4 << 20)) $((32735 * 512)) \
	'and its last partition is whole'
check_status 9 'R4: a larger one without it' "$IMGTOOL" restore-set --force \
	--size $((short + 512)) "$TMP/short" "$out"
check_status 9 'R4: --new-guids without it' "$IMGTOOL" clone --new-guids "$TMP/short.img" \
	"$TMP/short.clone"
check_grep 'partition 2 ends at sector' "$TMP/err" 'why'
check_fails 'and nothing is written' test -s "$TMP/short.clone" -o -s "$TMP/short.clone.partial"

# ---- New identities ----
check '--new-guids' "$IMGTOOL" restore-set --force --new-guids "$set" "$out"
check_grep 'No problems found' <(sgdisk -v "$out") 'the GPT holds'
ids() { sfdisk -J "$1" | jq -r '.partitiontable | .id, (.partitions[] | .uuid // empty)'; }
check_eq "$(ids "$out" | sort - <(ids "$want") | uniq -d)" '' 'no GUID is an old one'
check_eq "$(sfdisk -J "$out" | jq -c '[.partitiontable.partitions[] | [.name, .attrs, .start]]')" \
	"$(sfdisk -J "$want" | jq -c '[.partitiontable.partitions[] | [.name, .attrs, .start]]')" \
	'all else is the same'
check_grep "new disk ID $(ids "$out" | head -n 1 | tr A-F a-f), it was" "$TMP/out" 'they are said'
check '--new-guids, MBR' "$IMGTOOL" restore-set -q --force --new-guids "$set2" "$out"
rebuild "$set2" "$TMP/want2"
[ "$(ids "$out")" != "$(ids "$TMP/want2")" ] && ok 'a new signature' || nok 'a new signature'
check_eq "$(cmp -l "$out" "$TMP/want2" | awk '{ print ($1 > 440 && $1 <= 444) }' | sort -u)" 1 \
	'and nothing else'

# ---- A disk without a table ----
make_ext4 "$TMP/whole.img" 32M
"$IMGTOOL" backup-disk -q "$TMP/whole.img" "$TMP/whole"
check 'restore-set of a disk without a table' "$IMGTOOL" restore-set -q --force --verify-after \
	"$TMP/whole" "$out"
zstd -dcq "$TMP/whole/whole.img.zst" | cmp - "$out" && ok 'what zstd restores' ||
	nok 'what zstd restores'
check_status 9 '--grow-last there' "$IMGTOOL" restore-set --force --grow-last "$TMP/whole" "$out"

# ---- One partition ----
for which in 1 'root fs' Root "$(sfdisk -J "$want" | jq -r .partitiontable.partitions[0].uuid)"; do
	rm -f "$out"
	check "restore --set-dir --partition '$which'" "$IMGTOOL" restore -q --set-dir "$set" \
		--partition "$which" "$out"
	zstd -dcq "$set/part-1.img.zst" | cmp - "$out" && ok 'it is that' || nok 'it is that'
done
check_status 3 'no such partition' "$IMGTOOL" restore --set-dir "$set" --partition 9 "$out"
check_status 2 'a container' "$IMGTOOL" restore --set-dir "$set2" --partition 3 "$TMP/none.img"
check_status 2 '--partition without --set-dir' "$IMGTOOL" restore --partition 1 \
	"$set/disk.img.zst" "$TMP/none.img"
check_status 2 '--set-dir without --partition' "$IMGTOOL" restore --set-dir "$set" "$TMP/none.img"
check_status 2 '--set-dir and an image' "$IMGTOOL" restore --set-dir "$set" --partition 1 \
	--in "$set/disk.img.zst" "$TMP/none.img"

done_testing
