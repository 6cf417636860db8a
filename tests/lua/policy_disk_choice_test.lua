local choice = require 'imgtool.policy.disk_choice'

local function disk_of(path, changes)
  local d = { path = path, kind = 'disk', model = '', serial = '', wwn = '', disk_id = '',
    fs_label = '', fs_uuid = '', size_bytes = 1 << 30, removable = false, mounts = {},
    partitions = {} }
  for key, value in pairs(changes or {}) do d[key] = value end
  return d
end

local function part_of(changes)
  local p = { type = '', guid = '', name = '', fs_label = '', fs_uuid = '' }
  for key, value in pairs(changes) do p[key] = value end
  return p
end

local DISKS = {
  disk_of('/dev/sda', { serial = 'S1', wwn = 'naa.5000', model = 'Fast', mounts = { '/', '/boot' },
    disk_id = 'AAAA-1', partitions = {
      part_of { type = 'C12A7328-F81F-11D2-BA4B-00A0C93EC93B', fs_label = 'ESP' },
      part_of { guid = 'bbbb-2', name = 'root fs', fs_uuid = '0123-4567' } } }),
  disk_of('/dev/sdb', { serial = 'S2', mounts = { '/home' }, fs_label = 'Home',
    partitions = {} }),
  disk_of('/dev/sdc', { serial = 'S2', removable = true,
    partitions = { part_of { type = '0xef' }, part_of { fs_label = 'Stick' } } }),
  disk_of('/dev/loop0', { kind = 'loop' }),
}

local function path_of(criteria)
  local found, message = choice.one(DISKS, criteria)
  return found and found.path or message
end

describe('imgtool.policy.disk_choice', function()
  it('finds a disk by each criterion', function()
    assert.equal('/dev/sda', path_of { serial = 's1' })
    assert.equal('/dev/sda', path_of { wwn = 'NAA.5000' })
    assert.equal('/dev/sda', path_of { holds = '/' })
    assert.equal('/dev/sda', path_of { holds = '/boot' })
    assert.equal('/dev/sdb', path_of { holds = '/home' })
    assert.equal('/dev/sdb', path_of { label = 'home' })
    assert.equal('/dev/sda', path_of { label = 'ESP' })
    assert.equal('/dev/sda', path_of { label = 'root fs' })
    assert.equal('/dev/sda', path_of { guid = 'aaaa-1' })
    assert.equal('/dev/sda', path_of { guid = 'BBBB-2' })
    assert.equal('/dev/sda', path_of { guid = '0123-4567' })
    assert.equal('/dev/sdb', path_of { path = '/dev/sdb' })
    assert.equal('/dev/loop0', path_of { kind = 'loop' })
    assert.equal('/dev/sdc', path_of { removable = true })
    local linked = disk_of('/dev/sdx', { asked_path = '/dev/disk/by-id/x' })
    assert.equal(linked, choice.one({ linked }, { path = '/dev/disk/by-id/x' }))
  end)

  it('has a test above for each criterion', function()
    local names = {}
    for i, criterion in ipairs(choice.criteria) do
      names[i] = criterion.name
      assert.is_string(criterion.doc)
    end
    assert.same({ 'serial', 'wwn', 'holds', 'label', 'guid', 'path', 'kind', 'removable' }, names)
  end)

  it('wants all criteria to hold', function()
    assert.equal('/dev/sdc', path_of { serial = 'S2', removable = true })
    assert.equal('/dev/sda', path_of { holds = 'efi', removable = false })
    local paths = {}
    for i, found in ipairs(choice.all(DISKS, { kind = 'disk', removable = false })) do
      paths[i] = found.path
    end
    assert.same({ '/dev/sda', '/dev/sdb' }, paths)
    assert.equal(4, #choice.all(DISKS, {}))
  end)

  it('names the candidates when more than one is meant', function()
    local found, message, word = choice.one(DISKS, { serial = 'S2' })
    assert.is_nil(found)
    assert.equal('refused', word)
    assert.equal("2 disks have serial = 'S2', one is meant: /dev/sdb (1.00 GiB, serial 'S2');"
      .. " /dev/sdc (1.00 GiB, serial 'S2')", message)
    assert.matches("2 disks have holds = 'efi'", path_of { holds = 'efi' })
  end)

  it('names what there is when none is meant', function()
    local found, message, word = choice.one(DISKS, { serial = 'S3', removable = false })
    assert.is_nil(found)
    assert.equal('not_found', word)
    assert.matches("^no disk has serial = 'S3', removable = false; there are: /dev/sda", message)
    assert.matches("model 'Fast', serial 'S1', wwn 'naa%.5000'", message)
    assert.equal("no disk has serial = 'x'; there is none",
      (select(2, choice.one({}, { serial = 'x' }))))
  end)

  it('does not take what is unknown for what is asked', function()
    assert.matches('^no disk', path_of { wwn = 'x' })
    assert.matches('a text is expected', choice.mistakes({ wwn = '' }, true)[1].message)
  end)

  it('knows all mistakes in a question', function()
    local function messages(criteria, one)
      local out = {}
      for i, mistake in ipairs(choice.mistakes(criteria, one)) do out[i] = mistake.message end
      return out
    end
    assert.same({}, messages({ serial = 'x', removable = true }, true))
    assert.same({}, messages({}, false))
    assert.same({ 'disk: which one? (disks() gives all)' }, messages({}, true))
    assert.same({ 'disk: a table is expected' }, messages('sda', true))
    assert.same({ 'disk.serial: a text is expected',
      "disk.holds: 'efi' or the path of a mount is expected, not 'home'",
      'disk.removable: true or false is expected',
      "disk.seriel: disks are not told by that, did you mean 'serial'?" },
      messages({ serial = 5, holds = 'home', removable = 'no', seriel = 'x' }, true))
    assert.equal('serial', choice.mistakes({ seriel = 'x' }, true)[1].nearest)
  end)
end)
