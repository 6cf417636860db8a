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

  it('refuses dates that are none', function()
    for _, text in ipairs { '', 'now', '2023-02-29T00:00:00Z', '2024-13-01T00:00:00Z',
      '2024-01-01T24:00:00Z', '2024-01-01 00:00:00', '1969-12-31T23:59:59Z', '-5' } do
      local seconds, message = time.parse(text)
      assert.is_nil(seconds, text)
      assert.matches('is no time', message, 1, true)
    end
  end)
end)
