# shellcheck shell=bash disable=SC2034,SC2154
. "$OPTIONS/making.sh"

SOURCE=$RAW
go() { t image "$RAW" "$W/new" "$@"; }
broken() { t image "$RAW" "$W/none/new" "$@"; }
# fact FILTER ARGUMENT...: of an image made with them
fact() { t image -q --force "$TEXT" "$W/new" "${@:2}" && info_of "$W/new" "$1"; }

opt_device() { t image -q --device "$RAW" "$W/new" && [ -s "$W/new" ]; }
opt_out() { t image -q "$RAW" --out "$W/new" && [ -s "$W/new" ]; }
opt_name() { t image -q --name called "$RAW" "$W/" && [ -s "$W/called.img.zst" ]; }
# Without either, --resume goes on with the map that there was.
opt_used_only() {
	t image -q --all-blocks --chunk-size 1M "$FS" "$W/whole" || return
	head -c 1500000 "$W/whole" >"$W/new.partial"
	status_of 9 t image -q --resume "$FS" "$W/new" --used-only
}
opt_all_blocks() {
	t image -q --all-blocks "$FS" "$W/new" && [ "$(info_of "$W/new" .free_bytes)" = 0 ]
}
opt_verify() {
	[ "$(go --json --verify full | field_of image '.verified.blocks_checked > 0')" = true ] &&
		[ "$(again --json --verify quick --block-size 64K | field_of image \
			'.verified | .blocks_checked > 0 and .blocks_checked < .blocks')" = true ]
}
# A source of which nothing can be read.
unreadable() {
	head -c 32768 "$RAW" >"$W/bad"
	traced -P "$W/bad" -e trace=pread64 -e inject=pread64:error=EIO -- image -q "$W/bad" \
		"$W/new" "$@"
}
opt_on_read_error() {
	need_strace || return
	status_of 12 unreadable --on-read-error zero &&
		[ "$(info_of "$W/new" .bad_range_bytes)" = 32768 ]
}
opt_read_retries() {
	local few
	need_strace || return
	unreadable --read-retries 0
	few=$(grep -c pread64 "$W/trace")
	rm "$W/new.partial"
	unreadable --read-retries 20
	# Of the whole range, and of the first sector.
	[ "$(grep -c pread64 "$W/trace")" -ge $((few + 40)) ]
}
opt_resume() {
	t image -q --chunk-size 256K "$RAW" "$W/whole" || return 1
	head -c 600000 "$W/whole" >"$W/new.partial"
	go -q --resume && cmp -s "$W/new" "$W/whole"
}
opt_uuid() { [ "$(fact .uuid --uuid "$UUID")" = "$UUID" ]; }
opt_exclude() {
	t image -q "$FS" "$W/new" --exclude swap &&
		[ "$(info_of "$W/new" .head.exclude.bytes)" -gt 400000 ]
}
# Each of them makes no sense without the other.
volumes() { t image -q --volumes "$FS,$RAW" --out-dir "$W/set"; }
opt_volumes() { volumes && [ "$(jq '.volumes | length' "$W/set/backup.manifest.json")" = 2 ]; }
opt_out_dir() { volumes && [ -s "$W/set/Options.img.zst" ]; }
