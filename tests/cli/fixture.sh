# What the CLI tests image: small real file systems, made without root. Sourced after lib.sh.
# shellcheck shell=bash

CREATED=2026-01-02T03:04:05Z
UUID=01234567-89ab-4cde-8f01-23456789abcd

# make_tree DIR: files of several kinds: text, random, holes, many small ones.
make_tree() {
	local i
	mkdir -p "$1/many" "$1/deep/er"
	head -c 3000000 "$IMGTOOL" >"$1/program"
	head -c 5000000 /dev/urandom >"$1/random"
	truncate -s 4M "$1/hole"
	printf 'end' >>"$1/hole"
	for i in $(seq 60); do echo "file $i" >"$1/many/$i"; done
	echo deep >"$1/deep/er/file"
}

# make_ext4 FILE [SIZE [MKFS OPTION...]]: an ext4 file system of the tree, with stale data in its
# free space.
make_ext4() {
	local tree=$TMP/tree
	[ -d "$tree" ] || make_tree "$tree"
	head -c 24M /dev/urandom >"$1" # stale data, which must not get into an image
	truncate -s "${2:-64M}" "$1"
	mkfs.ext4 -q -F -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 -L Fixture -d "$tree" \
		"${@:3}" "$1"
}

# make_ntfs FILE [SIZE [MKNTFS OPTION...]]: an NTFS volume with the files of the tree's top.
make_ntfs() {
	local tree=$TMP/tree name
	[ -d "$tree" ] || make_tree "$tree"
	head -c 24M /dev/urandom >"$1"
	truncate -s "${2:-64M}" "$1"
	mkntfs -q -F -Q -s 512 -p 63 -H 16 -S 63 -L Fixture "${@:3}" "$1" >/dev/null 2>&1
	for name in program random hole; do ntfscp -q "$1" "$tree/$name" "$name" >/dev/null; done
}

# image_quietly SOURCE IMAGE [OPTION...]
image_quietly() {
	"$IMGTOOL" image --quiet "$@"
}

# events NAME < JSON lines: the events of that name.
events() {
	jq -c "select(.event == \"$1\")"
}

# same_file A B DESC
same_file() {
	check "$3" cmp "$1" "$2"
}

# flip FILE OFFSET: change one byte.
flip() {
	local byte
	byte=$(od -An -tu1 -j "$2" -N 1 "$1")
	printf '%b' "\\x$(printf %02x $((byte ^ 0xff)))" |
		dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# wait_until COMMAND...: up to 30 seconds.
wait_until() {
	local i
	for i in $(seq 600); do
		if "$@" 2>/dev/null; then return 0; fi
		sleep 0.05
	done
	return 1
}

# larger FILE BYTES
larger() {
	[ "$(stat -c %s "$1" 2>/dev/null || echo 0)" -gt "$2" ]
}

# info_of IMAGE FILTER: what jq gets out of the image's facts
info_of() {
	"$IMGTOOL" info --json "$1" | jq -cr "$2"
}

# last_progress FILE FILTER: the same of the last progress event in a file of events
last_progress() {
	events progress <"$1" | tail -n 1 | jq -cr "$2"
}
