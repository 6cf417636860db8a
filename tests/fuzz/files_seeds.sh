#!/usr/bin/env bash
# Make the seeds of files_tree_fuzz and files_wire_fuzz anew: tests/fuzz/files_seeds.sh TREE WIRE
#
# Small volumes by mke2fs, and by ntfs-3g, which needs root; then only what is not empty. Replies
# are written out byte by byte, as src/files/files_wire.c has them.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin" LC_ALL=C E2FSPROGS_FAKE_TIME=1700000000
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$1" "$2"
out=$(realpath "$1")
wire=$(realpath "$2")
tmp=$(mktemp -d)
trap 'umount "$tmp/mnt" 2>/dev/null || true; rm -rf "$tmp"' EXIT
cd "$tmp"
mkdir -p tree/sub/deep mnt
for i in 1 2 3 4 5; do head -c $((i * 900)) /dev/zero | tr '\0' "$i" >"tree/f$i"; done
echo small >tree/inline
ln -s f1 tree/link
ln -s "$(head -c 80 /dev/zero | tr '\0' l)" tree/long
ln tree/f2 tree/sub/hard
seq -f 'name number %g of a directory' 70 | sed 's,^,tree/sub/deep/,' | xargs -d '\n' touch
echo end | dd of=tree/sparse bs=1 seek=300000 status=none
id='-U 01234567-89ab-cdef-0123-456789abcdef -E hash_seed=01234567-89ab-cdef-0123-456789abcdef'

ext() { # NAME SIZE OPTIONS...
	rm -f volume
	truncate -s "$2" volume
	# shellcheck disable=SC2086
	mke2fs -q -F $id -N 128 -b 1024 -d tree "${@:3}" volume
	lua5.4 "$here/fs_ntfs_seed.lua" volume >"$out/$1"
}
ext ext2 512K -t ext2 -I 128 -O ^resize_inode
ext ext4 512K -t ext4 -O ^has_journal,^metadata_csum,^uninit_bg,^resize_inode
ext ext4-inline 512K -t ext4 -O ^has_journal,^metadata_csum,^resize_inode,inline_data
ext ext4-bigalloc 2M -t ext4 -O ^has_journal,^metadata_csum,^resize_inode,bigalloc -C 4096

truncate -s 2M volume
mkntfs -q -F -Q -s 512 -c 512 volume >/dev/null 2>&1
ntfs-3g -o rw,compression volume mnt
python3 - mnt <<'PY'
import os, sys
os.chdir(sys.argv[1])
os.mkdir('c')
os.setxattr('c', 'system.ntfs_attrib_be', b'\0\0\x08\0')
open('c/packed', 'w').write('abc' * 9000)
open('file', 'w').write('x' * 3000)
os.symlink('file', 'link')
os.link('file', 'second')
with open('sparse', 'wb') as f:
    f.seek(200000)
    f.write(b'end')
os.mkdir('d')
for i in range(30):
    open('d/a name of a file %d' % i, 'w').close()
PY
umount mnt
sleep 1
# $UpCase is left out: nobody here compares names without regard to case.
upcase=$(ntfscluster -f -I 10 volume 2>/dev/null | awk '$3 == 256 { print $2 "+" $3 }')
lua5.4 "$here/fs_ntfs_seed.lua" volume "$upcase" >"$out/ntfs"

python3 - "$wire" <<'PY'
import os, struct, sys
os.chdir(sys.argv[1])
ok = struct.pack('<IH', 0, 0)
def seed(name, kind, body):
    open(name, 'wb').write(bytes([kind]) + body)
seed('info', 0, ok + b'ext4'.ljust(32, b'\0') + b'note'.ljust(256, b'\0')
     + struct.pack('<5Q', 2, 4096, 1 << 20, 4096, 99))
seed('node', 1, ok + struct.pack('<5Q4I', 12, 1, 5, 4096, 1, 0o644, 1, 7, 8)
     + struct.pack('<qI', 1700000000, 5) * 3)
def entry(number, kind, name):
    return struct.pack('<QBH', number, kind, len(name)) + name
seed('list', 2, ok + entry(12, 1, b'file') + entry(13, 2, b'directory') + entry(14, 0, b'\xff'))
seed('link', 3, ok + b'../target')
seed('bytes', 4, ok + b'x' * 90)
seed('error', 1, struct.pack('<IH', 8, 6) + b'reason')
PY
