#!/usr/bin/env bash
# Make the NTFS images of the corpus anew: tests/corpus/fs/make-ntfs.sh [DIRECTORY]
#
# By mkntfs and ntfscp; what is free is what has no bit in $Bitmap (inode 6) as ntfscat reads it.
# What is behind the last whole cluster, the backup of the boot sector among it, is in no bit.
. "$(dirname "$0")/maps.sh"
a_tree tree

make() { # NAME SIZE OPTIONS...
	truncate -s "$2" "$1"
	mkntfs -q -F -Q -s 512 -p 63 -H 16 -S 63 "${@:3}" "$1" >/dev/null 2>&1
	for file in tree/sub/*; do ntfscp -q "$1" "$file" "${file##*/}" >/dev/null; done
	# Files 3, 6, ...: inodes follow each other from 64 on.
	for inode in 66 69 72 75; do ntfstruncate "$1" $inode 0x80 0 >/dev/null 2>&1; done
}

dumped() { # NAME
	ntfsinfo -m "$1" >facts
	ntfscat -i 6 "$1" >bitmap
	python3 - <<'END' | merged "$(awk '/Cluster Size:/ { print $3 }' facts)" >"$out/$1.map"
import re
clusters = int(re.search(r'Volume Size in Clusters: (\d+)', open('facts').read())[1])
bitmap = open('bitmap', 'rb').read()
for n in range(clusters):
    if not bitmap[n // 8] >> n % 8 & 1:
        print(n, 1)
END
	pack "$1"
}

make ntfs-4k 8M
dumped ntfs-4k
make ntfs-64k-odd 10000384 -c 65536
dumped ntfs-64k-odd
make ntfs-hibernated 4M
{ printf hibr && head -c 4092 /dev/zero; } >hiberfil.sys
ntfscp -q ntfs-hibernated hiberfil.sys hiberfil.sys >/dev/null
pack_all_blocks ntfs-hibernated 'Windows is hibernated'
