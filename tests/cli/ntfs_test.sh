# NTFS volumes: used clusters only, compared with what the NTFS tools say.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
requires mkntfs ntfscp ntfscat ntfsfix zstd jq python3

n=0
# A small and a large cluster; a volume whose size is no multiple of the cluster.
for options in '64M' '64M -c 512' '67111424 -c 65536'; do
	n=$((n + 1))
	src=$TMP/ntfs$n.img
	img=$TMP/ntfs$n.zst
	# shellcheck disable=SC2086
	make_ntfs "$src" $options
	cp "$src" "$TMP/before"
	check "an NTFS volume is imaged ($options)" "$IMGTOOL" image "$src" "$img"
	same_file "$src" "$TMP/before" 'R1: the source is as it was'
	"$IMGTOOL" info --json "$img" >"$TMP/facts"
	check_eq "$(jq -r '.head | [.map.kind, .source.file_system.type,
		.source.file_system.label] | join(" ")' "$TMP/facts")" \
		'used ntfs Fixture' 'only what is used'
	check 'verify' "$IMGTOOL" verify -q "$img"
	check 'zstd takes the image' zstd -tq "$img"
	check 'restore' "$IMGTOOL" restore -q "$img" "$TMP/restored"
	zstd -dcq "$img" | cmp - "$TMP/restored" && ok 'zstd restores the same' ||
		nok 'zstd restores the same'
	check 'R2: used clusters are equal, free ones empty' python3 \
		"$TESTS_DIR/cli/compare_blocks.py" ntfs "$src" "$TMP/restored"
	# R3: the last sector of the partition is the backup of the boot sector, in no cluster.
	check_eq "$(tail -c 512 "$TMP/restored" | od -An -tx1 | md5sum)" \
		"$(tail -c 512 "$src" | od -An -tx1 | md5sum)" \
		'R3: the backup boot sector is there'
	check 'ntfsfix finds nothing' ntfsfix -n "$TMP/restored"
	for name in program random hole; do
		ntfscat "$TMP/restored" "$name" 2>/dev/null | cmp - "$TMP/tree/$name" &&
			ok "$name is whole" || nok "$name is whole"
	done
	rm -f "$TMP/restored"
done

done_testing
