# SIGKILL at many moments of a real run, used-only and all blocks; then --resume gives the bytes of
# an uninterrupted run. (tests/fault/kill_test.c kills at every structure; here it is the program.)
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
requires mkfs.ext4 zstd python3

RUNS=${KILL_RUNS:-12}
src=$TMP/src.img
fixed=(--uuid 11111111-2222-4333-8444-555555555555 --created 2026-01-02T03:04:05Z)
make_tree "$TMP/tree"
truncate -s 96M "$src"
mkfs.ext4 -q -F -d "$TMP/tree" "$src"

# kill_and_resume MODE N: killed after N hundredths of the time a whole run took
kill_and_resume() {
	local img=$TMP/cut.zst wait
	wait=$(python3 -c "print($2 / 100 * $whole_s)")
	rm -f "$img" "$img.partial"
	"$IMGTOOL" image -q "$1" "${fixed[@]}" --chunk-size 4M "$src" "$img" 2>/dev/null &
	local pid=$!
	sleep "$wait"
	kill -KILL $pid 2>/dev/null || true
	wait $pid 2>/dev/null || true
	# It may have been through, or not have begun.
	if [ ! -e "$img" ]; then
		local resume=--resume
		[ -e "$img.partial" ] || resume=
		# shellcheck disable=SC2086
		"$IMGTOOL" image -q "$1" $resume "${fixed[@]}" --chunk-size 4M "$src" "$img" ||
			return 1
	fi
	cmp "$img" "$TMP/whole.zst"
}

for mode in --used-only --all-blocks; do
	rm -f "$TMP/whole.zst"
	start=$(date +%s.%N)
	"$IMGTOOL" image -q $mode "${fixed[@]}" --chunk-size 4M "$src" "$TMP/whole.zst"
	whole_s=$(python3 -c "import time; print(time.time() - $start)")
	for i in $(seq "$RUNS"); do
		percent=$((100 * i / (RUNS + 1)))
		check "$mode killed at $percent % of a run" kill_and_resume $mode $percent
	done
	check 'stock zstd agrees' zstd -q -t "$TMP/whole.zst"
done

done_testing
