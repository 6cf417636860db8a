# imgtool image: a real ext4 file system, every option, and what other tools make of the image.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
requires mkfs.ext4 e2fsck dumpe2fs zstd jq python3

src=$TMP/src.img
img=$TMP/src.img.zst
make_ext4 "$src"
cp "$src" "$TMP/before"

# ---- The main job ----
check 'an ext4 file system is imaged' "$IMGTOOL" image "$src" "$img"
check_grep 'data .* zero .* free .* bad 0 B' "$TMP/out" 'the answer tells the kinds'
check_grep 'image 100\.0 %.*depth' "$TMP/err" 'progress ends at 100 %'
same_file "$src" "$TMP/before" 'R1: the source is as it was'
check_fails 'R8: there is no incomplete file left' test -e "$img.partial"
check 'zstd takes the image' zstd -tq "$img"
zstd -dcq "$img" >"$TMP/zstd.raw"
check_eq "$(stat -c %s "$TMP/zstd.raw")" "$(stat -c %s "$src")" 'zstd gives all bytes'
check 'R2: used blocks are equal, free ones empty' python3 "$TESTS_DIR/cli/compare_blocks.py" ext \
	"$src" "$TMP/zstd.raw"
check 'the file system is whole' e2fsck -fn "$TMP/zstd.raw"
check 'restore' "$IMGTOOL" restore "$img" "$TMP/restored.raw"
same_file "$TMP/zstd.raw" "$TMP/restored.raw" 'imgtool and zstd restore the same'
check 'verify' "$IMGTOOL" verify "$img"

# ---- Files that are there ----
cp "$img" "$TMP/first"
check_status 9 'R8: an image is not replaced' "$IMGTOOL" image "$src" "$img"
check_grep '--force replaces it' "$TMP/err" 'what would'
same_file "$img" "$TMP/first" 'and is as it was'
check '--force replaces it' "$IMGTOOL" image --force "$src" "$img"
check_fails 'by another one' cmp -s "$img" "$TMP/first"
echo mine >"$img.partial"
mv "$img" "$TMP/second"
check_status 9 'R8: an incomplete file is not replaced' "$IMGTOOL" image "$src" "$img"
check_grep '--resume goes on with it, --force begins anew' "$TMP/err" 'what would'
check_eq "$(cat "$img.partial")" mine 'and is as it was'
check_status 8 '--resume of what is no image' "$IMGTOOL" image --resume "$src" "$img"
check_eq "$(cat "$img.partial")" mine 'leaves it as it was'
check '--force begins it anew' "$IMGTOOL" image --force "$src" "$img"
check_status 9 'R5: the source is not its own image' "$IMGTOOL" image --force "$src" "$src"
ln -s src.img "$TMP/link"
check_status 9 'R5: not through a link either' "$IMGTOOL" image --force "$src" "$TMP/link"
same_file "$src" "$TMP/before" 'and the source is as it was'

# ---- Options ----
check '--device, --out' "$IMGTOOL" image --device "$src" --out "$TMP/o1.zst"
check 'one of them' "$IMGTOOL" image --device "$src" "$TMP/o2.zst"
check 'the other' "$IMGTOOL" image "$src" --out "$TMP/o3.zst"
for n in 1 2 3; do check "image $n verifies" "$IMGTOOL" verify -q "$TMP/o$n.zst"; done

check '--all-blocks' image_quietly --all-blocks "$src" "$TMP/all.zst"
zstd -dcq "$TMP/all.zst" | cmp - "$src" && ok 'takes every byte, free space too' ||
	nok 'takes every byte'
check_eq "$(info_of "$TMP/all.zst" '[.free_bytes, .head.map]')" \
	'[0,{"kind":"all","reason":"asked for"}]' 'and says why'
check '--used-only' image_quietly --used-only --created "$CREATED" --uuid "$UUID" "$src" \
	"$TMP/used.zst"
check 'is the default' image_quietly --created "$CREATED" --uuid "$UUID" "$src" "$TMP/default.zst"
same_file "$TMP/used.zst" "$TMP/default.zst" \
	'the two are equal: the same bytes for the same --created and --uuid'
check_eq "$(info_of "$TMP/used.zst" '[.uuid, .created_s, .head.created] | join(" ")')" \
	"$UUID 1767323045 $CREATED" '--created and --uuid are in the image'
check_status 2 '--created past the year 9999' image_quietly --created 99999999999999999 "$src" \
	"$TMP/late.zst"
check_grep 'created: .* is past the year 9999' "$TMP/err" 'why'
check '--created takes seconds' image_quietly --created 1767323045 --uuid "$UUID" "$src" \
	"$TMP/seconds.zst"
same_file "$TMP/used.zst" "$TMP/seconds.zst" 'of the same moment'

# with OPTIONS...: facts about an image that was made with them, all else fixed
with() {
	rm -f "$TMP/with.zst"
	image_quietly --created "$CREATED" --uuid "$UUID" "$@" "$src" "$TMP/with.zst"
}
fact() { info_of "$TMP/with.zst" "$1"; }
check '--chunk-size' with --chunk-size 8M
check_eq "$(fact '[.chunk_bytes, .chunks] | join(" ")')" '8388608 8' 'is in force'
check '--block-size' with --block-size 1M
check_eq "$(fact .block_bytes)" 1048576 'is in force'
check_status 2 'a chunk that is no multiple of the block' with --chunk-size 3M --block-size 2M
check_status 2 'a block that is too small' with --block-size 32K
check '--level' with --level 19
check_eq "$(fact .head.settings.level)" 19 'is recorded'
best=$(fact .stored_bytes)
check 'another level' with --level 1
[ "$(fact .stored_bytes)" -gt "$best" ] && ok 'a lower level packs less' ||
	nok 'a lower level packs less'
check '--hash' with --hash sha256
check_eq "$(fact .hash)" sha256 'is in force'
check 'it verifies' "$IMGTOOL" verify -q "$TMP/with.zst"

check '--parallel 1, --pipeline-depth 3' with --parallel 1 --pipeline-depth 3
same_file "$TMP/with.zst" "$TMP/used.zst" 'give the same image'
check '--parallel 7, --pipeline-depth 100' with --parallel 7 --pipeline-depth 100
same_file "$TMP/with.zst" "$TMP/used.zst" 'give the same image too'
rm "$TMP/with.zst"
"$IMGTOOL" image --json --parallel 3 --pipeline-depth 9 "$src" "$TMP/with.zst" >"$TMP/events"
check_eq "$(last_progress "$TMP/events" '[.workers, .depth]')" '[3,9]' \
	'and are in force'
"$IMGTOOL" image --json --force --max-throughput 300M "$src" "$TMP/with.zst" >"$TMP/events"
check_eq "$(last_progress "$TMP/events" .max_bytes_per_s)" 314572800 \
	'--max-throughput is in force'

# Slow enough to be seen; the fixture has some 24 MiB to read.
start=$(date +%s%N)
check '--max-throughput' with --max-throughput 8M --pipeline-depth 4
took=$((($(date +%s%N) - start) / 1000000))
[ $took -gt 1000 ] && ok "slows down ($took ms)" || nok "slows down" "$took ms"

# No leak detection: it does not work under strace.
trace_syncs() {
	ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0 IMGTOOL_AIO=threads \
		strace -f -o "$TMP/trace" -e trace=fdatasync,fsync "$IMGTOOL" "$@"
}
can_trace() { command -v strace >/dev/null && strace -o /dev/null true 2>/dev/null; }
if can_trace; then
	syncs() {
		rm -f "$TMP/with.zst"
		trace_syncs image -q --chunk-size 1M "$@" "$src" "$TMP/with.zst"
		grep -c 'sync(' "$TMP/trace"
	}
	lazy=$(syncs)
	eager=$(syncs --write-through)
	[ "$eager" -gt $((lazy + 4)) ] && ok "--write-through syncs as it writes ($lazy, $eager)" ||
		nok '--write-through syncs as it writes' "$lazy without, $eager with it"
else
	skip_case '--write-through syncs as it writes' 'no strace'
fi

check '--verify full' "$IMGTOOL" image --verify full "$src" "$TMP/v.zst"
check_grep 'v\.zst: OK: [0-9]+ frames checked' "$TMP/out" 'reads all of it back'
check '--verify quick' "$IMGTOOL" image --force --verify quick "$src" "$TMP/v.zst"
check_grep 'OK: [0-9]+ of [0-9]+ frames' "$TMP/out" 'reads a sample back'

mkdir "$TMP/dir"
check 'a directory as the target' image_quietly "$src" "$TMP/dir"
check 'the image is named after the label' test -f "$TMP/dir/Fixture.img.zst"
check '--name' image_quietly --name monday "$src" "$TMP/dir/"
check 'names it' test -f "$TMP/dir/monday.img.zst"
check_status 2 '--name where the target is no directory' "$IMGTOOL" image --name x "$src" \
	"$TMP/y.zst"

check '--dry-run' "$IMGTOOL" image --dry-run "$src" "$TMP/dry.zst"
check_grep '^would image .*src\.img \(64\.0 MiB, .* to read\) to .*dry\.zst' "$TMP/out" \
	'says what it would do'
check_fails 'and does nothing' test -e "$TMP/dry.zst" -o -e "$TMP/dry.zst.partial"
check_status 9 '--dry-run checks, too' "$IMGTOOL" image --dry-run "$src" "$img"

check '--quiet' "$IMGTOOL" image --quiet "$src" "$TMP/q.zst"
check_eq "$(cat "$TMP/out" "$TMP/err")" '' 'says nothing'
check_status 9 '--quiet' "$IMGTOOL" image --quiet "$src" "$TMP/q.zst"
check_grep 'exists' "$TMP/err" 'keeps errors'
check '--log-file' "$IMGTOOL" image --quiet --log-file "$TMP/log" "$src" "$TMP/l.zst"
check_grep '^20[0-9-]+T[0-9:]+Z .*l\.zst: 64\.0 MiB of' "$TMP/log" 'has the result with the time'
check_status 9 '--log-file' "$IMGTOOL" image --log-file "$TMP/log" "$src" "$TMP/l.zst"
check_grep 'Z failed: .*exists' "$TMP/log" 'is appended to, errors too'
check_grep 'Z image 100\.0 %' "$TMP/log" 'and has progress'
check_status 6 'a log that can not be written' "$IMGTOOL" image --log-file "$TMP/none/log" "$src" \
	"$TMP/l2.zst"

"$IMGTOOL" image --json "$src" "$TMP/j.zst" >"$TMP/events"
check_eq "$(jq -r .event <"$TMP/events" | sort -u | paste -sd' ')" 'image progress' \
	'--json gives events'
check_eq "$(last_progress "$TMP/events" '[.state, .percent, .done_bytes == .total_bytes] | @csv')" \
	'"done",100,true' 'the last progress is the end'
check_eq "$(events image <"$TMP/events" |
	jq '.data_bytes + .zero_bytes + .free_bytes + .bad_bytes == .source_bytes')" \
	true 'R7: every byte is accounted for'
check_eq "$(events image <"$TMP/events" | jq -r .root)" \
	"$(info_of "$TMP/j.zst" .root)" 'the root hash'

# ---- stdin and stdout ----
"$IMGTOOL" image --created "$CREATED" --uuid "$UUID" "$src" - >"$TMP/piped.zst" 2>"$TMP/piped.err"
same_file "$TMP/piped.zst" "$TMP/used.zst" 'an image to stdout is the same image'
if can_trace; then
	# R7: behind a redirection is a file, which is to be on the disk when success is said.
	trace_syncs image "$src" - >"$TMP/synced" 2>/dev/null
	check_grep 'sync\(' "$TMP/trace" 'it is synced'
	trace_syncs export-range "$TMP/used.zst" --length 8K >"$TMP/synced" 2>/dev/null
	check_grep 'sync\(' "$TMP/trace" 'and so is what export-range gives'
else
	skip_case 'what goes to stdout is synced' 'no strace'
fi
check_grep "^stdout: 64\.0 MiB of" "$TMP/piped.err" "its answer is on stderr"
"$IMGTOOL" image "$src" - 2>/dev/null | zstd -dcq | cmp - "$TMP/zstd.raw" && ok 'into zstd' ||
	nok 'into zstd'
"$IMGTOOL" image --json "$src" - 2>"$TMP/events" | zstd -tq && ok 'with --json' || nok 'with --json'
check_eq "$(events image <"$TMP/events" | jq -r .image)" '-' 'its events are on stderr'
check_status 2 'the source can not be stdin' "$IMGTOOL" image - "$TMP/x.zst"
check_grep 'size is not known' "$TMP/err" 'and why'
check_status 2 '--resume to stdout' "$IMGTOOL" image --resume "$src" -
check_status 2 '--verify of stdout' "$IMGTOOL" image --verify full "$src" -

# ---- A terminal ----
if command -v script >/dev/null; then
	terminal() { TERM=dumb script -qec "$*" /dev/null </dev/null >"$TMP/screen"; }
	check 'on a terminal' terminal "$IMGTOOL" image --max-throughput 20M "$src" "$TMP/t.zst"
	[ "$(tr -cd '\r' <"$TMP/screen" | wc -c)" -gt 3 ] &&
		ok 'progress is one line, again and again' ||
		nok 'progress is one line, again and again' "$(head -c 500 "$TMP/screen")"
	check_eq "$(grep -c $'image .*packed' "$TMP/screen")" 1 'and stays one line'
	check_status 2 'no image goes to a terminal' terminal "$IMGTOOL" image "$src" -
	check_grep 'stdout is a terminal' "$TMP/screen" 'why'
	check_status 2 'and no range' terminal "$IMGTOOL" export-range "$img"
else
	skip_case 'progress on a terminal' 'script is not installed'
fi

# ---- What goes wrong ----
check_status 3 'no source' "$IMGTOOL" image "$TMP/none" "$TMP/x.zst"
check_status 3 'no directory for the target' "$IMGTOOL" image "$src" "$TMP/none/x.zst"
check_status 2 'a directory as the source' "$IMGTOOL" image "$TMP/dir" "$TMP/x.zst"
check_status 2 'a device as the target' "$IMGTOOL" image "$src" /dev/null
check_status 3 '--resume of nothing' "$IMGTOOL" image --resume "$src" "$TMP/x.zst"
small() { (trap '' XFSZ && ulimit -f 2000 && exec "$IMGTOOL" image "$src" "$TMP/small.zst"); }
check_status 6 'a target that is full' small
check_grep 'small\.zst\.partial is incomplete' "$TMP/err" 'what is left'
check_fails 'it does not get its name' test -e "$TMP/small.zst"
out_full() { "$IMGTOOL" image "$src" - >/dev/full; }
check_status 6 'a full stdout' out_full
truncate -s 1M "$TMP/nothing"
check 'a file without a file system' "$IMGTOOL" image "$TMP/nothing" "$TMP/nothing.zst"
check_grep 'all blocks of .* are taken: ' "$TMP/err" 'all blocks are taken, and why'
check_eq "$(info_of "$TMP/nothing.zst" '[.zero_bytes, .free_bytes]')" \
	'[1048576,0]' 'R9: zeros are zeros'

done_testing
