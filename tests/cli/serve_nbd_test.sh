# imgtool serve-nbd: nbdkit with our plugin, against the clients that others wrote.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
. "$TESTS_DIR/cli/serve_fixture.sh"
requires mkfs.ext4 zstd jq nbdkit nbdinfo nbdcopy qemu-img sfdisk openssl python3
nbdkit_loads_plugin "$IMGTOOL" || skip 'nbdkit does not load a plugin with a sanitizer'

make_served
socket=$TMP/nbd
uri="nbd+unix:///?socket=$socket"

# serve_here [OPTION...]: on the socket; waits until a client can ask.
serve_here() {
	serve serve-nbd --pipe "$socket" "$@"
	wait_until nbdinfo --size "$uri" >/dev/null ||
		nok 'a client gets an answer' "$(cat "$TMP/served.err")"
}

stop_here() {
	stop_server
	rm -f "$socket"
}

serve_here "$img"
check_eq "$address" "$socket" '--pipe'
check_eq "$(nbdinfo --size "$uri")" "$(stat -c %s "$raw")" 'the size'
nbdinfo --json "$uri" >"$TMP/info"
check_eq "$(jq -c '.exports[0] | [.is_read_only, .can_multi_conn, .can_cache]' "$TMP/info")" \
	'[true,true,true]' 'read-only, many connections, cache requests'
check 'nbdcopy takes all of it' nbdcopy "$uri" "$TMP/copy"
same_file "$TMP/copy" "$raw" 'byte for byte'
check 'qemu-img compare agrees' qemu-img compare -f raw -F raw "$uri" "$raw"
check 'qemu-img convert' qemu-img convert -f raw -O raw "$uri" "$TMP/converted"
same_file "$TMP/converted" "$raw" 'the same'
nbdkit "$(dirname "$IMGTOOL")/nbdkit-imgtool-plugin.so" --dump-plugin >"$TMP/dump"
check_eq "$(grep model "$TMP/dump" | sort)" $'max_thread_model=parallel\nthread_model=parallel' \
	'requests of one client are served at the same time'
# What a client is told of holes is what the image says.
check_eq "$(nbdinfo --map "$uri" | merge_extents)" "$(extents_of "$img")" \
	'data, zeros and free space are where the image has them'
borders_of "$img" "$TMP/borders"
random_reads 'thousands of random reads, also across every border' nbd "$socket" "$raw" 1 2000
random_reads 'also by 16 clients at once' nbd "$socket" "$raw" 16 150
if [[ $(fio --enghelp 2>/dev/null) == *nbd* ]]; then
	check 'fio reads, 16 requests in flight' fio --name=x --ioengine=nbd --uri="$uri" \
		--rw=randread --bs=4k --iodepth=16 --size=32M --io_size=8M
else
	skip_case 'fio reads' 'fio has no nbd engine here'
fi
check 'requests that are wrong' python3 "$TESTS_DIR/cli/nbd_client.py" "$socket" wrong "$raw"
# EINVAL past the end, ENOMEM or EINVAL for a length over the limit, EPERM for a write.
check_grep '^22 22 (22|12) 1 22$' "$TMP/out" 'are answered with errors, and the next one is right'
stop_here
check_eq $status 0 'a signal ends it well'
check_grep '^served by nbdkit; cache: [1-9][0-9]* hits, [1-9][0-9]* misses, ' "$TMP/served.err" \
	'and it says how often the cache helped'
serve_here "$img" --quiet --log-file "$TMP/log"
stop_here
check_eq "$(cat "$TMP/served.err")" '' 'but not with --quiet'

# ---- Damage ----
cp "$img" "$TMP/bad.zst"
find_block "$img"
flip "$TMP/bad.zst" $((at + 100))
serve_here "$TMP/bad.zst"
check_fails 'a damaged block is an error' qemu-io -r -f raw -c "read $block 512" "$uri"
check_grep 'Input/output error' <(cat "$TMP/out" "$TMP/err") 'in the protocol'"'"'s own terms'
check 'its neighbour is not' qemu-io -r -f raw -c "read $((block + length)) 512" "$uri"
stop_here
break_table "$img" "$TMP/bad.zst"
serve_here "$TMP/bad.zst"
check 'a damaged table: what is where is told all the same' nbdinfo --map "$uri"
check_eq "$(merge_extents <"$TMP/out" | awk '{ sum += $2 } END { print sum }')" \
	"$(stat -c %s "$raw")" 'of the whole device'
random_reads 'and its chunk alone can not be read' nbd "$socket" "$raw" 4 200 \
	--bad "$chunk_at" "$chunk_length"
stop_here
mixed=$TESTS_DIR/golden/v2.0-mixed.img.zst
zstd -q -dc "$mixed" >"$TMP/mixed"
borders_of "$mixed" "$TMP/borders"
serve_here "$mixed"
random_reads 'bad ranges, and nothing beside them, are errors' nbd "$socket" "$TMP/mixed" 4 500 \
	"${bad[@]}"
check_grep '^2000 [1-9]' "$TMP/out" 'which were hit'
stop_here

# ---- Options ----
serve_here --in "$img" --offset 1M --length 2M
nbdcopy "$uri" "$TMP/window"
same_file "$TMP/window" <(tail -c +$(((1 << 20) + 1)) "$raw" | head -c 2M) \
	'--in, --offset, --length'
stop_here
serve_here --cow "$img"
check '--cow: clients may write' qemu-io -f raw -c 'write -P 7 4096 4096' \
	-c 'read -P 7 4096 4096' "$uri"
stop_here
serve_here "$img"
check_fails 'without it they may not' qemu-io -f raw -c 'write -P 7 4096 4096' "$uri"
nbdcopy "$uri" "$TMP/after"
same_file "$TMP/after" "$raw" 'and nothing that was written is left'
stop_here
port=$((20000 + RANDOM % 20000))
serve serve-nbd "$img" --host 127.0.0.3 --port $port
check_eq "$address" "127.0.0.3:$port" '--host and --port'
wait_until nbdinfo --size "nbd://127.0.0.3:$port" >"$TMP/size" || true
check_eq "$(cat "$TMP/size")" "$(stat -c %s "$raw")" 'it listens there'
check_status 11 'a port that is taken' timeout 10 "$IMGTOOL" serve-nbd "$img" --host 127.0.0.3 \
	--port $port
check_fails 'is not said to be served' grep -e serving "$TMP/out" "$TMP/err"
stop_server
touch "$TMP/taken"
check_status 11 'a socket that exists' timeout 10 "$IMGTOOL" serve-nbd "$img" --pipe "$TMP/taken"
check_grep 'listen on .*taken: Address already in use' "$TMP/err" 'is refused'
printf 'somebody:%064d\n' 7 >"$TMP/psk"
chmod 600 "$TMP/psk"
serve serve-nbd "$img" --pipe "$socket" --tls require --tls-psk "$TMP/psk"
secret="nbds+unix://somebody@/?socket=$socket&tls-psk-file=$TMP/psk"
if wait_until nbdinfo --size "$secret" >"$TMP/size"; then
	check_eq "$(cat "$TMP/size")" "$(stat -c %s "$raw")" '--tls, --tls-psk: encrypted'
	check_fails 'and not otherwise' nbdinfo --size "$uri"
else
	nok '--tls, --tls-psk: encrypted' "$(cat "$TMP/served.err")"
fi
stop_here
# An authority, and what it signed for the server and for a client.
pki=$TMP/pki
mkdir "$pki"
openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=authority -days 2 -keyout "$TMP/ca.key" \
	-out "$pki/ca-cert.pem" 2>/dev/null
for who in server client; do
	openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout "$pki/$who-key.pem" \
		-out "$TMP/$who.csr" 2>/dev/null
	openssl x509 -req -in "$TMP/$who.csr" -CA "$pki/ca-cert.pem" -CAkey "$TMP/ca.key" -days 2 \
		-CAcreateserial -extfile <(echo 'subjectAltName=DNS:localhost') \
		-out "$pki/$who-cert.pem" 2>/dev/null
done
mkdir "$TMP/anonymous"
cp "$pki/ca-cert.pem" "$TMP/anonymous"
serve serve-nbd "$img" --port $port --tls on --tls-certificates "$pki" --tls-verify-peer
wait_until nbdinfo --size "nbd://127.0.0.1:$port" >"$TMP/size" || true
check_eq "$(cat "$TMP/size")" "$(stat -c %s "$raw")" '--tls on: also without encryption'
check '--tls-certificates' nbdinfo --size "nbds://localhost:$port?tls-certificates=$pki"
check_fails '--tls-verify-peer: not without a certificate' \
	nbdinfo --size "nbds://localhost:$port?tls-certificates=$TMP/anonymous"
stop_server
check_status 2 '--tls with another word' "$IMGTOOL" serve-nbd "$img" --tls requrie
check_grep "'requrie' is none of off, on, require" "$TMP/err" 'is refused'
check_status 2 '--tls-psk without --tls' "$IMGTOOL" serve-nbd "$img" --tls-psk x
check_status 2 '--tls-verify-peer without --tls' "$IMGTOOL" serve-nbd "$img" --tls-verify-peer
check_status 2 '--tls-certificates without --tls' "$IMGTOOL" serve-nbd "$img" \
	--tls-certificates x
check_status 2 '--pipe and --host' "$IMGTOOL" serve-nbd "$img" --pipe x --host y
check_status 2 'a port that is none' "$IMGTOOL" serve-nbd "$img" --port 70000
check_status 2 'no path of a socket' "$IMGTOOL" serve-nbd "$img" --pipe ''

# ---- Sets ----
truncate -s 96M "$TMP/disk"
sfdisk -q "$TMP/disk" <<'TABLE'
label: gpt
start=2048, size=131072, name=data
start=135168, size=40960, name=rest
TABLE
dd if="$src" of="$TMP/disk" bs=1M seek=1 conv=notrunc status=none
head -c 20M /dev/urandom | dd of="$TMP/disk" bs=1M seek=66 conv=notrunc status=none
"$IMGTOOL" backup-disk --quiet --device "$TMP/disk" --set-dir "$TMP/set"
dd if="$raw" of="$TMP/disk" bs=1M seek=1 conv=notrunc status=none # free space as zeros
serve_here --set-dir "$TMP/set"
check 'the whole disk of a set' qemu-img compare -f raw -F raw "$uri" "$TMP/disk"
stop_here
serve_here "$TMP/set" --partition rest
check '--partition of a set, by name' cmp <(nbdcopy "$uri" -) \
	<(tail -c +$((66 * 1048576 + 1)) "$TMP/disk" | head -c 20M)
stop_here
image_quietly "$TMP/disk" "$TMP/whole.zst"
serve_here "$TMP/whole.zst" --partition 1 --offset 4K
check_eq "$(nbdinfo --size "$uri")" $((64 * 1048576 - 4096)) '--partition of an imaged disk'
stop_here
check_status 3 'a partition that is not there' "$IMGTOOL" serve-nbd "$TMP/set" --partition 9
done_testing
