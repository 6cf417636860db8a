# The servers under load: 16 clients each, a cache that is too small, damage, clients that leave
# within a request; for SOAK_SECONDS each (`make soak`: two minutes under AddressSanitizer). With
# SOAK_REQUIRED a server that can't be soaked here is a failure, not a skip.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
. "$TESTS_DIR/cli/serve_fixture.sh"

# missing DESC REASON
missing() {
	if [ -n "${SOAK_REQUIRED:-}" ]; then nok "$1" "$2"; else skip_case "$1" "$2"; fi
}
if [ -n "${SOAK_REQUIRED:-}" ]; then
	skip() { nok "what the soak needs: $1"; done_testing; }
fi
requires mkfs.ext4 zstd jq python3

SOAK_SECONDS=${SOAK_SECONDS:-3}
CACHE_MIB=4
options=(--cache-size ${CACHE_MIB}M --read-ahead 2)
SPARE_MIB=64       # what a server may need besides its cache
ASAN_GROWTH_MIB=48 # of a sanitized server once it is warm; its allocator keeps what was freed
sanitizer=$(ldd "$IMGTOOL" | grep -Eo 'lib[at]san' | head -n 1 || true)
# Of what was freed no more is kept than that memory which grows can still be seen.
export ASAN_OPTIONS=${ASAN_OPTIONS:-}:quarantine_size_mb=16

make_served
borders_of "$img" "$TMP/borders"
find_block "$img"
flip "$img" $((at + 100)) # reads of this block must fail, and no others

memory() { awk '/^VmRSS/ { print int($2 / 1024) }' "/proc/$server/status"; }

# watch_memory: of $server, after a third of the time and just before its end, all clients there
watch_memory() {
	sleep $((SOAK_SECONDS / 3)).5
	memory >"$TMP/warm"
	sleep $((SOAK_SECONDS - SOAK_SECONDS / 3 - 1))
	memory >"$TMP/late"
}

# check_memory PROTOCOL: what watch_memory saw
check_memory() {
	local now warm
	read -r warm <"$TMP/warm"
	read -r now <"$TMP/late"
	echo "# $1: $warm MiB resident after a third of the time, $now MiB near the end"
	case $sanitizer in
	'') check "$1: the memory is that of the cache and $SPARE_MIB MiB, also with 16 clients" \
		test $((now > warm ? now : warm)) -le $((CACHE_MIB + SPARE_MIB)) ;;
	libasan) check "$1: the memory does not grow" \
		test "$now" -le $((warm + ASAN_GROWTH_MIB)) ;;
	esac
}

# load PROTOCOL ADDRESS [OPTION...]
load() {
	watch_memory &
	check "$1: every read of 16 clients is right, or fails as it must" \
		python3 "$TESTS_DIR/cli/soak_client.py" "$1" "$2" "$raw" 16 \
		--seconds "$SOAK_SECONDS" --borders "$TMP/borders" --bad "$block" "$length" "${@:3}"
	echo "# $1: reads, and those of the damaged block: $(cat "$TMP/out")"
	read -r reads _ <"$TMP/out"
	check_grep '^[0-9]+ [1-9]' "$TMP/out" 'also reads of the damaged block were among them'
	check_memory "$1"
}

no_reports() {
	check_fails 'and nothing was reported' \
		grep -E '(Address|Leak|Thread)Sanitizer|runtime error:' "$TMP/served.err"
}

# check_served: imgtool's own servers count what they were asked
check_served() {
	stop_server
	check_eq $status 0 'a signal ends the server well'
	# Half of the reads of files go around the kernel's cache, and are requests at least.
	check_eq "$(events served <"$TMP/served" | jq ".server.requests >= $reads / 2")" true \
		'it was the server that was read'
	no_reports
}

# Who left within a request still counts as a client for a moment.
serve serve-proxy "$img" --pipe "$TMP/proxy" --max-clients 100 "${options[@]}"
load proxy "$TMP/proxy"
check_served

# Not by serve-nbd, which hands on no environment: the runtime of a sanitizer has to be the first
# library of nbdkit. Each of nbdkit's threads, by default 16 for each client, keeps a buffer of the
# longest request that it has seen; two threads leave that out of what is measured here.
plugin=$(dirname "$IMGTOOL")/nbdkit-imgtool-plugin.so
runtime=$(ldd "$plugin" | awk '/lib[at]san/ { print $3 }')
serve_nbd() { # DETECT_LEAKS
	rm -f "$TMP/nbd"
	LD_PRELOAD=$runtime ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=$1 \
		nbdkit -f -r --threads=2 -U "$TMP/nbd" "$plugin" "image=$img" \
		"cache-bytes=${CACHE_MIB}M" workers=2 2>"$TMP/served.err" &
	server=$!
	cleanup kill_server "$server"
	wait_until test -S "$TMP/nbd" || nok 'nbdkit listens' "$(cat "$TMP/served.err")"
}

if command -v nbdkit >/dev/null; then
	serve_nbd 0
	load nbd "$TMP/nbd"
	if [ -n "$runtime" ]; then
		# nbdkit 1.32 under this runtime hangs in its exit after bad requests, with plugins
		# of its own too: in p11-kit's freelocale.
		kill -KILL "$server"
	else
		stop_server
		check_eq $status 0 'a signal ends the server well'
	fi
	no_reports
	if [ "$sanitizer" = libasan ]; then
		# So once more, in peace: what the plugin leaves behind at its end is a leak.
		serve_nbd 1
		SOAK_SECONDS=3 load nbd "$TMP/nbd" --polite
		stop_server
		check_eq $status 0 'a signal ends the server well, without a leak'
		no_reports
	fi
else
	missing nbd 'nbdkit is not installed'
fi

mkdir "$TMP/mnt"
if [ ! -w /dev/fuse ]; then
	missing file 'no access to /dev/fuse'
elif [ "$sanitizer" = libtsan ]; then
	missing file 'ThreadSanitizer does not know pthread_clockjoin_np'
else
	cleanup eval 'fusermount3 -uqz "$TMP/mnt" || true' # should the server die
	serve mount "$img" "$TMP/mnt" "${options[@]}"
	load file "$TMP/mnt/disk.img"
	check_served
fi
done_testing
