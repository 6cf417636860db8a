# The public seek table: a reader of the Zstandard Seekable Format that knows nothing of imgtool
# finds its way in every image.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
requires mkfs.ext4 zstd python3

seek=$TESTS_DIR/cli/seek_table.py

# check_seek NAME IMAGE: the table fits the file and what zstd makes of the whole of it.
check_seek() {
	check "$1: zstd tests it" zstd -tq "$2"
	zstd -dcq "$2" >"$TMP/plain"
	check "$1: the seek table leads to the right bytes" python3 "$seek" "$2" "$TMP/plain"
}

make_ext4 "$TMP/src"
check 'a file system is imaged' image_quietly "$TMP/src" "$TMP/ext4.zst"
check_seek 'used blocks' "$TMP/ext4.zst"
check 'all blocks, small ones' image_quietly --all-blocks --block-size 64K --chunk-size 1M \
	"$TMP/src" "$TMP/all.zst"
check_seek 'all blocks, small ones' "$TMP/all.zst"
image_quietly "$TMP/src" - >"$TMP/piped.zst" && ok 'through a pipe' || nok 'through a pipe'
check_seek 'through a pipe' "$TMP/piped.zst"

for img in "$TESTS_DIR"/golden/*.zst; do
	check_seek "golden ${img##*/}" "$img"
done

# The reader can say no.
size=$(stat -c %s "$TMP/all.zst")
cp "$TMP/all.zst" "$TMP/bad.zst"
flip "$TMP/bad.zst" $((size - 9 - 8 * 5))
check_fails 'a changed entry is noticed' python3 "$seek" "$TMP/bad.zst"
check_fails 'by imgtool, too' "$IMGTOOL" verify "$TMP/bad.zst"
zstd -dcq "$TMP/all.zst" >"$TMP/plain"
flip "$TMP/plain" 100
check_fails 'other bytes are noticed' python3 "$seek" "$TMP/all.zst" "$TMP/plain"
printf 'no table here at all' >"$TMP/none"
check_fails 'and a file without a table' python3 "$seek" "$TMP/none"

done_testing
