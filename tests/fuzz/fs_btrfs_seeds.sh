#!/usr/bin/env bash
# Make the seeds of fs_btrfs_fuzz anew, as root: tests/fuzz/fs_btrfs_seeds.sh DIRECTORY
#
# Small volumes by mkfs.btrfs, one with a log tree, which only a mounted file system has; then only
# the superblock and the tree blocks in use, as the map never reads anything else.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin" LC_ALL=C
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(realpath "${1:?}")
tmp=$(mktemp -d)
mounted=
trap '[ -z "$mounted" ] || umount "$tmp/mnt"; rm -rf "$tmp"' EXIT
cd "$tmp"
mkdir tree mnt
for i in 1 2 3 4 5; do head -c $((i * 3000)) /dev/zero | tr '\0' "$i" >"tree/f$i"; done
id='-U 01234567-89ab-cdef-0123-456789abcdef'

make() { # NAME SIZE OPTIONS...
	rm -f "$1"
	truncate -s "$2" "$1"
	# shellcheck disable=SC2086
	"${MKFS:-mkfs.btrfs}" -q -f $id --rootdir tree "${@:3}" "$1" >/dev/null 2>&1
}

# Everything but the first superblock and the blocks of the trees that the map reads becomes zeros.
keep_trees() { # NAME
	local node
	node=$(btrfs inspect-internal dump-super "$1" | awk '$1 == "nodesize" { print $2 }')
	{
		btrfs inspect-internal dump-tree "$1" |
			awk '/^(leaf|node) [0-9]+ / { print $2 }'
		echo chunks
		btrfs inspect-internal dump-tree -t chunk "$1" | awk '
			/CHUNK_ITEM/ { print "at", $6 }
			/length [0-9]+ owner/ { print "len", $2 }
			/stripe [0-9]+ devid/ { print "to", $NF }'
	} | tr -d ')' | python3 -c '
import sys
name, node = sys.argv[1], int(sys.argv[2])
words = sys.stdin.read().split("chunks\n")
chunks = []
for line in words[1].splitlines():
    key, value = line.split()
    if key == "at":
        chunks.append([int(value), 0, []])
    elif key == "len":
        chunks[-1][1] = int(value)
    else:
        chunks[-1][2].append(int(value))
keep = {65536: 4096}
for block in map(int, words[0].split()):
    for at, length, stripes in chunks:
        if at <= block < at + length:
            for stripe in stripes:
                keep[stripe + block - at] = node
with open(name, "r+b") as f:
    data = f.read()
    f.seek(0)
    f.truncate(0)
    f.truncate(len(data))
    for at, length in keep.items():
        f.seek(at)
        f.write(data[at:at + length])
' "$1" "$node"
}

seed() { # NAME
	keep_trees "$1"
	lua5.4 "$here/fs_ntfs_seed.lua" "$1" >"$out/$1"
}

make single 48M -m single -n 4096
seed single
make mixed 20M --mixed -n 4096 -m single -d single
seed mixed
make no-space-tree 20M --mixed -n 4096 -m single -d single -R ^free-space-tree \
	-O ^skinny-metadata,^no-holes
seed no-space-tree
make nodes-16k 48M -m single
seed nodes-16k
# Debian 12's mkfs.btrfs can't make it: MKFS_BTRFS=PROGRAM names a newer one.
if [ -n "${MKFS_BTRFS:-}" ]; then
	MKFS=$MKFS_BTRFS make block-group-tree 48M -m single -n 4096 -O block-group-tree
	seed block-group-tree
fi

# Extents enough for a tree of two levels, then a log.
make log 48M -m single -n 4096
mount -o loop,commit=300 log mnt
mounted=1
for i in $(seq 30); do head -c 5000 /dev/zero | tr '\0' x >"mnt/n$i"; done
sync -f mnt
head -c 9000 /dev/zero | tr '\0' y >mnt/fsynced
sync mnt/fsynced
mv mnt/n1 mnt/renamed
sync mnt/renamed
cp log frozen
umount mnt
mounted=
mv frozen log
seed log
