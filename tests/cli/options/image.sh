# shellcheck shell=bash disable=SC2154

go() { t image "$RAW" "$W/new" "$@"; }
broken() { t image "$RAW" "$W/none/new" "$@"; }
# fact FILTER ARGUMENT...: of an image made with them
fact() { t image -q "$TEXT" "$W/new" "${@:2}" && info_of "$W/new" "$1"; }

opt_device() { t image -q --device "$RAW" "$W/new" && [ -s "$W/new" ]; }
opt_out() { t image -q "$RAW" --out "$W/new" && [ -s "$W/new" ]; }
opt_name() { t image -q --name called "$RAW" "$W/" && [ -s "$W/called.img.zst" ]; }
# It is the default: what shows is that it contradicts the other one.
opt_used_only() { status_of 2 t image --all-blocks "$FS" "$W/new" --used-only; }
opt_all_blocks() {
	t image -q --all-blocks "$FS" "$W/new" && [ "$(info_of "$W/new" .free_bytes)" = 0 ]
}
opt_chunk_size() { [ "$(fact .chunk_bytes --block-size 64K --chunk-size 128K)" = 131072 ]; }
opt_block_size() { [ "$(fact .block_bytes --block-size 64K)" = 65536 ]; }
opt_level() {
	local low high
	low=$(fact .stored_bytes --level 1)
	rm -f "$W/new"
	high=$(fact .stored_bytes --level 15)
	[ "$high" -lt "$low" ] && [ "$(info_of "$W/new" .head.settings.level)" = 15 ]
}
opt_hash() { [ "$(fact .hash --hash sha256)" = sha256 ]; }
opt_verify() {
	[ "$(go --json --verify full | field_of image '.verified.blocks_checked > 0')" = true ]
}
opt_write_through() {
	local lazy
	need_strace || return
	traced -e trace=fdatasync -- image -q --block-size 64K --chunk-size 128K "$RAW" "$W/a"
	lazy=$(grep -c 'fdatasync(' "$W/trace")
	traced -e trace=fdatasync -- image -q --block-size 64K --chunk-size 128K "$RAW" "$W/b" \
		--write-through
	[ "$(grep -c 'fdatasync(' "$W/trace")" -gt "$lazy" ]
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
opt_created() { [ "$(fact .created_s --created 2001-02-03T04:05:06Z)" = 981173106 ]; }
opt_uuid() { [ "$(fact .uuid --uuid "$UUID")" = "$UUID" ]; }
