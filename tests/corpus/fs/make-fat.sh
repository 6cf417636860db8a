#!/usr/bin/env bash
# Make the FAT images of the corpus anew: tests/corpus/fs/make-fat.sh [DIRECTORY]
#
# By mkfs.fat and mtools; what is free is what fat-map.py reads in the FATs.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin" LC_ALL=C TZ=UTC MTOOLS_SKIP_CHECK=1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(realpath "${1:-$here}")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
mkdir -p tree/sub/deep
for i in $(seq 60); do
	where=tree/
	if [ $((i % 3)) -gt 0 ]; then where=tree/sub/; fi
	head -c $((i * 977 % 9000)) <(yes "file $i") >"${where}file$i"
done
head -c 3000 <(yes deep) >'tree/sub/deep/with a long name'
find tree -exec touch -d '2024-01-01' {} +

# make NAME SIZE OPTIONS...: filled, then thinned out, and more put into the gaps
make() {
	truncate -s "$2" "$1"
	mkfs.fat -i 1234abcd --invariant "${@:3}" "$1" >/dev/null
	mcopy -m -s -i "$1" tree ::/
	mdel -i "$1" '::/tree/file*[369]' '::/tree/sub/file*[147]'
	mcopy -m -s -i "$1" tree/sub ::/again
	mdel -i "$1" '::/again/file*[258]'
	fsck.fat -n "$1" >/dev/null
}

# pack NAME: the file NAME becomes an image of the corpus, with its map
pack() {
	python3 "$here/fat-map.py" "$1" >"$out/$1.map"
	zstd -q -f -19 --no-progress "$1" -o "$out/$1.img.zst"
}

# patch NAME OFFSET BYTES (as printf writes them)
patch() {
	# shellcheck disable=SC2059
	printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

make fat12-floppy 1440K
pack fat12-floppy
make fat12-4kn 8M -F 12 -S 4096 -s 1 -f 1
pack fat12-4kn
make fat16 9M -F 16 -s 2
pack fat16
# The device goes on behind the file system: that is nobody's free space.
make fat16-tail 12M -F 16 -s 4 -R 3
head -c 1000448 <(yes tail) >>fat16-tail
pack fat16-tail
make fat32 34M -F 32 -s 1 -n LABEL
pack fat32
# Pulled out: BS_Reserved1, and in both copies of the FAT the flag in the entry of cluster 1. In one
# copy alone cluster 60000 is in use; 60002 is bad; 60004 belongs to no file.
cp fat32 fat32-dirty
patch fat32-dirty 65 '\1'
fat=$((32 * 512)) size=$(od -An -tu4 -j36 -N4 fat32-dirty)
patch fat32-dirty $((fat + 7)) '\7'
patch fat32-dirty $((fat + size * 512 + 7)) '\7'
patch fat32-dirty $((fat + size * 512 + 60000 * 4)) '\377\377\377\17'
for copy in 0 1; do
	patch fat32-dirty $((fat + copy * size * 512 + 60002 * 4)) '\367\377\377\17'
	patch fat32-dirty $((fat + copy * size * 512 + 60004 * 4)) '\377\377\377\17'
done
pack fat32-dirty
# The chain of a file was never written to the FATs.
cp fat16 fat16-torn
first=$(mshowfat -i fat16-torn ::/again/file10 | sed 's/.*<\([0-9]*\).*/\1/')
size=$(od -An -tu2 -j22 -N2 fat16-torn)
reserved=$(od -An -tu2 -j14 -N2 fat16-torn)
for copy in 0 1; do
	patch fat16-torn $(((reserved + copy * size) * 512 + first * 2)) '\0\0'
done
pack fat16-torn
echo '# all blocks: which is free' >"$out/fat16-torn.map"
