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
    assert.is_true(mounts.is_of(list[2], '8:2', 'sda2'))
    assert.is_true(mounts.is_of(list[5], '259:3', 'nvme0n1p3'))
    assert.is_false(mounts.is_of(list[2], '8:3', 'sda3'))
  end)

  it('passes over lines that it does not know', function()
    assert.same({}, mounts.parse('garbage\n1 2 3\n'))
  end)

  it('sees where this process has its root', function()
    assert.is_not_nil(mounts.holding(mounts.read(), '/proc/self'))
  end)
end)
