# shellcheck shell=bash disable=SC2154

go() { t map "$FS" "$@"; }
broken() { t map "$W/none" "$@"; }

opt_device() { says ' free$' t map --device "$FS"; }
opt_exclude() { [ "$(total '.rule_bytes > 400000' --exclude swap)" = true ]; }
opt_offset() { list_offset; }
opt_length() { list_length; }
opt_why() {
	[ "$(go --json --exclude swap --why rule | events range | jq -r .why | sort -u)" = rule ]
}
opt_totals() { list_totals; }
