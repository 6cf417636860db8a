--- Undo copies of what a restore overwrites: the first and last MiB of a device, its partition
--- table as text for sfdisk, and the facts, in a directory of their own (docs/SAFETY.md, R4).
local device = require 'img.device'
local disk = require 'img.disk'
local fail = require 'imgtool.util.fail'
local json = require 'imgtool.util.json'
local lfs = require 'lfs'
local sfdisk = require 'imgtool.util.sfdisk'
local sys = require 'img.sys'

local M = {}

local try = fail.try

local EDGE <const> = 1 << 20

-- Where undo copies go when nothing is said.
local function default_dir()
  local state = os.getenv 'XDG_STATE_HOME'
  if state and state:sub(1, 1) == '/' then return state .. '/imgtool/undo' end
  if sys.euid() == 0 then return '/var/lib/imgtool/undo' end
  return (os.getenv 'HOME' or '.') .. '/.local/state/imgtool/undo'
end

--- The directory for the copies of one device, now; one that is not there.
---@param dir string? as asked for
---@param name string kernel name
---@return string
function M.place(dir, name)
  local path = ('%s/%s-%s'):format(dir or default_dir(), os.date '!%Y%m%dT%H%M%SZ', name)
  local free, n = path, 1
  while lfs.attributes(free, 'mode') do
    n = n + 1
    free = ('%s-%d'):format(path, n)
  end
  return free
end

--- The nearest directory on the way to a path that is there.
---@param path string
---@return string
function M.existing(path)
  local at = path
  while at ~= '' and at ~= '/' do
    if lfs.attributes(at, 'mode') then return at end
    at = at:match('^(.*)/[^/]*$') or '.'
    if at == '.' then return at end
  end
  return '/'
end

local function make_directories(path)
  if lfs.attributes(path, 'mode') == 'directory' then return end
  local parent = path:match('^(.+)/[^/]+$')
  if parent then make_directories(parent) end
  local ok, message = lfs.mkdir(path)
  if not ok and lfs.attributes(path, 'mode') ~= 'directory' then
    fail.raise('target_io', 'make the directory %s for undo copies: %s', path, message)
  end
  if parent then try(sys.sync_directory(parent)) end
end

local function write_file(path, bytes)
  local out <close> = try(device.open(path, { write = true, create = true }))
  try(out:write(0, bytes))
  try(out:flush())
end

-- The partition table as text for sfdisk; nil where there is none that can be read: its sectors are
-- in the copies all the same.
local function table_text(dev, target)
  if target.kind == 'partition' then return nil end
  local found = disk.read(dev)
  if not found or found.table == 'none' then return nil end
  return sfdisk.dump(found, target.path) .. '\n'
end

--- Keep copies; durable when this returns. Fails when one can't be kept.
---@param dev img.Device
---@param target table facts, undo_dir among them
function M.keep(dev, target)
  local dir, size = target.undo_dir, dev:size()
  local edge = math.min(EDGE, size)
  make_directories(dir)
  write_file(dir .. '/first.MiB', try(dev:read(0, edge)))
  write_file(dir .. '/last.MiB', try(dev:read(size - edge, edge)))
  local text = table_text(dev, target)
  if text then write_file(dir .. '/table.sfdisk', text) end
  write_file(dir .. '/facts.json', json.encode(target) .. '\n')
  try(sys.sync_directory(dir))
end

return M
