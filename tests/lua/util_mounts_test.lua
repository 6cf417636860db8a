local mounts = require 'imgtool.util.mounts'

-- The example of proc(5), and lines as kernels print them.
local TEXT = [[
36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
22 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw,discard
40 22 8:1 / /mnt/with\040space ro,relatime - ext4 /dev/sda1 rw
41 22 8:17 / /media/usb rw,relatime - vfat /dev/sdb1 ro
42 22 0:55 /@home /home rw - btrfs /dev/nvme0n1p3 rw,subvol=/@home
43 22 8:33 / /home/deep rw - xfs /dev/sdc1 rw
]]

describe('imgtool.util.mounts', function()
  local list = mounts.parse(TEXT)

  it('reads mountinfo', function()
    assert.equal(6, #list)
    assert.same({ device = '98:0', root = '/mnt1', point = '/mnt2', fs = 'ext3',
      source = '/dev/root', writable = true }, list[1])
    assert.equal('/mnt/with space', list[3].point)
  end)

  it('knows which may be written', function()
    assert.is_false(list[3].writable) -- mounted read-only
    assert.is_false(list[4].writable) -- a read-only file system
    assert.is_true(list[5].writable)
  end)

  it('finds the mount that holds a path', function()
    assert.equal('/dev/sda2', mounts.holding(list, '/etc/passwd').source)
    assert.equal('/dev/nvme0n1p3', mounts.holding(list, '/home/me/x').source)
    assert.equal('/dev/sdc1', mounts.holding(list, '/home/deep').source)
    assert.equal('/dev/nvme0n1p3', mounts.holding(list, '/home/deeper').source)
    assert.equal('/dev/sda2', mounts.holding(list, '/homeless').source)
  end)

  it('matches by number, or by name where the number is the file system\'s own', function()
    local links = { ['/dev/mapper/home'] = '/dev/dm-3',
      ['/dev/disk/by-label/x'] = '/dev/cciss/c0d0' }
    local all = mounts.parse(TEXT .. [[
44 22 0:56 / /luks rw - btrfs /dev/mapper/home rw
45 22 0:57 / /several rw - btrfs /dev/sdd rw
46 22 0:58 / /link rw - btrfs /dev/disk/by-label/x rw
47 22 0:59 / /tmp rw - tmpfs sdd rw
48 22 0:60 / /gone rw - btrfs /dev/gone rw
]])
    local function realpath(path)
      if path ~= '/dev/gone' then return links[path] or path end
    end
    mounts.add_names(all, realpath, { { 'sda1' }, { 'sdd', 'sde1' } })
    local function of(name)
      local points = {}
      for _, mount in ipairs(all) do
        if mounts.is_of(mount, '8:2', name) then points[#points + 1] = mount.point end
      end
      return table.concat(points, ' ')
    end
    assert.equal('/', of 'sda2')
    assert.equal('/ /home', of 'nvme0n1p3')
    assert.equal('/ /luks', of 'dm-3')
    assert.equal('/ /several', of 'sdd')
    assert.equal('/ /several', of 'sde1')
    assert.equal('/ /link', of 'cciss!c0d0')
    assert.equal('/ /gone', of 'gone')
    assert.equal('/', of 'mapper!home')
    assert.is_false(mounts.is_of(all[2], '8:3', 'sda3'))
  end)

  it('passes over lines that it does not know', function()
    assert.same({}, mounts.parse('garbage\n1 2 3\n'))
  end)

  it('sees where this process has its root', function()
    assert.is_not_nil(mounts.holding(mounts.read(), '/proc/self'))
  end)
end)
