-- The stubs in lua/imgtool/meta/ are the only manual of the C modules: they name every function and
-- method that there is, and none that there is not.
local names = { 'device', 'map', 'fs', 'disk', 'files', 'image', 'pipeline', 'server', 'sys' }

local function read_file(path)
  local file <close> = assert(io.open(path))
  return file:read('a')
end

-- What a stub declares: owner ('device', 'Device') to a set of names.
local function declared_in(name)
  local text = read_file(('lua/imgtool/meta/img_%s.lua'):format(name))
  local found = {}
  for owner in text:gmatch('\nlocal (%w+) = {}') do found[owner] = {} end
  for owner, member in text:gmatch('\nfunction (%w+)[.:]([%w_]+)%(') do
    assert(found[owner], owner .. ' is not declared')[member] = true
  end
  for owner, member in text:gmatch('\n(%w+)%.([%w_]+) = ') do found[owner][member] = true end
  return found
end

local function keys(t)
  local set = {}
  for key in pairs(t) do set[key] = true end
  return set
end

-- Handles that only C code sees.
local INTERNAL = { ['img.Hold'] = true, ['img.Memory'] = true, ['img.Chunk'] = true }

describe('the stubs of the C modules', function()
  for _, name in ipairs(names) do
    it('of img.' .. name .. ' name its functions', function()
      assert.same(declared_in(name)[name], keys(require('img.' .. name)))
    end)
  end

  it('name the methods of every handle', function()
    local declared = {}
    for _, name in ipairs(names) do
      for owner, members in pairs(declared_in(name)) do
        if owner:match('^%u') then declared['img.' .. owner] = members end
      end
    end
    local registered = {}
    for key, value in pairs(debug.getregistry()) do
      local ours = type(key) == 'string' and key:match('^img%.%u') and not INTERNAL[key]
      if ours and value.__index then
        registered[key] = keys(value.__index)
      end
    end
    assert.is_not_nil(registered['img.Device'])
    assert.same(declared, registered)
  end)

  it('are one for every module', function()
    local modules = {}
    for i, name in ipairs(names) do modules[i] = 'img.' .. name end
    assert.same(modules, require 'imgtool_c')
    local listing <close> = assert(io.popen('ls lua/imgtool/meta'))
    local count = 0
    for file in listing:lines() do
      count = count + 1
      assert.is_truthy(file:match('^img_%l+%.lua$'))
    end
    assert.equal(#names, count)
  end)

  it('belong to handles that close, and say when they are closed', function()
    for key, mt in pairs(debug.getregistry()) do
      if type(key) == 'string' and key:match('^img%.%u') and type(mt) == 'table' and mt.__index then
        assert.equal(mt.__gc, mt.__close)
        if mt.__index.close then assert.equal(mt.__gc, mt.__index.close) end
        assert.is_function(mt.__tostring)
      end
    end
  end)
end)
