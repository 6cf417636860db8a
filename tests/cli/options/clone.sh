# shellcheck shell=bash disable=SC2154
. "$OPTIONS/failing.sh"

go() { t clone "$DISK" "$W/new" "$@"; }
broken() { t clone "$W/none" "$W/new" "$@"; }
second_is() { cmp -s -n 1048576 -i $((5 << 20)):0 "$W/new" "$PART"; }
zeros_there() {
	cmp -s -n 65536 -i $BAD_AT:0 "$W/new" /dev/zero &&
		cmp -s -n 131072 -i $((5 << 20)):0 "$W/new" "$PART"
}
# to_loop ARGUMENT...: with DEVICE, over the file $W/disk
to_loop() {
	if [ ! -e "$W/disk" ]; then truncate -s 8M "$W/disk"; fi
	on_loop "$W/disk" clone "$DISK" DEVICE "$@"
}

opt_from() { t clone -q --from "$DISK" "$W/new" && second_is; }
opt_to() { t clone -q "$DISK" --to "$W/new" && second_is; }
opt_sector_size() { t clone -q "$DISK_4K" "$W/new" --sector-size 4096 && [ -s "$W/new" ]; }
opt_free() {
	roomy 16M
	on_loop "$W/disk" clone -q "$W/roomy.disk" DEVICE --yes-destroy DEVICE --free leave &&
		stays 7
}
opt_verify_after() { read_back; }
opt_new_guids() { go -q --new-guids && [ "$(guids_of "$W/new")" != "$(guids_of "$DISK")" ]; }
opt_grow_last() {
	truncate -s 12M "$W/disk"
	to_loop -q --force --yes-destroy DEVICE --grow-last && has_grown "$W/disk"
}
opt_undo_dir() {
	head -c 8M /dev/urandom >"$W/disk"
	cp "$W/disk" "$W/before"
	with_undo to_loop --yes-destroy DEVICE --undo-dir "$W/undo"
}
opt_yes_destroy() { to_loop --dry-run --yes-destroy DEVICE; }
