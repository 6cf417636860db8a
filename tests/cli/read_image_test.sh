# Images that imgtool writes, held against scripts/read_image.py, which was made from the
# specification alone: what one of the two gets wrong, the other refuses.
# shellcheck shell=bash
. "$(dirname "$0")/../lib.sh"
requires python3 zstd
[ -x "$IMGTOOL" ] || skip "$IMGTOOL is not built"
READER=$TOP/scripts/read_image.py

# Without site packages: that is half of the time of a short run.
python() {
	python3 -S "$@"
}

reader() {
	python "$READER" "$@"
}

# make_source FILE BYTES: the first quarter does not compress (so that a changed byte of a frame is
# a changed byte of a block), then text, then zeros, then text again.
make_source() {
	python - "$1" "$2" <<-'PYTHON'
		import random, sys
		size = int(sys.argv[2])
		part = size // 4
		text = b''.join(b'line %d of the source\n' % i for i in range(size // 10 + 2))
		data = random.Random(2).randbytes(part) + text[:part] + bytes(part) + text
		open(sys.argv[1], 'wb').write(data[:size])
	PYTHON
}

extracts() { # IMG PLAIN [OPTION...]
	rm -f "$TMP/plain"
	reader extract "$1" "$TMP/plain" "${@:3}" && cmp "$TMP/plain" "$2"
}

# The bytes [OFFSET, OFFSET + LENGTH) alone.
extracts_range() { # IMG PLAIN OFFSET LENGTH
	tail -c "+$(($3 + 1))" "$2" | head -c "$4" >"$TMP/range" || true
	extracts "$1" "$TMP/range" --offset "$3" --length "$4"
}

lists_as_json() { # IMG SIZE
	reader list --json "$1" | python -c 'import json, sys
facts = json.load(sys.stdin)
assert facts["source_bytes"] == sum(facts["bytes"].values()) == int(sys.argv[1])
assert facts["source_bytes"] == sum(chunk["length"] for chunk in facts["chunks"])' "$2"
}

# Both readers find an image good, and find the same in it.
hold() { # NAME IMG PLAIN
	local size
	size=$(stat -c %s "$3")
	check "$1: imgtool verifies it" "$IMGTOOL" verify "$2"
	check "$1: the script verifies it" reader verify "$2"
	check "$1: zstd tests it" zstd -tq "$2"
	check "$1: the script lists it" reader list "$2"
	check "$1: its list adds up" lists_as_json "$2" "$size"
	check "$1: the script extracts the source" extracts "$2" "$3"
	check "$1: and a range of it" extracts_range "$2" "$3" $((size / 3)) $(((size + 1) / 2))
}

# image NAME SIZE [OPTION...]: a source and its image, held.
image() {
	local plain=$TMP/$1.plain
	make_source "$plain" "$2"
	local img=$TMP/$1.img.zst
	check "$1: imgtool makes it" "$IMGTOOL" image "$plain" "$img" --all-blocks "${@:3}"
	hold "$1" "$img" "$plain"
	reader list "$img" >"$TMP/$1.list" || true
}

image default 1000000
image chunks 1000777 --block-size 64K --chunk-size 128K
check_grep '^chunk 7: ' "$TMP/chunks.list" 'chunks: there are as many as asked for'
check_grep '^bytes .*"zero": [1-9]' "$TMP/chunks.list" 'chunks: zeros are a hole'
image sha256 500001 --block-size 64K --chunk-size 64K --hash sha256
check_grep '^hash +sha256' "$TMP/sha256.list" 'sha256: the hash is'
image level19 2097152 --block-size 1M --level 19
image one-byte 1
image empty 0
image exact 1048576 --block-size 256K --chunk-size 512K

# Free space: the image holds what zstd unpacks, not what the source had there.
used_only() {
	local plain=$TMP/ext4.plain img=$TMP/ext4.img.zst
	head -c 1000000 "$TMP/default.plain" >"$TMP/file"
	truncate -s 16M "$plain"
	mkfs.ext4 -q -F "$plain"
	debugfs -w -R "write $TMP/file file" "$plain" >"$TMP/log" 2>&1
	check 'ext4: imgtool makes it' "$IMGTOOL" image "$plain" "$img"
	zstd -dcq "$img" >"$TMP/ext4.unpacked" || true
	hold ext4 "$img" "$TMP/ext4.unpacked"
	check 'ext4: fsck finds nothing' e2fsck -fn "$TMP/ext4.unpacked"
	reader list "$img" >"$TMP/ext4.list" || true
	check_grep '^bytes .*"free": [1-9]' "$TMP/ext4.list" 'ext4: free space is left out'
}
if command -v mkfs.ext4 >/dev/null && command -v debugfs >/dev/null; then
	used_only
else
	skip_case 'ext4' 'e2fsprogs is not installed'
fi

for img in "$TESTS_DIR"/golden/*.zst; do
	[ -e "$img" ] || continue
	name="golden ${img##*/}"
	zstd -dcq "$img" >"$TMP/unpacked" || true
	check "$name: imgtool verifies it" "$IMGTOOL" verify "$img"
	check "$name: the script verifies it" reader verify "$img"
	check "$name: the script extracts it" extracts "$img" "$TMP/unpacked" --zero-bad
done

# refuse NAME IMG: damaged (7) for both.
refuse() {
	check_status 7 "$1: imgtool refuses it" "$IMGTOOL" verify "$2"
	check_status 7 "$1: the script refuses it" reader verify "$2"
}

# flip NAME OFFSET: one bit of a byte of the image `chunks`.
flip() {
	python - "$TMP/chunks.img.zst" "$TMP/damaged.img.zst" "$2" <<-'PYTHON'
		import sys
		data = bytearray(open(sys.argv[1], 'rb').read())
		data[int(sys.argv[3])] ^= 0x40
		open(sys.argv[2], 'wb').write(data)
	PYTHON
	refuse "a flipped bit in $1" "$TMP/damaged.img.zst"
}

# Where the parts of `chunks` are: name and offset, a line each.
parts() {
	reader list --json "$TMP/chunks.img.zst" | python -c 'import json, sys
facts = json.load(sys.stdin)
for name, position in facts["positions"].items():
    print(name.replace(" ", "_"), position)
for i, chunk in enumerate(facts["chunks"]):
    print("chunk%d" % i, chunk["position"])
    print("table%d" % i, chunk["table_position"])
print("hole_end", [c for c in facts["chunks"] if "zero" in c["bytes"]][0]["table_position"])'
}

damage() {
	local img=$TMP/chunks.img.zst name offset
	local -A at
	while read -r name offset; do at[$name]=$offset; done < <(parts)
	flip "HEAD's fields" 100
	flip "HEAD's padding" $((at[chunk0] - 20))
	flip 'CHNK' $((at[chunk0] + 66))
	flip "a frame's magic" $((at[chunk0] + 96))
	flip 'a block' $((at[chunk0] + 1096))
	flip "a frame's checksum" $((at[table0] - 1))
	flip 'a hole' $((at[hole_end] - 1))
	flip "TABL's entries" $((at[table3] + 90))
	flip "TABL's padding" $((at[chunk4] - 20))
	flip 'INDX' $((at[INDX] + 60))
	flip 'META' $((at[META] + 60))
	flip 'COPY' $((at[COPY] + 60))
	flip "TAIL's root hash" $((at[TAIL] + 170))
	flip 'the seek table' $((at[seek_table] + 20))
	flip "the seek table's magic" $(($(stat -c %s "$img") - 1))
	head -c "${at[TAIL]}" "$img" >"$TMP/damaged.img.zst"
	refuse 'an image without TAIL' "$TMP/damaged.img.zst"
	cat "$img" <(head -c 512 /dev/zero) >"$TMP/damaged.img.zst"
	refuse 'an image with something behind it' "$TMP/damaged.img.zst"
}

if [ -e "$TMP/chunks.img.zst" ]; then damage; fi

echo 'not an image, but longer than the first record' | zstd -q >"$TMP/other.zst"
check_status 8 'another zstd file: imgtool refuses it' "$IMGTOOL" verify "$TMP/other.zst"
check_status 8 'another zstd file: the script refuses it' reader verify "$TMP/other.zst"
done_testing
