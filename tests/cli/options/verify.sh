# shellcheck shell=bash disable=SC2154

go() { t verify "$IMG" "$@"; }
broken() { t verify "$W/none" "$@"; }
sample() { go --json "$@" | field_of verify "$FIELD"; }

opt_in() { t verify --in "$IMG" | grep -q ': OK: '; }
opt_quick() { FIELD='.blocks_checked < .blocks' && [ "$(sample --quick)" = true ]; }
# 11 blocks in 6 chunks: each has one in the sample at least.
opt_sample() { FIELD=.blocks_checked && [ "$(sample --quick --sample 100)" = 11 ]; }
opt_seed() {
	local seed
	FIELD=.read_bytes
	# The last block is short: whether it is among those that are read tells samples apart.
	for seed in 1 2 3 4 5 6 7 8 9; do sample --quick --seed $seed; done >"$W/first"
	for seed in 1 2 3 4 5 6 7 8 9; do sample --quick --seed $seed; done | cmp -s - "$W/first" &&
		FIELD=.seed && [ "$(sample --quick --seed 5)" = 5 ]
}
