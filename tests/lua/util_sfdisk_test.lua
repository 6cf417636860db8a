-- What sfdisk itself makes of a dump: tests/cli/verify_set_test.sh.
local sfdisk = require 'imgtool.util.sfdisk'

describe('imgtool.util.sfdisk', function()
  it('has a word for every attribute that has one', function()
    assert.is_nil(sfdisk.attributes(''))
    assert.is_nil(sfdisk.attributes(nil))
    assert.is_nil(sfdisk.attributes('0x0000000000000008'))
    assert.equal('RequiredPartition NoBlockIOProtocol LegacyBIOSBootable',
      sfdisk.attributes('0x0000000000000007'))
    assert.equal('LegacyBIOSBootable GUID:48,60,63', sfdisk.attributes('0x9001000000000004'))
  end)

  it('keeps names and paths on their line', function()
    local text = sfdisk.dump({ table = 'gpt', id = 'ab', sector_bytes = 512,
      first_usable_bytes = 1024, end_usable_bytes = 4096, partitions = { { index = 2, type = 'a',
        guid = 'b', name = 'x", type="\n$`\\ü', start_bytes = 1024, size_bytes = 512 } } },
      '/dev/a\nb loop0')
    assert.equal('label: gpt\nlabel-id: AB\ndevice: /dev/a?b?loop0\nunit: sectors\nfirst-lba: 2\n'
      .. 'last-lba: 7\nsector-size: 512\n\n/dev/a?b?loop0p2 : start=           2, '
      .. 'size=           1, type=A, uuid=B, name="x\\x22, type=\\x22\\x0a\\x24\\x60'
      .. '\\x5c\\xc3\\xbc"',
      text)
  end)
end)
