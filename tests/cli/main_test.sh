# The command line as a whole: help, versions, wrong words, where output goes.
. "$(dirname "$0")/../lib.sh"

check '--version' "$IMGTOOL" --version
check_grep '^imgtool [0-9]+\.[0-9]+\.[0-9]+ \([0-9a-z-]+\), image format 2\.' "$TMP/out" \
	'version, commit, format'
check_grep 'zstd 1\.[0-9]' "$TMP/out" 'versions of libraries'
check_eq "$(wc -l <"$TMP/out")" 2 '--version alone says nothing of overrides'
check '--version --verbose' "$IMGTOOL" --version --verbose
check_grep '^no module is overridden$' "$TMP/out" '--verbose: there is no override'

mkdir -p "$TMP/over/imgtool/cmd"
cat >"$TMP/over/imgtool/cmd/list.lua" <<'LUA'
local function run() return nil, 'mine', 11 end
return { name = 'list', summary = 'overridden', args = {}, run = run }
LUA
export IMGTOOL_LUA_PATH=$TMP/over
check_status 11 'an override replaces a module' "$IMGTOOL" list
check_grep '^imgtool: mine$' "$TMP/err" 'its message'
"$IMGTOOL" help >"$TMP/out"
check_grep '^  list +overridden$' "$TMP/out" 'its summary'
unset IMGTOOL_LUA_PATH

check '--help' "$IMGTOOL" --help
check '-h' "$IMGTOOL" -h
check 'help' "$IMGTOOL" help
cp "$TMP/out" "$TMP/commands"
for command in list image verify info restore export-raw export-range run repl help; do
	check_grep "^  $command +[A-Z]" "$TMP/commands" "help lists $command"
	check "help $command" "$IMGTOOL" help "$command"
	check_grep "^Usage: imgtool $command " "$TMP/out" "help $command shows its usage"
	cp "$TMP/out" "$TMP/page"
	check "$command --help" "$IMGTOOL" "$command" --help
	check_eq "$(cat "$TMP/out")" "$(cat "$TMP/page")" "which is that of help $command"
done

check_status 2 'no command' "$IMGTOOL"
check_grep '^imgtool: a command is missing' "$TMP/err" 'no command: what is missing'
check_status 2 'an unknown command' "$IMGTOOL" imgae
check_grep "unknown command 'imgae', did you mean 'image'\?" "$TMP/err" 'the nearest command'
check_status 2 'an unknown command that is near nothing' "$IMGTOOL" zzzzzz
check_eq "$(cat "$TMP/err")" "imgtool: unknown command 'zzzzzz' (imgtool help)" 'then no guess'
check_status 2 'help of an unknown command' "$IMGTOOL" help verfiy
check_grep "did you mean 'verify'\?" "$TMP/err" 'its nearest command'
check_status 2 'an unknown option' "$IMGTOOL" image --chunksize 1M a b
check_grep "unknown option '--chunksize', did you mean '--chunk-size'\?" "$TMP/err" \
	'the nearest option'
check_status 2 'an unknown option before the command' "$IMGTOOL" --verbos list
check_grep "unknown option '--verbos', did you mean '--verbose'\?" "$TMP/err" 'its nearest option'
check_status 2 'an option without its value' "$IMGTOOL" image --level
check_grep "option '--level' requires an argument" "$TMP/err" 'which option it was'
check_status 2 'a value for a flag' "$IMGTOOL" image --force=yes a b
check_status 2 'a wrong value' "$IMGTOOL" image --level 99 a b
check_grep '^imgtool: --level: 99 is too large, the most is 19' "$TMP/err" \
	'what is wrong with the value'
check_status 2 'a wrong choice' "$IMGTOOL" image --hash sha265 a b
check_grep "did you mean 'sha256'\?" "$TMP/err" 'the nearest choice'
check_status 2 'a missing operand' "$IMGTOOL" image a
check_grep '^imgtool: IMG is missing' "$TMP/err" 'which operand it was'
check_status 2 'one operand too many' "$IMGTOOL" verify a b
check_status 2 'an operand and its option' "$IMGTOOL" verify --in a b
check_grep "unexpected argument 'b'" "$TMP/err" 'which one it was'
check_status 2 'both of two that exclude each other' "$IMGTOOL" image --used-only --all-blocks a b

check_status 3 'an operand that is none' "$IMGTOOL" info "$TMP/none"
check_eq "$(wc -l <"$TMP/err")" 1 'a failure is one line'
check_eq "$(cat "$TMP/out")" '' 'and nothing on stdout'
check_status 3 '--verbose' "$IMGTOOL" info --verbose "$TMP/none"
check_grep '^stack traceback:' "$TMP/err" '--verbose adds the trace'
check_status 3 '-v before the command' "$IMGTOOL" -v info "$TMP/none"
check_grep '^stack traceback:' "$TMP/err" '-v adds the trace'
check_status 3 '--json' "$IMGTOOL" info --json "$TMP/none"
check_eq "$(jq -r '[.event, .code, .word] | @csv' "$TMP/out")" '"error",3,"not_found"' \
	'an error as an object'

printf 'x\033[2Jy' >"$TMP/file"
check_status 8 'no image' "$IMGTOOL" info "$TMP/file"
check_status 3 'a name with an escape sequence' "$IMGTOOL" info $'no\033[2J\nfile'
check_grep '^[^[:cntrl:]]*$' "$TMP/err" 'does not reach the terminal'
check_eq "$(wc -l <"$TMP/err")" 1 'and is one line'

full() { "$IMGTOOL" "$@" >/dev/full; }
for command in --help --version 'help image' list; do
	# shellcheck disable=SC2086
	check_status 6 "$command into a full file" full $command
done
check_grep 'No space left on device' "$TMP/err" 'why'

done_testing
