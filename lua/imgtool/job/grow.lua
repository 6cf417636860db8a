--- Grow the file system of a partition that was extended, by its own tool. The disk must not be
--- open any more: the tools want the partition for themselves.
local device = require 'img.device'
local fail = require 'imgtool.util.fail'
local sys = require 'img.sys'
local text = require 'imgtool.report.text'

local M = {}

local try = fail.try

local HOUR <const> = 3600

-- What grows a file system: programs with their arguments and the exit statuses that are good
-- (e2fsck(8): 1 means that it mended something).
local OFFLINE = {
  ext = { { 'e2fsck', { '-f', '-p' }, 1 }, { 'resize2fs', {}, 0 } },
  ntfs = { { 'ntfsresize', { '-ff', '--no-progress-bar' }, 0 } },
}
OFFLINE.ext2, OFFLINE.ext3, OFFLINE.ext4 = OFFLINE.ext, OFFLINE.ext, OFFLINE.ext

-- What has to be mounted for it, or has no tool: said instead.
local BY_HAND = {
  xfs = 'mount it, then: xfs_growfs DIR', btrfs = 'mount it, then: btrfs filesystem resize max DIR',
}

-- The kernel's node of the partition, once it is there.
local function node_of(name, start_bytes)
  for _ = 1, 30 do
    for _, found in ipairs(try(device.list())) do
      if found.parent == name and found.start_bytes == start_bytes then return found.path end
    end
    sys.sleep(0.1)
  end
end

local function run(step, path)
  local arguments = table.move(step[2], 1, #step[2], 1, {})
  arguments[#arguments + 1] = path
  local status, said, code = sys.run_tool(step[1], arguments, HOUR)
  if not status then return nil, said, code end
  if status > step[3] then
    return nil, ('%s %s: exit status %d: %s'):format(step[1], path, status,
      text.clean(said):sub(-300)), sys.codes.target_io
  end
  return true
end

--- Grow the file system of type `fs` in the partition that was extended: a text for people about
--- it; or nil, message, code. What can't be done here is no failure: the text says what does it.
---@param name string kernel name of the disk
---@param grown {start_bytes: integer}
---@param fs string
---@return string? said, string? message, integer? code
function M.file_system(name, grown, fs)
  local steps = OFFLINE[fs]
  if not steps then
    if fs == '' then return 'it holds no file system that is known' end
    return ('its %s file system has its old size%s'):format(fs,
      BY_HAND[fs] and ': ' .. BY_HAND[fs] or '')
  end
  local path = node_of(name, grown.start_bytes)
  if not path then
    return ('its %s file system has its old size: the kernel shows no partition here'):format(fs)
  end
  for _, step in ipairs(steps) do
    local ok, message, code = run(step, path)
    if not ok then return nil, message, code end
  end
  return ('its %s file system has grown, too'):format(fs)
end

return M
