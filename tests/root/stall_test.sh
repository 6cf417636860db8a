# A source that stops answering is an error that says what waits for what, not a hang (LESSONS 39):
# a file on a FUSE file system whose server is stopped.
. "$(dirname "$0")/../lib.sh"
requires_root
requires mkntfs ntfs-3g

truncate -s 300M "$TMP/ntfs.img"
mkntfs -q -F -Q "$TMP/ntfs.img" >/dev/null 2>&1
mkdir "$TMP/mnt"
ntfs-3g "$TMP/ntfs.img" "$TMP/mnt"
server=$(pgrep -f "ntfs-3g $TMP/ntfs.img")
cleanup umount -l "$TMP/mnt"
cleanup kill -CONT "$server"
head -c 200M /dev/urandom >"$TMP/mnt/file"
sync -f "$TMP/mnt"
echo 3 >/proc/sys/vm/drop_caches

# Slow enough to be under way when the server stops.
timeout 60 "$IMGTOOL" image -q --stall-timeout 2 --max-throughput 20M "$TMP/mnt/file" "$TMP/f.zst" \
	>"$TMP/out" 2>"$TMP/err" &
pid=$!
sleep 2
kill -STOP "$server"
status=0
wait $pid || status=$?
check_eq "$status" 5 'the source is to blame'
check_grep 'nothing has moved for [0-9]+ s: the reader waits for the source' "$TMP/err" \
	'the message says who waits'
check_fails 'R7: no image has the name' test -e "$TMP/f.zst"
kill -CONT "$server"
check 'what was committed is gone on with' "$IMGTOOL" image -q --resume "$TMP/mnt/file" "$TMP/f.zst"
check 'and it verifies' "$IMGTOOL" verify -q "$TMP/f.zst"


done_testing
