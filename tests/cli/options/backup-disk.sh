# shellcheck shell=bash disable=SC2034,SC2154
. "$OPTIONS/making.sh"
. "$OPTIONS/failing.sh"

SOURCE=$DISK
go() { t backup-disk "$DISK" "$W/new" "$@"; }
broken() { t backup-disk "$W/none" "$W/new" "$@"; }
# of FILE FILTER ARGUMENT...: of an image of a new set
of() {
	rm -rf "$W/new"
	go -q "${@:3}" && info_of "$W/new/$1.img.zst" "$2"
}
fact() { of part-2 "$@"; }
zeros_there() { [ "$(info_of "$W/new/part-2.img.zst" .bad_range_bytes)" = 65536 ]; }

opt_device() { t backup-disk -q --device "$DISK" "$W/new" && [ -s "$W/new/part-2.img.zst" ]; }
opt_set_dir() { t backup-disk -q "$DISK" --set-dir "$W/new" && [ -s "$W/new/part-2.img.zst" ]; }
opt_sector_size() {
	t backup-disk -q "$DISK_4K" "$W/new" --sector-size 4096 && [ -s "$W/new/part-1.img.zst" ]
}
opt_unallocated() {
	go -q --unallocated && t export-range "$W/new/disk.img.zst" >"$W/regions" &&
		grep -q 'in a gap' "$W/regions"
}
# It is the default: what shows is that it contradicts the other one.
opt_used_only() { status_of 2 go --all-blocks --used-only; }
opt_all_blocks() { [ "$(of part-1 .free_bytes --all-blocks)" = 0 ]; }
opt_exclude() { [ "$(of part-1 '.head.exclude.bytes > 400000' --exclude swap)" = true ]; }
opt_verify() {
	[ "$(go --json --verify full | field_of backup-disk \
		'[.images[].verified.blocks_checked > 0] | all')" = true ] &&
		[ "$(again --json --verify quick --block-size 64K | field_of backup-disk \
			'[.images[].verified | .blocks_checked < .blocks] | any')" = true ]
}
opt_resume() {
	timeout -k 5 20 "$IMGTOOL" backup-disk -q --max-throughput 1M "$DISK" "$W/new" \
		2>"$W/err" &
	wait_until test -e "$W/new/part-1.img.zst.partial"
	kill $!
	wait $!
	go -q --resume && t verify-set -q "$W/new"
}
opt_force() { go -q && go -q --force; }
opt_uuid() { go -q --uuid "$UUID" && [ "$(info_of "$W/new" .uuid)" = "$UUID" ]; }
