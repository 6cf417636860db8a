# imgtool repl: through a pipe, and on a terminal with history and completion.
. "$(dirname "$0")/../lib.sh"
. "$TESTS_DIR/cli/fixture.sh"
requires mkfs.ext4 python3

src=$TMP/src.img
img=$TMP/i.zst
make_ext4 "$src"
image_quietly --uuid "$UUID" "$src" "$img"

# says WANT DESC [IMG] < LINES: what the prompt answers on stdout
says() {
	local want=$1 desc=$2 status=0
	shift 2
	"$IMGTOOL" repl "$@" >"$TMP/out" 2>"$TMP/err" || status=$?
	check_eq "$status:$(cat "$TMP/out")" "0:$want" "$desc"
}

says '3' 'an expression is shown' <<<'1 + 2'
says '' 'a statement is not' <<<'x = 3'
says '4' 'what was set stays' <<<$'x = 3\nx + 1'
says $'1\n2' 'several values' <<<'1, 2'
says 'nil' 'nil is shown' <<<'nil'
says $'1\n2' 'a statement over several lines' <<<$'for i = 1, 2 do\nprint(i)\nend'
says '{ 1, 2, a = { b = "c" } }' 'a table is shown' <<<'{ 1, 2, a = { b = "c" } }'
says '"a\027[2Jb"' 'a control character is not sent to the terminal' <<<'"a\27[2Jb"'
says "\"$UUID\"" 'img is the image' "$img" <<<'img:facts().uuid'
says '67108864' 'dev is its content' "$img" <<<'dev:size()'
says '"S\239"' 'and reads' "$img" <<<'dev:read(1080, 2)'
says 'nil' 'without an image there is none' <<<'img'
says 'true' 'the modules are there' \
	<<<'(device.open and map.new and fs.map and image.open and pipeline.verify and sys.uuid
		and json.encode) ~= nil'
says 'free' 'a map' <<<$'m = map.new(1000, true)\nm:set(0, 10, "free")\nprint(select(3, m:run(5)))'
says '0' 'a job' "$img" <<<"(job.verify { source = '$img' }).code"
check_grep 'verify 100\.0 %' "$TMP/err" 'with its progress on stderr'

says '7' 'an error does not end it' <<<$'error "boo"\n7'
check_grep '^repl:1: boo$' "$TMP/err" 'and is shown'
says '7' 'nor does a mistake' <<<$'nothing.x\n7'
check_grep 'attempt to index a nil value' "$TMP/err" 'which is shown'
says '7' 'nor what is no Lua' <<<$'x = = 1\n7'
check_grep "unexpected symbol near '='" "$TMP/err" 'which is shown'
says '7' 'nor an error that is a table' <<<$'error { code = 5 }\n7'
check_grep '^\{ code = 5 \}$' "$TMP/err" 'which is shown'
says '' 'the end in the middle of a statement' <<<'for i = 1, 2 do'
check_grep 'not complete' "$TMP/err" 'is told'
echo help | "$IMGTOOL" repl >"$TMP/out"
check_grep '^img +the image: ' "$TMP/out" 'help helps'

check_status 3 'no image' "$IMGTOOL" repl "$TMP/none"
check_status 8 'what is none' "$IMGTOOL" repl "$src"
check_status 2 'two' "$IMGTOOL" repl "$img" "$img"

# ---- On a terminal ----
cat >"$TMP/terminal.py" <<'PY'
"""Type at the prompt as a user does; print what the terminal shows."""
import os, pty, select, sys, time
lines = sys.argv[2].split("|")
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], [sys.argv[1], "repl"] + sys.argv[3:])
shown = b""
def read_until(text, seconds=20):
    global shown
    start, end = len(shown), time.time() + seconds
    while time.time() < end and text not in shown[start:]:
        if select.select([fd], [], [], 0.1)[0]:
            try:
                shown += os.read(fd, 4096)
            except OSError:
                return
read_until(b"> ")
for line in lines:
    os.write(fd, line.encode().decode("unicode_escape").encode())
    read_until(b"\n> ")
os.write(fd, b"\x04")
try:
    while True:
        data = os.read(fd, 4096)
        if not data:
            break
        shown += data
except OSError:
    pass
os.waitpid(pid, 0)
sys.stdout.buffer.write(shown.replace(b"\r", b""))
PY
terminal() { TERM=dumb python3 "$TMP/terminal.py" "$IMGTOOL" "$@" >"$TMP/screen"; }
terminal 'x = 41\n|x + 1\n' "$img"
check_grep '^imgtool [0-9.]+: help, Ctrl-D ends' "$TMP/screen" 'a greeting on a terminal'
check_grep '^42$' "$TMP/screen" 'answers'
check_eq "$(cat "$TMP/.local/state/imgtool/history")" $'x = 41\nx + 1' 'the history is kept'
terminal '\x1b[A\n'
check_grep 'x \+ 1' "$TMP/screen" 'and comes back with the arrow'
terminal 'img:fac\t().uuid\n' "$img"
check_grep "$UUID" "$TMP/screen" 'tab completes a method'
terminal 'pipeli\t.veri\t ~= nil\n'
check_grep '^true$' "$TMP/screen" 'and modules'
export XDG_STATE_HOME=$TMP/state
terminal '5\n'
check_eq "$(cat "$TMP/state/imgtool/history")" 5 'XDG_STATE_HOME is heeded'

done_testing
