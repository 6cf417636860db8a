--- Hold a job against the schema: types, limits, unknown keys. Pure.
local nearest = require 'imgtool.util.nearest'
local schema = require 'imgtool.job.schema'
local size = require 'imgtool.util.size'
local time = require 'imgtool.util.time'

local M = {}

local function check_range(field, value, show)
  if field.min and value < field.min then
    return nil, ('%s is too small, the least is %s'):format(show(value), show(field.min))
  end
  if field.max and value > field.max then
    return nil, ('%s is too large, the most is %s'):format(show(value), show(field.max))
  end
  return value
end

local function plain(value) return ('%d'):format(value) end

local function is_text(value) return type(value) == 'string' and value ~= '' end

--- A check per type: the value in its final form, or nil and what is wrong. `value` is what a job
--- file holds, or a command line's text.
local TYPES = {}

function TYPES.path(_, value)
  if not is_text(value) or value:find('\0', 1, true) then return nil, 'a path is expected' end
  return value
end

-- Whether a table is a list: a gap (a value that is nil) would end it early, and lose the rest.
local function is_list(value)
  local count = 0
  for _ in pairs(value) do count = count + 1 end
  for i = 1, count do
    if value[i] == nil then return false end
  end
  return true
end

-- A list: of a job file a table, of the command line a text with commas.
function TYPES.paths(field, value)
  local list = {}
  if type(value) == 'string' then
    for path in value:gmatch('[^,]+') do list[#list + 1] = path end
  elseif type(value) == 'table' then
    if not is_list(value) then return nil, 'a list of paths without gaps or names is expected' end
    list = table.move(value, 1, #value, 1, {})
  end
  if #list == 0 then return nil, 'a list of paths is expected' end
  for i, path in ipairs(list) do
    local checked, message = TYPES.path(field, path)
    if not checked then return nil, ('[%d]: %s'):format(i, message) end
  end
  return list
end

function TYPES.text(_, value)
  if not is_text(value) then return nil, 'a text is expected' end
  return value
end

function TYPES.boolean(_, value)
  if type(value) ~= 'boolean' then return nil, 'true or false is expected' end
  return value
end

function TYPES.integer(field, value)
  local number = math.tointeger(tonumber(value))
  if not number then return nil, ("a whole number is expected, not '%s'"):format(value) end
  return check_range(field, number, plain)
end

TYPES['size'] = function(field, value)
  local bytes, message = value, nil
  if type(value) == 'string' then bytes, message = size.parse(value) end
  if message then return nil, message end
  bytes = math.tointeger(bytes)
  if not bytes then return nil, 'a whole number of bytes, or a text such as 512M, is expected' end
  if field.power_of_two and (bytes <= 0 or bytes & (bytes - 1) ~= 0) then
    return nil, ('%s is no power of two'):format(size.exact(bytes))
  end
  return check_range(field, bytes, size.exact)
end

function TYPES.choice(field, value)
  for _, choice in ipairs(field.choices) do
    if value == choice then return value end
  end
  return nil, ("'%s' is none of %s%s"):format(value, table.concat(field.choices, ', '),
    nearest.hint(tostring(value), field.choices))
end

function TYPES.time(_, value)
  if math.type(value) == 'integer' and value >= 0 and value <= time.MAX then return value end
  if type(value) ~= 'string' then return nil, 'a time is expected' end
  return time.parse(value)
end

function TYPES.uuid(_, value)
  local text = type(value) == 'string' and value:lower() or ''
  if not text:match(('^' .. ('%x'):rep(8) .. ('%-' .. ('%x'):rep(4)):rep(3) .. '%-'
    .. ('%x'):rep(12) .. '$')) then
    return nil, ("'%s' is no UUID"):format(value)
  end
  if not text:find('[^0-]') then return nil, 'the UUID of zeros names nothing' end
  return text
end

TYPES['function'] = function(_, value)
  if type(value) ~= 'function' then return nil, 'a function is expected' end
  return value
end

-- The names in a text with commas between them, put after the others; or what is wrong.
local function add_words(field, text, out)
  if not is_text(text) then return 'the name of a rule, or a function, is expected' end
  for word in (text .. ','):gmatch('([^,]*),') do
    if not TYPES.choice({ choices = field.words }, word) then
      return ("'%s' is no rule: %s are%s"):format(word, table.concat(field.words, ', '),
        nearest.hint(word, field.words))
    end
    out[#out + 1] = word
  end
end

-- Rules: names, functions, or a list of both; always a list in the end.
TYPES['rules'] = function(field, value)
  local list, out = type(value) == 'table' and value or { value }, {}
  if not is_list(list) then return nil, 'a list of rules without gaps or names is expected' end
  if #list == 0 then return nil, 'an empty list of rules: leave it out' end
  for _, item in ipairs(list) do
    local message
    if type(item) == 'function' then
      out[#out + 1] = item
    else
      message = add_words(field, item, out)
    end
    if message then return nil, message end
  end
  return out
end

--- One value of a field, in its final form.
---@param field table
---@param value any
---@return any value, string? message
function M.value(field, value)
  if type(value) == 'table' and field.type ~= 'paths' and field.type ~= 'rules' then
    return nil, 'a table has no place here'
  end
  return TYPES[field.type](field, value)
end

local function names_of(fields)
  local out = {}
  for _, field in ipairs(fields) do out[#out + 1] = field.name end
  return out
end

-- A mistake in a job, for people and for programs.
local function mistake(name, message, near)
  return { field = name, message = ('job.%s: %s'):format(name, message), nearest = near }
end

-- Keys that are no field, in a stable order.
local function unknown_keys(job, fields, action)
  local known, wrong, names = {}, {}, names_of(fields)
  for _, name in ipairs(names) do known[name] = true end
  for key in pairs(job) do
    if not known[key] then wrong[#wrong + 1] = tostring(key) end
  end
  table.sort(wrong)
  for i, key in ipairs(wrong) do
    wrong[i] = mistake(key, ("no such field of the action '%s'%s"):format(action,
      nearest.hint(key, names)), nearest.name(key, names))
  end
  return wrong
end

--- A job with its defaults, and all mistakes in it: what is wrong has no value. What was not said
--- and has no fixed default stays nil. `given` tells what was said.
---@param job any
---@return table checked, {field: string?, message: string, nearest: string?}[] mistakes
function M.examine(job)
  local checked = { given = {} }
  if type(job) ~= 'table' then return checked, { { message = 'job: a table is expected' } } end
  local action, message = M.value(schema.fields[1], job.action or schema.fields[1].default)
  if not action then
    return checked, { mistake('action', message, type(job.action) == 'string'
      and nearest.name(job.action, schema.fields[1].choices) or nil) }
  end
  local fields = schema.fields_of(action)
  local mistakes = unknown_keys(job, fields, action)
  for _, field in ipairs(fields) do
    local value = job[field.name]
    if value == nil then
      if schema.of(field.required, action) then
        mistakes[#mistakes + 1] = mistake(field.name, 'is missing')
      end
      checked[field.name] = field.default
    else
      checked.given[field.name] = true
      checked[field.name], message = M.value(field, value)
      if checked[field.name] == nil then
        mistakes[#mistakes + 1] = mistake(field.name, message, field.choices
          and type(value) == 'string' and nearest.name(value, field.choices) or nil)
      end
    end
  end
  return checked, mistakes
end

--- A checked job, or nil and what is wrong with which field first.
---@param job table
---@return table? checked, string? message
function M.job(job)
  local checked, mistakes = M.examine(job)
  if mistakes[1] then return nil, mistakes[1].message end
  return checked
end

return M
