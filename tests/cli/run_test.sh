# imgtool run: job scripts, their words, their mistakes, their exit statuses.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
requires mkfs.ext4 zstd jq lua5.4

src=$TMP/src.img
make_ext4 "$src"
mkdir "$TMP/dir"

# script NAME < TEXT
script() { cat >"$TMP/$1.lua"; }

# ---- The example ----
check 'examples/weekly.lua' "$IMGTOOL" run "$TOP/examples/weekly.lua" "$src" "$TMP/dir"
made=$(ls "$TMP"/dir/src-20??-??-??.img.zst)
check 'makes an image that zstd takes' zstd -tq "$made"
check_status 9 'and replaces none' "$IMGTOOL" run "$TOP/examples/weekly.lua" "$src" "$TMP/dir"
check_grep 'weekly\.lua:[0-9]+: .*exists' "$TMP/err" 'the message has file and line'
check 'with a name' "$IMGTOOL" run "$TOP/examples/weekly.lua" "$src" "$TMP/dir" other
check_grep \
	"^[0-9]+ frames verified, root hash $(info_of "$(ls "$TMP"/dir/other-*.zst)" .root)\$" \
	"$TMP/out" 'its report'
check_grep '^  .*/other-.*\.zst: OK: [0-9]+ frames checked' "$TMP/out" \
	'verified by the job that made it, before it had its name'
check_status 13 'without arguments' "$IMGTOOL" run "$TOP/examples/weekly.lua"
check_eq "$(cat "$TMP/err")" 'imgtool: usage: weekly.lua SOURCE DIRECTORY [NAME]' \
	'it says its usage'
rm "$TMP"/dir/*
check '--dry-run' "$IMGTOOL" run --dry-run "$TOP/examples/weekly.lua" "$src" "$TMP/dir"
check_grep '^would image ' "$TMP/out" 'says what the jobs would do'
check_eq "$(ls -A "$TMP/dir")" '' 'and writes nothing'
check 'examples/gentle.lua' "$IMGTOOL" run --json "$TOP/examples/gentle.lua" "$src" \
	"$TMP/gentle.zst"
check 'its image verifies' "$IMGTOOL" verify -q "$TMP/gentle.zst"

# An image among what the script says would be none.
script pipe <<'LUA'
job { source = ..., target = '-' }
LUA
check_status 2 "target = '-'" "$IMGTOOL" run "$TMP/pipe.lua" "$src"
check_grep 'only imgtool image SOURCE - writes an image to stdout' "$TMP/err" 'is refused'
check_eq "$(cat "$TMP/out")" '' 'before a byte of it'

# ---- Words ----
script words <<'LUA'
local a, b = ...
assert(a == 'one' and b == '--two' and args[1] == a and args[2] == b and #args == 2)
assert(KiB == 1024 and MiB == 1024 * KiB and GiB == 1024 * MiB and TiB == 1024 * GiB)
assert(second == 1 and minute == 60 and hour == 3600 and day == 86400 and week == 7 * day)
assert(date('%Y') == date():sub(1, 4) and #date() == 10)
assert(('x'):rep(3) == 'xxx' and table.concat({ 1, 2 }, ',') == '1,2' and math.max(1, 2) == 2)
assert(utf8.len('ä') == 1 and select('#', 1, 2) == 2 and tostring(1) == '1')
args[1] = 'changed'
x = 1 -- globals are the script's own
print('well', x, nil)
LUA
check 'the words of a script' "$IMGTOOL" run "$TMP/words.lua" one -- --two
check_eq "$(cat "$TMP/out")" "$(printf 'well\t1\tnil')" 'print is the answer'
check '--json' "$IMGTOOL" run --json "$TMP/words.lua" one -- --two
check_eq "$(jq -c . "$TMP/out")" '{"event":"print","text":"well\t1\tnil"}' 'print is an object'
check '--quiet' "$IMGTOOL" run --quiet "$TMP/words.lua" one -- --two
check_eq "$(cat "$TMP/out")" '' 'print is not shown'

script jobs <<'LUA'
local src, dir = ...
local one = job { source = src, target = dir .. '/', name = 'one', chunk_size = 2 * MiB,
  workers = 1 }
assert(one.code == 0 and one.image == dir .. '/one.img.zst' and one.source_bytes == 64 * MiB)
local two = job { action = 'verify', source = one.image, quick = true, sample = 50, seed = 3 }
assert(two.damaged_count == 0 and two.blocks_checked > 0 and two.blocks_checked < two.blocks)
local three = job { action = 'restore', source = one.image, target = dir .. '/raw' }
assert(three.data_bytes == one.data_bytes and three.length == 64 * MiB)
local four = job { action = 'export', source = one.image, target = dir .. '/part', offset = 1024,
  length = 4096 }
assert(four.length == 4096)
LUA
check 'jobs of each action, in order' "$IMGTOOL" run --log-file "$TMP/log" "$TMP/jobs.lua" "$src" \
	"$TMP/dir"
zstd -dcq "$TMP/dir/one.img.zst" | cmp - "$TMP/dir/raw" && ok 'do what they say' ||
	nok 'do what they say'
check_eq "$(od -An -tx1 -j 56 -N 2 "$TMP/dir/part" | tr -d ' ')" 53ef 'a part is the right part'
check_eq "$(grep -cE 'Z (image|verify|restore|export) 100' "$TMP/log")" 4 \
	'--log-file has all of them'

# ---- Failures ----
# fails STATUS PATTERN DESC < TEXT
fails() {
	script failing
	check_status "$1" "$3" "$IMGTOOL" run "$TMP/failing.lua" "$src" "$TMP/dir"
	check_grep "$2" "$TMP/err" "$3: the message"
}
fails 3 'failing\.lua:2: .*/none does not exist' \
	'a job that fails ends the script with its exit status' <<'LUA'

job { source = '/none', target = '/none' }
print 'not reached'
LUA
check_eq "$(cat "$TMP/out")" '' 'at once'
fails 2 "failing\.lua:1: job\.sorce: no such field .*did you mean 'source'\?" 'an unknown field' \
	<<'LUA'
job { sorce = 'x' }
LUA
fails 3 'none does not exist' 'job.try goes on, but the run has failed' <<'LUA'
local result, message, word = job.try { source = '/none', target = '/none' }
assert(result == nil and message == '/none does not exist' and word == 'not_found')
print 'reached'
LUA
check_eq "$(cat "$TMP/out")" reached 'after the rest was done'
fails 13 "failing\.lua:2: unexpected symbol near '='" 'a script that is no Lua' <<'LUA'
local x
x = = 1
LUA
fails 13 'failing\.lua:1: my mistake' 'an error' <<'LUA'
error 'my mistake'
LUA
fails 13 'failing\.lua:2: attempt to index a nil value' 'a mistake' <<'LUA'
local t
print(t.x)
LUA
fails 13 'failing\.lua:1: more than [0-9]+ instructions' 'an endless loop' <<'LUA'
while true do end
LUA
fails 13 'failing\.lua:1: job: a table is expected' 'no table' <<'LUA'
job('x')
LUA
for name in io os require load loadfile dofile debug package setmetatable rawget rawset pcall \
	coroutine collectgarbage _G getmetatable; do
	echo "print($name)" | fails 13 "'$name' is not known here" "no $name"
done
echo 'print "ran"' >"$TMP/plain.lua"
lua5.4 - "$TMP/plain.lua" >"$TMP/bytecode.lua" <<<'io.write(string.dump(loadfile(arg[1])))'
check_status 13 'compiled Lua is refused' "$IMGTOOL" run "$TMP/bytecode.lua"
check_grep 'attempt to load a binary chunk' "$TMP/err" 'why'
check_status 3 'no script' "$IMGTOOL" run "$TMP/none.lua"
check_grep 'none\.lua: No such file' "$TMP/err" 'which one'
check_status 2 'a directory' "$IMGTOOL" run "$TMP/dir"
check_status 2 'nothing' "$IMGTOOL" run
check_status 13 '--verbose' "$IMGTOOL" run --verbose "$TMP/failing.lua"
check_grep 'stack traceback' "$TMP/err" 'adds the trace'
echo 'error "x"' >"$TMP/failing.lua"
check_status 13 '--json' "$IMGTOOL" run --json "$TMP/failing.lua"
check_eq "$(events error <"$TMP/out" | jq -c '[.code, .word]')" '[13,"script"]' \
	'the error is an object'

# ---- Strategies ----
script tuned <<'LUA'
local src, target = ...
local asked = 0
local result = job { source = src, target = target, workers = 1, pipeline_depth = 4,
  max_throughput = '8M',
  tune = function(now)
    asked = asked + 1
    assert(now.state == 'running' and now.total_bytes > 0)
    if asked == 1 then return { workers = 3, depth = 8, max_bytes_per_s = 0 } end
  end }
assert(asked >= 1 and result.workers == 3 and result.depth == 8)
LUA
check 'a strategy changes settings while the job runs' "$IMGTOOL" run "$TMP/tuned.lua" "$src" \
	"$TMP/tuned.zst"
fails 13 "'level' is no live setting" 'a strategy that wants what can not be' <<'LUA'
local src, dir = ...
job { source = src, target = dir .. '/t.zst', max_throughput = '8M',
  tune = function() return { level = 9 } end }
LUA
check_grep 't\.zst\.partial is incomplete, --resume goes on with it' "$TMP/err" \
	'the image can be resumed'
check_fails 'and has no name' test -e "$TMP/dir/t.zst"
rm "$TMP"/dir/t.zst*
fails 13 'failing\.lua:3: my strategy' 'a strategy that fails' <<'LUA'
local src, dir = ...
job { source = src, target = dir .. '/t.zst', max_throughput = '8M', tune = function()
  error 'my strategy' end }
LUA

rm -f "$TMP"/dir/t.zst*
SECONDS=0
fails 13 'failing\.lua:3: more than [0-9]+ instructions for one answer' 'a strategy without end' \
	<<'LUA'
local src, dir = ...
job { source = src, target = dir .. '/t.zst', max_throughput = '8M', tune = function()
  while true do end end }
LUA
check_grep 't\.zst\.partial is incomplete, --resume goes on' "$TMP/err" 'and what is left'
[ $SECONDS -lt 30 ] && ok 'ends soon' || nok 'ends soon' "$SECONDS s"

image_quietly "$src" "$TMP/whole.zst"
for action in verify restore export; do
	target="target = dir .. '/tuned', force = true,"
	[ $action = verify ] && target=
	fails 13 'asked for' "$action asks its strategy" <<LUA
local src, dir = ...
job { action = '$action', source = '$TMP/whole.zst', $target
  max_throughput = '6M', pipeline_depth = 4, tune = function() error 'asked for' end }
LUA
	[ $action = verify ] || check_grep 'asked for; .*/tuned\.partial is incomplete' "$TMP/err" \
		'and says what is left'
done
echo "job { action = 'clone', source = '$src', target = '$TMP/dir/cloned',
  max_throughput = '6M', pipeline_depth = 4, tune = function() error 'asked for' end }" |
	fails 13 'asked for; .*/cloned\.partial is incomplete' 'clone asks its strategy'

# --auto-tune: a run of some seconds, in which it tries another setting.
"$IMGTOOL" image --json --auto-tune --parallel 1 --pipeline-depth 8 --max-throughput 5M "$src" \
	"$TMP/auto.zst" >"$TMP/events"
tried=$(events progress <"$TMP/events" | jq -c '[.workers, .depth]' | uniq | wc -l)
[ "$tried" -gt 1 ] && ok "--auto-tune tries settings ($tried)" ||
	nok '--auto-tune tries settings' "$tried of them"

# ---- A signal ----
script slow <<'LUA'
local src, dir = ...
job { source = src, target = dir .. '/slow.zst', max_throughput = '6M', pipeline_depth = 4 }
LUA
"$IMGTOOL" run "$TMP/slow.lua" "$src" "$TMP/dir" >"$TMP/run.out" 2>"$TMP/run.err" &
pid=$!
wait_until larger "$TMP/dir/slow.zst.partial" 1000000
kill -INT $pid
status=0
wait $pid || status=$?
check_eq "$status" 130 'a signal ends the script with 130'

done_testing
