# Every option of every command does something (LESSONS 11). `imgtool help COMMAND` says which there
# are; tests/cli/options/COMMAND.sh has a function for each: opt_chunk_size for --chunk-size, which
# succeeds when the option does what it says. Each function runs twice: as it is, and with an
# imgtool that is not told the option, as if it did nothing. Then the function must fail. An option
# without a function fails the test, and so does a function without its option. Functions of many
# commands are in common.sh; of some in making.sh, serving.sh, failing.sh.
#
# A function has: t ARGUMENT... (imgtool; stderr in $W/err), W (a directory of its own), CMD, and
# the sources below. Where it can't run here it returns 77, or something in it calls `cannot`.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
. "$TESTS_DIR/cli/disk_fixture.sh"
requires mkfs.ext4 mkswap jq sfdisk fdisk

OPTIONS=$TESTS_DIR/cli/options
FS=$TMP/fs TEXT=$TMP/text RAW=$TMP/raw IMG=$TMP/raw.zst FS_IMG=$TMP/fs.zst BAD_IMG=$TMP/bad.zst
mkdir "$TMP/files"
head -c 1M /dev/urandom >"$TMP/files/swapfile"
mkswap -q "$TMP/files/swapfile" 2>/dev/null
head -c 4M /dev/urandom >"$FS"
mkfs.ext4 -q -F -b 4096 -O ^has_journal -E nodiscard,lazy_itable_init=0 -L Options \
	-d "$TMP/files" "$FS" 4M
seq 100000 >"$TEXT"
head -c 700000 /dev/urandom >"$RAW"
# A disk with the file system and a partition that is none, its set, and one of other sectors.
DISK=$TMP/disk DISK_4K=$TMP/disk.4k PART=$TMP/part SET=$TMP/set BAD_SET=$TMP/bad.set
head -c 300000 "$TEXT" | cat "$RAW" - >"$PART"
truncate -s 1M "$PART"
truncate -s 8M "$DISK" "$DISK_4K"
sfdisk -q "$DISK" <<'END'
label: gpt
start=1M, size=4M, name=first
start=5M, size=1M, name=second
END
table "$DISK_4K" 4096 <<<$'label: gpt\nstart=1M, size=4M, name=first'
put "$FS" "$DISK" 1
put "$PART" "$DISK" 5
printf 'in a gap' | dd of="$DISK" bs=1 seek=$((13 << 19)) conv=notrunc status=none
"$IMGTOOL" image -q --block-size 64K --chunk-size 128K "$RAW" "$IMG"
"$IMGTOOL" image -q --block-size 64K --chunk-size 128K "$FS" "$FS_IMG"
cp "$IMG" "$BAD_IMG"
flip "$BAD_IMG" 30000 # in the first block
"$IMGTOOL" backup-disk -q --block-size 64K --chunk-size 128K "$DISK" "$SET"
cp -r "$SET" "$BAD_SET"
flip "$BAD_SET/part-2.img.zst" 30000 # in its first block, too
# The disk as an image whose block at $BAD_AT is damaged: what shows it is a disk that fails there.
BAD_DISK_IMG=$TMP/bad.disk.zst BAD_AT=$(((5 << 20) + 131072))
"$IMGTOOL" image -q --all-blocks --block-size 64K --chunk-size 128K "$DISK" "$BAD_DISK_IMG"
flip "$BAD_DISK_IMG" "$("$IMGTOOL" repl "$BAD_DISK_IMG" <<END
print(img:chunk($BAD_AT // 131072).entries[1].file_offset + 100)
END
)"
# A strategy that --auto-tune asks, and that says so.
mkdir -p "$TMP/lua/imgtool/policy"
echo 'return { new = function() end, step = function() error "asked" end }' \
	>"$TMP/lua/imgtool/policy/climb.lua"
# An imgtool that does not hear of one option.
cat >"$TMP/deaf" <<'SH'
#!/bin/bash
args=()
while [ $# -gt 0 ]; do
	if [ "$1" = "$DEAF_TO" ]; then
		shift $DEAF_VALUES
	else
		args+=("$1")
	fi
	shift
done
exec "$REAL_IMGTOOL" "${args[@]}"
SH
chmod +x "$TMP/deaf"
export REAL_IMGTOOL=$IMGTOOL

t() { "$IMGTOOL" "$@" 2>"$W/err" </dev/null; }

# status_of N COMMAND...: true when it ends with this exit status
status_of() {
	local want=$1 status=0
	shift
	"$@" >"$W/out" || status=$?
	[ "$status" -eq "$want" ]
}

# What the last event of a name says: field_of EVENT FILTER < JSON lines
field_of() { events "$1" | tail -n 1 | jq -cr "$2"; }

# What can't run here says so, from wherever it is: the function counts as skipped.
cannot() {
	touch "$W/cannot"
	return 77
}

# 77 when strace is not there, or does not work
need_strace() { strace -o /dev/null true 2>/dev/null || return 77; }

# Whether FUSE mounts here, which needs no root.
can_fuse() { command -v fusermount3 >/dev/null && [ -w /dev/fuse ]; }

traced() { # STRACE OPTION... -- IMGTOOL ARGUMENT...: with the trace in $W/trace
	local options=()
	while [ "$1" != -- ]; do options+=("$1") && shift; done
	shift
	ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0 IMGTOOL_AIO=threads \
		strace -f -o "$W/trace" "${options[@]}" "$IMGTOOL" "$@" 2>"$W/err" </dev/null
}

# "--name VALUES" for each option of a command ('' : the program's own), from its help.
options_of() {
	"$IMGTOOL" help ${1:+"$1"} | sed -n '/^Options:/,$p' |
		sed -nE 's/^ +(-., )?(--[a-z-]+)( ([A-Z]+))?( .*|$)/\2 \4/p' |
		awk '{ print $1, ($2 == "") ? 0 : 1 }' | sort -u
}

# run_one COMMAND FUNCTION: 0, 1, 77 in a shell of its own, whose scratch directory is new
run_one() (
	set +e +E
	trap - ERR EXIT
	CMD=$1 W=$TMP/w/$BASHPID
	mkdir -p "$W"
	. "$OPTIONS/common.sh"
	. "$OPTIONS/${1:-imgtool}.sh"
	declare -F "$2" >/dev/null || exit 99
	"$2" >"$W/function.out"
	status=$?
	if [ -e "$W/cannot" ]; then status=77; fi
	if [ $status -ne 0 ] && [ "$IMGTOOL" = "$REAL_IMGTOOL" ] && [ -s "$W/err" ]; then
		echo "# $CMD, $2:" && head -n 20 "$W/err"
	fi >&2
	rm -rf --one-file-system "$W"
	exit $status
)

# A line of verdict for each option: "ok|nok|skip COMMAND OPTION [WHY]"
try_command() { # COMMAND
	local option values function status name=${1:-imgtool}
	while read -r option values; do
		function=opt_$(tr - _ <<<"${option#--}")
		status=0
		run_one "$1" "$function" || status=$?
		case $status in
		0) ;;
		77) echo "skip $name $option" && continue ;;
		99)
			echo "nok $name $option: no $function in tests/cli/options/$name.sh"
			continue
			;;
		*)
			echo "nok $name $option: it does not do what it should"
			continue
			;;
		esac
		status=0
		IMGTOOL=$TMP/deaf DEAF_TO=$option DEAF_VALUES=$values run_one "$1" "$function" ||
			status=$?
		if [ $status -eq 0 ] || [ $status -eq 77 ]; then
			echo "nok $name $option: its test does not notice when it does nothing"
		else
			echo "ok $name $option"
		fi
	done < <(options_of "$1")
}

# Functions of options that are gone: tests of nothing.
check_left_over() { # COMMAND
	local function name=${1:-imgtool} known
	known=$(options_of "$1" | sed -E 's/^--([a-z-]+) .*/\1/' | tr - _)
	for function in $(sed -n 's/^opt_\([a-z_]*\)() .*/\1/p' "$OPTIONS/$name.sh"); do
		grep -qx "$function" <<<"$known" || nok "$name: opt_$function has no option"
	done
}

# What a test that was ended left behind: its processes go with their group, not these.
forget_all() {
	local device
	awk -v dir="$TMP/" 'index($2, dir) == 1 { print $2 }' /proc/mounts |
		xargs -r -n 1 sh -c 'umount -l "$0" 2>/dev/null || fusermount3 -uz "$0"'
	losetup -n -l -O NAME,BACK-FILE 2>/dev/null | awk -v dir="$TMP/" 'index($2, dir) == 1' |
		while read -r device _; do losetup -d "$device"; done
}
cleanup forget_all

commands=$("$IMGTOOL" help | sed -n '/^Commands:/,/^$/s/^  \([a-z-]*\) .*/\1/p')
pids=()
for command in '' $commands; do
	if [ ! -f "$OPTIONS/${command:-imgtool}.sh" ]; then
		echo "nok $command: no tests/cli/options/$command.sh" >"$TMP/verdicts.$command"
		continue
	fi
	try_command "$command" >"$TMP/verdicts.$command" &
	pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid" || nok 'a command was tried to its end'; done
for command in '' $commands; do
	while read -r verdict text; do
		case $verdict in
		ok) ok "$text" ;;
		skip) skip_case "$text" 'it needs a tool, root or FUSE' ;;
		*) nok "$text" ;;
		esac
	done <"$TMP/verdicts.$command"
	if [ -f "$OPTIONS/${command:-imgtool}.sh" ]; then check_left_over "$command"; fi
done
[ "$(wc -w <<<"$commands")" -gt 10 ] && ok 'commands were found' || nok 'commands were found'

done_testing
