local device = require 'img.device'
local image = require 'img.image'
local map = require 'img.map'
local pipeline = require 'img.pipeline'
local sys = require 'img.sys'

local KiB, MiB = 1024, 1024 * 1024
local SIZE = 4 * MiB

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

local function scratch_directory()
  local pipe <close> = assert(io.popen 'mktemp -d')
  local path = pipe:read()
  finally(function() os.execute('rm -rf ' .. path) end)
  return path
end

local random
local function source_bytes()
  if not random then
    local file <close> = assert(io.open('/dev/urandom', 'rb'))
    random = file:read(SIZE)
  end
  return random
end

local function writer_on(file, m)
  return assert(image.writer(file, {
    source_bytes = m:size(), chunk_bytes = MiB, block_bytes = 64 * KiB, logical_bytes = 512,
    physical_bytes = 512, hash = 'xxh3-128', uuid = sys.uuid(), created_s = 0, text = '{}',
  }, m))
end

local function with(base, changes)
  local t = {}
  for key, value in pairs(base) do t[key] = value end
  for key, value in pairs(changes or {}) do t[key] = value end
  return t
end

local CAPTURE = { on_read_error = 'abort', read_retries = 0, workers = 2, depth = 8, level = 1 }
local RESTORE = { free = 'leave', target_is_zero = true, on_read_error = 'abort', workers = 2,
  depth = 8 }
local VERIFY = { sample_percent = 100, seed = 0, workers = 2, depth = 8 }

-- Image `source` completely: the path of the image.
local function make(dir, source)
  local path = dir .. '/x.img.zst'
  local file <close> = assert(device.open(path, { write = true, create = true }))
  local m <close> = map.new(source:size(), true)
  local writer <close> = writer_on(file, m)
  local job <close> = assert(pipeline.capture(
    with(CAPTURE, { source = source, map = m, writer = writer })))
  assert(job:wait())
  assert(writer:finish())
  return path
end

-- A capture that is slow to read: 20 ms for each read.
local function slow_capture(dir, changes)
  local mem = assert(device.mem(source_bytes()))
  local source = assert(device.fault(mem,
    { rules = { { op = 'read', action = 'delay', delay_ms = 20 } } }))
  local file = assert(device.open(dir .. '/slow.img.zst', { write = true, create = true }))
  local m = map.new(SIZE, true)
  local writer = writer_on(file, m)
  local job = assert(pipeline.capture(
    with(with(CAPTURE, { source = source, map = m, writer = writer, workers = 1, depth = 2 }),
      changes)))
  return job, { mem, source, file, m, writer }
end

describe('img.pipeline', function()
  after_each(no_open_handles)

  it('captures, verifies and restores', function()
    local dir = scratch_directory()
    local source <close> = assert(device.mem(source_bytes()))
    local path = make(dir, source)
    local file <close> = assert(device.open(path))
    local img <close> = assert(image.open(file))

    local verify <close> = assert(pipeline.verify(with(VERIFY, { image = img })))
    assert.is_true(verify:wait())
    assert.same({ 64, 64 }, { verify:blocks() })
    assert.same({}, verify:losses())

    local target <close> = assert(device.mem(SIZE))
    local restore <close> = assert(pipeline.restore(
      with(RESTORE, { image = img, target = target })))
    assert.is_true(restore:wait())
    assert.is_true(source_bytes() == target:read(0, SIZE))
  end)

  it('restores a range to another place', function()
    local dir = scratch_directory()
    local source <close> = assert(device.mem(source_bytes()))
    local file <close> = assert(device.open(make(dir, source)))
    local img <close> = assert(image.open(file))
    local target <close> = assert(device.mem(SIZE))
    local job <close> = assert(pipeline.restore(with(RESTORE, { image = img, target = target,
      offset = 100 * KiB, length = 200 * KiB, target_offset = MiB })))
    assert.is_true(job:wait())
    assert.is_true(source_bytes():sub(100 * KiB + 1, 300 * KiB) == target:read(MiB, 200 * KiB))
    assert.equal(('\0'):rep(MiB), target:read(0, MiB))
    assert.equal(('\0'):rep(MiB), target:read(MiB + 200 * KiB, MiB))
  end)

  it('verifies a sample', function()
    local source <close> = assert(device.mem(source_bytes()))
    local file <close> = assert(device.open(make(scratch_directory(), source)))
    local img <close> = assert(image.open(file))
    local job <close> = assert(pipeline.verify(with(VERIFY, { image = img, sample_percent = 10 })))
    assert.is_true(job:wait())
    local checked, all = job:blocks()
    assert.equal(64, all)
    assert.is_true(checked >= 4 and checked < 64)
  end)

  it('fails when the image is damaged, and says where', function()
    local path
    do
      local source <close> = assert(device.mem(source_bytes()))
      path = make(scratch_directory(), source)
    end
    local file <close> = assert(device.open(path, { write = true }))
    local img <close> = assert(image.open(file))
    local entry = assert(img:chunk(1)).entries[3]
    assert(file:write(entry.file_offset + 1000, 'damage'))
    local job <close> = assert(pipeline.verify(with(VERIFY, { image = img })))
    local ok, message, code = job:wait()
    assert.is_nil(ok)
    assert.is_string(message)
    assert.equal(sys.codes.damaged, code)
    local losses = job:losses()
    assert.equal(1, #losses)
    assert.equal(entry.offset, losses[1].offset)
    assert.equal(entry.length, losses[1].length)
    assert.equal(entry.file_offset, losses[1].file_offset)
    assert.is_true(#losses[1].why > 0)
    assert.equal('failed', job:progress().state)
  end)

  it('aborts at an unreadable sector, or records it', function()
    local dir = scratch_directory()
    local mem <close> = assert(device.mem(source_bytes()))
    local bad <close> = assert(device.fault(mem, { rules = {
      { op = 'read', action = 'fail', offset = MiB, length = 512, errno = 5 } } }))
    local m <close> = map.new(SIZE, true)
    do
      local file <close> = assert(device.open(dir .. '/a', { write = true, create = true }))
      local writer <close> = writer_on(file, m)
      local job <close> = assert(pipeline.capture(
        with(CAPTURE, { source = bad, map = m, writer = writer })))
      local ok, message, code = job:wait()
      assert.is_nil(ok)
      assert.matches('Input/output error', message)
      assert.equal(sys.codes.source_io, code)
    end
    local file <close> = assert(device.open(dir .. '/b', { write = true, create = true }))
    local writer <close> = writer_on(file, m)
    local job <close> = assert(pipeline.capture(
      with(CAPTURE, { source = bad, map = m, writer = writer, on_read_error = 'zero' })))
    local ok, _, code = job:wait()
    assert.is_nil(ok)
    assert.equal(sys.codes.bad_sectors, code)
    assert.is_string(writer:finish())
    assert.equal(512, writer:totals().bad_range_bytes)
    assert.equal(512, job:progress().bad_bytes)
    local img <close> = assert(image.open(file))
    assert.same({ { offset = MiB, length = 512 } }, img:chunk(1).bad)
    local dev <close> = assert(img:device())
    assert.is_nil((dev:read(MiB + 511, 1)))
    assert.is_string(dev:read(MiB + 512, 1))
  end)
end)

describe('a job', function()
  after_each(no_open_handles)

  it('shows progress', function()
    local job <close>, things = slow_capture(scratch_directory())
    assert.equal(5, #things)
    local p = job:progress()
    assert.equal('running', p.state)
    assert.equal(SIZE, p.total_bytes)
    for name, value in pairs(p) do
      if name ~= 'state' then assert.equal('integer', math.type(value), name) end
    end
    local declared = {}
    local stub <close> = assert(io.open 'lua/imgtool/meta/img_pipeline.lua')
    local class = stub:read('a'):match('%-%-%-@class img.Progress\n(.-)\n\n')
    for name in class:gmatch('%-%-%-@field ([%w_]+)') do declared[name] = true end
    for name in pairs(p) do
      assert.is_true(declared[name], name)
      declared[name] = nil
    end
    assert.same({}, declared)
  end)

  it('takes other settings while it runs', function()
    local job <close> = slow_capture(scratch_directory())
    job:set { workers = 3, max_bytes_per_s = 123 * MiB }
    local p = job:progress()
    assert.same({ 3, 2, 1, 123 * MiB }, { p.workers, p.depth, p.level, p.max_bytes_per_s })
    job:set { level = 5, depth = 7, max_bytes_per_s = 0 }
    p = job:progress()
    assert.same({ 3, 7, 5, 0 }, { p.workers, p.depth, p.level, p.max_bytes_per_s })
    assert.equal(0, p.stall_s)
    job:set { stall_s = 90 }
    assert.equal(90, job:progress().stall_s)
    job:set { workers = 1000, depth = 1, level = -1000000000 }
    p = job:progress()
    assert.same({ 64, 2 }, { p.workers, p.depth })
    throws("field 'wrokers' is unknown", job.set, job, { wrokers = 1 })
    throws("field 'workers' must be an integer", job.set, job, { workers = 1.5 })
    throws("field 'workers' must be", job.set, job, { workers = -1 })
    throws('table expected', job.set, job)
  end)

  it('waits as long as it is told', function()
    local job <close> = slow_capture(scratch_directory())
    assert.is_false(job:wait(0))
    local before = sys.clock_ns()
    assert.is_false(job:wait(0.05))
    assert.is_true(sys.clock_ns() - before >= 50 * 1000000)
    throws('must not be negative', job.wait, job, -1)
    throws('must not be negative', job.wait, job, 0 / 0)
    throws('number expected', job.wait, job, {})
    assert.is_true(job:wait())
    assert.is_true(job:wait(0))
    assert.equal('done', job:progress().state)
  end)

  it('pauses and goes on', function()
    local job <close> = slow_capture(scratch_directory())
    job:pause()
    assert.is_false(job:wait(0.2))
    assert.equal('paused', job:progress().state)
    local done = job:progress().done_bytes
    assert.is_false(job:wait(0.1))
    assert.equal(done, job:progress().done_bytes)
    job:resume()
    assert.is_true(job:wait())
    assert.is_true(job:progress().paused_ns > 0)
  end)

  it('is cancelled', function()
    local job <close> = slow_capture(scratch_directory())
    job:cancel()
    local ok, message, code = job:wait()
    assert.is_nil(ok)
    assert.is_string(message)
    assert.equal(sys.codes.cancelled, code)
    assert.equal('cancelled', job:progress().state)
    throws('boolean expected', job.cancel, job, 1)
  end)

  it('is cancelled at the end of a chunk', function()
    local job <close>, things = slow_capture(scratch_directory())
    local writer = things[5]
    job:wait(0.1)
    job:cancel(true)
    local _, _, code = job:wait()
    assert.equal(sys.codes.cancelled, code)
    assert.is_true(writer:offset() > 0 and writer:offset() < SIZE)
    assert.equal(0, writer:offset() % MiB)
    assert.is_true(writer:stop())
  end)

  it('keeps the writer and the map to itself while it runs', function()
    local job <close>, things = slow_capture(scratch_directory())
    local m, writer = things[4], things[5]
    throws('the map is in use', m.set, m, 0, 1, 'free')
    assert.equal(SIZE, m:bytes 'data')
    for _, method in ipairs { 'offset', 'totals', 'finish', 'stop' } do
      throws('the writer is in use', writer[method], writer)
    end
    throws('the writer is in use', pipeline.capture,
      with(CAPTURE, { source = things[1], map = m, writer = writer }))
    throws('still runs', job.losses, job)
    assert.equal('{}', writer:head().text)
    assert.is_true(job:wait())
    assert.equal(SIZE, writer:offset())
    assert.is_string(writer:finish())
    assert.same({}, job:losses())
  end)

  it('is given up when nothing moves', function()
    local dir = scratch_directory()
    local mem <close> = assert(device.mem(source_bytes()))
    local source <close> = assert(device.fault(mem,
      { rules = { { op = 'read', action = 'delay', nth = 3, delay_ms = 2000 } } }))
    local file <close> = assert(device.open(dir .. '/x', { write = true, create = true }))
    local m <close> = map.new(SIZE, true)
    local writer <close> = writer_on(file, m)
    local job <close> = assert(pipeline.capture(
      with(CAPTURE, { source = source, map = m, writer = writer, stall_s = 1 })))
    assert.equal(1, job:progress().stall_s)
    assert.is_false(job:stalled())
    local ok, message, code = job:wait()
    assert.is_nil(ok)
    assert.is_string(message)
    assert.equal(sys.codes.source_io, code)
    assert.is_true(job:stalled())
    -- Its threads may wake up any time.
    throws('the writer is in use', writer.finish, writer)
    throws('still runs', job.losses, job)
    job:close()
    assert.is_true(writer:stop())
    throws('attempt to use a closed job', job.stalled, job)
  end)

  it('outlives the handles it was given', function()
    local dir = scratch_directory()
    local job, things = slow_capture(dir)
    for _, handle in ipairs(things) do handle:close() end
    throws('attempt to use a closed writer', things[5].finish, things[5])
    assert.same({ device = 3, map = 1, writer = 1, job = 1 }, sys.open_handles())
    for i in pairs(things) do things[i] = nil end
    collectgarbage()
    assert.is_true(job:wait())
    job:close()
    job:close()
    throws('attempt to use a closed job', job.progress, job)
    throws('attempt to use a closed job', job.wait, job)
    assert.same({}, sys.open_handles())
  end)

  it('is ended when it is forgotten', function()
    for _ = 1, 3 do
      slow_capture(scratch_directory(), { max_bytes_per_s = 1 })
      no_open_handles()
    end
  end)

  it('is ended when the state is closed', function()
    local dir = scratch_directory()
    local file <close> = assert(io.open(dir .. '/test.lua', 'w'))
    file:write(([[
      package.loadlib('%s/imgtool_c.so', 'luaopen_imgtool_c')()
      local device, image = require 'img.device', require 'img.image'
      local map, pipeline, sys = require 'img.map', require 'img.pipeline', require 'img.sys'
      local m = map.new(1 << 30, true)
      local file = assert(device.open(arg[1], { write = true, create = true }))
      local writer = assert(image.writer(file, { source_bytes = 1 << 30, chunk_bytes = 1 << 20,
        block_bytes = 1 << 16, logical_bytes = 512, physical_bytes = 512, hash = 'sha256',
        uuid = sys.uuid(), created_s = 0, text = '{}' }, m))
      local source = assert(device.mem(1 << 30))
      job = assert(pipeline.capture { source = source, map = m, writer = writer,
        on_read_error = 'abort', read_retries = 0, workers = 2, depth = 8, level = 1,
        max_bytes_per_s = 1 << 20 })
      print(job:wait(0.1))
      os.exit(7, true)]]):format(os.getenv 'BUILD' or 'build'))
    file:close()
    local pipe = assert(io.popen(('lua5.4 %s/test.lua %s/out 2>&1'):format(dir, dir)))
    assert.equal('false\n', pipe:read('a'))
    assert.same({ nil, 'exit', 7 }, { pipe:close() })
  end)
end)

describe('arguments of img.pipeline', function()
  after_each(no_open_handles)

  it('have no defaults but those that are said', function()
    local dir = scratch_directory()
    local source <close> = assert(device.mem(source_bytes()))
    local m <close> = map.new(SIZE, true)
    local file <close> = assert(device.open(dir .. '/x', { write = true, create = true }))
    local writer <close> = writer_on(file, m)
    local whole = with(CAPTURE, { source = source, map = m, writer = writer })
    for name in pairs(whole) do
      local t = with(whole)
      t[name] = nil
      throws(("field '%s' is missing"):format(name), pipeline.capture, t)
    end
    local function bad(name, value, message)
      throws(("field '%s' %s"):format(name, message), pipeline.capture,
        with(whole, { [name] = value }))
    end
    bad('workers', 0, 'must be 1 to 64')
    bad('workers', 65, 'must be 1 to 64')
    bad('workers', 2.0, 'must be an integer')
    bad('depth', 1, 'must be 2 to 1024')
    bad('level', 1000, 'must be')
    bad('max_bytes_per_s', -1, 'must be at least 0')
    bad('on_read_error', 'skip', "has no meaning 'skip'")
    bad('read_retries', -1, 'must be')
    bad('source', m, 'must be a device')
    bad('map', 5, 'must be a map')
    bad('writer', source, 'must be a writer')
    bad('colour', 'red', 'is unknown')
    assert.equal(0, writer:offset())
  end)

  it('of a restore are complete', function()
    local source <close> = assert(device.mem(source_bytes()))
    local file <close> = assert(device.open(make(scratch_directory(), source)))
    local img <close> = assert(image.open(file))
    local target <close> = assert(device.mem(SIZE))
    local whole = with(RESTORE, { image = img, target = target })
    for name in pairs(whole) do
      local t = with(whole)
      t[name] = nil
      throws(("field '%s' is missing"):format(name), pipeline.restore, t)
    end
    -- 0 would be everything to the C function behind it.
    throws("field 'length' must be at least 1", pipeline.restore, with(whole, { length = 0 }))
    throws("field 'free' has no meaning", pipeline.restore, with(whole, { free = 'keep' }))
    throws("field 'target_is_zero' must be a boolean", pipeline.restore,
      with(whole, { target_is_zero = 0 }))
    throws("field 'sample_percent' must be 1 to 100", pipeline.verify,
      with(VERIFY, { image = img, sample_percent = 0 }))
    assert.equal(('\0'):rep(SIZE), target:read(0, SIZE))
    target:close()
    throws('attempt to use a closed device', pipeline.restore, whole)
    throws('table expected', pipeline.restore)
  end)

  it('that do not fit each other are failures', function()
    local dir = scratch_directory()
    local short <close> = assert(device.mem(SIZE - 1))
    local m <close> = map.new(SIZE, true)
    local file <close> = assert(device.open(dir .. '/x', { write = true, create = true }))
    local writer <close> = writer_on(file, m)
    local job, message, code = pipeline.capture(
      with(CAPTURE, { source = short, map = m, writer = writer }))
    assert.is_nil(job)
    assert.is_string(message)
    assert.equal('integer', math.type(code))
    assert.is_nil(sys.open_handles().job)
  end)

  it('leave a pipe alone that a writer uses', function()
    local dir = scratch_directory()
    local script <close> = assert(io.open(dir .. '/test.lua', 'w'))
    script:write(([[
      package.loadlib('%s/imgtool_c.so', 'luaopen_imgtool_c')()
      local device, image = require 'img.device', require 'img.image'
      local m = require('img.map').new(1 << 20)
      m:set(0, 1 << 20, 'free')
      local out = assert(device.pipe(1, true))
      local writer = assert(image.writer(out, { source_bytes = 1 << 20, chunk_bytes = 1 << 20,
        block_bytes = 1 << 16, logical_bytes = 512, physical_bytes = 512, hash = 'sha256',
        uuid = '12345678-9abc-4def-8123-456789abcdef', created_s = 0, text = '{}' }, m))
      io.stderr:write(select(2, pcall(out.write, out, 0, 'x')), '\n')
      local job <close> = assert(require('img.pipeline').capture {
        source = assert(device.mem(1 << 20)), map = m, writer = writer, on_read_error = 'abort',
        read_retries = 0, workers = 1, depth = 2, level = 1 })
      assert(job:wait())
      assert(writer:finish())]]):format(os.getenv 'BUILD' or 'build'))
    script:close()
    assert.is_truthy(os.execute(('lua5.4 %s/test.lua 2>%s/err | cat >%s/x.img.zst')
      :format(dir, dir, dir)))
    local err <close> = assert(io.open(dir .. '/err'))
    assert.equal('standard output is in use\n', err:read('a'))
    local file <close> = assert(device.open(dir .. '/x.img.zst'))
    local img <close> = assert(image.open(file))
    assert.equal(1 << 20, img:facts().free_bytes)
    assert.is_true(img:check_root())
  end)
end)
