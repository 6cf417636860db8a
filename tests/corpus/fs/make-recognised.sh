#!/usr/bin/env bash
# Make the swap areas of the corpus anew, and what is recognised only to say why all blocks are
# taken: tests/corpus/fs/make-recognised.sh [DIRECTORY]
#
# By mkswap, pvcreate (on a loop device: needs root) and cryptsetup. Nothing here makes BitLocker
# volumes, so that one is written by hand (libyal, "BitLocker Drive Encryption format").
. "$(dirname "$0")/maps.sh"
id=01234567-89ab-cdef-0123-456789abcdef

# put NAME OFFSET BYTES: bytes as printf writes them
put() {
	# shellcheck disable=SC2059
	printf -- "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# Free is what mkswap says it has, which is without the first page, but for the room of the largest
# header there is (64 KiB).
swap() { # NAME SIZE PAGE
	local bytes
	head -c "$2" /dev/zero | tr '\0' s >"$1"
	bytes=$(mkswap -U $id -p "$3" "$1" 2>/dev/null | sed -n 's/.*(\([0-9]*\) bytes).*/\1/p')
	echo 65536 $((bytes + $3 - 65536)) >"$out/$1.map"
	pack "$1"
}

swap swap-4k 1000000 4096
swap swap-64k 1M 65536
cp swap-4k swap-hibernated
put swap-hibernated 4086 'S1SUSPEND\0'
pack_all_blocks swap-hibernated 'hibernated system'

# Only the headers: a key's material is random, and says nothing.
truncate -s 2M luks1
echo secret | cryptsetup -q luksFormat --type luks1 --uuid $id --pbkdf-force-iterations 1000 \
	-s 256 luks1 -
dd if=/dev/zero of=luks1 bs=4096 seek=1 count=500 conv=notrunc status=none
pack_all_blocks luks1 'encrypted volume (LUKS)'
truncate -s 4M luks2
echo secret | cryptsetup -q luksFormat --type luks2 --uuid $id --pbkdf pbkdf2 \
	--pbkdf-force-iterations 1000 --luks2-metadata-size 16k --luks2-keyslots-size 512k luks2 -
dd if=/dev/zero of=luks2 bs=32768 seek=1 count=100 conv=notrunc status=none
pack_all_blocks luks2 'encrypted volume (LUKS)'

truncate -s 8M lvm2
loop=$(losetup -f --show "$PWD/lvm2")
trap 'losetup -d "$loop"; rm -rf "$tmp"' EXIT
pvcreate -q --devices "$loop" "$loop" >/dev/null
pack_all_blocks lvm2 'LVM physical volume'

# The volume header of Windows 7 and later, and the block of metadata that it points to.
truncate -s 4M bitlocker
put bitlocker 0 '\353\130\220-FVE-FS-'
put bitlocker 160 '\073\326\147\111\051\056\330\112\203\231\366\243\071\343\320\001' # the GUID
put bitlocker 176 '\0\0\020\0\0\0\0\0\0\0\040\0\0\0\0\0\0\0\060\0\0\0\0\0' # 1, 2 and 3 MiB
put bitlocker 510 '\125\252'
for offset in 1048576 2097152 3145728; do
	put bitlocker $offset '-FVE-FS-\100\0\002\0'
done
pack_all_blocks bitlocker 'encrypted volume (BitLocker)'
