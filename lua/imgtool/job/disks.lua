--- The disks of the machine as job scripts see them: facts for policy/disk_choice.lua.
local device = require 'img.device'
local disk = require 'img.disk'
local facts = require 'imgtool.job.facts'
local fail = require 'imgtool.util.fail'
local fs = require 'img.fs'
local mounts = require 'imgtool.util.mounts'
local sys = require 'img.sys'

local M = {}

local try = fail.try

-- Where a device, its partitions and what is stacked on them are mounted.
local function points_of(identity, all_mounts)
  local out = {}
  local names = mounts.names_above(identity, sys.realpath(identity.path) or identity.path)
  for _, mount in ipairs(mounts.of_devices(all_mounts, names)) do out[#out + 1] = mount.point end
  return out
end

local DISK = { 'path', 'kind', 'bus', 'model', 'serial', 'wwn', 'disk_id', 'fs_label', 'fs_uuid',
  'fs_type', 'size_bytes', 'logical_bytes', 'read_only', 'removable', 'rotational' }

local function disk_of(identity, all_mounts)
  local out = { table = identity.part_table, mounts = points_of(identity, all_mounts),
    partitions = {} }
  for _, name in ipairs(DISK) do out[name] = identity[name] end
  return out
end

local function part_of(identity, all_mounts)
  return {
    number = identity.part_number, path = identity.path, type = identity.part_type,
    guid = identity.part_guid, name = identity.part_name, fs_type = identity.fs_type,
    fs_label = identity.fs_label, fs_uuid = identity.fs_uuid, size_bytes = identity.size_bytes,
    start_bytes = identity.start_bytes, mounts = points_of(identity, all_mounts),
  }
end

-- What the kernel shows no partitions of: a file, or a loop device that was set up without them.
local function read_partitions(out)
  local dev <close> = device.open(out.path)
  local found = dev and disk.read(dev)
  if not found or found.table == 'none' then return end
  out.table, out.disk_id = found.table, found.id
  for _, part in ipairs(found.partitions) do
    if not part.container then
      local slice <close> = try(device.slice(dev, part.start_bytes, part.size_bytes))
      local report = fs.probe(slice) or { type = '', label = '', uuid = '' }
      out.partitions[#out.partitions + 1] = {
        number = part.index, path = '', type = part.type, guid = part.guid, name = part.name,
        fs_type = report.type, fs_label = report.label, fs_uuid = report.uuid,
        size_bytes = part.size_bytes, start_bytes = part.start_bytes, mounts = {},
      }
    end
  end
end

local function machine()
  local out, by_name, all_mounts = {}, {}, mounts.read()
  for _, identity in ipairs(try(device.list())) do
    if identity.parent == '' then
      out[#out + 1] = disk_of(identity, all_mounts)
      by_name[identity.name] = out[#out]
    elseif by_name[identity.parent] then
      local parts = by_name[identity.parent].partitions
      parts[#parts + 1] = part_of(identity, all_mounts)
    end
  end
  for _, found in ipairs(out) do
    if #found.partitions == 0 and found.size_bytes > 0 then read_partitions(found) end
  end
  return out
end

local function of_file(path)
  local dev <close> = try(device.open(path))
  local out = disk_of(try(device.identity(dev)), mounts.read())
  out.path = path
  read_partitions(out)
  return out
end

--- All disks of the machine, each with its partitions; or the one in a file, when a file is asked
--- for by its path.
---@param path string? asked for; may be a link
---@return table[] disks
function M.gather(path)
  if path and facts.type_of(path) == 'file' then return { of_file(path) } end
  local all, real = machine(), path and sys.realpath(path)
  for _, found in ipairs(all) do
    if real and found.path == real then found.asked_path = path end
  end
  return all
end

--- What stands for a disk while a script is only checked.
---@param criteria table
---@param n integer another one for another disk
---@return table
function M.placeholder(criteria, n)
  local out = { table = '', mounts = {}, partitions = {}, size_bytes = 0, logical_bytes = 0,
    read_only = false, removable = false, rotational = false }
  for _, name in ipairs(DISK) do
    if out[name] == nil then out[name] = '' end
    if type(criteria[name]) == type(out[name]) then out[name] = criteria[name] end
  end
  if out.path == '' then out.path = ('/dev/disk%d'):format(n) end
  return out
end

return M
