# imgtool repair: what is good of a damaged or incomplete image, and a list of what is not.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
requires mkfs.ext4 zstd jq

src=$TMP/src.img
img=$TMP/whole.zst
make_tree "$TMP/tree"
truncate -s 64M "$src"
mkfs.ext4 -q -F -d "$TMP/tree" "$src"
"$IMGTOOL" image -q --chunk-size 4M "$src" "$img"
"$IMGTOOL" restore -q "$img" "$TMP/good.raw"
size=$(stat -c %s "$img")

# flip FILE OFFSET: one bit of a byte
flip() {
	local byte
	byte=$(od -An -tu1 -j "$2" -N 1 "$1")
	printf "\\x$(printf %02x $((byte ^ 16)))" |
		dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# ---- The end is lost: nothing is missing ----
head -c $((size - 500)) "$img" >"$TMP/cut.zst"
check_status 7 'verify refuses what lost its end' "$IMGTOOL" verify -q "$TMP/cut.zst"
check 'repair makes it whole' "$IMGTOOL" repair "$TMP/cut.zst" "$TMP/new.zst"
check_grep 'nothing is lost' "$TMP/out" 'and says that nothing is lost'
check 'byte for byte' cmp "$img" "$TMP/new.zst"

# ---- --out, --in, --force, --json, --quiet, --log-file ----
check_status 9 'R8: repair replaces no file' \
	"$IMGTOOL" repair --in "$TMP/cut.zst" --out "$TMP/new.zst"
check 'but with --force' "$IMGTOOL" repair --force -q --in "$TMP/cut.zst" --out "$TMP/new.zst"
check_eq "$(wc -c <"$TMP/out")" 0 '--quiet says nothing'
check '--json' "$IMGTOOL" repair --force --json "$TMP/cut.zst" "$TMP/new.zst"
fields='[.lost_bytes, .index_lost, (.losses | length)] | join(" ")'
check_eq "$(jq -r "select(.event == \"repair\") | $fields" "$TMP/out")" \
	'0 true 0' 'is an object'
check_status 9 'the damaged image is never its own target' \
	"$IMGTOOL" repair --force "$TMP/cut.zst" "$TMP/cut.zst"

# ---- A damaged block is lost alone ----
cp "$img" "$TMP/bad.zst"
read -r off len at frame < <("$IMGTOOL" repl "$img" 2>/dev/null <<'LUA' | grep -E '^[0-9 ]+$'
entries = {}
for n = 0, 9 do for _, e in ipairs(img:chunk(n).entries) do entries[#entries + 1] = e end end
for _, e in ipairs(entries) do if e.kind == 'data' and e.stored > 1000 then found = e end end
print(('%d %d %d %d'):format(found.offset, found.length, found.file_offset + found.stored // 2,
  found.file_offset))
LUA
)
flip "$TMP/bad.zst" "$at"
check_status 7 'a damaged block: exit status 7' \
	"$IMGTOOL" repair --log-file "$TMP/log" "$TMP/bad.zst" "$TMP/saved.zst"
check_grep "at $off, $len bytes" "$TMP/out" 'and its place'
check_grep 'are lost, and recorded as bad' "$TMP/log" '--log-file has it'
check_status 7 '--json of it' "$IMGTOOL" repair --json --force "$TMP/bad.zst" "$TMP/saved.zst"
fields='[.code, .lost_bytes, .lost_ranges, .bad_bytes, .bad_unknown, .index_lost]'
check_eq "$(events repair <"$TMP/out" | jq -c "$fields")" "[7,$len,1,$len,0,false]" \
	'says how much is lost'
check_eq "$(events repair <"$TMP/out" | jq -c '[.losses[] | [.offset, .length, .file_offset]]')" \
	"[[$off,$len,$frame]]" 'and where'
events repair <"$TMP/out" | jq -r '.losses[0].why' >"$TMP/why"
check_grep '^block frame: .' "$TMP/why" 'and why'
check 'the new image verifies' "$IMGTOOL" verify -q "$TMP/saved.zst"
check 'stock zstd agrees' zstd -q -t "$TMP/saved.zst"
check_status 5 'the lost block is an error, not zeros' \
	"$IMGTOOL" export-range "$TMP/saved.zst" --offset "$off" --length 4096
"$IMGTOOL" restore -q --on-read-error zero "$TMP/saved.zst" "$TMP/saved.raw" 2>/dev/null || true
cmp -n "$off" "$TMP/good.raw" "$TMP/saved.raw" &&
	cmp -i $((off + len)) "$TMP/good.raw" "$TMP/saved.raw" &&
	ok 'all else is there' || nok 'all else is there'

# ---- --dry-run ----
check_status 7 '--dry-run of it: the same exit status' \
	"$IMGTOOL" repair --dry-run "$TMP/bad.zst" "$TMP/dry.zst"
check_grep "^would make .*dry\.zst of .*bad\.zst" "$TMP/out" 'says what it would do'
check_grep "at $off, $len bytes" "$TMP/out" 'and what would be lost'
check_fails 'and makes nothing' test -e "$TMP/dry.zst" -o -e "$TMP/dry.zst.partial"
check 'of one that lost only its end' "$IMGTOOL" repair --json --dry-run "$TMP/cut.zst" \
	"$TMP/dry.zst"
check_eq "$(jq -c 'select(.event == "repair") | [.dry_run, .lost_bytes]' "$TMP/out")" '[true,0]' \
	'nothing would be lost'
check_status 9 'it refuses what a repair would' \
	"$IMGTOOL" repair --dry-run "$TMP/cut.zst" "$TMP/new.zst"

# ---- Signals ----
# Reads that take 20 ms each: some seconds in which it can be stopped.
slow_repair() { # ARGUMENTS: sets PID to imgtool's
	ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0 strace -f -o /dev/null \
		-e trace=pread64 -e inject=pread64:delay_enter=20000 "$IMGTOOL" repair "$@" \
		2>"$TMP/slow.err" &
	STRACE=$!
	wait_until test -s "$TMP/slow.zst.partial"
	PID=$(pgrep -P $STRACE)
}
if command -v strace >/dev/null && strace -o /dev/null true 2>/dev/null; then
	for signal in INT TERM; do
		slow_repair "$TMP/cut.zst" "$TMP/slow.zst"
		kill -$signal "$PID"
		status=0
		wait $STRACE || status=$?
		check_eq "$status" 130 "SIG$signal ends a repair"
		check_grep '^imgtool: repair of .*cut\.zst cancelled; .*slow\.zst was not made$' \
			"$TMP/slow.err" 'and says so'
		check_fails 'R8: it leaves nothing' test -e "$TMP/slow.zst" -o \
			-e "$TMP/slow.zst.partial"
	done
else
	skip_case 'a signal ends a repair' 'no strace'
fi

# ---- HEAD is lost ----
cp "$img" "$TMP/headless.zst"
dd if=/dev/urandom of="$TMP/headless.zst" bs=4096 count=1 conv=notrunc status=none
check_status 8 'without HEAD it is no image' "$IMGTOOL" verify -q "$TMP/headless.zst"
check 'repair finds the copy' "$IMGTOOL" repair "$TMP/headless.zst" "$TMP/headed.zst"
check 'byte for byte' cmp "$img" "$TMP/headed.zst"

# ---- What is no image ----
check_status 8 'no image at all' "$IMGTOOL" repair "$src" "$TMP/none.zst"
check_fails 'leaves no file of that name' test -e "$TMP/none.zst"
check_status 3 'a file that does not exist' "$IMGTOOL" repair "$TMP/nothing" "$TMP/none2.zst"

done_testing
