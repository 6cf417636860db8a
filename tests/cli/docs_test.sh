# What is generated is up to date, what it says is true, and the shell completes it.
. "$(dirname "$0")/../lib.sh"
requires lua5.4

cd "$TOP"
check 'the manual page, the completion and docs/job-files.md are up to date' scripts/gen-docs \
	--check
cp -r lua scripts docs src "$TMP/"
sed -i "s/default = 3, min = 1, max = 19/default = 4, min = 1, max = 19/" \
	"$TMP/lua/imgtool/job/schema.lua"
stale() { (cd "$TMP" && scripts/gen-docs --check); }
check_status 1 'another default makes them stale' stale
check_grep 'docs/imgtool\.1 is not up to date' "$TMP/err" 'which is said'

if command -v groff >/dev/null; then
	groff -man -Tutf8 -ww docs/imgtool.1 >"$TMP/page" 2>"$TMP/warnings"
	check_eq "$(cat "$TMP/warnings")" '' 'groff has nothing to say about the manual page'
	# Bold is struck over, or said by escape sequences: back to letters.
	sed 's/.\x08//g; s/\x1b\[[0-9;]*m//g' "$TMP/page" >"$TMP/plain"
	for option in $("$IMGTOOL" help image | grep -oE -e '--[a-z-]+' | sort -u); do
		check_grep "$option" "$TMP/plain" "the manual page has $option"
	done
else
	skip_case 'the manual page' 'groff is not installed'
fi

# ---- The completion ----
# completes WANT DESC WORD...: the last word is under the cursor
completes() {
	local want=$1 desc=$2
	shift 2
	COMP_WORDS=("$@")
	COMP_CWORD=$(($# - 1))
	COMPREPLY=()
	_imgtool || true
	check_eq "${COMPREPLY[*]}" "$want" "$desc"
}
complete() { :; }
. scripts/completion.bash
completes 'image info' 'commands' imgtool i
completes '--version' 'options before the command' imgtool --vers
completes 'image' 'a command after an option' imgtool --verbose im
completes '--chunk-size --created' 'options' imgtool image --c
completes 'xxh3-128 sha256' 'choices' imgtool image a b --hash ''
completes 'sha256' 'one of them' imgtool image a b --hash s
completes 'leave' 'choices of another command' imgtool restore --free l
completes '' 'files are left to bash' imgtool image --out ''
completes '' 'operands, too' imgtool verify x
completes 'verify verify-set' 'help completes commands' imgtool help ver
for command in $("$IMGTOOL" help | sed -n 's/^  \([a-z-]*\) .*/\1/p' | grep -v '^-'); do
	COMP_WORDS=(imgtool "$command" --) COMP_CWORD=2 COMPREPLY=()
	_imgtool || true
	have=$(printf '%s\n' "${COMPREPLY[@]}" | sort | paste -sd' ')
	want=$("$IMGTOOL" help "$command" | grep -oE '^   (-[a-z], )?--[a-z-]+' |
		grep -oE -e '--[a-z-]+' | sort | paste -sd' ')
	check_eq "$have" "$want" "$command: the completion has the options of --help"
done

done_testing
