# For the tests in bash (tests/cli, tests/root): TAP on stdout, a scratch directory, clean-up.
#
#   . "$(dirname "$0")/../lib.sh"
#   requires mkfs.ext4
#   check 'an image verifies' "$IMGTOOL" verify "$TMP/x.img.zst"
#   check_status 3 'a missing image is not found' "$IMGTOOL" info "$TMP/none"
#   done_testing
#
# done_testing is the last line: a file that ends or dies before it has failed, and so has one
# without a single check. What is to be undone is said at once after it was done, by `cleanup`.
# shellcheck shell=bash
set -euo pipefail

# /sbin: mkfs and its like are not on an ordinary user's path.
export PATH="$PATH:/usr/sbin:/sbin" LC_ALL=C TZ=UTC
TESTS_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TOP=$(dirname "$TESTS_DIR")
IMGTOOL=${IMGTOOL:-$TOP/build/imgtool}
case $IMGTOOL in /*) ;; *) IMGTOOL=$PWD/$IMGTOOL ;; esac
tap_dir=$(mktemp -d "${TMPDIR:-/tmp}/imgtool-test.XXXXXX")
TMP=$tap_dir/tmp
mkdir "$TMP"
export TESTS_DIR TOP IMGTOOL TMP
# No configuration of the user who runs the tests reaches them.
export HOME="$TMP" XDG_CONFIG_HOME="$TMP/.config" XDG_STATE_HOME="$TMP/.local/state"
mkdir -p "$XDG_STATE_HOME"
unset IMGTOOL_LUA_PATH

tap_done=
tap_cleanups=()
# "cases failed", in a file: a check in a subshell (a pipe into while) counts like any other.
echo '0 0' >"$tap_dir/counts"

# Sets tap_count and tap_failed.
tap_counts() {
	read -r tap_count tap_failed <"$tap_dir/counts"
}

# tap_add FAILED: one more case, and FAILED (0 or 1) more that failed.
tap_add() {
	tap_counts
	tap_count=$((tap_count + 1))
	tap_failed=$((tap_failed + $1))
	echo "$tap_count $tap_failed" >"$tap_dir/counts"
}

# A line of a TAP comment for each line of stdin.
tap_comment() {
	sed 's/^/# /'
}

# ok DESC
ok() {
	tap_add 0
	echo "ok $tap_count - $1"
}

# nok DESC [DETAIL]: the case failed; the file goes on.
nok() {
	tap_add 1
	echo "not ok $tap_count - $1"
	if [ $# -gt 1 ]; then printf '%s\n' "$2" | tap_comment; fi
}

# check DESC CMD...: ok when the command succeeds; its output is shown when it fails.
check() {
	check_status 0 "$@"
}

# check_fails DESC CMD...: ok when the command fails, but not by a signal.
check_fails() {
	local desc=$1 status=0
	shift
	"$@" >"$TMP/out" 2>"$TMP/err" </dev/null || status=$?
	if [ $status -gt 0 ] && [ $status -lt 126 ] && ! tap_sanitizer; then
		ok "$desc"
	else
		tap_show_command "$desc" "exit status $status, expected a failure" "$@"
	fi
}

# check_status N DESC CMD...: ok when the exit status is N exactly. What the command printed is in
# $TMP/out and $TMP/err.
check_status() {
	local want=$1 desc=$2 status=0
	shift 2
	"$@" >"$TMP/out" 2>"$TMP/err" </dev/null || status=$?
	if [ $status -eq "$want" ] && ! tap_sanitizer; then
		ok "$desc"
	else
		tap_show_command "$desc" "exit status $status, expected $want" "$@"
	fi
}

# check_grep PATTERN FILE DESC: ok when a line of the file matches the extended regular expression.
check_grep() {
	if grep -Eq -e "$1" -- "$2"; then
		ok "$3"
	else
		nok "$3" "no line matches '$1' in $2:
$(head -n 40 "$2")"
	fi
}

# check_eq GOT WANT DESC
check_eq() {
	if [ "$1" = "$2" ]; then ok "$3"; else nok "$3" "got:  $1
want: $2"; fi
}

# True when a sanitizer wrote its report to $TMP/err. A failure that was expected must not hide one,
# nor a child process whose status the program forgives.
tap_sanitizer() {
	[[ $(tr -d '\000' <"$TMP/err") =~ (Address|Leak|Thread)Sanitizer|runtime\ error: ]]
}

tap_show_command() { # DESC REASON CMD...
	local desc=$1 reason=$2
	shift 2
	nok "$desc" "$reason
command: $*
stdout:
$(head -c 4000 "$TMP/out" | tr -d '\000')
stderr:
$(head -c 4000 "$TMP/err" | tr -d '\000')"
}

# skip REASON: leave the whole file. Only before the first check, so that no failure is hidden.
skip() {
	tap_counts
	if [ "$tap_count" -gt 0 ]; then
		nok "skip after the first check: $1"
		exit 1
	fi
	echo "1..0 # SKIP $1"
	tap_done=skip
	exit 77
}

# skip_case DESC REASON: this one case cannot run here.
skip_case() {
	tap_add 0
	echo "ok $tap_count - $1 # SKIP $2"
}

# requires TOOL...
requires() {
	local tool
	for tool in "$@"; do
		command -v "$tool" >/dev/null || skip "$tool is not installed"
	done
}

requires_root() {
	[ "$(id -u)" -eq 0 ] || skip 'needs root'
}

# cleanup CMD...: run at exit, last said first run. Failures there are reported, not fatal. What a
# subshell says here would be forgotten with it.
cleanup() {
	if [ "$BASHPID" != $$ ]; then
		nok "cleanup in a subshell: $*"
		return
	fi
	tap_cleanups+=("$(printf '%q ' "$@")")
}

# loop_of FILE [LOSETUP OPTION...]: sets LOOP to a loop device over the file, detached at exit.
loop_of() {
	LOOP=$(losetup --find --show "${@:2}" "$1") || {
		tap_counts
		[ "$tap_count" -gt 0 ] || skip 'loop devices do not work here'
		return 1
	}
	cleanup losetup -d "$LOOP"
}

# mount_at DEVICE DIR [MOUNT OPTION...]: mounted, unmounted at exit.
mount_at() {
	mkdir -p "$2"
	mount "${@:3}" "$1" "$2"
	cleanup umount "$2"
}

tap_run_cleanups() {
	local i
	for ((i = ${#tap_cleanups[@]} - 1; i >= 0; i--)); do
		eval "${tap_cleanups[i]}" >&2 || echo "# cleanup failed: ${tap_cleanups[i]}"
	done
	tap_cleanups=()
}

# The last line of a test file.
done_testing() {
	tap_counts
	if [ "$tap_count" -eq 0 ]; then nok 'the file has no check'; fi
	echo "1..$tap_count"
	tap_done=1
	[ "$tap_failed" -eq 0 ]
	exit
}

tap_at_exit() {
	local status=$?
	trap '' INT TERM HUP
	set +e
	if [ -z "$tap_done" ]; then
		nok "the file ended before done_testing" "exit status $status, after line $tap_line"
		status=1
	fi
	cd /
	tap_run_cleanups
	rm -rf --one-file-system "$tap_dir"
	exit $status
}

# The line of the test file itself in which the command that failed was started.
tap_line=unknown
tap_at_error() {
	local i
	for ((i = 1; i < ${#BASH_SOURCE[@]}; i++)); do
		if [ "${BASH_SOURCE[i]}" = "$0" ]; then
			tap_line=${BASH_LINENO[i - 1]}
			return
		fi
	done
}

set -E
trap tap_at_error ERR
trap tap_at_exit EXIT
# A plain `exit` on the signals, so that the EXIT trap cleans up.
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP
