# shellcheck shell=bash disable=SC2154

# Every machine has a disk, or at least nothing to say that is no JSON.
opt_json() { t list --json >"$W/out" && ! grep -q '^NAME' "$W/out"; }
opt_verbose() { t list --verbose >/dev/full && return 1; grep -q '^stack traceback' "$W/err"; }
