# shellcheck shell=bash disable=SC2154

opt_verbose() { t help --verbose >/dev/full && return 1; grep -q '^stack traceback' "$W/err"; }
