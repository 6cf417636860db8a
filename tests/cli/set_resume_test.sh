# Interrupted sets: backup-disk --resume and image --volumes --resume.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
. "$TESTS_DIR/cli/disk_fixture.sh"
requires mkfs.ext4 mkfs.fat mcopy mkntfs ntfscp mkswap fdisk sfdisk zstd jq

disk=$TMP/disk.img
set=$TMP/set
make_disk "$disk" gpt 512
FIXED="--created $CREATED --uuid $UUID --chunk-size 1M --all-blocks"
# shellcheck disable=SC2086
"$IMGTOOL" backup-disk -q $FIXED "$disk" "$TMP/whole"

# begun FILE BYTES: it is there, and has so many bytes at least
begun() { [ -e "$1" ] && [ "$(stat -c %s "$1")" -ge "$2" ]; }

# start_slowly FILE BYTES: a run in the background in which this file of the set has so many bytes.
# Sets PID. What is packed small stays in the writer's buffer to its end: 0.
start_slowly() {
	rm -rf "$set"
	# shellcheck disable=SC2086
	"$IMGTOOL" backup-disk $FIXED --max-throughput 16M --pipeline-depth 4 "$disk" "$set" \
		>"$TMP/run.out" 2>"$TMP/run.err" &
	PID=$!
	wait_until begun "$set/$1" "$2" || { cat "$TMP/run.err" && return 1; }
}

resume_set() {
	"$IMGTOOL" backup-disk --resume "$@" "$disk" "$set"
}

# ---- In the middle of a partition ----
start_slowly part-1.img.zst.partial 3000000
kill -INT $PID
status=0
wait $PID || status=$?
check_eq $status 130 'a signal ends the set with 130'
check_grep 'partition 1: .*; the set|the set in .* is incomplete, --resume goes on' "$TMP/run.err" \
	'it says how to go on'
check_status 3 'R7: it is no set' "$IMGTOOL" verify-set "$set"
check_grep 'incomplete' "$TMP/err" 'and why'
check_status 3 'nor for info' "$IMGTOOL" info "$set"
check_status 9 'R8: it is not begun anew by itself' "$IMGTOOL" backup-disk "$disk" "$set"
check '--resume' resume_set
check_grep '^part-1.img.zst .*resumed at [0-9.]+ [KM]iB' "$TMP/out" 'goes on in the chunks'
check_grep '^disk.img.zst .*kept' "$TMP/out" 'and keeps what is complete'
same_set "$set" "$TMP/whole" 'the same as without interruption'

start_slowly part-2.img.zst.partial 0
kill -KILL $PID
wait $PID 2>/dev/null || true
check '--resume after SIGKILL in the next partition' resume_set
check_grep '^part-1.img.zst .*kept' "$TMP/out" 'keeps the first'
same_set "$set" "$TMP/whole" 'after SIGKILL'

# ---- Between two partitions: one is complete, the next has not begun ----
between() {
	rm -rf "$set"
	cp -r "$TMP/whole" "$set"
	cp "$TMP/state" "$set/backup.state.json"
	rm "$set/backup.manifest.json" "$set/part-3.img.zst" "$set/part-4.img.zst"
}
start_slowly part-1.img.zst.partial 0
kill -KILL $PID
wait $PID 2>/dev/null || true
cp "$set/backup.state.json" "$TMP/state"
between
check '--resume between two partitions' resume_set
same_set "$set" "$TMP/whole" 'between'
# After the last image, before the manifest.
between
cp "$TMP/whole"/part-[34].img.zst "$set"
check '--resume of a set that lacks its manifest only' resume_set
same_set "$set" "$TMP/whole" 'the manifest alone'
check 'verify-set' "$IMGTOOL" verify-set "$set"

# ---- What resume refuses ----
refuses() { # REASON DESC COMMAND...
	local reason=$1 desc=$2
	shift 2
	check_status 9 "--resume refuses $desc" "$@"
	check_grep "$reason" "$TMP/err" 'and names it'
	check_fails 'no manifest is there' test -e "$set/backup.manifest.json"
}
between
refuses 'level is 3 in the set, not 9' 'another level' resume_set --level 9
refuses 'mode is all_blocks' 'another mode' resume_set --used-only
refuses 'unallocated is false' 'other regions' resume_set --unallocated
refuses 'uuid is' 'another UUID' resume_set --uuid 99999999-9999-4999-8999-999999999999
cp "$disk" "$TMP/changed.img"
sfdisk -q --part-uuid "$TMP/changed.img" 4 99999999-9999-4999-8999-999999999999
refuses "the guid of partition 4 is '99999999" 'another table' \
	"$IMGTOOL" backup-disk --resume "$TMP/changed.img" "$set"
cp "$disk" "$TMP/changed.img"
sfdisk -q --disk-id "$TMP/changed.img" 99999999-9999-4999-8999-999999999999
refuses "disk id is '99999999" 'another disk' \
	"$IMGTOOL" backup-disk --resume "$TMP/changed.img" "$set"
cp "$disk" "$TMP/changed.img"
cp "$TMP/part.ext4" "$TMP/part.keep"
tune2fs -f -U random "$TMP/part.ext4" >/dev/null 2>&1
put "$TMP/part.ext4" "$TMP/changed.img" 1
refuses 'time of its last change' 'a disk file that was written to since' \
	"$IMGTOOL" backup-disk --resume "$TMP/changed.img" "$set"
touch -r "$disk" "$TMP/changed.img"
refuses 'file system UUID is' 'another file system in a partition that is complete' \
	"$IMGTOOL" backup-disk --resume "$TMP/changed.img" "$set"
# The same file system with one file more: only its map tells.
debugfs -w -R "write $TMP/small/random more" "$TMP/part.keep" >/dev/null 2>&1
cp "$disk" "$TMP/changed.img"
put "$TMP/part.keep" "$TMP/changed.img" 1
touch -r "$disk" "$TMP/changed.img"
USED="--created $CREATED --uuid $UUID --chunk-size 1M"
# shellcheck disable=SC2086
"$IMGTOOL" backup-disk -q $USED "$disk" "$TMP/used"
mv "$set" "$TMP/aside"
cp -r "$TMP/used" "$set"
rm "$set/backup.manifest.json" "$set/part-4.img.zst"
jq -c '.settings |= del(.mode)' "$TMP/state" >"$set/backup.state.json"
refuses 'file system has changed since' 'a file system that was written to meanwhile' \
	"$IMGTOOL" backup-disk --resume "$TMP/changed.img" "$set"
rm -r "$set"
mv "$TMP/aside" "$set"
cp "$set/part-2.img.zst" "$set/part-1.img.zst"
refuses 'part-1.img.zst is no image of this set' 'an image that is not its own' resume_set
between
flip "$set/part-1.img.zst" $(($(stat -c %s "$set/part-1.img.zst") - 20000))
check_fails 'an image that is damaged is not kept' resume_set
between
echo '{' >"$set/backup.state.json"
check_status 7 'a state that is damaged' resume_set
check '--force begins anew' "$IMGTOOL" backup-disk -q --force $FIXED "$disk" "$set"
same_set "$set" "$TMP/whole" 'with --force'

# An interrupted --force leaves no manifest of the old set beside images of the new one.
# shellcheck disable=SC2086
"$IMGTOOL" backup-disk --force $FIXED --max-throughput 8M --pipeline-depth 4 "$disk" "$set" \
	>"$TMP/run.out" 2>"$TMP/run.err" &
PID=$!
wait_until begun "$set/part-1.img.zst.partial" 0
check_status 11 'two at once' "$IMGTOOL" backup-disk --force "$disk" "$set"
kill -KILL $PID
wait $PID 2>/dev/null || true
check_fails 'R7: an old manifest does not name new images' test -e "$set/backup.manifest.json"

# Nor images of it, which --resume would keep: UUID and time may be the same in both runs.
cp "$disk" "$TMP/changed.img"
printf x | dd of="$TMP/changed.img" bs=1 seek=$(((74 << 20) + 100000)) conv=notrunc status=none
# shellcheck disable=SC2086
"$IMGTOOL" backup-disk -q --force $FIXED "$disk" "$set"
# shellcheck disable=SC2086
"$IMGTOOL" backup-disk --force $FIXED --max-throughput 8M --pipeline-depth 4 "$TMP/changed.img" \
	"$set" >"$TMP/run.out" 2>"$TMP/run.err" &
PID=$!
wait_until begun "$set/part-1.img.zst.partial" 0
kill -INT $PID
wait $PID || true
check '--resume of an interrupted --force' "$IMGTOOL" backup-disk --resume "$TMP/changed.img" "$set"
zstd -qdc "$set/part-4.img.zst" | cmp -i 0:$((74 << 20)) -n $((4 << 20)) - "$TMP/changed.img" &&
	ok 'images everything as it is now' || nok 'images everything as it is now'
# An image of the same UUID from another time is no image of this set.
rm -r "$set"
cp -r "$TMP/whole" "$set"
rm "$set/backup.manifest.json" "$set/part-4.img.zst"
jq -c '.created += 1' "$TMP/state" >"$set/backup.state.json"
refuses 'disk.img.zst is no image of this set' 'an image of another time' resume_set

# ---- Content rules: those of the first run hold, for what is complete and for what is not ----
cp "$disk" "$TMP/rules.img"
head -c 2M /dev/urandom >"$TMP/swapfile"
mkswap -q "$TMP/swapfile" 2>/dev/null
debugfs -w -R "write $TMP/swapfile swapfile" "$TMP/rules.img?offset=1048576" >/dev/null 2>&1
# shellcheck disable=SC2086
"$IMGTOOL" backup-disk $USED --exclude swap "$TMP/rules.img" "$TMP/rules" >/dev/null \
	2>"$TMP/run.err"
check_eq "$(info_of "$TMP/rules/part-1.img.zst" '.head.exclude.bytes > 1900000')" true \
	'a set with a content rule'
none="'swap' finds no file .ntfs."
check_eq "$(grep -c "$none" "$TMP/run.err")" 1 'what it does not find is said once'
check '--dry-run' "$IMGTOOL" backup-disk --dry-run --exclude swap "$TMP/rules.img" "$TMP/none"
check_eq "$(grep -c "$none" "$TMP/err")" 1 'and so in a dry run'
for part in 1 2; do
	rm -rf "$set"
	# shellcheck disable=SC2086
	"$IMGTOOL" backup-disk -q $USED --exclude swap --max-throughput 4M --pipeline-depth 4 \
		"$TMP/rules.img" "$set" 2>"$TMP/run.err" &
	PID=$!
	wait_until begun "$set/part-$part.img.zst.partial" $((part == 1))
	kill -KILL $PID
	wait $PID 2>/dev/null || true
	refuses "exclude is 'swap' in the set, not 'pagefile'" 'another rule' \
		"$IMGTOOL" backup-disk --resume --exclude pagefile "$TMP/rules.img" "$set"
	check "--resume in partition $part" "$IMGTOOL" backup-disk --resume "$TMP/rules.img" "$set"
	same_set "$set" "$TMP/rules" "with the rule, partition $part"
done

# ---- Volumes ----
vol=$TMP/volumes
VOLS="--volumes $TMP/part.ext4,$TMP/part.fat,$TMP/part.ntfs --all-blocks"
VOLS="$VOLS --created $CREATED --uuid $UUID"
# shellcheck disable=SC2086
"$IMGTOOL" image -q $VOLS --out-dir "$TMP/vwhole" --chunk-size 1M
# shellcheck disable=SC2086
"$IMGTOOL" image $VOLS --chunk-size 1M --max-throughput 16M --pipeline-depth 4 --out-dir "$vol" \
	>"$TMP/run.out" 2>"$TMP/run.err" &
PID=$!
wait_until begun "$vol/ESP.img.zst.partial" 0
kill -INT $PID
status=0
wait $PID || status=$?
check_eq $status 130 'volumes: a signal ends them with 130'
# shellcheck disable=SC2086
check 'volumes: --resume' "$IMGTOOL" image -q $VOLS --resume --out-dir "$vol"
same_set "$vol" "$TMP/vwhole" 'volumes'

done_testing
