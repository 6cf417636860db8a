# shellcheck shell=bash disable=SC2154

broken() { t repl "$W/none" "$@"; }
