# Options that many commands have. A command's file defines `go ARGUMENT...` (its ordinary work,
# again and again), `broken ARGUMENT...` (a failure that is not one of usage), and what differs.
# shellcheck shell=bash disable=SC2034,SC2154

opt_help() { t $CMD --help | grep -q "^Usage: imgtool $CMD"; }
opt_verbose() { ! broken --verbose >"$W/out" && grep -q '^stack traceback' "$W/err"; }
opt_json() { go --json >"$W/out" && jq -e .event <"$W/out" >/dev/null; }
opt_quiet() { go --quiet >"$W/out" && [ ! -s "$W/out" ] && [ ! -s "$W/err" ]; }
opt_log_file() { go --log-file "$W/log" >/dev/null && [ -s "$W/log" ]; }

# ---- Jobs: what progress says is in force ----
in_force() { # FIELD VALUE ARGUMENT...
	[ "$(go --json "${@:3}" | field_of progress "$1")" = "$2" ]
}
opt_parallel() { in_force .workers 7 --parallel 7; }
opt_pipeline_depth() { in_force .depth 11 --pipeline-depth 11; }
opt_max_throughput() { in_force .max_bytes_per_s 104857600 --max-throughput 100M; }
opt_stall_timeout() { in_force .stall_s 77 --stall-timeout 77; }
# At 1 MB/s the work takes long enough to be asked.
opt_auto_tune() {
	IMGTOOL_LUA_PATH=$TMP/lua status_of 13 go --max-throughput 1M --auto-tune
}
opt_dry_run() { go --dry-run >"$W/out" && grep -q '^would ' "$W/out" && [ ! -e "$W/new" ]; }
# --out in place of the operand, and --force when it is there.
opt_force() {
	echo there >"$W/new"
	go --force >/dev/null && ! grep -q there "$W/new"
}
