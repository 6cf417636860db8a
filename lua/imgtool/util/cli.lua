--- The command line of one command: from its list of arguments to an argparse parser and to values.
---
--- An argument: name (the key of its value); operand (NAME) or option (--x) with argname, or flag
--- (--x) with value (default true); doc; convert (text to value, or nil and a message); choices,
--- default_text (for documentation); many (an operand that takes the rest); required.
local argparse = require 'argparse'
local check = require 'imgtool.job.check'
local nearest = require 'imgtool.util.nearest'
local schema = require 'imgtool.job.schema'
local size = require 'imgtool.util.size'

local M = {}

--- What every command takes.
M.help = { name = 'help', flag = '--help', short = '-h', doc = 'Show this help.' }
M.verbose = { name = 'verbose', flag = '--verbose', short = '-v',
  doc = 'When something fails, show where in the program.' }

--- What commands take that answer or work for a while.
M.json = { name = 'json', flag = '--json', doc = 'One JSON object per line, for programs.' }
M.quiet = { name = 'quiet', flag = '--quiet', short = '-q',
  doc = 'No progress and no summary; warnings and errors stay.' }
M.log_file = { name = 'log_file', option = '--log-file', argname = 'FILE',
  doc = 'Append messages, with the time, to FILE.' }
M.reporting = { M.json, M.quiet, M.log_file }

-- The default of a field as text for people, or nil.
local function default_text(field)
  if field.default_text then return field.default_text end
  if field.default == nil or field.type == 'boolean' then return nil end
  if field.type == 'size' then return size.exact(field.default) end
  return tostring(field.default)
end

local function option_of(field, action)
  local name = schema.of(field.option, action)
  local entry = { name = field.name, doc = schema.of(field.doc, action), field = field }
  if field.type == 'boolean' then
    entry.flag = name
    return entry
  end
  entry.option, entry.argname = name, schema.of(field.argname, action)
  entry.choices, entry.default_text = field.choices, default_text(field)
  entry.convert = function(text) return check.value(field, text) end
  return entry
end

--- The arguments of a command for one action of the schema: operands for what may be one, the
--- options of all fields but those in `except`, then `more`.
---@param action string
---@param except? table<string, boolean>
---@param more? table[]
---@return table[]
function M.of_action(action, except, more)
  local operands, options = {}, {}
  for _, field in ipairs(schema.fields_of(action)) do
    if not (except and except[field.name]) then
      if schema.of(field.operand, action) then
        local entry = option_of(field, action)
        operands[#operands + 1] = { name = field.name .. '_operand', field_name = field.name,
          operand = entry.argname, doc = entry.doc, convert = entry.convert,
          unless = schema.of(field.unless, action) }
        entry.doc = ('The same as %s.'):format(entry.argname)
        options[#options + 1] = entry
      elseif field.flags then
        for _, flag in ipairs(field.flags) do
          options[#options + 1] = { name = field.name, flag = flag.option, value = flag.value,
            doc = flag.doc .. (flag.value == field.default and ' The default.' or '') }
        end
      elseif field.option then
        options[#options + 1] = option_of(field, action)
      end
    end
  end
  table.move(options, 1, #options, #operands + 1, operands)
  return table.move(more or {}, 1, #(more or {}), #operands + 1, operands)
end

--- The options of some fields of an action, then `more`.
---@param action string
---@param names string[]
---@param more table[]
---@return table[]
function M.of_fields(action, names, more)
  local options, wanted = {}, {}
  for _, name in ipairs(names) do wanted[name] = true end
  for _, field in ipairs(schema.fields_of(action)) do
    if wanted[field.name] then options[#options + 1] = option_of(field, action) end
  end
  return table.move(more, 1, #more, #options + 1, options)
end

--- All arguments of a command, with those that every command takes.
---@param command table
---@return table[]
function M.arguments(command)
  local all = table.move(command.args, 1, #command.args, 1, {})
  all[#all + 1] = M.verbose
  all[#all + 1] = M.help
  return all
end

--- The text of an argument's documentation, with choices and default.
---@param entry table
---@return string
function M.describe(entry)
  local text = entry.doc
  if entry.choices then
    text = ('%s One of %s.'):format(text, table.concat(entry.choices, ', '))
  end
  if entry.default_text then text = ('%s Default: %s.'):format(text, entry.default_text) end
  return text
end

local function add_operand(parser, entry)
  local argument = parser:argument(entry.operand):target(entry.name):argname(entry.operand)
    :args(entry.many and '*' or '?'):description(M.describe(entry))
  if entry.convert then argument:convert(entry.convert) end
  return argument
end

local function add_option(parser, entry)
  local option = parser:option(entry.option):target(entry.name):argname(entry.argname)
    :description(M.describe(entry))
  local convert = entry.convert or entry.choices and function(text)
    return check.value({ type = 'choice', choices = entry.choices }, text)
  end
  if convert then
    option:convert(function(text)
      local value, message = convert(text)
      if value == nil then return nil, ('%s: %s'):format(entry.option, message) end
      return value
    end)
  end
  return option
end

local function add_flag(parser, entry)
  local names = entry.short and entry.short .. ' ' .. entry.flag or entry.flag
  local value = entry.value == nil and true or entry.value
  return parser:flag(names):target(entry.name):description(M.describe(entry))
    :action(function(result, target) result[target] = value end)
end

local function usage_of(command)
  local parts = { 'Usage: imgtool', command.name, '[OPTIONS]' }
  for _, entry in ipairs(command.args) do
    if entry.operand then
      parts[#parts + 1] = entry.many and ('[%s...]'):format(entry.operand)
        or entry.required and entry.operand or ('[%s]'):format(entry.operand)
    end
  end
  return table.concat(parts, ' ')
end

--- The argparse parser of a command.
---@param command table
function M.parser(command)
  local parser = argparse('imgtool ' .. command.name):add_help(false):usage(usage_of(command))
    :description(command.summary .. '.')
    :help_max_width(96):usage_max_width(96):help_description_margin(30)
  local flags = {}
  for _, entry in ipairs(M.arguments(command)) do
    if entry.operand then
      add_operand(parser, entry)
    elseif entry.option then
      add_option(parser, entry)
    else
      flags[entry.name] = flags[entry.name] or {}
      table.insert(flags[entry.name], add_flag(parser, entry))
    end
  end
  for _, alternatives in pairs(flags) do
    if #alternatives > 1 then parser:mutex(table.unpack(alternatives)) end
  end
  return parser
end

-- argparse knows names at a distance of one only.
local function improve(message, command)
  local wrong = message:match("^unknown option '(.-)'")
  if not wrong then return message end
  local names = {}
  for _, entry in ipairs(M.arguments(command)) do names[#names + 1] = entry.option or entry.flag end
  return ("unknown option '%s'%s"):format(wrong, nearest.hint(wrong, names))
end

-- Operands fill what no option gave, in their order. With `instead`, an option of another way to
-- use the command, none is needed.
local function place_operands(command, values)
  local operands, fields = {}, {}
  local other = command.instead and values[command.instead] ~= nil
  for _, entry in ipairs(command.args) do
    if entry.operand and entry.field_name then
      operands[#operands + 1] = values[entry.name]
      values[entry.name] = nil
      fields[#fields + 1] = entry
    end
  end
  local next_operand = 1
  for _, entry in ipairs(fields) do
    local stands_in = entry.unless and values[entry.unless] ~= nil
    if values[entry.field_name] == nil and operands[next_operand] ~= nil and not stands_in then
      values[entry.field_name] = operands[next_operand]
      next_operand = next_operand + 1
    end
    if values[entry.field_name] == nil and not other and not stands_in then
      return nil, ('%s is missing'):format(entry.operand)
    end
  end
  if next_operand <= #operands then
    return nil, ("unexpected argument '%s'"):format(operands[next_operand])
  end
  return values
end

local function missing(command, values)
  for _, entry in ipairs(command.args) do
    local value = values[entry.name]
    if entry.required and (value == nil or entry.many and #value == 0) then
      return entry.operand or entry.option
    end
  end
end

--- Values of a command line by name, or nil and what is wrong with it.
---@param command table
---@param argv string[]
---@return table? values, string? message
function M.parse(command, argv)
  local ok, values = M.parser(command):pparse(argv)
  if not ok then return nil, improve(values, command) end
  if values.help then return values end
  local message
  values, message = place_operands(command, values)
  if not values then return nil, message end
  local lacks = missing(command, values)
  if lacks then return nil, lacks .. ' is missing' end
  return values
end

--- The job of a command line: the fields of the schema among its values.
---@param action string
---@param values table
---@return table
function M.job(action, values)
  local job = { action = action }
  for _, field in ipairs(schema.fields_of(action)) do
    if field.name ~= 'action' then job[field.name] = values[field.name] end
  end
  return job
end

return M
