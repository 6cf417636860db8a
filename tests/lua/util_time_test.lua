local time = require 'imgtool.util.time'

describe('imgtool.util.time', function()
  it('writes and reads UTC', function()
    -- From `date -u -d ... +%s`.
    local cases = {
      ['1970-01-01T00:00:00Z'] = 0, ['2024-02-29T00:00:00Z'] = 1709164800,
      ['2026-01-31T12:00:00Z'] = 1769860800, ['2000-03-01T23:59:59Z'] = 951955199,
      ['2100-12-31T23:59:59Z'] = 4133980799,
    }
    for text, seconds in pairs(cases) do
      assert.equal(text, time.iso(seconds))
      assert.equal(seconds, time.parse(text))
      assert.equal('integer', math.type(time.parse(text)))
    end
    assert.equal(12, time.parse('12'))
  end)

  it('knows the years up to 9999', function()
    assert.equal('9999-12-31T23:59:59Z', time.iso(time.MAX))
    assert.equal(time.MAX, time.parse('9999-12-31T23:59:59Z'))
    assert.equal(time.MAX, time.parse(tostring(time.MAX)))
    for _, seconds in ipairs { time.MAX + 1, math.maxinteger, -1 } do
      assert.equal(('%d s since 1970'):format(seconds), time.iso(seconds))
    end
    for _, text in ipairs { tostring(time.MAX + 1), '99999999999999999', ('9'):rep(30) } do
      local seconds, message = time.parse(text)
      assert.is_nil(seconds, text)
      assert.matches('is past the year 9999', message, 1, true)
    end
  end)

  it('refuses dates that are none', function()
    for _, text in ipairs { '', 'now', '2023-02-29T00:00:00Z', '2024-13-01T00:00:00Z',
      '2024-01-01T24:00:00Z', '2024-01-01 00:00:00', '1969-12-31T23:59:59Z', '-5' } do
      local seconds, message = time.parse(text)
      assert.is_nil(seconds, text)
      assert.matches('is no time', message, 1, true)
    end
  end)
end)
