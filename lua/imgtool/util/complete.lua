--- Completions of the REPL: names in tables and methods of handles. Pure.
local M = {}

-- What can follow `value.` or `value:`; handles have their methods in their metatable.
local function members(value)
  if type(value) == 'table' then return value end
  local mt = getmetatable(value)
  local index = type(mt) == 'table' and rawget(mt, '__index')
  return type(index) == 'table' and index or {}
end

-- The value of a.b.c, without calling anything.
local function resolve(env, path)
  local value = env
  for name in path:gmatch('[%a_][%w_]*') do
    local ok, found = pcall(rawget, members(value), name)
    if not ok then return nil end
    value = found
    if value == nil then return nil end
  end
  return value
end

--- Completions of the word before the cursor.
---@param env table the globals of the REPL
---@param word string
---@param others? table more globals
---@return string[]
function M.words(env, word, others)
  local path, separator, start = word:match('^(.-)([.:]?)([%a_]?[%w_]*)$')
  if not path then return {} end
  local tables
  if separator == '' then
    if path ~= '' then return {} end
    tables = { env, others or {} }
  else
    tables = { members(resolve(env, path) or resolve(others or {}, path)) }
  end
  local seen, out = {}, {}
  for _, t in ipairs(tables) do
    for name, value in next, t do
      local fits = type(name) == 'string' and name:sub(1, #start) == start
        and name:match('^[%a_][%w_]*$') and not name:match('^__')
        and (separator ~= ':' or type(value) == 'function')
      if fits and not seen[name] then
        seen[name] = true
        out[#out + 1] = path .. separator .. name
      end
    end
  end
  table.sort(out)
  return out
end

return M
