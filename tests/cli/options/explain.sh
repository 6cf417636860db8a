# shellcheck shell=bash disable=SC2154

go() { t explain "$FS_IMG" "$@"; }
broken() { t explain "$W/none" "$@"; }

opt_in() { says ' free$' t explain --in "$FS_IMG"; }
opt_offset() { list_offset; }
opt_length() { list_length; }
opt_why() { list_why; }
opt_totals() { list_totals; }
