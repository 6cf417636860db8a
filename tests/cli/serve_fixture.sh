# What the tests of servers share. Sourced after lib.sh and fixture.sh.
# shellcheck shell=bash

# make_served: a volume ($src), its image in small blocks ($img), and what the image holds ($raw).
make_served() {
	src=$TMP/src.img
	img=$TMP/i.zst
	raw=$TMP/raw.img
	make_ext4 "$src"
	truncate -s $((64 * 1048576 + 512)) "$src" # an end that is no multiple of a block
	image_quietly --chunk-size 4M --block-size 64K "$src" "$img"
	zstd -q -dc "$img" >"$raw"
}

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

# borders_of IMAGE FILE: where blocks, chunks, entries of their tables and bad ranges begin and end.
# The bad ranges are options of soak_client.py in ${bad[@]}.
borders_of() {
	"$IMGTOOL" repl "$1" >"$2" 2>/dev/null <<'LUA'
f = img:facts()
for at = 0, f.source_bytes, f.block_bytes do print(at) end
for n = 0, f.chunks - 1 do
  c = img:chunk(n)
  print(c.offset)
  for _, e in ipairs(c.entries) do print(e.offset) end
  for _, b in ipairs(c.bad) do print(b.offset, '--bad', b.offset, b.length) end
end
LUA
	mapfile -t bad < <(grep -e --bad "$2" | tr '\t' '\n' | sed 's/^ *//' |
		awk '(NR - 1) % 4 > 0')
	awk 'NF == 4 { print $1; print $3 + $4; next } { print }' "$2" >"$2.tmp"
	mv "$2.tmp" "$2"
}

# random_reads DESC PROTOCOL ADDRESS RAW CLIENTS READS [OPTION...]: at the borders of $TMP/borders
random_reads() {
	check "$1" python3 "$TESTS_DIR/cli/soak_client.py" "${@:2:4}" --reads "$6" \
		--borders "$TMP/borders" "${@:7}"
	echo "# reads, and those that failed as they must: $(cat "$TMP/out")"
}

# break_table IMAGE COPY: a copy whose second chunk has a damaged table; that chunk's place is
# $chunk_at, and its length $chunk_length.
break_table() {
	local table
	"$IMGTOOL" repl "$1" >"$TMP/where" 2>/dev/null <<'LUA'
c = img:chunk(1)
e = c.entries[#c.entries]
print(c.offset, c.length, e.file_offset + e.stored)
LUA
	read -r chunk_at chunk_length table <"$TMP/where"
	cp "$1" "$2"
	flip "$2" $((table + 100))
}

# extents_of IMAGE: OFFSET LENGTH TYPE of each run, in the types of nbdinfo --map: data 0, zeros 2,
# free 3.
extents_of() {
	"$IMGTOOL" repl "$1" 2>/dev/null <<'LUA' | merge_extents
types = { zero = 2, free = 3 }
for n = 0, img:facts().chunks - 1 do
  for _, e in ipairs(img:chunk(n).entries) do
    print(e.offset, e.length, types[e.kind] or 0)
  end
end
LUA
}

# merge_extents: neighbours of the same type are one.
merge_extents() {
	awk 'NR > 1 && $3 == type { len += $2; next }
		NR > 1 { print at, len, type }
		{ at = $1; len = $2; type = $3 }
		END { print at, len, type }'
}
