# For make-*.sh: a scratch directory, and what turns a file system and the free blocks that a tool
# names into NAME.img.zst and NAME.map. Sourced, with the folder to write to as $1.
# shellcheck shell=bash
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin" LC_ALL=C TZ=UTC
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(realpath "${1:-$here}")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

# a_tree DIR: some files, the same each time; names with a 3, 6 or 9 are meant to be removed later
a_tree() {
	local i
	mkdir -p "$1/sub"
	for i in $(seq 24); do
		head -c $((i * i * 300)) /dev/zero | tr '\0' "\\$((100 + i % 50))" >"$1/sub/file$i"
	done
	head -c 40000 /dev/zero | tr '\0' T >"$1/top"
}

# merged UNIT < lines "FIRST COUNT", ascending, in units of so many bytes: the lines of a map
merged() {
	awk -v unit="$1" '
		$2 == 0 { next }
		len > 0 && $1 == first + len { len += $2; next }
		len > 0 { printf "%d %d\n", first * unit, len * unit }
		{ first = $1; len = $2 }
		END { if (len > 0) printf "%d %d\n", first * unit, len * unit }'
}

# pack NAME: the file NAME becomes an image of the corpus
pack() {
	zstd -q -f -19 --no-progress "$1" -o "$out/$1.img.zst"
}

# pack_all_blocks NAME TEXT: one that must be taken whole, with this in the reason
pack_all_blocks() {
	pack "$1"
	echo "# all blocks: $2" >"$out/$1.map"
}
