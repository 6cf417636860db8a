# shellcheck shell=bash disable=SC2154

# physical ARGUMENT...: with DEVICE, over the file $W/disk
physical() {
	if [ ! -e "$W/disk" ]; then truncate -s 8M "$W/disk"; fi
	on_loop "$W/disk" restore-physical --yes-destroy DEVICE "$@"
}
go() { physical "$SET" DEVICE "$@"; }
broken() { t restore-physical "$W/none" "$W/no.disk" "$@"; }
second_is() { cmp -s -n $((1048576 - $1)) -i $(((5 << 20) + $1)):"$1" "$W/disk" "$PART"; }
larger_target() { truncate -s 12M "$W/disk"; }

opt_set_dir() { physical -q --set-dir "$SET" DEVICE && second_is 0; }
opt_device() { physical -q "$SET" --device DEVICE && second_is 0; }
# A set of a disk that could not be read in one place.
unread_set() (
	. "$OPTIONS/failing.sh"
	failing status_of 12 "$REAL_IMGTOOL" backup-disk -q "$W/failing/disk.img" "$W/unread" \
		--on-read-error zero --read-retries 0 2>/dev/null
)
# R4: such a set is not begun with.
opt_on_read_error() {
	unread_set && head -c 8M /dev/urandom >"$W/disk" && cp "$W/disk" "$W/before" || return
	status_of 9 physical -q --force "$W/unread" DEVICE && cmp "$W/disk" "$W/before" &&
		status_of 12 physical -q --force "$W/unread" DEVICE --on-read-error zero &&
		status_of 7 physical -q "$BAD_SET" DEVICE --on-read-error zero && second_is 65536
}
opt_free() {
	roomy 16M
	"$REAL_IMGTOOL" backup-disk -q "$W/roomy.disk" "$W/roomy.set" &&
		physical -q "$W/roomy.set" DEVICE --free leave && stays 7
}
opt_only_changed() {
	go -q
	[ "$(go --json --only-changed | field_of restore-physical '.same_bytes > 1000000')" = true ]
}
opt_verify_after() { read_back; }
opt_new_guids() { go -q --new-guids && [ "$(guids_of "$W/disk")" != "$(guids_of "$DISK")" ]; }
opt_grow_last() { larger_target && go -q --force --grow-last && has_grown "$W/disk"; }
opt_undo_dir() {
	head -c 8M /dev/urandom >"$W/disk"
	cp "$W/disk" "$W/before"
	with_undo go --undo-dir "$W/undo"
}
opt_yes_destroy() { on_loop "$DISK" restore-physical "$SET" DEVICE --dry-run --yes-destroy DEVICE; }
opt_force() { larger_target && go -q --force && second_is 0; }
opt_dry_run() {
	says '^would ' go --dry-run && [ "$(tr -d '\0' <"$W/disk" | wc -c)" = 0 ]
}
