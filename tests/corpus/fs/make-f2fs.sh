#!/usr/bin/env bash
# Make the F2FS images of the corpus anew: tests/corpus/fs/make-f2fs.sh [DIRECTORY]
#
# By mkfs.f2fs and sload.f2fs; what is free is what dump.f2fs shows of the segment table, without
# the block where a mount looks for synced nodes, which is kept (src/fs/fs_f2fs.c).
#
# Those that a kernel has written need one that knows F2FS, in an emulator (qemu-system-x86,
# busybox-static): KERNEL=DIR names a directory into which Debian's linux-image package was unpacked
# (dpkg -x; not one of the cloud kernels). Without it they are left as they are.
. "$(dirname "$0")/maps.sh"
id='-U 01234567-89ab-cdef-0123-456789abcdef'
a_tree tree

make() { # NAME SIZE OPTIONS...
	rm -f "$1"
	truncate -s "$2" "$1"
	# shellcheck disable=SC2086
	mkfs.f2fs -q -f $id "${@:3}" "$1" >/dev/null
}

dumped() { # NAME
	dump.f2fs -d 1 "$1" >facts
	dump.f2fs -s 0~-1 "$1" >/dev/null
	python3 - <<'END' | merged 4096 >"$out/$1.map"
import re
fact = dict(re.findall(r'^([\w\[\]]+)\s*\[0x\s*[0-9a-f]+ : (\d+)\]', open('facts').read(), re.M))
main = int(fact['main_blkaddr'])
kept = main + 512 * int(fact['cur_node_segno[1]']) + int(fact['cur_node_blkoff[1]'])
bits = {}
for line in open('dump_sit'):
    head = re.match(r'segno:\s*(\d+)', line)
    if head:
        segment = int(head[1])
        bits[segment] = ''
    elif line.startswith(' '):
        bits[segment] += ''.join(f'{int(byte, 16):08b}' for byte in line.split())
for segment in sorted(bits):
    for block, bit in enumerate(bits[segment] or '0' * 512, main + 512 * segment):
        if bit == '0' and block != kept:
            print(block, 1)
END
	pack "$1"
}

make f2fs-mkfs 64M
dumped f2fs-mkfs
make f2fs-files 104M
sload.f2fs -f tree f2fs-files >/dev/null
# The device goes on behind the file system.
head -c 1000448 /dev/zero | tr '\0' t >>f2fs-files
dumped f2fs-files
make f2fs-readonly 104M -O ro,extra_attr,compression
sload.f2fs -f tree f2fs-readonly >/dev/null
dumped f2fs-readonly

[ -n "${KERNEL:-}" ] || exit 0

# in_emulator DISK SNAPSHOTS < SCRIPT: a kernel runs it, with the disks as /dev/vda and /dev/vdb
in_emulator() {
	local modules module n=0
	rm -rf root
	mkdir -p root/bin root/dev root/mnt root/proc root/modules
	# Nothing in busybox sets attributes: "attribute FILE".
	gcc -static -x c -o root/bin/attribute - <<-'END'
		#include <string.h>
		#include <sys/xattr.h>
		int main(int argc, char **argv)
		{
			char value[3500];
			memset(value, 'v', sizeof(value));
			return setxattr(argv[argc - 1], "user.long", value, sizeof(value), 0);
		}
	END
	cp "$(command -v busybox)" root/bin
	modules=$(echo "$KERNEL"/lib/modules/*)
	for module in virtio_blk f2fs; do
		modprobe -d "$(realpath "$KERNEL")" -S "${modules##*/}" --show-depends "$module"
	done | awk '$1 == "insmod" { print $2 }' | while read -r module; do
		n=$((n + 1))
		case $module in
		*.xz) xz -dc "$module" ;;
		*) cat "$module" ;;
		esac >"root/modules/$(printf %02d $n).ko"
	done
	{
		printf '%s\n' '#!/bin/busybox sh' '/bin/busybox --install -s /bin' \
			'export PATH=/bin' 'mount -t devtmpfs d /dev' 'mount -t proc p /proc' \
			'for m in /modules/*; do insmod $m; done'
		cat
		printf '%s\n' 'echo finished' 'poweroff -f'
	} >root/init
	chmod +x root/init
	(cd root && find . | cpio -o -H newc 2>/dev/null) | gzip -1 >initrd
	qemu-system-x86_64 -accel tcg -cpu max -m 512 -nographic -no-reboot -nic none \
		-kernel "$KERNEL"/boot/vmlinuz-* -initrd initrd \
		-append 'console=ttyS0 quiet panic=-1' \
		-drive "file=$1,format=raw,if=virtio,cache=unsafe" \
		-drive "file=$2,format=raw,if=virtio,cache=unsafe" </dev/null >console
	grep -q '^finished' console
}

# Snapshots of one life: aged and unmounted; mounted again; after an fsync; after a checkpoint;
# unmounted with blocks that are reserved and not written; and without them.
names=(f2fs-aged f2fs-mounted f2fs-synced f2fs-live f2fs-reserved f2fs-later)
make disk 64M -O extra_attr,inode_checksum,inode_crtime,lost_found,sb_checksum
truncate -s $((64 * ${#names[@]}))M snapshots
in_emulator disk snapshots <<'END'
snap() { dd if=/dev/vda of=/dev/vdb bs=1M count=64 seek=$((64 * $1)) iflag=direct; }
fill() { for i in $(seq $2 $3); do yes "$1 $i" | head -c $((i * i * 40 % 99999)) >$1$i; done; }
set -e
mount -t f2fs /dev/vda /mnt
cd /mnt
fill a 1 90
sync
rm a*3 a*6 a*9
fill b 1 40
sync
for i in $(seq 20); do yes more | head -c 30000 >>b7; yes more | head -c 9000 >>b8; sync; done
rm b*1 b*5
cd /
umount /mnt
snap 0
mount -t f2fs /dev/vda /mnt
cd /mnt
fill c 1 30
yes direct | dd of=direct bs=4k count=9 iflag=fullblock oflag=direct
snap 1
yes synced | dd of=d bs=4k count=9 conv=fsync
snap 2
sync
snap 3
fallocate -l 400000 e
cd /
umount /mnt
snap 4
mount -t f2fs /dev/vda /mnt
rm /mnt/e /mnt/c*2
umount /mnt
snap 5
END
# Compressed and reserved blocks, inodes of all kinds.
make f2fs-compressed 64M -O extra_attr,compression,flexible_inline_xattr,inode_checksum
in_emulator f2fs-compressed snapshots <<'END'
set -e
mount -t f2fs -o compress_algorithm=lz4,compress_extension=txt /dev/vda /mnt
cd /mnt
for i in $(seq 9); do yes $i | head -c 90000 >c$i.txt; yes $i | head -c 50000 >plain$i; done
# Nodes of all kinds: direct ones, through one and two that point to nodes, and of attributes.
for at in 1500 2500 5000 1050000 1100000; do
	yes sparse | dd of=sparse bs=4k count=3 seek=$at conv=notrunc
done
attribute plain1
fallocate -l 8000000 reserved
mkdir dir
for i in $(seq 250); do echo $i >dir/long-name-of-a-small-file-$i; done
mkfifo fifo
mknod null c 1 3
ln -s "$(yes long | head -n 700 | tr '\n' -)" link
ln -s short link2
cd /
umount /mnt
END

for i in "${!names[@]}"; do
	dd if=snapshots "of=${names[i]}" bs=1M skip=$((64 * i)) count=64 status=none
done
for name in f2fs-aged f2fs-mounted f2fs-reserved f2fs-later f2fs-compressed; do
	dumped "$name"
	fsck.f2fs --dry-run "$name" >/dev/null
done
pack_all_blocks f2fs-synced 'nodes newer than the last checkpoint'
pack_all_blocks f2fs-live 'not cleanly unmounted'
