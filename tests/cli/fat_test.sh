# FAT12, FAT16, FAT32 and exFAT volumes: used clusters only, compared with a reading of the formats
# that is not imgtool's, and with what the file systems' own tools say.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
requires mkfs.fat fsck.fat mcopy mdel mkfs.exfat fsck.exfat tsk_recover zstd jq python3
export MTOOLS_SKIP_CHECK=1

tree=$TMP/files
mkdir -p "$tree/sub/deep"
for i in $(seq 80); do
	head -c $((i * 9973 % 30000)) /dev/urandom >"$tree/file$i"
done
head -c 700000 /dev/urandom >"$tree/sub/large"
echo deep >"$tree/sub/deep/a name that is long"

# The volume lies on stale data, which must not get into an image.
garbage() { # FILE SIZE
	head -c "$2" /dev/urandom >"$1"
}

fat() { # FILE SIZE OPTIONS...
	garbage "$1" "$2"
	mkfs.fat -n FIXTURE "${@:3}" "$1" >/dev/null
	mcopy -s -i "$1" "$tree" ::/
	mdel -i "$1" '::/files/file*[369]'
}

exfat() { # FILE SIZE OPTIONS...
	garbage "$1" "$2"
	mkfs.exfat -L FIXTURE "${@:3}" "$1" >/dev/null
	printf '%s\n' 'dir /a' 'fill /a 90 30000' 'prune /a 3' 'file /large 700000' \
		'file /spread 300000 spread' | python3 "$TESTS_DIR/corpus/fs/exfat-fill.py" "$1"
}

# The source, its free ranges emptied.
expected() { # SOURCE MAP
	local off len
	cp "$1" "$TMP/expected"
	while read -r off len; do
		head -c "$len" /dev/zero | dd of="$TMP/expected" bs=1M seek="$off" conv=notrunc \
			iflag=fullblock oflag=seek_bytes status=none
	done <"$2"
}

files_of() { # fat|exfat VOLUME DIR
	rm -rf "$3"
	mkdir "$3"
	if [ "$1" = fat ]; then mcopy -s -i "$2" '::/*' "$3"; else tsk_recover -a "$2" "$3"; fi
}

for options in 'fat 4M -F 12 -s 4' 'fat 20000003 -F 16 -s 2' 'fat 40M -F 32 -s 1' \
	'exfat 20000003 -c 4K' 'exfat 24M -c 32K'; do
	read -r kind size mkfs <<<"$options"
	src=$TMP/src.img
	img=$TMP/i.zst
	# shellcheck disable=SC2086
	"$kind" "$src" $size $mkfs
	cp "$src" "$TMP/before"
	check "a volume is imaged ($options)" "$IMGTOOL" image --used-only "$src" "$img"
	same_file "$src" "$TMP/before" 'R1: the source is as it was'
	"$IMGTOOL" info --json "$img" >"$TMP/facts"
	check_eq "$(jq -r '.head | [.map.kind, .source.file_system.type,
		.source.file_system.label] | join(" ")' "$TMP/facts")" \
		"used ${kind/#fat/vfat} FIXTURE" 'only what is used'
	check 'verify' "$IMGTOOL" verify -q "$img"
	check 'zstd takes the image' zstd -tq "$img"
	check 'restore' "$IMGTOOL" restore -q "$img" "$TMP/restored"
	python3 "$TESTS_DIR/corpus/fs/$kind-map.py" "$src" >"$TMP/map"
	expected "$src" "$TMP/map"
	same_file "$TMP/expected" "$TMP/restored" 'R2: used clusters are equal, free ones empty'
	check "fsck.$kind finds nothing" "fsck.$kind" -n "$TMP/restored"
	files_of "$kind" "$src" "$TMP/a"
	files_of "$kind" "$TMP/restored" "$TMP/b"
	check 'every file is the same' diff -r "$TMP/a" "$TMP/b"
	check 'of which there are many' test "$(find "$TMP/b" -type f | wc -l)" -gt 50
	rm -f "$TMP/restored" "$img"
done

# A stick that was pulled out while a file was written: its chain never reached the FATs.
fat "$src" 40M -F 32 -s 1
first=$(mshowfat -i "$src" ::/files/sub/large | sed 's/.*<\([0-9]*\).*/\1/')
size=$(od -An -tu4 -j36 -N4 "$src")
for copy in 0 1; do
	printf '\0\0\0\0' | dd of="$src" bs=1 seek=$(((32 + copy * size) * 512 + first * 4)) \
		conv=notrunc status=none
done
check 'R2: an inconsistent one is imaged whole' "$IMGTOOL" image "$src" "$img"
check_eq "$("$IMGTOOL" info --json "$img" | jq -r .head.map.kind)" all 'all blocks'
check_grep "cluster $first, which is free" "$TMP/err" 'and the reason is said'
check 'restore' "$IMGTOOL" restore -q "$img" "$TMP/restored"
same_file "$src" "$TMP/restored" 'to the byte'

done_testing
