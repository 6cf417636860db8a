#!/usr/bin/env bash
# Make the XFS images of the corpus anew: tests/corpus/fs/make-xfs.sh [DIRECTORY]
#
# By mkfs.xfs and the kernel, as root: filled, a part of it removed, filled again; what is free is
# what xfs_db lists (xfs-free.sh). Files hold the same byte over and over, so that the images pack
# well; so does the log, written anew by xfs_db where it is not what the image is about.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin" LC_ALL=C TZ=UTC
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(realpath "${1:-$here}")
tmp=$(mktemp -d)
mkdir "$tmp/mnt"
loop=
undo() {
	umount "$tmp/mnt" 2>/dev/null || true
	[ -z "$loop" ] || losetup -d "$loop"
	rm -rf "$tmp"
}
trap undo EXIT
cd "$tmp"

make() { # NAME SIZE OPTIONS...
	truncate -s "$2" "$1"
	mkfs.xfs -q -f --unsupported -m uuid=01234567-89ab-cdef-0123-456789abcdef "${@:3}" "$1" \
		>/dev/null 2>&1
}

# age IMAGE FILES: two files grow in turns, and every other small file goes
age() {
	local i
	mount -o loop "$1" mnt
	mkdir mnt/many
	for ((i = 0; i < $2; i++)); do
		head -c $((i % 20 * 500 + 1)) /dev/zero | tr '\0' m >"mnt/many/$i"
	done
	sync -f mnt
	rm mnt/many/*[13579]
	for ((i = 0; i < 40; i++)); do
		head -c 3000 /dev/zero | tr '\0' a >>mnt/a
		head -c 5000 /dev/zero | tr '\0' b >>mnt/b
		sync mnt/a mnt/b
	done
	cp --reflink=auto mnt/a mnt/c
	truncate -s 1M mnt/sparse
	echo end >>mnt/sparse
	umount mnt
}

new_log() { # IMAGE
	xfs_db -x -c 'logformat -c 50' "$1" >/dev/null
}

keep() { # IMAGE: into the corpus
	xfs_repair -n -o force_geometry "$1" >/dev/null 2>&1
	"$here/xfs-free.sh" "$1" >"$out/$1.map"
	zstd -q -f -19 --long=27 --no-progress "$1" -o "$out/$1.img.zst"
}

keep_all_blocks() { # IMAGE TEXT: one that must be taken whole, with this in the reason
	zstd -q -f -19 --long=27 --no-progress "$1" -o "$out/$1.img.zst"
	echo "# all blocks: $2" >"$out/$1.map"
}

# both A B: what is in both lists of "OFFSET LENGTH"
both() {
	awk '
		{ end = $1 + $2 }
		NR == FNR { first[NR] = $1; last[NR] = end; n = NR; next }
		{
			for (i = 1; i <= n; i++) {
				from = first[i] > $1 ? first[i] : $1
				to = last[i] < end ? last[i] : end
				if (from < to) printf "%.0f %.0f\n", from, to - from
			}
		}' "$1" "$2" | sort -n
}

# without A B: what of list A is not in list B; B ascends
without() {
	awk '
		function out(from, to) { if (from < to) printf "%.0f %.0f\n", from, to - from }
		NR == FNR { first[NR] = $1; last[NR] = $1 + $2; n = NR; next }
		{
			at = $1; end = $1 + $2
			for (i = 1; i <= n; i++) {
				if (last[i] <= at || first[i] >= end) continue
				out(at, first[i])
				at = last[i]
			}
			out(at, end)
		}' "$2" "$1"
}

# logged IMAGE BLOCK-BYTES: the places of buffers in the log, in whole blocks
logged() {
	local sector count from end
	xfs_logprint -t "$1" 2>/dev/null |
		sed -n 's/.*start blkno:\(0x[0-9a-f]*\) *len:\([0-9]*\) .*/\1 \2/p' |
		while read -r sector count; do
			from=$((sector * 512 / $2 * $2))
			end=$((((sector + count) * 512 + $2 - 1) / $2 * $2))
			echo "$from $((end - from))"
		done | sort -n -u
}

make xfs-new 16M
keep xfs-new
make xfs-4k 24M
age xfs-4k 300
new_log xfs-4k
keep xfs-4k
# Several groups, trees of two levels, a reverse mapping tree with blocks of its own.
make xfs-1k-rmap 64M -b size=1024 -d agcount=3 -m rmapbt=1 -i sparse=1
age xfs-1k-rmap 1500
new_log xfs-1k-rmap
keep xfs-1k-rmap
make xfs-4kn 24M -s size=4096 -i nrext64=1
age xfs-4kn 300
new_log xfs-4kn
keep xfs-4kn
make xfs-64k 200M -b size=65536
age xfs-64k 60
new_log xfs-64k
keep xfs-64k
# Without the newer features, and with another UUID than the one that metadata carries.
make xfs-old 24M -m finobt=0,reflink=0,bigtime=0,inobtcount=0 -i sparse=0
xfs_admin -U fedcba98-7654-3210-fedc-ba9876543210 xfs-old >/dev/null
age xfs-old 300
new_log xfs-old
keep xfs-old
# Grown into a short last group; and the device goes on behind the file system.
make xfs-grown 32M -d agcount=2
truncate -s 41M xfs-grown
age xfs-grown 100
mount -o loop xfs-grown mnt
xfs_growfs mnt >/dev/null
umount mnt
head -c 1000448 /dev/zero | tr '\0' t >>xfs-grown
new_log xfs-grown
keep xfs-grown
# The log as the kernel left it.
make xfs-log 16M
mount -o loop xfs-log mnt
for i in 1 2 3; do head -c 20000 /dev/zero | tr '\0' l >"mnt/l$i"; done
umount mnt
keep xfs-log
# Copied while mounted. Free is what is free as it lies there, and also once a mount that is for
# reading only has recovered the log; but not what the log names, as the blocks of a directory that
# came and went.
make xfs-dirty 24M -b size=1024 -m rmapbt=1
age xfs-dirty 300
new_log xfs-dirty
mount -o loop xfs-dirty mnt
for i in $(seq 12); do
	head -c $((i * 3000)) /dev/zero | tr '\0' n >"mnt/new$i"
	rm "mnt/many/$((i * 8))"
	sync -f mnt
done
mkdir mnt/gone
touch mnt/gone/an-empty-file-with-a-rather-long-name-{1..400}
sync -f mnt
rm -r mnt/gone
sync -f mnt
head -c 9000 /dev/zero | tr '\0' n >mnt/never-heard-of
cp xfs-dirty dirty
umount mnt
mv dirty xfs-dirty
"$here/xfs-free.sh" xfs-dirty >before
logged xfs-dirty 1024 >names
zstd -q -f -19 --long=27 --no-progress xfs-dirty -o "$out/xfs-dirty.img.zst"
loop=$(losetup --find --show xfs-dirty)
mount -o ro "$loop" mnt
umount mnt
losetup -d "$loop"
loop=
"$here/xfs-free.sh" xfs-dirty >after
both before after >both
without both names >"$out/xfs-dirty.map"
if cmp -s both "$out/xfs-dirty.map"; then exit 1; fi
# Not for a map.
make xfs-v4 16M -m crc=0
keep_all_blocks xfs-v4 'XFS version 4'
make xfs-needsrepair 16M
xfs_db -x -c 'sb 0' -c 'write -d features_incompat 0x1b' xfs-needsrepair >/dev/null
keep_all_blocks xfs-needsrepair 'feature needsrepair'
