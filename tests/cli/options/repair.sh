# shellcheck shell=bash disable=SC2154

go() { t repair "$IMG" "$W/new" "$@"; }
broken() { t repair "$W/none" "$W/new" "$@"; }

opt_in() { t repair -q --in "$IMG" "$W/new" && cmp -s "$IMG" "$W/new"; }
opt_out() { t repair -q "$IMG" --out "$W/new" && cmp -s "$IMG" "$W/new"; }
