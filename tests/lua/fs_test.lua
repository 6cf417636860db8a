local device = require 'img.device'
local fs = require 'img.fs'
local map = require 'img.map'
local sys = require 'img.sys'

local MiB = 1024 * 1024

local function run(command)
  local pipe <close> = assert(io.popen('PATH=$PATH:/usr/sbin:/sbin; ' .. command .. ' 2>&1'))
  return pipe:read('a')
end

-- A file of a size, with what a command makes of it.
local function volume(size, command)
  local path = os.tmpname()
  finally(function() os.remove(path) end)
  run(('truncate -s %d %s'):format(size, path))
  if command then run(command:format(path)) end
  return path
end

describe('img.fs', function()
  after_each(function()
    collectgarbage()
    collectgarbage()
    assert.same({}, sys.open_handles())
  end)

  it('knows ext4', function()
    local path = volume(16 * MiB, 'mkfs.ext4 -q -b 1024 -L tiny %s')
    local dev <close> = assert(device.open(path))
    local report = assert(fs.probe(dev))
    assert.equal('ext4', report.type)
    assert.equal('tiny', report.label)
    assert.matches('^%x+%-%x+%-%x+%-%x+%-%x+$', report.uuid)
  end)

  it('gives the free blocks that dumpe2fs counts', function()
    local path = volume(16 * MiB, 'mkfs.ext4 -q -b 1024 %s')
    local dev <close> = assert(device.open(path))
    local m, report = assert(fs.map(dev))
    local whole <close> = m
    local free = math.tointeger(run('dumpe2fs -h ' .. path):match('Free blocks:%s+(%d+)'))
    assert.is_true(report.used_only)
    assert.equal('', report.reason)
    assert.equal(1024, report.block_bytes)
    assert.equal(free * 1024, whole:bytes 'free')
    assert.equal(whole:bytes 'free', report.free_bytes)
    assert.equal(16 * MiB, whole:bytes 'free' + whole:bytes 'data')
  end)

  it('takes all blocks, with the reason, of what it does not know', function()
    local path = volume(MiB)
    local dev <close> = assert(device.open(path))
    local m, report = assert(fs.map(dev))
    local whole <close> = m
    assert.is_false(report.used_only)
    assert.not_equal('', report.reason)
    assert.equal(MiB, whole:bytes 'data')
    assert.equal('', report.type)
  end)

  it('throws for what is no device', function()
    local _, message = pcall(fs.map, '/dev/sda')
    assert.matches('img.Device expected, got string', message, 1, true)
    _, message = pcall(fs.probe)
    assert.matches('img.Device expected, got no value', message, 1, true)
    local dev = assert(device.mem(10))
    dev:close()
    assert.has_error(function() fs.map(dev) end, 'attempt to use a closed device')
  end)

  local function with_files()
    return volume(16 * MiB, 'd=$(mktemp -d); mkdir $d/a; head -c 100000 /dev/urandom > $d/a/f;'
      .. ' echo > $d/g; mkfs.ext4 -q -b 1024 -d $d %s; rm -r $d')
  end

  it('lists files with what holds their content', function()
    local dev <close> = assert(device.open(with_files()))
    local found = {}
    assert.is_true(fs.files(dev, true, function(file) found[file.path] = file end))
    local f = found['/a/f']
    assert.same({ path = '/a/f', kept = '', size = 100000, allocated = f.allocated, swap = false,
      created = f.created, modified = f.modified, accessed = f.accessed, ranges = f.ranges }, f)
    assert.is_true(math.abs(f.modified - os.time()) < 3600)
    local chosen <close> = map.new(dev:size())
    for _, range in ipairs(f.ranges) do chosen:set(range[1], range[2], 'zero') end
    assert.equal(98 * 1024, chosen:bytes 'zero')
    assert.equal(98 * 1024, fs.claims(dev, chosen))
    found = {}
    assert.is_true(fs.files(dev, false, function(file) found[file.path] = file end))
    assert.is_nil(found['/a/f'])
    assert.is_table(found['/g'])
  end)

  it('ends a list when the visitor says so, and passes its errors on', function()
    local dev <close> = assert(device.open(with_files()))
    local count = 0
    assert.is_true(fs.files(dev, true, function()
      count = count + 1
      return false
    end))
    assert.equal(1, count)
    assert.has_error(function() fs.files(dev, true, function() error({ 7 }) end) end, { 7 })
    assert.has_error(function() fs.files(dev, true) end)
    -- The device may even be closed on the way.
    count = 0
    assert.is_true(fs.files(dev, true, function()
      count = count + 1
      dev:close()
    end))
    assert.equal(2, count)
  end)

  it('says why no files are listed', function()
    local dev <close> = assert(device.open(volume(MiB)))
    local listed, message, code = fs.files(dev, true, function() end)
    assert.is_nil(listed)
    assert.equal('no file system recognised', message)
    assert.equal(sys.codes.format, code)
    local none <close> = map.new(MiB)
    assert.is_nil((fs.claims(dev, none)))
    local other <close> = map.new(MiB + 1)
    assert.has_error(function() fs.claims(dev, other) end)
  end)
end)
