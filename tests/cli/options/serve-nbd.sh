# shellcheck shell=bash disable=SC2034,SC2154
. "$OPTIONS/serving.sh"
. "$TESTS_DIR/cli/serve_fixture.sh"

can_serve() {
	command -v nbdkit >/dev/null && command -v nbdcopy >/dev/null &&
		command -v nbdinfo >/dev/null && nbdkit_loads_plugin "$REAL_IMGTOOL"
}
PLACE=(--pipe "$W/socket")
PORT=$((21000 + BASHPID % 9000))
uri="nbd+unix:///?socket=$W/socket"
# answers ADDRESS URI: the size that a client is told at the address that was said. nbdkit listens
# a moment after that.
answers() {
	[ "$address" = "$1" ] || return
	for _ in $(seq 100); do
		nbdinfo --size "$2" 2>/dev/null && return
		kill -0 $server 2>/dev/null || return
		sleep 0.05
	done
	return 1
}
content() { answers "$W/socket" "$uri" >/dev/null && nbdcopy "$uri" -; }
# In parts of blocks: a whole one does not stay in the cache.
twice() {
	answers "$W/socket" "$uri" >/dev/null &&
		nbdcopy --connections=1 --request-size=32768 "$uri" - >/dev/null &&
		nbdcopy --connections=1 --request-size=32768 "$uri" - >/dev/null
}
# reads OPTION...: of the image's file, while a client reads all of it two times
reads() {
	printf '#!/bin/sh\nexec strace -f -o "%s" -P "%s" -e trace=pread64 "%s" "$@"\n' "$W/trace" \
		"$IMG" "$IMGTOOL" >"$W/traced"
	chmod +x "$W/traced"
	IMGTOOL=$W/traced ASAN_OPTIONS=detect_leaks=0 with_server twice "$IMG" "${PLACE[@]}" \
		--read-ahead 0 "$@"
	rm -f "$W/socket"
	grep -c 'pread64(' "$W/trace"
}
opt_cache_size() {
	local few
	need_strace || return
	few=$(reads) || return
	[ "$(reads --cache-size 64K)" -gt "$few" ]
}
opt_pipe() { with_content "$IMG" && cmp -s "$W/content" "$RAW"; }
at_port() { answers "$1:$PORT" "nbd://$1:$PORT"; }
at_other_host() { at_port 127.0.0.4; }
opt_host() { says '^700000$' with_server at_other_host "$IMG" --port $PORT --host 127.0.0.4; }
at_usual_host() { at_port 127.0.0.1; }
opt_port() { says '^700000$' with_server at_usual_host "$IMG" --port $PORT; }
written() {
	head -c 65536 /dev/zero >"$W/zeros"
	content >/dev/null && nbdcopy "$W/zeros" "$uri" && nbdcopy "$uri" -
}
opt_cow() {
	with_server written "$IMG" "${PLACE[@]}" --cow >"$W/content" &&
		cmp -s "$W/content" <(cat "$W/zeros" <(tail -c +65537 "$RAW"))
}

# ---- Encryption ----
secret() {
	answers "$W/socket" "nbds+unix://somebody@/?socket=$W/socket&tls-psk-file=$W/psk" &&
		! nbdinfo "$uri" 2>/dev/null
}
with_psk() {
	printf 'somebody:%064d\n' 7 >"$W/psk"
	chmod 600 "$W/psk"
	says '^700000$' with_server secret "$IMG" "${PLACE[@]}" --tls require --tls-psk "$W/psk"
}
opt_tls() { with_psk; }
opt_tls_psk() { with_psk; }
# $W/pki: an authority, and what it signed for the server and for a client
make_pki() {
	local who pki=$W/pki
	command -v openssl >/dev/null || cannot || return
	mkdir "$pki" "$W/anonymous"
	key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
	openssl req -x509 "${key[@]}" -subj /CN=authority -days 2 -keyout "$W/ca.key" \
		-out "$pki/ca-cert.pem" 2>/dev/null
	for who in server client; do
		openssl req "${key[@]}" -subj /CN=localhost -keyout "$pki/$who-key.pem" \
			-out "$W/$who.csr" 2>/dev/null
		openssl x509 -req -in "$W/$who.csr" -CA "$pki/ca-cert.pem" -CAkey "$W/ca.key" \
			-days 2 -CAcreateserial -extfile <(echo 'subjectAltName=DNS:localhost') \
			-out "$pki/$who-cert.pem" 2>/dev/null
	done
	cp "$pki/ca-cert.pem" "$W/anonymous"
}
certified() { answers "127.0.0.1:$PORT" "nbds://localhost:$PORT?tls-certificates=$W/$1"; }
both_sides() { certified pki && ! nbdinfo "nbds://localhost:$PORT?tls-certificates=$W/anonymous"; }
one_side() { certified anonymous; }
opt_tls_certificates() {
	make_pki && says '^700000$' with_server one_side "$IMG" --port $PORT --tls require \
		--tls-certificates "$W/pki"
}
opt_tls_verify_peer() {
	make_pki && says '^700000$' with_server both_sides "$IMG" --port $PORT --tls require \
		--tls-certificates "$W/pki" --tls-verify-peer 2>/dev/null
}
