local device = require 'img.device'
local sys = require 'img.sys'

local KiB, MiB = 1024, 1024 * 1024

local function no_open_handles()
  collectgarbage()
  collectgarbage()
  assert.same({}, sys.open_handles())
end

local function scratch(content)
  local path = os.tmpname()
  local file = assert(io.open(path, 'w'))
  assert(file:write(content or ''))
  file:close()
  finally(function() os.remove(path) end)
  return path
end

local function read_file(path)
  local file <close> = assert(io.open(path, 'rb'))
  return file:read('a')
end

local function throws(message, f, ...)
  local ok, got = pcall(f, ...)
  assert.is_false(ok, 'no error')
  assert.matches(message, got, 1, true)
end

local function run(command)
  local pipe <close> = assert(io.popen('PATH=$PATH:/usr/sbin:/sbin; ' .. command))
  return (pipe:read('a'):gsub('%s+$', ''))
end

describe('img.device', function()
  after_each(no_open_handles)

  it('opens a file, read-only', function()
    local path = scratch('hello world')
    local dev <close> = assert(device.open(path))
    assert.equal(11, dev:size())
    assert.equal('o wor', dev:read(4, 5))
    assert.equal('', dev:read(11, 0))
    assert.equal(path, dev:name())
    local ok, message, code = dev:write(0, 'J')
    assert.is_nil(ok)
    assert.matches(path, message, 1, true)
    assert.equal('integer', math.type(code))
    assert.equal('hello world', read_file(path))
  end)

  it('answers nil, message, code for what it cannot do', function()
    local dev, message, code = device.open('/no/such/file')
    assert.is_nil(dev)
    assert.matches('/no/such/file', message, 1, true)
    assert.equal(sys.codes.not_found, code)
    local short <close> = assert(device.open(scratch('abc')))
    local bytes, why, number = short:read(2, 2)
    assert.is_nil(bytes)
    assert.is_string(why)
    assert.equal(sys.codes.source_io, number)
  end)

  it('writes, grows, flushes and zeroes a file', function()
    local path = scratch()
    local dev <close> = assert(device.open(path, { write = true }))
    assert.is_true(dev:set_size(3 * MiB))
    assert.is_true(dev:write(MiB - 2, 'abcd'))
    assert.is_true(dev:flush())
    assert.equal('abcd', read_file(path):sub(MiB - 1, MiB + 2))
    assert.is_true(dev:zero(MiB, 1))
    assert.equal('ab\0d', dev:read(MiB - 2, 4))
    assert.equal(3 * MiB, dev:info().size_bytes)
    assert.is_true(dev:info().writable)
  end)

  it('discards in memory or says why not', function()
    local dev <close> = assert(device.open(scratch(('x'):rep(64 * KiB)), { write = true }))
    local ok, message, code = dev:discard(0, 64 * KiB)
    if ok == nil then
      assert.is_string(message)
      assert.equal(sys.codes.target_io, code)
    else
      assert.is_true(ok)
    end
    local only <close> = assert(device.open(scratch('x')))
    assert.is_nil((only:discard(0, 1)))
  end)

  it('makes a file only when told to, and never over another', function()
    local path = os.tmpname()
    os.remove(path)
    finally(function() os.remove(path) end)
    assert.is_nil((device.open(path, { write = true })))
    local dev = assert(device.open(path, { write = true, create = true }))
    assert.is_true(dev:write(0, 'new'))
    dev:close()
    local again, _, code = device.open(path, { write = true, create = true })
    assert.is_nil(again)
    assert.equal(sys.codes.refused, code)
    assert.equal('new', read_file(path))
    local cut <close> = assert(device.open(path, { write = true, truncate = true }))
    assert.equal(0, cut:size())
  end)

  it('takes memory from a string or a size', function()
    local dev <close> = assert(device.mem('a\0b'))
    assert.equal('a\0b', dev:read(0, 3))
    assert.is_true(dev:write(1, '\xff'))
    assert.equal('a\xffb', dev:read(0, 3))
    local zeros <close> = assert(device.mem(70000))
    assert.equal(('\0'):rep(70000), zeros:read(0, 70000))
  end)

  it('gives a window', function()
    local dev <close> = assert(device.mem('0123456789'))
    local slice <close> = assert(device.slice(dev, 2, 5))
    assert.equal(5, slice:size())
    assert.equal('23456', slice:read(0, 5))
    assert.is_nil((slice:read(0, 6)))
    assert.is_true(slice:write(0, 'x'))
    assert.equal('01x3', dev:read(0, 4))
    assert.is_nil((device.slice(dev, 8, 3)))
  end)

  it('misbehaves on demand', function()
    local dev <close> = assert(device.mem(64 * KiB))
    local fault <close> = assert(device.fault(dev, { size_bytes = 32 * KiB, logical_bytes = 4096,
      rules = {
        { op = 'read', action = 'fail', nth = 2, errno = 5 },
        { op = 'write', action = 'fail', offset = 4096, length = 4096, errno = 28 },
      } }))
    assert.equal(32 * KiB, fault:size())
    assert.equal(4096, fault:info().logical_bytes)
    assert.is_string(fault:read(0, 10))
    local bytes, message, code = fault:read(0, 10)
    assert.is_nil(bytes)
    assert.matches('Input/output error', message)
    assert.equal(sys.codes.source_io, code)
    assert.is_string(fault:read(0, 10))
    assert.is_true(fault:write(0, 'x'))
    local ok, why, number = fault:write(4100, 'x')
    assert.is_nil(ok)
    assert.matches('No space', why)
    assert.equal(sys.codes.target_io, number)
    assert.equal(3, fault:fault_count('read'))
    assert.equal(2, fault:fault_count('write'))
    assert.equal(0, fault:fault_count('flush'))
    throws('not a device.fault', dev.fault_count, dev, 'read')
  end)

  it('enforces an alignment, and delays', function()
    local dev <close> = assert(device.mem(64 * KiB))
    local fault <close> = assert(device.fault(dev, { align_bytes = 4096,
      rules = { { op = 'flush', action = 'delay', delay_ms = 60 } } }))
    assert.equal(4096, fault:info().align_bytes)
    local before = sys.clock_ns()
    assert.is_true(fault:flush())
    assert.is_true(sys.clock_ns() - before >= 60 * 1000000)
  end)

  it('knows the identity of a file that holds a file system', function()
    local path = scratch()
    assert(os.execute('truncate -s 8M ' .. path))
    run(('mkfs.ext4 -q -L tiny -U 12345678-1234-4234-8234-123456789abc %s 2>&1'):format(path))
    local dev <close> = assert(device.open(path))
    local id = assert(device.identity(dev))
    assert.equal('file', id.kind)
    assert.equal('ext4', id.fs_type)
    assert.equal('tiny', id.fs_label)
    assert.equal('12345678-1234-4234-8234-123456789abc', id.fs_uuid)
    assert.equal(8 * MiB, id.size_bytes)
    assert.equal('integer', math.type(id.part_number))
    assert.is_boolean(id.removable)
  end)

  it('lists what the kernel lists', function()
    local listed = {}
    for _, id in ipairs(assert(device.list())) do listed[id.name] = id end
    local count = 0
    -- Memory that the kernel swaps to (zram) is no disk to image.
    local lsblk = run 'lsblk -bnro NAME,SIZE,TYPE | grep -v ^zram'
    for name, bytes in lsblk:gmatch('(%S+) (%d+) disk') do
      count = count + 1
      assert.is_table(listed[name], name)
      assert.equal(math.tointeger(bytes), listed[name].size_bytes)
    end
    if count == 0 then pending('no disks here') end
  end)

  it('says who holds a file', function()
    local dev <close> = assert(device.open(scratch('x')))
    local text, in_use = device.holders(dev)
    assert.equal('', text)
    assert.is_false(in_use)
  end)

  it('opens a pipe on a descriptor', function()
    local bad, message, code = device.pipe(9999, true)
    assert.is_nil(bad)
    assert.matches('9999', message)
    assert.equal('integer', math.type(code))
    local dev <close> = assert(device.pipe(1, true))
    assert.is_true(dev:info().sequential)
    assert.equal('standard output', dev:name())
    throws('boolean expected', device.pipe, 1)
  end)
end)

describe('arguments of img.device', function()
  after_each(no_open_handles)

  it('are integers that are not negative', function()
    local dev <close> = assert(device.mem(100))
    throws("#2 to '?' (integer expected, got float)", dev.read, dev, 0.0, 1)
    throws('integer expected, got float', dev.read, dev, 0, 1.5)
    throws('integer expected, got string', dev.read, dev, '0', 1)
    throws('integer expected, got nil', dev.read, dev, nil, 1)
    throws('must not be negative', dev.read, dev, -1, 1)
    throws('must not be negative', device.mem, -1)
    throws('must not be negative', device.slice, dev, 0, math.mininteger)
    throws('64 MiB', dev.read, dev, 0, 64 * MiB + 1)
    assert.is_nil((dev:read(math.maxinteger, 1)))
    assert.is_nil((dev:read(0, 101)))
    assert.is_nil((device.slice(dev, math.maxinteger, math.maxinteger)))
  end)

  it('are of the right type', function()
    local dev <close> = assert(device.mem(100))
    throws('img.Device expected', dev.read, 1, 0, 1)
    throws('img.Device expected', device.slice, io.stdout, 0, 1)
    throws('string expected', dev.write, dev, 0, 5)
    throws('zero byte', device.open, '/dev/null\0x')
    throws('invalid option', dev.fault_count, dev, 'trim')
    throws('string expected', device.open, 5)
  end)

  it('have options that are known, and of their type', function()
    throws("field 'wirte' is unknown", device.open, 'x', { wirte = true })
    throws("field 'write' must be a boolean", device.open, 'x', { write = 1 })
    throws('a key that is no name: 1', device.open, 'x', { 'write' })
    throws('table expected', device.open, 'x', 'write')
    local dev <close> = assert(device.mem(10))
    local function fault(plan) return function() return device.fault(dev, plan) end end
    throws("field 'rules[2].op' is missing", fault { rules = {
      { op = 'read', action = 'fail' }, { action = 'fail' } } })
    throws("field 'rules[1].op' has no meaning 'seek'", fault { rules = { { op = 'seek' } } })
    throws("field 'rules[1].nht' is unknown", fault { rules = { { nht = 1 } } })
    throws("field 'rules[1].nth' must be an integer",
      fault { rules = { { op = 'read', action = 'fail', nth = 1.0 } } })
    throws("field 'rules[1]' must be a table", fault { rules = { 5 } })
    throws("field 'align_bytes' must be", fault { align_bytes = -1 })
    throws("field 'align_bytes' must be", fault { align_bytes = 1 << 40 })
    throws('table expected', device.fault, dev)
  end)
end)

describe('a device handle', function()
  after_each(no_open_handles)

  it('can be closed twice, and then throws', function()
    local dev = assert(device.mem(10))
    assert.matches('^img.Device: ', tostring(dev))
    dev:close()
    dev:close()
    for _, method in ipairs { 'name', 'size', 'info', 'flush' } do
      throws('attempt to use a closed device', dev[method], dev)
    end
    throws('attempt to use a closed device', dev.read, dev, 0, 1)
    throws('attempt to use a closed device', device.slice, dev, 0, 1)
    assert.equal('img.Device (closed)', tostring(dev))
  end)

  it('closes when it goes out of scope, also by an error', function()
    local kept
    local ok = pcall(function()
      local dev <close> = assert(device.mem(10))
      kept = dev
      error('x')
    end)
    assert.is_false(ok)
    throws('closed device', kept.size, kept)
    assert.same({}, sys.open_handles())
  end)

  it('is counted until it is collected', function()
    do
      local list = {}
      for i = 1, 100 do list[i] = assert(device.mem(10)) end
      assert.same({ device = 100 }, sys.open_handles())
      assert.equal(100, #list)
    end
    no_open_handles()
  end)

  it('may be closed before what was made of it', function()
    local dev = assert(device.mem('0123456789'))
    local slice = assert(device.slice(dev, 2, 5))
    local inner = assert(device.slice(slice, 1, 3))
    local fault = assert(device.fault(inner, {}))
    dev:close()
    slice:close()
    inner:close()
    throws('closed device', dev.read, dev, 0, 1)
    throws('closed device', device.slice, slice, 0, 1)
    assert.equal('345', fault:read(0, 3))
    assert.same({ device = 4 }, sys.open_handles())
    fault:close()
    assert.same({}, sys.open_handles())
  end)

  it('keeps what it was made of alive', function()
    local slice = assert(device.slice(assert(device.mem('0123456789')), 2, 5))
    collectgarbage()
    collectgarbage()
    assert.same({ device = 2 }, sys.open_handles())
    assert.equal('23456', slice:read(0, 5))
    slice:close()
  end)

  it('may be the end of a long chain of closed ones', function()
    local dev = assert(device.mem(10))
    for _ = 1, 2000 do
      local slice = assert(device.slice(dev, 0, 10))
      dev:close()
      dev = slice
    end
    assert.equal(2001, sys.open_handles().device)
    dev:close()
    assert.same({}, sys.open_handles())
  end)

  it('leaves nothing behind when it does not open', function()
    for _ = 1, 100 do
      device.open('/no/such/file')
      local dev <close> = assert(device.mem(10))
      device.slice(dev, 9, 9)
      pcall(device.fault, dev, { rules = { {} } })
    end
    assert.is_nil(sys.open_handles().device)
  end)

  it('survives finalisers that close it at any time', function()
    local dev = assert(device.mem(1 * MiB))
    assert.is_table(setmetatable({}, { __gc = function() dev:close() end }))
    -- The buffer of the read makes Lua collect, and the finaliser close the device under it.
    for _ = 1, 1000 do
      if not pcall(dev.read, dev, 0, 1 * MiB) then break end
    end
    throws('closed device', dev.size, dev)
  end)
end)
