--- The manifest of a set (docs/manifest.md): encoding, strict decoding. Pure.
local check_sense = require 'imgtool.job.manifest_check'
local json = require 'imgtool.util.json'
local sys = require 'img.sys'
local time = require 'imgtool.util.time'

local M = {}

M.FILE = check_sense.FILE
M.STATE = check_sense.STATE
M.FORMAT = 'imgtool-set'
M.VERSION = 1
--- A reader refuses a longer text.
M.MAX_BYTES = 4 << 20
--- So many bad ranges are listed.
M.MAX_RANGES = check_sense.MAX_RANGES

local EXACT <const> = 1 << 53
local HEX = '[0-9a-f]'

-- ---- Types: the value in Lua, or nil and what is wrong ----

local TYPES = {}

function TYPES.text(value)
  if type(value) ~= 'string' or value == '' or #value > 1024 then
    return nil, 'a text of 1 to 1024 bytes is expected'
  end
  if value:find('[\0-\31\127]') then return nil, 'it has control characters' end
  return value
end

function TYPES.bytes(value)
  local number = value
  if type(value) == 'string' then
    number = value:match('^[1-9]%d*$') and #value <= 19 and math.tointeger(tonumber(value))
    if not number or number < EXACT then number = nil end
  elseif math.type(value) ~= 'integer' or value < 0 or value >= EXACT then
    number = nil
  end
  if not number then return nil, 'a number of bytes is expected' end
  return number
end

function TYPES.count(value, field)
  if math.type(value) ~= 'integer' or value < 0 or value >= EXACT then
    return nil, 'a whole number is expected'
  end
  if field.sector and (value < 512 or value > 65536 or value & (value - 1) ~= 0) then
    return nil, ('%d is no sector size'):format(value)
  end
  return value
end

function TYPES.flag(value)
  if type(value) ~= 'boolean' then return nil, 'true or false is expected' end
  return value
end

function TYPES.time(value)
  if type(value) ~= 'string' or value:match('^%d+$') or not time.parse(value) then
    return nil, 'a time is expected'
  end
  return value
end

function TYPES.uuid(value)
  local form = ('^%s%%-%s%%-%s%%-%s%%-%s$'):format(HEX:rep(8), HEX:rep(4), HEX:rep(4), HEX:rep(4),
    HEX:rep(12))
  if type(value) ~= 'string' or not value:match(form) then return nil, 'a UUID is expected' end
  return value
end

function TYPES.file(value)
  if type(value) ~= 'string' or value == '' or #value > 255 or value:sub(1, 1) == '.'
    or value:find('[/\0-\31\127]') then
    return nil, 'the plain name of a file in the set\'s directory is expected'
  end
  return value
end

function TYPES.hex64(value)
  if type(value) ~= 'string' or not value:match('^0x%x+$') or #value > 18 then
    return nil, '0x and hexadecimal digits are expected'
  end
  return value
end

function TYPES.root(value)
  if type(value) ~= 'string' or #value ~= 64 or not value:match('^' .. HEX .. '+$') then
    return nil, 'a SHA-256 in hexadecimal is expected'
  end
  return value
end

function TYPES.choice(value, field)
  for _, choice in ipairs(field.choices) do
    if value == choice then return value end
  end
  return nil, ('one of %s is expected'):format(table.concat(field.choices, ', '))
end

-- ---- The members of each object ----

local function member(name, kind, more)
  local field = more or {}
  field.name, field.type = name, kind
  return field
end

local function optional(name, kind, more)
  local field = member(name, kind, more)
  field.optional = true
  return field
end

local MAP = {
  member('kind', 'choice', { choices = { 'used', 'all' } }), optional('reason', 'text'),
}

local IMAGE = {
  member('file', 'file'), member('file_bytes', 'bytes'), member('uuid', 'uuid'),
  member('root', 'root'), member('source_bytes', 'bytes'), member('map', MAP),
  member('data_bytes', 'bytes'), member('zero_bytes', 'bytes'), member('free_bytes', 'bytes'),
  member('bad_bytes', 'bytes'), member('bad_range_bytes', 'bytes'),
  member('bad_range_count', 'count'), member('bad_ranges', 'ranges'), member('finished', 'time'),
}

local FILE_SYSTEM = { optional('type', 'text'), optional('label', 'text'),
  optional('uuid', 'text') }

local SOURCE = {
  member('path', 'text'),
  member('kind', 'choice',
    { choices = { 'disk', 'partition', 'loop', 'dm', 'md', 'rom', 'file' } }),
  optional('model', 'text'), optional('serial', 'text'), optional('wwn', 'text'),
  member('size_bytes', 'bytes'), member('logical_bytes', 'count', { sector = true }),
  member('physical_bytes', 'count'),
}

local TABLE = {
  member('type', 'choice', { choices = { 'gpt', 'dos', 'none' } }), optional('id', 'text'),
  optional('first_usable_bytes', 'bytes'), optional('end_usable_bytes', 'bytes'),
  optional('primary_valid', 'flag'), optional('backup_valid', 'flag'),
  member('unallocated', 'flag'), optional('note', 'text'),
}

local PARTITION = {
  member('index', 'count'), optional('type', 'text'), optional('guid', 'text'),
  optional('name', 'text'), optional('attributes', 'hex64'), member('active', 'flag'),
  member('logical', 'flag'), member('container', 'flag'), member('start_bytes', 'bytes'),
  member('size_bytes', 'bytes'), optional('file_system', FILE_SYSTEM),
  optional('mount_point', 'text'), optional('image', IMAGE),
}

local VOLUME = {
  member('index', 'count'), member('source', SOURCE), optional('file_system', FILE_SYSTEM),
  optional('mount_point', 'text'), member('image', IMAGE),
}

local HEAD = {
  member('format', 'text'), member('version', 'count'),
  member('kind', 'choice', { choices = { 'disk', 'volumes' } }), member('uuid', 'uuid'),
  member('tool', 'text'), optional('host', 'text'), member('started', 'time'),
  member('finished', 'time'), member('snapshot', 'choice', { choices = { 'none' } }),
}

local function manifest_of(...)
  local fields = table.move(HEAD, 1, #HEAD, 1, {})
  return table.move({ ... }, 1, select('#', ...), #fields + 1, fields)
end

local KINDS = {
  disk = manifest_of(member('source', SOURCE), member('table', TABLE), optional('regions', IMAGE),
    member('partitions', PARTITION, { many = true })),
  volumes = manifest_of(member('volumes', VOLUME, { many = true })),
}

-- ---- Checking ----

-- Raised as a plain table, caught in M.decode.
local function refuse(path, reason, ...)
  error({ manifest = ('%s: %s'):format(path, reason:format(...)) }, 0)
end

-- An array of JSON: keys 1 to n. An empty object can't be told from it, and does no harm.
local function elements(value, path)
  if type(value) ~= 'table' then refuse(path, 'an array is expected') end
  local n = 0
  for key in pairs(value) do
    if math.type(key) ~= 'integer' then refuse(path, 'an array is expected') end
    n = n + 1
  end
  if n ~= #value then refuse(path, 'an array is expected') end
  return n
end

function TYPES.ranges(value, _, path)
  local out = json.array {}
  if elements(value, path) > M.MAX_RANGES then refuse(path, 'too long') end
  for i, range in ipairs(value) do
    local at = ('%s[%d]'):format(path, i)
    if elements(range, at) ~= 2 then refuse(at, 'an offset and a length are expected') end
    out[i] = {}
    for k = 1, 2 do
      local number, reason = TYPES.bytes(range[k])
      if not number then refuse(at, '%s', reason) end
      out[i][k] = number
    end
  end
  return out
end

local check_object

local function check_value(field, value, path)
  if type(field.type) == 'table' then return check_object(field.type, value, path) end
  local checked, reason = TYPES[field.type](value, field, path)
  if checked == nil then refuse(path, '%s', reason) end
  return checked
end

local function check_member(field, value, path)
  if not field.many then return check_value(field, value, path) end
  local out = json.array {}
  for i = 1, elements(value, path) do
    out[i] = check_value(field, value[i], ('%s[%d]'):format(path, i))
  end
  return out
end

function check_object(fields, value, path)
  if type(value) ~= 'table' then refuse(path, 'an object is expected') end
  local out, known = {}, {}
  local prefix = path == '' and '' or path .. '.'
  for _, field in ipairs(fields) do
    known[field.name] = true
    if value[field.name] ~= nil then
      out[field.name] = check_member(field, value[field.name], prefix .. field.name)
    elseif not field.optional then
      refuse(prefix .. field.name, 'is missing')
    end
  end
  local unknown
  for key in pairs(value) do
    key = tostring(key)
    if not known[key] and (not unknown or key < unknown) then unknown = key end
  end
  if unknown then refuse(prefix .. unknown:sub(1, 64):gsub('%c', '?'), 'no such member') end
  return out
end

local function check(value)
  if type(value) ~= 'table' or value.format ~= M.FORMAT then
    return nil, 'is no manifest of a set', 'format'
  end
  if value.version ~= M.VERSION then
    return nil, ('version %s is not supported'):format(tostring(value.version)), 'format'
  end
  local fields = type(value.kind) == 'string' and KINDS[value.kind]
  if not fields then refuse('kind', 'one of disk, volumes is expected') end
  local m = check_object(fields, value, '')
  local path, reason = check_sense.manifest(m)
  if path then refuse(path, '%s', reason) end
  return m
end

--- A manifest out of its text: checked, with all sizes as integers; or nil, message, code. The
--- message names the member that is refused.
---@param text string
---@return table? manifest, string? message, integer? code
function M.decode(text)
  if #text > M.MAX_BYTES then
    return nil, ('has more than %d bytes'):format(M.MAX_BYTES), sys.codes.format
  end
  local value, message = json.decode(text)
  if value == nil then return nil, 'is no JSON: ' .. message, sys.codes.format end
  local ok, m, reason, word = pcall(check, value)
  if ok then return m, reason, word and sys.codes[word] end
  if type(m) == 'table' and m.manifest then return nil, m.manifest, sys.codes.damaged end
  error(m, 0)
end

-- ---- Encoding ----

-- A copy with numbers that most readers would round as text.
local function exact(value)
  if math.type(value) == 'integer' and value >= EXACT then return ('%d'):format(value) end
  if type(value) ~= 'table' then return value end
  local out = setmetatable({}, getmetatable(value))
  for key, inner in pairs(value) do out[key] = exact(inner) end
  return out
end

--- The text of a manifest. Throws when `decode` would refuse it.
---@param manifest table
---@return string
function M.encode(manifest)
  local text = json.encode(exact(manifest)) .. '\n'
  local ok, message = M.decode(text)
  if not ok then error('the manifest: ' .. message, 2) end
  return text
end

--- A text from a device as a member: nil when empty, without what a manifest does not take.
---@param value string?
---@return string?
function M.text(value)
  if value == nil or value == '' then return nil end
  if not utf8.len(value) then value = value:gsub('[\128-\255]', '?') end
  value = value:gsub('[\0-\31\127]', '?')
  while #value > 1024 do value = value:sub(1, utf8.offset(value, -1) - 1) end
  return value
end

return M
