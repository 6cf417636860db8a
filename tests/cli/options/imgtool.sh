# The program's own options.
# shellcheck shell=bash disable=SC2154

opt_version() { t --version | grep -q '^imgtool [0-9.]* '; }
opt_help() { t --help | grep -q '^Commands:'; }
opt_verbose() { ! t --verbose info "$W/none" && grep -q '^stack traceback' "$W/err"; }
