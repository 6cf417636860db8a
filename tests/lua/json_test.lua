local json = require 'imgtool.util.json'

-- jq reads what we wrote: a reader that nobody here made.
local function jq(text, filter)
  local path = os.tmpname()
  local file = assert(io.open(path, 'w'))
  assert(file:write(text))
  file:close()
  local pipe <close> = assert(io.popen(("jq -c '%s' %s 2>&1"):format(filter, path)))
  local output = pipe:read('a'):gsub('\n$', '')
  os.remove(path)
  return output
end

describe('json.decode', function()
  it('gives whole numbers as integers', function()
    local v = assert(json.decode '{"a":1,"b":[0,-5,4503599627370496],"c":2.5,"d":1e3,"e":7.0}')
    assert.equal('integer', math.type(v.a))
    assert.equal('integer', math.type(v.b[3]))
    assert.equal(1 << 52, v.b[3])
    assert.equal(-5, v.b[2])
    assert.equal('float', math.type(v.c))
    assert.equal('integer', math.type(v.d))
    assert.equal('integer', math.type(v.e))
  end)

  it('never makes an integer of a number that a float does not hold', function()
    -- 2^53 + 1 reads as 2^53: who sees that float cannot know which of them it was.
    local v = assert(json.decode '[9007199254740993, 18446744073709551615, -9007199254740993]')
    for i = 1, 3 do assert.equal('float', math.type(v[i])) end
    assert.equal('integer', math.type(json.decode '9007199254740991'))
  end)

  it('leaves null members out, and keeps null elements', function()
    local v = assert(json.decode '{"a":null,"b":[null,1],"c":{"d":null,"e":false}}')
    assert.same({ b = { json.null, 1 }, c = { e = false } }, v)
    assert.equal(json.null, json.decode 'null')
  end)

  it('takes values that are no objects', function()
    assert.equal(5, json.decode '5')
    assert.equal('x', json.decode '"x"')
    assert.equal(false, json.decode 'false')
  end)

  it('says what is wrong', function()
    local bad = {
      [''] = 'character', ['{'] = 'character', ['[1] 2'] = 'character 5',
      ['[01]'] = 'invalid number',
      ['[NaN]'] = 'invalid', ['[Infinity]'] = 'invalid', ['[0x10]'] = 'invalid',
      ['[1e999]'] = 'too large', ['{"a":1e999}'] = 'too large', ['{"a" 1}'] = 'colon',
      ['"\xff"'] = 'invalid UTF-8 at byte 2', ['{a:1}'] = 'character', ['"\\ud800"'] = 'unicode',
    }
    for text, reason in pairs(bad) do
      local value, message = json.decode(text)
      assert.is_nil(value, text)
      assert.matches(reason, message, 1, true)
      assert.not_matches('%.lua', message)
    end
  end)

  it('refuses what is nested too deeply', function()
    local function nested(n) return ('['):rep(n) .. (']'):rep(n) end
    assert.is_table(json.decode(nested(64)))
    local value, message = json.decode(nested(65))
    assert.is_nil(value)
    assert.matches('nested', message)
    assert.is_nil((json.decode(nested(100000))))
    -- What was decoded can be told inside something else.
    local told = json.encode { json.decode(nested(64)) }
    assert.equal(nested(65), (told:gsub('{}', '[]')))
  end)

  it('refuses what would take much memory', function()
    assert.is_table(json.decode('[' .. ('[],'):rep(60000) .. '0]'))
    local value, message = json.decode('[' .. ('[],'):rep(70000) .. '0]')
    assert.is_nil(value)
    assert.equal('more than 131072 values', message)
  end)
end)

describe('json.encode', function()
  it('sorts keys, whatever the order they were set in', function()
    local t, u = {}, {}
    for i = 1, 50 do t['k' .. i] = i end
    for i = 50, 1, -1 do u['k' .. i] = i end
    assert.equal(json.encode(t), json.encode(u))
    assert.equal('{"a":1,"b":{"c":2,"d":3},"e":[]}',
      json.encode { e = json.array {}, b = { d = 3, c = 2 }, a = 1 })
  end)

  it('keeps integers exact', function()
    assert.equal('[9223372036854775807,-9223372036854775808,9007199254740993]',
      json.encode { math.maxinteger, math.mininteger, 9007199254740993 })
  end)

  it('writes a float so that it reads back as the same', function()
    for _, x in ipairs { 0.1, 1 / 3, 1e300, 5e-324, 123456.789, 2.0 ^ 60, -0.25 } do
      assert.equal(x, tonumber(json.encode(x)))
      assert.equal('true', jq(json.encode(x), ('. == %.17g'):format(x)))
    end
  end)

  it('tells arrays from objects', function()
    assert.equal('{}', json.encode {})
    assert.equal('[]', json.encode(json.array()))
    assert.equal('[1,[2,{}]]', json.encode { 1, { 2, {} } })
    assert.equal('[1,null]', json.encode { 1, json.null })
    assert.equal('null', json.encode(json.null))
  end)

  it('writes strings that any reader takes', function()
    local text = 'a"b\\c\n\t\1\127é€😀\u{85}'
    local encoded = json.encode(text)
    assert.not_matches('[\0-\31\127]', encoded)
    assert.not_matches('\u{85}', encoded, 1, true)
    assert.equal(text, json.decode(encoded))
    assert.equal('[97,34,98,92,99,10,9,1,127,233,8364,128512,133]', jq(encoded, 'explode'))
  end)

  it('writes bytes that are no UTF-8 as replacement characters', function()
    local encoded = json.encode { ['\xffk'] = 'a\xfe\xc3\xa9\xe2\x82z\xed\xa0\x80' }
    assert.is_truthy(utf8.len(encoded))
    assert.matches('"a\u{FFFD}é\u{FFFD}\u{FFFD}z', encoded, 1, true)
    assert.equal('1', jq(encoded, 'length'))
    assert.equal('"\u{FFFD}"', json.encode '\x80')
  end)

  it('throws for what JSON cannot say, and says where it is', function()
    local loop = {}
    loop[1] = loop
    local bad = {
      ['value.a[2]: a function'] = { a = { 1, print } },
      ['value.x: not a finite number'] = { x = 0 / 0 },
      ['value: not a finite number'] = math.huge,
      ['a key that is no string: 1'] = { 'x', y = 2 },
      ['a key that is no string: 2'] = { nil, 'x', nil },
      ['nested too deeply'] = loop,
      ['an array with other keys'] = json.array { a = 1 },
      ['a key that is no string: true'] = { [true] = 1 },
    }
    for reason, value in pairs(bad) do
      local ok, message = pcall(json.encode, value)
      assert.is_false(ok)
      assert.matches(reason, message, 1, true)
    end
    assert.is_false((pcall(json.encode, nil)))
  end)

  it('gives back what it was given', function()
    local value = {
      name = 'disk', size_bytes = 1 << 40, used = 0.5, list = { 1, 2, { deep = true } }, text = '',
    }
    assert.same(value, json.decode(json.encode(value)))
  end)
end)
