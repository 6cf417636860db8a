--- imgtool list: the disks and partitions of the machine.
local cli = require 'imgtool.util.cli'
local device = require 'img.device'
local json = require 'imgtool.util.json'
local mounts = require 'imgtool.util.mounts'
local size = require 'imgtool.util.size'
local text = require 'imgtool.report.text'

local M = {
  name = 'list',
  summary = 'List disks and partitions with model, serial number, size, file system and mounts',
  args = { cli.json },
}

local HEAD = { 'NAME', 'SIZE', 'TYPE', 'FS', 'LABEL', 'MODEL', 'SERIAL', 'MOUNTED' }

local function points_of(all_mounts, name)
  local points = json.array {}
  for _, mount in ipairs(mounts.of_devices(all_mounts, { name })) do
    points[#points + 1] = mount.point
  end
  return points
end

local function row_of(found)
  local cells = {
    (found.parent ~= '' and '  ' or '') .. found.name, size.human(found.size_bytes), found.kind,
    found.fs_type ~= '' and found.fs_type or found.part_table,
    found.fs_label ~= '' and found.fs_label or found.part_name, found.model, found.serial,
    table.concat(found.mounts, ', '),
  }
  for i, cell in ipairs(cells) do cells[i] = text.clean(cell) end
  return cells
end

function M.run(_, report)
  local found, message, code = device.list()
  if not found then return nil, message, code end
  local all_mounts, rows = mounts.read(), { HEAD }
  for _, identity in ipairs(found) do
    identity.mounts = points_of(all_mounts, identity.name)
    rows[#rows + 1] = row_of(identity)
    if report.json then report:event('device', identity) end
  end
  if not report.json then report:answer('list', {}, text.table(rows, { [2] = true })) end
  return true
end

return M
