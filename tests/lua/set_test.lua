-- Sets from end to end on devices that fail on demand (device.open is replaced by one that puts a
-- device.fault over what it opens), and sets as objects.
local device = require 'img.device'
local job = require 'imgtool.job'
local json = require 'imgtool.util.json'
local lfs = require 'lfs'
local open_set = require 'imgtool.job.set'
local report = require 'imgtool.report'
local sys = require 'img.sys'

local MiB <const> = 1 << 20

local dir, quiet
local real_open = device.open

local function path(name) return dir .. '/' .. name end

local function exists(name) return lfs.attributes(path(name), 'mode') ~= nil end

local function read_file(name)
  local file <close> = assert(io.open(path(name), 'rb'))
  return file:read('a')
end

local function write_file(name, text)
  local file <close> = assert(io.open(path(name), 'wb'))
  assert(file:write(text))
end

local function entry(kind, first, count)
  return ('<BBBBBBBBI4I4'):pack(0, 0, 0, 0, kind, 0, 0, 0, first, count)
end

-- A disk of 8 MiB with two partitions of 2 MiB, at 1 and 4 MiB, that hold no file system.
local function make_disk(name)
  local mbr = ('\0'):rep(440) .. '\xef\xbe\xad\xde\0\0' .. entry(0x83, 2048, 4096)
    .. entry(0x83, 8192, 4096) .. ('\0'):rep(32) .. '\x55\xaa'
  write_file(name, mbr .. ('\0'):rep(MiB - 512) .. ('one '):rep(MiB // 2) .. ('\0'):rep(MiB)
    .. ('two '):rep(MiB // 2) .. ('\0'):rep(2 * MiB))
end

-- Open files whose path ends in `name` under a plan of faults.
local function with_fault(name, plan)
  device.open = function(where, options)
    local under, message, code = real_open(where, options)
    if not under or where:sub(-#name) ~= name then return under, message, code end
    return device.fault(under, plan)
  end
end

local function backup(more)
  local fields = { device = path 'disk', set_dir = path 'set', workers = 1 }
  for key, value in pairs(more or {}) do fields[key] = value end
  return job['backup-disk'](fields, quiet)
end

describe('a set', function()
  before_each(function()
    dir = os.tmpname()
    os.remove(dir)
    assert(lfs.mkdir(dir))
    quiet = assert(report.new { quiet = true })
    quiet.to_stderr = function() end
    make_disk 'disk'
  end)

  after_each(function()
    device.open = real_open
    quiet:close()
    os.execute(('rm -rf %q'):format(dir))
    collectgarbage()
    collectgarbage()
    assert.same({}, sys.open_handles())
  end)

  it('records bad sectors in the image and in the manifest', function()
    with_fault('/disk', { rules = { { op = 'read', action = 'fail', sticky = true,
      offset = 5 * MiB, length = 4096 } } })
    local result = assert(backup { on_read_error = 'zero', read_retries = 0 })
    assert.equal(sys.codes.bad_sectors, result.code)
    assert.matches('partition 2: 4096 bytes in 1 ranges', result.message, 1, true)
    local set = assert(open_set.open(path 'set'))
    local image = assert(set:partition(2)).image
    assert.same({ { MiB, 4096 } }, { table.unpack(image.bad_ranges) })
    assert.equal(4096, image.bad_range_bytes)
    assert.equal(0, assert(set:partition(1)).image.bad_range_bytes)
    device.open = real_open
    local checked = assert(job['verify-set']({ set_dir = path 'set' }, quiet))
    assert.equal(0, checked.code)
    assert.equal(4096, checked.bad_range_bytes)
  end)

  it('R7: is none when the source fails, and can be gone on with', function()
    with_fault('/disk', { rules = { { op = 'read', action = 'fail', sticky = true,
      offset = 5 * MiB, length = 4096 } } })
    local result, message, code = backup { read_retries = 0 }
    assert.is_nil(result)
    assert.equal(sys.codes.source_io, code)
    assert.matches('partition 2: .*the set in .* is incomplete', message)
    assert.is_false(exists 'set/backup.manifest.json')
    assert.is_true(exists 'set/part-1.img.zst')
    device.open = real_open
    result = assert(backup { resume = true })
    assert.equal(0, result.code)
    assert.is_true(result.images[2].kept)
    assert.is_false(result.images[3].kept)
    assert.is_false(exists 'set/backup.state.json')
    assert.equal(0, assert(job['verify-set']({ set_dir = path 'set' }, quiet)).code)
  end)

  -- No write of the small files may be lost: each fails once, and nobody takes the rest for a set.
  it('R7: fails when its manifest or state can\'t be written', function()
    for _, name in ipairs { 'backup.manifest.json.partial', 'backup.state.json.partial' } do
      for _, op in ipairs { 'write', 'flush' } do
        os.execute(('rm -rf %q'):format(path 'set'))
        with_fault(name, { rules = { { op = op, action = 'fail', nth = 1, sticky = true } } })
        local result, _, code = backup()
        assert.is_nil(result)
        assert.equal(sys.codes.target_io, code)
        assert.is_false(exists 'set/backup.manifest.json')
        device.open = real_open
        assert(backup { resume = name:find 'manifest' ~= nil })
        assert.equal(0, assert(job['verify-set']({ set_dir = path 'set' }, quiet)).code)
      end
    end
  end)

  it('of volumes images the others when one fails, and has the status of the worst', function()
    write_file('a', ('a'):rep(MiB))
    write_file('b', ('b'):rep(MiB))
    write_file('c', ('c'):rep(MiB))
    local fields = { volumes = { path 'a', path 'b', path 'c' }, out_dir = path 'v',
      read_retries = 0, workers = 1 }
    with_fault('/b', { rules = { { op = 'read', action = 'fail', sticky = true,
      offset = MiB // 2, length = 512 } } })
    local result = assert(job.volumes(fields, quiet))
    assert.equal(sys.codes.source_io, result.code)
    assert.equal(2, #result.images)
    assert.equal(path 'b', result.failures[1].what)
    assert.is_true(exists 'v/a.img.zst' and exists 'v/c.img.zst')
    assert.is_false(exists 'v/backup.manifest.json')
    fields.resume, fields.on_read_error = true, 'zero'
    local _, message, code = job.volumes(fields, quiet)
    assert.equal(sys.codes.refused, code)
    assert.matches('on_read_error is abort in the set', message, 1, true)
    fields.resume, fields.force = nil, true
    result = assert(job.volumes(fields, quiet))
    assert.equal(sys.codes.bad_sectors, result.code)
    assert.is_true(exists 'v/backup.manifest.json')
  end)

  it('is not begun when no manifest could describe it', function()
    local real = device.identity
    device.identity = function(dev)
      local identity = assert(real(dev))
      identity.kind = 'tape'
      return identity
    end
    local result, message = backup()
    device.identity = real
    assert.is_nil(result)
    assert.matches('source.kind: one of disk', message, 1, true)
    assert.is_false(exists 'set')
  end)

  it('R7: is none when the table was changed meanwhile', function()
    local disk = require 'img.disk'
    local real, calls = disk.read, 0
    disk.read = function(source)
      local found, message, code = real(source)
      calls = calls + 1
      if calls > 1 then found.partitions[2].size_bytes = 512 end
      return found, message, code
    end
    local result, message, code = backup()
    disk.read = real
    assert.is_nil(result)
    assert.equal(sys.codes.refused, code)
    assert.matches('its partition table was changed while it was imaged: the size_bytes of'
      .. ' partition 2', message, 1, true)
    assert.is_false(exists 'set/backup.manifest.json')
  end)

  it('says before it begins that there may be too little room', function()
    local real, warnings = sys.space_available, {}
    sys.space_available = function() return 1000 end
    quiet.warn = function(_, message) warnings[#warnings + 1] = message end
    assert(backup())
    sys.space_available = real
    assert.equal(1, #warnings)
    assert.matches('up to %S+ MiB will be written', warnings[1])
  end)

  it('finds a partition by what people call it', function()
    assert(backup())
    local set = assert(open_set.open(path 'set'))
    local two = assert(set:partition('2'))
    assert.equal(4 * MiB, two.start_bytes)
    two.guid, two.mount_point = '0fc63daf-8483-4772-8e79-3d69d8477de4', '/home'
    two.file_system = { label = 'Data', uuid = 'ab-cd' }
    set.manifest.partitions[1].name = 'boot'
    assert.equal(two, set:partition('0FC63DAF-8483-4772-8E79-3D69D8477DE4'))
    assert.equal(two, set:partition('/home'))
    assert.equal(two, set:partition('Data'))
    assert.equal(two, set:partition('ab-cd'))
    assert.equal(1, assert(set:partition('boot')).index)
    local found, message, code = set:partition('other')
    assert.is_nil(found)
    assert.equal(sys.codes.not_found, code)
    assert.matches("no partition 'other'; it has: 1 boot; 2 Data 0fc63daf", message, 1, true)
    set.manifest.partitions[1].file_system = { label = 'Data' }
    found, message, code = set:partition('Data')
    assert.is_nil(found)
    assert.equal(sys.codes.usage, code)
    assert.matches('is more than one partition', message, 1, true)
  end)

  it('opens its images, and those alone', function()
    assert(backup())
    local set = assert(open_set.open(path 'set'))
    local opened <close> = assert(set:open_image(assert(set:partition(1)).image))
    local source <close> = assert(opened:device())
    assert.equal('one one ', source:read(0, 8))
    local found = assert(set:check_table())
    assert.equal('deadbeef', found.id)
    local other = assert(set:partition(2)).image
    other.root = ('0'):rep(64)
    local nothing, message, code = set:open_image(other)
    assert.is_nil(nothing)
    assert.equal(sys.codes.damaged, code)
    assert.matches('its root is', message, 1, true)
  end)

  it('keeps texts of hostile disks out of its manifest', function()
    assert(backup())
    local text = read_file 'set/backup.manifest.json'
    assert.is_table(json.decode(text))
    assert.is_nil(text:find('[\0-\9\11-\31]'))
  end)
end)
