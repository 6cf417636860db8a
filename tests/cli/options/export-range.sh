# shellcheck shell=bash disable=SC2154

go() { t export-range "$IMG" "$@"; }
broken() { t export-range "$W/none" "$@"; }

opt_in() { t export-range --in "$IMG" | cmp -s - "$RAW"; }
opt_offset() { go --offset 70001 | cmp -s - <(tail -c +70002 "$RAW"); }
opt_length() { go --length 70001 | cmp -s - <(head -c 70001 "$RAW"); }
opt_on_read_error() {
	status_of 7 t export-range "$BAD_IMG" --on-read-error zero &&
		cmp -s -i 65536 "$RAW" "$W/out"
}
# stdout is the data's: events are on stderr, and errors are events.
opt_json() { ! broken --json && head -n 1 "$W/err" | jq -e '.event == "error"' >/dev/null; }
opt_log_file() { ! broken --log-file "$W/log" && grep -q 'failed: ' "$W/log"; }
