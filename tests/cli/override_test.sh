#!/usr/bin/env bash
# Where Lua comes from: overrides, what root refuses, and how the program ends. imgtool.main is
# itself replaced in most cases, so that they need none of the commands.
. "$(dirname "$0")/../lib.sh"
requires luac5.4

# Other users come here, too.
chmod 755 "$(dirname "$TMP")" "$TMP"
mkdir -p "$TMP/lua/imgtool"
main=$TMP/lua/imgtool/main.lua

# main_is TEXT: the body of main(arg) in the override.
main_is() {
	printf 'local M = {}\nfunction M.main(arg)\n%s\nend\nreturn M\n' "$1" >"$main"
}

with_path() { # PATH ARGUMENT...
	IMGTOOL_LUA_PATH=$1 "$IMGTOOL" "${@:2}"
}
over() { # ARGUMENT...
	with_path "$TMP/lua" "$@"
}

# ---- Finding ----

main_is 'print("mine", arg[0], arg[1], arg[2], #arg) return 0'
check 'an override replaces imgtool.main' over one 'two words'
check_eq "$(tr '\t' '|' <"$TMP/out")" "mine|$IMGTOOL|one|two words|2" 'main gets the arguments'
check 'without it the embedded one runs' "$IMGTOOL" --version
check_grep '^imgtool [0-9]+\.[0-9]+\.[0-9]+ ' "$TMP/out" 'and says the version'

check 'empty parts of the path mean nothing' with_path ":/no/such/place::$TMP/lua:" x
check_grep '^mine' "$TMP/out" 'the part that is there is used'
mkdir -p "$TMP/first/imgtool/main"
echo 'return { main = function() print("first") return 0 end }' >"$TMP/first/imgtool/main/init.lua"
check 'name/init.lua is the module name' with_path "$TMP/first:$TMP/lua"
check_grep '^first$' "$TMP/out" 'the first directory wins'
mkdir -p "$TMP/.config/imgtool"
ln -s "$TMP/first" "$TMP/.config/imgtool/lua"
check 'the user has a directory of overrides' "$IMGTOOL"
check_grep '^first$' "$TMP/out" 'which is used'
check 'IMGTOOL_LUA_PATH comes before it' over
check_grep '^mine' "$TMP/out" 'and wins'
rm "$TMP/.config/imgtool/lua"
if strace -o "$TMP/trace" true 2>/dev/null; then
	# A leak check traces the program itself, and so cannot run here.
	ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 strace -o "$TMP/trace" "$IMGTOOL" --version \
		>"$TMP/out"
	check_grep '"/etc/imgtool/lua/imgtool/main.lua"' "$TMP/trace" 'the machine has a directory'
	if grep -E '(open|stat)[a-z]*\(.*"(\./)?(imgtool|img|lua)[/.]' "$TMP/trace" \
		>"$TMP/out"; then
		nok 'nothing is looked for in the current directory' "$(cat "$TMP/out")"
	else
		ok 'nothing is looked for in the current directory'
	fi
else
	skip_case 'the machine has a directory' 'strace does not work here'
fi

mkdir -p "$TMP/module/imgtool"
cp "$TOP/lua/imgtool/strict.lua" "$TMP/module/imgtool/strict.lua"
check '--version --verbose' with_path "$TMP/module" --version --verbose
check_grep "imgtool\.strict.*$TMP/module/imgtool/strict\.lua" "$TMP/out" \
	'lists the overridden modules'

# ---- Where it does not come from ----

mkdir -p "$TMP/cwd/imgtool"
echo 'error("picked up")' >"$TMP/cwd/imgtool/main.lua"
cp "$TMP/cwd/imgtool/main.lua" "$TMP/cwd/imgtool.lua"
cp "$TMP/cwd/imgtool/main.lua" "$TMP/cwd/init.lua"
cd "$TMP/cwd"
check 'the current directory does not count' "$IMGTOOL" --version
check 'nor do the variables of the stock interpreter' env LUA_PATH="$TMP/cwd/?.lua" \
	LUA_PATH_5_4="$TMP/cwd/?.lua" LUA_INIT='error("picked up")' LUA_CPATH="$TMP/cwd/?.so" \
	"$IMGTOOL" --version
check_status 2 'a relative directory is refused' with_path "cwd:$TMP/lua"
check_grep "IMGTOOL_LUA_PATH: cwd: not an absolute path" "$TMP/err" 'and named'
check_status 2 'so is the current one' with_path "$TMP/none:."
cd "$TOP"

main_is 'assert(package.path == "" and package.cpath == "" and #package.searchers == 2)
	local cjson, lfs, argparse = require "cjson", require "lfs", require "argparse"
	assert(cjson.decode and lfs.dir and argparse and rawget(_G, "lfs") == nil)
	assert(require "img.device" and rawget(_G, "img") == nil)
	require "imgtool.strict"
	package.loaded.lfs = nil
	assert(require "lfs" and rawget(_G, "lfs") == nil)
	print(pcall(require, "lpeg"))
	print(pcall(require, "imgtool.no_such"))
	print(pcall(require, "../../x"))
	print(pcall(require, "imgtool/main"))
	return 0'
check 'the modules inside are there, and no others' over
check_eq "$(grep -c "no such module in imgtool" "$TMP/out")" 4 'require says why'

printf 'return { main = function() return 0 end }' >"$TMP/source.lua"
luac5.4 -o "$main" "$TMP/source.lua"
check_status 1 'bytecode is refused' over
check_grep "$main.*binary" "$TMP/err" 'and named'
echo 'return = 5' >"$main"
check_status 1 'a file that does not parse is an error' over
check_grep "imgtool\.main.*$main:1:" "$TMP/err" 'and named with its line'
rm "$main"
mkdir "$main"
check 'a directory of that name is passed over' over --version
rmdir "$main"

# ---- How it ends ----

main_is 'return tonumber(arg[1])'
check_status 7 'the exit status is what main returns' over 7
check_status 1 'no status is an internal error' over x
check_grep 'internal error: imgtool.main gave no exit status' "$TMP/err" 'and said so'
check_status 1 'a status that does not fit is one' over 256
check_status 1 'so is a float' over 0.0
main_is 'error("oh dear")'
check_status 1 'an error is an internal error' over
check_grep "^imgtool: internal error: $main:3: oh dear" "$TMP/err" 'with its message and place'
check_eq "$(grep -c 'stack traceback' "$TMP/err")" 0 'and no traceback'
check_status 1 'with --verbose' over --verbose
check_grep 'stack traceback' "$TMP/err" 'there is one'
check_status 1 'with IMGTOOL_TRACE' env IMGTOOL_TRACE=1 IMGTOOL_LUA_PATH="$TMP/lua" "$IMGTOOL"
check_grep 'stack traceback' "$TMP/err" 'there is one too'
main_is 'error({ message = "no way", code = 9 })'
check_status 9 'an error with a code keeps it' over
main_is 'error()'
check_status 1 'an error that is nil is one' over

for how in 'return 0' 'error("x")' 'os.exit(0)' 'os.exit(3, false)' 'error({ code = 9 })'; do
	main_is 'local device = require "img.device"
	local function say(what) io.stderr:write(what, "\n") end
	local scope <close> = setmetatable({}, { __close = function() say "closed" end })
	kept = setmetatable({}, { __gc = function() say "collected" end })
	left_open = { device.mem(10), device.slice(device.mem(10), 0, 1) }
	'"do $how end"
	over >"$TMP/out" 2>"$TMP/err" || true
	check_grep '^collected' "$TMP/err" "$how: finalisers run"
	check_grep '^closed' "$TMP/err" "$how: scopes are closed"
done
main_is 'kept = setmetatable({}, { __gc = function() error("in gc") end }) return 0'
check 'an error in a finaliser' over
check_grep 'in gc' "$TMP/err" 'is seen'

main_is 'print("text") return 0'
check_status 6 'output that does not fit is a failure' \
	bash -c "IMGTOOL_LUA_PATH='$TMP/lua' '$IMGTOOL' >/dev/full"
check_grep '^imgtool: write to standard output failed' "$TMP/err" 'and said so'
main_is 'print("text") os.exit(true)'
check_status 6 'also when the script ends the program' \
	bash -c "IMGTOOL_LUA_PATH='$TMP/lua' '$IMGTOOL' >/dev/full"
main_is 'os.exit(tonumber(arg[1]))'
check_status 5 'os.exit gives its status' over 5
main_is 'for i = 1, 100000 do print(i) end return 0'
check_status 6 'a reader that goes away ends no program by a signal' bash -c "set -o pipefail
	IMGTOOL_LUA_PATH='$TMP/lua' '$IMGTOOL' | true"
# The image must not become standard output.
main_is 'local device = require "img.device"
	local dev = assert(device.open(arg[1], { write = true, create = true }))
	assert(dev:write(0, "data"))
	print("text") io.stdout:flush() io.stderr:write("more text")
	return 0'
for closed in '<&-' '>&-' '2>&-' '<&- >&- 2>&-'; do
	rm -f "$TMP/file"
	status=0
	bash -c "IMGTOOL_LUA_PATH='$TMP/lua' '$IMGTOOL' '$TMP/file' $closed" >"$TMP/out" 2>&1 ||
		status=$?
	check_eq "$(cat "$TMP/file")" data "nothing is printed into a device ($closed)"
	case $closed in
	*'>&- '* | '>&-') check_eq $status 6 'and lost output is a failure' ;;
	*) check_eq $status 0 'and all else goes on' ;;
	esac
done

# ---- Root ----

main_is 'print("mine") return 0'
if [ "$(id -u)" -eq 0 ]; then
	refused() { # NAMED DESC
		check_status 9 "root refuses $2" over
		check_grep "^imgtool: $1: " "$TMP/err" 'and names it'
	}
	check 'root takes what only root can change' over
	chmod 664 "$main"
	refused "$main" 'a file that its group can write'
	chmod 646 "$main"
	refused "$main" 'a file that all can write'
	chmod 644 "$main"
	chown 65534 "$main"
	refused "$main" 'a file of somebody else'
	chown 0 "$main"
	chmod 775 "$TMP/lua"
	refused "$TMP/lua" 'a directory that its group can write'
	chmod 1777 "$TMP/lua"
	check 'root takes a sticky one' over
	chmod 755 "$TMP/lua"
	chown 65534 "$TMP/lua"
	refused "$TMP/lua" 'a directory of somebody else'
	chown 0 "$TMP/lua"

	mkdir -p "$TMP/hop" "$TMP/real/imgtool"
	cp "$main" "$TMP/real/imgtool/"
	ln -s "$TMP/real" "$TMP/hop/link"
	ln -s hop/../hop/link "$TMP/linked"
	check 'root follows links' with_path "$TMP/linked"
	check_grep '^mine' "$TMP/out" 'to the file'
	chmod 777 "$TMP/hop"
	check_status 9 'but looks at every directory in between' with_path "$TMP/linked"
	check_grep "^imgtool: $TMP/hop: others than root can write" "$TMP/err" 'and names it'
	chmod 1777 "$TMP/hop"
	chown -h 65534 "$TMP/hop/link"
	check_status 9 'and at who owns the links' with_path "$TMP/linked"
	check_grep "^imgtool: $TMP/hop/link: does not belong to root" "$TMP/err" 'and names it'
	ln -sfn "$TMP/ring" "$TMP/ring"
	check_status 9 'a ring of links is an error' with_path "$TMP/ring" --version

	chmod 664 "$TMP/module/imgtool/strict.lua"
	check_status 9 'a module that is loaded later is refused too' \
		with_path "$TMP/module" --version
	check_grep "^imgtool: $TMP/module/imgtool/strict.lua: " "$TMP/err" 'and named'

	chmod 666 "$main"
	if setpriv --reuid=65534 --clear-groups "$IMGTOOL" --version >"$TMP/out" 2>&1; then
		check 'others than root may do as they like' setpriv --reuid=65534 --clear-groups \
			env IMGTOOL_LUA_PATH="$TMP/lua" "$IMGTOOL"
		check_grep '^mine' "$TMP/out" 'with their files'
	else
		skip_case 'others than root may do as they like' 'another user cannot run it'
	fi
	chmod 644 "$main"
	cp "$IMGTOOL" "$TMP/setuid"
	chown 65534 "$TMP/setuid"
	chmod 4755 "$TMP/setuid"
	if findmnt -no OPTIONS -T "$TMP" | grep -q nosuid; then
		skip_case 'a setuid program ignores the environment' 'mounted nosuid'
	else
		# Without its status: a leak check does not work in a setuid program, and fails it.
		IMGTOOL_LUA_PATH="$TMP/lua" HOME="$TMP" "$TMP/setuid" --version >"$TMP/out" 2>&1 ||
			true
		check_grep '^imgtool [0-9]' "$TMP/out" 'a setuid program ignores the environment'
	fi
else
	skip_case 'what root refuses' 'needs root'
fi

done_testing
