# Options that many commands have. A command's file defines `go ARGUMENT...` (its ordinary work,
# again and again), `broken ARGUMENT...` (a failure that is not one of usage), and what differs.
# shellcheck shell=bash disable=SC2034,SC2154

# says PATTERN COMMAND...: and it ends well
says() { "${@:2}" >"$W/said" && grep -q -- "$1" "$W/said"; }

opt_help() { says "^Usage: imgtool $CMD" t $CMD --help; }
opt_verbose() { ! broken --verbose >"$W/out" && grep -q '^stack traceback' "$W/err"; }
opt_json() { go --json >"$W/out" && jq -e .event <"$W/out" >/dev/null; }
opt_quiet() { go --quiet >"$W/out" && [ ! -s "$W/out" ] && [ ! -s "$W/err" ]; }
opt_log_file() { go --log-file "$W/log" >/dev/null && [ -s "$W/log" ]; }

# ---- Jobs: what progress says is in force, and what comes of it ----
in_force() { # FIELD VALUE ARGUMENT...
	[ "$(go --json "${@:3}" | field_of progress "$1")" = "$2" ]
}
again() { rm -rf "$W/new" && go "$@"; }
# The most threads that imgtool had at once; those for requests have another name.
spied() {
	cat >"$W/spy" <<-'SH'
		#!/bin/bash
		"$SPIED" "$@" &
		while kill -0 $! 2>/dev/null; do
			cat /proc/$!/task/*/comm 2>/dev/null | grep -cx imgtool >>"$W/threads"
			sleep 0.02
		done
		wait $!
	SH
	chmod +x "$W/spy"
	W=$W SPIED=$IMGTOOL IMGTOOL=$W/spy "$@" >/dev/null
	sort -n "$W/threads" | tail -n 1
}
# Three are there always, and without the option at most four workers.
opt_parallel() {
	in_force .workers 7 --parallel 7 &&
		[ "$(spied again -q --parallel 7 --max-throughput 4M)" -ge 10 ]
}
# Each thread's first read takes so long: the program's own one, the parser's, and those of data.
slow_reads() { # MICROSECONDS COMMAND...
	cat >"$W/slow" <<-'SH'
		#!/bin/bash
		export IMGTOOL_AIO=threads
		export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
		exec strace -f -o /dev/null -e trace=pread64 \
			-e inject=pread64:delay_enter=$DELAY:when=1 "$SLOWED" "$@"
	SH
	chmod +x "$W/slow"
	DELAY=$1 SLOWED=$IMGTOOL IMGTOOL=$W/slow "${@:2}"
}
opt_pipeline_depth() {
	need_strace || return
	in_force .depth 11 --pipeline-depth 11 &&
		slow_reads 500000 again --json --pipeline-depth 2 >"$W/events" &&
		[ "$(events progress <"$W/events" | jq -s -c '[map(.depth), map(.in_flight)] |
			map(max)')" = '[2,2]' ]
}
# micros COMMAND...: how long it takes
micros() {
	local from=${EPOCHREALTIME/./}
	"$@" && echo $((${EPOCHREALTIME/./} - from))
}
# At 2 MB/s: half a microsecond for each byte, and a fifth less is allowed.
opt_max_throughput() {
	local took bytes
	in_force .max_bytes_per_s 104857600 --max-throughput 100M || return
	took=$(micros limited) || return
	bytes=$(events progress <"$W/events" | jq -s 'map(.done_bytes) | max')
	[ "$bytes" -gt 500000 ] && [ "$took" -gt $((bytes * 4 / 10)) ]
}
limited() { again --json --max-throughput 2000000 >"$W/events"; }
opt_stall_timeout() {
	need_strace || return
	in_force .stall_s 77 --stall-timeout 77 &&
		status_of 5 slow_reads 2000000 again -q --stall-timeout 1
}
# At 1 MB/s the work takes long enough to be asked.
opt_auto_tune() {
	IMGTOOL_LUA_PATH=$TMP/lua status_of 13 go --max-throughput 1M --auto-tune
}
opt_dry_run() { go --dry-run >"$W/out" && grep -q '^would ' "$W/out" && [ ! -e "$W/new" ]; }
# --out in place of the operand, and --force when it is there.
opt_force() {
	echo there >"$W/new"
	go --force >/dev/null && ! grep -q there "$W/new"
}

# ---- Checks of a sample ----
# sample FILTER ARGUMENT...
sample() { go --json "${@:2}" | field_of "$CMD" "$1"; }
opt_quick() { [ "$(sample '.blocks_checked < .blocks' --quick)" = true ]; }
# Each chunk has one block in the sample at least, and none has all in one of ten percent.
opt_sample() { [ "$(sample '.blocks_checked == .blocks' --quick --sample 100)" = true ]; }

# ---- Lists of what is left out ----
# total FILTER ARGUMENT...
total() { go --json "${@:2}" | field_of "$CMD" "$1"; }
list_offset() { [ "$(total '[.offset, .length]' --offset 1M)" = '[1048576,3145728]' ]; }
list_length() { [ "$(total '[.offset, .length]' --length 1M)" = '[0,1048576]' ]; }
list_why() { # There are free ranges, too.
	[ "$(go --json --why zero | events range | jq -r .why | sort -u)" = zero ]
}
list_totals() { go --totals >"$W/out" && ! grep -q '^ *[0-9]' "$W/out"; }

# ---- Disks that are written ----
# on_loop FILE ARGUMENT...: imgtool, where DEVICE stands for a loop device over the file
on_loop() {
	local status=0 device file=$1
	shift
	[ "$(id -u)" -eq 0 ] || cannot || return
	device=$(losetup -f --show "$file" 2>/dev/null) || cannot || return
	t "${@//DEVICE/$device}" || status=$?
	losetup -d "$device"
	return $status
}
# with_undo COMMAND...: it has copies of what was there in $W/undo
with_undo() { "$@" >/dev/null && cmp -s -n 1048576 "$W"/undo/*/first.MiB "$W/before"; }
read_back() { says 'read back: OK' go --verify-after; }
# The names of a disk and its partitions
guids_of() { sfdisk -J "$1" | jq -c '.partitiontable | [.id, .partitions[].uuid]'; }
# In a target of 12 MiB: the last partition, which had 1, ends at the last whole MiB.
has_grown() { [ "$(sfdisk -J "$1" | jq '.partitiontable.partitions[1].size')" = 12288 ]; }
# An empty file system of 12 MiB, a disk of 16 MiB where it begins at 1, and a target full of 0xEE.
roomy() { # SIZE of the target
	truncate -s 12M "$W/roomy"
	mkfs.ext4 -q -F -b 4096 -O ^has_journal -E nodiscard,lazy_itable_init=0 "$W/roomy"
	truncate -s 16M "$W/roomy.disk"
	sfdisk -q "$W/roomy.disk" <<<$'label: gpt\nstart=1M, size=12M'
	put "$W/roomy" "$W/roomy.disk" 1
	head -c "$1" /dev/zero | tr '\0' '\356' >"$W/disk"
}
# stays MIB: at that place, free and not near an end, the target is as it was
stays() {
	[ "$(tail -c +$(($1 * 1048576 + 1)) "$W/disk" | head -c 4096 | tr -d '\356' | wc -c)" = 0 ]
}
