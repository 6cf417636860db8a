# imgtool verify: what it finds, what it reads, every option.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
requires mkfs.ext4 zstd jq

src=$TMP/src.img
img=$TMP/i.zst
make_ext4 "$src"
image_quietly --chunk-size 4M --block-size 64K "$src" "$img"
frames=$(info_of "$img" .frames)

check 'a good image' "$IMGTOOL" verify "$img"
check_grep "i\.zst: OK: $frames frames checked in " "$TMP/out" 'all frames are checked'
check_grep 'verify 100\.0 %' "$TMP/err" 'progress ends at 100 %'
check '--in' "$IMGTOOL" verify --in "$img"
check '--quiet' "$IMGTOOL" verify --quiet "$img"
check_eq "$(cat "$TMP/out" "$TMP/err")" '' 'says nothing'
check '--log-file' "$IMGTOOL" verify -q --log-file "$TMP/log" "$img"
check_grep 'Z .*i\.zst: OK' "$TMP/log" 'has the result'

# ---- Samples ----
check '--quick' "$IMGTOOL" verify --quick "$img"
check_grep "OK: [0-9]+ of $frames frames \([0-9.]+ %, seed [0-9]+\)" "$TMP/out" \
	'says which fraction'
quick() { "$IMGTOOL" verify --json --quick "$@" "$img" | events verify; }
ten=$(quick --seed 7 | jq .blocks_checked)
check_eq "$ten" "$(quick --seed 7 --sample 10 | jq .blocks_checked)" '10 % is the default'
[ "$ten" -lt "$frames" ] && [ "$ten" -ge 16 ] && ok 'a sample has blocks of every chunk' ||
	nok 'a sample has blocks of every chunk' "$ten of $frames in 16 chunks"
half=$(quick --seed 7 --sample 50 | jq .blocks_checked)
[ "$half" -gt $((2 * ten)) ] && ok '--sample reads more' ||
	nok '--sample reads more' "$half and $ten"
check_eq "$(quick --sample 100 | jq .blocks_checked)" "$frames" '--sample 100 reads all'
check_eq "$(quick --seed 7 | jq .read_bytes)" "$(quick --seed 7 | jq .read_bytes)" \
	'the same --seed takes the same blocks'
differing=$(for seed in 1 2 3 4 5 6 7 8; do quick --seed $seed | jq .read_bytes; done |
	sort -u | wc -l)
[ "$differing" -gt 1 ] && ok 'another --seed takes others' || nok 'another --seed takes others'
check_eq "$("$IMGTOOL" verify --json --quick "$img" | events progress | tail -n 1 | jq .percent)" \
	100 'progress of a sample ends at 100 %'
check_status 2 '--sample without --quick' "$IMGTOOL" verify --sample 5 "$img"
check_status 2 '--seed without --quick' "$IMGTOOL" verify --seed 5 "$img"
check_status 2 'a sample of nothing' "$IMGTOOL" verify --quick --sample 0 "$img"
check '--dry-run' "$IMGTOOL" verify --dry-run --quick --sample 5 "$img"
check_grep '^would verify 5 % of ' "$TMP/out" 'only says so'

# ---- Speed ----
"$IMGTOOL" verify --json --parallel 3 --pipeline-depth 7 --max-throughput 500M "$img" >"$TMP/events"
check_eq "$(last_progress "$TMP/events" '[.workers, .depth, .max_bytes_per_s]')" \
	'[3,7,524288000]' '--parallel, --pipeline-depth and --max-throughput are in force'
start=$(date +%s%N)
check '--max-throughput' "$IMGTOOL" verify -q --max-throughput 10M --pipeline-depth 4 "$img"
took=$((($(date +%s%N) - start) / 1000000))
[ $took -gt 700 ] && ok "slows down ($took ms)" || nok 'slows down' "$took ms"

# ---- Damage ----
# A byte of a block in the middle of each of three chunks.
cp "$img" "$TMP/bad.zst"
offsets=$("$IMGTOOL" repl "$img" <<'LUA'
count = 0
for n = 0, img:facts().chunks - 1 do
  local found
  for _, x in ipairs(img:chunk(n).entries) do if x.kind == 'data' then found = x end end
  if found and count < 3 then
    print(found.file_offset + found.stored // 2, found.offset)
    count = count + 1
  end
end
LUA
)
while read -r file_offset _; do flip "$TMP/bad.zst" "$file_offset"; done <<<"$offsets"
check_status 7 'a damaged image' "$IMGTOOL" verify "$TMP/bad.zst"
check_grep 'bad\.zst: DAMAGED: ' "$TMP/out" 'the verdict'
check_eq "$(grep -c '^  at ' "$TMP/out")" 3 'every damaged block is listed'
while read -r _ source_offset; do
	check_grep "^  at $source_offset, 65536 bytes: " "$TMP/out" "by its place, $source_offset"
done <<<"$offsets"
check_grep "bad\.zst is damaged: 3 of $frames blocks checked do not verify" "$TMP/err" \
	'all are counted'
check_status 7 '--json' "$IMGTOOL" verify --json "$TMP/bad.zst"
counts=$(events verify <"$TMP/out" | jq -c '[.damaged_count, .damaged_bytes, (.damaged | length)]')
check_eq "$counts" '[3,196608,3]' 'has them'
check_eq "$(events error <"$TMP/out" | jq -c '[.code, .word]')" '[7,"damaged"]' 'and the error'
check_fails 'zstd sees the damage, too' zstd -tq "$TMP/bad.zst"
check_status 7 '--quick --sample 100' "$IMGTOOL" verify --quick --sample 100 "$TMP/bad.zst"

# Every place of a small image: no byte can change unseen.
truncate -s 1M "$TMP/small"
printf 'content' | dd of="$TMP/small" bs=1 seek=100000 conv=notrunc status=none
image_quietly "$TMP/small" "$TMP/small.zst"
size=$(stat -c %s "$TMP/small.zst")
missed=
for offset in $(seq 0 $((size / 40)) $((size - 1))); do
	cp "$TMP/small.zst" "$TMP/flipped.zst"
	flip "$TMP/flipped.zst" "$offset"
	status=0
	"$IMGTOOL" verify -q "$TMP/flipped.zst" 2>/dev/null || status=$?
	case $status in 7 | 8) ;; *) missed+=" $offset:$status" ;; esac
done
check_eq "$missed" '' 'no byte of an image can change unseen'

# ---- What is no image ----
head -c 3000000 "$img" >"$TMP/cut.zst"
check_status 7 'an image that is cut' "$IMGTOOL" verify "$TMP/cut.zst"
check_grep 'incomplete' "$TMP/err" 'is told as incomplete'
check_status 8 'a file that is no image' "$IMGTOOL" verify "$src"
zstd -q "$TMP/tree/program" -o "$TMP/plain.zst"
check_status 8 'a plain zstd file' "$IMGTOOL" verify "$TMP/plain.zst"
: >"$TMP/empty"
check_status 8 'an empty file' "$IMGTOOL" verify "$TMP/empty"
check_status 3 'no file' "$IMGTOOL" verify "$TMP/none"
check_status 2 'a directory' "$IMGTOOL" verify "$TMP"
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
	chmod 755 "$TMP"
	chmod 600 "$img"
	check_status 4 'an image of somebody else' setpriv --reuid 65534 --regid 65534 \
		--clear-groups "$IMGTOOL" verify "$img"
	check_grep 'Permission denied' "$TMP/err" 'why'
elif [ "$(id -u)" -ne 0 ]; then
	chmod 000 "$img"
	check_status 4 'an image that may not be read' "$IMGTOOL" verify "$img"
	check_grep 'Permission denied' "$TMP/err" 'why'
fi

done_testing
