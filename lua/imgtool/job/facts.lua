--- Facts for the policies: the machine, sources, targets. Everything that looks outside is here.
local device = require 'img.device'
local fail = require 'imgtool.util.fail'
local mounts = require 'imgtool.util.mounts'
local naming = require 'imgtool.policy.naming'
local sys = require 'img.sys'
local undo = require 'imgtool.job.undo'

local M = {}

local try = fail.try

--- Facts for policy/tuning.lua.
function M.machine()
  return { cores = sys.cores(), memory_bytes = sys.memory_available() }
end

--- What a path is, links followed: 'none', 'file', 'directory', 'block', ...; and sys.stat's table.
---@param path string
---@return string type, table? stat
function M.type_of(path)
  local real, message, code = sys.realpath(path)
  if not real then
    if code == sys.codes.not_found then return 'none' end
    fail.throw(message, code)
  end
  local stat = try(sys.stat(real))
  return stat.type, stat
end

--- Whether two paths are one file or device.
local function same_file(a, b)
  return a ~= nil and b ~= nil and a.device == b.device and a.inode == b.inode
end

--- Open what is to be imaged, read-only; block devices without the page cache.
---@param path string
---@return img.Device
function M.open_source(path)
  if path == '-' then
    fail.raise('usage', 'the source can\'t be stdin: its size is not known before its end')
  end
  local kind = M.type_of(path)
  if kind == 'none' then fail.raise('not_found', '%s does not exist', path) end
  return (try(device.open(path, { direct = kind == 'block' })))
end

--- When a source that is a file was written last, in seconds since 1970; nil for a device.
---@param path string
---@return integer?
function M.modified_s(path)
  local kind, stat = M.type_of(path)
  return kind == 'file' and stat.modified_s or nil
end

--- Where a source is mounted for writing; '' when it is not.
---@param identity img.Identity
---@param path string
---@return string
function M.live_mounts(identity, path)
  local names = mounts.names_above(identity, sys.realpath(path) or path)
  local points = {}
  for _, mount in ipairs(mounts.of_devices(mounts.read(), names)) do
    if mount.writable then points[#points + 1] = mount.point end
  end
  return table.concat(points, ', ')
end

--- Where a block device is mounted: the first place, or nil.
---@param identity img.Identity
---@return string?
function M.mount_point(identity)
  if identity.name == '' then return nil end
  local mount = mounts.of_devices(mounts.read(), { identity.name })[1]
  return mount and mount.point
end

--- Facts about the file of a new image (policy/safety.lua: image_file).
---@param path string
---@param source string
function M.image_file(path, source)
  local partial = naming.partial(path)
  local kind, stat = M.type_of(path)
  local partial_kind, partial_stat = M.type_of(partial)
  local _, source_stat = M.type_of(source)
  return {
    path = path, type = kind, partial = partial, partial_type = partial_kind,
    is_source = same_file(stat, source_stat) or same_file(partial_stat, source_stat),
  }
end

--- Does a device hold a file or directory: is that on a file system on it, or on the device itself?
---@param target img.Identity
---@param image_path string
function M.holds(target, image_path)
  local real = sys.realpath(image_path) or image_path
  local above = mounts.names_above(target, sys.realpath(target.path) or target.path)
  local mount = mounts.holding(mounts.read(), real)
  for _, name in ipairs(above) do
    if real == '/dev/' .. name then return true end
    local number = mounts.number(name)
    if mount and mounts.is_of(mount, number, name) then return true end
  end
  return false
end

-- What is on a device and its partitions, in lines for people.
local function contents_of(identity)
  local lines = {}
  local function add(of)
    if of.part_table ~= '' then
      lines[#lines + 1] = ('%s: %s partition table %s'):format(of.name, of.part_table, of.disk_id)
    elseif of.fs_type ~= '' then
      lines[#lines + 1] = ("%s: %s '%s'"):format(of.name, of.fs_type, of.fs_label)
    elseif of.part_number > 0 and of.name ~= identity.name then
      lines[#lines + 1] = ("%s: unknown '%s'"):format(of.name, of.part_name)
    end
  end
  add(identity)
  for _, other in ipairs(try(device.list())) do
    if other.parent == identity.name then add(other) end
  end
  return lines
end

-- Where undo copies would go, and whether that is on the target.
local function undo_facts(facts, identity, dir)
  facts.undo_dir = undo.place(dir, identity.name)
  facts.undo_on_target = M.holds(identity, undo.existing(facts.undo_dir))
end

-- Whether what is kept is what the open target writes to, or lies under it: loop devices between
-- them are looked through.
local function is_kept(dev, kept)
  for _, file in ipairs(kept) do
    local kind = M.type_of(file)
    if (kind == 'file' or kind == 'block') and try(device.reaches(dev, file)) then
      return true
    end
  end
  return false
end

local function block_facts(facts, dev, kept, undo_dir)
  local identity = try(device.identity(dev))
  local path = facts.path
  for key, value in pairs(identity) do facts[key] = value end
  facts.path = path
  facts.contents = contents_of(identity)
  for _, file in ipairs(kept) do
    facts.holds_image = facts.holds_image or M.holds(identity, file)
  end
  undo_facts(facts, identity, undo_dir)
end

--- Facts about a target of restore (policy/safety.lua: restore).
---@param path string
---@param kept string[] what must not be overwritten: the image, or a set and its images
---@param undo_dir string? where undo copies are to go
function M.restore_target(path, kept, undo_dir)
  local kind = M.type_of(path)
  local partial = naming.partial(path)
  local partial_kind, partial_stat = M.type_of(partial)
  local facts = {
    path = path, type = kind, partial = partial, partial_exists = partial_kind ~= 'none',
    is_image = false, holds_image = false, holders = '', in_use = false,
  }
  for _, file in ipairs(kept) do
    local _, kept_stat = M.type_of(file)
    facts.is_image = facts.is_image or same_file(partial_stat, kept_stat)
  end
  if kind == 'block' or kind == 'file' then
    local dev <close> = try(device.open(path))
    facts.is_image = facts.is_image or is_kept(dev, kept)
    if kind == 'block' then block_facts(facts, dev, kept, undo_dir) end
    facts.holders, facts.in_use = try(device.holders(dev))
  end
  return facts
end

local RACE = { 'name', 'kind', 'serial', 'wwn', 'disk_id', 'part_guid', 'size_bytes',
  'logical_bytes' }

--- What was checked is what is written to: a target that was opened for itself alone is still the
--- one that the facts are about, and nothing has taken it meanwhile.
---@param dev img.Device
---@param target table facts
function M.check_again(dev, target)
  local identity = try(device.identity(dev))
  for _, key in ipairs(RACE) do
    if identity[key] ~= target[key] then
      fail.raise('refused', "%s has changed since it was checked: %s '%s' is now '%s'", target.path,
        key, target[key], identity[key])
    end
  end
  local holders, in_use = try(device.holders(dev))
  if in_use then
    fail.raise('refused', '%s has been taken since it was checked: %s', target.path, holders)
  end
end

return M
