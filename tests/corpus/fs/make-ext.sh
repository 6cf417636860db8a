#!/usr/bin/env bash
# Make the ext2 and ext4 images of the corpus anew: tests/corpus/fs/make-ext.sh [DIRECTORY]
#
# By mke2fs and debugfs; what is free is what dumpe2fs lists.
. "$(dirname "$0")/maps.sh"
export E2FSPROGS_FAKE_TIME=1700000000
id='-U 01234567-89ab-cdef-0123-456789abcdef -E hash_seed=01234567-89ab-cdef-0123-456789abcdef'
a_tree tree

make() { # NAME SIZE OPTIONS...: filled, then a third of it removed
	truncate -s "$2" "$1"
	# shellcheck disable=SC2086
	mke2fs -q -F $id -d tree "${@:3}" "$1"
	(cd tree && find . -name '*[369]' | sort) | sed 's/^/rm /' >aging
	debugfs -w -f aging "$1" >/dev/null 2>&1
	e2fsck -fy "$1" >/dev/null 2>&1 || [ $? -eq 1 ]
}

# A line "  Free blocks: 120-300, 305"; with clusters each number is the first block of one.
dumped() { # NAME
	dumpe2fs "$1" 2>/dev/null | awk '
		/^Block size:/ { block = $3; if (!cluster) cluster = block }
		/^Cluster size:/ { cluster = $3 }
		/^  Free blocks: ./ {
			sub(/^  Free blocks: /, "")
			n = split($0, range, ", ")
			for (i = 1; i <= n; i++) {
				if (split(range[i], edge, "-") < 2) edge[2] = edge[1]
				print edge[1] * block, (edge[2] - edge[1]) * block + cluster
			}
		}' | merged 1 >"$out/$1.map"
	pack "$1"
}

make ext2-1k 4M -t ext2 -b 1024
dumped ext2-1k
make ext2-rev0 2M -t ext2 -b 4096 -r 0 -O none
dumped ext2-rev0
make ext4-4k 16M -t ext4 -b 4096
dumped ext4-4k
make ext4-groups 24M -t ext4 -b 1024 -G 2 -g 2048 -O meta_bg,^resize_inode
dumped ext4-groups
make ext4-bigalloc 16M -t ext4 -b 1024 -C 8192 -O bigalloc
dumped ext4-bigalloc
# The device goes on behind the file system: that is nobody's free space.
make ext4-tail 8M -t ext4 -b 1024
head -c 1000448 /dev/zero | tr '\0' t >>ext4-tail
dumped ext4-tail
make ext4-errors 4M -t ext4 -b 1024 -O ^metadata_csum
debugfs -w -R 'ssv state 2' ext4-errors >/dev/null 2>&1
pack_all_blocks ext4-errors 'marked as having errors'
