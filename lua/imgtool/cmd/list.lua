--- imgtool list: the disks and partitions of the machine, by what tells them from each other.
local cli = require 'imgtool.util.cli'
local device = require 'img.device'
local json = require 'imgtool.util.json'
local mounts = require 'imgtool.util.mounts'
local part_type = require 'imgtool.util.part_type'
local size = require 'imgtool.util.size'
local text = require 'imgtool.report.text'

local M = {
  name = 'list',
  summary = 'List disks by serial number and WWN, and partitions with start, type, file system,'
    .. ' mounts and holders',
  args = { cli.json },
}

local DISK_HEAD = { 'DISK', 'SIZE', 'KIND', 'BUS', 'MODEL', 'SERIAL', 'WWN', 'TABLE', 'SECTOR',
  'USED' }
local PART_HEAD = { 'NAME', 'START', 'SIZE', 'TYPE', 'FS', 'LABEL', 'UUID', 'HELD BY' }

local function points_of(all_mounts, name)
  local points = json.array {}
  for _, mount in ipairs(mounts.of_devices(all_mounts, { name })) do
    points[#points + 1] = mount.point
  end
  return points
end

-- What holds a device, and whether it is in use; unknown where it can't be opened.
local function holders_of(path)
  local dev <close> = device.open(path)
  if not dev then return nil, nil end
  local holders, in_use = device.holders(dev)
  if holders == nil then return nil, nil end
  return holders, in_use
end

--- All devices with their mounts and holders.
---@return table[]? found, string? message, integer? code
function M.gather()
  local found, message, code = device.list()
  if not found then return nil, message, code end
  local all_mounts = mounts.read()
  for _, identity in ipairs(found) do
    identity.mounts = points_of(all_mounts, identity.name)
    identity.holders, identity.in_use = holders_of(identity.path)
  end
  return found
end

local function clean(cells)
  for i, cell in ipairs(cells) do cells[i] = text.clean(cell) end
  return cells
end

local function used_word(found)
  if found.in_use == nil then return '?' end
  return found.in_use and 'in use' or 'no'
end

local function disk_row(found)
  return clean { found.name, size.human(found.size_bytes), found.kind, found.bus, found.model,
    found.serial, found.wwn, found.part_table, ('%d/%d'):format(found.logical_bytes,
      found.physical_bytes), used_word(found) }
end

local function part_row(found)
  local held = table.concat(found.mounts, ', ')
  if held == '' then held = (found.holders or '?'):gsub('\n', '; ') end
  return clean { found.name, ('%d'):format(found.start_bytes), size.human(found.size_bytes),
    found.parent ~= '' and part_type.name(found.part_type) or 'whole', found.fs_type,
    found.fs_label ~= '' and found.fs_label or found.part_name, found.fs_uuid, held }
end

local function page(all)
  local disks, parts = { DISK_HEAD }, { PART_HEAD }
  for _, found in ipairs(all) do
    if found.parent == '' then disks[#disks + 1] = disk_row(found) end
    if found.parent ~= '' or found.fs_type ~= '' or #found.mounts > 0 then
      parts[#parts + 1] = part_row(found)
    end
  end
  return text.table(disks, { [2] = true }) .. '\n\n'
    .. text.table(parts, { [2] = true, [3] = true })
end

function M.run(_, report)
  local found, message, code = M.gather()
  if not found then return nil, message, code end
  if report.json then
    for _, identity in ipairs(found) do report:event('device', identity) end
  else
    report:answer('list', {}, page(found))
  end
  return true
end

return M
