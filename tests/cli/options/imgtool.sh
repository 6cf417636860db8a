# The program's own options.
# shellcheck shell=bash disable=SC2154

opt_version() { says '^imgtool [0-9.]* ' t --version; }
opt_help() { says '^Commands:' t --help; }
opt_verbose() { ! t --verbose info "$W/none" && grep -q '^stack traceback' "$W/err"; }
