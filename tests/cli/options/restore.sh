# shellcheck shell=bash disable=SC2154

go() { t restore "$IMG" "$W/new" "$@"; }
broken() { t restore "$W/none" "$W/new" "$@"; }

opt_in() { t restore -q --in "$IMG" "$W/new" && cmp -s "$RAW" "$W/new"; }
opt_out() { t restore -q "$IMG" --out "$W/new" && cmp -s "$RAW" "$W/new"; }
opt_on_read_error() {
	status_of 7 t restore -q "$BAD_IMG" "$W/new" --on-read-error zero &&
		cmp -s -i 65536 "$RAW" "$W/new"
}
# A loop device, as root.
on_device() { # ARGUMENT..., where DEVICE stands for its path
	local status=0 device
	[ "$(id -u)" -eq 0 ] || return 77
	truncate -s 4M "$W/disk"
	device=$(losetup -f --show "$W/disk" 2>/dev/null) || return 77
	t restore "$FS_IMG" "$device" "${@//DEVICE/$device}" >"$W/out" || status=$?
	losetup -d "$device"
	return $status
}
# What becomes of the bytes: tests/root/main_job_test.sh.
opt_free() {
	on_device --yes-destroy DEVICE --free leave --dry-run || return
	grep -q 'free space of the file system is left as it is' "$W/out"
}
opt_yes_destroy() { on_device --dry-run --yes-destroy DEVICE; }
