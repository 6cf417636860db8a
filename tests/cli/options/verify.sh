# shellcheck shell=bash disable=SC2154

go() { t verify "$IMG" "$@"; }
broken() { t verify "$W/none" "$@"; }

opt_in() { says ': OK: ' t verify --in "$IMG"; }
lengths() { sample .read_bytes --quick --seed "$1"; }
opt_seed() {
	local seed
	# The last block is short: whether it is among those that are read tells samples apart.
	for seed in 1 2 3 4 5 6 7 8 9; do lengths $seed; done >"$W/first"
	for seed in 1 2 3 4 5 6 7 8 9; do lengths $seed; done | cmp -s - "$W/first" &&
		[ "$(sample .seed --quick --seed 5)" = 5 ]
}
