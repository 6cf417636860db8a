local disk_set = require 'imgtool.policy.disk_set'

local MiB <const> = 1 << 20

local function part(index, start, bytes, more)
  local p = { index = index, start_bytes = start, size_bytes = bytes, container = false,
    logical = false, active = false, type = '0x83', guid = '', name = '', attributes = '' }
  for key, value in pairs(more or {}) do p[key] = value end
  return p
end

local function mbr()
  return { table = 'dos', size_bytes = 100 * MiB, regions = { { offset = 0, length = 512 },
    { offset = 20 * MiB, length = 512 }, { offset = 40 * MiB, length = 512 } },
    partitions = { part(1, MiB, 10 * MiB), part(2, 20 * MiB, 50 * MiB, { container = true }),
      part(5, 21 * MiB, 10 * MiB, { logical = true }),
      part(6, 41 * MiB, 10 * MiB, { logical = true }) } }
end

local function extents(m)
  local out = {}
  for offset, length, kind in m:each() do out[#out + 1] = { offset, length, kind } end
  return out
end

describe('imgtool.policy.disk_set', function()
  it('keeps what lies before, the tables and the last MiB', function()
    local m <close>, left_out = disk_set.regions_map(mbr(), false)
    assert.same({
      { 0, MiB, 'data' }, { MiB, 19 * MiB, 'free' },
      { 20 * MiB, 512, 'data' }, { 20 * MiB + 512, 20 * MiB - 512, 'free' },
      { 40 * MiB, 512, 'data' }, { 40 * MiB + 512, 59 * MiB - 512, 'free' },
      { 99 * MiB, MiB, 'data' },
    }, extents(m))
    assert.equal(100 * MiB - 30 * MiB - m:bytes('data'), left_out)
  end)

  it('keeps all that is in no partition when asked', function()
    local m <close>, left_out = disk_set.regions_map(mbr(), true)
    assert.equal(0, left_out)
    assert.equal(30 * MiB, m:bytes('free'))
    assert.equal(70 * MiB, m:bytes('data'))
  end)

  it('leaves a partition to its own image, wherever it lies', function()
    local found = mbr()
    found.partitions = { part(1, 512, 100 * MiB - 512) }
    found.regions = { { offset = 0, length = 512 } }
    local m <close>, left_out = disk_set.regions_map(found, false)
    assert.same({ { 0, 512, 'data' }, { 512, 100 * MiB - 512, 'free' } }, extents(m))
    assert.equal(0, left_out)
  end)

  it('does not read a disk without partitions', function()
    local m <close>, left_out = disk_set.regions_map({ table = 'gpt', size_bytes = 100 * MiB,
      first_usable_bytes = MiB, partitions = {}, regions = {} }, false)
    assert.equal(2 * MiB, m:bytes('data'))
    assert.equal(98 * MiB, left_out)
  end)

  it('gives every image its UUID', function()
    local uuid = '01234567-89ab-4cde-8f01-ffffffffffff'
    assert.equal('01234567-89ab-4cde-8f01-000000000000', disk_set.image_uuid(uuid, 1))
    assert.equal('01234567-89ab-4cde-8f01-000000000001', disk_set.image_uuid(uuid, 2))
  end)

  it('says how a table differs', function()
    local function same(change)
      local now = mbr().partitions
      change(now)
      return disk_set.same_partitions(mbr().partitions, now)
    end
    assert.is_true(same(function() end))
    local cases = {
      { 'partition 6 is gone', function(t) t[4] = nil end },
      { 'partition 7 is new', function(t) t[5] = part(7, 60 * MiB, MiB) end },
      { 'the size_bytes of partition 1', function(t) t[1].size_bytes = 512 end },
      { 'the guid of partition 1 is \'x\', and was none', function(t) t[1].guid = 'x' end },
      { 'the active of partition 5', function(t) t[3].active = true end },
    }
    for _, case in ipairs(cases) do
      local ok, message = same(case[2])
      assert.is_false(ok)
      assert.equal(case[1], message:sub(1, #case[1]))
    end
    -- What a manifest leaves out is what a table says is empty.
    local entries = {}
    for i, p in ipairs(mbr().partitions) do entries[i] = disk_set.entry(p) end
    assert.is_nil(entries[1].guid)
    assert.is_true(disk_set.same_partitions(entries, mbr().partitions))
  end)

  it('R8: decides about the directory', function()
    local function decide(facts, rules)
      facts.path = 'd'
      facts.type = facts.type or 'directory'
      local action, _, word = disk_set.directory(facts, rules)
      return action or word
    end
    assert.equal('create', decide({ type = 'none' }, {}))
    assert.equal('create', decide({}, { force = true }))
    assert.equal('usage', decide({ type = 'file' }, { force = true }))
    assert.equal('refused', decide({ manifest = true }, {}))
    assert.equal('refused', decide({ state = true }, {}))
    assert.equal('replace', decide({ manifest = true }, { force = true }))
    assert.equal('replace', decide({ state = true }, { force = true }))
    assert.equal('resume', decide({ state = true }, { resume = true }))
    assert.equal('not_found', decide({}, { resume = true }))
    assert.equal('refused', decide({ manifest = true, state = true }, { resume = true }))
  end)

  it('names volumes by what people call them, each once', function()
    local function id(label) return { fs_label = label, part_name = '', model = '', serial = '',
      part_number = 0, name = '', path = '/x/y.img' } end
    assert.same({ 'Data.img.zst', 'y.img.zst', 'Data-2.img.zst', 'Data-3.img.zst' },
      disk_set.volume_files { id 'Data', id '', id 'Data', id 'Data' })
  end)
end)
