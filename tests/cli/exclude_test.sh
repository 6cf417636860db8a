# Content rules: image --exclude, exclude in job scripts. NTFS and ext4 volumes that the tools of
# others make and read.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
requires mkntfs ntfscp ntfscat ntfsfix mkfs.ext4 debugfs e2fsck mkswap zstd jq python3

# zeros FILE: the number of bytes that are none, and of all
zeros() {
	printf '%d %d' "$(tr -d '\0' <"$1" | wc -c)" "$(stat -c %s "$1")"
}

# left_out IMG: what the image says it left out, as "RULE PATH BYTES" lines
left_out() {
	info_of "$1" '.head.exclude.files // [] | .[] | "\(.rule) \(.path) \(.bytes)"'
}

# check_same_but IMG SRC DESC: the image's content is that of an image without rules, with zeros
# where its list says so.
check_same_but() {
	zstd -dcq "$1" >"$TMP/got.raw"
	image_quietly "$2" "$TMP/plain.zst" && zstd -dcq "$TMP/plain.zst" >"$TMP/want.raw"
	info_of "$1" '.head.exclude.files[].ranges[] | "\(.[0]) \(.[1])"' |
		while read -r offset length; do
			head -c "$length" /dev/zero | dd of="$TMP/want.raw" bs=64K seek="$offset" \
				oflag=seek_bytes conv=notrunc iflag=fullblock status=none
		done
	same_file "$TMP/got.raw" "$TMP/want.raw" "$3"
	rm -f "$TMP/plain.zst" "$TMP/want.raw"
}

# ---- NTFS ----
src=$TMP/ntfs.img
img=$TMP/ntfs.zst
make_ntfs "$src" 64M
head -c 7000001 /dev/urandom >"$TMP/page"
for name in pagefile.sys hiberfil.sys swapfile.sys; do
	ntfscp -q "$src" "$TMP/page" "$name" >/dev/null
done
cp "$src" "$TMP/before"
check 'image --exclude' "$IMGTOOL" image "$src" "$img" --exclude pagefile,hiberfil
check_grep 'left out 13\.[0-9]+ MiB that 2 files contained' "$TMP/out" 'it says what it left out'
same_file "$src" "$TMP/before" 'R1: the source is as it was'
check_eq "$(left_out "$img")" "$(printf '%s\n' 'hiberfil /hiberfil.sys 7000064' \
	'pagefile /pagefile.sys 7000064')" 'which files'
check_eq "$(info_of "$img" '.head.settings.exclude | join(" ")')" 'pagefile hiberfil' \
	'and by which rules'
check_grep '^left out +13\.[0-9]+ MiB of 2 files, rules: pagefile hiberfil$' \
	<("$IMGTOOL" info "$img") 'info tells it'
check 'verify' "$IMGTOOL" verify -q "$img"
check 'zstd takes the image' zstd -tq "$img"
check 'the other reader takes it' python3 "$TOP/scripts/read_image.py" verify "$img"
check 'and finds that the list is right' python3 "$TESTS_DIR/cli/left_out.py" "$img"
check_same_but "$img" "$src" 'everything else is as without rules'
check 'ntfsfix finds nothing' ntfsfix -n "$TMP/got.raw"
for name in pagefile.sys hiberfil.sys; do
	ntfscat "$TMP/got.raw" "$name" >"$TMP/file" 2>/dev/null
	check_eq "$(zeros "$TMP/file")" '0 7000001' "$name keeps its size and reads as zeros"
done
for name in program random hole; do
	ntfscat "$TMP/got.raw" "$name" 2>/dev/null >"$TMP/file"
	same_file "$TMP/file" "$TMP/tree/$name" "$name is whole"
done
ntfscat "$TMP/got.raw" swapfile.sys 2>/dev/null >"$TMP/file"
same_file "$TMP/file" "$TMP/page" 'swapfile.sys, which no rule named, is whole'

# R9: zeros are written by a restore, over whatever was there.
head -c 64M /dev/urandom >"$TMP/old"
check 'restore over an old file' "$IMGTOOL" restore -q --force "$img" "$TMP/old"
same_file "$TMP/old" "$TMP/got.raw" 'R9: what was left out is zeros, not what was there'
# Every rule does something: each file is left out by its own rule alone.
for rule in pagefile hiberfil swapfile; do
	image_quietly "$src" "$TMP/one.zst" --exclude $rule --force
	check_eq "$(left_out "$TMP/one.zst")" "$rule /$rule.sys 7000064" "--exclude $rule"
done
check '--dry-run' "$IMGTOOL" image --dry-run "$src" "$TMP/none" --exclude pagefile
check_grep 'left out 6\.[0-9]+ MiB that 1 file contained' "$TMP/out" 'tells people'
check '--dry-run --json' "$IMGTOOL" image --dry-run --json "$src" "$TMP/none" --exclude pagefile
check_eq "$(events image <"$TMP/out" | jq -c '[.excluded_files, .excluded_bytes, .zero_bytes]')" \
	'[1,7000064,7000064]' 'says what rules would leave out'

# ---- Nothing to leave out, and refusals: all is taken, and it is said ----
check 'a rule without a file' "$IMGTOOL" image --force "$src" "$img" --exclude swap,pagefile
check_grep "exclude: 'swap' finds no file \(ntfs\)" "$TMP/err" 'is told'
check_eq "$(left_out "$img")" 'pagefile /pagefile.sys 7000064' 'and the others hold'
make_ntfs "$TMP/small.img" 32M
echo tiny >"$TMP/tiny"
ntfscp -q "$TMP/small.img" "$TMP/tiny" pagefile.sys >/dev/null
check 'a file in its file record' "$IMGTOOL" image --force "$TMP/small.img" "$img" \
	--exclude pagefile
check_grep 'exclude: /pagefile.sys stays: its data is in its file record' "$TMP/err" \
	'stays, and why'
ntfscat "$TMP/small.img" pagefile.sys >"$TMP/file" 2>/dev/null
same_file "$TMP/file" "$TMP/tiny" 'as it was'

# A hibernated Windows: its session is in hiberfil.sys.
at=$("$IMGTOOL" map --json --exclude hiberfil "$src" --why rule | jq 'select(.path) | .offset')
cp "$src" "$TMP/asleep.img"
printf hibr | dd of="$TMP/asleep.img" bs=1 seek="$at" conv=notrunc status=none
check 'hibernated' "$IMGTOOL" image --force "$TMP/asleep.img" "$img" --exclude hiberfil
check_grep 'warning: exclude: nothing is left out: Windows is hibernated' "$TMP/err" \
	'the rule is refused, and why'
zstd -dcq "$img" | cmp - "$TMP/asleep.img" && ok 'all of it is taken' || nok 'all of it is taken'
check_eq "$(info_of "$img" '.head.exclude | [.bytes, .files, .reason[:21]]')" \
	'[0,null,"Windows is hibernated"]' 'the image says so'

# A dirty volume has a map, but no rules: $Volume's flags, at 10 of $VOLUME_INFORMATION.
python3 - "$src" "$TMP/dirty.img" <<'PY'
import sys
volume = bytearray(open(sys.argv[1], 'rb').read())
cluster = int.from_bytes(volume[11:13], 'little') * volume[13]
mirror = int.from_bytes(volume[0x38:0x40], 'little') * cluster
for mft in int.from_bytes(volume[0x30:0x38], 'little') * cluster, mirror:
    record = mft + 3 * 1024
    at = record + int.from_bytes(volume[record + 20:record + 22], 'little')
    while int.from_bytes(volume[at:at + 4], 'little') != 0x70:
        at += int.from_bytes(volume[at + 4:at + 8], 'little')
    volume[at + 0x18 + 10] |= 1
open(sys.argv[2], 'wb').write(volume)
PY
check 'a dirty volume' "$IMGTOOL" image --force "$TMP/dirty.img" "$img" --exclude pagefile
check_grep 'nothing is left out: dirty volume: two files may claim' "$TMP/err" 'is not trusted'
check_eq "$(info_of "$img" '[.head.map.kind, .head.exclude.bytes]')" '["used",0]' 'but for its map'
check_status 2 'rules without a map' "$IMGTOOL" image "$src" "$TMP/x.zst" --all-blocks \
	--exclude pagefile
check_grep 'exclude has no meaning when all blocks are taken' "$TMP/err" 'make no sense'
check_status 2 'an unknown rule' "$IMGTOOL" image "$src" "$TMP/x.zst" --exclude pagefil
check_grep "did you mean 'pagefile'" "$TMP/err" 'has a nearest name'
rm -f "$TMP"/*.img "$TMP"/*.raw "$TMP/old" "$TMP/before"

# ---- ext4 ----
src=$TMP/ext.img
img=$TMP/ext.zst
mkdir -p "$TMP/tree/var/lib"
head -c 6M /dev/urandom >"$TMP/tree/var/lib/swap.img"
mkswap -q "$TMP/tree/var/lib/swap.img" 2>/dev/null
make_ext4 "$src" 64M -b 4096
check 'image --exclude swap' "$IMGTOOL" image "$src" "$img" --exclude swap
check_eq "$(left_out "$img")" 'swap /var/lib/swap.img 6225920' 'leaves out all but the header'
check_same_but "$img" "$src" 'everything else is as without rules'
check 'e2fsck finds nothing' e2fsck -fn "$TMP/got.raw"
debugfs -R "dump /var/lib/swap.img $TMP/file" "$TMP/got.raw" 2>/dev/null
head -c 65536 "$TMP/tree/var/lib/swap.img" >"$TMP/header"
head -c 65536 "$TMP/file" | cmp - "$TMP/header" && ok 'the header is whole' ||
	nok 'the header is whole'
tail -c +65537 "$TMP/file" >"$TMP/rest"
check_eq "$(zeros "$TMP/rest")" '0 6225920' 'the rest reads as zeros'
debugfs -R "dump /random $TMP/file" "$TMP/got.raw" 2>/dev/null
same_file "$TMP/file" "$TMP/tree/random" 'another file is whole'

# ---- Job scripts ----
cat >"$TMP/job.lua" <<'LUA'
local source, target = ...
local seen = {}
local result = job {
  source = source, target = target, created = '2026-01-02T03:04:05Z', chunk_size = 1 * MiB,
  uuid = '01234567-89ab-4cde-8f01-23456789abcd',
  max_throughput = args[3] == 'slow' and 4 * MiB or 0,
  pipeline_depth = 4, resume = args[3] == 'resume', exclude = { 'swap', function(file)
    seen[file.path] = file
    return file.name == 'program' or file.path:find('^/many/') ~= nil
  end },
}
local f = assert(seen['/program'])
assert(f.size > 1000000 and f.allocated >= f.size and f.type == 'file' and f.name == 'program')
assert(f.modified > 1700000000 and f.accessed > 1700000000 and f.created > 1700000000)
assert(result.excluded_files == 62 and not seen['/many'])
print('done')
LUA
size=$(stat -c %s "$TMP/tree/program")
check 'a function in a script' "$IMGTOOL" run -q "$TMP/job.lua" "$src" "$TMP/whole.zst"
check_eq "$(left_out "$TMP/whole.zst" | grep -c '^function /many/')" 60 'chooses files'
check_eq "$(left_out "$TMP/whole.zst" | grep -v many)" "$(printf '%s\n' \
	"function /program $(((size + 4095) / 4096 * 4096))" 'swap /var/lib/swap.img 6225920')" \
	'with names beside it'
check_same_but "$TMP/whole.zst" "$src" 'and nothing else is missing'
debugfs -R "dump /program $TMP/file" "$TMP/got.raw" 2>/dev/null
check_eq "$(zeros "$TMP/file")" "0 $size" 'the file reads as zeros'
for mistake in 'error("no such thing")' 'local n = file.nothing + 1' 'while true do end'; do
	echo "job { source = '$src', target = '$TMP/bad.zst', exclude = function(file) $mistake" \
		'end }' >"$TMP/bad.lua"
	check_status 13 "a mistake in a function: $mistake" timeout 20 "$IMGTOOL" run "$TMP/bad.lua"
	check_grep 'bad\.lua:1: ' "$TMP/err" 'is told with its place'
done
check_fails 'and no image begins' test -e "$TMP/bad.zst.partial"

# ---- Hard links: a function is shown one of the names ----
mkdir -p "$TMP/linked/cache"
head -c 300000 /dev/urandom >"$TMP/linked/cache/temporary"
ln "$TMP/linked/cache/temporary" "$TMP/linked/cache/letter"
cp "$TMP/linked/cache/letter" "$TMP/linked/alone"
truncate -s 16M "$TMP/linked.img"
mkfs.ext4 -q -F -b 4096 -d "$TMP/linked" "$TMP/linked.img"
cat >"$TMP/linked.lua" <<LUA
local shown = 0
job { source = '$TMP/linked.img', target = '$TMP/linked.zst', exclude = function(file)
  if file.path:find('^/cache/') then shown = shown + 1 end
  return true
end }
assert(shown == 1)
LUA
check 'a function that chooses a file of two names' "$IMGTOOL" run "$TMP/linked.lua"
check_grep 'exclude: /cache/(temporary|letter) stays: it has other names' "$TMP/err" \
	'is told that it stays'
check_eq "$(left_out "$TMP/linked.zst")" 'function /alone 303104' 'a file of one name does not'
zstd -dcq "$TMP/linked.zst" >"$TMP/got.raw"
for name in temporary letter; do
	debugfs -R "dump /cache/$name $TMP/file" "$TMP/got.raw" 2>/dev/null
	same_file "$TMP/file" "$TMP/linked/cache/$name" "$name is whole"
done

# ---- Resume ----
# interrupted COMMAND...: a run that is killed after it has written some chunks
interrupted() {
	rm -f "$TMP/r.zst" "$TMP/r.zst.partial"
	"$@" >/dev/null 2>&1 &
	wait_until larger "$TMP/r.zst.partial" 1500000
	kill -KILL $!
	wait $! 2>/dev/null || true
}
interrupted "$IMGTOOL" run "$TMP/job.lua" "$src" "$TMP/r.zst" slow
check_status 9 'a function has to be given again' "$IMGTOOL" image --resume "$src" "$TMP/r.zst"
check_grep 'begun with an exclude function' "$TMP/err" 'it says so'
check_status 9 'other rules are refused' "$IMGTOOL" image --resume "$src" "$TMP/r.zst" \
	--exclude swap
check_grep "exclude is 'swap,function' in the image, not 'swap'" "$TMP/err" 'and named'
sed "s/'program'/'random'/" "$TMP/job.lua" >"$TMP/other.lua"
check_status 9 'a function that chooses others is refused' \
	"$IMGTOOL" run "$TMP/other.lua" "$src" "$TMP/r.zst" resume
check_grep 'the rules leave out something else now' "$TMP/err" 'and why'
check 'the same function goes on' "$IMGTOOL" run "$TMP/job.lua" "$src" "$TMP/r.zst" resume
same_file "$TMP/r.zst" "$TMP/whole.zst" 'and gives the same image'

FIXED="--created $CREATED --uuid $UUID --chunk-size 1M --pipeline-depth 4"
# shellcheck disable=SC2086
image_quietly $FIXED --exclude swap "$src" "$TMP/named.zst"
# shellcheck disable=SC2086
interrupted "$IMGTOOL" image --max-throughput 4M $FIXED --exclude swap "$src" "$TMP/r.zst"
check '--resume takes the names from the image' "$IMGTOOL" image -q --resume "$src" "$TMP/r.zst"
same_file "$TMP/r.zst" "$TMP/named.zst" 'and gives the same image'
# shellcheck disable=SC2086
interrupted "$IMGTOOL" image --max-throughput 4M $FIXED "$src" "$TMP/r.zst"
check_status 9 'rules that the image has not' "$IMGTOOL" image --resume "$src" "$TMP/r.zst" \
	--exclude swap
check_grep "exclude is none in the image, not 'swap'" "$TMP/err" 'are refused'

# ---- Two files on one block ----
cp "$src" "$TMP/crossed.img"
block=$(debugfs -R 'bmap /var/lib/swap.img 100' "$src" 2>/dev/null)
debugfs -w -f - "$TMP/crossed.img" >/dev/null 2>&1 <<E
write $TMP/tree/many/1 /shared
set_inode_field /shared flags 0
set_inode_field /shared block[0] $block
E
check 'two files on one block' "$IMGTOOL" image --force "$TMP/crossed.img" "$img" --exclude swap
check_grep 'nothing is left out: the files of the volume claim 6230016 bytes of these 6225920' \
	"$TMP/err" 'cost the rules'
check_eq "$(info_of "$img" .head.exclude.bytes)" 0 'and nothing is left out'

done_testing
