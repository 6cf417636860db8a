# imgtool restore-physical, and what every restore keeps and refuses, on loop devices.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
. "$TESTS_DIR/cli/disk_fixture.sh"
requires_root
requires losetup mkfs.ext4 mkfs.fat mcopy mkntfs ntfscp mkswap fdisk sfdisk sgdisk zstd jq e2fsck \
	resize2fs script setsid blockdev

name_of() { basename "$1"; }
# confirmed DEVICE: what lets it be overwritten, and says which one it is
confirmed() { echo --force --yes-destroy "$(name_of "$1")" "$1"; }
# target NAME SIZE [LOSETUP OPTION...]: a loop device full of old bytes. Sets LOOP.
target() {
	rm -f "$TMP/$1"
	head -c 3M /dev/urandom >"$TMP/$1"
	truncate -s "$2" "$TMP/$1"
	head -c 1M /dev/urandom | dd of="$TMP/$1" bs=1M conv=notrunc status=none \
		seek=$(($(stat -c %s "$TMP/$1") / 1048576 - 1))
	loop_of "$TMP/$1" "${@:3}"
}
physical() { "$IMGTOOL" restore-physical "$@"; }

# Does this kernel read the tables of loop devices? Some are made without.
truncate -s 8M "$TMP/probe"
printf 'label: gpt\nstart=1M, size=4M\n' | sfdisk -q "$TMP/probe"
loop_of "$TMP/probe" --partscan
partitions=
for _ in $(seq 20); do
	if [ -b "${LOOP}p1" ]; then partitions=yes && break; fi
	sleep 0.05
done
# shown NODE DESC
shown() {
	if [ -z "$partitions" ]; then
		skip_case "$2" 'no partitions on loop devices here'
	elif wait_until test -b "$1"; then
		ok "$2"
	else
		nok "$2"
	fi
}

for kind in gpt dos; do
	make_disk "$TMP/$kind.img" $kind 512
	"$IMGTOOL" backup-disk -q "$TMP/$kind.img" "$TMP/$kind"
	rebuild "$TMP/$kind" "$TMP/want.$kind"
done
set=$TMP/gpt
want=$TMP/want.gpt

# ---- The whole of it ----
target same 96M --partscan
same=$LOOP
cp "$TMP/same" "$TMP/old"
undo=$TMP/undo
for kind in gpt dos; do
	# shellcheck disable=SC2046
	check "$kind: restore-physical" physical --free zero --verify-after --undo-dir "$undo" \
		"$TMP/$kind" $(confirmed "$same")
	check_grep '^  read back: OK' "$TMP/out" "$kind: --verify-after says so"
	cmp "$same" "$TMP/want.$kind" && ok "$kind: what zstd and dd put together" ||
		nok "$kind: what zstd and dd put together"
	shown "${same}p2" "$kind: the kernel has read the table"
done
first=$(find "$undo" -mindepth 1 -maxdepth 1 | sort | head -n 1)
last=$(find "$undo" -mindepth 1 -maxdepth 1 | sort | tail -n 1)
cmp "$first/first.MiB" <(head -c 1M "$TMP/old") && cmp "$first/last.MiB" <(tail -c 1M "$TMP/old") &&
	ok 'R4: --undo-dir has the first and last MiB' ||
	nok 'R4: --undo-dir has the first and last MiB'
check_eq "$(jq -r .name "$first/facts.json")" "$(name_of "$same")" 'and whose they are'
check_fails 'a target without a table has no text of it' test -e "$first/table.sfdisk"
check_grep 'name="ESP"' "$last/table.sfdisk" 'R4: the table as text'
truncate -s 96M "$TMP/undone"
check 'which sfdisk takes' sh -c "sfdisk -q '$TMP/undone' <'$last/table.sfdisk'"
check_eq "$(sfdisk -d "$TMP/undone" | grep -o 'uuid=.*')" \
	"$(sfdisk -d "$want" | grep -o 'uuid=.*')" \
	'and makes the old partitions of'
dd if="$last/first.MiB" of="$TMP/undone" conv=notrunc status=none
dd if="$last/last.MiB" of="$TMP/undone" bs=1M seek=95 conv=notrunc status=none
cmp -n $((1 << 20)) "$TMP/undone" "$want" && ok 'the copies put back are the old table' ||
	nok 'the copies put back are the old table'
# shellcheck disable=SC2046
check 'the default undo directory' physical --force -q "$set" $(confirmed "$same")
[ -n "$(ls "$XDG_STATE_HOME/imgtool/undo")" ] && ok 'is used' || nok 'is used'

check '--set-dir, --device' physical --dry-run --force --yes-destroy "$(name_of "$same")" \
	--set-dir "$set" --device "$same"
check_grep "^would overwrite $same " "$TMP/out" 'are the operands'
check_status 2 'restore-physical to a file' physical "$set" "$TMP/none.img"
check_status 2 'restore-set to a disk' "$IMGTOOL" restore-set "$set" "$same"

# ---- Only what changed ----
# shellcheck disable=SC2046
check '--only-changed' physical --free leave --only-changed "$set" $(confirmed "$same")
check_grep ' were there already, and were not written' "$TMP/out" 'says how much was saved'
changed=$("$IMGTOOL" restore-physical --json --free leave --only-changed "$set" --force \
	--yes-destroy "$(name_of "$same")" "$same" | events restore-physical |
	jq '.data_bytes + .zero_bytes - .same_bytes')
[ "$changed" -lt $((3 << 20)) ] && ok "all but what is cleared first is there ($changed)" ||
	nok 'all but what is cleared first is there' "$changed"
printf 'changed' | dd of="$same" bs=1 seek=$((4 << 20)) conv=notrunc status=none
# shellcheck disable=SC2046
check 'a change' physical -q --free zero --only-changed --verify-after "$set" $(confirmed "$same")
cmp "$same" "$want" && ok 'is undone' || nok 'is undone'

# ---- Interrupted: no table ----
cat >"$TMP/interrupt" <<'SH'
"$IMGTOOL" restore-physical --json --max-throughput 1M --parallel 1 "$1" --force --yes-destroy \
	"$(basename "$2")" "$2" >"$3" 2>&1 &
pid=$!
for i in $(seq 200); do grep -q '"partition 1' "$3" && break; sleep 0.05; done
kill -9 $pid
wait $pid 2>/dev/null
exit 0
SH
bash "$TMP/interrupt" "$set" "$same" "$TMP/interrupted"
check_eq "$(head -c 1M "$same" | tr -d '\0' | wc -c)" "$(head -c 1M "$same" | tail -c +17409 |
	tr -d '\0' | wc -c)" 'R7: a killed restore leaves no table at the beginning'
check_eq "$(tail -c 16896 "$same" | tr -d '\0' | wc -c)" 0 'nor at the end'
# shellcheck disable=SC2046
check 'it can be done again' physical -q --free zero "$set" $(confirmed "$same")
cmp "$same" "$want" && ok 'and is complete' || nok 'and is complete'

# ---- Confirmed on a terminal ----
typed() { # TEXT
	printf '%s\n' "$1" |
		setsid script -qefc "exec '$IMGTOOL' restore-physical --force '$set' '$same'" \
			/dev/null >"$TMP/typed" 2>&1
}
check_status 9 'R4: anything else typed stops it' typed no
check_grep "Type $(name_of "$same") to go on" "$TMP/typed" 'it was asked for'
check_status 0 'R4: the name typed on a terminal' typed "$(name_of "$same")"
check_status 9 'R4: without a terminal it is an option or nothing' physical --force "$set" "$same"
check_grep "would be overwritten \(--yes-destroy $(name_of "$same") allows it\)" "$TMP/err" 'why'

# ---- Larger ----
target large 160M --partscan
large=$LOOP
check_status 9 'R4: a larger disk needs --force' physical --yes-destroy "$(name_of "$large")" \
	"$set" "$large"
# shellcheck disable=SC2046
check 'a larger disk' physical --verify-after "$set" $(confirmed "$large")
check_grep 'No problems found' <(sgdisk -v "$large") 'its GPT holds for sgdisk'
check_grep 'No errors detected' <(sfdisk --verify "$large" 2>&1) 'and for sfdisk'
check_eq "$(sfdisk -J "$large" | jq .partitiontable.partitions[3].size)" 8192 \
	'partitions keep their size'

# A disk whose last partition is ext4: both grow.
truncate -s 40M "$TMP/last.img"
table "$TMP/last.img" 512 <<'END'
label: gpt
start=1M, size=4M, name=first
start=6M, size=32M, name=last
END
make_ext4 "$TMP/last.ext4" 32M
put "$TMP/last.ext4" "$TMP/last.img" 6
"$IMGTOOL" backup-disk -q "$TMP/last.img" "$TMP/last"
# shellcheck disable=SC2046
check '--grow-last' physical --grow-last "$TMP/last" $(confirmed "$large")
check_eq "$(sfdisk -J "$large" | jq .partitiontable.partitions[1].size)" $((153 * 2048)) \
	'the partition is larger'
if [ -n "$partitions" ]; then
	check_grep 'its ext4 file system has grown, too' "$TMP/out" 'so is the file system'
	check 'it is whole' e2fsck -fn "${large}p2"
	blocks=$(dumpe2fs -h "${large}p2" 2>/dev/null | awk '/^Block count/ { print $3 }')
	[ "$blocks" -gt 30000 ] && ok 'and larger' || nok 'and larger' "$blocks"
else
	check_grep 'its ext4 file system has its old size: the kernel shows no partition' \
		"$TMP/out" 'what is left to do'
	skip_case 'the file system has grown' 'no partitions on loop devices here'
fi
# shellcheck disable=SC2046
check '--new-guids' physical -q --new-guids "$set" $(confirmed "$large")
ids() { sfdisk -J "$1" | jq -r '.partitiontable | .id, (.partitions[] | .uuid // empty)'; }
check_eq "$(ids "$large" | sort - <(ids "$want") | uniq -d)" '' 'no GUID is an old one'
# shellcheck disable=SC2046
check 'clone to a disk' "$IMGTOOL" clone --verify-after --free zero "$want" $(confirmed "$large")
check_grep '^  read back: OK' "$TMP/out" '--verify-after says so'
cmp -n $((94 << 20)) -i 1048576 "$large" "$want" && ok 'it has the content' ||
	nok 'it has the content'
check_grep 'No problems found' <(sgdisk -v "$large") 'and a whole GPT'
cp "$want" "$TMP/notail"
dd if=/dev/zero of="$TMP/notail" bs=1M seek=80 count=15 conv=notrunc status=none
dd if=/dev/zero of="$TMP/notail" bs=1 count=4 seek=$(((96 << 20) - 40000)) conv=notrunc status=none
target smaller 90M
# shellcheck disable=SC2046
check 'a clone to a smaller disk is read back without what its table replaced' "$IMGTOOL" clone \
	--verify-after --free zero "$TMP/notail" $(confirmed "$LOOP")
check_grep 'No problems found' <(sgdisk -v "$LOOP") 'and has a whole GPT'
# shellcheck disable=SC2046
check_status 9 'R5: the source of a clone is not its target' "$IMGTOOL" clone "$large" \
	$(confirmed "$large")

# ---- A matrix of refusals: not one byte of the target changes ----
# refused RULE PATTERN DEVICE FILE DESC ARGUMENTS...
refused() {
	local rule=$1 pattern=$2 device=$3 file=$4 desc=$5 before
	shift 5
	sync "$file"
	before=$(sha256sum <"$file")
	check_status 9 "$rule: $desc" "$@"
	check_grep "$pattern" "$TMP/err" "$desc: why"
	blockdev --flushbufs "$device" 2>/dev/null || true
	sync "$file"
	check_eq "$(sha256sum <"$file")" "$before" "$desc: not one byte has changed"
}
all() { # DEVICE: each way to restore something to it
	restore_args=(restore --force --yes-destroy "$(name_of "$1")" --set-dir "$set"
		--partition 1 "$1")
	physical_args=(restore-physical --force --yes-destroy "$(name_of "$1")" "$set" "$1")
	clone_args=(clone --force --yes-destroy "$(name_of "$1")" "$want" "$1")
}
refuse_all() { # RULE PATTERN DEVICE FILE DESC
	all "$3"
	refused "$1" "$2" "$3" "$4" "$5, restore" "$IMGTOOL" "${restore_args[@]}"
	refused "$1" "$2" "$3" "$4" "$5, restore-physical" "$IMGTOOL" "${physical_args[@]}"
	refused "$1" "$2" "$3" "$4" "$5, clone" "$IMGTOOL" "${clone_args[@]}"
}
target m1 96M
mkfs.ext4 -q -F "$LOOP"
mounted=$LOOP
mount_at "$LOOP" "$TMP/m1.mnt" -o ro,noload
refuse_all R5 'is in use: .*m1\.mnt' "$mounted" "$TMP/m1" 'mounted'

truncate -s 96M "$TMP/m2"
printf 'label: gpt\nstart=1M, size=60M\n' | sfdisk -q "$TMP/m2"
if [ -n "$partitions" ]; then
	loop_of "$TMP/m2" --partscan
	wait_until test -b "${LOOP}p1"
	mkfs.ext4 -q -F "${LOOP}p1"
	mount_at "${LOOP}p1" "$TMP/m2.mnt" -o ro,noload
	refuse_all R5 'is in use: .*m2\.mnt' "$LOOP" "$TMP/m2" 'a partition of it mounted'
else
	skip_case 'R5: a partition of it mounted' 'no partitions on loop devices here'
fi

target m3 96M
held=$LOOP
mkfs.ext4 -q -F "$held"
loop_of "$held"
mount_at "$LOOP" "$TMP/m3.mnt" -o ro,noload
refuse_all R5 'is in use: .*m3\.mnt' "$held" "$TMP/m3" 'held by a loop device in use'

target m4 96M
mkswap "$LOOP" >/dev/null
if swapon "$LOOP" 2>/dev/null; then
	cleanup swapoff "$LOOP"
	refuse_all R5 'is in use: .*swap' "$LOOP" "$TMP/m4" 'swap'
else
	skip_case 'R5: swap' 'no swap here'
fi

target m5 96M
losetup -d "$LOOP"
tap_cleanups=("${tap_cleanups[@]:0:${#tap_cleanups[@]}-1}")
loop_of "$TMP/m5" --read-only
refuse_all R5 'is read-only' "$LOOP" "$TMP/m5" 'read-only'

target m6 300M
mkfs.ext4 -q -F "$LOOP"
mount_at "$LOOP" "$TMP/m6.mnt"
cp -r "$set" "$TMP/m6.mnt/set"
mount -o remount,ro "$TMP/m6.mnt"
sync
repository=$LOOP
before=$(sha256sum <"$TMP/m6")
check_status 9 'R5: the disk that holds the set' physical --force --yes-destroy \
	"$(name_of "$repository")" "$TMP/m6.mnt/set" "$repository"
check_grep 'holds the set' "$TMP/err" 'why'
sync
check_eq "$(sha256sum <"$TMP/m6")" "$before" 'not one byte has changed'

# Loop devices that nobody uses, between the source of a clone and its target.
cp "$want" "$TMP/m9"
loop_of "$TMP/m9"
over=$LOOP
loop_of "$over"
over_loop=$LOOP
loop_of "$TMP/m9"
for pair in "$TMP/m9 $over" "$TMP/m9 $over_loop" "$over $over_loop" "$over_loop $over" \
	"$over $LOOP"; do
	# shellcheck disable=SC2086
	set -- $pair
	refused R5 'is the source itself' "$2" "$TMP/m9" "${1##*/} to ${2##*/} over loop devices" \
		"$IMGTOOL" clone --force --yes-destroy "$(name_of "$2")" "$1" "$2"
done
refused R5 'is the source itself' "$over" "$TMP/m9" 'the file under a loop device' \
	"$IMGTOOL" clone --force "$over" "$TMP/m9"

target m7 64M
refused R4 'is too small: 67108864 bytes; the source has 100663296, and needs' "$LOOP" "$TMP/m7" \
	'a smaller disk' "$IMGTOOL" restore-physical --force --yes-destroy "$(name_of "$LOOP")" \
	"$set" "$LOOP"
target m8 96M --sector-size 4096
refused R4 'has sectors of 4096 bytes, the source had 512' "$LOOP" "$TMP/m8" 'other sectors' \
	"$IMGTOOL" restore-physical --force --yes-destroy "$(name_of "$LOOP")" "$set" "$LOOP"
refused R4 "'nobody' is not its name" "$same" "$TMP/same" 'another name' "$IMGTOOL" \
	restore-physical --force --yes-destroy nobody "$set" "$same"
dd if="$TMP/want.dos" of="$same" bs=1M conv=fsync status=none
refused R4 "is another disk: disk ID" "$same" "$TMP/same" 'another disk' "$IMGTOOL" \
	restore-physical --yes-destroy "$(name_of "$same")" "$set" "$same"
cp -r "$set" "$TMP/bad"
flip "$TMP/bad/part-3.img.zst" $(($(stat -c %s "$TMP/bad/part-3.img.zst") - 300))
before=$(sha256sum <"$TMP/same")
# shellcheck disable=SC2046
check_status 7 'R4: a damaged image' physical "$TMP/bad" $(confirmed "$same")
check_eq "$(sha256sum <"$TMP/same")" "$before" 'not one byte has changed'
mkfs.ext4 -q -F "$large"
mount_at "$large" "$TMP/undo.mnt"
mkdir "$TMP/undo.mnt/undo"
# A mounted one is refused anyway: the reason is there besides.
all "$large"
check_status 9 'R4: undo copies on the target' "$IMGTOOL" "${physical_args[@]}" --undo-dir \
	"$TMP/undo.mnt/undo/deep"
check_grep 'would be overwritten with the undo copies on it' "$TMP/err" 'why'
check_status 9 'a dry run says the same' "$IMGTOOL" "${physical_args[@]}" --dry-run
check_grep '^refused \(R5\): .*in use' "$TMP/out" 'with its rule'
check_grep "^would lose $(name_of "$large"): ext4" "$TMP/out" 'and what would be lost'

done_testing
