-- Jobs from end to end, on devices that fail on demand: device.open is replaced by one that puts a
-- device.fault over what it opens.
local device = require 'img.device'
local image = require 'img.image'
local job = require 'imgtool.job'
local lfs = require 'lfs'
local report = require 'imgtool.report'
local sys = require 'img.sys'
local text = require 'imgtool.report.text'

local UUID = '01234567-89ab-4cde-8f01-23456789abcd'
local KiB <const>, MiB <const> = 1 << 10, 1 << 20

local dir, quiet
local real_open = device.open

local function path(name) return dir .. '/' .. name end

local function read_file(name)
  local file <close> = assert(io.open(path(name), 'rb'))
  return file:read('a')
end

local function exists(name) return lfs.attributes(path(name), 'mode') ~= nil end

-- Blocks that don't compress, zeros, and blocks that do.
local function make_source(name, size)
  local parts, state = {}, 12345
  for i = 1, size // 4096 do
    if i % 7 == 0 then
      parts[i] = ('\0'):rep(4096)
    elseif i % 3 == 0 then
      parts[i] = ('text '):rep(820):sub(1, 4096)
    else
      local words = {}
      for w = 1, 512 do
        state = (state * 6364136223846793005 + 1442695040888963407)
        words[w] = ('<i8'):pack(state)
      end
      parts[i] = table.concat(words)
    end
  end
  local file <close> = assert(io.open(path(name), 'wb'))
  assert(file:write(table.concat(parts)))
end

-- Open devices whose path ends in `name` under a fault plan; the plan may be changed later.
local function with_fault(name, plan)
  device.open = function(where, options)
    local under, message, code = real_open(where, options)
    if not under or where:sub(-#name) ~= name or where:sub(1, #dir) ~= dir then
      return under, message, code
    end
    return device.fault(under, plan)
  end
end

-- The n-th operation and all after it fail.
local function failing(op, n)
  return { rules = { { op = op, action = 'fail', nth = n, sticky = true } } }
end

local function capture(fields)
  local fixed = { source = path 'source', target = path 'x.zst', mode = 'all_blocks',
    chunk_size = 256 * KiB, block_size = 64 * KiB, created = 1000000000, uuid = UUID, workers = 2,
    pipeline_depth = 4 }
  for key, value in pairs(fields or {}) do fixed[key] = value end
  return job.image(fixed, quiet)
end

local function remove_all()
  for name in lfs.dir(dir) do
    if name:sub(1, 1) ~= '.' and name ~= 'source' then os.remove(path(name)) end
  end
end

describe('imgtool.job', function()
  setup(function()
    dir = os.tmpname()
    os.remove(dir)
    assert(lfs.mkdir(dir))
    dir = assert(sys.realpath(dir))
    make_source('source', 2 * MiB)
  end)
  teardown(function()
    remove_all()
    os.remove(path 'source')
    lfs.rmdir(dir)
  end)
  before_each(function() quiet = assert(report.new { quiet = true }) end)
  after_each(function()
    device.open = real_open
    quiet:close()
    remove_all()
    collectgarbage()
    collectgarbage()
    assert.same({}, sys.open_handles())
  end)

  it('images, verifies, restores and exports', function()
    local made = assert(capture())
    assert.equal(0, made.code)
    assert.equal(2 * MiB, made.data_bytes + made.zero_bytes)
    assert.is_true(made.zero_bytes >= 0 and made.resumed_at == 0)
    assert.equal(UUID, made.uuid)
    local checked = assert(job.verify({ source = made.image }, quiet))
    assert.equal(0, checked.code)
    assert.equal(made.root, checked.root)
    assert.equal(0, assert(job.restore({ source = made.image, target = path 'raw' }, quiet)).code)
    assert.equal(read_file 'source', read_file 'raw')
    local part = assert(job.export({ source = made.image, target = path 'part', offset = 5000,
      length = 70000 }, quiet))
    assert.equal(70000, part.length)
    assert.equal(read_file 'source':sub(5001, 75000), read_file 'part')
  end)

  it('gives nil, message, code for what can not be done', function()
    local cases = {
      { 'usage', { level = 99 } }, { 'usage', { nothing = 1 } }, { 'usage', { source = '-' } },
      { 'not_found', { source = path 'none' } }, { 'usage', { source = dir } },
      { 'not_found', { target = path 'none/x' } }, { 'usage', { chunk_size = 100000 } },
    }
    for _, case in ipairs(cases) do
      local result, message, code = capture(case[2])
      assert.is_nil(result)
      assert.is_string(message)
      assert.equal(sys.codes[case[1]], code, message)
    end
    assert.is_false(exists 'x.zst')
    assert.is_false(exists 'x.zst.partial')
  end)

  -- A ZFS volume says its block size, 128 KiB; HEAD takes 64 KiB at most.
  it('images a device with larger physical sectors than HEAD takes', function()
    local source <close> = assert(real_open(path 'source'))
    local methods = getmetatable(source).__index
    local info = methods.info
    methods.info = function(dev)
      local found = info(dev)
      found.physical_bytes = 128 * KiB
      return found
    end
    finally(function() methods.info = info end)
    assert(capture { dry_run = true })
    local made = assert(capture())
    local file <close> = assert(real_open(made.image))
    local head = assert(image.read_head(file))
    assert.equal(64 * KiB, head.physical_bytes)
    assert.matches('"physical_bytes":131072', head.text, 1, true)
  end)

  -- R9: what could not be read is lost with a table, unless the run would have ended there.
  it('repairs, and never says that nothing is lost when it does not know', function()
    local function repaired(policy)
      remove_all()
      local made = assert(capture { on_read_error = policy })
      local file <close> = assert(io.open(path 'cut', 'wb'))
      -- In a chunk, most of which is there.
      assert(file:write(read_file 'x.zst':sub(1, made.file_bytes * 60 // 100)))
      file:close()
      return assert(job.repair({ source = path 'cut', target = path 'new' }, quiet))
    end
    local result = repaired 'zero'
    assert.equal(sys.codes.damaged, result.code)
    assert.equal(1, result.bad_unknown)
    assert.matches('the tables of 1 chunks are lost', result.message, 1, true)
    result.lost_bytes = 0
    assert.is_nil(text.result(result):find('nothing is lost', 1, true))
    result = repaired 'abort'
    assert.equal(0, result.bad_unknown)
    assert.is_nil(result.bad_seen)
    assert.is_nil(result.message:find('tables', 1, true))
  end)

  it('estimates what can be read, and says so when nothing can', function()
    local plan = assert(capture { dry_run = true })
    assert.equal(2 * MiB, plan.sampled_bytes)
    assert.is_true(plan.estimated_seconds > 0)
    assert.is_false(exists 'x.zst' or exists 'x.zst.partial')
    local made = assert(capture())
    assert.is_true(math.abs(plan.estimated_bytes - made.file_bytes) < made.file_bytes // 4)
    remove_all()
    -- Bad sectors are the affair of the job, not of its estimate.
    with_fault('source', { rules = { { op = 'read', action = 'fail', offset = 0, length = MiB,
      sticky = true } } })
    plan = assert(capture { dry_run = true })
    assert.is_true(plan.sampled_bytes > 0 and plan.sampled_bytes <= MiB)
    assert.is_true(plan.estimated_bytes > 0)
    with_fault('source', { rules = { { op = 'read', action = 'fail', offset = 0, length = 2 * MiB,
      sticky = true } } })
    plan = assert(capture { dry_run = true })
    assert.is_false(exists 'x.zst' or exists 'x.zst.partial')
    assert.equal(0, plan.sampled_bytes)
    assert.is_nil(plan.estimated_bytes)
    assert.is_nil(plan.estimated_seconds)
    assert.equal(0, plan.code)
  end)

  it('gives the same image for any number of workers and any depth', function()
    assert(capture())
    local expected = read_file 'x.zst'
    for _, how in ipairs { { 1, 2 }, { 1, 64 }, { 3, 5 }, { 8, 32 } } do
      remove_all()
      assert(capture { workers = how[1], pipeline_depth = how[2] })
      assert.is_true(read_file 'x.zst' == expected)
    end
  end)

  describe('on a source that fails', function()
    it('aborts with source_io, and can be resumed', function()
      assert(capture())
      local whole = read_file 'x.zst'
      os.remove(path 'x.zst')
      with_fault('source', { rules = { { op = 'read', action = 'fail', offset = 1300000, length = 1,
        sticky = true } } })
      local result, message, code = capture()
      assert.is_nil(result)
      assert.equal(sys.codes.source_io, code, message)
      assert.matches('source', message, 1, true)
      assert.matches('x.zst.partial is incomplete, --resume goes on with it', message, 1, true)
      assert.is_false(exists 'x.zst')
      device.open = real_open
      local resumed = assert(capture { resume = true })
      assert.is_true(resumed.resumed_at >= MiB)
      assert.is_true(read_file 'x.zst' == whole)
    end)

    it('records what is bad when asked to go on', function()
      with_fault('source', { rules = { { op = 'read', action = 'fail', offset = 1300480,
        length = 1024, sticky = true } } })
      local result = assert(capture { on_read_error = 'zero', read_retries = 0 })
      assert.equal(sys.codes.bad_sectors, result.code)
      assert.equal(1, result.bad_range_count)
      assert.is_true(result.bad_range_bytes >= 1024 and result.bad_range_bytes <= 4096)
      device.open = real_open
      local restored = assert(job.restore({ source = path 'x.zst', target = path 'raw',
        on_read_error = 'zero' }, quiet))
      assert.equal(sys.codes.bad_sectors, restored.code)
      assert.equal(result.bad_range_bytes, restored.loss_bytes)
      local bad = restored.losses[1]
      local want = read_file 'source'
      want = want:sub(1, bad.offset) .. ('\0'):rep(bad.length)
        .. want:sub(bad.offset + bad.length + 1)
      assert.is_true(read_file 'raw' == want)
    end)

    it('tries again as often as it was told', function()
      -- How many reads must fail before a range is given up.
      local function bad_after(retries, times)
        remove_all()
        local rules = {}
        for n = 1, times do
          rules[n] = { op = 'read', action = 'fail', offset = 1300480, length = 1, nth = n }
        end
        with_fault('source', { rules = rules })
        local result = assert(capture { on_read_error = 'zero', read_retries = retries })
        return result.bad_range_bytes
      end
      local function endured(retries)
        local times = 0
        while bad_after(retries, times + 1) == 0 do times = times + 1 end
        return times
      end
      local none, some = endured(0), endured(4)
      assert.is_true(some >= none + 4, ('%d without, %d with 4 retries'):format(none, some))
    end)
  end)

  describe('on a target that fails', function()
    -- Fail the n-th write, then the n-th flush, for every n until the job succeeds.
    for _, op in ipairs { 'write', 'flush' } do
      it('R7: at any ' .. op .. ', gives no image its name, and resumes to the same', function()
        assert(capture())
        local whole = read_file 'x.zst'
        local n, last = 0, nil
        repeat
          n = n + 1
          remove_all()
          with_fault('.partial', failing(op, n))
          local result, message, code = capture()
          device.open = real_open
          if not result then
            assert.equal(sys.codes.target_io, code, message)
            assert.is_false(exists 'x.zst')
            assert.is_true(exists 'x.zst.partial')
            last = assert(capture { resume = true })
          end
          assert.is_true(read_file 'x.zst' == whole, op .. ' ' .. n)
        until result
        assert.is_not_nil(last)
        assert.is_true(n > 1)
      end)

      it('R7: at any ' .. op .. ' of a restore, never gives the file its name', function()
        assert(capture())
        local n, failed = 0, 0
        repeat
          n = n + 1
          os.remove(path 'raw')
          os.remove(path 'raw.partial')
          with_fault('.partial', failing(op, n))
          local result, message, code = job.restore({ source = path 'x.zst', target = path 'raw',
            workers = 2, pipeline_depth = 4 }, quiet)
          device.open = real_open
          if not result then
            failed = failed + 1
            assert.equal(sys.codes.target_io, code, message)
            assert.is_false(exists 'raw')
          end
        until result
        assert.is_true(failed > 0)
        assert.is_true(read_file 'raw' == read_file 'source')
      end)
    end
  end)

  describe('on an image that fails', function()
    it('R6: verify and restore say so at any read', function()
      assert(capture())
      for _, run in ipairs {
        function() return job.verify({ source = path 'x.zst' }, quiet) end,
        function() return job.restore({ source = path 'x.zst', target = path 'raw', force = true },
          quiet) end,
      } do
        local n, failed = 0, 0
        repeat
          n = n + 1
          with_fault('x.zst', failing('read', n))
          local result = run()
          device.open = real_open
          local good = result and result.code == 0
          if not good then failed = failed + 1 end
        until good or n > 500
        assert.is_true(n <= 500)
        assert.is_true(failed > 5)
      end
      assert.is_true(read_file 'raw' == read_file 'source')
    end)
  end)

  it('R7: --verify-after takes what was lost for zeros, and nothing else', function()
    local write = require 'imgtool.job.write'
    local real = write.compare
    local function spoil(name, offset)
      local file <close> = assert(io.open(path(name), 'r+b'))
      file:seek('set', offset)
      file:write('damage')
    end
    assert(capture())
    local lost, whole
    do
      local file <close> = assert(device.open(path 'x.zst'))
      local opened <close> = assert(image.open(file))
      local entries = assert(opened:chunk(1)).entries
      lost, whole = entries[1], entries[2]
    end
    spoil('x.zst', lost.file_offset + lost.stored // 2)
    -- What is damaged on the target before it is read back; where differences are found.
    for at, found in pairs { [0] = false, [lost.offset] = lost.offset,
      [whole.offset + 5] = whole.offset } do
      write.compare = function(c, part)
        if found then spoil('raw.partial', at) end
        local compared = real(c, part)
        assert.equal(found and 1 or 0, compared.loss_count)
        if found then assert.equal(found, compared.losses[1].offset) end
        return compared
      end
      local result, message, code = job.restore({ source = path 'x.zst', target = path 'raw',
        on_read_error = 'zero', verify_after = true, force = true }, quiet)
      write.compare = real
      assert.equal(not found, exists 'raw')
      os.remove(path 'raw')
      if found then
        assert.equal(sys.codes.target_io, code)
        assert.matches('raw%.partial does not hold what was written: 65536 bytes in 1 places',
          message)
      else
        assert.equal(sys.codes.damaged, result.code)
        assert.equal(lost.offset, result.losses[1].offset)
        assert.equal(0, result.verified.code)
      end
    end
  end)

  -- What was written is damaged after the writer was done, before it is read back.
  it('checks an image before it gets its name', function()
    local verify = require 'imgtool.job.verify'
    local real = verify.image
    verify.image = function(where, how)
      local file <close> = assert(io.open(where, 'r+b'))
      file:seek('set', 300000)
      file:write('damage')
      file:close()
      return real(where, how)
    end
    local result, message, code = capture { verify = 'full' }
    verify.image = real
    assert.is_nil(result)
    assert.equal(sys.codes.damaged, code)
    assert.matches('does not verify, and stays', message, 1, true)
    assert.is_false(exists 'x.zst')
    assert.is_true(exists 'x.zst.partial')
  end)
end)
