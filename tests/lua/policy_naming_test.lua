local naming = require 'imgtool.policy.naming'

local function identity(changes)
  local id = { path = '/dev/sda2', name = 'sda2', model = '', serial = '', fs_label = '',
    part_name = '', part_number = 2 }
  for key, value in pairs(changes) do id[key] = value end
  return id
end

describe('imgtool.policy.naming', function()
  it('names an image after what people call the volume', function()
    assert.equal('Data', naming.of_source(identity { fs_label = 'Data', part_name = 'p' }))
    assert.equal('EFI-system', naming.of_source(identity { part_name = 'EFI system' }))
    assert.equal('Samsung-SSD-S123-part2',
      naming.of_source(identity { model = 'Samsung SSD', serial = 'S123' }))
    assert.equal('sda2', naming.of_source(identity {}))
    assert.equal('disk', naming.of_source(identity { name = '', path = '/images/disk.raw' }))
    assert.equal('image', naming.of_source(identity { name = '', path = '//..//' }))
  end)

  it('lets no label out of the directory', function()
    assert.equal('etc-passwd', naming.of_source(identity { fs_label = '../../etc/passwd' }))
    assert.equal('force', naming.of_source(identity { fs_label = '--force' }))
    assert.equal('a-b', naming.of_source(identity { fs_label = 'a\n\0b' }))
    assert.equal('sda2', naming.of_source(identity { fs_label = '...' }))
    assert.equal('2J', naming.of_source(identity { fs_label = '\27[2J\255' }))
  end)

  it('puts a name into a directory only', function()
    local function path(facts)
      facts.identity = identity { fs_label = 'Data' }
      return naming.image_path(facts)
    end
    assert.equal('/b/x.zst', path { target = '/b/x.zst', is_directory = false })
    assert.equal('/b/Data.img.zst', path { target = '/b', is_directory = true })
    assert.equal('/b/Data.img.zst', path { target = '/b///', is_directory = true })
    assert.equal('/b/monday.img.zst', path { target = '/b/', is_directory = true, name = 'monday' })
    assert.equal('/b/etc-x.img.zst',
      path { target = '/b/', is_directory = true, name = '../etc/x' })
    assert.equal('/Data.img.zst', path { target = '/', is_directory = true })
  end)

  it('marks what is incomplete', function()
    assert.equal('/b/x.img.zst.partial', naming.partial('/b/x.img.zst'))
  end)
end)
