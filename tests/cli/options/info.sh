# shellcheck shell=bash disable=SC2154

go() { t info "$IMG" "$@"; }
broken() { t info "$W/none" "$@"; }
opt_in() { says '^root hash' t info --in "$IMG"; }
opt_chunks() { [ "$(go --chunks | grep -c ' 131072 ')" -gt 4 ]; }
