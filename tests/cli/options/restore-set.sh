# shellcheck shell=bash disable=SC2154

go() { t restore-set "$SET" "$W/new" "$@"; }
broken() { t restore-set "$W/none" "$W/new" "$@"; }
# The second partition of a disk is right, from an offset on.
second_is() { cmp -s -n $((1048576 - $2)) -i $(((5 << 20) + $2)):"$2" "$1" "$PART"; }

opt_set_dir() { t restore-set -q --set-dir "$SET" "$W/new" && second_is "$W/new" 0; }
opt_out_raw() { t restore-set -q "$SET" --out-raw "$W/new" && second_is "$W/new" 0; }
opt_size() { go -q --size 12M && [ "$(stat -c %s "$W/new")" = 12582912 ]; }
opt_on_read_error() {
	status_of 7 t restore-set -q "$BAD_SET" "$W/new" --on-read-error zero &&
		second_is "$W/new" 65536
}
opt_verify_after() { read_back; }
opt_new_guids() { go -q --new-guids && [ "$(guids_of "$W/new")" != "$(guids_of "$DISK")" ]; }
opt_grow_last() { go -q --size 12M --grow-last && has_grown "$W/new"; }
