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

# The main area of a volume of 64 MiB begins at 16 MiB, that of one of 104 MiB too.
seed() { # NAME
	{
		lua5.4 "$here/fs_ntfs_seed.lua" "$1" \
			"32768+$(($(stat -c %s "$1") / 512 - 32768))"
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
make readonly 104M -O ro
sload.f2fs -f tree readonly >/dev/null
seed readonly
for name in aged live; do
	zstd -dcq "$here/../corpus/fs/f2fs-$name.img.zst" >"$name"
	seed "$name"
done
