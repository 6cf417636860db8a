# What is recognised but not mapped: all blocks are taken, and the user reads why, on the screen and
# in the image.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
requires zstd jq

CORPUS=$TESTS_DIR/corpus/fs

# taken_whole NAME TYPE REASON: an image of the corpus
taken_whole() {
	local src=$TMP/$1.img img=$TMP/$1.zst
	zstd -dqf "$CORPUS/$1.img.zst" -o "$src"
	check "$1 is imaged" "$IMGTOOL" image "$src" "$img"
	check_grep "^imgtool: all blocks of .*$1\.img are taken: $3\$" "$TMP/err" \
		"$1: the reason is on the screen"
	check_eq "$(info_of "$img" '.head | [.map.kind, .map.reason, .source.file_system.type] |
		join("|")')" "all|${3//\\/}|$2" "$1: and in the image"
	check "$1: info" "$IMGTOOL" info "$img"
	check_grep "$3" "$TMP/out" "$1: and info says it"
	check "$1 is restored" "$IMGTOOL" restore -q "$img" "$TMP/restored"
	same_file "$src" "$TMP/restored" "$1: every byte is there"
	rm -f "$src" "$img" "$TMP/restored"
}

taken_whole luks1 crypto_LUKS 'encrypted volume \(LUKS\)'
taken_whole luks2 crypto_LUKS 'encrypted volume \(LUKS\)'
taken_whole bitlocker BitLocker 'encrypted volume \(BitLocker\)'
taken_whole lvm2 LVM2_member 'LVM physical volume'
taken_whole swap-hibernated swsuspend 'swap that holds a hibernated system'

# A swap area is mapped: its pages are not taken, and nothing is to be explained.
zstd -dqf "$CORPUS/swap-4k.img.zst" -o "$TMP/swap"
check 'swap is imaged' "$IMGTOOL" image "$TMP/swap" "$TMP/swap.zst"
check_eq "$(grep 'all blocks' "$TMP/err" || true)" '' 'without its pages'
check_eq "$(info_of "$TMP/swap.zst" '.head | [.map.kind, .map.reason,
	.source.file_system.type] | map(. // "none") | join("|")')" 'used|none|swap' \
	'and the image says so'
# R2: what is not free is as it was: the header, and what is behind the last page.
check 'swap is restored' "$IMGTOOL" restore -q "$TMP/swap.zst" "$TMP/restored"
check 'the header is there' cmp -n 65536 "$TMP/swap" "$TMP/restored"
check 'and the tail' cmp -i 999424 "$TMP/swap" "$TMP/restored"
check_eq "$(tr -d '\000' <"$TMP/restored" | wc -c)" \
	"$({ head -c 65536 "$TMP/swap" && tail -c +999425 "$TMP/swap"; } | tr -d '\000' | wc -c)" \
	'and nothing else'

done_testing
