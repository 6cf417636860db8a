# The last flush of an image is under the watchdog and heeds signals (LESSONS 39): a target that
# hangs in it is an error that says so, and what is there can be resumed.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
requires strace mkfs.ext4 jq
strace -o /dev/null true 2>/dev/null || skip 'strace does not work here'

make_ext4 "$TMP/source"

# hang IMAGE [OPTION...]: image, with a flush of the file that takes three seconds (strace lets
# nobody end before that); no leak detection, which does not work under strace. A thread that hangs
# is left behind.
hang() {
	TSAN_OPTIONS=${TSAN_OPTIONS:+$TSAN_OPTIONS:}report_thread_leaks=0 \
		ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0 \
		IMGTOOL_AIO=threads timeout 25 \
		strace -f -o /dev/null -P "$1.partial" -e trace=fsync,fdatasync \
		-e inject=fsync,fdatasync:delay_enter=3000000 "$IMGTOOL" image -q "$TMP/source" "$@"
}

check_status 6 'a target that hangs in the last flush is an error' \
	hang "$TMP/a.img.zst" --stall-timeout 1
check_grep 'a\.img\.zst\.partial: nothing has moved for [1-9] s.* ordered end flushes the target' \
	"$TMP/err" 'and the message says which one, and in what'
check_fails 'R7: no image has the name' test -e "$TMP/a.img.zst"
check 'what is there is gone on with' image_quietly "$TMP/source" "$TMP/a.img.zst" --resume
check 'and verifies' "$IMGTOOL" verify -q "$TMP/a.img.zst"

# A run that was stopped by a signal flushes what is there: the same watchdog looks at that.
hang "$TMP/b.img.zst" --stall-timeout 1 --chunk-size 1M --max-throughput 8M 2>"$TMP/err" &
pid=$!
wait_until test -e "$TMP/b.img.zst.partial"
traced() { pgrep -f "^$IMGTOOL image -q $TMP/source $TMP/b"; }
wait_until traced >/dev/null
kill -INT "$(traced)"
status=0
wait $pid || status=$?
check_eq "$status" 6 'a target that hangs after a signal is an error, too'
check_grep 'b\.img\.zst\.partial: nothing has moved for .*the ordered end flushes what is there' \
	"$TMP/err" 'and the message says so'
check 'and can be gone on with' image_quietly "$TMP/source" "$TMP/b.img.zst" --resume
check 'and verifies then' "$IMGTOOL" verify -q "$TMP/b.img.zst"

done_testing
