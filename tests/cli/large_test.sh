# Volumes larger than any one buffer: a sparse 8 TiB ext4 and a 2 TiB NTFS, within 256 MiB of
# memory. (Lessons 1, 4, 17: maps that end early, sizes that shrink, phantom clusters.)
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
requires mkfs.ext4 mkntfs ntfscp ntfscat zstd jq python3

truncate -s 9T "$TMP/probe" 2>/dev/null || skip 'no files of 9 TiB here'
rm "$TMP/probe"

# within LIMIT_MIB COMMAND...: runs it, and fails when it took more memory at its peak.
cat >"$TMP/within.py" <<'PY'
import resource, subprocess, sys
status = subprocess.run(sys.argv[2:]).returncode
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
print(f"peak {peak} MiB", file=sys.stderr)
if status == 0 and peak > int(sys.argv[1]):
    sys.exit(99)
sys.exit(status)
PY
within() { python3 "$TMP/within.py" "$@"; }

# sample SOURCE IMAGE OFFSET...: 64 KiB of the image there are those of the source
sample() {
	local source=$1 image=$2 offset
	shift 2
	for offset in "$@"; do
		cmp <("$IMGTOOL" export-range "$image" --offset "$offset" --length 64K) \
			<(dd if="$source" bs=64K count=1 iflag=skip_bytes skip="$offset" \
				status=none) &&
			ok "the bytes at $offset" || nok "the bytes at $offset"
	done
}

# ---- ext4 ----
src=$TMP/ext4.img
img=$TMP/ext4.zst
make_tree "$TMP/tree"
truncate -s 8T "$src"
# Few inodes, for their tables count as used; a superblock in the last group, so that only a map
# that reaches the end has it.
mkfs.ext4 -q -F -m 0 -i 67108864 -J size=64 -O sparse_super2 \
	-E nodiscard,lazy_itable_init=1,lazy_journal_init=1 "$src"
debugfs -w -R "write $TMP/tree/random random" "$src" >/dev/null 2>&1
last=$((65535 * 32768 * 4096))
check_eq "$(od -An -tx2 -j $((last + 56)) -N 2 "$src" | tr -d ' ')" ef53 \
	'the last group has a superblock'

check 'an 8 TiB ext4 is imaged within 256 MiB' within 256 "$IMGTOOL" image --quiet "$src" "$img"
tap_comment <"$TMP/err"
check_eq "$(info_of "$img" '[.head.map.kind, .source_bytes] | join(" ")')" \
	"used $((8 << 40))" 'used only, all of it'
check 'verified within 256 MiB' within 256 "$IMGTOOL" verify -q "$img"
tap_comment <"$TMP/err"
sample "$src" "$img" 0 $last $(((8 << 40) - 65536))
sample "$src" "$img" $((32768 * 4096)) # the other backup superblock
block=$(debugfs -R 'bmap random 0' "$src" 2>/dev/null)
sample "$src" "$img" $((block * 4096))
check 'a part of it is exported within 256 MiB' within 256 "$IMGTOOL" export-raw -q --offset $last \
	--length 1M "$img" "$TMP/part"
check_eq "$(od -An -tx2 -j 56 -N 2 "$TMP/part" | tr -d ' ')" ef53 'from far out'
rm -f "$src" "$img" "$TMP/part"

# ---- NTFS ----
src=$TMP/ntfs.img
img=$TMP/ntfs.zst
truncate -s 2T "$src"
mkntfs -q -F -Q -s 512 -p 63 -H 16 -S 63 "$src" >/dev/null 2>&1
ntfscp -q "$src" "$TMP/tree/random" random >/dev/null
check 'a 2 TiB NTFS is imaged within 256 MiB' within 256 "$IMGTOOL" image --quiet "$src" "$img"
tap_comment <"$TMP/err"
check_eq "$(info_of "$img" '[.head.map.kind, .source_bytes] | join(" ")')" \
	"used $((2 << 40))" 'used only, all of it'
check 'verified within 256 MiB' within 256 "$IMGTOOL" verify -q "$img"
tap_comment <"$TMP/err"
sample "$src" "$img" 0 $((1 << 40)) $(((2 << 40) - 65536))
check 'restored to a sparse file within 256 MiB' within 256 "$IMGTOOL" restore -q "$img" \
	"$TMP/ntfs.raw"
tap_comment <"$TMP/err"
check_eq "$(stat -c %s "$TMP/ntfs.raw")" $((2 << 40)) 'of the whole size'
ntfscat "$TMP/ntfs.raw" random 2>/dev/null | cmp - "$TMP/tree/random" && ok 'with its file' ||
	nok 'with its file'

done_testing
