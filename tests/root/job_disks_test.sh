# Job scripts that name disks by what they hold: loop devices, one of them mounted, two of them with
# the same partition table; and examples/restore-plan.lua for real.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
. "$TESTS_DIR/cli/disk_fixture.sh"
requires_root
requires losetup fdisk mkfs.ext4 mkfs.fat mcopy mkntfs ntfscp mkswap zstd jq

export XDG_STATE_HOME=$TMP/state
make_disk "$TMP/disk.img" gpt 512
loop_of "$TMP/disk.img"
disk=$LOOP
id=$(dump_of "$TMP/disk.img" 512 | sed -n 's/^label-id: //p')

# find_disk TEXT: a script that prints the path of the disk that is found
find_disk() {
	echo "print(disk { $1 }.path)" >"$TMP/find.lua"
	"$IMGTOOL" run "$TMP/find.lua"
}
check_eq "$(find_disk "guid = '${id,,}'")" "$disk" 'by the GUID of its table'
check_eq "$(find_disk "guid = '$id', holds = 'efi', kind = 'loop'")" "$disk" \
	'by what its table says that the kernel shows no partitions of'
make_ext4 "$TMP/fs.img"
loop_of "$TMP/fs.img"
mount_at "$LOOP" "$TMP/mnt"
check_eq "$(find_disk "holds = '$TMP/mnt'")" "$LOOP" 'by where it is mounted'
check_eq "$(find_disk "holds = '$TMP/mnt', label = 'Fixture'")" "$LOOP" 'and its label'
ln -s "$disk" "$TMP/link"
check_eq "$(find_disk "path = '$TMP/link'")" "$disk" 'by a link to it'

# ---- examples/restore-plan.lua ----
set=$TMP/set
"$IMGTOOL" backup-disk -q "$disk" "$set"
plan=("$TOP/examples/restore-plan.lua" "$set" "guid=$id")
head -c 65536 /dev/urandom | dd of="$disk" bs=1M seek=2 conv=fsync status=none # it is damaged
before=$(sha256sum <"$disk")
check 'examples/restore-plan.lua without the word' "$IMGTOOL" run "${plan[@]}"
check_grep "^would overwrite .*$disk" "$TMP/out" 'shows the plan'
check_grep '^  to write about .* in about .*, by a sample of' "$TMP/out" 'with an estimate'
check_grep 'nothing was written' "$TMP/out" 'says that it did nothing'
check_eq "$(sha256sum <"$disk")" "$before" 'and did nothing'
check_fails 'not even undo copies' test -e "$TMP/state/imgtool"
check '--dry-run with the word' "$IMGTOOL" run --dry-run "${plan[@]}" restore
check_eq "$(sha256sum <"$disk")" "$before" 'does nothing either'
check 'examples/restore-plan.lua with the word' "$IMGTOOL" run "${plan[@]}" restore
check_grep "^$disk: 4 partitions, " "$TMP/out" 'says what it did'
rebuild "$set" "$TMP/rebuilt.img"
same_bytes "$disk" "$TMP/rebuilt.img" $((1 << 20)) $((16 << 20)) 'the damaged partition is back'
check 'the table is what it was' test "$(dump_of "$TMP/disk.img" 512 | grep ^label-id)" = \
	"label-id: $id"

# ---- Two that are the same ----
cp "$TMP/disk.img" "$TMP/twin.img"
loop_of "$TMP/twin.img"
before=$(sha256sum <"$LOOP")
check_status 9 'two disks answer' "$IMGTOOL" run "${plan[@]}" restore
check_grep "restore-plan\.lua:[0-9]+: 2 disks have guid = '$id', one is meant: " "$TMP/err" 'why'
for device in "$disk" "$LOOP"; do
	check_grep "$device \(96\.0 MiB\)" "$TMP/err" "names $device"
done
check_eq "$(sha256sum <"$LOOP")" "$before" 'and neither is written'

done_testing
