# Images that imgtool writes, held against scripts/read_image.py, which was made from the
# specification alone: what one of the two gets wrong, the other refuses.
# shellcheck shell=bash
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
requires python3 zstd jq
[ -x "$IMGTOOL" ] || skip "$IMGTOOL is not built"
READER=$TOP/scripts/read_image.py

# Without site packages: that is half of the time of a short run.
python() {
	python3 -S "$@"
}

reader() {
	python "$READER" "$@"
}

# make_source FILE SEED SIZE: parts of noise (of which a changed byte is a changed byte of a block),
# text and zeros, of random lengths.
make_source() {
	python - "$@" <<-'PYTHON'
		import random, sys
		path, seed, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
		r, data = random.Random(seed), bytearray()
		text = b''.join(b'line %d of the source\n' % i for i in range(size // 10 + 2))
		while len(data) < size:
		    n = r.randrange(1, size // 3 + 2)
		    at = r.randrange(max(1, len(text) - n))
		    data += (r.randbytes(n), text[at:at + n], bytes(n))[r.randrange(3)]
		open(path, 'wb').write(data[:size])
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

# What both say of the image, and of each of its chunks.
same_facts() { # IMG
	reader list --json "$1" >"$TMP/list.json" &&
		"$IMGTOOL" info --json --chunks "$1" >"$TMP/info.json" &&
		python "$TESTS_DIR/cli/same_facts.py" "$TMP/list.json" "$TMP/info.json"
}

# Both readers find an image good, and find the same in it.
hold() { # NAME IMG PLAIN
	local size
	size=$(stat -c %s "$3")
	check "$1: imgtool verifies it" "$IMGTOOL" verify -q "$2"
	check "$1: the script verifies it" reader verify "$2"
	check "$1: both list the same" same_facts "$2"
	check "$1: the script extracts the source" extracts "$2" "$3"
	check "$1: and a range of it" extracts_range "$2" "$3" $((size / 3)) $(((size + 1) / 2))
	check "$1: imgtool exports the same" "$IMGTOOL" export-raw -q --force "$2" "$TMP/exported"
	check "$1: byte for byte" cmp "$TMP/exported" "$3"
	check "$1: and so does zstd" cmp <(zstd -dcq "$2") "$3"
}

# image NAME SEED SIZE [OPTION...]: a source and its image, held.
image() {
	local plain=$TMP/$1.plain img=$TMP/$1.img.zst
	make_source "$plain" "$2" "$3"
	check "$1: imgtool makes it" image_quietly "$plain" "$img" --all-blocks "${@:4}"
	hold "$1" "$img" "$plain"
}

# A damaged one is made of this: eight chunks, and every kind of frame but free and bad ones.
chunks() {
	local plain=$TMP/chunks.plain img=$TMP/chunks.img.zst
	{
		head -c 250000 /dev/urandom
		seq 40000
		head -c 300000 /dev/zero
		seq 40000
	} >"$plain"
	truncate -s 1000777 "$plain"
	check 'chunks: imgtool makes it' \
		image_quietly "$plain" "$img" --block-size 64K --chunk-size 128K
	hold chunks "$img" "$plain"
}
chunks
image one-byte 1 1
image empty 1 0

# pick VARIABLE VALUE...: one of them. (RANDOM in a subshell would not be the seed's.)
pick() {
	local to=$1
	shift
	printf -v "$to" %s "${@:1 + RANDOM % $#:1}"
}

# Random images. To repeat them: READ_IMAGE_SEED=N.
seed=${READ_IMAGE_SEED:-$((RANDOM * 32768 + RANDOM))}
echo "# READ_IMAGE_SEED=$seed"
RANDOM=$seed
block='' size='' hash='' level=''
for round in 1 2 3 4 5 6 7 8; do
	pick block 64 128 256 1024
	pick size $((RANDOM % 300)) $((RANDOM * 50)) $((RANDOM * 20)) $((65536 * (1 + RANDOM % 20)))
	pick hash xxh3-128 sha256
	pick level 1 3 9 19
	image "round-$round" "$RANDOM" "$size" --hash "$hash" --level "$level" \
		--block-size "${block}K" --chunk-size $((block * (1 + RANDOM % 9)))K
done

# Free space: the image holds what zstd unpacks, not what the source had there.
used_only() { # NAME OPTION...
	local plain=$TMP/ext4.plain img=$TMP/$1.img.zst
	head -c 8M /dev/urandom >"$plain"
	make_source "$TMP/file" "$RANDOM" $((RANDOM * 30))
	mkfs.ext4 -q -F -E nodiscard "$plain"
	debugfs -w -R "write $TMP/file file" "$plain" >"$TMP/log" 2>&1
	check "$1: imgtool makes it" image_quietly "$plain" "$img" "${@:2}"
	zstd -dcq "$img" >"$TMP/ext4.unpacked" || true
	hold "$1" "$img" "$TMP/ext4.unpacked"
	check "$1: fsck finds nothing" e2fsck -fn "$TMP/ext4.unpacked"
	check_eq "$(("$(info_of "$img" .free_bytes)" > 0))" 1 "$1: free space is left out"
}
if command -v mkfs.ext4 >/dev/null && command -v debugfs >/dev/null; then
	used_only round-9-ext4 --block-size 64K --chunk-size 1M --level 1
	used_only round-10-ext4 --hash sha256
else
	skip_case 'ext4' 'e2fsprogs is not installed'
fi

for img in "$TESTS_DIR"/golden/*.zst; do
	name="golden ${img##*/}" bad=0 code=0
	[ "$(info_of "$img" .bad_range_bytes)" = 0 ] || bad=5 code=12
	zstd -dcq "$img" >"$TMP/unpacked" || true
	check "$name: imgtool verifies it" "$IMGTOOL" verify -q "$img"
	check "$name: the script verifies it" reader verify "$img"
	check "$name: both list the same, bad ranges too" same_facts "$img"
	check_status $code "$name: imgtool exports it" \
		"$IMGTOOL" export-raw -q --force --on-read-error zero "$img" "$TMP/exported"
	check "$name: the script extracts it" extracts "$img" "$TMP/unpacked" --zero-bad
	check "$name: byte for byte what imgtool exports" cmp "$TMP/plain" "$TMP/exported"
	check_status $bad "$name: unasked, bad ranges are in the way" \
		reader extract "$img" "$TMP/none"
done

# refuse NAME IMG: damaged (7) for both.
refuse() {
	check_status 7 "$1: imgtool refuses it" "$IMGTOOL" verify "$2"
	check_status 7 "$1: the script refuses it" reader verify "$2"
}

# changed NAME OFFSET: a byte of the image `chunks`.
changed() {
	cp "$TMP/chunks.img.zst" "$TMP/damaged.img.zst"
	flip "$TMP/damaged.img.zst" "$2"
	refuse "a changed byte in $1" "$TMP/damaged.img.zst"
}

# Where the parts of `chunks` are: name and offset, a line each.
parts() {
	reader list --json "$TMP/chunks.img.zst" | jq -r '
		"INDX \(.indx_position)", "META \(.meta_position)", "COPY \(.copy_position)",
		"TAIL \(.seek_position - 208)", "seek_table \(.seek_position)",
		(.chunks[] | "chunk\(.number) \(.position)", "table\(.number) \(.table)"),
		"hole_end \([.chunks[] | select(.entries.zero > 0)][0].table)"'
}

damage() {
	local img=$TMP/chunks.img.zst name offset
	local -A at
	while read -r name offset; do at[$name]=$offset; done < <(parts)
	changed "HEAD's fields" 100
	changed "HEAD's padding" $((at[chunk0] - 20))
	changed 'CHNK' $((at[chunk0] + 66))
	changed "a frame's magic" $((at[chunk0] + 96))
	changed 'a block' $((at[chunk0] + 1096))
	changed "a frame's checksum" $((at[table0] - 1))
	changed 'a hole' $((at[hole_end] - 1))
	changed "TABL's entries" $((at[table3] + 90))
	changed "TABL's padding" $((at[chunk4] - 20))
	changed 'INDX' $((at[INDX] + 60))
	changed 'META' $((at[META] + 60))
	changed 'COPY' $((at[COPY] + 60))
	changed "TAIL's root hash" $((at[TAIL] + 170))
	changed 'the seek table' $((at[seek_table] + 20))
	changed "the seek table's magic" $(($(stat -c %s "$img") - 1))
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
