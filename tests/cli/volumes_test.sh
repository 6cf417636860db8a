# imgtool image --volumes: several volumes, one directory.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
. "$TESTS_DIR/cli/disk_fixture.sh"
requires mkfs.ext4 mkfs.fat mcopy mkntfs ntfscp mkswap zstd jq

make_parts 512
vol=$TMP/vol
a=$TMP/part.ext4 b=$TMP/part.fat c=$TMP/part.ntfs

check 'image --volumes' "$IMGTOOL" image --volumes "$a,$b" --volumes "$a,$b,$c" --out-dir "$vol"
check_eq "$(ls "$vol" | paste -sd' ')" 'ESP.img.zst Root.img.zst Win.img.zst backup.manifest.json' \
	'a file for each, by what people call it'
check_eq "$(jq -r '.volumes[] | "\(.index) \(.image.file) \(.file_system.type)"' \
	"$vol/backup.manifest.json" | paste -sd,)" \
	'1 Root.img.zst ext4,2 ESP.img.zst vfat,3 Win.img.zst ntfs' 'in the manifest in their order'
check_eq "$(jq -r .kind "$vol/backup.manifest.json")" volumes 'which says that they are volumes'
check_eq "$(jq -r '.volumes[].source.path' "$vol/backup.manifest.json")" \
	"$(printf '%s\n' "$a" "$b" "$c")" 'with their sources'
check 'verify-set' "$IMGTOOL" verify-set "$vol"
check 'info' "$IMGTOOL" info "$vol"
check_grep '^ 3 .*/part.ntfs +12.0 MiB +ntfs +Win +Win.img.zst' "$TMP/out" 'has a line for each'
check_status 2 'dump-pt of volumes' "$IMGTOOL" dump-pt "$vol"
zstd -qdc "$vol/Win.img.zst" >"$TMP/o.ntfs"
check 'a volume is whole' sh -c "ntfscat $TMP/o.ntfs program | cmp - $TMP/small/program"

# Two of one name.
cp "$a" "$TMP/second"
check 'volumes with one label' "$IMGTOOL" image -q --volumes "$a,$TMP/second" --out-dir "$TMP/two"
check_eq "$(ls "$TMP/two" | paste -sd' ')" 'Root-2.img.zst Root.img.zst backup.manifest.json' \
	'do not replace each other'

# ---- Usage ----
check_status 2 'a volume twice' "$IMGTOOL" image --volumes "$a,$TMP/./part.ext4" --out-dir "$TMP/x"
check_status 2 '--volumes without --out-dir' "$IMGTOOL" image --volumes "$a,$b"
check_status 2 '--out-dir without --volumes' "$IMGTOOL" image --out-dir "$TMP/x" "$a" "$TMP/i.zst"
check_status 2 '--volumes and operands' "$IMGTOOL" image --volumes "$a" --out-dir "$TMP/x" "$b" y
check_status 2 '--volumes of nothing' "$IMGTOOL" image --volumes , --out-dir "$TMP/x"
check_status 3 'one that does not exist' "$IMGTOOL" image --volumes "$a,$TMP/none" \
	--out-dir "$TMP/x"
check_fails 'is seen before anything is written' test -e "$TMP/x"
check_status 9 'R8: a set is not replaced' "$IMGTOOL" image --volumes "$a,$b" --out-dir "$vol"
check '--force replaces it' "$IMGTOOL" image -q --force --volumes "$a,$b" --out-dir "$vol"
check_eq "$(jq '.volumes | length' "$vol/backup.manifest.json")" 2 'by the new one'
cp "$a" "$vol/Win.img.zst"
check_status 9 'R8: a source has the name of an image' "$IMGTOOL" image --force --volumes \
	"$vol/Win.img.zst,$c" --out-dir "$vol"
check_grep 'is the source itself' "$TMP/err" 'why'
check 'and the old set is still one' "$IMGTOOL" info "$vol"
check '--dry-run' "$IMGTOOL" image --dry-run --volumes "$a,$b" --out-dir "$TMP/x"
check_grep '^ESP.img.zst ' "$TMP/out" 'prints the plan'
check_fails 'and writes nothing' test -e "$TMP/x"

# ---- Job scripts ----
make_disk "$TMP/disk.img" dos 512
cat >"$TMP/job.lua" <<'END'
local disk, dir = ...
local made = job { action = 'backup-disk', device = disk, set_dir = dir .. '/s', level = 1 }
print('images', #made.images, made.table)
local checked = job { action = 'verify-set', set_dir = dir .. '/s', quick = true }
print('checked', checked.blocks_checked < checked.blocks)
local volumes = job { action = 'volumes', volumes = { dir .. '/part.ext4', dir .. '/part.fat' },
  out_dir = dir .. '/v' }
print('volumes', #volumes.images)
END
check 'a job script' "$IMGTOOL" run "$TMP/job.lua" "$TMP/disk.img" "$TMP"
check_grep '^images	5	dos' "$TMP/out" 'makes a set'
check_grep '^checked	true' "$TMP/out" 'checks it'
check_grep '^volumes	2' "$TMP/out" 'and images volumes'
rm -r "$TMP/s" "$TMP/v"
check 'its plan' "$IMGTOOL" run --dry-run "$TMP/job.lua" "$TMP/disk.img" "$TMP"
check_fails 'writes nothing' test -e "$TMP/s"

done_testing
