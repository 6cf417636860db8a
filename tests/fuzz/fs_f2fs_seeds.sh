#!/usr/bin/env bash
# Make the seeds of fs_f2fs_fuzz anew: tests/fuzz/fs_f2fs_seeds.sh DIRECTORY
#
# The metadata of small volumes: what mkfs.f2fs and sload.f2fs make, and two of a kernel, from
# tests/corpus/fs. The last byte is even: checksums are made right.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin" LC_ALL=C
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(realpath "${1:?}")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
mkdir tree
for i in 1 2 3 4 5; do head -c $((i * 7000)) /dev/zero | tr '\0' "$i" >"tree/f$i"; done

# The main area begins at 16 MiB; nodes are in its first segments.
seed() { # NAME [SEGMENTS]: with so many segments of the main area
	local first=$((32768 + 4096 * ${2:-0}))
	{
		lua5.4 "$here/fs_ntfs_seed.lua" "$1" \
			"$first+$(($(stat -c %s "$1") / 512 - first))"
		printf '\0'
	} >"$out/$1"
}
make() { # NAME SIZE OPTIONS...
	truncate -s "$2" "$1"
	mkfs.f2fs -q -f "${@:3}" "$1" >/dev/null
}

make mkfs 64M
seed mkfs
make large-nat 64M -i
seed large-nat
make features 104M -O extra_attr,inode_checksum,sb_checksum,compression
sload.f2fs -f tree features >/dev/null
seed features
# The checkpoint counts a block more than there are: all nodes are read.
cp features missing
for pack in 512 1024; do
	at=$((pack * 4096 + 16))
	count=$(od -An -tu1 -j $at -N 1 missing)
	printf '%b' "\\x$(printf %02x $((count + 1)))" |
		dd of=missing bs=1 seek=$at conv=notrunc status=none
done
seed missing 6
make readonly 104M -O ro
sload.f2fs -f tree readonly >/dev/null
seed readonly
for name in aged live; do
	zstd -dcq "$here/../corpus/fs/f2fs-$name.img.zst" >"$name"
	seed "$name"
done
