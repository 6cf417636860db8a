--- Facts for the policies: the machine, sources, targets. Everything that looks outside is here.
local device = require 'img.device'
local fail = require 'imgtool.util.fail'
local mounts = require 'imgtool.util.mounts'
local naming = require 'imgtool.policy.naming'
local sys = require 'img.sys'

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

local function block_facts(facts, path, image_path)
  local dev <close> = try(device.open(path))
  local identity = try(device.identity(dev))
  for key, value in pairs(identity) do facts[key] = value end
  facts.path = path
  facts.holds_image = M.holds(identity, image_path)
  facts.holders, facts.in_use = try(device.holders(dev))
end

--- Facts about a target of restore (policy/safety.lua: restore).
---@param path string
---@param image_path string
function M.restore_target(path, image_path)
  local kind, stat = M.type_of(path)
  local partial = naming.partial(path)
  local partial_kind, partial_stat = M.type_of(partial)
  local _, image_stat = M.type_of(image_path)
  local facts = {
    path = path, type = kind, partial = partial, partial_exists = partial_kind ~= 'none',
    is_image = same_file(stat, image_stat) or same_file(partial_stat, image_stat),
    holders = '', in_use = false,
  }
  if kind == 'block' then
    block_facts(facts, path, image_path)
  elseif kind == 'file' then
    local dev <close> = try(device.open(path))
    facts.holders, facts.in_use = try(device.holders(dev))
  end
  return facts
end

return M
