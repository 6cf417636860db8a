# imgtool explain and imgtool map: every range that an image does not hold, and why.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
requires mkfs.ext4 dumpe2fs debugfs mkswap zstd jq python3

src=$TMP/src.img
img=$TMP/i.zst
mkdir -p "$TMP/tree"
head -c 4M /dev/urandom >"$TMP/tree/swapfile"
mkswap -q "$TMP/tree/swapfile" 2>/dev/null
make_tree "$TMP/tree"
make_ext4 "$src" 64M -b 4096
cp "$src" "$TMP/before"

# ranges WHY < EVENTS: "OFFSET LENGTH" lines of one reason
ranges() {
	events range | jq -r "select(.why == \"$1\") | \"\\(.offset) \\(.length)\""
}
# sum < RANGES
sum() {
	awk '{ s += $2 } END { print s + 0 }'
}

# ---- map: against dumpe2fs ----
check 'map' "$IMGTOOL" map "$src" --json
cp "$TMP/out" "$TMP/map"
dumpe2fs "$src" 2>/dev/null | sed -n 's/^ *Free blocks: \([0-9].*\)/\1/p' | tr ',' '\n' |
	awk -F- 'NF { s = $1 * 4096; e = ($NF + 1) * 4096
		if (s == end) { end = e; next }
		if (end) print start, end - start
		start = s; end = e } END { print start, end - start }' >"$TMP/want"
ranges free <"$TMP/map" >"$TMP/got"
same_file "$TMP/got" "$TMP/want" 'free ranges are those of dumpe2fs'
check_eq "$(events map <"$TMP/map" | jq -c '[.map, .file_system.type, .file_system.label,
	.file_system.block_bytes, .reason, .note, .source, .offset, .length]')" \
	"[\"used\",\"ext4\",\"Fixture\",4096,\"\",\"\",\"$src\",0,67108864]" 'what is on it'
check_eq "$(events map <"$TMP/map" | jq '.free_bytes')" "$(sum <"$TMP/want")" 'bytes by kind'
check_eq "$(events map <"$TMP/map" | jq '.free_bytes + .data_bytes + .rule_bytes + .zero_bytes
	+ .bad_bytes')" 67108864 'every byte is counted'
check_eq "$(events map <"$TMP/map" | jq .ranges)" "$(wc -l <"$TMP/want")" 'and every range'
check 'as text' "$IMGTOOL" map "$src"
check_grep '^file system +ext4, Fixture, ' "$TMP/out" 'the file system'
check_grep '^map +used$' "$TMP/out" 'the map'
check_grep '^totals +67108864 bytes at 0: data [0-9.]+ MiB, free [0-9.]+ MiB, zero 0 B, rule 0 B' \
	"$TMP/out" 'totals'
check_eq "$(awk '$3 == "free" { print $1, $2 }' "$TMP/out" | cmp - "$TMP/want" && echo same)" \
	same 'the same ranges'
check 'R1: map' cmp "$src" "$TMP/before"
check 'map --device' "$IMGTOOL" map --device "$src" --totals
check_eq "$(grep -c free "$TMP/out")" 1 '--totals lists no ranges'

check 'map --exclude' "$IMGTOOL" map "$src" --json --exclude swap
cp "$TMP/out" "$TMP/map"
check_eq "$(ranges rule <"$TMP/map" | sum)" $((4194304 - 65536)) 'shows what a rule would do'
check_eq "$(events range <"$TMP/map" | jq -r 'select(.why == "rule") | .rule + .path' | sort -u)" \
	'swap/swapfile' 'with rule and path'
check_eq "$(events map <"$TMP/map" | jq .rule_bytes)" $((4194304 - 65536)) 'and counts it'
check 'one reason' "$IMGTOOL" map "$src" --json --exclude swap --why rule
check_eq "$(events range <"$TMP/out" | jq -r .why | sort -u)" rule '--why'
check 'a window' "$IMGTOOL" map "$src" --json --offset 32M --length 1M
check_eq "$(events map <"$TMP/out" | jq -c '[.offset, .length,
	.free_bytes + .data_bytes]')" '[33554432,1048576,1048576]' 'counts itself alone'
check_eq "$(events range <"$TMP/out" |
	jq -s 'all(.[]; .offset >= 33554432 and .offset + .length <= 34603008)')" true \
	'and lists itself alone'
check_status 2 'a window past the end' "$IMGTOOL" map "$src" --offset 65M
check_status 2 'a length past the end' "$IMGTOOL" map "$src" --offset 60M --length 5M

truncate -s 1M "$TMP/nothing"
check 'what is unknown' "$IMGTOOL" map "$TMP/nothing" --exclude swap
check_grep '^map +all, no file system recognised$' "$TMP/out" 'the reason'
check_grep '^no rule applied +no file system recognised$' "$TMP/out" 'for the rules too'
check_grep 'data 1\.00 MiB, free 0 B' "$TMP/out" 'all of it'
check_status 3 'a source that is not there' "$IMGTOOL" map "$TMP/none"
check_status 2 'no source' "$IMGTOOL" map

# ---- explain ----
image_quietly "$src" "$img" --exclude swap --block-size 64K
check 'explain' "$IMGTOOL" explain "$img" --json
cp "$TMP/out" "$TMP/told"
check_eq "$(events explain <"$TMP/told" | jq -c '[.data_bytes + .rule_bytes + .zero_bytes,
	.free_bytes, .bad_bytes]')" \
	"$(info_of "$img" '[.data_bytes + .zero_bytes, .free_bytes, .bad_bytes]')" \
	'the totals are those of the tables'
for why in free zero rule bad; do
	check_eq "$(ranges $why <"$TMP/told" | sum)" \
		"$(events explain <"$TMP/told" | jq .${why}_bytes)" "$why ranges add up"
done
check_eq "$(events range <"$TMP/told" | jq -s '[range(1; length) as $i | .[$i].offset >=
	.[$i - 1].offset + .[$i - 1].length] | all')" true 'in order, apart'
check_eq "$(ranges rule <"$TMP/told")" "$(ranges rule <"$TMP/map")" 'the rule is what map said'
check_eq "$(events range <"$TMP/told" | jq -r 'select(.why == "rule") | .rule + .path' | sort -u)" \
	'swap/swapfile' 'with rule and path'
zstd -dcq "$img" >"$TMP/raw"
python3 - "$TMP/raw" "$TMP/told" >"$TMP/out" <<'PY'
import json, sys
raw = open(sys.argv[1], 'rb').read()
events = [json.loads(line) for line in open(sys.argv[2])]
ranges = [(e['offset'], e['length']) for e in events if e['event'] == 'range']
print(sum(any(raw[o:o + n]) for o, n in ranges), len(ranges) > 4)
PY
check_eq "$(cat "$TMP/out")" '0 True' 'whatever is listed is zeros in the image'
check 'as text' "$IMGTOOL" explain --in "$img"
check_grep '^ +[0-9]+ +[0-9]+  rule  swap  /swapfile$' "$TMP/out" 'ranges'
check_grep "^$img, 67108864 bytes at 0: data .*, in [0-9]+ ranges\$" "$TMP/out" 'totals'
check 'one reason' "$IMGTOOL" explain "$img" --why zero --json
check_eq "$(events range <"$TMP/out" | jq -r .why | sort -u)" zero '--why'
check 'totals only' "$IMGTOOL" explain "$img" --totals
check_eq "$(wc -l <"$TMP/out")" 1 '--totals'
first=$(ranges rule <"$TMP/told" | head -n 1)
check 'a window' "$IMGTOOL" explain "$img" --json --offset $((${first% *} + 512)) --length 512
check_eq "$(events range <"$TMP/out" | jq -c '[.offset, .length, .why]')" \
	"[$((${first% *} + 512)),512,\"rule\"]" 'cuts ranges'
check_status 2 'a window past the end' "$IMGTOOL" explain "$img" --offset 64M --length 1
check_status 2 'an unknown reason' "$IMGTOOL" explain "$img" --why gone
check_status 8 'what is no image' "$IMGTOOL" explain "$src"
check_status 3 'an image that is not there' "$IMGTOOL" explain "$TMP/none"

# An image of all blocks has zeros, but nothing that is free.
image_quietly "$src" "$TMP/all.zst" --all-blocks
check_eq "$("$IMGTOOL" explain "$TMP/all.zst" --json --totals | events explain |
	jq -c '[.free_bytes, .rule_bytes, .zero_bytes > 0]')" '[0,0,true]' 'an image of all blocks'
# Bad ranges: in the golden image of format 2.0.
golden=$TOP/tests/golden/v2.0-mixed.img.zst
"$IMGTOOL" explain "$golden" --json >"$TMP/told"
check_eq "$(ranges bad <"$TMP/told" | sum)" "$(info_of "$golden" .bad_range_bytes)" 'bad ranges'
check_eq "$(ranges bad <"$TMP/told" | wc -l)" \
	"$(python3 "$TOP/scripts/read_image.py" list --json "$golden" |
		jq '[.bad_ranges | sort | .[] | .[0] as $o | {o: $o, e: ($o + .[1])}]
			| reduce .[] as $r ([]; if length > 0 and .[-1].e == $r.o
				then .[-1].e = $r.e else . + [$r] end) | length')" \
	'one by one'

# ---- A list that lies ----
# The text of HEAD, changed without changing its length, and the record's checksum with it.
lie() { # FROM TO
	python3 - "$TOP/scripts" "$img" "$TMP/lie.zst" "$1" "$2" <<'PY'
import sys
sys.path.insert(0, sys.argv[1])
sys.dont_write_bytecode = True
from read_image import Image, xxh3
data = bytearray(open(sys.argv[2], 'rb').read())
old, new = sys.argv[4].encode(), sys.argv[5].encode()
assert len(old) == len(new)
image = Image(sys.argv[2])
head = image.head_record
at = data.find(old, head.position, head.end)
assert at > 0
data[at:at + len(old)] = new
digest = xxh3(bytes(data[head.position:head.end - 16]))
data[head.end - 16:head.end] = digest
open(sys.argv[3], 'wb').write(data)
PY
}
offset=${first% *}
lie "[[$offset," "[[-${offset#?},"
check 'a list of what is not in the source' "$IMGTOOL" explain "$TMP/lie.zst" --json
check_grep 'the list of what rules left out makes no sense: a range outside the source' "$TMP/err" \
	'is not believed'
check_eq "$(events explain <"$TMP/out" | jq -c '[.rule_bytes, .zero_bytes > 4000000]')" \
	'[0,true]' 'the tables count'
check_status 1 'the list held against the tables' \
	python3 "$TESTS_DIR/cli/left_out.py" "$TMP/lie.zst"
check_grep 'overlaps another or leaves the source' "$TMP/err" 'finds it too'
check 'which finds nothing in the good image' python3 "$TESTS_DIR/cli/left_out.py" "$img"

done_testing
