#!/usr/bin/env bash
# Make the seeds of fs_xfs_fuzz anew, as root: tests/fuzz/fs_xfs_seeds.sh DIRECTORY
#
# Small volumes by mkfs.xfs and the kernel, clean and copied while mounted; files are empty, sparse
# or full of zeros. Then only what is not empty.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin" LC_ALL=C
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(realpath "${1:?}")
tmp=$(mktemp -d)
mkdir "$tmp/mnt"
trap 'umount "$tmp/mnt" 2>/dev/null || true; rm -rf "$tmp"' EXIT
cd "$tmp"

make() { # NAME SIZE OPTIONS...
	truncate -s "$2" "$1"
	mkfs.xfs -q -f --unsupported -m uuid=01234567-89ab-cdef-0123-456789abcdef "${@:3}" "$1" \
		>/dev/null 2>&1
}
# Inodes are of no interest: a sector with their magic number becomes empty.
seed() { # NAME [no-lsn]: without the LSNs in metadata, which a new log would be behind
	lua5.4 - "$1" "${2:-}" <<-'END'
		local file = assert(io.open(arg[1], 'r+b'))
		local volume = file:read('a')
		local lsn_at = { AB3B = 24, AB3C = 24, XAFL = 24, XAGF = 208 }
		for at = 1, #volume, 512 do
			local lsn = arg[2] == 'no-lsn' and lsn_at[volume:sub(at, at + 3)]
			if lsn then
				file:seek('set', at - 1 + lsn)
				file:write(('\0'):rep(8))
			end
			if volume:sub(at, at + 1) == 'IN' then
				file:seek('set', at - 1)
				file:write(('\0'):rep(512))
			end
		end
	END
	lua5.4 "$here/fs_ntfs_seed.lua" "$1" >"$out/$1"
}
# The kernel puts stamps on the sectors that it will write next; mkfs's zeros say the same.
empty_after_head() { # NAME
	local start head blocks
	head=$(xfs_logprint -t "$1" 2>/dev/null |
		sed -n 's/.*log tail: .* head: \([0-9]*\) .*/\1/p')
	start=$(xfs_db -r -c 'sb 0' -c 'p logstart' "$1" | awk '{ print $3 }')
	start=$(xfs_db -r -c "convert fsblock $start daddr" "$1" | sed 's/.*(\(.*\))/\1/')
	blocks=$(xfs_db -r -c 'sb 0' -c 'p logblocks' "$1" | awk '{ print $3 }')
	dd if=/dev/zero of="$1" bs=512 seek=$((start + head)) count=$((blocks * 8 - head)) \
		conv=notrunc status=none
}
zeros() { # FILE BYTES
	head -c "$2" /dev/zero >"$1"
}

make new 16M
seed new
make new-4kn 16M -s size=4096
seed new-4kn
# Copied while mounted: two records of changes and one without an end that counts.
make dirty 16M
mount -o loop dirty mnt
zeros mnt/a 5000
sync -f mnt
zeros mnt/b 9000
rm mnt/a
sync -f mnt
cp dirty dirty-copy
umount mnt
mv dirty-copy dirty
empty_after_head dirty
seed dirty
# Two levels of trees, cut to pieces; written back, with a new log.
make tree 16M -b size=1024 -m rmapbt=1
mount -o loop tree mnt
mkdir mnt/d
for i in $(seq 300); do zeros "mnt/d/$i" 1000; done
sync -f mnt
rm mnt/d/*[02468]
umount mnt
xfs_db -x -c 'logformat -c 1' tree >/dev/null
seed tree no-lsn
