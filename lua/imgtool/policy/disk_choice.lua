--- Which disk a job script means, by what it is and what it holds and not by the name that it has
--- today. Pure: the disks of the machine (job/disks.lua) and criteria in, a disk out.
local nearest = require 'imgtool.util.nearest'
local size = require 'imgtool.util.size'

local M = {}

-- The type of an EFI system partition (UEFI 2.10, 5.3.3 and, of an MBR, 5.2.2).
local EFI = { ['c12a7328-f81f-11d2-ba4b-00a0c93ec93b'] = true, ['0xef'] = true }

local function same(a, b) return a ~= nil and a ~= '' and a:lower() == b:lower() end

-- Whether a disk or one of its partitions has the value under one of the names.
local function any_has(disk, names, value)
  local function has(of)
    for _, name in ipairs(names) do
      if same(of[name], value) then return true end
    end
    return false
  end
  if has(disk) then return true end
  for _, part in ipairs(disk.partitions) do
    if has(part) then return true end
  end
  return false
end

local function holds(disk, value)
  if value == 'efi' then
    for _, part in ipairs(disk.partitions) do
      if EFI[part.type:lower()] then return true end
    end
    return false
  end
  for _, point in ipairs(disk.mounts) do
    if point == value then return true end
  end
  return false
end

--- What a disk can be asked for, in the order of documentation and messages: name, type, doc, and
--- whether a disk answers.
M.criteria = {
  { name = 'serial', type = 'text', doc = 'its serial number',
    has = function(disk, value) return same(disk.serial, value) end },
  { name = 'wwn', type = 'text', doc = 'its World Wide Name',
    has = function(disk, value) return same(disk.wwn, value) end },
  { name = 'holds', type = 'text',
    doc = '`efi`: it has an EFI system partition; `/home`: what is mounted there lies on it',
    has = holds },
  { name = 'label', type = 'text',
    doc = 'the label of a file system on it, or the name of one of its partitions',
    has = function(disk, value) return any_has(disk, { 'fs_label', 'name' }, value) end },
  { name = 'guid', type = 'text',
    doc = 'the GUID or signature of its table, the GUID of one of its partitions, or the UUID of a'
      .. ' file system on it',
    has = function(disk, value) return any_has(disk, { 'disk_id', 'guid', 'fs_uuid' }, value) end },
  { name = 'path', type = 'text',
    doc = 'its device node or a link to it such as those in /dev/disk/by-id, or a file that holds'
      .. ' a disk',
    has = function(disk, value) return disk.path == value or disk.asked_path == value end },
  { name = 'kind', type = 'text', doc = 'as `imgtool list` says it, for example `disk` or `loop`',
    has = function(disk, value) return disk.kind == value end },
  { name = 'removable', type = 'boolean', doc = 'whether it is removable',
    has = function(disk, value) return disk.removable == value end },
}

local function names()
  local out = {}
  for i, criterion in ipairs(M.criteria) do out[i] = criterion.name end
  return out
end

local function wrong_value(criterion, value)
  if type(value) ~= (criterion.type == 'text' and 'string' or criterion.type) or value == '' then
    return criterion.type == 'text' and 'a text is expected' or 'true or false is expected'
  end
  if criterion.name == 'holds' and value ~= 'efi' and value:sub(1, 1) ~= '/' then
    return ("'efi' or the path of a mount is expected, not '%s'"):format(value)
  end
end

--- All mistakes in what a script asks for, as those of job/check.lua. `one`: it must not be empty.
---@param criteria any
---@param one boolean
---@return {field: string?, message: string, nearest: string?}[]
function M.mistakes(criteria, one)
  if type(criteria) ~= 'table' then return { { message = 'disk: a table is expected' } } end
  local out, known, wrong = {}, {}, {}
  for _, criterion in ipairs(M.criteria) do
    known[criterion.name] = true
    local value = criteria[criterion.name]
    local message = value ~= nil and wrong_value(criterion, value)
    if message then
      out[#out + 1] = { field = criterion.name,
        message = ('disk.%s: %s'):format(criterion.name, message) }
    end
  end
  for key in pairs(criteria) do
    if not known[key] then wrong[#wrong + 1] = tostring(key) end
  end
  table.sort(wrong)
  for _, key in ipairs(wrong) do
    out[#out + 1] = { field = key, nearest = nearest.name(key, names()),
      message = ('disk.%s: disks are not told by that%s'):format(key,
        nearest.hint(key, names())) }
  end
  if one and next(criteria) == nil then
    out[#out + 1] = { message = 'disk: which one? (disks() gives all)' }
  end
  return out
end

--- The disks that answer to all criteria, in their order.
---@param disks table[]
---@param criteria table
---@return table[]
function M.all(disks, criteria)
  local out = {}
  for _, disk in ipairs(disks) do
    local fits = true
    for _, criterion in ipairs(M.criteria) do
      local value = criteria[criterion.name]
      if value ~= nil and not criterion.has(disk, value) then fits = false end
    end
    if fits then out[#out + 1] = disk end
  end
  return out
end

-- `serial = 'S3Z', holds = 'efi'`
local function text_of(criteria)
  local parts = {}
  for _, criterion in ipairs(M.criteria) do
    local value = criteria[criterion.name]
    if value ~= nil then
      parts[#parts + 1] = type(value) == 'string' and ("%s = '%s'"):format(criterion.name, value)
        or ('%s = %s'):format(criterion.name, value)
    end
  end
  return table.concat(parts, ', ')
end

local function list_of(disks)
  local out = {}
  for i, disk in ipairs(disks) do
    local said = { size.human(disk.size_bytes) }
    for _, name in ipairs { 'model', 'serial', 'wwn' } do
      if disk[name] ~= '' then said[#said + 1] = ("%s '%s'"):format(name, disk[name]) end
    end
    out[i] = ('%s (%s)'):format(disk.path, table.concat(said, ', '))
  end
  return table.concat(out, '; ')
end

--- The one disk that answers to all criteria; or nil, why there is none, and the code's word.
---@param disks table[]
---@param criteria table
---@return table? disk, string? message, string? word
function M.one(disks, criteria)
  local found = M.all(disks, criteria)
  if #found == 1 then return found[1] end
  if #found > 1 then
    return nil, ('%d disks have %s, one is meant: %s'):format(#found, text_of(criteria),
      list_of(found)), 'refused'
  end
  return nil, ('no disk has %s; there %s'):format(text_of(criteria), #disks == 0 and 'is none'
    or 'are: ' .. list_of(disks)), 'not_found'
end

return M
