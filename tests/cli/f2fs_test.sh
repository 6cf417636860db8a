# F2FS volumes: used blocks only, checked and read by f2fs-tools.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
requires mkfs.f2fs sload.f2fs fsck.f2fs dump.f2fs zstd jq

# content FILE: one line for each file of the volume, with the sum of what dump.f2fs reads of it
content() {
	fsck.f2fs --dry-run -t "$1" | sed -n 's/.*-- \([^ ]*\) <ino = 0x\([0-9a-f]*\)>.*/\1 \2/p' |
		while read -r name ino; do
			(cd "$TMP" && rm -rf lost_found && yes | dump.f2fs -i "0x$ino" "$1") \
				>/dev/null 2>&1 || true
			[ -f "$TMP/lost_found/$name" ] || continue
			echo "$name $(cksum <"$TMP/lost_found/$name")"
		done
}

mkdir -p "$TMP/tree/deep"
for i in 1 2 3 4 5 6; do head -c $((i * i * 9000)) /dev/urandom >"$TMP/tree/deep/file$i"; done
n=0
# As mkfs.f2fs does by itself; sections of two segments and the newer features.
for options in '' '-s 2 -O extra_attr,inode_checksum,sb_checksum,compression'; do
	n=$((n + 1))
	src=$TMP/f2fs$n.img
	img=$TMP/f2fs$n.zst
	head -c 60M /dev/urandom >"$src" # stale data, which must not get into an image
	truncate -s 120M "$src"
	# shellcheck disable=SC2086
	mkfs.f2fs -q -f -l Fixture -t 0 $options "$src" >/dev/null
	sload.f2fs -f "$TMP/tree" "$src" >/dev/null
	cp "$src" "$TMP/before"
	check "an F2FS volume is imaged ($options)" "$IMGTOOL" image "$src" "$img"
	same_file "$src" "$TMP/before" 'R1: the source is as it was'
	check_eq "$(info_of "$img" '.head | [.map.kind, .source.file_system.type,
		.source.file_system.label] | join(" ")')" 'used f2fs Fixture' 'only what is used'
	check 'the image is small' [ "$(stat -c %s "$img")" -lt $((30 * 1024 * 1024)) ]
	check 'verify' "$IMGTOOL" verify -q "$img"
	check 'restore' "$IMGTOOL" restore -q "$img" "$TMP/restored"
	zstd -dcq "$img" | cmp - "$TMP/restored" && ok 'zstd restores the same' ||
		nok 'zstd restores the same'
	check 'fsck.f2fs finds nothing' fsck.f2fs --dry-run "$TMP/restored"
	check_eq "$(grep -E 'Fail|ASSERT' "$TMP/out" || true)" '' 'nor does it complain'
	content "$src" >"$TMP/content"
	content "$TMP/restored" | cmp - "$TMP/content" && ok 'every file is equal' ||
		nok 'every file is equal'
	check_eq "$(wc -l <"$TMP/content")" 6 'and there are all of them'
	rm -f "$src" "$img" "$TMP/restored" "$TMP/before"
done

# One that was synced but not unmounted is taken whole, with the reason.
zstd -dqf "$TESTS_DIR/corpus/fs/f2fs-live.img.zst" -o "$TMP/live"
check 'a live one is imaged' "$IMGTOOL" image "$TMP/live" "$TMP/live.zst"
check_grep 'all blocks of .*live are taken: not cleanly unmounted' "$TMP/err" 'with the reason'
check 'and restored' "$IMGTOOL" restore -q "$TMP/live.zst" "$TMP/restored"
same_file "$TMP/live" "$TMP/restored" 'with every byte'

done_testing
