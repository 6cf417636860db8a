#!/usr/bin/env bash
# Make the seeds of fs_fat_fuzz and fs_exfat_fuzz anew: tests/fuzz/fs_fat_seeds.sh CORPUS
#
# Small volumes by mkfs.fat and mkfs.exfat with a few files; then only what is not empty. Contents
# of files are zeros, which cost nothing.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin" LC_ALL=C MTOOLS_SKIP_CHECK=1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(realpath "${1:?}")
fill=$here/../corpus/fs/exfat-fill.py
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
mkdir -p tree/sub "$out/fs_fat" "$out/fs_exfat"
for i in 1 2 3 4 5; do head -c $((i * 1700)) /dev/zero >"tree/f$i"; done
head -c 4000 /dev/zero >'tree/sub/a long name'
touch -d '2024-01-01 UTC' tree/* tree/sub/*

fat() { # NAME SIZE OPTIONS...
	truncate -s "$2" "$1"
	mkfs.fat -i 1234abcd --invariant "${@:3}" "$1" >/dev/null
	mcopy -m -s -i "$1" tree ::/
	mdel -i "$1" ::/tree/f2 ::/tree/f4
	mcopy -m -i "$1" tree/f5 ::/again
	lua5.4 "$here/fs_ntfs_seed.lua" "$1" >"$out/fs_fat/$1"
}
fat fat12 1440K
fat fat12-4k-sectors 2M -F 12 -S 4096
fat fat16 6M -F 16 -s 2
# A FAT32 of this size is none for mtools: a file of three clusters, and a directory with one.
truncate -s 4M fat32
mkfs.fat -i 1234abcd --invariant -F 32 -s 1 fat32 >/dev/null 2>&1
python3 - fat32 <<'END'
import struct, sys
with open(sys.argv[1], 'r+b') as f:
    boot = f.read(512)
    fat, size = struct.unpack_from('<H', boot, 14)[0], struct.unpack_from('<I', boot, 36)[0]
    heap = (fat + 2 * size) * 512
    for copy in range(2):
        f.seek((fat + copy * size) * 512 + 12)
        f.write(struct.pack('<6I', 5, 0x0FFFFFFF, 6, 0x0FFFFFFF, 0x0FFFFFFF, 0x0FFFFFF7))
    def entry(name, attr, first, length):
        return struct.pack('<11sB14xHI', name, attr, first, length)
    f.seek(heap)
    f.write(entry(b'FILE    TXT', 0x20, 3, 1400) + entry(b'DIR        ', 0x10, 4, 0))
    f.seek(heap + 2 * 512)
    f.write(entry(b'.          ', 0x10, 4, 0) + entry(b'..         ', 0x10, 0, 0) +
            entry(b'IN         ', 0x20, 7, 512))
END
{ fsck.fat -n fat32 2>&1 || :; } | grep '3 files' >/dev/null # FSInfo's count is left wrong
lua5.4 "$here/fs_ntfs_seed.lua" fat32 >"$out/fs_fat/fat32"
printf '\1' | dd of=fat32 bs=1 seek=65 conv=notrunc status=none # dirty
printf '\201' | dd of=fat32 bs=1 seek=40 conv=notrunc status=none # the second FAT counts
lua5.4 "$here/fs_ntfs_seed.lua" fat32 >"$out/fs_fat/fat32-dirty"

# Its up-case table is kept: 5836 bytes. Its contents do not matter, so zeros.
exfat() { # NAME SIZE OPTIONS COMMANDS
	local table heap bits
	truncate -s "$2" "$1"
	# shellcheck disable=SC2086
	mkfs.exfat -b 64K --pack-bitmap $3 "$1" >/dev/null
	python3 "$fill" "$1" <<<"$4"
	table=$(dump.exfat "$1" | awk '/Upcase table start cluster/ { print $NF }')
	heap=$(dump.exfat "$1" | awk '/Cluster Heap Offset/ { print $NF }')
	bits=$(dump.exfat "$1" | awk '/Sector per Cluster bits/ { print $NF }')
	lua5.4 "$here/fs_ntfs_seed.lua" "$1" $((heap + ((table - 2) << bits)))+12 \
		>"$out/fs_exfat/$1"
}
few='dir /d
file /row 20000
file /chain 20000 chain
file /spread 9000 spread
file /d/in 100'
exfat plain 1M '-c 4K' 'file /a 1'
exfat files 1M '-c 4K' "${few//0000/000}"
exfat small-clusters 1M '-c 512' 'dir /d
file /d/in 700 spread
file /d/a-name-of-more-than-fifteen 300
remove /d/in'
