# SIGKILL at many moments of a real run, used-only and all blocks; then --resume gives the bytes of
# an uninterrupted run. (tests/fault/kill_test.c kills at every structure; here it is the program.)
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
requires mkfs.ext4 zstd jq

RUNS=${KILL_RUNS:-25}
src=$TMP/src.img
img=$TMP/cut.zst
fixed=(--uuid "$UUID" --created "$CREATED" --chunk-size 1M)
# So slow that the time of a run is that of its rate, and not of the machine.
slow=(--max-throughput 48M)
# Incompressible, so that the image grows all the time.
mkdir "$TMP/tree"
head -c 14M /dev/urandom >"$TMP/tree/random"
head -c 20M /dev/urandom >"$src"
mkfs.ext4 -q -F -O ^has_journal -m 0 -d "$TMP/tree" "$src"

# The time in milliseconds.
now_ms() { echo $(($(date +%s%N) / 1000000)); }

# kill_at MODE MS: a run that is killed after so long.
kill_at() {
	rm -f "$img" "$img.partial"
	"$IMGTOOL" image -q "$1" "${fixed[@]}" "${slow[@]}" "$src" "$img" 2>/dev/null &
	local pid=$!
	sleep "$(printf '%d.%03d' $(($2 / 1000)) $(($2 % 1000)))"
	kill -KILL $pid 2>/dev/null || true
	wait $pid 2>/dev/null || true
}

# kill_and_resume MODE MS: counts what was left in `partial`, and where it went on in `resumed`.
kill_and_resume() {
	local from=0
	kill_at "$1" "$2"
	# It may have been through, or not have begun. What has no HEAD yet is begun anew.
	if [ -e "$img.partial" ]; then
		partial=$((partial + 1))
		# Only what was killed between its last byte and its name may verify.
		if "$IMGTOOL" verify -q "$img.partial" >/dev/null 2>&1; then
			cmp "$img.partial" "$TMP/whole.zst" || return 1
		fi
		"$IMGTOOL" image --json --resume "$1" "${fixed[@]}" "$src" "$img" \
			>"$TMP/events" || return 1
		from=$(events image <"$TMP/events" | jq .resumed_at)
		[ "$from" -eq 0 ] || resumed=$((resumed + 1))
	elif [ ! -e "$img" ]; then
		return 0
	fi
	cmp "$img" "$TMP/whole.zst"
}

for mode in --used-only --all-blocks; do
	rm -f "$TMP/whole.zst"
	start=$(now_ms)
	"$IMGTOOL" image -q $mode "${fixed[@]}" "${slow[@]}" "$src" "$TMP/whole.zst"
	whole_ms=$(($(now_ms) - start))
	partial=0 resumed=0
	for i in $(seq "$RUNS"); do
		check "$mode killed $i/$RUNS through a run" \
			kill_and_resume $mode $((whole_ms * i / RUNS))
	done
	check 'stock zstd agrees' zstd -q -t "$TMP/whole.zst"
	echo "# $whole_ms ms a run: $partial of $RUNS were cut short, $resumed of them went on"
	[ $((partial * 2)) -ge "$RUNS" ] && ok 'half of them were cut short' ||
		nok 'half of them were cut short' "$partial of $RUNS"
	[ $resumed -ge 1 ] && ok 'and one at least went on behind its start' ||
		nok 'and one at least went on behind its start' "$resumed of $partial"
done

done_testing
