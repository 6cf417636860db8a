-- Content rules applied to a map, with a lister that says what it likes: whatever it says, rules
-- are applied as a whole or not at all.
local device = require 'img.device'
local fail = require 'imgtool.util.fail'
local map = require 'img.map'
local sys = require 'img.sys'

local KiB <const> = 1024
local SIZE <const> = 1024 * KiB

-- job/map.lua over a file system that is not there. `says`: used_only, files, claims, ...
local function with(says)
  local real = package.loaded['img.fs']
  package.loaded['img.fs'] = {
    map = function()
      local whole = map.new(SIZE, true)
      whole:set(512 * KiB, 256 * KiB, 'free')
      return whole, { type = says.type or 'ext4', used_only = says.used_only ~= false,
        reason = says.used_only == false and 'odd' or '', note = '', block_bytes = 4096 }
    end,
    probe = function() return { type = 'ext4', note = '', block_bytes = 0 } end,
    files = function(_, tree, visit)
      says.tree = tree
      for _, file in ipairs(says.files or {}) do
        if visit(file) == false then
          says.ended = true
          break
        end
      end
      if says.failure then return nil, says.failure, sys.codes.format end
      return true
    end,
    claims = function(_, ranges)
      says.asked = ranges:bytes 'zero'
      if says.claims_failure then return nil, says.claims_failure, sys.codes.format end
      return says.claims or says.asked
    end,
  }
  package.loaded['imgtool.job.map'] = nil
  local module = require 'imgtool.job.map'
  package.loaded['img.fs'], package.loaded['imgtool.job.map'] = real, nil
  return module
end

local function file(path, ranges, fields)
  local out = { path = path, kept = '', size = 8192, allocated = 8192, swap = false, created = 0,
    modified = 0, accessed = 0, ranges = ranges }
  for key, value in pairs(fields or {}) do out[key] = value end
  return out
end

-- The map's bytes of zeros, what is described, and what was said.
local function apply(says, exclude)
  local report = { signals_before = says.signals_before or 0, notes = {}, warnings = {} }
  function report:note(message) self.notes[#self.notes + 1] = message end
  function report:warn(message) self.warnings[#self.warnings + 1] = message end
  local path = os.tmpname()
  finally(function() os.remove(path) end)
  local out <close> = assert(io.open(path, 'w'))
  out:write(('x'):rep(SIZE))
  out:flush()
  local source <close> = assert(device.open(path))
  local job = { mode = says.mode or 'used_only', exclude = exclude }
  local whole, fs_report, described, code = fail.catch(with(says).of, source, job, report)
  if not whole then return nil, fs_report, described, code end
  local zeros, free = whole:bytes 'zero', whole:bytes 'free'
  assert.equal(SIZE, zeros + free + whole:bytes 'data')
  assert.equal(says.mode and 0 or 256 * KiB, free)
  whole:close()
  return zeros, described, report
end

local function all() return true end

describe('content rules on a map', function()
  it('turn what chosen files contain into zeros', function()
    local says = { files = {
      file('/b', { { 4096, 8192 } }), file('/a', { { 64 * KiB, 4096 }, { 128 * KiB, 4096 } }),
      file('/no', { { 256 * KiB, 4096 } }),
    } }
    local zeros, described, report = apply(says, { function(f) return f.path ~= '/no' end })
    assert.equal(16384, zeros)
    assert.equal(16384, says.asked)
    assert.is_true(says.tree)
    assert.same({ '/a', '/b' }, { described.files[1].path, described.files[2].path })
    assert.equal(16384, described.bytes)
    assert.is_nil(described.reason)
    assert.same({ {}, {} }, { report.notes, report.warnings })
  end)

  it('are refused as a whole when the list makes no sense', function()
    local good = file('/good', { { 0, 4096 } })
    for _, case in ipairs {
      { { good, file('/twin', { { 0, 4096 } }) }, 'at 0 belongs to two files' },
      { { good, file('/over', { { 8192, 8192 } }), file('/lap', { { 12288, 8192 } }) },
        'at 8192 is in part marked free, or of another file' },
      { { good, file('/odd', { { 4095, 4096 } }) }, '/odd at 4095 is no whole block' },
      { { good, file('/odd', { { 4096, 100 } }) }, '/odd at 4096 is no whole block' },
      { { good, file('/free', { { 512 * KiB, 4096 } }) }, '/free at 524288 is marked free' },
      { { good, file('/edge', { { 508 * KiB, 8192 } }) }, '/edge at 520192 is in part' },
    } do
      local says = { files = case[1] }
      local zeros, described, report = apply(says, { all })
      assert.equal(0, zeros, case[2])
      assert.matches(case[2], described.reason, 1, true)
      assert.is_nil(described.files)
      assert.equal(0, described.bytes)
      assert.equal('exclude: nothing is left out: ' .. described.reason, report.warnings[1])
      assert.is_nil(says.asked)
    end
  end)

  it('are refused when the volume claims the bytes more than once, or can\'t say', function()
    local files = { file('/a', { { 0, 8192 } }) }
    local zeros, described = apply({ files = files, claims = 12288 }, { all })
    assert.equal(0, zeros)
    assert.matches('claim 12288 bytes of these 8192', described.reason, 1, true)
    zeros, described = apply({ files = files, claims = 4096 }, { all })
    assert.equal(0, zeros)
    assert.matches('claim 4096 bytes of these 8192', described.reason, 1, true)
    zeros, described = apply({ files = files, claims_failure = 'no' }, { all })
    assert.equal(0, zeros)
    assert.equal('no', described.reason)
  end)

  it('are refused when the list ends in a failure', function()
    local zeros, described = apply({ files = { file('/a', { { 0, 8192 } }) }, failure = 'killed' },
      { all })
    assert.equal(0, zeros)
    assert.equal('killed', described.reason)
  end)

  it('need a map', function()
    local says = { used_only = false }
    local zeros, described = apply(says, { 'swap' })
    assert.equal(0, zeros)
    assert.equal('odd', described.reason)
    assert.is_nil(says.tree)
    local none, message = apply({ mode = 'all_blocks' }, { 'swap' })
    assert.is_nil(none)
    assert.matches('no meaning', message)
    zeros, described = apply({ mode = 'all_blocks' })
    assert.equal(0, zeros)
    assert.is_nil(described)
  end)

  it('tell what they did not find, and what stays', function()
    local zeros, _, report = apply({ type = 'ntfs', files = {
      file('/pagefile.sys', {}, { kept = 'its data is compressed' }),
    } }, { 'pagefile', 'hiberfil', 'swap' })
    assert.equal(0, zeros)
    assert.same({ "exclude: 'hiberfil' finds no file (ntfs)",
      "exclude: 'swap' finds no file (ntfs)",
      'exclude: /pagefile.sys stays: its data is compressed' }, report.notes)
    -- Nothing to look for: nobody looks.
    local says = { type = 'ext4' }
    _, _, report = apply(says, { 'pagefile' })
    assert.is_nil(says.tree)
    assert.same({ "exclude: 'pagefile' finds no file (ext4)" }, report.notes)
  end)

  it('end with the mistake of a function, and with a signal', function()
    local says = { files = { file('/a', {}), file('/b', {}) } }
    local none, message, code = apply(says, { function() error('oops', 0) end })
    assert.is_nil(none)
    assert.equal('oops', message)
    assert.equal(sys.codes.script, code)
    assert.is_true(says.ended)
    none, message, code = apply({ files = says.files }, { function() while true do end end })
    assert.is_nil(none)
    assert.matches('an endless loop%?$', message)
    assert.equal(sys.codes.script, code)
    none, message, code = apply({ files = says.files, signals_before = -1 }, { all })
    assert.is_nil(none)
    assert.matches('cancelled', message)
    assert.equal(sys.codes.cancelled, code)
  end)
end)
