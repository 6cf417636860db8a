# Interrupted runs: signals, image --resume, sources that fail, locks.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
requires mkfs.ext4 zstd jq

src=$TMP/src.img
img=$TMP/i.zst
make_ext4 "$src"
FIXED="--created $CREATED --uuid $UUID --chunk-size 1M"
# shellcheck disable=SC2086
image_quietly $FIXED "$src" "$TMP/whole.zst"

# start_slowly OPTION...: an imaging run in the background that has written some chunks. Sets PID.
start_slowly() {
	rm -f "$img" "$img.partial"
	# shellcheck disable=SC2086
	"$IMGTOOL" image $FIXED --max-throughput 8M --pipeline-depth 4 "$@" "$src" "$img" \
		>"$TMP/run.out" 2>"$TMP/run.err" &
	PID=$!
	wait_until larger "$img.partial" 2000000 || { cat "$TMP/run.err" && return 1; }
}
# ended STATUS DESC: the run has ended so.
ended() {
	local status=0
	wait $PID || status=$?
	check_eq "$status" "$1" "$2"
}

# ---- Signals ----
for signal in INT TERM; do
	start_slowly
	kill -$signal $PID
	ended 130 "SIG$signal ends a run with 130"
	check_grep \
		'cancelled after [0-9]+ of [0-9]+ bytes; \S+ is incomplete, --resume goes on' \
		"$TMP/run.err" 'it says how to go on'
	check_fails 'R7: the image has no name yet' test -e "$img"
	check_status 7 'R7: nobody takes it for an image' "$IMGTOOL" verify "$img.partial"
	check "--resume goes on after SIG$signal" "$IMGTOOL" image --resume "$src" "$img"
	check_grep 'resumed at [0-9.]+ MiB' "$TMP/out" 'where it was'
	same_file "$img" "$TMP/whole.zst" 'the result is that of a run without interruption'
done

# The second stops at once: a chunk of all blocks takes 16 seconds at this rate.
# shellcheck disable=SC2086
image_quietly $FIXED --all-blocks --chunk-size 32M "$src" "$TMP/whole_all.zst"
for signal in INT TERM; do
	start_slowly --all-blocks --chunk-size 32M --max-throughput 2M
	kill -$signal $PID
	sleep 1
	check "after one SIG$signal the chunk is gone on with" kill -0 $PID
	kill -$signal $PID
	since=$(date +%s%N)
	ended 130 "a second SIG$signal ends it"
	took=$((($(date +%s%N) - since) / 1000000))
	[ $took -lt 3000 ] && ok 'at once' || nok 'at once' "after $took ms"
	check "--resume after two SIG$signal" "$IMGTOOL" image --resume -q "$src" "$img"
	same_file "$img" "$TMP/whole_all.zst" 'gives the whole image'
done

# The first signal loses nothing: the chunk under way is finished.
start_slowly --chunk-size 8M
kill -INT $PID
ended 130 'a signal in the first chunk'
"$IMGTOOL" image --resume --json "$src" "$img" >"$TMP/events"
from=$(events image <"$TMP/events" | jq .resumed_at)
[ "$from" -ge 8388608 ] && ok 'does not lose it' || nok 'does not lose it' "resumed at $from"

start_slowly
kill -KILL $PID
wait $PID 2>/dev/null || true
check '--resume after SIGKILL' "$IMGTOOL" image --resume -q "$src" "$img"
same_file "$img" "$TMP/whole.zst" 'gives the whole image'

: >"$TMP/empty.zst.partial"
# shellcheck disable=SC2086
check '--resume of an empty file begins' "$IMGTOOL" image --resume -q $FIXED "$src" "$TMP/empty.zst"
same_file "$TMP/empty.zst" "$TMP/whole.zst" 'anew'

# What a crash may leave of a run before its first commit.
head -c 100 "$TMP/whole.zst" >"$TMP/cut.zst.partial"
head -c 5 "$TMP/whole.zst" >"$TMP/short.zst.partial"
head -c 4096 /dev/zero >"$TMP/zeros.zst.partial"
check 'a dry run takes zeros, too' "$IMGTOOL" image --resume --dry-run -q "$src" "$TMP/zeros.zst"
for name in cut short zeros; do
	# shellcheck disable=SC2086
	check "--resume of what is $name begins" "$IMGTOOL" image --resume -q $FIXED "$src" \
		"$TMP/$name.zst"
	same_file "$TMP/$name.zst" "$TMP/whole.zst" 'anew'
done
head -c 4096 /dev/urandom >"$TMP/random"
head -c 8192 "$TMP/whole.zst" >"$TMP/broken"
flip "$TMP/broken" 200
for name in random broken; do
	cp "$TMP/$name" "$TMP/$name.zst.partial"
	check_fails "--resume refuses what is $name" "$IMGTOOL" image --resume "$src" \
		"$TMP/$name.zst"
	check_fails 'and so does a dry run' "$IMGTOOL" image --resume --dry-run "$src" \
		"$TMP/$name.zst"
	same_file "$TMP/$name" "$TMP/$name.zst.partial" 'and leaves it as it is'
done

# The mode is the image's own, as all that decides its bytes.
start_slowly --all-blocks
kill -INT $PID
wait $PID || true
cp "$img.partial" "$TMP/all.zst.partial"
check '--resume of all blocks' "$IMGTOOL" image --resume -q "$src" "$img"
check_eq "$(info_of "$img" '[.head.map.kind, .head.settings.mode]')" '["all","all_blocks"]' \
	'takes all of them'
check 'it verifies' "$IMGTOOL" verify -q "$img"
check_status 9 '--used-only of all blocks' "$IMGTOOL" image --resume --used-only "$src" \
	"$TMP/all.zst"

# ---- What resume refuses ----
start_slowly
kill -INT $PID
wait $PID || true
cp "$img.partial" "$TMP/kept"
refuses() { # REASON DESC OPTION...
	local reason=$1 desc=$2
	shift 2
	check_status 9 "--resume refuses $desc" "$IMGTOOL" image --resume "$@" "$src" "$img"
	check_grep "$reason" "$TMP/err" 'and names it'
}
refuses "level is '3' in the image, not '9'" 'another level' --level 9
refuses 'chunk_size is' 'another chunk size' --chunk-size 2M
refuses 'block_size is' 'another block size' --block-size 64K
refuses 'hash is' 'another hash' --hash sha256
refuses 'uuid is' 'another UUID' --uuid 99999999-9999-4999-8999-999999999999
refuses 'on_read_error is' 'another answer to read errors' --on-read-error zero
refuses "the source's map is 'all' now, and was 'used'" 'another map' --all-blocks
check '--resume with the same settings' "$IMGTOOL" image --resume -q --level 3 --hash xxh3-128 \
	"$src" "$img"
cp "$TMP/kept" "$img.partial"
check_status 9 'R8: --resume does not replace a whole image' "$IMGTOOL" image --resume "$src" "$img"
rm "$img"

cp "$src" "$TMP/other.img"
tune2fs -U random "$TMP/other.img" >/dev/null 2>&1 ||
	tune2fs -f -U random "$TMP/other.img" >/dev/null
check_status 9 'another file system' "$IMGTOOL" image --resume "$TMP/other.img" "$img"
check_grep "the source's file system UUID is" "$TMP/err" 'is named'
cp "$src" "$TMP/longer.img"
truncate -s 65M "$TMP/longer.img"
check_status 9 'another size' "$IMGTOOL" image --resume "$TMP/longer.img" "$img"
check_grep "the source's size is '68157440' now, and was '67108864'" "$TMP/err" 'is named'
# The same UUID, other files: the map is another one.
cp "$src" "$TMP/changed.img"
debugfs -w -R "write $TMP/tree/random again" "$TMP/changed.img" >/dev/null 2>&1
touch -r "$src" "$TMP/changed.img"
check_status 9 'a file system that has changed' "$IMGTOOL" image --resume "$TMP/changed.img" "$img"
check_grep 'map' "$TMP/err" 'is seen by its map'
# Changed in place, as by mounting it: the same identity, the same map.
cp -p "$src" "$TMP/mounted.img"
debugfs -w -R 'ssv wtime 20300101000000' "$TMP/mounted.img" >/dev/null 2>&1
check_status 9 'a file that was written since' "$IMGTOOL" image --resume "$TMP/mounted.img" "$img"
check_grep "the source's time of its last change is '[0-9]+' now, and was" "$TMP/err" 'is seen'
touch -r "$src" "$TMP/mounted.img"
check_status 9 'a source that was mounted since' "$IMGTOOL" image --resume "$TMP/mounted.img" "$img"
check_grep 'mounted\.img has changed since: its block at 0 is another one in the image' "$TMP/err" \
	'is seen by its first block'
same_file "$img.partial" "$TMP/kept" 'none of this has touched the incomplete image'
check 'and it is gone on with' "$IMGTOOL" image --resume -q "$src" "$img"
same_file "$img" "$TMP/whole.zst" 'to the whole image'

# ---- A file that gets the name meanwhile ----
start_slowly
echo mine >"$img"
ended 9 'R8: a file that appears meanwhile is not replaced'
check_grep 'i\.zst: it exists already' "$TMP/run.err" 'why'
check_eq "$(cat "$img")" mine 'it is as it was'
rm "$img"
check 'and the image is there' "$IMGTOOL" image --resume -q "$src" "$img"
same_file "$img" "$TMP/whole.zst" 'whole'

# ---- Two at once ----
start_slowly
check_status 11 '--force of what another imgtool writes' "$IMGTOOL" image --force "$src" "$img"
check_grep 'is locked by another process' "$TMP/err" 'and why'
check_status 11 '--resume of what another imgtool writes' "$IMGTOOL" image --resume "$src" "$img"
kill -INT $PID
ended 130 'the other one'
check 'was not disturbed' "$IMGTOOL" image --resume -q "$src" "$img"
same_file "$img" "$TMP/whole.zst" 'at all'

# ---- A source that fails: the file is cut while it is read ----
fails() { # OPTION...
	cp "$src" "$TMP/dying.img"
	rm -f "$TMP/d.zst" "$TMP/d.zst.partial"
	"$IMGTOOL" image --all-blocks --chunk-size 1M --max-throughput 24M --pipeline-depth 4 \
		--block-size 64K "$@" "$TMP/dying.img" "$TMP/d.zst" >"$TMP/run.out" \
		2>"$TMP/run.err" &
	PID=$!
	wait_until larger "$TMP/d.zst.partial" 2000000
	truncate -s 60M "$TMP/dying.img"
}
fails
# Not the whole time of a slow run: the end is near already for a source of 64 MiB that is cut at
# 60.
ended 5 'a source that can not be read ends the run with 5'
check_grep 'dying\.img.*; .*d\.zst\.partial is incomplete' "$TMP/run.err" \
	'what failed, and what is left'
check_fails 'R7: the image has no name' test -e "$TMP/d.zst"
fails --on-read-error zero --read-retries 0
ended 12 '--on-read-error zero goes on, and ends with 12'
check_grep '4194304 bytes in 4 ranges could not be read' "$TMP/run.err" 'it says how much is lost'
check_eq "$(info_of "$TMP/d.zst" '[.bad_ranges[0][0], .bad_range_count, .bad_range_bytes]')" \
	'[62914560,4,4194304]' 'R9: the image knows the ranges, one for each chunk'
check 'the image verifies' "$IMGTOOL" verify "$TMP/d.zst"
check_grep '4\.00 MiB of the source were unreadable' "$TMP/out" 'and verify tells'
check_status 5 'restore aborts at bad ranges' "$IMGTOOL" restore "$TMP/d.zst" "$TMP/d.raw"
check_fails 'R7: the target has no name' test -e "$TMP/d.raw"
check_status 12 'restore --on-read-error zero' "$IMGTOOL" restore --force --on-read-error zero \
	"$TMP/d.zst" "$TMP/d.raw"
check_grep 'at 6[0-9]+, [0-9]+ bytes: unreadable when it was imaged' "$TMP/out" 'lists what is lost'
cmp -n 62914560 "$src" "$TMP/d.raw" && ok 'all else is there' || nok 'all else is there'
check_status 5 'export-range of a bad range' "$IMGTOOL" export-range "$TMP/d.zst" --offset \
	62914000 --length 4096
check_status 12 'export-range --on-read-error zero' "$IMGTOOL" export-range --on-read-error zero \
	"$TMP/d.zst" --offset 62910464 --length 8192
cp "$TMP/out" "$TMP/range"
{ dd if="$src" bs=4096 skip=15359 count=1 && head -c 4096 /dev/zero; } 2>/dev/null |
	cmp - "$TMP/range" &&
	ok 'gives what is good, and zeros' || nok 'gives what is good, and zeros'

# ---- Written to the end, and stopped before it had its name ----
cp "$img" "$TMP/done.zst.partial"
check '--resume of a complete file names it' "$IMGTOOL" image --resume -q "$src" "$TMP/done.zst"
check 'it is the same' cmp "$img" "$TMP/done.zst"
cp "$img" "$TMP/old.zst.partial"
check_status 9 'but not when the file system has changed' "$IMGTOOL" image --resume -q \
	"$TMP/changed.img" "$TMP/old.zst"
check_grep 'old\.zst\.partial: it was written to its end, and the map of .* has changed since' \
	"$TMP/err" 'why'
same_file "$img" "$TMP/old.zst.partial" 'it stays as it was'
check_fails 'R8: without its name' test -e "$TMP/old.zst"

done_testing
