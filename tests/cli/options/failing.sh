# A disk that can't be read in one place: a damaged image, shown as a file. Errors are real ones.
# shellcheck shell=bash disable=SC2154

# failing COMMAND...: with $W/failing/disk.img, which fails at $BAD_AT for 64 KiB
failing() {
	local server status=0
	can_fuse || cannot || return
	mkdir -p "$W/failing"
	timeout --foreground -k 1 20 "$REAL_IMGTOOL" mount -q "$BAD_DISK_IMG" "$W/failing" \
		>"$W/mount.err" 2>&1 &
	server=$!
	until [ -e "$W/failing/disk.img" ] || ! kill -0 $server 2>/dev/null; do sleep 0.05; done
	"$@" || status=$?
	kill $server 2>/dev/null
	wait $server
	fusermount3 -uqz "$W/failing" 2>/dev/null
	return $status
}
# read_failing RETRIES: how many reads there were
read_failing() {
	rm -rf "$W"/new*
	traced -P "$W/failing/disk.img" -e trace=pread64 -- $CMD -q --on-read-error zero \
		"$W/failing/disk.img" "$W/new" --read-retries "$1" >/dev/null
	grep -c pread64 "$W/trace"
}
more_retries() {
	local few
	few=$(read_failing 0)
	[ "$(read_failing 20)" -ge $((few + 20)) ]
}
opt_read_retries() {
	need_strace || return
	failing more_retries
}
opt_on_read_error() {
	failing status_of 12 t $CMD -q "$W/failing/disk.img" "$W/new" --on-read-error zero &&
		zeros_there
}
