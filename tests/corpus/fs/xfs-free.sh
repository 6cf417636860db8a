#!/usr/bin/env bash
# What xfs_db says is free: tests/corpus/fs/xfs-free.sh FILE prints lines "OFFSET LENGTH" in bytes,
# ascending and merged. `freesp` counts the blocks of the AGFL, which are set aside for metadata;
# they are taken out by what `agf` and `agfl` print.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin" LC_ALL=C

groups=$(xfs_db -r -c 'sb 0' -c 'p agcount' "$1" | awk '{ print $3 }')
commands=()
for ((i = 0; i < groups; i++)); do
	commands+=(-c "agf $i" -c 'p seqno flfirst flcount' -c "agfl $i" -c 'p bno')
done
{
	xfs_db -r -c 'sb 0' -c 'p blocksize agblocks' "$1"
	xfs_db -r "${commands[@]}" "$1"
	xfs_db -r -c 'freesp -d' "$1"
} | awk '
	$1 == "blocksize" { unit = $3 }
	$1 == "agblocks" { group_blocks = $3 }
	$1 == "seqno" { group = $3 }
	$1 == "flfirst" { first = $3 }
	$1 == "flcount" { count = $3 }
	# "bno[0-118] = 0:null 1:6 2:7": a ring, of which `count` entries from `first` on are in use
	/^bno/ {
		size = NF - 2
		for (i = 0; i < count; i++) {
			split($(3 + (first + i) % size), entry, ":")
			set_aside[group, entry[2]] = 1
		}
	}
	$1 == "from" { exit }
	/^ *[0-9]+ +[0-9]+ +[0-9]+$/ && !(($1, $2) in set_aside) {
		printf "%.0f %.0f\n", ($1 * group_blocks + $2) * unit, $3 * unit
	}' | sort -n | awk '
	len > 0 && $1 == off + len { len += $2; next }
	len > 0 { printf "%.0f %.0f\n", off, len }
	{ off = $1; len = $2 }
	END { if (len > 0) printf "%.0f %.0f\n", off, len }'
