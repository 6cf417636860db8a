# The plug is pulled: a machine that images a disk to a file system on another one is killed in the
# middle, and boots again. What is in the file then resumes to the bytes of a run that nobody
# disturbed. The disks have no cache on the host's side: what the machine had not written is gone.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/vm.sh"
vm_program mkfs.ext4 e2fsck
vm_module ext4
vm_file "$TESTS_DIR/cli/fixture.sh" /tests/cli/fixture.sh
vm_requires

head -c 24M /dev/urandom >"$TMP/source"
truncate -s 96M "$TMP/disk"
drives=("$TMP/source" "$TMP/disk,cache=none")
dd if="$TMP/disk" of=/dev/null iflag=direct bs=4096 count=1 status=none 2>/dev/null ||
	drives=("$TMP/source" "$TMP/disk") # no O_DIRECT here: a tmpfs

# What all boots share: how the image is made. With --write-through, so that what it keeps does not
# depend on when the kernel writes: commits come every 64 MiB only.
cat >"$TMP/prelude" <<'VM'
. /tests/cli/fixture.sh
made() { # TARGET OPTION...
	"$IMGTOOL" image -q --chunk-size 1M --block-size 64K --created "$CREATED" --uuid "$UUID" \
		/dev/vda "$@"
}
mkdir /mnt/disk
VM
script() { cat "$TMP/prelude" - >"$TMP/script"; }

# cut_at BYTES DESC < SCRIPT: the machine runs it and is switched off when the image has so many
cut_at() {
	script
	vm_boot "$TMP/script" "${drives[@]}"
	if vm_wait_for "^IMAGE HAS $1\$"; then
		vm_kill
		ok "$2"
	else
		nok "$2" "$(tail -n 20 "$VM_LOG")"
		vm_kill
	fi
}

cut_at 3 'switched off in the middle of a run' <<'VM'
mkfs.ext4 -q /dev/vdb
mount /dev/vdb /mnt/disk
made /mnt/disk/i.zst --write-through --max-throughput 3M --pipeline-depth 4 &
for n in 1 2 3; do
	wait_until larger /mnt/disk/i.zst.partial $((n * 2000000))
	echo "IMAGE HAS $n"
done
wait
VM
cut_at 8 'and again, in the run that went on' <<'VM'
check 'the file system comes back' mount /dev/vdb /mnt/disk
check_fails 'R7: no image has the name' test -e /mnt/disk/i.zst
check 'there is something to go on with' test -e /mnt/disk/i.zst.partial
made /mnt/disk/i.zst --write-through --resume --max-throughput 3M --pipeline-depth 4 &
for n in 5 6 7 8; do
	wait_until larger /mnt/disk/i.zst.partial $((n * 2000000))
	echo "IMAGE HAS $n"
done
wait
VM
# These cases were printed before the plug was pulled.
check_eq "$(tr -d '\r' <"$VM_LOG" | grep -c '^ok ')" 3 'it went on'

script <<'VM'
check 'the file system comes back' mount /dev/vdb /mnt/disk
check 'the run goes on' "$IMGTOOL" image --resume /dev/vda /mnt/disk/i.zst
check_grep '^  resumed at [0-9.]+ MiB' "$TMP/out" 'where it was'
tap_comment <"$TMP/out"
check 'a run that nobody disturbs' made "$TMP/whole.zst"
same_file /mnt/disk/i.zst "$TMP/whole.zst" 'gives the same bytes'
check 'the image verifies' "$IMGTOOL" verify -q /mnt/disk/i.zst
"$IMGTOOL" export-range /mnt/disk/i.zst | cmp - /dev/vda && ok 'and has the source' ||
	nok 'and has the source'
umount /mnt/disk
check 'the file system is whole' e2fsck -fn /dev/vdb
VM
vm_run 'after the second cut' "$TMP/script" "${drives[@]}"

done_testing
