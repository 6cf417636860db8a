# imgtool serve-proxy: the protocol against a client written from its description, many clients,
# requests that are wrong, damage, limits, and every option.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
. "$TESTS_DIR/cli/serve_fixture.sh"
requires mkfs.ext4 zstd jq python3 sfdisk

client() { python3 "$TESTS_DIR/cli/proxy_client.py" "$address" "$@"; }
le() { printf '%016x' "$1" | sed 's/\(..\)/\1 /g' | awk '{ for (i = NF; i > 0; i--) printf $i }'; }

make_served
size=$(stat -c %s "$raw")

# ---- Reads ----
serve serve-proxy "$img" --port 0
check_eq "$(client info)" "$size 1 1" 'INFO: the true size, any alignment, read-only'
check 'thousands of random reads are those of the raw device' client compare "$raw" 1 2000
check 'also from 16 clients at once' client compare "$raw" 16 150
borders_of "$img" "$TMP/borders"
random_reads 'and across every border' proxy "$address" "$raw" 1 2000
random_reads 'by 16 clients, too' proxy "$address" "$raw" 16 150
check_eq "$(client read $((size - 100)) 300 2>&1 >"$TMP/end")" '0 300' \
	'a read past the end comes whole'
check_eq "$(tail -c 200 "$TMP/end" | tr -d '\000' | wc -c)" 0 'with zeros behind it'
check_eq "$(client read $((1 << 62)) 64 2>&1 >"$TMP/far" | cat)" '0 64' 'far behind the end too'
check_eq "$(client read 0 $((1 << 62)) 2>&1 >/dev/null)" "0 $((2 << 20))" \
	'a huge length gets what the buffer holds'

# ---- Requests that are refused, and the connection goes on ----
info=$(le 1)
info_answer=$(le "$size")$(le 1)$(le 1)
check_eq "$(client raw "$(le 3)$(le 0)$(le 4)01020304$info")" "$(le 9)$(le 0)$info_answer" \
	'WRITE: drained, EBADF'
check_eq "$(client raw "$(le 6)$(le 16)$(le 0)$(le 512)$info")" "$(le 9)$info_answer" \
	'UNMAP: drained, refused'
check_eq "$(client raw "$(le 7)$(le 16)$(le 0)$(le 512)$info")" "$(le 9)$info_answer" \
	'ZERO: drained, refused'
check_eq "$(client raw "$(le 77)$info")" "$(le 19)$info_answer" 'an unknown code: ENODEV'
check_eq "$(client raw "$(le 5)$info")" '' 'CLOSE ends the connection'

# ---- Requests that are broken ----
check_eq "$(client raw 0102)" '' 'half a code'
check_eq "$(client raw "$(le 2)$(le 0)")" '' 'half a request'
check_eq "$(client raw "$(le 3)$(le 0)$(le $((1 << 62)))")" '' 'a WRITE of exabytes'
check_eq "$(client info)" "$size 1 1" 'and the server is still there'
stop_server
check_eq $status 0 'a signal ends it well'
check_eq "$(events served <"$TMP/served" | jq -c '[.server.clients, .server.failures,
	.cache.hits > 0, .cache.peak_bytes <= .cache.limit_bytes + 1048576]')" '[0,4,true,true]' \
	'statistics of server and cache'

# ---- Damage ----
cp "$img" "$TMP/bad.zst"
find_block "$img"
flip "$TMP/bad.zst" $((at + 100))
serve serve-proxy "$TMP/bad.zst" --port 0
check_eq "$(client read "$block" 512 2>&1)" '5 0' 'a damaged block is EIO'
check_eq "$(client read $((block + length - 1)) 2 2>&1)" '5 0' 'and what touches it'
check_eq "$(client read $((block + length)) 512 2>&1 >"$TMP/next")" '0 512' 'its neighbour is not'
same_file "$TMP/next" <(tail -c +$((block + length + 1)) "$raw" | head -c 512) 'and is right'
stop_server
break_table "$img" "$TMP/bad.zst"
serve serve-proxy "$TMP/bad.zst" --port 0
random_reads 'a damaged table: its chunk alone can not be read' proxy "$address" "$raw" 4 200 \
	--bad "$chunk_at" "$chunk_length"
stop_server
mixed=$TESTS_DIR/golden/v2.0-mixed.img.zst
zstd -q -dc "$mixed" >"$TMP/mixed"
borders_of "$mixed" "$TMP/borders"
serve serve-proxy "$mixed" --port 0
random_reads 'bad ranges, and nothing beside them, are errors' proxy "$address" "$TMP/mixed" 4 500 \
	"${bad[@]}"
check_grep '^2000 [1-9]' "$TMP/out" 'which were hit'
stop_server

# ---- Options ----
serve serve-proxy --in "$img" --port 0 --offset 1M --length 3M
check_eq "$(client info)" "$((3 << 20)) 1 1" '--in, --offset and --length: a window'
client read 5 100 2>/dev/null >"$TMP/window"
same_file "$TMP/window" <(tail -c +$(((1 << 20) + 6)) "$raw" | head -c 100) 'its bytes'
check_status 11 '--port: one that is taken' timeout 10 "$IMGTOOL" serve-proxy "$img" \
	--port "${address##*:}"
stop_server
serve serve-proxy "$img" --pipe "$TMP/socket"
check_eq "$address" "$TMP/socket" '--pipe'
check 'reads over a Unix socket' client compare "$raw" 2 200
check_eq "$(stat -c %a "$TMP/socket")" 600 'which is its owner'"'"'s alone'
stop_server
[ ! -e "$TMP/socket" ] && ok 'and is removed' || nok 'and is removed'
check_status 2 'no path of a socket' "$IMGTOOL" serve-proxy "$img" --pipe ''
touch "$TMP/taken"
check_status 11 'a socket that exists' "$IMGTOOL" serve-proxy "$img" --pipe "$TMP/taken"
serve serve-proxy "$img" --port 0 --host 127.0.0.2
check_grep '^127\.0\.0\.2:' <(echo "$address") '--host'
stop_server
check_status 2 '--host that is none' "$IMGTOOL" serve-proxy "$img" --host 'no such host'
serve serve-proxy "$img" --port 0 --max-clients 3
check_eq "$(client crowd 5)" 3 '--max-clients'
stop_server
serve serve-proxy "$img" --port 0 --timeout 1
check_grep '^[1-9]\.' <(client silent) '--timeout: a client that says nothing is let go'
check_grep '^[1-9]\.' <(client silent "$(le 2)$(le 0)") 'and one that stops within a request'
check_grep '^[12]\.' <(client drip 0.3) 'and one that sends a byte now and then'
stop_server
check_eq "$(events served <"$TMP/served" | jq .server.clients_late)" 3 'and counted'
# All at once: they take some seconds. On a Unix socket, whose buffers are small.
serve serve-proxy "$img" --pipe "$TMP/socket" --timeout 1
client pause 3 >"$TMP/pause" &
clients=($!)
client slow 900000 300000 >"$TMP/slow" 2>&1 &
clients+=($!)
client slow 450000 130000 >"$TMP/slower" 2>&1 &
clients+=($!)
client deaf 3
wait "${clients[@]}" || true
stop_server
check_eq "$(cat "$TMP/pause")" "$size 1 1" 'who is silent between requests is still served'
check_eq "$(cat "$TMP/slow")" "$size 1 1" 'and so is who takes an answer slowly'
check_eq "$(cat "$TMP/slower")" "$size 1 1" 'also so slowly that poll sees no room within the time'
check_eq "$(events served <"$TMP/served" | jq .server.clients_late)" 1 \
	'one that does not take its answers is late'
serve serve-proxy "$img" --port 0 --cache-size 256K --read-ahead 0
client compare "$raw" 1 300 >/dev/null
stop_server
check_eq "$(events served <"$TMP/served" | jq -c '[.cache.limit_bytes, .cache.ahead,
	.cache.peak_bytes <= 524288, .cache.evicted > 0]')" '[262144,0,true,true]' \
	'--cache-size and --read-ahead 0'
serve serve-proxy "$img" --port 0 --read-ahead 2
client stream 16384
stop_server
check_eq "$(events served <"$TMP/served" | jq '.cache.ahead_used > 10')" true \
	'--read-ahead: who reads in order finds blocks unpacked'
# The terminal goes away; and a signal that comes at once.
serve serve-proxy "$img" --pipe "$TMP/socket"
kill -HUP "$server"
wait "$server" && ok 'SIGHUP ends it well' || nok 'SIGHUP ends it well'
[ ! -e "$TMP/socket" ] && ok 'and its socket is removed' || nok 'and its socket is removed'
(trap '' HUP && exec "$IMGTOOL" serve-proxy "$img" --pipe "$TMP/socket" >"$TMP/nohup") &
server=$!
cleanup kill_server "$server"
wait_until test -S "$TMP/socket"
kill -HUP "$server"
check_eq "$(address=$TMP/socket client info)" "$size 1 1" 'but under nohup it goes on'
stop_server
serve serve-proxy "$src" --port 0
check_eq "$(client info)" "$size 1 1" 'a file that is no image is served as it is'
check 'byte for byte' client compare "$src" 1 300
stop_server
"$IMGTOOL" serve-proxy --quiet --log-file "$TMP/log" "$img" --port 0 >"$TMP/quiet" 2>&1 &
cleanup kill_server $!
wait_until grep -q serving "$TMP/log" && ok '--log-file' || nok '--log-file'
check_eq "$(cat "$TMP/quiet")" '' '--quiet says nothing'
head -c 100000 "$img" >"$TMP/cut"
check_status 7 'a truncated image is not served as it is' "$IMGTOOL" serve-proxy "$TMP/cut"
truncate -s 8M "$TMP/disk"
sfdisk -q "$TMP/disk" <<'TABLE'
label: gpt
start=2048, size=2048, name=same
start=4096, size=4096, name=1
start=8192, size=2048, name=same
TABLE
check_status 2 'a name of two partitions' "$IMGTOOL" serve-proxy "$TMP/disk" --partition same
check_grep "'same' is more than one partition of .*disk: 1 same; 3 same" "$TMP/err" 'is refused'
serve serve-proxy "$TMP/disk" --partition 1 --port 0
check_eq "$(client info)" "$((1 << 20)) 1 1" 'a number comes before a name'
stop_server
check_status 2 'a window past the end' "$IMGTOOL" serve-proxy "$img" --offset 1T
check_status 2 '--pipe and --port' "$IMGTOOL" serve-proxy "$img" --pipe x --port 1
check_status 2 'nothing to serve' "$IMGTOOL" serve-proxy
check_status 3 'an image that does not exist' "$IMGTOOL" serve-proxy "$TMP/none"
done_testing
