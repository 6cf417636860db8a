--- A disk or raw file that a whole disk is written to. Until the end it looks like nothing: a disk
--- has no partition table and a file its partial name, so that what was interrupted is not taken
--- for complete (docs/SAFETY.md, R4 and R7).
local device = require 'img.device'
local disk = require 'img.disk'
local facts = require 'imgtool.job.facts'
local fail = require 'imgtool.util.fail'
local grow = require 'imgtool.job.grow'
local json = require 'imgtool.util.json'
local output = require 'imgtool.job.output'
local sys = require 'img.sys'
local undo = require 'imgtool.job.undo'

local M = {}

local try = fail.try

-- The tables of a disk are in its first and last MiB; both are among the undo copies.
local EDGE <const> = 1 << 20

local Target = {}
Target.__index = Target

function Target:__close()
  if self.out then
    getmetatable(self.out).__close(self.out)
  else
    self.dev:close()
  end
end

--- Open what was checked. A target has dev, free, is_zero, edge, left (what is said when it stays
--- incomplete).
---@param c {job: table, report: table}
---@param target table facts
---@return table
function M.open(c, target)
  local t = setmetatable({ c = c, target = target, edge = EDGE }, Target)
  if target.type == 'block' then
    t.dev = try(device.open(target.path, { write = true, direct = true, exclusive = true }))
    t.free, t.is_zero = c.job.free, false
    t.left = target.path .. ' is overwritten in part, and has no partition table'
    local ok, message, code = fail.catch(function()
      facts.check_again(t.dev, target)
      return true
    end)
    if ok then return t end
    t.dev:close()
    fail.throw(message, code)
  end
  t.out = output.open(target.partial, target.partial_exists and 'restart' or 'create')
  t.dev, t.free, t.is_zero = t.out.device, 'leave', true
  try(t.dev:set_sector_bytes(target.logical_bytes))
  t.left = target.partial .. ' is incomplete'
  return t
end

--- The first writes: undo copies are kept, then what the disk was ends. A file gets its size.
function Target:begin()
  local target = self.target
  if target.type ~= 'block' then
    try(self.dev:set_size(target.size_bytes))
    return
  end
  undo.keep(self.dev, target)
  self.c.report:note(('undo copies are in %s'):format(target.undo_dir))
  local size = self.dev:size()
  local edge = math.min(EDGE, size)
  try(self.dev:zero(0, edge))
  try(self.dev:zero(size - edge, edge))
  try(self.dev:flush())
end

--- The partition table that is on the target now, and what its identities were before.
---@param before img.Table of the source
---@return {old: string, new: string, partitions: {index: integer, old: string, new: string}[]}
function Target:new_ids(before)
  local now = try(disk.read(self.dev))
  local ids = { old = before.id, new = now.id, partitions = json.array {} }
  for i, part in ipairs(now.partitions) do
    if part.guid ~= '' then
      ids.partitions[#ids.partitions + 1] = { index = part.index, new = part.guid,
        old = before.partitions[i].guid }
    end
  end
  return ids
end

--- All is written and durable: a file gets its name, the kernel reads a disk's table. What could
--- not be done after that is the result's verdict.
---@param result table
function Target:finish(result)
  local target = self.target
  if target.type ~= 'block' then
    if result.verified and result.verified.code ~= 0 then
      fail.throw(('%s; it stays %s'):format(result.verified.message, target.partial),
        result.verified.code)
    end
    try(sys.rename(target.partial, target.path, self.c.job.force))
    return
  end
  result.undo_dir = target.undo_dir
  local ok, message, code = self.dev:reread_table()
  if not ok and result.code == 0 then
    result.code = code
    result.message = message .. '; the data is complete, partprobe shows the new partitions'
  end
end

--- The last partition was extended, and the target is closed: so grows its file system. A tool that
--- fails is the result's verdict; the data is restored all the same.
---@param target table facts
---@param result table
---@param fs string
function M.grow(target, result, fs)
  local grown = result.grown
  if grown.new_bytes == grown.old_bytes then return end
  if target.type ~= 'block' then
    grown.file_system = 'its file system has its old size'
    return
  end
  local said, message, code = grow.file_system(target.name, grown, fs)
  grown.file_system = said
  if not said and result.code == 0 then
    result.code = code
    result.message = ('the disk is restored, but the file system of its last partition did not'
      .. ' grow: %s'):format(message)
  end
end

return M
