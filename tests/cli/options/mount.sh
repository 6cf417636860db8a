# shellcheck shell=bash disable=SC2034,SC2154
. "$OPTIONS/serving.sh"

can_serve() { can_fuse; }
mkdir "$W/mnt"
PLACE=("$W/mnt")
content() { cat "$W/mnt/disk.img"; }
stop() {
	local status=0
	kill $server 2>/dev/null
	wait $server || status=$?
	fusermount3 -uqz "$W/mnt" 2>/dev/null
	return $status
}

opt_mount_point() {
	with_server content "$IMG" --mount-point "$W/mnt" >"$W/content" &&
		cmp -s "$W/content" "$RAW"
}
others_look() {
	setpriv --reuid 65534 --regid 65534 --clear-groups cat "$W/mnt/info.json" 2>/dev/null
}
opt_allow_other() {
	[ "$(id -u)" -eq 0 ] || cannot || return # to be another user
	chmod 755 "$(dirname "$TMP")" "$TMP" "$TMP/w" "$W"
	with_server others_look "$IMG" "${PLACE[@]}" --allow-other >/dev/null
}
# The tree inside, not the volume's file.
tree_of() { [ -d "$W/mnt/lost+found" ]; }
opt_files() { with_server tree_of "$FS_IMG" "${PLACE[@]}" --files >/dev/null; }
