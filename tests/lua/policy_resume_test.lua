local json = require 'imgtool.util.json'
local resume = require 'imgtool.policy.resume'

local function described(change)
  local text = {
    source = {
      path = '/dev/sda2', kind = 'partition', model = 'M', serial = 'S1', wwn = '0x5',
      size_bytes = 1000448, logical_bytes = 512, physical_bytes = 4096,
      disk = { table = 'gpt', id = 'D1' },
      partition = { number = 2, guid = 'G1', start_bytes = 1048576 },
      file_system = { type = 'ext4', uuid = 'U1' },
    },
    map = { kind = 'used' },
  }
  if change then change(text) end
  return text
end

describe('imgtool.policy.resume', function()
  it('goes on with the same source, wherever it is attached', function()
    assert.is_true(resume.same_source(described(), described()))
    assert.is_true(resume.same_source(described(), described(function(t)
      t.source.path, t.source.kind = '/dev/sdb2', 'loop'
      t.tool, t.host, t.created = 'x', 'y', 'z'
    end)))
  end)

  it('refuses another one, and names what differs', function()
    local cases = {
      ['serial number'] = function(t) t.source.serial = 'S2' end,
      ['WWN'] = function(t) t.source.wwn = nil end,
      ['disk id'] = function(t) t.source.disk = nil end,
      ['partition GUID'] = function(t) t.source.partition.guid = 'G2' end,
      ['partition number'] = function(t) t.source.partition.number = 3 end,
      ['partition start'] = function(t) t.source.partition.start_bytes = 0 end,
      ['file system UUID'] = function(t) t.source.file_system.uuid = 'U2' end,
      ['file system type'] = function(t) t.source.file_system.type = 'xfs' end,
      ['size'] = function(t) t.source.size_bytes = 1000960 end,
      ['time of its last change'] = function(t) t.source.modified_s = 1700000000 end,
      ['logical sector size'] = function(t) t.source.logical_bytes = 4096 end,
      ['physical sector size'] = function(t) t.source.physical_bytes = 512 end,
      ['map'] = function(t) t.map.kind = 'all' end,
    }
    for what, change in pairs(cases) do
      local same, reason = resume.same_source(described(), described(change))
      assert.is_false(same, what)
      assert.matches("the source's " .. what .. ' is', reason, 1, true)
      -- A field that was not known before is as different as one that is not known now.
      assert.is_false((resume.same_source(described(change), described())), what)
    end
  end)

  it('survives a text that is not what it should be', function()
    assert.is_false((resume.same_source({}, described())))
    assert.is_false((resume.same_source({ source = 3 }, described())))
    assert.is_false((resume.same_source({ source = { disk = 'x' } }, described())))
  end)

  it('takes settings from the image, and refuses others', function()
    local stored = { block_bytes = 262144, chunk_bytes = 16777216, hash = 'sha256', level = 3,
      on_read_error = 'abort' }
    assert.is_true(resume.same_settings(stored, { given = {}, level = 19, hash = 'xxh3-128' }))
    assert.is_true(resume.same_settings(stored, { given = { hash = true }, hash = 'sha256' }))
    local same, reason = resume.same_settings(stored, { given = { level = true }, level = 9 })
    assert.is_false(same)
    assert.equal("level is '3' in the image, not '9'", reason)
    for field, value in pairs { block_size = 65536, chunk_size = 1, hash = 'xxh3-128',
      on_read_error = 'zero', uuid = 'x', created = 1 } do
      assert.is_false((resume.same_settings(stored, { given = { [field] = true },
        [field] = value })), field)
    end
  end)

  it('refuses when rules leave out something else now', function()
    local function left_out(bytes)
      return described(function(t)
        t.exclude = { bytes = bytes, files = { { rule = 'swap', path = '/s\xff', size = 4096,
          bytes = bytes, ranges = { { 0, bytes } } } } }
      end)
    end
    -- The text of an image has been through JSON.
    local stored = json.decode(json.encode(left_out(4096)))
    assert.is_true(resume.same_source(stored, left_out(4096)))
    for _, now in ipairs { left_out(8192), described() } do
      local same, reason = resume.same_source(stored, now)
      assert.is_false(same)
      assert.equal('the rules leave out something else now', reason)
    end
    assert.is_false((resume.same_source(described(), left_out(4096))))
  end)

  it('goes on with the rules of the image', function()
    local f = function() end
    assert.is_nil(resume.rules({}, {}))
    assert.same({ 'pagefile', 'swap' }, resume.rules({ exclude = { 'pagefile', 'swap' } }, {}))
    local said = { 'swap', 'pagefile', f }
    assert.equal(said, resume.rules({ exclude = { 'pagefile', 'swap', 'function' } },
      { exclude = said }))
  end)

  it('refuses other rules, and those that it can\'t have', function()
    for _, case in ipairs {
      { { 'pagefile' }, { 'swap' }, "exclude is 'pagefile' in the image, not 'swap'" },
      { nil, { 'swap' }, "exclude is none in the image, not 'swap'" },
      { { 'swap', 'function' }, { 'swap' }, "exclude is 'swap,function' in the image" },
      { { 'swap', 'function' }, nil, 'an exclude function, which must be given again' },
      { { 'news' }, nil, "a rule 'news' that is not known" }, { { {} }, nil, 'is not known' },
    } do
      local rules, reason = resume.rules({ exclude = case[1] }, { exclude = case[2] })
      assert.is_nil(rules)
      assert.matches(case[3], reason, 1, true)
    end
  end)
end)
