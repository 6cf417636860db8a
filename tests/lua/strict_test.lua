-- Each case in an interpreter of its own: strict.lua changes the globals for good.
local function lua(code)
  local path = os.tmpname()
  local file = assert(io.open(path, 'w'))
  assert(file:write(code))
  file:close()
  local pipe = assert(io.popen(("LUA_PATH='lua/?.lua' lua5.4 %s 2>&1"):format(path)))
  local output = pipe:read('a')
  local ok = pipe:close()
  os.remove(path)
  return ok, output:gsub('%s+$', '')
end

describe('imgtool.strict', function()
  it('refuses to read a global that is not there', function()
    local ok, output = lua "require 'imgtool.strict'\nlocal x = no_such\nprint(x)"
    assert.is_falsy(ok)
    assert.matches(":2: global 'no_such' is not declared", output, 1, true)
  end)

  it('refuses to make a global', function()
    local ok, output = lua "require 'imgtool.strict'\nlocal function f() oops = 1 end\nf()"
    assert.is_falsy(ok)
    assert.matches(":2: global 'oops' is not declared, and can't be set", output, 1, true)
  end)

  it('leaves the globals of Lua alone', function()
    local ok, output = lua "require 'imgtool.strict'\nprint(type(string), #_G._VERSION > 0)"
    assert.equal('table\ttrue', output)
    assert.is_truthy(ok)
  end)

  it('takes a declared global', function()
    local ok, output = lua [[
      local strict = require 'imgtool.strict'
      strict.declare('known', 7)
      known = known + 1
      print(known, pcall(strict.declare, 'nothing', nil))]]
    assert.is_truthy(ok)
    assert.matches('^8\tfalse', output)
  end)

  it('is the same when it is loaded twice', function()
    local ok, output = lua [[
      local first = require 'imgtool.strict'
      package.loaded['imgtool.strict'] = nil
      require 'imgtool.strict'
      print(first ~= nil, (pcall(function() return nothing end)))]]
    assert.is_truthy(ok)
    assert.equal('true\tfalse', output)
  end)

  it('protects any table', function()
    local ok, output = lua [[
      local settings = { level = 3 }
      require('imgtool.strict').protect(settings, 'setting')
      print(settings.level, select(2, pcall(function() return settings.levle end)))]]
    assert.is_truthy(ok)
    assert.matches("^3\t.*setting 'levle' is not declared$", output)
  end)
end)
