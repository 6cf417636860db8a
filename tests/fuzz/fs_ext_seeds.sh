#!/usr/bin/env bash
# Make the seeds of fs_ext_fuzz anew: tests/fuzz/fs_ext_seeds.sh DIRECTORY
#
# Small volumes by mke2fs, some with a journal written by debugfs; then only what is not empty.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin" LC_ALL=C E2FSPROGS_FAKE_TIME=1700000000
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(realpath "${1:?}")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
mkdir tree
for i in 1 2 3 4 5; do head -c $((i * 700)) /dev/zero | tr '\0' "$i" >"tree/f$i"; done
plain='^metadata_csum,^uninit_bg,^resize_inode'
id='-U 01234567-89ab-cdef-0123-456789abcdef -E hash_seed=01234567-89ab-cdef-0123-456789abcdef'

make() { # NAME SIZE OPTIONS...
	rm -f "$1"
	truncate -s "$2" "$1"
	# shellcheck disable=SC2086
	mke2fs -q -F $id -N 32 -I 128 -d tree "${@:3}" "$1"
}
seed() { # NAME
	lua5.4 "$here/fs_ntfs_seed.lua" "$1" >"$out/$1"
}
journal() { # NAME OPEN-OPTIONS: two transactions with revocations, and one without an end
	head -c 8192 /dev/zero | tr '\0' x >blocks
	printf '%s\n' "jo $2" 'jw -b 1500,1501,1502 blocks' 'jw -r 1501,1510 -b 1503,1500 blocks' \
		'jw -c -b 1504 blocks' jc | debugfs -w -f - "$1" >/dev/null 2>&1
}

make ext2 256K -t ext2 -b 1024 -O ^resize_inode
seed ext2
make ext4-clean 3M -t ext4 -b 1024 -O "$plain" -J size=1
seed ext4-clean
make ext4-csum 3M -t ext4 -b 1024 -J size=1
seed ext4-csum
make ext4-dirty 3M -t ext4 -b 1024 -O "$plain" -J size=1
journal ext4-dirty ''
seed ext4-dirty
make ext4-dirty-v3 3M -t ext4 -b 1024 -O "$plain" -J size=1
journal ext4-dirty-v3 '-c -v 3'
seed ext4-dirty-v3
make ext3-dirty 3M -t ext3 -b 1024 -O ^resize_inode -J size=1
journal ext3-dirty ''
seed ext3-dirty
make ext4-bigalloc 2M -t ext4 -b 1024 -O "^has_journal,bigalloc,$plain" -C 4096
seed ext4-bigalloc
make ext4-meta-bg 2M -t ext4 -b 1024 -g 256 -O "^has_journal,meta_bg,$plain"
seed ext4-meta-bg
make ext4-uninit 2M -t ext4 -b 1024 -g 256 -O '^has_journal,^metadata_csum,uninit_bg'
seed ext4-uninit
