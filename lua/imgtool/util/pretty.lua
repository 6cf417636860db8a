--- Values as Lua text for the REPL: keys sorted, nested tables indented, large ones cut.
local M = {}

local MAX_ITEMS <const> = 100
local MAX_DEPTH <const> = 6
local WIDTH <const> = 80

local function key_text(key)
  if type(key) == 'string' and key:match('^[%a_][%w_]*$') then return key end
  return '[' .. (type(key) == 'string' and ('%q'):format(key) or tostring(key)) .. ']'
end

local RANK = { number = 1, string = 2 }

local function sorted_keys(t)
  local keys = {}
  for key in next, t do keys[#keys + 1] = key end
  table.sort(keys, function(a, b)
    local ra, rb = RANK[type(a)] or 3, RANK[type(b)] or 3
    if ra ~= rb then return ra < rb end
    if ra == 3 then return tostring(a) < tostring(b) end
    return a < b
  end)
  return keys
end

local function scalar(value)
  if type(value) ~= 'string' then return tostring(value) end
  -- No control characters: a name on a disk does not talk to the terminal. Bytes that are no UTF-8
  -- are no text at all.
  local special = utf8.len(value) and '[%c"\\\127]' or '[%c"\\\127-\255]'
  value = value:gsub(special, function(c)
    if c == '"' or c == '\\' then return '\\' .. c end
    return c == '\n' and '\\n' or ('\\%03d'):format(c:byte())
  end)
  value = value:gsub('\xC2([\x80-\x9F])', function(c) return ('\\194\\%d'):format(c:byte()) end)
  return '"' .. value .. '"'
end

local show

local function items_of(t, depth, seen)
  local items, n = {}, #t
  local keys = sorted_keys(t)
  for i, key in ipairs(keys) do
    if i > MAX_ITEMS then
      items[#items + 1] = ('... %d more'):format(#keys - MAX_ITEMS)
      break
    end
    local value = show(t[key], depth + 1, seen)
    local positional = math.type(key) == 'integer' and key >= 1 and key <= n
    items[#items + 1] = positional and value or key_text(key) .. ' = ' .. value
  end
  return items
end

local function show_table(t, depth, seen)
  if seen[t] then return '<a table above>' end
  if depth >= MAX_DEPTH then return '{ ... }' end
  if next(t) == nil then return '{}' end
  seen[t] = true
  local items = items_of(t, depth, seen)
  seen[t] = nil
  local line = '{ ' .. table.concat(items, ', ') .. ' }'
  if #line + depth * 2 <= WIDTH and not line:find('\n') then return line end
  local indent = ('  '):rep(depth + 1)
  return ('{\n%s%s\n%s}'):format(indent, table.concat(items, ',\n' .. indent), ('  '):rep(depth))
end

function show(value, depth, seen)
  local mt = type(value) == 'table' and getmetatable(value)
  if type(value) ~= 'table' or mt and mt.__tostring then return scalar(value) end
  return show_table(value, depth, seen)
end

--- A value as text.
---@param value any
---@return string
function M.show(value)
  return show(value, 0, {})
end

return M
