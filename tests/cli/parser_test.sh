# R13: the parser of a file system is a process of its own. When it is killed or crashes, the
# image is one of all blocks and says why; a signal to imgtool ends the parsing, and makes no image.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
requires strace pgrep mkfs.ext4 jq
strace -o /dev/null true 2>/dev/null || skip 'strace does not work here'

# begin SOURCE IMAGE: image it in the background, with slow reads while the parser is at work, whose
# pid is CHILD then; PARENT is imgtool's, TRACE strace's. No leak detection: it does not work under
# strace.
begin() {
	ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0 timeout 60 strace -o /dev/null \
		-P "$1" -e trace=pread64 -e inject=pread64:delay_enter=100000 \
		"$IMGTOOL" image "$1" "$2" >"$TMP/out" 2>"$TMP/err" </dev/null &
	TRACE=$!
	wait_until parser
}

parser() {
	local strace
	strace=$(pgrep -P $TRACE) && PARENT=$(pgrep -P "$strace") && CHILD=$(pgrep -P "$PARENT")
}

end() {
	STATUS=0
	wait $TRACE || STATUS=$?
}

# survives NAME SIGNAL: the parser of $TMP/NAME ends by it.
survives() {
	local image=$TMP/$1-$2.img.zst what="$1, $2"
	begin "$TMP/$1" "$image"
	kill "-$2" "$CHILD"
	end
	check_eq $STATUS 0 "$what: the image is made"
	check_grep "all blocks of .* are taken: the file-system parser failed: " "$TMP/err" \
		"$what: the note says why"
	check_eq "$(info_of "$image" '.head.map | .kind, (.reason | sub(":.*"; ""))')" \
		$'all\nthe file-system parser failed' "$what: and so does the image"
	check "$what: it verifies" "$IMGTOOL" verify -q "$image"
	check "$what: it is restored" "$IMGTOOL" restore -q "$image" "$TMP/restored" --force
	same_file "$TMP/$1" "$TMP/restored" "$what: with every byte, also of free space"
	rm -f "$TMP/restored" "$image"
}

# interrupted WHAT [SIGNAL]: Ctrl-C while the parser works, or when it was stopped by a signal.
interrupted() {
	begin "$TMP/ext4" "$TMP/cut.img.zst"
	[ $# -eq 1 ] || kill "-$2" "$CHILD"
	kill -INT "$PARENT"
	end
	check_eq $STATUS 130 "Ctrl-C while $1"
	check_grep 'cancelled while the file system was read' "$TMP/err" 'is said'
	check_eq "$(ls "$TMP" | grep -c cut)" 0 'and no image is begun'
}

make_ext4 "$TMP/ext4" 32M
interrupted 'the parser works'
interrupted 'it is silent' STOP
for signal in KILL SEGV; do survives ext4 $signal; done

if command -v mkntfs >/dev/null && command -v ntfscp >/dev/null; then
	make_ntfs "$TMP/ntfs" 32M
	for signal in KILL SEGV; do survives ntfs $signal; done
else
	skip_case 'NTFS' 'ntfs-3g is not installed'
fi

done_testing
