--- What the texts of an image say (docs/image-format-v2.md, 8), as far as it can be used. An image
--- is as hostile as the one who made it: a member of another type than it should have is not there.
--- Pure.
local check = require 'imgtool.job.check'
local json = require 'imgtool.util.json'
local schema = require 'imgtool.job.schema'

local M = {}

local function object(value) return type(value) == 'table' and value or {} end

local function text(value) return type(value) == 'string' and value or nil end

-- A number of bytes: not negative, and whole.
local function bytes(value) return math.type(value) == 'integer' and value >= 0 and value or nil end

--- What tells the source from another one, for policy/safety.lua.
---@param head_text string HEAD's text
---@return {serial: string?, wwn: string?, part_guid: string?}
function M.source(head_text)
  local source = object(object(json.decode(head_text)).source)
  return { serial = text(source.serial), wwn = text(source.wwn),
    part_guid = text(object(source.partition).guid) }
end

--- How the map came about: its kind ('used' or 'all'), and why when it is all.
---@param head_text string HEAD's text
---@return {kind: string?, reason: string?}
function M.map(head_text)
  local map = object(object(json.decode(head_text)).map)
  return { kind = text(map.kind), reason = text(map.reason) }
end

-- The value of a setting, when it is one that a job could have.
local function setting(value, name)
  for _, field in ipairs(schema.fields) do
    if field.name == name and value ~= nil then return (check.value(field, value)) end
  end
end

-- Which blocks a job asked for. Images of earlier versions tell only why all of them were taken.
local function mode_of(said, map)
  return setting(said.mode, 'mode') or (map.reason == 'asked for' and 'all_blocks' or 'used_only')
end

--- The settings that an incomplete image was begun with: what HEAD has in numbers from there, the
--- others from its text. nil when the text lacks them.
---@param head img.Head
---@return table? settings, table? decoded the whole text
function M.settings(head)
  local decoded = json.decode(head.text)
  local said = object(object(decoded).settings)
  local level, on_read_error = setting(said.level, 'level'),
    setting(said.on_read_error, 'on_read_error')
  if not level or not on_read_error then return nil end
  return {
    level = level, on_read_error = on_read_error, hash = head.hash, uuid = head.uuid,
    created = head.created_s, block_bytes = head.block_bytes, chunk_bytes = head.chunk_bytes,
    mode = mode_of(said, object(decoded.map)),
    exclude = type(said.exclude) == 'table' and said.exclude or nil,
  }, decoded
end

--- The result that META tells: its members that are whole numbers, and the bad ranges.
---@param meta string META's text
---@return table<string, integer> numbers, integer[][] bad_ranges offset and length
function M.result(meta)
  local result, numbers, ranges = object(object(json.decode(meta)).result), {}, json.array {}
  for key, value in pairs(result) do
    if type(key) == 'string' then numbers[key] = bytes(value) end
  end
  for _, range in ipairs(object(result.bad_ranges)) do
    local offset, length = bytes(object(range)[1]), bytes(object(range)[2])
    if offset and length then ranges[#ranges + 1] = { offset, length } end
  end
  return numbers, ranges
end

return M
