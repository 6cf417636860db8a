# Real devices that fail: an error segment and dm-flakey of device mapper, medium errors of
# scsi_debug, and a file system that is full. In a machine of its own, whose kernel has them.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/vm.sh"
vm_program dmsetup mkfs.ext4
vm_module dm-mod dm-flakey sd_mod ext4
vm_packed_module scsi_debug
vm_file "$TESTS_DIR/cli/fixture.sh" /tests/cli/fixture.sh
vm_requires

head -c 12M /dev/urandom >"$TMP/source"
truncate -s 12M "$TMP/target"
truncate -s 48M "$TMP/small"
vm_run 'failing devices' - "$TMP/source" "$TMP/target" "$TMP/small" <<'VM'
. /tests/cli/fixture.sh
cd "$TMP"
small=(--chunk-size 1M --block-size 64K)
sectors=$(blockdev --getsz /dev/vda)
# device NAME: a mapped device of the table on stdin; its node is made without udev
device() {
	dmsetup create "$1"
	dmsetup mknodes "$1"
}
# errors_at NAME DISK FIRST COUNT: the disk, with sectors that can not be read or written
errors_at() {
	local behind=$(($3 + $4))
	printf '%s\n' "0 $3 linear $2 0" "$3 $4 error" \
		"$behind $((sectors - behind)) linear $2 $behind" | device "$1"
}
# reads_badly DEVICE OFFSET BYTES: what is told about a source with one bad range
reads_badly() {
	local dev=$1 off=$2 len=$3 name
	name=$(basename "$dev")
	check_status 5 "$name: --on-read-error abort" "$IMGTOOL" image "${small[@]}" "$dev" \
		abort.zst
	check_grep "read $dev at $off: Input/output error; abort\.zst\.partial is incomplete" \
		"$TMP/err" "$name: the message has the first bad sector's offset"
	check_fails "$name: R7: no image has the name" test -e abort.zst
	check_status 12 "$name: --on-read-error zero" "$IMGTOOL" image "${small[@]}" \
		--on-read-error zero "$dev" zero.zst
	check_grep "$len bytes in 1 ranges could not be read, and are recorded as bad" "$TMP/err" \
		"$name: and says how much"
	check_eq "$(info_of zero.zst .bad_ranges)" "[[$off,$len]]" \
		"$name: R9: exactly the bad sectors are recorded"
	check "$name: info" "$IMGTOOL" info zero.zst
	check_grep "^  at $off, $len bytes" "$TMP/out" "$name: info lists them"
	check "$name: the image verifies" "$IMGTOOL" verify -q zero.zst
	check_status 5 "$name: restore of it aborts" "$IMGTOOL" restore zero.zst raw
	check_grep "$len bytes of the source were unreadable when it was imaged" "$TMP/err" \
		"$name: and says why"
	check_status 12 "$name: restore with zeros" "$IMGTOOL" restore --force \
		--on-read-error zero zero.zst raw
	check_grep "^  at $off, $len bytes: unreadable when it was imaged" "$TMP/out" \
		"$name: lists them"
	rm -f abort.zst.partial zero.zst
}

# ---- Sources ----
errors_at holed /dev/vda 2049 3
reads_badly /dev/mapper/holed $((2049 * 512)) 1536
{
	dd if=/dev/vda bs=512 count=2049
	head -c 1536 /dev/zero
	dd if=/dev/vda bs=512 skip=2052
} 2>/dev/null | cmp - raw && ok 'all else is there, and zeros' || nok 'all else is there, and zeros'
rm raw
dmsetup remove holed

modprobe scsi_debug dev_size_mb=8 opts=2 medium_error_start=4660 medium_error_count=10 max_luns=1
wait_until test -b /dev/sda
reads_badly /dev/sda $((4660 * 512)) 5120
rm raw

# A disk that is gone for good in the middle of a run, as all of it fails.
echo "0 $sectors linear /dev/vda 0" | device dying
"$IMGTOOL" image -q "${small[@]}" --max-throughput 6M --pipeline-depth 4 /dev/mapper/dying \
	dying.zst 2>"$TMP/run.err" &
pid=$!
wait_until larger dying.zst.partial 2000000
dmsetup suspend --noflush dying
echo "0 $sectors error" | dmsetup load dying
dmsetup resume dying
status=0
wait $pid || status=$?
check_eq "$status" 5 'a disk that dies: exit status 5'
check_grep 'read /dev/mapper/dying at [0-9]+: Input/output error; .* --resume goes on' \
	"$TMP/run.err" 'and how to go on'
dmsetup suspend --noflush dying
echo "0 $sectors linear /dev/vda 0" | dmsetup load dying
dmsetup resume dying
check 'when it is back, the run is gone on with' "$IMGTOOL" image -q --resume /dev/mapper/dying \
	dying.zst
"$IMGTOOL" export-range dying.zst | cmp - /dev/vda && ok 'and the image is right' ||
	nok 'and the image is right'
rm dying.zst
dmsetup remove dying

# ---- Targets ----
image_quietly "${small[@]}" /dev/vda whole.zst
restores_badly() { # NAME PATTERN
	local status=0
	check_status 6 "$1: restore" "$IMGTOOL" restore --force --yes-destroy "/dev/mapper/$1" \
		whole.zst "/dev/mapper/$1"
	check_grep "$2" "$TMP/err" "$1: what failed"
	check_grep "/dev/mapper/$1 is overwritten in part" "$TMP/err" \
		"$1: R7: it is not called complete"
	check_fails "$1: and nothing says it was restored" grep -q "^/dev/mapper/$1: " "$TMP/out"
}
errors_at broken /dev/vdb 9000 8
restores_badly broken 'write /dev/mapper/broken at [0-9]+: Input/output error'
dmsetup remove broken
# Writes fail, all of them, from the start.
echo "0 $sectors flakey /dev/vdb 0 0 3600 1 error_writes" | device flaky
restores_badly flaky '(write|flush) /dev/mapper/flaky'
dmsetup remove flaky

# A file system on a disk whose writes begin to fail.
sectors=$(blockdev --getsz /dev/vdc)
echo "0 $sectors linear /dev/vdc 0" | device disk
mkfs.ext4 -q /dev/mapper/disk
mkdir fs
mount -o errors=continue /dev/mapper/disk fs
"$IMGTOOL" image -q "${small[@]}" --max-throughput 6M --pipeline-depth 4 /dev/vda fs/i.zst \
	2>"$TMP/run.err" &
pid=$!
wait_until larger fs/i.zst.partial 2000000
dmsetup suspend --noflush --nolockfs disk
echo "0 $sectors flakey /dev/vdc 0 0 3600 1 error_writes" | dmsetup load disk
dmsetup resume disk
status=0
wait $pid || status=$?
check_eq "$status" 6 'a disk under the image that fails: exit status 6'
check_grep 'fs/i\.zst\.partial.*Input/output error|Read-only file system' "$TMP/run.err" 'why'
check_fails 'R7: the image does not get its name' test -e fs/i.zst
umount fs
dmsetup remove disk

# ---- A file system that is full ----
mkfs.ext4 -q -F -m 0 /dev/vdc
mount /dev/vdc fs
fixed=(--created "$CREATED" --uuid "$UUID")
image_quietly "${small[@]}" "${fixed[@]}" --force /dev/vda whole.zst
room=$(($(stat -f -c '%a * %S' fs)))
fallocate -l $((room - 6000000)) fs/filler
check_status 6 'no space left: exit status 6' "$IMGTOOL" image "${small[@]}" "${fixed[@]}" \
	/dev/vda fs/i.zst
check_grep 'fs/i\.zst\.partial.*No space left on device; .*--resume goes on with what' "$TMP/err" \
	'why, and how to go on'
check_fails 'R7: it does not get its name' test -e fs/i.zst
check_status 6 'resume is no way around it' "$IMGTOOL" image --resume /dev/vda fs/i.zst
rm fs/filler
check 'with room it is gone on with' "$IMGTOOL" image --resume /dev/vda fs/i.zst
check_grep '^  resumed at [1-9]' "$TMP/out" 'where it was'
same_file fs/i.zst whole.zst 'to the same bytes'
umount fs
VM
done_testing
