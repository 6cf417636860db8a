local head = require 'imgtool.job.head'

local SETTINGS = { level = 3, hash = 'xxh3-128', block_bytes = 262144, chunk_bytes = 16777216,
  on_read_error = 'abort' }

local function facts(changes)
  local f = {
    tool = 'imgtool 1.2.3', host = 'vm', created_s = 1709164800, path = '/dev/sda2',
    identity = { kind = 'partition', model = 'M', serial = 'S', wwn = '', part_table = 'gpt',
      disk_id = 'D', part_number = 2, part_type = 'T', part_guid = 'G', part_name = '',
      start_bytes = 1048576 },
    info = { size_bytes = 1000448, logical_bytes = 512, physical_bytes = 4096 },
    fs = { type = 'ext4', label = 'Data', uuid = 'U', used_only = true, reason = '', note = '' },
  }
  for key, value in pairs(changes or {}) do f[key] = value end
  return f
end

describe('imgtool.job.head', function()
  -- docs/image-format-v2.md, section 8
  it('is what the specification says', function()
    assert.same({
      tool = 'imgtool 1.2.3', created = '2024-02-29T00:00:00Z', host = 'vm',
      source = {
        path = '/dev/sda2', kind = 'partition', model = 'M', serial = 'S', size_bytes = 1000448,
        logical_bytes = 512, physical_bytes = 4096, disk = { table = 'gpt', id = 'D' },
        partition = { number = 2, type = 'T', guid = 'G', start_bytes = 1048576 },
        file_system = { type = 'ext4', label = 'Data', uuid = 'U' },
      },
      map = { kind = 'used' },
      settings = { level = 3, hash = 'xxh3-128', block_bytes = 262144, chunk_bytes = 16777216,
        on_read_error = 'abort' },
    }, head.text(facts(), SETTINGS))
  end)

  it('leaves out what is not known', function()
    local text = head.text(facts {
      identity = { kind = 'file', model = '', serial = '', wwn = '', part_table = '', disk_id = '',
        part_number = 0, part_type = '', part_guid = '', part_name = '', start_bytes = 0 },
      fs = { type = '', label = '', uuid = '', used_only = false, reason = 'why', note = 'a' },
      note = 'b',
    }, SETTINGS)
    assert.is_nil(text.source.partition)
    assert.is_nil(text.source.disk)
    assert.is_nil(text.source.file_system)
    assert.is_nil(text.source.model)
    assert.same({ kind = 'all', reason = 'why', note = 'a; b' }, text.map)
  end)

  it('says what content rules left out, and why nothing', function()
    local files = { { rule = 'swap', path = '/s', size = 1, bytes = 4096,
      ranges = { { 0, 4096 } } } }
    local text = head.text(facts {
      exclude = { words = { 'swap' }, files = files, bytes = 4096 },
    }, SETTINGS)
    assert.same({ 'swap' }, text.settings.exclude)
    assert.same({ files = files, bytes = 4096 }, text.exclude)
    text = head.text(facts { exclude = { words = { 'swap' }, bytes = 0, reason = 'dirty' } },
      SETTINGS)
    assert.same({ bytes = 0, reason = 'dirty' }, text.exclude)
  end)

  it('is UTF-8, whatever a label holds', function()
    local f = facts()
    f.fs.label, f.identity.model = 'a\255b', 'ä'
    local text = head.text(f, SETTINGS)
    assert.equal('a?b', text.source.file_system.label)
    assert.equal('ä', text.source.model)
  end)
end)
