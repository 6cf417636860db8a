local device = require 'img.device'
local fs = require 'img.fs'
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
    local map <close> = m
    local free = math.tointeger(run('dumpe2fs -h ' .. path):match('Free blocks:%s+(%d+)'))
    assert.is_true(report.used_only)
    assert.equal('', report.reason)
    assert.equal(1024, report.block_bytes)
    assert.equal(free * 1024, map:bytes 'free')
    assert.equal(map:bytes 'free', report.free_bytes)
    assert.equal(16 * MiB, map:bytes 'free' + map:bytes 'data')
  end)

  it('takes all blocks, with the reason, of what it does not know', function()
    local path = volume(MiB)
    local dev <close> = assert(device.open(path))
    local m, report = assert(fs.map(dev))
    local map <close> = m
    assert.is_false(report.used_only)
    assert.not_equal('', report.reason)
    assert.equal(MiB, map:bytes 'data')
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
end)
