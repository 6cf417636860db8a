#!/usr/bin/env bash
# Make the exFAT images of the corpus anew: tests/corpus/fs/make-exfat.sh [DIRECTORY]
#
# By mkfs.exfat and exfat-fill.py, judged by fsck.exfat; what is free is what exfat-map.py reads in
# the bitmap.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin" LC_ALL=C TZ=UTC
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(realpath "${1:-$here}")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

# make NAME SIZE OPTIONS...: files in a row and in chains, thinned out, more put into the gaps
make() {
	truncate -s "$2" "$1"
	mkfs.exfat "${@:3}" "$1" >/dev/null
	tune.exfat -I 0x1234abcd "$1" >/dev/null
	python3 "$here/exfat-fill.py" "$1" <<-'END'
		dir /a
		dir /a/b
		fill /a 40 9000
		fill /a/b 30 3000
		prune /a 3
		dir /c
		fill /c 30 9000
		prune /c 2
		file /row 100000 row
		file /a-name-of-more-than-one-entry 60000 spread
		file /nothing 0
	END
	fsck.exfat -n "$1" >/dev/null
}

# pack NAME: the file NAME becomes an image of the corpus, with its map
pack() {
	python3 "$here/exfat-map.py" "$1" >"$out/$1.map"
	zstd -q -f -19 --no-progress "$1" -o "$out/$1.img.zst"
}

# patch NAME OFFSET BYTES (as printf writes them)
patch() {
	# shellcheck disable=SC2059
	printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

make exfat-4k 8M -c 4K
pack exfat-4k
make exfat-512 6M -c 512 -L LABEL
pack exfat-512
make exfat-32k 24000003 -c 32K --pack-bitmap
pack exfat-32k
# The device goes on behind the file system: that is nobody's free space.
make exfat-tail 8M -c 4K
head -c 1000448 <(yes tail) >>exfat-tail
pack exfat-tail
# Pulled out (VolumeFlags); one cluster in use by nobody, and one that the FAT calls bad.
cp exfat-4k exfat-dirty
patch exfat-dirty 106 '\2'
fat=$(($(od -An -tu4 -j80 -N4 exfat-dirty) * 512))
heap=$(($(od -An -tu4 -j88 -N4 exfat-dirty) * 512))
patch exfat-dirty $((heap + 1400 / 8)) '\2' # the bitmap is in cluster 2
patch exfat-dirty $((fat + 1420 * 4)) '\367\377\377\377'
pack exfat-dirty
# The bitmap had not reached the disk.
cp exfat-4k exfat-torn
patch exfat-torn $((heap + 4)) '\0'
pack exfat-torn
echo '# all blocks: which is free' >"$out/exfat-torn.map"
