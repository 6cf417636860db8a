# Servers: what they serve is asked of a client. The command's file defines PLACE (the arguments
# that say where: in $W), `can_serve` (here), and `content`, which is what a client gets there.
# shellcheck shell=bash disable=SC2034,SC2154

# running PATTERN: the server has said so, or has ended
running() { grep -qs "$1" "$W/served" "$W/log" || ! kill -0 $server 2>/dev/null; }
# start ARGUMENT...: $server is its process, and $address what it says
start() {
	can_serve || cannot || return
	# In the foreground: else its group gets each signal, too, and the second one is not polite.
	timeout --foreground -k 1 20 "$IMGTOOL" $CMD "$@" >"$W/served" 2>"$W/err" </dev/null &
	server=$!
	wait_until running serving
	address=$(events serving 2>/dev/null <"$W/served" | jq -r .address) || true
}
stop() {
	kill $server 2>/dev/null
	wait $server
}
# with_server COMMAND ARGUMENT...: with a server of these arguments
with_server() {
	local status=0
	start --json "${@:2}" || return
	"$1" || status=$?
	stop && return $status
}
with_content() { with_server content "$@" "${PLACE[@]}" >"$W/content"; }

go() { start "$IMG" "${PLACE[@]}" "$@" && stop && cat "$W/served"; }
broken() { timeout -k 1 20 "$IMGTOOL" $CMD "$W/none" "${PLACE[@]}" "$@" 2>"$W/err" </dev/null; }
# Whether it serves is in the log then.
opt_quiet() {
	go --quiet --log-file "$W/log" >"$W/out" && [ ! -s "$W/out" ] && [ ! -s "$W/err" ]
}

opt_in() { with_content --in "$IMG" && cmp -s "$W/content" "$RAW"; }
opt_set_dir() {
	with_content --set-dir "$SET" && cmp -s -n 1048576 -i $((5 << 20)):0 "$W/content" "$PART"
}
opt_partition() { with_content "$SET" --partition second && cmp -s "$W/content" "$PART"; }
opt_offset() {
	with_content "$IMG" --offset 70001 && cmp -s "$W/content" <(tail -c +70002 "$RAW")
}
opt_length() {
	with_content "$IMG" --length 70001 && cmp -s "$W/content" <(head -c 70001 "$RAW")
}
served() { events served <"$W/served" | jq "$1"; }
opt_cache_size() {
	with_content "$IMG" --cache-size 768K && [ "$(served .cache.limit_bytes)" = 786432 ]
}
# By default there are at most four.
threads() {
	ls "/proc/$(pgrep -P $server)/task" | wc -l
}
opt_read_ahead() {
	command -v pgrep >/dev/null || cannot || return
	[ "$(with_server threads "$IMG" "${PLACE[@]}" --read-ahead 40)" -gt 40 ]
}
