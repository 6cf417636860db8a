local sys = require 'img.sys'

local function throws(message, f, ...)
  local ok, got = pcall(f, ...)
  assert.is_false(ok, 'no error')
  assert.matches(message, got, 1, true)
end

local function run(command)
  local pipe <close> = assert(io.popen(command))
  return (pipe:read('a'):gsub('%s+$', ''))
end

local function scratch_directory()
  local path = run 'mktemp -d'
  finally(function() os.execute('rm -rf ' .. path) end)
  return path
end

local function write_file(path, content)
  local file <close> = assert(io.open(path, 'w'))
  assert(file:write(content))
end

local function read_file(path)
  local file <close> = assert(io.open(path))
  return file:read('a')
end

local function no_open_handles()
  collectgarbage()
  collectgarbage()
  assert.same({}, sys.open_handles())
end

-- Run Lua with the C modules in a process of its own; its output and exit status.
local function lua(code)
  local path = os.tmpname()
  write_file(path, ([[
    package.cpath = ''
    package.loadlib('%s/imgtool_c.so', 'luaopen_imgtool_c')()
    local sys = require 'img.sys'
    io.stdout:setvbuf('line')
    ]]):format(os.getenv 'BUILD' or 'build') .. code)
  return ('lua5.4 %s'):format(path), path
end

describe('img.sys, codes and versions', function()
  it('has one table of exit codes', function()
    -- The table of DESIGN section 7.
    assert.same({
      ok = 0, internal = 1, usage = 2, not_found = 3, permission = 4, source_io = 5, target_io = 6,
      damaged = 7, format = 8, refused = 9, snapshot = 10, busy = 11, bad_sectors = 12, script = 13,
      cancelled = 130,
    }, sys.codes)
    for word, code in pairs(sys.codes) do
      assert.equal(word, sys.word(code))
      assert.is_true(#sys.meaning(code) > 0)
    end
    assert.equal('unknown', sys.word(99))
  end)

  it('knows the versions of what it is made of', function()
    local version = sys.version()
    for _, name in ipairs { 'imgtool', 'format', 'lua', 'zstd', 'ext2fs', 'ntfs3g', 'uring',
      'blkid', 'xxhash', 'openssl' } do
      assert.matches('^%d+%.%d+', version[name], 1, false)
    end
    assert.equal('2.0', version.format)
    assert.equal(_VERSION, 'Lua ' .. version.lua:match('^%d+%.%d+'))
    assert.equal(run 'pkg-config --modversion libzstd', version.zstd)
    assert.equal(run 'pkg-config --modversion liburing', version.uring:match('^%d+%.%d+'))
    assert.is_string(version.commit)
  end)
end)

describe('img.sys, the machine', function()
  it('has a clock that sleeping moves on', function()
    local before = sys.clock_ns()
    sys.sleep(0.05)
    local passed = sys.clock_ns() - before
    assert.equal('integer', math.type(passed))
    assert.is_true(passed >= 50 * 1000000)
    assert.is_true(passed < 5 * 1000000000)
    throws('must not be negative', sys.sleep, -1)
    throws('number expected', sys.sleep, 'x')
  end)

  it('ends the program at once', function()
    local command, path = lua [[
      kept = setmetatable({}, { __gc = function() print 'collected' end })
      io.stdout:setvbuf('full')
      io.write('written')
      sys.exit_now(7)]]
    finally(function() os.remove(path) end)
    assert.equal('written 7', run(command .. '; echo " $?"'))
    throws('no exit status', sys.exit_now, 256)
    throws('must not be negative', sys.exit_now, -1)
  end)

  it('makes random UUIDs of version 4', function()
    local seen = {}
    for _ = 1, 1000 do
      local uuid = sys.uuid()
      assert.matches('^' .. (('%x'):rep(8) .. '%-%x%x%x%x%-4%x%x%x%-[89ab]%x%x%x%-' ..
        ('%x'):rep(12)) .. '$', uuid)
      assert.is_nil(seen[uuid])
      seen[uuid] = true
    end
  end)

  it('agrees with the tools of the system', function()
    assert.equal(run 'hostname', sys.hostname())
    assert.equal(math.tointeger(run 'nproc'), sys.cores())
    assert.equal(math.tointeger(run 'id -u'), sys.euid())
    local available = math.tointeger(run "awk '/^MemAvailable/ { print $2 * 1024 }' /proc/meminfo")
    assert.is_true(math.abs(sys.memory_available() - available) < available // 4)
  end)

  it('tells a terminal from a file', function()
    local command, path = lua 'print(sys.isatty(0), sys.isatty(1), sys.columns(1))'
    finally(function() os.remove(path) end)
    assert.equal('false\tfalse\t80', run(command .. ' </dev/null | cat'))
    local in_terminal = ("script -qec 'stty cols 123; %s' /dev/null </dev/null"):format(command)
    assert.matches('true\ttrue\t123', run(in_terminal), 1, true)
    throws('must not be negative', sys.isatty, -1)
  end)

  it('counts signals once they are caught, and wakes from sleep', function()
    local command, path = lua [[
      print('before', sys.signals())
      sys.catch_signals()
      print(io.open('/proc/self/stat'):read('n'))
      local start = sys.clock_ns()
      sys.sleep(20)
      print(sys.clock_ns() - start < 15 * 10 ^ 9, sys.signals())
      while sys.signals() < 2 do sys.sleep(20) end
      print(sys.signals())]]
    finally(function() os.remove(path) end)
    local pipe <close> = assert(io.popen('exec ' .. command))
    assert.equal('before\t0\t0', pipe:read())
    local pid = pipe:read()
    os.execute('sleep 0.3; kill -INT ' .. pid)
    assert.equal('true\t1\t2', pipe:read())
    os.execute('kill -TERM ' .. pid)
    assert.equal('2\t15', pipe:read())
  end)
end)

describe('img.sys, files', function()
  after_each(no_open_handles)

  it('stats what is there', function()
    local dir = scratch_directory()
    local path = dir .. '/f'
    write_file(path, 'hello')
    os.execute(('chmod 640 %s; ln -s f %s/link; mkfifo %s/fifo'):format(path, dir, dir))
    local st = assert(sys.stat(path))
    assert.equal(run("stat -c '%F %s %a %u %g %d %i %Y' " .. path),
      ('regular file %d %o %d %d %d %d %d'):format(st.size, st.mode, st.uid, st.gid, st.device,
        st.inode, st.modified_s))
    assert.equal(math.tointeger(run('stat -c %b ' .. path)) * 512, st.blocks_bytes)
    assert.equal('file', st.type)
    assert.equal('link', sys.stat(dir .. '/link').type)
    assert.equal('fifo', sys.stat(dir .. '/fifo').type)
    assert.equal('directory', sys.stat(dir).type)
    assert.equal('char', sys.stat('/dev/null').type)
    local none, message, code = sys.stat(dir .. '/none')
    assert.is_nil(none)
    assert.matches('/none', message, 1, true)
    assert.equal(sys.codes.not_found, code)
    throws('zero byte', sys.stat, 'a\0b')
    throws('string expected', sys.stat, 5)
  end)

  it('knows the space that is left', function()
    local dir = scratch_directory()
    local df = math.tointeger(run('df -B1 --output=avail ' .. dir .. ' | tail -n 1'))
    assert.is_true(math.abs(assert(sys.space_available(dir)) - df) < 512 << 20)
    assert.is_nil((sys.space_available(dir .. '/none')))
  end)

  it('resolves links', function()
    local dir = scratch_directory()
    write_file(dir .. '/f', '')
    os.execute(('ln -s f %s/link'):format(dir))
    local way = dir .. '/../' .. dir:match('[^/]+$') .. '/link'
    assert.equal(run('readlink -f ' .. dir .. '/f'), sys.realpath(way))
    local _, _, code = sys.realpath(dir .. '/none')
    assert.equal(sys.codes.not_found, code)
  end)

  it('renames, but over nothing unless told to', function()
    local dir = scratch_directory()
    write_file(dir .. '/a', 'a')
    write_file(dir .. '/b', 'b')
    local ok, message, code = sys.rename(dir .. '/a', dir .. '/b')
    assert.is_nil(ok)
    assert.matches('exists', message)
    assert.equal(sys.codes.refused, code)
    assert.equal('b', read_file(dir .. '/b'))
    assert.is_true(sys.rename(dir .. '/a', dir .. '/c'))
    assert.equal('a', read_file(dir .. '/c'))
    assert.is_nil(sys.stat(dir .. '/a'))
    assert.is_true(sys.rename(dir .. '/c', dir .. '/b', true))
    assert.equal('a', read_file(dir .. '/b'))
    assert.is_nil((sys.rename(dir .. '/none', dir .. '/x')))
    assert.is_nil(sys.stat(dir .. '/x'))
  end)

  it('syncs the directory after a rename', function()
    local dir = scratch_directory()
    write_file(dir .. '/a', 'a')
    local command, path = lua(("assert(sys.rename('%s/a', '%s/b'))"):format(dir, dir))
    finally(function() os.execute(('rm -rf %s %s'):format(dir, path)) end)
    local trace = run(('strace -f -e trace=renameat2,openat,fsync %s 2>&1'):format(command))
    if not trace:match('exited with 0') then pending('strace does not work here') end
    local after = trace:match('renameat2%b() = 0(.*)')
    local fd = after:match('O_DIRECTORY[^)]*%) = (%d+)')
    assert.matches(('fsync(%s)'):format(fd), after:gsub('%s+', ''), 1, true)
    assert.is_true(sys.sync_directory(dir))
    assert.is_nil((sys.sync_directory(dir .. '/b')))
  end)

  it('locks a file until the handle is closed', function()
    local path = scratch_directory() .. '/lock'
    local lock = assert(sys.lock(path))
    local other, message, code = sys.lock(path)
    assert.is_nil(other)
    assert.matches('locked', message)
    assert.equal(sys.codes.busy, code)
    assert.equal('busy', run(("flock -n %s true || echo busy"):format(path)))
    assert.same({ lock = 1 }, sys.open_handles())
    lock:close()
    lock:close()
    assert.equal('', run(("flock -n %s true || echo busy"):format(path)))
    local again <close> = assert(sys.lock(path))
    assert.matches('^img.Lock: ', tostring(again))
  end)
end)

describe('img.sys, Lua modules', function()
  it('gives the embedded sources', function()
    assert.equal(read_file 'lua/imgtool/strict.lua', sys.embedded 'imgtool.strict')
    assert.equal(read_file 'lua/imgtool/util/json.lua', sys.embedded 'imgtool.util.json')
    assert.is_string(sys.embedded 'argparse')
    assert.is_nil(sys.embedded 'imgtool.no_such')
    assert.is_nil(sys.embedded 'imgtool.meta.img_sys')
  end)

  it('finds overrides in the directories it is given', function()
    local command, path = lua 'for name, file in pairs(sys.overrides()) do print(name, file) end'
    local dir = scratch_directory()
    finally(function() os.execute(('rm -rf %s %s'):format(dir, path)) end)
    os.execute(('mkdir -p %s/imgtool; echo > %s/imgtool/strict.lua'):format(dir, dir))
    command = ('HOME=/ IMGTOOL_LUA_PATH=%s ' .. command):format(dir)
    assert.equal('imgtool.strict\t' .. dir .. '/imgtool/strict.lua', run(command))
  end)
end)

describe('img.sys.readline', function()
  -- In a terminal: the keys are typed by script's standard input.
  local function type_keys(code, keys)
    local command, path = lua(code)
    local keys_path = os.tmpname()
    write_file(keys_path, keys)
    finally(function()
      os.remove(path)
      os.remove(keys_path)
    end)
    return run(("(sleep 0.5; cat %s; sleep 1) | TERM=dumb INPUTRC=/dev/null script -qec '%s' " ..
      '/dev/null'):format(keys_path, command))
  end

  it('reads lines until the end', function()
    local command, path = lua [[
      repeat
        local line = sys.readline('')
        print('got', line)
      until not line]]
    finally(function() os.remove(path) end)
    local output = run(("printf 'one\\ntwo' | %s"):format(command))
    assert.matches('got\tone', output, 1, true)
    assert.matches('got\ttwo', output, 1, true)
    assert.matches('got\tnil$', output)
    throws('string expected', sys.readline)
    throws('function expected', sys.readline, '> ', 5)
  end)

  it('completes the word before the cursor', function()
    local output = type_keys([[
      print('line', sys.readline('> ', function(word)
        io.stderr:write('[', word, ']')
        return { 'img.facts' }
      end))]], 'print(img.fa\t)\n')
    assert.matches('[img.fa]', output, 1, true)
    assert.matches('line\tprint(img.facts)', output, 1, true)
  end)

  it('survives a completion that fails', function()
    local output = type_keys([[
      print('line', sys.readline('> ', function() error('no') end))
      print('line', sys.readline('> ', function() return 5 end))
      print('line', sys.readline('> ', function() return { {}, 5 } end))]], 'a\tb\nc\td\ne\tf\n')
    assert.matches('line\tab', output, 1, true)
    assert.matches('line\tcd', output, 1, true)
    assert.matches('line\tef', output, 1, true)
  end)

  it('gives up the line at Ctrl-C when signals are caught', function()
    local output = type_keys([[
      sys.catch_signals()
      print('line', #sys.readline('> '))
      print('line', sys.readline('> '), sys.signals())]], 'abc\3def\n')
    assert.matches('line\t0', output, 1, true)
    assert.matches('line\tdef\t1\t2', output, 1, true)
  end)

  it('keeps a history', function()
    local dir = scratch_directory()
    sys.add_history('first line')
    sys.add_history('second')
    assert.is_true(sys.save_history(dir .. '/history'))
    assert.matches('first line\nsecond\n', read_file(dir .. '/history'), 1, true)
    assert.is_true(sys.load_history(dir .. '/history'))
    local ok, message, code = sys.load_history(dir .. '/none')
    assert.is_nil(ok)
    assert.matches('/none', message, 1, true)
    assert.equal(sys.codes.not_found, code)
    assert.is_nil((sys.save_history(dir .. '/none/history')))
  end)

  it('R12: runs programs of its list, and no others', function()
    local status, text = sys.run_tool('e2fsck', { '-V' }, 60)
    if status == nil then
      assert.matches('not installed', text, 1, true)
    else
      assert.equal(0, status)
      assert.matches('e2fsck', text, 1, true)
    end
    local none, message, code = sys.run_tool('sh', { '-c', 'true' }, 60)
    assert.is_nil(none)
    assert.equal('sh is no program that imgtool runs', message)
    assert.equal(sys.codes.usage, code)
    assert.has_error(function() sys.run_tool('e2fsck', { 1 }, 60) end)
    assert.has_error(function() sys.run_tool('e2fsck', { 'a\0b' }, 60) end)
    assert.has_error(function() sys.run_tool('e2fsck', {}, 100000) end)
  end)
end)
