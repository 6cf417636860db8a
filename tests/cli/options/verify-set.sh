# shellcheck shell=bash disable=SC2154

go() { t verify-set "$SET" "$@"; }
broken() { t verify-set "$W/none" "$@"; }

opt_set_dir() { says ': OK$' t verify-set --set-dir "$SET"; }
# Whether the damaged block is among those of a seed
found() {
	local seed
	for seed in 1 2 3 4 5 6 7 8 9; do
		t verify-set -q "$BAD_SET" --quick --seed $seed
		echo $?
	done
}
opt_seed() {
	found >"$W/first"
	found | cmp -s - "$W/first" && [ "$(sample .seed --quick --seed 5)" = 5 ]
}
