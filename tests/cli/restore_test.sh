# imgtool restore and export-raw to files, export-range to stdout: every option.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
requires mkfs.ext4 e2fsck zstd jq

src=$TMP/src.img
img=$TMP/i.zst
raw=$TMP/raw
make_ext4 "$src"
image_quietly --block-size 64K --chunk-size 4M "$src" "$img"
zstd -dcq "$img" >"$TMP/expected"
out=$TMP/r.raw

# ---- restore ----
check 'restore to a file' "$IMGTOOL" restore "$img" "$out"
check_grep "^$out: 64\.0 MiB of $img in " "$TMP/out" 'the answer'
same_file "$out" "$TMP/expected" 'what zstd restores'
check 'the file system is whole' e2fsck -fn "$out"
[ $(($(stat -c %b "$out") * 512)) -lt $(($(stat -c %s "$out") / 2)) ] &&
	ok 'the file is sparse' || nok 'the file is sparse'
check_fails 'R7: nothing incomplete is left' test -e "$out.partial"
check '--in, --out' "$IMGTOOL" restore --in "$img" --out "$raw"
same_file "$raw" "$TMP/expected" 'are the operands'

echo mine >"$out"
check_status 9 'R8: a file is not replaced' "$IMGTOOL" restore "$img" "$out"
check_grep 'r\.raw exists \(--force allows it\)' "$TMP/err" 'what would'
check_eq "$(cat "$out")" mine 'and is as it was'
check '--force replaces it' "$IMGTOOL" restore --force "$img" "$out"
same_file "$out" "$TMP/expected" 'by the whole content'
rm "$out"
echo mine >"$out.partial"
check_status 9 'R8: an incomplete file is not replaced' "$IMGTOOL" restore "$img" "$out"
check '--force replaces it, too' "$IMGTOOL" restore -q --force "$img" "$out"
check_status 9 'R5: the image is not overwritten' "$IMGTOOL" restore --force "$img" "$img"
check_grep 'is the image itself' "$TMP/err" 'why'
ln -s i.zst "$TMP/link"
check_status 9 'R5: not through a link either' "$IMGTOOL" restore --force "$img" "$TMP/link"
ln "$img" "$TMP/hard"
check_status 9 'R5: nor by its other name' "$IMGTOOL" restore --force "$img" "$TMP/hard"
check 'the image is as it was' "$IMGTOOL" verify -q "$img"

rm "$out"
check '--dry-run' "$IMGTOOL" restore --dry-run "$img" "$out"
check_grep "^would restore 64\.0 MiB from $img\$" "$TMP/out" 'the plan'
check_grep "^would write $out\.partial, and rename it" "$TMP/out" 'to the end'
check_fails 'nothing is written' test -e "$out" -o -e "$out.partial"
check_status 9 '--dry-run of what would be refused' "$IMGTOOL" restore --dry-run "$img" "$raw"
check_grep '^refused \(R8\): .* exists \(--force allows it\)' "$TMP/out" \
	'R4: with the rule and the reason'
check_status 2 '--free for a file' "$IMGTOOL" restore --free zero "$img" "$out"
check_status 2 'a wrong word for --free' "$IMGTOOL" restore --free zeros "$img" "$out"
check_grep "did you mean 'zero'" "$TMP/err" 'the right one'
check_status 2 'restore to stdout' "$IMGTOOL" restore "$img" -
check_status 3 'no directory' "$IMGTOOL" restore "$img" "$TMP/none/x"
check_status 9 'a directory' "$IMGTOOL" restore --force "$img" "$TMP"
check_status 9 'a character device' "$IMGTOOL" restore --force "$img" /dev/null
check_status 8 'R4: no image' "$IMGTOOL" restore "$src" "$out"

"$IMGTOOL" restore --json --parallel 3 --pipeline-depth 7 --max-throughput 500M "$img" "$out" \
	>"$TMP/events"
check_eq "$(last_progress "$TMP/events" '[.workers, .depth, .max_bytes_per_s, .percent]')" \
	'[3,7,524288000,100]' '--parallel, --pipeline-depth and --max-throughput are in force'
check_eq "$(events restore <"$TMP/events" | jq '.data_bytes + .zero_bytes + .free_bytes')" \
	67108864 'R7: every byte is accounted for'
check '--quiet' "$IMGTOOL" restore --quiet --force "$img" "$out"
check_eq "$(cat "$TMP/out" "$TMP/err")" '' 'says nothing'
check '--log-file' "$IMGTOOL" restore -q --force --log-file "$TMP/log" "$img" "$out"
check_grep 'Z .*r\.raw: 64\.0 MiB of' "$TMP/log" 'has the result'

small() { (trap "" XFSZ && ulimit -f 2000 && exec "$IMGTOOL" restore "$img" "$TMP/small.raw"); }
check_status 6 'a target that is full' small
check_fails 'R7: it does not get its name' test -e "$TMP/small.raw"

# ---- Only what changed, and read back ----
check '--verify-after' "$IMGTOOL" restore --force --verify-after "$img" "$out"
check_grep '^  read back: OK, ' "$TMP/out" 'says so'
printf 'x' | dd of="$out" bs=1 seek=1100 conv=notrunc status=none
printf 'x' | dd of="$out" bs=1 seek=60000000 conv=notrunc status=none
inode=$(stat -c %i "$out")
check '--only-changed' "$IMGTOOL" restore --force --only-changed --verify-after "$img" "$out"
check_grep ' were there already, and were not written' "$TMP/out" 'says how much was saved'
same_file "$out" "$TMP/expected" 'the file is what zstd restores'
check_eq "$(stat -c %i "$out")" "$inode" 'it is the same file, changed in place'
check_eq "$("$IMGTOOL" restore --json --force --only-changed "$img" "$out" | events restore |
	jq '.data_bytes + .zero_bytes + .free_bytes - .same_bytes')" 0 'a second time all is there'
check_status 9 'R8: --only-changed of an existing file needs --force' "$IMGTOOL" restore \
	--only-changed "$img" "$out"
check_status 9 '--only-changed of none' "$IMGTOOL" restore --only-changed "$img" "$TMP/none.raw"
check_grep 'nothing to compare with' "$TMP/err" 'why'
check_status 2 '--undo-dir for a file' "$IMGTOOL" restore --force --undo-dir "$TMP" "$img" "$out"

# ---- A damaged image ----
cp "$img" "$TMP/bad.zst"
read -r file_offset offset \
	<<<"$("$IMGTOOL" repl "$img" <<'LUA'
for n = 0, 1 do
  for _, x in ipairs(img:chunk(n).entries) do if x.kind == 'data' then e = x end end
end
print(e.file_offset + e.stored // 2, e.offset)
LUA
	)"
flip "$TMP/bad.zst" "$file_offset"
rm -f "$out"
check_status 7 'R6: restore of a damaged image' "$IMGTOOL" restore "$TMP/bad.zst" "$out"
check_grep "bad\.zst.*; .*r\.raw\.partial is incomplete" "$TMP/err" 'what failed, and what is left'
check_fails 'R7: the target has no name' test -e "$out"
check_status 7 '--on-read-error zero' "$IMGTOOL" restore --force --on-read-error zero \
	"$TMP/bad.zst" "$out"
check_grep "^  at $offset, 65536 bytes: " "$TMP/out" 'lists what is lost'
check_grep '65536 bytes in 1 places are damaged' "$TMP/err" 'and counts it'
{ head -c "$offset" "$TMP/expected" && head -c 65536 /dev/zero &&
	tail -c +$((offset + 65537)) "$TMP/expected"; } |
	cmp - "$out" && ok 'there are zeros there, and all else is right' || nok 'all else is right'
cp "$out" "$TMP/lossy.raw"
check_status 7 'R7: --verify-after finds no other damage' "$IMGTOOL" restore --force \
	--on-read-error zero --verify-after "$TMP/bad.zst" "$out"
check_grep '^  read back: OK, ' "$TMP/out" 'says so'
check_grep "^  at $offset, 65536 bytes: " "$TMP/out" 'lists what is lost'
same_file "$out" "$TMP/lossy.raw" 'the file has its name, and zeros where it was damaged'
check_status 7 '--only-changed does the same' "$IMGTOOL" restore --force --only-changed \
	--on-read-error zero --verify-after "$TMP/bad.zst" "$out"
same_file "$out" "$TMP/lossy.raw" 'with the same content'
check_status 7 'export-range of the damaged block' "$IMGTOOL" export-range "$TMP/bad.zst" --offset \
	"$offset" --length 5
check_eq "$(wc -c <"$TMP/out")" 0 'R6: gives no byte of it'
check_status 7 'export-range --on-read-error zero' "$IMGTOOL" export-range --on-read-error zero \
	"$TMP/bad.zst"
cmp "$TMP/out" "$out" && ok 'has zeros in the same place' || nok 'has zeros in the same place'

# A table at the end of the image: seen before the first byte is written.
table=$("$IMGTOOL" repl "$img" <<'LUA'
for n = 0, img:facts().chunks - 1 do
  for _, x in ipairs(img:chunk(n).entries) do e = x end
end
print(e.file_offset + e.stored)
LUA
)
cp "$img" "$TMP/table.zst"
flip "$TMP/table.zst" $((table + 80))
rm -f "$raw" "$out"
for how in abort zero; do
	check_status 7 "R4: restore of an image with a damaged table ($how)" \
		"$IMGTOOL" restore --on-read-error $how "$TMP/table.zst" "$raw"
	check_fails 'writes nothing' test -e "$raw" -o -e "$raw.partial"
done

# ---- export-raw ----
rm -f "$raw" "$out"
check 'export-raw' "$IMGTOOL" export-raw "$img" "$raw"
same_file "$raw" "$TMP/expected" 'is the whole content'
check '--in, --out' "$IMGTOOL" export-raw --in "$img" --out "$out"
check_status 9 'R8: export-raw replaces nothing' "$IMGTOOL" export-raw "$img" "$raw"
check '--force, --offset, --length' "$IMGTOOL" export-raw --force --offset 1M --length 70001 \
	"$img" "$raw"
cmp "$raw" <(tail -c +1048577 "$TMP/expected" | head -c 70001) && ok 'a part of it' ||
	nok 'a part of it'
check_status 2 'a range past the end' "$IMGTOOL" export-raw --force --offset 64M --length 1 "$img" \
	"$raw"
check_status 9 'a device' "$IMGTOOL" export-raw --force "$img" /dev/null
rm "$raw"
check '--dry-run' "$IMGTOOL" export-raw --dry-run "$img" "$raw"
check_fails 'writes nothing' test -e "$raw"
"$IMGTOOL" export-raw --json --parallel 3 --pipeline-depth 7 --max-throughput 500M "$img" "$raw" \
	>"$TMP/events"
check_eq "$(last_progress "$TMP/events" '[.workers, .depth, .max_bytes_per_s]')" \
	'[3,7,524288000]' '--parallel, --pipeline-depth and --max-throughput are in force'
check_status 7 'a damaged image' "$IMGTOOL" export-raw "$TMP/bad.zst" "$TMP/b.raw"
check_status 7 '--on-read-error zero' "$IMGTOOL" export-raw --force --on-read-error zero \
	"$TMP/bad.zst" "$TMP/b.raw"
same_file "$TMP/b.raw" "$TMP/lossy.raw" 'zeros in the same place'

# ---- Nothing at all ----
: >"$TMP/empty"
image_quietly "$TMP/empty" "$TMP/empty.zst" 2>"$TMP/err"
for option in -q --verify-after --only-changed; do
	check "restore $option of an empty source" "$IMGTOOL" restore --force $option \
		"$TMP/empty.zst" "$TMP/empty.raw"
	check_eq "$(stat -c %s "$TMP/empty.raw")" 0 'gives an empty file'
done
check 'export-raw from the end' "$IMGTOOL" export-raw --offset 64M "$img" "$TMP/end.raw"
check_eq "$(stat -c %s "$TMP/end.raw")" 0 'gives an empty file'

# ---- export-range ----
range() { "$IMGTOOL" export-range "$img" "$@" 2>"$TMP/range.err"; }
range | cmp - "$TMP/expected" && ok 'export-range: all of it' || nok 'export-range: all of it'
check_eq "$(cat "$TMP/range.err")" '' 'and not a word'
for pair in '0 1' '1 1' '65535 2' '1048576 65536' '4194303 3000000' '67108863 1'; do
	read -r from length <<<"$pair"
	range --offset "$from" --length "$length" |
		cmp - <(tail -c +$((from + 1)) "$TMP/expected" | head -c "$length") &&
		ok "a range at $from of $length" || nok "a range at $from of $length"
done
range --offset 63M | cmp - <(tail -c 1048576 "$TMP/expected") && ok 'to the end' || nok 'to the end'
magic=$("$IMGTOOL" export-range --in "$img" --offset 1080 --length 2 | od -An -tx1 | tr -d ' ')
check_eq "$magic" 53ef '--in; the magic of ext4, where it belongs'
check_status 2 'a range past the end' "$IMGTOOL" export-range "$img" --offset 64M --length 1
check_eq "$(wc -c <"$TMP/out")" 0 'gives nothing'
check_status 2 'a length of 0' "$IMGTOOL" export-range "$img" --length 0
full() { "$IMGTOOL" export-range "$img" >/dev/full; }
check_status 6 'a full stdout' full
closed() { "$IMGTOOL" export-range "$img" | head -c 10 >/dev/null; }
check_status 6 'a reader that goes away' closed
check_status 3 '--json' "$IMGTOOL" export-range --json "$TMP/none"
check_eq "$(jq -r .word <"$TMP/err" 2>/dev/null | head -n 1)" not_found 'its objects are on stderr'
check_status 3 '--log-file' "$IMGTOOL" export-range --log-file "$TMP/log" "$TMP/none"
check_grep 'failed: .*none' "$TMP/log" 'has the failure'

done_testing
