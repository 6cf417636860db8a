# imgtool info and list: what they say is what other tools say.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
requires mkfs.ext4 zstd jq blkid dumpe2fs

src=$TMP/src.img
img=$TMP/i.zst
make_ext4 "$src"
image_quietly --chunk-size 4M --created "$CREATED" --uuid "$UUID" "$src" "$img"

check 'info' "$IMGTOOL" info "$img"
for line in 'format +2\.0' "uuid +$UUID" "created +$CREATED, imgtool [0-9.]+" \
	'source +.*src\.img, file' \
	'size +64\.0 MiB \(67108864 bytes\), sectors 512/512' 'map +used' \
	'settings +level 3, xxh3-128, blocks of 256K, chunks of 4M' \
	'kinds +data .* zero .* free .* bad 0 B' \
	'image file +[0-9.]+ MiB, ratio [0-9.]+:1 of the source, [0-9.]+:1 of the data' \
	'chunks +16' 'root hash +[0-9a-f]{64}'; do
	check_grep "^$line\$" "$TMP/out" "info has ${line%% *}"
done
check_grep "^file system +ext4, Fixture, $(blkid -o value -s UUID "$src")\$" "$TMP/out" \
	'the file system is what blkid says'
cp "$TMP/out" "$TMP/page"
check '--in' "$IMGTOOL" info --in "$img"
check_eq "$(cat "$TMP/out")" "$(cat "$TMP/page")" 'is the same'

check '--json' "$IMGTOOL" info --json "$img"
check_eq "$(wc -l <"$TMP/out")" 1 'one object'
cp "$TMP/out" "$TMP/json"
get() { jq -r "$1" "$TMP/json"; }
check_eq "$(get .event)" info 'event'
check_eq "$(get .file_bytes)" "$(stat -c %s "$img")" 'the size of the file'
check_eq "$(get .source_bytes)" "$(stat -c %s "$src")" 'the size of the source'
check_eq "$(get '.data_bytes + .zero_bytes + .free_bytes + .bad_bytes')" "$(get .source_bytes)" \
	'the kinds add up'
check_eq "$(get .head.source.file_system.type)" ext4 'the text of HEAD'
check_eq "$(get .bad_ranges)" '[]' 'an empty array is an array'
# What is free in whole blocks of the image is at most what is free in the file system.
free=$(dumpe2fs -h "$src" 2>/dev/null |
	awk '/^Free blocks/ { b = $3 } /^Block size/ { s = $3 } END { print b * s }')
[ "$(get .free_bytes)" -le "$free" ] && [ "$(get .free_bytes)" -gt $((free / 2)) ] &&
	ok 'free space is that of dumpe2fs, in whole blocks' ||
		nok 'free space' "$(get .free_bytes) of $free"

check '--chunks' "$IMGTOOL" info --chunks "$img"
check_eq "$(grep -cE '^ +[0-9]+ +[0-9]+ +4194304 +[0-9]+' "$TMP/out")" 16 'a line for each chunk'
"$IMGTOOL" info --chunks --json "$img" >"$TMP/chunks"
check_eq "$(events chunk <"$TMP/chunks" | jq -s 'map(.data_bytes) | add')" "$(get .data_bytes)" \
	'their data adds up'
check_eq "$(events chunk <"$TMP/chunks" | jq -s 'map(.stored_bytes) | add')" \
	"$(get .stored_bytes)" 'and what they store'
check_eq "$(events chunk <"$TMP/chunks" | jq -s 'map(.frames) | add')" "$(get .frames)" \
	'and their frames'

# A label that wants to talk to the terminal.
cp "$src" "$TMP/label.img"
tune2fs -L "$(printf 'a\033[2Jb')" "$TMP/label.img" >/dev/null 2>&1
image_quietly "$TMP/label.img" "$TMP/label.zst"
check 'an escape sequence in a label' "$IMGTOOL" info "$TMP/label.zst"
check_grep '^file system +ext4, a\?\[2Jb, ' "$TMP/out" 'does not reach the terminal'

check_status 8 'no image' "$IMGTOOL" info "$src"
check_status 3 'no file' "$IMGTOOL" info "$TMP/none"
check_status 2 'no operand' "$IMGTOOL" info

# ---- list ----
check 'list' "$IMGTOOL" list
check_grep '^DISK +SIZE +KIND +BUS +MODEL +SERIAL +WWN +TABLE +SECTOR +USED$' "$TMP/out" 'its head'
check_grep '^NAME +START +SIZE +TYPE +FS +LABEL +UUID +HELD BY$' "$TMP/out" 'and of the volumes'
cp "$TMP/out" "$TMP/table"
check 'list --json' "$IMGTOOL" list --json
cp "$TMP/out" "$TMP/devices"
check_eq "$(jq -r .event "$TMP/devices" | sort -u)" "$(jq -r .event "$TMP/devices" | head -n 1)" \
	'one kind of object'
# Loop devices come and go while other tests run.
first_words() { tail -n +2 | awk '$1 !~ /^loop/ { print $1 }'; }
names() { jq -r "select($1) | .name" "$TMP/devices" | grep -v '^loop'; }
check_eq "$(sed '/^$/,$d' "$TMP/table" | first_words)" "$(names '.parent == ""')" \
	'each disk has its line'
check_eq "$(sed '1,/^$/d' "$TMP/table" | first_words)" \
	"$(names '.parent != "" or .fs_type != "" or .mounts != []')" 'and each volume'
disk=$(jq -r 'select(.kind == "disk") | .name' "$TMP/devices" | head -n 1)
if [ -n "$disk" ]; then
	check_eq "$(jq -r "select(.name == \"$disk\") | .size_bytes" "$TMP/devices")" \
		"$(($(cat "/sys/block/$disk/size") * 512))" 'sizes are those of the kernel'
	check_grep "^$disk +[0-9.]+ [KMGT]?i?B +disk" "$TMP/table" 'a disk has its line'
	point=$(findmnt -rn -o TARGET -S "/dev/$disk" | head -n 1)
	if [ -n "$point" ]; then
		check_eq "$(jq -r "select(.name == \"$disk\") | .mounts[0]" "$TMP/devices")" \
			"$point" 'mounts are those of findmnt'
	fi
else
	skip_case 'sizes are those of the kernel' 'no disk here'
fi

done_testing
