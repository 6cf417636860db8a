# shellcheck shell=bash disable=SC2034,SC2154
. "$OPTIONS/serving.sh"

can_serve() { command -v python3 >/dev/null; }
PLACE=(--pipe "$W/socket")
client() { python3 "$TESTS_DIR/cli/proxy_client.py" "$address" "$@" 2>/dev/null; }
content() { # by requests of at most 1 MiB
	local size at
	size=$(client info | cut -d ' ' -f 1)
	for ((at = 0; at < size; at += 1048576)); do
		client read $at $((size - at < 1048576 ? size - at : 1048576))
	done
}
ask() { client info >/dev/null && echo "$address"; }

opt_pipe() { says "^$W/socket\$" with_server ask "$IMG" "${PLACE[@]}"; }
opt_host() { says '^127\.0\.0\.2:' with_server ask "$IMG" --port 0 --host 127.0.0.2; }
opt_port() { says ':[0-9]*$' with_server ask "$IMG" --port 0 && ! grep -q ':11459$' "$W/said"; }
crowd() { client crowd 4; }
opt_max_clients() { [ "$(with_server crowd "$IMG" "${PLACE[@]}" --max-clients 3)" = 3 ]; }
silent() { timeout 5 python3 "$TESTS_DIR/cli/proxy_client.py" "$address" silent; }
opt_timeout() { with_server silent "$IMG" "${PLACE[@]}" --timeout 1 >/dev/null; }
