--- JSON (RFC 8259), with integers as Lua integers.
---
--- Decoding is cjson's, which gives every number as a float: whole ones that a float holds
--- exactly become integers here, larger ones stay floats rather than become wrong integers. A null
--- member of an object is left out; a null element of an array is `M.null`. Encoding is done here,
--- because cjson writes 14 digits of a number, and objects in any order: integers are exact, keys
--- are sorted, equal values give equal text.
local cjson = require 'cjson'

local M = {}

--- JSON's null as an element of an array, or where a member is to be written although it is empty.
M.null = cjson.null

local MAX_DEPTH = 64
-- What decode takes apart: a text of an image may be of 16 MiB, and a table takes ten times the
-- bytes of the brackets that make it.
M.MAX_VALUES = 1 << 17
local EXACT = 2 ^ 53 -- below it no two integers share a float

local decoder = cjson.new()
decoder.decode_max_depth(MAX_DEPTH)
decoder.decode_invalid_numbers(false)

-- ---- Decoding ----

local function settle_number(x)
  if math.type(x) == 'integer' then return x end
  if x == math.huge or x == -math.huge then error('a number too large', 0) end
  return x > -EXACT and x < EXACT and math.tointeger(x) or x
end

-- Changes `t` in place. cjson gives arrays with integer keys only, objects with string keys only.
local function settle(t)
  for key, value in pairs(t) do
    if type(value) == 'table' then
      settle(value)
    elseif type(value) == 'number' then
      t[key] = settle_number(value)
    elseif value == M.null and type(key) == 'string' then
      t[key] = nil
    end
  end
  return t
end

--- How many values decode takes a text to have: at least as many as there are, and no more than one
--- above the limit.
---@param text string
---@return integer
function M.count_values(text)
  local n = 1
  for _ in text:gmatch('[%[{,]') do
    n = n + 1
    if n > M.MAX_VALUES then break end
  end
  return n
end

--- The value of a JSON text; nil and a message when it is none, nested too deeply, or has too many
--- values.
--- An empty array and an empty object are both an empty table.
---@param text string
---@return any value, string? message
function M.decode(text)
  local valid, position = utf8.len(text)
  if not valid then return nil, ('invalid UTF-8 at byte %d'):format(position) end
  if M.count_values(text) > M.MAX_VALUES then
    return nil, ('more than %d values'):format(M.MAX_VALUES)
  end
  local ok, value = pcall(decoder.decode, text)
  if ok then ok, value = pcall(settle, { value }) end
  if not ok then return nil, tostring(value) end
  return value[1]
end

-- ---- Encoding ----

local array_mt = { __name = 'json.array' }

--- Mark a table as an array, so that it is one even when it is empty.
---@param t? table
---@return table t
function M.array(t)
  return setmetatable(t or {}, array_mt)
end

local ESCAPES = { ['"'] = '\\"', ['\\'] = '\\\\', ['\b'] = '\\b', ['\f'] = '\\f', ['\n'] = '\\n',
  ['\r'] = '\\r', ['\t'] = '\\t' }

local function escape(char)
  return ESCAPES[char] or ('\\u%04x'):format(utf8.codepoint(char))
end

-- Bytes that are no UTF-8 (names from a damaged file system) can't be said in JSON: each becomes
-- the replacement character.
local function repair(s)
  local parts, from = {}, 1
  while from <= #s do
    local valid, bad = utf8.len(s, from)
    parts[#parts + 1] = s:sub(from, valid and #s or bad - 1)
    if valid then break end
    parts[#parts + 1] = '\u{FFFD}'
    from = bad + 1
  end
  return table.concat(parts)
end

-- Control characters, C1 ones too, are escaped: no name on a disk talks to a terminal.
local function encode_string(s)
  if not utf8.len(s) then s = repair(s) end
  s = s:gsub('[\0-\31\127"\\]', escape):gsub('\xC2[\x80-\x9F]', escape)
  return '"' .. s .. '"'
end

local function encode_number(x)
  if math.type(x) == 'integer' then return ('%d'):format(x) end
  if x ~= x or x == math.huge or x == -math.huge then error('not a finite number', 0) end
  for digits = 15, 17 do
    local text = ('%.' .. digits .. 'g'):format(x)
    if tonumber(text) == x then return text end
  end
end

-- Has `t` the keys 1 to n and no other?
local function is_sequence(t)
  local count, n = 0, #t
  for key in next, t do
    if math.type(key) ~= 'integer' or key < 1 or key > n then return false end
    count = count + 1
  end
  return count == n
end

local encode_value

local function encode_array(t, path, depth)
  local parts = {}
  for i = 1, #t do parts[i] = encode_value(t[i], ('%s[%d]'):format(path, i), depth) end
  return '[' .. table.concat(parts, ',') .. ']'
end

local function sorted_keys(t, path)
  local keys = {}
  for key in next, t do
    if type(key) ~= 'string' then
      error(('%s: a key that is no string: %s'):format(path, tostring(key)), 0)
    end
    keys[#keys + 1] = key
  end
  table.sort(keys)
  return keys
end

local function encode_object(t, path, depth)
  local parts = {}
  for i, key in ipairs(sorted_keys(t, path)) do
    parts[i] = encode_string(key) .. ':' .. encode_value(t[key], path .. '.' .. key, depth)
  end
  return '{' .. table.concat(parts, ',') .. '}'
end

local function encode_table(t, path, depth)
  -- A little more than decode takes: what was decoded is told inside something else.
  if depth > MAX_DEPTH + 8 then error(path .. ': nested too deeply', 0) end
  local marked = getmetatable(t) == array_mt
  if is_sequence(t) and (marked or next(t) ~= nil) then return encode_array(t, path, depth + 1) end
  if marked then error(path .. ': an array with other keys than 1 to n', 0) end
  return encode_object(t, path, depth + 1)
end

local ENCODERS = {
  boolean = tostring,
  string = encode_string,
  table = encode_table,
  number = function(x, path)
    local ok, text = pcall(encode_number, x)
    if not ok then error(('%s: %s'):format(path, text), 0) end
    return text
  end,
}

function encode_value(value, path, depth)
  if value == M.null then return 'null' end
  local encoder = ENCODERS[type(value)]
  if not encoder then error(('%s: a %s'):format(path, type(value)), 0) end
  return encoder(value, path, depth)
end

--- The JSON text of a value, on one line. A table with elements 1 to n is an array, any other an
--- object; an empty one is an object unless M.array marked it. Throws for what JSON can't say:
--- functions, keys that are no strings, infinities, a table inside itself.
---@param value any
---@return string
function M.encode(value)
  local ok, text = pcall(encode_value, value, 'value', 1)
  if not ok then error("can't be JSON: " .. tostring(text), 2) end
  return text
end

return M
