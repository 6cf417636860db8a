--- What is mounted where, from /proc/self/mountinfo and sysfs.
local lfs = require 'lfs'
local sys = require 'img.sys'

local M = {}

local function unescape(text)
  return (text:gsub('\\(%d%d%d)', function(octal) return string.char(tonumber(octal, 8)) end))
end

--- The mounts in a text of the form of /proc/self/mountinfo (proc(5)). Pure.
---@param text string
---@return table[] each with device (8:1), root, point, fs, source, writable
function M.parse(text)
  local mounts = {}
  for line in text:gmatch('[^\n]+') do
    local device, root, point, options, rest =
      line:match('^%d+ %d+ (%d+:%d+) (%S+) (%S+) (%S+)(.*)$')
    local fs, source, super = (rest or ''):match(' %- (%S+) (%S+) (%S+)')
    if fs then
      mounts[#mounts + 1] = {
        device = device, root = unescape(root), point = unescape(point), fs = fs,
        source = unescape(source),
        -- The file system may be written when any of its mounts may.
        writable = (',' .. options .. ','):find(',rw,', 1, true) ~= nil
          and (',' .. super .. ','):find(',rw,', 1, true) ~= nil,
      }
    end
  end
  return mounts
end

local function read_file(path)
  local file <close> = io.open(path, 'r')
  return file and file:read('a')
end

--- The mount that holds an absolute path: the one with the longest point above it, the last of
--- equals.
---@param mounts table[]
---@param path string
function M.holding(mounts, path)
  local best
  for _, mount in ipairs(mounts) do
    local point = mount.point == '/' and '' or mount.point
    if path == mount.point or path:sub(1, #point + 1) == point .. '/' then
      if not best or #mount.point >= #best.point then best = mount end
    end
  end
  return best
end

local function entries(path)
  local out = {}
  if lfs.attributes(path, 'mode') ~= 'directory' then return out end
  for entry in lfs.dir(path) do
    if entry:sub(1, 1) ~= '.' then out[#out + 1] = entry end
  end
  table.sort(out)
  return out
end

--- Give mounts the kernel names of all devices that they are of: the number of a Btrfs is its own,
--- its source may be a link (/dev/mapper/x), and names one device of several. Pure.
---@param mounts table[]
---@param realpath fun(path: string): string?
---@param groups string[][] the devices of each Btrfs
---@return table[] mounts with names, a set
function M.add_names(mounts, realpath, groups)
  for _, mount in ipairs(mounts) do
    mount.names = {}
    local node = mount.source:find('^/dev/') and (realpath(mount.source) or mount.source)
    local name = node and node:match('^/dev/(.+)$')
    -- As in sysfs: cciss!c0d0.
    name = name and name:gsub('/', '!')
    if name then mount.names[name] = true end
    for _, group in ipairs(mount.fs == 'btrfs' and groups or {}) do
      local in_group = false
      for _, member in ipairs(group) do in_group = in_group or member == name end
      for _, member in ipairs(in_group and group or {}) do mount.names[member] = true end
    end
  end
  return mounts
end

--- All mounts of this process's name space.
function M.read()
  local groups = {}
  for i, uuid in ipairs(entries '/sys/fs/btrfs') do
    groups[i] = entries('/sys/fs/btrfs/' .. uuid .. '/devices')
  end
  return M.add_names(M.parse(read_file('/proc/self/mountinfo') or ''), sys.realpath, groups)
end

-- Loop devices over a file or a block device's node.
local function loops_over(path)
  local out = {}
  for _, name in ipairs(entries('/sys/class/block')) do
    local backing = read_file('/sys/class/block/' .. name .. '/loop/backing_file')
    if backing and backing:gsub('\n$', '') == path then out[#out + 1] = name end
  end
  return out
end

local function add_above(name, seen, out)
  if seen[name] then return end
  seen[name] = true
  out[#out + 1] = name
  local dir = '/sys/class/block/' .. name
  for _, entry in ipairs(entries(dir)) do
    if lfs.attributes(dir .. '/' .. entry .. '/partition', 'mode') then
      add_above(entry, seen, out)
    end
  end
  for _, holder in ipairs(entries(dir .. '/holders')) do add_above(holder, seen, out) end
  -- The kernel does not call these holders.
  for _, loop in ipairs(loops_over('/dev/' .. name)) do add_above(loop, seen, out) end
end

--- Kernel names of a device, its partitions and what is stacked on them; of a file, those of the
--- loop devices over it.
---@param identity table img.Identity
---@param path string absolute, without links
---@return string[]
function M.names_above(identity, path)
  local seen, out = {}, {}
  local roots = identity.name ~= '' and { identity.name } or loops_over(path)
  for _, name in ipairs(roots) do add_above(name, seen, out) end
  return out
end

--- `major:minor` of a block device's kernel name.
---@param name string
---@return string?
function M.number(name)
  local text = read_file('/sys/class/block/' .. name .. '/dev')
  return text and text:match('^%d+:%d+')
end

--- Whether a mount of M.read is of a device with this number and kernel name.
function M.is_of(mount, number, name)
  return mount.device == number or mount.names[name] == true
end

--- The mounts of some devices.
---@param mounts table[]
---@param names string[] kernel names
---@return table[]
function M.of_devices(mounts, names)
  local out = {}
  for _, name in ipairs(names) do
    local number = M.number(name)
    for _, mount in ipairs(mounts) do
      if M.is_of(mount, number, name) then out[#out + 1] = mount end
    end
  end
  return out
end

return M
