#!/usr/bin/env bash
# Make the Btrfs images of the corpus and their maps anew, as root: tests/corpus/fs/make-btrfs.sh
#
# Each is a file system that was mounted, filled, emptied in parts and unmounted. Its free space is
# then overwritten, so that little of it is left to pack, and `btrfs check` must still be content.
# What is free says btrfs_map.py, from the text that btrfs-progs print. Files are of one letter: the
# images pack to some tens of KB.
#
# block-group-tree wants a newer mkfs.btrfs than Debian 12 has: MKFS_BTRFS=PROGRAM names one, or its
# image is left as it is.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin" LC_ALL=C
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tmp=$(mktemp -d)
mounted=
trap '[ -z "$mounted" ] || umount "$tmp/mnt"; rm -rf "$tmp"' EXIT
cd "$tmp"
mkdir mnt

letters() { # BYTES LETTER
	head -c "$1" /dev/zero | tr '\0' "$2"
}

# Many small extents, then every other one gone; a snapshot, a reflink, inline files, a hole.
age() { # DIR
	local i
	btrfs -q subvolume create "$1/sub"
	for i in $(seq 40); do letters $((i % 7 * 4096 + 5000)) a >"$1/f$i"; done
	for i in $(seq 20); do letters $((i * 40)) b >"$1/sub/inline$i"; done
	sync -f "$1"
	btrfs -q subvolume snapshot -r "$1/sub" "$1/snap"
	for i in $(seq 1 2 40); do rm "$1/f$i"; done
	for i in $(seq 12); do
		letters 3000 c >>"$1/grow"
		letters 4096 d |
			dd of="$1/rewritten" bs=4096 seek=$((i * 2)) conv=notrunc status=none
		sync -f "$1"
	done
	cp --reflink=always "$1/f40" "$1/reflink"
	fallocate -l 300K "$1/preallocated"
}

# What was written since the last commit and fsynced: log trees, in a copy made while mounted.
log() { # DIR
	local i
	for i in $(seq 6); do
		letters $((i * 5000)) e >"$1/fsynced$i"
		sync "$1/fsynced$i"
		letters $((i * 100)) f >"$1/sub/fsynced$i"
		sync "$1/sub/fsynced$i"
	done
	mv "$1/f2" "$1/renamed"
	letters 9000 g >>"$1/grow"
	sync "$1/renamed" "$1/grow"
}

# Zeros in all that the map calls free: stale blocks of mkfs and of older commits.
wipe_free() { # IMAGE MAP
	local off len
	while read -r off len; do
		fallocate --punch-hole --offset "$off" --length "$len" "$1"
	done <"$2"
}

make() { # VARIANT SIZE MOUNT-OPTIONS MKFS-OPTIONS...
	local image=btrfs-$1.img
	truncate -s "$2" "$image"
	"${MKFS:-mkfs.btrfs}" -q -U 01234567-89ab-cdef-0123-456789abcdef "${@:4}" "$image" \
		>mkfs.log 2>&1 || { cat mkfs.log && exit 1; }
	mount -o "loop,noatime,$3" "$image" mnt
	mounted=1
	age mnt
	if [ "$1" = log ]; then log mnt && cp "$image" live; fi
	umount mnt
	mounted=
	[ "$1" != log ] || mv live "$image"
	python3 "$here/btrfs_map.py" "$image" >"btrfs-$1.map"
	wipe_free "$image" "btrfs-$1.map"
	python3 "$here/btrfs_map.py" "$image" | cmp - "btrfs-$1.map"
	zstd -19 -q -f "$image" -o "$here/$image.zst"
	# A mount replays the log, which btrfs check does not know.
	mount -o loop "$image" mnt && umount mnt
	btrfs check --check-data-csum "$image" >check.log 2>&1 || { cat check.log && exit 1; }
	cp "btrfs-$1.map" "$here/"
	rm "$image"
}

make log 120M commit=300 -m dup
make dup 120M defaults -m dup
make single 64M defaults -m single -n 4096
make dup-data 240M compress-force=zstd -m dup -d dup
make mixed 32M defaults --mixed -n 4096 -s 4096
make space-cache-v1 120M space_cache=v1 -R ^free-space-tree --csum xxhash
make old-features 120M defaults -O ^no-holes,^skinny-metadata,^extref -R ^free-space-tree
make blake2-quota 120M defaults --csum blake2 -R quota
make sha256-64k 120M defaults --csum sha256 -n 65536
if [ -n "${MKFS_BTRFS:-}" ]; then
	MKFS=$MKFS_BTRFS make block-group-tree 120M defaults -m dup -O block-group-tree
fi
