# Every exit status of src/base/err.h is reached by a run of the program, and is told as it is in
# the table: the number, its word in --json, and a line in the manual page. 10 has no way to be
# reached: imgtool takes no snapshots yet; the case below fails on the day when it does.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
requires jq flock

src=$TMP/src
img=$TMP/i.zst
bad=$TESTS_DIR/golden/v2.0-mixed.img.zst # it has ranges that could not be read
head -c 300000 /dev/urandom >"$src"
image_quietly --block-size 64K "$src" "$img"
cp "$img" "$TMP/damaged"
flip "$TMP/damaged" 30000
cat >"$TMP/script.lua" <<'LUA'
error 'a mistake'
LUA
mkdir -p "$TMP/lua/imgtool/job"
echo 'return { image = function() error "oops" end }' >"$TMP/lua/imgtool/job/verify.lua"

# A function for each status: run the program so that it ends with it, --json where it can.
status_0() { "$IMGTOOL" verify --json "$img"; }
# Whatever the Lua of the program throws that is no failure: here, a broken part of it.
status_1() { IMGTOOL_LUA_PATH=$TMP/lua "$IMGTOOL" verify --json "$img"; }
status_2() { "$IMGTOOL" verify --json --sample 5 "$img"; }
status_3() { "$IMGTOOL" verify --json "$TMP/none"; }
status_4() {
	if [ "$(id -u)" -ne 0 ]; then
		chmod 000 "$TMP/damaged.secret"
		"$IMGTOOL" verify --json "$TMP/damaged.secret"
	else
		setpriv --reuid 65534 --regid 65534 --clear-groups "$IMGTOOL" verify --json \
			"$TMP/damaged.secret"
	fi
}
status_5() { "$IMGTOOL" export-raw --json "$bad" "$TMP/five"; }
status_6() { "$IMGTOOL" info --json "$img" >/dev/full; }
status_7() { "$IMGTOOL" verify --json "$TMP/damaged"; }
status_8() { "$IMGTOOL" verify --json "$src"; }
status_9() { "$IMGTOOL" image --json "$src" "$img"; }
status_11() { flock "$TMP/busy.partial" "$IMGTOOL" image --json --resume "$src" "$TMP/busy"; }
status_12() { "$IMGTOOL" export-raw --json --on-read-error zero "$bad" "$TMP/twelve"; }
status_13() { "$IMGTOOL" run --json "$TMP/script.lua"; }
# As slow as it takes to stop it; the second signal does not wait for the chunk.
status_130() {
	local status=0
	"$IMGTOOL" image --json --max-throughput 64K --block-size 64K "$src" "$TMP/slow" &
	local pid=$!
	wait_until test -e "$TMP/slow.partial"
	kill -INT $pid
	kill -TERM $pid
	wait $pid || status=$?
	return $status
}
cp "$TMP/damaged" "$TMP/damaged.secret"
chmod 600 "$TMP/damaged.secret"
chmod 755 "$(dirname "$TMP")" "$TMP"
: >"$TMP/busy.partial"

# X(ERR_USAGE, 2, "usage", "wrong use ..."): number, word, meaning
sed -nE 's/^\tX\(ERR_[A-Z_]+, ([0-9]+), "([a-z_]+)", "([^"]*)"\).*/\1 \2 \3/p' \
	"$TOP/src/base/err.h" >"$TMP/table"
[ "$(wc -l <"$TMP/table")" -ge 15 ] && ok 'the table is read' || nok 'the table is read'
while read -r number word meaning; do
	# groff writes a hyphen as \-
	check_grep "^${meaning//-/.{1,2\}}\.$" "$TOP/docs/imgtool.1" "$number: the manual says it"
	if [ "$number" -eq 10 ]; then
		grep -rqE 'ERR_SNAPSHOT|codes\.snapshot' "$TOP/src" "$TOP/lua" --include=*.c \
			--include=*.lua && nok '10 can be reached now, and needs a run here' ||
			ok '10 is set by nothing'
		continue
	fi
	if [ "$number" -eq 4 ] && [ "$(id -u)" -eq 0 ] && ! command -v setpriv >/dev/null; then
		skip_case '4 is reached' 'no setpriv'
		continue
	fi
	if ! declare -F "status_$number" >/dev/null; then
		nok "$number ($word) is reached by a run" 'there is no function for it'
		continue
	fi
	check_status "$number" "$number ($word) is reached by a run" "status_$number"
	[ "$number" -ne 0 ] && [ "$number" -ne 6 ] || continue
	check_eq "$(events error <"$TMP/out" | tail -n 1 | jq -c '[.code, .word]')" \
		"[$number,\"$word\"]" "$number: --json has the word"
done <"$TMP/table"

done_testing
