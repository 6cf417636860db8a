local map = require 'img.map'
local sys = require 'img.sys'

local function throws(message, f, ...)
  local ok, got = pcall(f, ...)
  assert.is_false(ok, 'no error')
  assert.matches(message, got, 1, true)
end

-- { {offset, length, kind}... } of all extents
local function extents(m)
  local list = {}
  for offset, length, kind in m:each() do list[#list + 1] = { offset, length, kind } end
  return list
end

describe('img.map', function()
  after_each(function()
    collectgarbage()
    collectgarbage()
    assert.same({}, sys.open_handles())
  end)

  it('begins empty or full', function()
    local empty <close> = map.new(1000)
    assert.equal(1000, empty:size())
    assert.equal(0, empty:count())
    assert.equal(1000, empty:bytes 'none')
    local full <close> = map.new(1000, true)
    assert.same({ { 0, 1000, 'data' } }, extents(full))
    assert.equal(1000, full:bytes 'data')
    assert.is_false(empty:equal(full))
  end)

  it('sets kinds, merges and clears', function()
    local m <close> = map.new(1 << 50, true)
    m:set(4096, 8192, 'free')
    m:set(12288, 4096, 'free')
    m:set(1 << 49, 1 << 49, 'zero')
    assert.same({
      { 0, 4096, 'data' }, { 4096, 12288, 'free' }, { 16384, (1 << 49) - 16384, 'data' },
      { 1 << 49, 1 << 49, 'zero' },
    }, extents(m))
    assert.same({ 4096, 12288, 'free' }, { m:at(2) })
    assert.same({ 5000, 11384, 'free' }, { m:run(5000) })
    m:set(0, 1 << 50, 'none')
    assert.equal(0, m:count())
    assert.same({ 7, (1 << 50) - 7, 'none' }, { m:run(7) })
  end)

  it('combines maps', function()
    local a <close> = map.new(100)
    local b <close> = map.new(100)
    a:set(0, 50, 'data')
    b:set(25, 50, 'bad')
    local union <close> = a:union(b)
    assert.same({ { 0, 50, 'data' }, { 50, 25, 'bad' } }, extents(union))
    local both <close> = a:intersect(b)
    assert.same({ { 25, 25, 'data' } }, extents(both))
    local left <close> = a:subtract(b)
    assert.same({ { 0, 25, 'data' } }, extents(left))
    local gaps <close> = a:gaps 'free'
    assert.same({ { 50, 50, 'free' } }, extents(gaps))
  end)

  it('encodes as the specification says, and back', function()
    local m <close> = map.new(4096, true)
    m:set(1024, 1024, 'free')
    -- Section 9: u64 size, then LEB128 of length * 8 + kind.
    local bytes = string.pack('<I8', 4096) .. '\x81\x40' .. '\x83\x40' .. '\x81\x80\x01'
    assert.equal(bytes, m:encode())
    local back <close> = assert(map.decode(bytes))
    assert.is_true(back:equal(m))
    local bad, message, code = map.decode(bytes .. 'x')
    assert.is_nil(bad)
    assert.is_string(message)
    assert.equal(sys.codes.format, code)
    assert.is_nil((map.decode ''))
  end)

  it('has a digest of its encoding', function()
    local a <close> = map.new(1 << 20)
    local b <close> = map.new(1 << 20)
    assert.matches('^%x+$', a:digest())
    assert.equal(32, #a:digest())
    assert.equal(a:digest(), b:digest())
    b:set(4096, 512, 'data')
    assert.not_equal(a:digest(), b:digest())
    a:set(4096, 512, 'data')
    assert.equal(a:digest(), b:digest())
  end)

  it('throws for misuse', function()
    local m <close> = map.new(100)
    local other <close> = map.new(101)
    throws('a map of another size', m.union, m, other)
    throws('a map of another size', m.subtract, m, other)
    throws("no kind 'used'", m.set, m, 0, 1, 'used')
    throws('string expected', m.set, m, 0, 1, 1)
    throws('must not be negative', m.set, m, -1, 1, 'data')
    throws('got float', m.set, m, 0, 1.0, 'data')
    throws('no such extent', m.at, m, 1)
    throws('past the end', m.run, m, 100)
    throws('gaps of no kind', m.gaps, m, 'none')
    throws('img.Map expected', m.equal, m, 5)
    throws('boolean expected', map.new, 5, 1)
    throws('must not be negative', map.new, -5)
  end)

  it('stays safe when it changes or closes while it is walked', function()
    local m = map.new(100, true)
    for i = 0, 99, 2 do m:set(i, 1, 'free') end
    local seen = 0
    for _ in m:each() do
      seen = seen + 1
      if seen == 3 then m:set(0, 100, 'none') end
    end
    assert.equal(3, seen)
    local step = m:each()
    m:close()
    m:close()
    throws('attempt to use a closed map', step)
    throws('attempt to use a closed map', m.count, m)
  end)
end)
