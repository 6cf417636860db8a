local size = require 'imgtool.util.size'

describe('imgtool.util.size', function()
  it('reads sizes with powers of 1024', function()
    local cases = {
      ['0'] = 0, ['4096'] = 4096, ['64K'] = 65536, ['64k'] = 65536, ['512M'] = 536870912,
      ['2GiB'] = 2147483648, ['1T'] = 1099511627776, [' 3 M '] = 3145728,
      ['9223372036854775807'] = math.maxinteger,
    }
    for text, bytes in pairs(cases) do
      local got = size.parse(text)
      assert.equal(bytes, got, text)
      assert.equal('integer', math.type(got), text)
    end
  end)

  it('refuses what is none, and what does not fit', function()
    for _, text in ipairs { '', 'x', '-1', '1.5M', '5X', '5MB', '5ib', '0x10', '1e3', '5M5' } do
      local bytes, message = size.parse(text)
      assert.is_nil(bytes, text)
      assert.matches('is no size', message, 1, true)
    end
    for _, text in ipairs { '9223372036854775808', '99999999999999999999', '8388608T' } do
      local bytes, message = size.parse(text)
      assert.is_nil(bytes, text)
      assert.matches('too large', message, 1, true)
    end
    assert.equal(8388607 << 40, size.parse('8388607T'))
  end)

  it('writes sizes that it reads back', function()
    for _, bytes in ipairs { 0, 1, 1000, 1024, 1536, 1 << 20, 3 << 29, 1 << 40, 5 << 40 } do
      assert.equal(bytes, size.parse(size.exact(bytes)))
    end
    assert.equal('512M', size.exact(512 << 20))
    assert.equal('1536K', size.exact(1536 << 10))
  end)

  it('writes sizes and times for people', function()
    assert.equal('17 B', size.human(17))
    assert.equal('1.50 KiB', size.human(1536))
    assert.equal('100.0 MiB', size.human(100 << 20))
    assert.equal('0.4 s', size.duration(0.4))
    assert.equal('3:05', size.duration(185.9))
    assert.equal('1:02:05', size.duration(3725))
  end)
end)
