# shellcheck shell=bash disable=SC2154

go() { t restore "$IMG" "$W/new" "$@"; }
broken() { t restore "$W/none" "$W/new" "$@"; }

opt_in() { t restore -q --in "$IMG" "$W/new" && cmp -s "$RAW" "$W/new"; }
opt_out() { t restore -q "$IMG" --out "$W/new" && cmp -s "$RAW" "$W/new"; }
opt_on_read_error() {
	status_of 7 t restore -q "$BAD_IMG" "$W/new" --on-read-error zero &&
		cmp -s -i 65536 "$RAW" "$W/new"
}
opt_set_dir() {
	t restore -q --set-dir "$SET" --partition 2 "$W/new" && cmp -s "$PART" "$W/new"
}
opt_partition() {
	t restore -q --set-dir "$SET" "$W/new" --partition second && cmp -s "$PART" "$W/new"
}
opt_only_changed() {
	cp "$RAW" "$W/new"
	flip "$W/new" 100000
	[ "$(go --json --force --only-changed | field_of restore .same_bytes)" -gt 600000 ] &&
		cmp -s "$RAW" "$W/new"
}
opt_verify_after() { read_back; }
on_device() { # ARGUMENT..., with DEVICE: a disk of the right size
	if [ ! -e "$W/disk" ]; then truncate -s 4M "$W/disk"; fi
	on_loop "$W/disk" restore "$FS_IMG" DEVICE "$@"
}
opt_free() {
	roomy 12M
	"$REAL_IMGTOOL" image -q "$W/roomy" "$W/roomy.zst" && on_loop "$W/disk" restore -q \
		"$W/roomy.zst" DEVICE --yes-destroy DEVICE --free leave && stays 6
}
opt_undo_dir() {
	head -c 4M /dev/urandom >"$W/disk"
	cp "$W/disk" "$W/before"
	with_undo on_device --yes-destroy DEVICE --undo-dir "$W/undo"
}
opt_yes_destroy() { on_device --dry-run --yes-destroy DEVICE; }
