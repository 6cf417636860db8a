--- imgtool repl: look around in Lua, with an image bound to `img` and its content to `dev`.
local complete = require 'imgtool.util.complete'
local device = require 'img.device'
local fail = require 'imgtool.util.fail'
local image = require 'img.image'
local lfs = require 'lfs'
local pretty = require 'imgtool.util.pretty'
local sys = require 'img.sys'

local M = {
  name = 'repl',
  summary = 'An interactive Lua prompt, with the image bound to img and its content to dev',
  args = { { name = 'image', operand = 'IMG', doc = 'The image.' } },
}

local MODULES = {
  device = 'img.device', map = 'img.map', fs = 'img.fs', files = 'img.files', image = 'img.image',
  pipeline = 'img.pipeline', sys = 'img.sys', job = 'imgtool.job', json = 'imgtool.util.json',
}

local HELP = [[
img      the image: img:facts(), img:chunk(0), img:check_root()
dev      its content as a device: dev:size(), dev:read(offset, length)
device   map   fs   image   pipeline   sys   the modules of the C core
job      job.verify { source = 'x.img.zst' }, job.image { ... }, job.restore { ... }
json     json.encode(value), json.decode(text)
help     this text; Ctrl-D ends]]

--- The environment of the prompt.
---@param opened img.Image?
---@param content img.Device?
function M.environment(opened, content)
  local env = { img = opened, dev = content, help = setmetatable({}, {
    __tostring = function() return HELP end,
    __call = function() return HELP end,
  }) }
  for name, module in pairs(MODULES) do env[name] = require(module) end
  function env.print(...)
    local parts = table.pack(...)
    for i = 1, parts.n do parts[i] = tostring(parts[i]) end
    io.stdout:write(table.concat(parts, '\t'), '\n')
  end
  return setmetatable(env, { __index = function(_, name) return rawget(_G, name) end })
end

-- An expression, a statement, or (nil, nil) the beginning of one.
local function compile(text, env)
  local chunk = load('return ' .. text, '=repl', 't', env)
  if chunk then return chunk end
  local message
  chunk, message = load(text, '=repl', 't', env)
  if chunk then return chunk end
  if message:find("near <eof>$") or message:find("near '<eof>'$") then return nil, nil end
  return nil, message
end

local function show(values)
  local parts = {}
  for i = 2, values.n do
    local value = values[i]
    parts[#parts + 1] = type(value) == 'table' and tostring(value) == HELP and HELP
      or pretty.show(value)
  end
  if #parts > 0 then io.stdout:write(table.concat(parts, '\n'), '\n') end
end

local function evaluate(chunk)
  local values = table.pack(xpcall(chunk, function(problem)
    return type(problem) == 'string' and problem or pretty.show(problem)
  end))
  if values[1] then
    show(values)
  else
    io.stderr:write(tostring(values[2]), '\n')
  end
  io.stdout:flush()
end

-- ---- Lines ----

local function history_path()
  local base = os.getenv('XDG_STATE_HOME')
  if not base or base:sub(1, 1) ~= '/' then
    local home = os.getenv('HOME')
    if not home or home:sub(1, 1) ~= '/' then return nil end
    lfs.mkdir(home .. '/.local')
    base = home .. '/.local/state'
  end
  lfs.mkdir(base)
  lfs.mkdir(base .. '/imgtool')
  return base .. '/imgtool/history'
end

local function terminal_reader(env)
  local path = history_path()
  if path then sys.load_history(path) end
  return {
    read = function(prompt)
      return sys.readline(prompt, function(word) return complete.words(env, word, _G) end)
    end,
    took = function(text)
      sys.add_history((text:gsub('\n', ' ')))
      if path then sys.save_history(path) end
    end,
  }
end

local function pipe_reader()
  return { read = function() return io.read('l') end, took = function() end }
end

local function loop(env, reader)
  local text = ''
  while true do
    local line = reader.read(text == '' and '> ' or '>> ')
    if not line then break end
    text = text == '' and line or text .. '\n' .. line
    local chunk, message = compile(text, env)
    if chunk or message then
      if text:find('%S') then reader.took(text) end
      if chunk then evaluate(chunk) else io.stderr:write(message, '\n') end
      text = ''
    end
  end
  if text ~= '' then io.stderr:write('the last statement is not complete\n') end
end

local function run(values)
  local file <close> = values.image and fail.try(device.open(values.image)) or nil
  local opened <close> = file and fail.try(image.open(file)) or nil
  local content <close> = opened and fail.try(opened:device()) or nil
  local env = M.environment(opened, content)
  local interactive = sys.isatty(0)
  if interactive then
    io.stderr:write('imgtool ', sys.version().imgtool, ': help, Ctrl-D ends\n')
  end
  loop(env, interactive and terminal_reader(env) or pipe_reader())
  return true
end

function M.run(values)
  return fail.catch(run, values)
end

return M
