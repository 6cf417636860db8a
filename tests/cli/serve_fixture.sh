# What the tests of servers share. Sourced after lib.sh and fixture.sh.
# shellcheck shell=bash

# serve COMMAND [OPTION...]: start a server in the background; $server is its process, $address
# where it listens. It is stopped at the end, or by stop_server.
serve() {
	"$IMGTOOL" "$1" --json "${@:2}" >"$TMP/served" 2>"$TMP/served.err" &
	server=$!
	cleanup kill_server "$server"
	if ! wait_until grep -q '"serving"' "$TMP/served"; then
		nok "$1 starts" "$(cat "$TMP/served" "$TMP/served.err")"
	fi
	address=$(events serving <"$TMP/served" | jq -r .address)
}

# nbdkit_loads_plugin IMGTOOL: not one that was built with a sanitizer, whose runtime has to be the
# first library of a program.
nbdkit_loads_plugin() {
	! ldd "$(dirname "$1")/nbdkit-imgtool-plugin.so" | grep -Eq 'lib[at]san'
}

# find_block IMAGE [LEAST]: a data block of its first chunk, with a frame of more than LEAST (1000)
# bytes: where it is in the source ($block, $length) and in the file ($at).
find_block() {
	"$IMGTOOL" repl "$1" >"$TMP/where" 2>/dev/null <<LUA
for _, e in ipairs(img:chunk(0).entries) do
  if e.kind == 'data' and e.stored > ${2:-1000} then
    print(e.offset, e.length, e.file_offset) break
  end
end
LUA
	read -r block length at <"$TMP/where"
}

kill_server() { # PROCESS
	kill "$1" 2>/dev/null || true
	wait "$1" 2>/dev/null || true
}

# stop_server: its exit status in $status; what it said is in $TMP/served.
stop_server() {
	status=0
	kill -TERM "$server"
	wait "$server" || status=$?
}
