local json = require 'imgtool.util.json'
local manifest = require 'imgtool.job.manifest'
local sys = require 'img.sys'

local function image(file, bytes, n)
  return {
    file = file, file_bytes = 1000, uuid = ('01234567-89ab-4cde-8f01-%012x'):format(n),
    root = ('ab'):rep(32), source_bytes = bytes, map = { kind = 'used' }, data_bytes = bytes,
    zero_bytes = 0, free_bytes = 0, bad_bytes = 0, bad_range_bytes = 0,
    bad_range_count = 0,
    bad_ranges = json.array {}, finished = '2026-01-02T03:04:05Z',
  }
end

local function partition(index, start, bytes, more)
  local p = { index = index, type = '0x83', active = false, logical = false, container = false,
    start_bytes = start, size_bytes = bytes }
  for key, value in pairs(more or {}) do p[key] = value end
  if not p.container then p.image = image(('part-%d.img.zst'):format(index), bytes, index + 1) end
  return p
end

local MiB <const> = 1 << 20

local function disk_set()
  return {
    format = 'imgtool-set', version = 1, kind = 'disk',
    uuid = '01234567-89ab-4cde-8f01-000000000000', tool = 'imgtool 1', host = 'vm',
    started = '2026-01-02T03:04:05Z', finished = '2026-01-02T03:04:06Z', snapshot = 'none',
    source = { path = '/dev/sda', kind = 'disk', serial = 'S', size_bytes = 100 * MiB,
      logical_bytes = 512, physical_bytes = 4096 },
    table = { type = 'dos', id = 'deadbeef', unallocated = false },
    regions = image('disk.img.zst', 100 * MiB, 1),
    partitions = json.array {
      partition(1, MiB, 10 * MiB, { active = true, mount_point = '/', file_system = {
        type = 'ext4', label = 'Root' } }),
      partition(2, 20 * MiB, 50 * MiB, { container = true }),
      partition(5, 21 * MiB, 5 * MiB, { logical = true }),
      partition(6, 30 * MiB, 5 * MiB, { logical = true }),
      partition(3, 80 * MiB, MiB),
    },
  }
end

local function volume_set()
  local m = disk_set()
  m.kind, m.source, m.table, m.regions, m.partitions = 'volumes', nil, nil, nil, nil
  m.volumes = json.array { { index = 1, image = image('a.img.zst', MiB, 1), source = {
    path = '/dev/sdb1', kind = 'partition', size_bytes = MiB, logical_bytes = 512,
    physical_bytes = 512 } } }
  return m
end

local function decode(m) return manifest.decode(json.encode(m)) end

describe('imgtool.job.manifest', function()
  it('decodes what it encodes', function()
    for _, make in ipairs { disk_set, volume_set } do
      local text = manifest.encode(make())
      assert.equal('\n', text:sub(-1))
      local m = assert(manifest.decode(text))
      assert.same(json.decode(json.encode(make())), json.decode(json.encode(m)))
      assert.equal(text, manifest.encode(m))
    end
  end)

  it('keeps sizes exact that a float rounds', function()
    local m = disk_set()
    local huge = (1 << 62) + 1
    m.source.size_bytes, m.regions.source_bytes, m.regions.free_bytes = huge, huge, huge - MiB
    m.regions.data_bytes = MiB
    local last = partition(3, huge - MiB, MiB)
    m.partitions[5] = last
    local text = manifest.encode(m)
    assert.matches('"size_bytes":"4611686018427387905"', text, 1, true)
    local back = assert(manifest.decode(text))
    assert.equal(huge, back.source.size_bytes)
    assert.equal(huge - MiB, back.partitions[5].start_bytes)
    assert.equal('integer', math.type(back.partitions[5].start_bytes))
    -- As a number it has been rounded by the time it is here.
    assert.is_nil(manifest.decode((text:gsub('"(4611686018427387905)"', '%1'))))
    -- A text where a number is exact is no second way to say it.
    assert.is_nil(manifest.decode((manifest.encode(disk_set()):gsub('"size_bytes":1048576',
      '"size_bytes":"1048576"'))))
  end)

  it('throws at what it would not decode', function()
    local m = disk_set()
    m.partitions[1].image.file = '../x'
    assert.has_error(function() manifest.encode(m) end)
  end)

  -- A change to a good manifest, and what is refused.
  local CASES = {
    { 'format: ', nil, function(m) m.format = nil end },
    { 'kind', 'damaged', function(m) m.kind = 'tape' end },
    { 'uuid', 'damaged', function(m) m.uuid = m.uuid:upper():gsub('0', 'A') end },
    { 'uuid', 'damaged', function(m) m.uuid = nil end },
    { 'started', 'damaged', function(m) m.started = '2026-02-31T00:00:00Z' end },
    { 'started', 'damaged', function(m) m.started = '5' end },
    { 'snapshot', 'damaged', function(m) m.snapshot = 'vss' end },
    { 'extra: no such member', 'damaged', function(m) m.extra = true end },
    { 'source.path', 'damaged', function(m) m.source.path = 'a\nb' end },
    { 'source.path', 'damaged', function(m) m.source.path = ('x'):rep(1025) end },
    { 'source.kind', 'damaged', function(m) m.source.kind = 'tape' end },
    { 'source.size_bytes', 'damaged', function(m) m.source.size_bytes = -1 end },
    { 'source.size_bytes', 'damaged', function(m) m.source.size_bytes = '9999999999999999999' end },
    { 'source.size_bytes', 'damaged', function(m) m.source.size_bytes = 1e300 end },
    { 'source.logical_bytes', 'damaged', function(m) m.source.logical_bytes = 0 end },
    { 'source.logical_bytes', 'damaged', function(m) m.source.logical_bytes = 520 end },
    { 'table.type', 'damaged', function(m) m.table.type = 'sun' end },
    { 'table', 'damaged', function(m) m.table = 'gpt' end },
    { 'regions: is missing', 'damaged', function(m) m.regions = nil end },
    { 'regions', 'damaged', function(m) m.table.type = 'none' end },
    { 'regions.source_bytes', 'damaged', function(m) m.regions.source_bytes = MiB end },
    { 'regions: its bytes', 'damaged', function(m) m.regions.data_bytes = MiB end },
    { 'partitions', 'damaged', function(m) m.partitions = { a = 1 } end },
    { 'partitions[1].index', 'damaged', function(m) m.partitions[1].index = 0 end },
    { 'partitions[3].index', 'damaged', function(m) m.partitions[3].index = 1 end },
    { 'partitions[1].active', 'damaged', function(m) m.partitions[1].active = 1 end },
    { 'partitions[1].attributes', 'damaged', function(m) m.partitions[1].attributes = '7' end },
    { 'partitions[1]: lies outside', 'damaged', function(m)
      m.partitions[1].size_bytes = math.maxinteger // 1024
    end },
    { 'partitions[2]: overlaps partition 1', 'damaged', function(m)
      m.partitions[2].start_bytes = 5 * MiB
    end },
    { 'partitions[4]: overlaps partition 5', 'damaged', function(m)
      m.partitions[4].start_bytes = 25 * MiB
    end },
    { 'partitions[4]: is logical', 'damaged', function(m)
      m.partitions[4].start_bytes = 68 * MiB
    end },
    { 'partitions[5]: overlaps partition 2', 'damaged', function(m)
      m.partitions[5].start_bytes = 60 * MiB
    end },
    { 'partitions[1].image: is missing', 'damaged', function(m) m.partitions[1].image = nil end },
    { 'partitions[2].image: a container', 'damaged', function(m)
      m.partitions[2].image = image('x.img.zst', 50 * MiB, 9)
    end },
    { 'partitions[1].image.root', 'damaged', function(m) m.partitions[1].image.root = 'ab' end },
    { 'partitions[1].image.map.kind', 'damaged', function(m)
      m.partitions[1].image.map.kind = 'some'
    end },
    { 'partitions[1].image.bad_ranges', 'damaged', function(m)
      m.partitions[1].image.bad_ranges = { { 0, 512 } }
    end },
    { 'partitions[1].image.bad_ranges[1]', 'damaged', function(m)
      local i = m.partitions[1].image
      i.bad_range_bytes, i.bad_range_count = 512, 1
      i.bad_ranges = { { 10 * MiB, 512 } }
    end },
    { 'partitions[1].image.bad_range_bytes', 'damaged', function(m)
      local i = m.partitions[1].image
      i.bad_range_bytes, i.bad_range_count, i.bad_ranges = 1024, 1, { { 0, 512 } }
    end },
    { 'partitions[1].image.bad_ranges[2]', 'damaged', function(m)
      local i = m.partitions[1].image
      i.bad_range_bytes, i.bad_range_count, i.bad_ranges = 1024, 2, { { 512, 512 }, { 0, 512 } }
    end },
    { 'partitions[1].image.bad_ranges[1]', 'damaged', function(m)
      m.partitions[1].image.bad_ranges = { { 0 } }
    end },
  }

  it('names what it refuses', function()
    for i, case in ipairs(CASES) do
      local m = disk_set()
      case[3](m)
      local got, message, code = decode(m)
      assert.is_nil(got, i)
      if case[2] then
        assert.equal(case[1], message:sub(1, #case[1]), ('case %d: %s'):format(i, message))
        assert.equal(sys.codes[case[2]], code, i)
      end
    end
  end)

  it('takes plain file names only', function()
    for _, name in ipairs { '', '.', '..', '../x', 'a/b', '/x', '.hidden', 'a\0b', 'a\nb',
      ('x'):rep(256), 'backup.manifest.json', 'backup.state.json', 'disk.img.zst', 5 } do
      local m = disk_set()
      m.partitions[1].image.file = name
      local got, message = decode(m)
      assert.is_nil(got, name)
      assert.equal('partitions[1].image.file:', message:sub(1, 25))
    end
  end)

  it('refuses other versions and other texts', function()
    local m = disk_set()
    m.version = 2
    local _, message, code = decode(m)
    assert.equal('version 2 is not supported', message)
    assert.equal(sys.codes.format, code)
    for _, text in ipairs { '', '[]', '3', '{', '{"format":"x"}', ('['):rep(100000) } do
      _, message, code = manifest.decode(text)
      assert.is_string(message)
      assert.equal(sys.codes.format, code, text:sub(1, 20))
    end
    _, message, code = manifest.decode((' '):rep(manifest.MAX_BYTES + 1))
    assert.matches('more than', message)
    assert.equal(sys.codes.format, code)
  end)

  it('survives any change of a byte', function()
    local text = manifest.encode(disk_set())
    local seed = 7
    for _ = 1, 2000 do
      seed = (seed * 1103515245 + 12345) & 0x7fffffff
      local at = seed % #text + 1
      local changed = text:sub(1, at - 1) .. string.char(seed >> 16 & 0xff) .. text:sub(at + 1)
      local ok, got, message = pcall(manifest.decode, changed)
      assert.is_true(ok, tostring(got))
      assert.is_true(got ~= nil or type(message) == 'string')
    end
  end)

  it('makes texts of a disk fit', function()
    assert.is_nil(manifest.text '')
    assert.is_nil(manifest.text(nil))
    assert.equal('a?b', manifest.text 'a\nb')
    assert.equal('a?b', manifest.text 'a\255b')
    assert.equal(1024, #manifest.text(('ä'):rep(600)))
  end)
end)
