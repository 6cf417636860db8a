local device = require 'img.device'
local image = require 'img.image'
local json = require 'imgtool.util.json'
local map = require 'img.map'
local pipeline = require 'img.pipeline'
local sys = require 'img.sys'

local KiB, MiB = 1024, 1024 * 1024
local UUID = '12345678-9abc-4def-8123-456789abcdef'

local function no_open_handles()
  collectgarbage()
  collectgarbage()
  assert.same({}, sys.open_handles())
end

local function throws(message, f, ...)
  local ok, got = pcall(f, ...)
  assert.is_false(ok, 'no error')
  assert.matches(message, got, 1, true)
end

local function run(command)
  local pipe <close> = assert(io.popen('PATH=$PATH:/usr/sbin:/sbin; ' .. command .. ' 2>&1'))
  return (pipe:read('a'):gsub('%s+$', ''))
end

local function run_bytes(command)
  local pipe <close> = assert(io.popen(command))
  return pipe:read('a')
end

local function scratch_directory()
  local path = run 'mktemp -d'
  finally(function() os.execute('rm -rf ' .. path) end)
  return path
end

local function read_file(path)
  local file <close> = assert(io.open(path, 'rb'))
  return file:read('a')
end

local function head_of(size, changes)
  local head = {
    source_bytes = size, chunk_bytes = 256 * KiB, block_bytes = 64 * KiB, logical_bytes = 512,
    physical_bytes = 4096, hash = 'xxh3-128', uuid = UUID, created_s = 1700000000,
    text = '{"tool":"test"}',
  }
  for key, value in pairs(changes or {}) do head[key] = value end
  return head
end

-- 1 MiB: random, zeros, free, random; 100 bytes more at the end.
local SIZE = MiB + 100
local function source_bytes()
  local file <close> = assert(io.open('/dev/urandom', 'rb'))
  return file:read(256 * KiB) .. ('\0'):rep(512 * KiB) .. file:read(256 * KiB + 100)
end

local function source_map()
  local m = map.new(SIZE, true)
  m:set(512 * KiB, 192 * KiB, 'free')
  return m
end

-- Image `bytes` into a file: the root hash.
local function make(path, bytes, changes, options)
  local source <close> = assert(device.mem(bytes))
  local file <close> = assert(device.open(path, { write = true, create = true }))
  local m <close> = source_map()
  local writer <close> = assert(image.writer(file, head_of(SIZE, changes), m, options))
  local job <close> = assert(pipeline.capture {
    source = source, map = m, writer = writer, on_read_error = 'abort', read_retries = 0,
    workers = 2, depth = 8, level = 3,
  })
  assert(job:wait())
  return assert(writer:finish())
end

describe('img.image', function()
  after_each(no_open_handles)

  it('writes what zstd and the specification read', function()
    local path, bytes = scratch_directory() .. '/x.img.zst', source_bytes()
    local root = make(path, bytes)
    assert.matches('^' .. ('%x'):rep(64) .. '$', root)
    assert.equal('', run('zstd -qt ' .. path))
    assert.is_true(bytes == run_bytes('zstd -dc ' .. path))
    -- HEAD, by hand: signature at 8, UUID at 40 + 32, map digest at 40 + 88 (sections 3, 3.1).
    local text = read_file(path)
    assert.equal('IMGTHEAD', text:sub(9, 16))
    assert.equal(UUID:gsub('%-', ''), (text:sub(73, 88):gsub('.', function(c)
      return ('%02x'):format(c:byte())
    end)))
    local m <close> = source_map()
    local encoded = os.tmpname()
    finally(function() os.remove(encoded) end)
    local file = assert(io.open(encoded, 'wb'))
    file:write(m:encode())
    file:close()
    local digest = (text:sub(129, 144):gsub('.', function(c) return ('%02x'):format(c:byte()) end))
    local hashed = run('xxhsum -q -H2 ' .. encoded)
    if hashed:match('not found') then pending('xxhsum is not installed') end
    assert.equal(hashed:match('%x+'), digest)
    assert.equal(digest, m:digest())
  end)

  it('opens again with the same facts', function()
    local path, bytes = scratch_directory() .. '/x.img.zst', source_bytes()
    local root = make(path, bytes)
    local file <close> = assert(device.open(path))
    local img <close> = assert(image.open(file))
    local facts = img:facts()
    for name, value in pairs(head_of(SIZE)) do assert.equal(value, facts[name], name) end
    assert.equal('2.0', facts.version)
    assert.equal(root, facts.root)
    assert.equal(file:size(), facts.file_bytes)
    assert.equal(5, facts.chunks)
    assert.equal(192 * KiB, facts.free_bytes)
    assert.equal(320 * KiB, facts.zero_bytes)
    assert.equal(SIZE - 512 * KiB, facts.data_bytes)
    assert.equal(0, facts.bad_bytes + facts.bad_range_bytes)
    assert.matches('^' .. ('%x'):rep(32) .. '$', facts.map_digest)
    local meta = assert(json.decode(img:meta()))
    assert.equal('test', meta.header.tool)
    assert.equal(facts.data_bytes, meta.result.data_bytes)
    assert.is_true(img:check_root())
  end)

  it('is a device', function()
    local path, bytes = scratch_directory() .. '/x.img.zst', source_bytes()
    make(path, bytes)
    local file <close> = assert(device.open(path))
    local img <close> = assert(image.open(file))
    local dev <close> = assert(img:device(4))
    assert.equal(SIZE, dev:size())
    assert.is_true(bytes == dev:read(0, SIZE))
    assert.is_true(bytes:sub(200 * KiB + 2, 800 * KiB + 1) == dev:read(200 * KiB + 1, 600 * KiB))
    assert.is_nil((dev:write(0, 'x')))
    throws('must not be negative', img.device, img, -1)
  end)

  it('shows its chunks', function()
    local path, bytes = scratch_directory() .. '/x.img.zst', source_bytes()
    make(path, bytes, { hash = 'sha256' })
    local file <close> = assert(device.open(path))
    local img <close> = assert(image.open(file))
    local offset, text, frames = 0, read_file(path), {}
    for number = 0, img:facts().chunks - 1 do
      local chunk = assert(img:chunk(number))
      assert.equal(number, chunk.number)
      assert.equal(offset, chunk.offset)
      assert.same({}, chunk.bad)
      for _, entry in ipairs(chunk.entries) do
        assert.equal(offset, entry.offset)
        offset = offset + entry.length
        frames[#frames + 1] = entry.kind
        assert.equal('\x28\xB5\x2F\xFD', text:sub(entry.file_offset + 1, entry.file_offset + 4))
        assert.equal(entry.kind == 'data', entry.hash ~= nil)
        if entry.hash then assert.equal(64, #entry.hash) end
      end
    end
    assert.equal(SIZE, offset)
    assert.equal('data data data data zero free zero data data data data data',
      table.concat(frames, ' '))
    local first = img:chunk(0).entries[1]
    local block = os.tmpname()
    finally(function() os.remove(block) end)
    local out = assert(io.open(block, 'wb'))
    out:write(bytes:sub(1, first.length))
    out:close()
    assert.equal(run('sha256sum ' .. block):match('^%x+'), first.hash)
    throws('no such chunk', img.chunk, img, 5)
    throws('must not be negative', img.chunk, img, -1)
  end)

  it('refuses what is no image', function()
    local dev <close> = assert(device.mem(('x'):rep(100000)))
    local none, message, code = image.open(dev)
    assert.is_nil(none)
    assert.is_string(message)
    assert.equal(sys.codes.format, code)
    none, message, code = image.read_head(dev)
    assert.is_nil(none)
    assert.is_string(message)
    assert.equal(sys.codes.format, code)
    local short <close> = assert(device.mem('IMGT'))
    none, message, code = image.read_head(short)
    assert.is_nil(none)
    assert.matches('not an imgtool image', message)
    assert.equal(sys.codes.format, code)
    throws('img.Device expected', image.open, 'x.img')
  end)

  it('reads the head of incomplete and of cut files', function()
    local path = scratch_directory() .. '/x.img.zst'
    make(path, source_bytes())
    run('truncate -s 300000 ' .. path)
    local file <close> = assert(device.open(path))
    assert.same(head_of(SIZE), image.read_head(file))
    assert.is_nil((image.open(file)))
    run('truncate -s 100 ' .. path)
    local cut <close> = assert(device.open(path))
    local none, _, code = image.read_head(cut)
    assert.is_nil(none)
    assert.is_true(code == sys.codes.format or code == sys.codes.damaged)
  end)

  it('reports a damaged head', function()
    local path = scratch_directory() .. '/x.img.zst'
    make(path, source_bytes())
    local file <close> = assert(device.open(path, { write = true }))
    assert(file:write(120, '\xff\xff'))
    local none, message, code = image.read_head(file)
    assert.is_nil(none)
    assert.matches(path, message, 1, true)
    assert.equal(sys.codes.damaged, code)
  end)
end)

describe('img.image.writer', function()
  after_each(no_open_handles)

  it('throws for a head that makes no sense', function()
    local file <close> = assert(device.mem(MiB))
    local m <close> = source_map()
    local function with(changes)
      return function() return image.writer(file, head_of(SIZE, changes), m) end
    end
    throws("field 'uuid' is no UUID", with { uuid = UUID:upper() })
    throws("field 'uuid' is no UUID", with { uuid = UUID:gsub('-', '') })
    throws("field 'hash' has no meaning 'md5'", with { hash = 'md5' })
    throws("field 'source_bytes' must be", with { source_bytes = -1 })
    throws("field 'block_bytes' must be an integer", with { block_bytes = 65536.0 })
    throws("field 'created_s' must be", with { created_s = -1 })
    throws("field 'text' must be a string", with { text = 5 })
    throws("field 'text' is too long", with { text = (' '):rep(MiB) })
    throws("field 'level' is unknown", with { level = 3 })
    throws('another size', with { source_bytes = SIZE + 1 })
    throws("field 'text' is missing", function()
      local head = head_of(SIZE)
      head.text = nil
      image.writer(file, head, m)
    end)
    throws("field 'sync' is unknown", image.writer, file, head_of(SIZE), m, { sync = true })
    throws('img.Map expected', image.writer, file, head_of(SIZE))
    -- Sizes that fit their fields, but not each other, are the format's to refuse.
    local writer, message, code = with { block_bytes = 65537 } ()
    assert.is_nil(writer)
    assert.is_string(message)
    assert.equal('integer', math.type(code))
  end)

  it('keeps its head, and says how far it is', function()
    local path = scratch_directory() .. '/x.img.zst'
    local file <close> = assert(device.open(path, { write = true, create = true }))
    local m <close> = source_map()
    local head = head_of(SIZE)
    local writer <close> = assert(image.writer(file, head, m, { write_through = false }))
    head.text = nil
    collectgarbage()
    assert.same(head_of(SIZE), writer:head())
    assert.equal(0, writer:offset())
    assert.same(0, writer:totals().chunks)
    local root, message, code = writer:finish()
    assert.is_nil(root)
    assert.is_string(message)
    assert.equal(sys.codes.internal, code)
  end)

  it('goes on with an image that was stopped', function()
    local dir, bytes = scratch_directory(), source_bytes()
    local whole, path = dir .. '/whole.img.zst', dir .. '/x.img.zst'
    local root = make(whole, bytes)
    local text = read_file(whole)
    local file = assert(io.open(path, 'wb'))
    -- Up to the middle of the last chunk.
    file:write(text:sub(1, #text - 120 * KiB))
    file:close()
    local source <close> = assert(device.mem(bytes))
    local out <close> = assert(device.open(path, { write = true }))
    local m <close> = source_map()
    local other = head_of(SIZE, { uuid = sys.uuid(), created_s = 5, text = '{}' })
    local writer <close> = assert(image.writer(out, other, m, { resume = true }))
    assert.same(head_of(SIZE), writer:head())
    assert.is_true(writer:offset() > 0)
    assert.equal(0, writer:offset() % (256 * KiB))
    local job <close> = assert(pipeline.capture {
      source = source, map = m, writer = writer, on_read_error = 'abort', read_retries = 0,
      workers = 1, depth = 2, level = 3,
    })
    assert(job:wait())
    assert.equal(root, writer:finish())
    assert.is_true(text == read_file(path))
  end)

  it('refuses to go on when the map or a setting is another', function()
    local dir = scratch_directory()
    local path = dir .. '/x.img.zst'
    make(path, source_bytes())
    run('truncate -s 300000 ' .. path)
    local file <close> = assert(device.open(path, { write = true }))
    local m <close> = source_map()
    for _, changes in ipairs { { hash = 'sha256' }, { chunk_bytes = 128 * KiB } } do
      local writer, message, code = image.writer(file, head_of(SIZE, changes), m, { resume = true })
      assert.is_nil(writer)
      assert.is_string(message)
      assert.equal(sys.codes.refused, code)
    end
    m:set(0, 4096, 'free')
    local writer, _, code = image.writer(file, head_of(SIZE), m, { resume = true })
    assert.is_nil(writer)
    assert.equal(sys.codes.refused, code)
    assert.equal(300000, file:size())
  end)
end)

describe('img.image.repair', function()
  after_each(no_open_handles)

  it('makes a complete image of a damaged one', function()
    local dir, bytes = scratch_directory(), source_bytes()
    make(dir .. '/x.img.zst', bytes)
    local broken <close> = assert(device.open(dir .. '/x.img.zst', { write = true }))
    local entry
    do
      local img <close> = assert(image.open(broken))
      entry = assert(img:chunk(0)).entries[2]
    end
    assert(broken:write(entry.file_offset + 100, 'damage'))
    assert(broken:set_size(broken:size() - 300)) -- TAIL and what is behind it
    assert.is_nil((image.open(broken)))
    local out <close> = assert(device.open(dir .. '/y.img.zst', { write = true, create = true }))
    local seen = assert(image.repair(broken))
    local report = assert(image.repair(broken, out))
    assert.same(seen, report)
    assert.is_false(report.head_copied)
    assert.equal(entry.length, report.lost_bytes)
    assert.equal(1, report.lost_ranges)
    assert.equal(entry.length, report.bad_bytes)
    assert.equal(192 * KiB, report.free_bytes)
    assert.equal(1, #report.losses)
    assert.equal(entry.offset, report.losses[1].offset)
    assert.equal(entry.length, report.losses[1].length)
    assert.equal(entry.file_offset, report.losses[1].file_offset)
    assert.is_true(#report.losses[1].why > 0)
    local img <close> = assert(image.open(out))
    local dev <close> = assert(img:device())
    assert.is_true(bytes:sub(1, 64 * KiB) == dev:read(0, 64 * KiB))
    assert.is_nil((dev:read(64 * KiB, 1)))
    assert.is_true(bytes:sub(128 * KiB + 1) == dev:read(128 * KiB, SIZE - 128 * KiB))
  end)

  it('fails when there is no image', function()
    local dir = scratch_directory()
    local none <close> = assert(device.mem(100000))
    local out <close> = assert(device.open(dir .. '/y', { write = true, create = true }))
    local report, message, code = image.repair(none, out)
    assert.is_nil(report)
    assert.is_string(message)
    assert.equal(sys.codes.format, code)
    throws('img.Device expected', image.repair)
    throws('img.Device expected', image.repair, none, 5)
    -- A signal that nobody has seen to yet.
    report, message, code = image.repair(none, nil, sys.signals() + 1)
    assert.is_nil(report)
    assert.matches('cancelled', message)
    assert.equal(sys.codes.cancelled, code)
  end)
end)

describe('handles of img.image', function()
  after_each(no_open_handles)

  it('throw once they are closed', function()
    local path = scratch_directory() .. '/x.img.zst'
    make(path, source_bytes())
    local file = assert(device.open(path))
    local img = assert(image.open(file))
    img:close()
    img:close()
    throws('attempt to use a closed image', img.facts, img)
    throws('attempt to use a closed image', img.device, img)
    file:close()
    throws('attempt to use a closed device', image.open, file)
    throws('attempt to use a closed device', image.read_head, file)
  end)

  it('may be closed from the outside in', function()
    local path, bytes = scratch_directory() .. '/x.img.zst', source_bytes()
    make(path, bytes)
    local file = assert(device.open(path))
    local img = assert(image.open(file))
    local dev = assert(img:device())
    local slice = assert(device.slice(dev, 100, 1000))
    file:close()
    img:close()
    dev:close()
    throws('attempt to use a closed image', img.facts, img)
    assert.is_true(bytes:sub(101, 1100) == slice:read(0, 1000))
    assert.same({ device = 3, image = 1 }, sys.open_handles())
    slice:close()
    assert.same({}, sys.open_handles())
  end)

  it('are collected in any order', function()
    local path = scratch_directory() .. '/x.img.zst'
    make(path, source_bytes())
    for _ = 1, 50 do
      local img = assert(image.open(assert(device.open(path))))
      assert(img:device()):read(0, 10)
    end
    no_open_handles()
  end)

  it('let go of a writer that was never finished', function()
    local path = scratch_directory() .. '/x.img.zst'
    do
      local file = assert(device.open(path, { write = true, create = true }))
      local writer = assert(image.writer(file, head_of(SIZE), source_map()))
      file:close()
      assert.equal(0, writer:offset())
      assert.is_true(writer:stop())
      writer:close()
      throws('attempt to use a closed writer', writer.finish, writer)
    end
    no_open_handles()
    local file <close> = assert(device.open(path))
    assert.is_nil((image.open(file)))
  end)
end)
