# shellcheck shell=bash disable=SC2154

go() { t export-raw "$IMG" "$W/new" "$@"; }
broken() { t export-raw "$W/none" "$W/new" "$@"; }

opt_in() { t export-raw -q --in "$IMG" "$W/new" && cmp -s "$RAW" "$W/new"; }
opt_out() { t export-raw -q "$IMG" --out "$W/new" && cmp -s "$RAW" "$W/new"; }
opt_offset() { go -q --offset 70001 && cmp -s -i 70001:0 "$RAW" "$W/new"; }
opt_length() { go -q --length 70001 && cmp -s "$W/new" <(head -c 70001 "$RAW"); }
opt_on_read_error() {
	status_of 7 t export-raw -q "$BAD_IMG" "$W/new" --on-read-error zero &&
		cmp -s -i 65536 "$RAW" "$W/new"
}
