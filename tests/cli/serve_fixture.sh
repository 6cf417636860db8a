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
