# S51 through the whole program: each call that writes, syncs, cuts or renames the target, or reads
# the image, fails in turn until a run gets through. strace makes them fail; so that it sees them,
# requests go by threads (IMGTOOL_AIO). It counts for each thread: the N-th call of every thread
# fails, which is one call or a few. What io_uring does with an error is in tests/fault.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
requires strace
strace -o /dev/null true 2>/dev/null || skip 'strace does not work here'

MOST=100 # calls; a run that still fails then never succeeds
dir=$TMP/dir
src=$dir/src out=$dir/out
mkdir "$dir"
head -c 3M /dev/urandom >"$src"
truncate -s 4M "$src"
FIXED=(--created "$CREATED" --uuid "$UUID" --chunk-size 1M)
image_quietly "${FIXED[@]}" "$src" "$dir/whole.zst"

# with_fault SYSCALL FAULT SOURCE IMGTOOL ARGUMENT...: of the calls that are about the source, the
# target or their directory. Sets STATUS; what was said is in $TMP/said.
with_fault() {
	STATUS=0
	ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0 IMGTOOL_AIO=threads \
		timeout -k 5 60 strace -f -o "$TMP/trace" -P "$3" -P "$out" -P "$out.partial" \
		-P "$dir" -e trace="$1" -e inject="$1:$2" "$IMGTOOL" "${@:4}" \
		>"$TMP/said" 2>&1 </dev/null || STATUS=$?
}

# Each of these prints what is wrong, or nothing.

# failed_well STATUSES WORDS WHOLE: the run that a fault ended
failed_well() {
	[[ $STATUS =~ ^($1)$ ]] || echo "exit status $STATUS"
	grep -q "$dir.*$2" "$TMP/said" || echo 'the path or the reason is missing'
	! grep -q ': OK' "$TMP/said" || echo 'it says that all is well'
	if [ -e "$out" ]; then
		# The directory is synced once more after the rename: the name is there already.
		grep -q 'sync the directory' "$TMP/said" || echo 'the name is there'
		cmp "$out" "$3" 2>&1 || echo 'and half a target has it'
	fi
}

# Where the head could not be written, there is nothing to go on with: --force begins anew.
resumed_well() {
	local how=(--resume)
	[ -e "$out.partial" ] || return 0
	[ -n "$(head -c 8 "$out.partial" | tr -d '\0')" ] || how=(--force "${FIXED[@]}")
	"$IMGTOOL" image -q "${how[@]}" "$src" "$out" 2>&1 || echo "${how[0]} failed"
	cmp "$out" "$dir/whole.zst" 2>&1 || echo "after ${how[0]} it differs"
}

# succeeded_well WHOLE: the run that no fault was to reach
succeeded_well() {
	! grep -q INJECTED "$TMP/trace" || echo 'an error was lost'
	[ -z "$1" ] || cmp "$out" "$1" 2>&1 || echo 'it succeeded, and the target is wrong'
}

# sweep COMMAND SYSCALL ERRNO SOURCE WHOLE [OPTION...]: one case; WHOLE is what the target must be,
# '' for a command without a target
sweep() {
	local n wrong='' words='Input/output error' statuses=6 desc="$1: each $2 fails with $3"
	[ "$3" = EIO ] || words='No space left on device'
	# A block that can't be read is one that does not verify.
	[ "$2" != pread64 ] || words='' statuses='5|7'
	for n in $(seq $MOST); do
		rm -f "$out" "$out.partial"
		with_fault "$2" "error=$3:when=$n" "$4" "$1" -q "${@:6}" "$4" ${5:+"$out"}
		[ "$STATUS" -ne 0 ] || break
		wrong=$(failed_well "$statuses" "$words" "$5")
		[ "$1" != image ] || wrong+=$(resumed_well)
		[ -z "$wrong" ] || break
	done
	[ "$STATUS" -ne 0 ] || wrong=$(succeeded_well "$5")
	[ "$n" -gt 1 ] || wrong+="there was no $2 that could fail"
	[ "$STATUS" -eq 0 ] && [ -z "$wrong" ] && ok "$desc" && return
	nok "$desc" "number $n, exit status $STATUS: $wrong
$(cat "$TMP/said")"
}

for fault in 'pwrite64 EIO' 'pwrite64 ENOSPC' 'fsync EIO' 'ftruncate EIO' 'renameat2 EIO'; do
	read -r call error <<<"$fault"
	sweep image "$call" "$error" "$src" "$dir/whole.zst" "${FIXED[@]}"
	sweep restore "$call" "$error" "$dir/whole.zst" "$src"
	sweep export-raw "$call" "$error" "$dir/whole.zst" "$src"
done
sweep image fdatasync EIO "$src" "$dir/whole.zst" "${FIXED[@]}" --write-through
sweep verify pread64 EIO "$dir/whole.zst" ''
sweep restore pread64 EIO "$dir/whole.zst" "$src"
sweep export-raw pread64 EIO "$dir/whole.zst" "$src"

done_testing
