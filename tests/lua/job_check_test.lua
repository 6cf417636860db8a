local check = require 'imgtool.job.check'
local schema = require 'imgtool.job.schema'

local UUID = '12345678-9abc-4def-8123-456789abcdef'

local function refused(job)
  local checked, message = check.job(job)
  assert.is_nil(checked)
  return message
end

local function image(fields)
  fields.source, fields.target = fields.source or 'a', fields.target or 'b'
  return fields
end

describe('imgtool.job.schema', function()
  it('has whole rows', function()
    local TYPES = { choice = true, path = true, text = true, boolean = true, integer = true,
      size = true, time = true, uuid = true, paths = true, rules = true, ['function'] = true }
    local seen = {}
    for _, field in ipairs(schema.fields) do
      assert.is_nil(seen[field.name], field.name)
      seen[field.name] = true
      assert.is_true(TYPES[field.type], field.name)
      for _, action in ipairs(schema.actions) do
        if field.actions[action.name] then
          assert.is_string(schema.of(field.doc, action.name), field.name)
        end
      end
      if field.default ~= nil then
        assert.equal(field.default, check.value(field, field.default), field.name)
      end
    end
  end)

  it('has an option for each field that a command line can say', function()
    for _, action in ipairs(schema.actions) do
      for _, field in ipairs(schema.fields_of(action.name)) do
        local on_command_line = field.option and schema.of(field.option, action.name)
          or field.flags
        local only_in_files = field.name == 'action' or field.type == 'function'
        assert.equal(not only_in_files, on_command_line ~= nil, field.name)
      end
    end
  end)
end)

describe('imgtool.job.check', function()
  it('takes no list with gaps or names: what is behind them would be lost', function()
    local function volumes(list)
      return { action = 'volumes', out_dir = 'b', volumes = list }
    end
    assert.same({ 'a', 'b' }, assert(check.job(volumes { 'a', 'b' })).volumes)
    for _, list in ipairs { { 'a', nil, 'b' }, { 'a', x = 'b' }, { [2] = 'b' } } do
      assert.matches('without gaps', refused(volumes(list)), 1, true)
    end
    assert.matches('without gaps', refused(image { exclude = { 'swap', nil, 'swap' } }), 1, true)
  end)

  it('fills in the defaults', function()
    local job = assert(check.job(image {}))
    assert.equal('image', job.action)
    assert.equal('used_only', job.mode)
    assert.equal(262144, job.block_size)
    assert.equal(536870912, job.chunk_size)
    assert.equal(3, job.level)
    assert.equal('abort', job.on_read_error)
    assert.is_false(job.write_through)
    assert.is_false(job.force)
    assert.is_nil(job.workers)
    assert.same({ source = true, target = true }, job.given)
  end)

  it('takes sizes as numbers and as texts', function()
    assert.equal(1048576, check.job(image { block_size = '1M' }).block_size)
    assert.equal(1048576, check.job(image { block_size = 1048576 }).block_size)
    assert.equal(1048576, check.job(image { block_size = 1048576.0 }).block_size)
  end)

  it('names an unknown key, and the one that was meant', function()
    assert.equal("job.chunksize: no such field of the action 'image', did you mean 'chunk_size'?",
      refused(image { chunksize = 1 }))
    assert.equal("job.zzz: no such field of the action 'image'", refused(image { zzz = 1 }))
  end)

  it('keeps the fields of other actions out', function()
    assert.matches("job.chunk_size: no such field of the action 'verify'",
      refused { action = 'verify', source = 'a', chunk_size = 1 }, 1, true)
    assert.matches("job.yes_destroy: no such field of the action 'image'",
      refused(image { yes_destroy = 'sda' }), 1, true)
  end)

  it('says what is missing', function()
    assert.equal('job.source: is missing', refused { target = 'b' })
    assert.equal('job.target: is missing', refused { source = 'b' })
    assert.matches('a table is expected', refused('x'), 1, true)
  end)

  it('knows the actions', function()
    assert.equal("job.action: 'imgae' is none of image, verify, restore, export, repair,"
      .. ' backup-disk, volumes, verify-set, restore-set, restore-physical, clone,'
      .. " did you mean 'image'?", refused { action = 'imgae' })
  end)

  it('checks types and limits', function()
    local cases = {
      { { level = 20 }, 'job.level: 20 is too large, the most is 19' },
      { { level = 0 }, 'job.level: 0 is too small, the least is 1' },
      { { level = 3.5 }, "job.level: a whole number is expected, not '3.5'" },
      { { level = 'x' }, "job.level: a whole number is expected, not 'x'" },
      { { level = {} }, 'job.level: a table has no place here' },
      { { workers = 65 }, 'job.workers: 65 is too large, the most is 64' },
      { { pipeline_depth = 1 }, 'job.pipeline_depth: 1 is too small, the least is 2' },
      { { block_size = 32768 }, 'job.block_size: 32K is too small, the least is 64K' },
      { { block_size = '32M' }, 'job.block_size: 32M is too large, the most is 16M' },
      { { block_size = 100000 }, 'job.block_size: 100000 is no power of two' },
      { { block_size = 'big' }, "job.block_size: 'big' is no size: digits and K, M, G or T"
        .. ' (powers of 1024) are' },
      { { block_size = 65536.5 }, 'job.block_size: a whole number of bytes, or a text such as 512M,'
        .. ' is expected' },
      { { chunk_size = '5G' }, 'job.chunk_size: 5G is too large, the most is 4G' },
      { { hash = 'md5' }, "job.hash: 'md5' is none of xxh3-128, sha256" },
      { { mode = 'used-only' }, "job.mode: 'used-only' is none of used_only, all_blocks, did you"
        .. " mean 'used_only'?" },
      { { force = 1 }, 'job.force: true or false is expected' },
      { { force = 'true' }, 'job.force: true or false is expected' },
      { { source = '' }, 'job.source: a path is expected' },
      { { source = 'a\0b' }, 'job.source: a path is expected' },
      { { source = 7 }, 'job.source: a path is expected' },
      { { tune = 'climb' }, 'job.tune: a function is expected' },
      { { created = 'today' }, "job.created: 'today' is no time: seconds since 1970 or"
        .. ' YYYY-MM-DDTHH:MM:SSZ are' },
      { { created = -1 }, 'job.created: a time is expected' },
      { { created = 253402300800 }, 'job.created: a time is expected' },
      { { uuid = 'x' }, "job.uuid: 'x' is no UUID" },
      { { uuid = UUID .. '0' }, "job.uuid: '" .. UUID .. "0' is no UUID" },
      { { uuid = '00000000-0000-0000-0000-000000000000' },
        'job.uuid: the UUID of zeros names nothing' },
    }
    for _, case in ipairs(cases) do assert.equal(case[2], refused(image(case[1]))) end
  end)

  it('takes times and UUIDs in their forms', function()
    assert.equal(1709164800, check.job(image { created = '2024-02-29T00:00:00Z' }).created)
    assert.equal(5, check.job(image { created = 5 }).created)
    assert.equal(UUID, check.job(image { uuid = UUID:upper() }).uuid)
  end)

  it('knows all mistakes of a job, and what was meant', function()
    local checked, mistakes = check.examine { levl = 1, sorce = 'x', target = 'b', hash = 'sha25',
      mode = 'zzz', level = 'x' }
    local found = {}
    for i, mistake in ipairs(mistakes) do found[i] = { mistake.field, mistake.nearest } end
    assert.same({ { 'levl', 'level' }, { 'sorce', 'source' }, { 'source' }, { 'mode' }, { 'level' },
      { 'hash', 'sha256' } }, found)
    -- What is wrong has no value, not its default; the rest is as in a good job.
    assert.is_nil(checked.level)
    assert.equal('b', checked.target)
    assert.equal(262144, checked.block_size)
    assert.same({}, select(2, check.examine(image {})))
    assert.equal('image', select(2, check.examine { action = 'imgae' })[1].nearest)
    assert.equal('job: a table is expected', select(2, check.examine('x'))[1].message)
  end)
end)
