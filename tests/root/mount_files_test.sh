# imgtool mount --files: the files inside volumes that the kernel and ntfs-3g have filled, against
# those files; many readers; damage; a parser that is killed while it is mounted.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
. "$TESTS_DIR/cli/serve_fixture.sh"
requires_root
requires mkfs.ext4 mkntfs ntfs-3g zstd jq sfdisk losetup fusermount3 python3 debugfs pgrep findmnt

dir=$TMP/mnt
inside=$TMP/inside
mkdir "$dir" "$inside"
unmount_all() { umount -l "$inside" "$dir" 2>/dev/null || true; }
cleanup unmount_all
# Whoever asks a broken mount may wait for ever.
soon() { timeout -k 1 40 "$@"; }

# facts DIR [FIELDS]: what stat says of all below it, but of directories' sizes and blocks.
facts() {
	(cd "$1" && soon find . -mindepth 1 ! -path './lost+found*' -print0 | sort -z |
		xargs -0 stat -c "${2:-%n %f %u %g %h %Y %.9Z} %s" |
		sed -E 's/( 41ed .*) [0-9]+$/\1/')
}
sums() { (cd "$1" && soon find . -type f -print0 | sort -z | xargs -0 md5sum); }

# ---- ext4, filled by the kernel, with names, owners and times of its own ----
make_tree "$TMP/tree"
truncate -s 192M "$TMP/v.img"
mkfs.ext4 -q -F -b 4096 -O inline_data "$TMP/v.img"
check 'the kernel mounts ext4' mount -o loop "$TMP/v.img" "$inside"
cp -a "$TMP/tree/." "$inside/"
(
	cd "$inside"
	seq -f 'a name in a directory with a hash tree %06g' 4000 | xargs -d '\n' touch
	mkdir -p deep/"$(head -c 200 /dev/zero | tr '\0' d)"/er
	ln -s "$(head -c 300 /dev/zero | tr '\0' l)" long-link
	ln -s random fast-link
	ln random hard-link
	printf x >$'odd \n\xff name'
	seq 99999 | dd of=sparse bs=1 seek=20000001 status=none
	fallocate -l 3M unwritten
	chmod 4711 program
	chown 70000:70001 program hole
	chown -h 5:6 fast-link
	mkfifo fifo
	touch -d '1960-02-03 04:05:06.789' hole
	touch -d '2300-02-03 04:05:06.789' unwritten
	printf small >inline
)
cp -a "$inside" "$TMP/kept"
facts "$inside" >"$TMP/facts"
sums "$inside" >"$TMP/sums"
umount "$inside"
image_quietly --chunk-size 4M --block-size 64K "$TMP/v.img" "$TMP/v.zst"
serve mount --files "$TMP/v.zst" "$dir"
check_eq "$address" "$dir" 'it says where'
check 'diff -r: every file is as the kernel has it' soon diff -r --no-dereference -x fifo \
	-x sparse -x lost+found "$TMP/kept" "$dir"
facts "$dir" >"$TMP/facts.mount"
same_file "$TMP/facts" "$TMP/facts.mount" 'types, modes, owners, links, times and sizes'
check_eq "$(soon stat -f -c '%s %b' "$dir")" "4096 49152" 'statfs: the size of the volume'
check_grep 'ro,nosuid,nodev' <(findmnt -no OPTIONS "$dir") 'no set-id programs, no devices'
check_fails 'nothing can be written' touch "$dir/random"
check_fails 'no file can be made' touch "$dir/new"
check_fails 'a name that is not there' soon cat "$dir/none"

readers=()
for i in 1 2 3 4 5 6 7 8; do
	sums "$dir" >"$TMP/sums.$i" &
	readers+=($!)
done
for i in 1 2 3 4 5 6 7 8; do wait "${readers[i - 1]}" || true; done
for i in 1 2 3 4 5 6 7 8; do cmp "$TMP/sums" "$TMP/sums.$i" >>"$TMP/cmp" 2>&1 || true; done
check_eq "$(cat "$TMP/cmp")" '' '8 readers at once have the right bytes'

# The parser: a child without privileges; killed, it costs a call at most, and there is a new one.
child=$(pgrep -P "$server")
check_eq "$(awk '/^(Uid|Seccomp):/ { print $2 }' "/proc/$child/status" | tr '\n' ' ')" '65534 2 ' \
	'the parser is nobody, and confined'
echo 1 >/proc/sys/vm/drop_caches
kill -KILL "$child"
soon md5sum "$dir/random" >/dev/null 2>&1 || true
check_eq "$(soon md5sum <"$dir/random")" "$(md5sum <"$TMP/kept/random")" \
	'the parser was killed: the next read is right'
check_fails 'by another parser' test "$(pgrep -P "$server")" = "$child"
exec 7<"$dir/random" 8<"$dir"
stop_server
check_eq $status 0 'a signal unmounts it, also while a file is open'
exec 7<&- 8<&-
check_eq "$(ls "$dir" | wc -l)" 0 'it is gone'
check_eq "$(events served <"$TMP/served" | jq '.server.bytes > 10000000')" true 'it counts'

# A parser that hangs (here: is stopped) while somebody waits for it.
serve mount --files "$TMP/v.zst" "$dir"
child=$(pgrep -P "$server")
kill -STOP "$child"
soon cat "$dir/program" >/dev/null 2>&1 &
reader=$!
sleep 0.3
SECONDS=0
stop_server
check 'a parser that hangs does not hold up the end' test $SECONDS -lt 15
wait "$reader" 2>/dev/null || true
check_fails 'and is ended too' kill -0 "$child"

# ---- Damage: errors for that file alone ----
block=$(debugfs -R 'bmap /random 100' "$TMP/v.img" 2>/dev/null)
at=$("$IMGTOOL" repl "$TMP/v.zst" 2>/dev/null <<LUA
for i = 0, img:facts().chunks - 1 do
  for _, e in ipairs(img:chunk(i).entries) do
    local off = $block * 4096
    if e.kind == 'data' and e.offset <= off and off < e.offset + e.length then
      print(e.file_offset)
    end
  end
end
LUA
)
cp "$TMP/v.zst" "$TMP/bad.zst"
flip "$TMP/bad.zst" $((at + 100))
serve mount --files "$TMP/bad.zst" "$dir"
check_fails 'a damaged block: its file' soon md5sum "$dir/random"
check_grep 'Input/output error' "$TMP/err" 'is an input/output error'
check_eq "$(soon head -c 200000 "$dir/random" | md5sum)" \
	"$(head -c 200000 "$TMP/kept/random" | md5sum)" 'but what comes before'
check 'and all other files are right' soon diff -r --no-dereference -x fifo -x sparse -x random \
	-x hard-link -x lost+found "$TMP/kept" "$dir"
umount "$dir"
status=0
wait "$server" || status=$?
check_eq $status 0 'unmounted from outside, it ends'
check_eq "$(events served <"$TMP/served" | jq '.server.failures > 0')" true 'and it has counted'

# ---- NTFS, filled by ntfs-3g ----
truncate -s 96M "$TMP/n.img"
mkntfs -q -F -Q "$TMP/n.img" >/dev/null 2>&1
check 'ntfs-3g mounts it' ntfs-3g -o rw,compression "$TMP/n.img" "$inside"
(
	cd "$inside"
	mkdir -p compressed deep/er many
	python3 -c 'import os; os.setxattr("compressed", "system.ntfs_attrib_be", b"\0\0\x08\0")'
	seq 200000 >compressed/seq
	head -c 3M /dev/zero | tr '\0' z >compressed/same
	head -c 1M /dev/urandom >compressed/random
	truncate -s 2M compressed/hole
	seq -f 'a long name of a file %05g' 1500 |
		xargs -d '\n' -I{} cp "$TMP/tree/deep/er/file" many/{}
	seq 999 | dd of=sparse bs=1 seek=40000001 status=none
	cp "$TMP/tree/program" "$TMP/tree/hole" .
	ln -s compressed/seq link
	ln -s /abs/ü link2
	ln program second
	echo x >'üñí😀'
	printf small >resident
	: >empty
)
check_eq "$(python3 -c '
import os, sys
print(os.getxattr(sys.argv[1], "system.ntfs_attrib_be")[2] & 8)' "$inside/compressed/seq")" 8 \
	'there are compressed files'
cp -a "$inside" "$TMP/nkept"
facts "$inside" '%n %h %Y' | grep -v '^./[^ ]* [0-9]* [0-9]* 0$' >"$TMP/facts"
umount "$inside"
wait_until sh -c "! pgrep -a -x ntfs-3g | grep -q '$TMP/n.img'"
image_quietly "$TMP/n.img" "$TMP/n.zst"
serve mount --files "$TMP/n.zst" "$dir"
check 'diff -r: every file is as ntfs-3g has it' soon diff -r --no-dereference -x sparse \
	"$TMP/nkept" "$dir"
check_eq "$(soon tail -c 5000 "$dir/sparse" | md5sum)" \
	"$(tail -c 5000 "$TMP/nkept/sparse" | md5sum)" 'a sparse file'
facts "$dir" '%n %h %Y' | grep -v '^./[^ ]* [0-9]* [0-9]* 0$' >"$TMP/facts.mount"
same_file <(grep -v 'compressed\|deep\|many ' "$TMP/facts") \
	<(grep -v 'compressed\|deep\|many ' "$TMP/facts.mount") 'links, times and sizes'
stop_server

# ---- Others ----
chmod 755 "$tap_dir" "$TMP"
as_nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
serve mount --files "$TMP/v.zst" "$dir"
check_fails 'another user sees nothing' as_nobody ls "$dir"
stop_server
serve mount --files --allow-other "$TMP/v.zst" "$dir"
check '--allow-other: another user may look' as_nobody cat "$dir/random"
check_fails 'and is held to the modes' as_nobody cat "$dir/program"
stop_server

# ---- What has no files ----
truncate -s 64M "$TMP/disk"
sfdisk -q "$TMP/disk" <<'TABLE'
label: gpt
start=2048, size=40960, name=data
start=43008, size=40960, name=rest
TABLE
check_status 2 'a disk' "$IMGTOOL" mount --files "$TMP/disk" "$dir"
check_grep 'by --partition: 1 data; 2 rest' "$TMP/err" 'has partitions, which it names'
check_status 8 'a partition without a file system' "$IMGTOOL" mount --files "$TMP/disk" \
	--partition rest "$dir"
check_grep 'no file system is recognised' "$TMP/err" 'why'
truncate -s 16M "$TMP/swap"
mkswap "$TMP/swap" >/dev/null
check_status 8 'a file system without a reader' "$IMGTOOL" mount --files "$TMP/swap" "$dir"
check_grep 'the files of swap' "$TMP/err" 'why'
check_status 3 'a directory that does not exist' "$IMGTOOL" mount --files "$TMP/v.zst" "$TMP/none"
mkfs.ext4 -q -F -d "$TMP/tree/deep" "$TMP/p.img" 16M
dd if="$TMP/p.img" of="$TMP/disk" bs=1M seek=1 conv=notrunc status=none
serve mount --files "$TMP/disk" --partition data "$dir"
check_eq "$(soon cat "$dir/er/file")" deep '--partition chooses one'
stop_server
done_testing
