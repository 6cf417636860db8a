local complete = require 'imgtool.util.complete'
local pretty = require 'imgtool.util.pretty'

describe('imgtool.util.pretty', function()
  it('shows scalars as Lua', function()
    assert.equal('nil', pretty.show(nil))
    assert.equal('12', pretty.show(12))
    assert.equal('"a\\"b\\nc\\027[2J"', pretty.show('a"b\nc\27[2J'))
    assert.equal('"ä"', pretty.show('ä'))
    assert.equal('"\\195("', pretty.show('\xC3('))
    assert.equal('"\\194\\155x"', pretty.show('\u{9B}x'))
  end)

  it('sorts keys, and lists elements without them', function()
    assert.equal('{}', pretty.show {})
    assert.equal('{ 1, 2, a = 1, b = { c = true }, ["x y"] = 3 }',
      pretty.show { 1, 2, b = { c = true }, a = 1, ['x y'] = 3 })
  end)

  it('breaks long tables over lines', function()
    local shown = pretty.show { aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa = 1,
      bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb = 2, cccccccccccccccccccccc = { 1 } }
    assert.equal('{\n  aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa = 1,\n  bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb = 2,\n'
      .. '  cccccccccccccccccccccc = { 1 }\n}', shown)
  end)

  it('survives a table in itself, depth and size', function()
    local t = {}
    t.me = t
    assert.equal('{ me = <a table above> }', pretty.show(t))
    local deep = {}
    for _ = 1, 100 do deep = { deep } end
    assert.matches('{ ... }', pretty.show(deep), 1, true)
    local many = {}
    for i = 1, 1000 do many[i] = i end
    assert.matches('... 900 more', pretty.show(many), 1, true)
  end)
end)

describe('imgtool.util.complete', function()
  local handle = setmetatable({}, { __index = { close = print, chunk = print } })
  local env = { img = handle, image = { open = print, opened = 3 }, x = 1 }
  -- As a userdata has it: no fields, methods in the metatable.
  env.file = io.stdout

  it('completes globals', function()
    assert.same({ 'image', 'img' }, complete.words(env, 'im'))
    assert.same({ 'string', 'x' }, complete.words({ x = 1, string = 1 }, ''))
    assert.same({ 'pairs' }, complete.words(env, 'pai', { pairs = pairs }))
  end)

  it('completes fields, and functions only after a colon', function()
    assert.same({ 'image.open', 'image.opened' }, complete.words(env, 'image.op'))
    assert.same({ 'image:open' }, complete.words(env, 'image:op'))
  end)

  it('completes the methods of a handle', function()
    assert.same({ 'file:seek', 'file:setvbuf' }, complete.words(env, 'file:se'))
  end)

  it('has nothing for what is unknown', function()
    assert.same({}, complete.words(env, 'nothing.x'))
    assert.same({}, complete.words(env, 'x.y.z'))
    assert.same({}, complete.words(env, 'f(im'))
  end)
end)
