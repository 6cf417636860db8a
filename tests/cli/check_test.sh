# imgtool check, disks in job scripts, the examples that use them, and what dry runs expect.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
. "$TESTS_DIR/cli/disk_fixture.sh"
requires mkfs.ext4 mkfs.fat mcopy mkntfs ntfscp mkswap fdisk zstd jq

# script NAME < TEXT
script() { cat >"$TMP/$1.lua"; }

# state DIR: all that is in it, times too
state() {
	(cd "$1" && find . -printf '%p %y %s %T@\n' | sort && find . -type f -exec sha256sum {} + |
		sort) | sha256sum
}

# ---- A script that is good ----
mkfifo "$TMP/fifo" # who opens it waits for ever
script good <<'LUA'
local src, dir = ...
local one = job { source = src, target = dir .. '/', name = 'one',
  tune = function() error 'no' end }
assert(one.image == dir .. '/one.img.zst' and one.root == '' and one.file_bytes == 0)
assert(one.code == 0 and one.source == src)
local two = job.try { action = 'verify', source = one.image }
assert(two.blocks == 0 and #two.damaged == 0)
local found = disk { path = src }
assert(found.path == src and found.serial == '' and found.size_bytes == 0)
for _, other in ipairs(disks { removable = false }) do
  assert(other.path ~= found.path and #other.partitions == 0)
  job { action = 'backup-disk', device = other.path, set_dir = dir }
end
print 'not to be seen'
LUA
check 'a good script' timeout 20 "$IMGTOOL" check "$TMP/good.lua" "$TMP/fifo" "$TMP/none"
check_eq "$(cat "$TMP/out")" "$TMP/good.lua: OK, 3 jobs" \
	'is all that is said, and no device is opened'
check_fails 'nothing is made' test -e "$TMP/none"
check '--json' "$IMGTOOL" check --json "$TMP/good.lua" "$TMP/fifo" "$TMP/none"
check_eq "$(jq -c '[.event, .jobs]' "$TMP/out")" '["check",3]' 'an object'
check '--quiet, --log-file' "$IMGTOOL" check -q --log-file "$TMP/log" "$TMP/good.lua" a b
check_eq "$(cat "$TMP/out" "$TMP/err")" '' 'says nothing'
check_grep 'good\.lua: OK, 3 jobs' "$TMP/log" 'but in the log'

# ---- Mistakes ----
script bad <<'LUA'
local one = job { sorce = 'x', levl = 3, target = 'y', hash = 'sha25', block_size = '3K' }
for i = 1, 2 do
  job.try { action = 'verify', source = one.image, quick = 'yes' }
end
disk { seriel = 'x' }
disks { holds = 'home' }
disk {}
return job { action = 'backup-disc' }
LUA
check_status 2 'mistakes are wrong use' "$IMGTOOL" check "$TMP/bad.lua"
check_eq "$(cat "$TMP/out")" '' 'the answer is not there'
# says LINE TEXT
says() { check_grep "^imgtool: $TMP/bad\.lua:$1: $2\$|^$TMP/bad\.lua:$1: $2\$" "$TMP/err" "$2"; }
says 1 "job\.sorce: no such field of the action 'image', did you mean 'source'\?"
says 1 "job\.levl: .*, did you mean 'level'\?"
says 1 'job\.source: is missing'
says 1 "job\.hash: .*, did you mean 'sha256'\?"
says 1 'job\.block_size: .*'
says 3 'job\.quick: true or false is expected'
says 5 "disk\.seriel: .*, did you mean 'serial'\?"
says 6 "disk\.holds: 'efi' or the path of a mount is expected, not 'home'"
says 7 'disk: which one\? .*'
check_grep "bad\.lua: job\.action: 'backup-disc' .*, did you mean 'backup-disk'" "$TMP/err" \
	'a tail call has no line'
check_grep 'bad\.lua: 11 mistakes$' "$TMP/err" 'and how many there are'
check_status 2 '--quiet' "$IMGTOOL" check --quiet --log-file "$TMP/log" "$TMP/bad.lua"
check_grep 'job\.levl' "$TMP/err" 'keeps them'
check_grep 'job\.levl' "$TMP/log" '--log-file has them'
check_status 2 '--json' "$IMGTOOL" check --json "$TMP/bad.lua"
check_eq "$(events mistake <"$TMP/out" | jq -sc '[.[0:3][] | [.line, .field, .nearest]]')" \
	'[[1,"levl","level"],[1,"sorce","source"],[1,"source",null]]' 'an event each'
check_eq "$(events mistake <"$TMP/out" | wc -l)" 11 'all of them'
check_eq "$(events error <"$TMP/out" | jq .code)" 2 'and the verdict'
script broken <<'LUA'
job { sorce = 'x' }
error 'my mistake'
LUA
check_status 13 'a script that fails' "$IMGTOOL" check "$TMP/broken.lua"
check_grep 'broken\.lua:1: job\.sorce' "$TMP/err" 'after its mistakes'
check_grep 'broken\.lua:2: my mistake' "$TMP/err" 'is told with its line'
echo 'x = = 1' >"$TMP/broken.lua"
check_status 13 'a script that is no Lua' "$IMGTOOL" check "$TMP/broken.lua"
echo 'while true do end' >"$TMP/broken.lua"
check_status 13 'an endless loop' "$IMGTOOL" check "$TMP/broken.lua"
echo 'job(5)' >"$TMP/broken.lua"
check_status 13 'no table' "$IMGTOOL" check "$TMP/broken.lua"
echo 'io.open("x")' >"$TMP/broken.lua"
check_status 13 'the same sandbox' "$IMGTOOL" check "$TMP/broken.lua"
check_status 3 'no script' "$IMGTOOL" check "$TMP/none.lua"
check_status 2 'nothing' "$IMGTOOL" check

# ---- Disks ----
disk=$TMP/disk.img
make_disk "$disk" gpt 512
id=$(dump_of "$disk" 512 | sed -n 's/^label-id: //p')
script find <<'LUA'
local path, id = ...
local found = disk { path = path, guid = id, holds = nil, label = 'root fs' }
assert(found.path == path and found.table == 'gpt' and found.kind == 'file')
assert(found.disk_id:lower() == id:lower() and found.size_bytes == 96 * MiB)
assert(disk { path = path, label = 'esp' }.path == path and disk { path = path, holds = 'efi' })
local root = found.partitions[1]
assert(root.number == 1 and root.fs_type == 'ext4' and root.fs_label == 'Root')
assert(root.start_bytes == MiB and root.size_bytes == 16 * MiB and root.name == 'root fs')
assert(disk { path = path, guid = root.fs_uuid } and disk { path = path, guid = root.guid })
assert(#disks { path = path, label = 'Nobody' } == 0 and #disks { path = path } == 1)
for _, any in ipairs(disks()) do assert(any.path:sub(1, 5) == '/dev/' and any.partitions) end
LUA
check 'a disk in a file' "$IMGTOOL" run "$TMP/find.lua" "$disk" "$id"
# fails STATUS PATTERN DESC < TEXT
fails() {
	script failing
	check_status "$1" "$3" "$IMGTOOL" run "$TMP/failing.lua" "$disk"
	check_grep "$2" "$TMP/err" "$3: the message"
}
fails 3 "failing\.lua:2: no disk has label = 'x', path = '.*'; there are: .*disk\.img \(96" \
	'no disk' <<'LUA'
local path = ...
disk { path = path, label = 'x' }
LUA
fails 3 "failing\.lua:1: no disk has serial = 'Nobody-has-it'" 'no disk of the machine' <<'LUA'
disk { serial = 'Nobody-has-it' }
LUA
fails 2 "failing\.lua:1: disk\.seriel: .*, did you mean 'serial'\?" 'what is no criterion' <<'LUA'
disk { seriel = 'x' }
LUA
fails 2 'failing\.lua:1: disk: which one\?' 'all disks for one' <<'LUA'
disk {}
LUA

# ---- The examples ----
for example in weekly gentle restore-plan whole-machine; do
	check "check examples/$example.lua" "$IMGTOOL" check "$TOP/examples/$example.lua" a b:path=c
done
check_status 13 'without arguments' "$IMGTOOL" check "$TOP/examples/whole-machine.lua"
check_grep 'usage: whole-machine\.lua DIRECTORY' "$TMP/err" 'it says its usage'
check_status 13 'nonsense for a role' "$IMGTOOL" check "$TOP/examples/whole-machine.lua" a b
mkdir "$TMP/backup"
make_ext4 "$TMP/src.img"
machine=("$TOP/examples/whole-machine.lua" "$TMP/backup" "system:path=$disk"
	"data:path=$TMP/src.img")
before=$(state "$TMP/backup")
check 'examples/whole-machine.lua --dry-run' "$IMGTOOL" run --dry-run "${machine[@]}"
check_eq "$(grep -c '^  about .* in about .*, by a sample of ' "$TMP/out")" 2 'estimates each'
check_eq "$(state "$TMP/backup")" "$before" 'and writes nothing'
check 'examples/whole-machine.lua' "$IMGTOOL" run "${machine[@]}"
day=$(cd "$TMP/backup" && echo system-*)
day=${day#system-}
check_grep "^system: $TMP/backup/system-$day\$" "$TMP/out" 'says where'
for name in system data; do
	check "the set $name is good" "$IMGTOOL" verify-set -q "$TMP/backup/$name-$day"
done
rebuild "$TMP/backup/system-$day" "$TMP/rebuilt.img"
same_bytes "$disk" "$TMP/rebuilt.img" 0 $((1 << 20)) 'what lies before the partitions is the same'
check_status 9 'again on the same day' "$IMGTOOL" run "${machine[@]}"
check_eq "$(grep -c 'FAILED: .*holds a set' "$TMP/out")" 2 'both were tried'
check_status 13 'one disk for two roles' "$IMGTOOL" run "${machine[@]}" "more:path=$disk"
check_grep "'system' and 'more' are the same disk" "$TMP/err" 'why'
check_status 3 'examples/restore-plan.lua, no such disk' "$IMGTOOL" run \
	"$TOP/examples/restore-plan.lua" "$TMP/backup/system-$day" Nobody-has-it restore
check_status 2 'examples/restore-plan.lua, a file' "$IMGTOOL" run \
	"$TOP/examples/restore-plan.lua" "$TMP/backup/system-$day" "path=$disk" restore

# ---- Estimates ----
# within A B DESC: A and B differ by a factor of two at most
within() {
	if [ "$1" -le $(($2 * 2)) ] && [ "$2" -le $(($1 * 2)) ]; then ok "$3 ($1, $2)"; else
		nok "$3" "$1 and $2"
	fi
}
mkdir "$TMP/e"
src=$TMP/src.img
# estimated ARGS...: what the dry run says in JSON, of $TMP/e which stays as it is
estimated() {
	local before
	before=$(state "$TMP/e")
	check "$1 --dry-run" "$IMGTOOL" "$@" --dry-run --json
	check_eq "$(state "$TMP/e")" "$before" 'writes nothing'
	check_eq "$(events "$EVENT" <"$TMP/out" |
		jq -c '[.estimated_seconds > 0, .sampled_bytes > 0]')" '[true,true]' \
		'it has time and sample'
	estimate=$(events "$EVENT" <"$TMP/out" | jq .estimated_bytes)
}
EVENT=image estimated image "$src" "$TMP/e/a.zst"
check_eq "$(events image <"$TMP/out" | jq '.sampled_bytes == .read_bytes')" true \
	'of little, the sample is all'
image_quietly "$src" "$TMP/e/a.zst"
within "$estimate" "$(stat -c %s "$TMP/e/a.zst")" 'image: the size of the image'
# Larger than all windows of the sample, and not the same everywhere.
{
	head -c 100M /dev/urandom
	yes 'a line of text that packs well' | head -c 100M || true
	head -c 100M /dev/zero
} >"$TMP/big.img"
EVENT=image estimated image "$TMP/big.img" "$TMP/e/big.zst"
[ "$(events image <"$TMP/out" | jq .sampled_bytes)" -lt 200000000 ] && ok 'of much, it is a part' ||
	nok 'of much, it is a part' "$(cat "$TMP/out")"
image_quietly "$TMP/big.img" "$TMP/e/big.zst"
within "$estimate" "$(stat -c %s "$TMP/e/big.zst")" 'image: of much'
rm "$TMP/big.img" "$TMP/e/big.zst"
EVENT=image estimated image "$src" "$TMP/e/b.zst" --max-throughput 4M
check_eq "$(events image <"$TMP/out" | jq '.estimated_seconds >= 3')" true \
	'--max-throughput is in the time'
# A sample that takes its two seconds, and a signal once its threads are there.
"$IMGTOOL" image --dry-run --max-throughput 1M "$src" "$TMP/e/b.zst" >"$TMP/run.out" \
	2>"$TMP/run.err" &
pid=$!
has_threads() { [ "$(find "/proc/$pid/task" -maxdepth 1 | wc -l)" -gt 2 ]; }
wait_until has_threads
kill -INT $pid
status=0
wait $pid || status=$?
check_eq "$status" 130 'a signal ends a dry run with 130'
check_grep 'cancelled while it was estimated' "$TMP/run.err" 'which is said'
EVENT=backup-disk estimated backup-disk "$disk" "$TMP/e/set"
"$IMGTOOL" backup-disk -q "$disk" "$TMP/e/set"
within "$estimate" "$(cat "$TMP/e/set"/*.zst | wc -c)" 'backup-disk: the size of the images'
EVENT=volumes estimated image --volumes "$src,$disk" --out-dir "$TMP/e/volumes"
"$IMGTOOL" image -q --volumes "$src,$disk" --out-dir "$TMP/e/volumes"
within "$estimate" "$(cat "$TMP/e/volumes"/*.zst | wc -c)" 'volumes: the size of the images'
echo mine >"$TMP/e/target"
EVENT=restore estimated restore --force "$TMP/e/a.zst" "$TMP/e/target"
check_eq "$estimate" "$(info_of "$TMP/e/a.zst" .data_bytes)" 'restore: the data of the image'
EVENT=export estimated export-raw --force "$TMP/e/a.zst" "$TMP/e/target"
EVENT=restore-set estimated restore-set --force "$TMP/e/set" "$TMP/e/target"
check_eq "$estimate" "$(for x in "$TMP/e/set"/*.zst; do info_of "$x" .data_bytes; done |
	jq -s add)" 'restore-set: the data of the images'
EVENT=clone estimated clone --force "$disk" "$TMP/e/target"
sum=$("$IMGTOOL" backup-disk --dry-run --json --unallocated "$disk" "$TMP/none" |
	events backup-disk | jq .data_bytes)
within "$estimate" "$sum" 'clone: what is used'
check_eq "$(cat "$TMP/e/target")" mine 'a file that would be replaced is as it was'
check_status 9 'what is refused' "$IMGTOOL" restore --dry-run --json "$TMP/e/a.zst" "$TMP/e/target"
check_eq "$(events restore <"$TMP/out" | jq .sampled_bytes)" null 'is not estimated'
flip "$TMP/e/a.zst" 200000
check 'a damaged image' "$IMGTOOL" restore --dry-run --force "$TMP/e/a.zst" "$TMP/e/target"
check_grep 'warning: a sample of the image is damaged already' "$TMP/err" 'is told about'
truncate -s 1M "$TMP/zero.img"
check 'nothing but zeros' "$IMGTOOL" image --dry-run "$TMP/zero.img" "$TMP/e/zero.zst"
check_grep '^  about [0-9.]+ KiB in about 1 s' "$TMP/out" 'is little'
script print <<'LUA'
local image, target = ...
for _, action in ipairs { 'restore', 'export' } do
  local r = job { action = action, source = image, target = target, force = true }
  print(('%d %d %d %d'):format(r.data_bytes, r.length, #r.losses, r.estimated_bytes))
end
LUA
check 'a script gets through a dry run of restores' "$IMGTOOL" run --dry-run "$TMP/print.lua" \
	"$TMP/e/a.zst" "$TMP/e/target"

done_testing
