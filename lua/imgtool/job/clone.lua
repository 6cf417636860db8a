--- Copy a disk to another disk or a raw file, without an image between them: what its file systems
--- use, by the same rules as a restore (docs/SAFETY.md). The source is opened read-only (R1).
local confirm = require 'imgtool.job.confirm'
local device = require 'img.device'
local disk = require 'img.disk'
local disk_target = require 'imgtool.job.disk_target'
local disk_write = require 'imgtool.job.disk_write'
local estimate = require 'imgtool.policy.estimate'
local facts = require 'imgtool.job.facts'
local fail = require 'imgtool.util.fail'
local layout = require 'imgtool.policy.layout'
local map = require 'img.map'
local map_of = require 'imgtool.job.map'
local restore = require 'imgtool.job.restore'
local safety = require 'imgtool.policy.safety_disk'
local sample = require 'imgtool.job.sample'
local set_open = require 'imgtool.job.set_open'
local verify = require 'imgtool.job.verify'
local write = require 'imgtool.job.write'

local M = {}

local try = fail.try

local HANDLES = { 'handle', 'map', 'source', 'target' }

local Origin = {}
Origin.__index = Origin

-- The target's slices keep it open for this program alone.
function Origin:close_pieces()
  for _, piece in ipairs(self.list) do
    for _, name in ipairs(HANDLES) do
      if piece[name] then piece[name]:close() end
    end
  end
end

function Origin:__close()
  self:close_pieces()
  if self.edit then self.edit:close() end
  self.dev:close()
end

local function read_table(o)
  o.found = try(disk.read(o.dev))
  if o.found.table == 'none' then
    o.partitions = { { index = 0, start_bytes = 0, size_bytes = o.dev:size() } }
    return
  end
  o.partitions = o.found.partitions
  o.edit = try(disk.edit(o.dev, o.found.sector_bytes))
  o.areas = o.edit:areas()
  local touched = layout.touched(o.partitions, o.areas)
  if touched then
    fail.raise('refused', '%s: the partition table lies in partition %d', o.dev:name(),
      touched.index)
  end
  local inside = layout.of_partitions(o.partitions)
  o.inside = table.move(o.areas, 1, #o.areas, #inside + 1, inside)
end

-- The disk to copy, with its table.
local function open_origin(job, report)
  local o = setmetatable({ dev = facts.open_source(job.source), list = {}, report = report },
    Origin)
  local ok, message, code, trace = fail.catch(function()
    if job.sector_size then try(o.dev:set_sector_bytes(job.sector_size)) end
    o.identity = try(device.identity(o.dev))
    if o.identity.kind == 'partition' then
      fail.raise('usage', '%s is a partition, not a disk', job.source)
    end
    read_table(o)
    return true
  end)
  if not ok then
    o:__close()
    fail.throw(message, code, trace)
  end
  local points = facts.live_mounts(o.identity, job.source)
  if points ~= '' then
    report:warn(('%s is mounted for writing at %s: files that change while it is copied may be'
      .. ' inconsistent in the copy'):format(job.source, points))
  end
  return o
end

-- How much of a disk the copy needs, and what for.
local function need_of(o, target_bytes)
  local size = o.dev:size()
  if not o.edit then return size, 'it has no partition table' end
  local need, what = layout.end_of(o.partitions), 'a partition ends there'
  local ranges = target_bytes < size and layout.outside(size, o.inside) or {}
  for i = #ranges, 1, -1 do
    local range = ranges[i]
    local last = set_open.last_byte(o.dev, math.max(range.offset, need),
      range.offset + range.length)
    if last then
      need, what = last + 1, 'used space outside the partitions ends there'
      break
    end
  end
  if o.found.table ~= 'gpt' then return need, what end
  return layout.with_backup(need, o.areas, o.found.sector_bytes),
    what .. ', and the backup of the GPT'
end

local function what_of(part)
  return part.index == 0 and 'the whole disk' or ('partition %d'):format(part.index)
end

local function origin_facts(job, o, target)
  local need, what = need_of(o, target.size_bytes)
  local out = {
    path = job.source, size_bytes = o.dev:size(), logical_bytes = o.found.sector_bytes,
    table = o.found.table, need_bytes = need, need_what = what, partitions = {},
    whole_copy = o.found.table ~= 'gpt' or o.found.primary_valid or o.found.backup_valid,
  }
  for _, part in ipairs(o.partitions) do
    if not part.container then
      out.partitions[#out.partitions + 1] = { what = what_of(part),
        start_bytes = part.start_bytes, size_bytes = part.size_bytes }
    end
  end
  return out
end

local function decide(c, o)
  local job = c.job
  local target = facts.restore_target(job.target, { job.source }, job.undo_dir)
  target.holds_what, target.is_what = 'the source', 'the source itself'
  for _, name in ipairs { 'free', 'undo_dir' } do
    if job.given[name] and target.type ~= 'block' then
      fail.raise('usage', '%s has no meaning: %s is no block device', name:gsub('_', '-'),
        job.target)
    end
  end
  if target.type ~= 'block' then
    target.size_bytes, target.logical_bytes = o.dev:size(), o.found.sector_bytes
  end
  local rules = { force = job.force, yes_destroy = job.yes_destroy, free = job.free,
    new_guids = job.new_guids, grow_last = job.grow_last, any_disk = true }
  local both = { source = origin_facts(job, o, target), target = target }
  local decision = safety.restore(both, rules)
  local answer = confirm.ask(decision, target, job, c.report)
  if answer then
    rules.yes_destroy = answer
    decision = safety.restore(both, rules)
  end
  return decision, target
end

-- The ranges that are read; `whole`: all of one, else what its file system uses.
local function ranges_of(o, limit)
  local ranges = o.edit and layout.outside(limit, o.inside) or {}
  for _, range in ipairs(ranges) do range.whole = true end
  for _, part in ipairs(o.partitions) do
    if not part.container then
      ranges[#ranges + 1] = { offset = part.start_bytes, length = part.size_bytes }
    end
  end
  return ranges
end

-- All of it as one map of the disk: what would be read, and a sample of that.
local function estimate_of(c, o, target)
  local size = o.dev:size()
  local all <close> = map.new(size)
  for _, range in ipairs(ranges_of(o, math.min(size, target.size_bytes))) do
    if range.whole then
      all:set(range.offset, range.length, 'data')
    else
      local slice <close> = try(device.slice(o.dev, range.offset, range.length))
      local m <close> = map_of.of(slice, { mode = 'used_only' }, o.report)
      for offset, length, kind in m:each() do all:set(range.offset + offset, length, kind) end
    end
  end
  local settings = verify.settings(c.job, { source_bytes = size, block_bytes = write.CLONE_BLOCK })
  local taken = sample.copy({ job = c.job, report = c.report, source = o.dev,
    settings = settings }, all)
  return estimate.copy(all:bytes('data'), taken, c.job.max_throughput)
end

local function piece_of(o, t, range, what, whole)
  local piece = { what = what, free = t.free, is_zero = t.is_zero, left = t.left,
    known = { source_bytes = range.length, block_bytes = write.CLONE_BLOCK } }
  o.list[#o.list + 1] = piece
  piece.source = try(device.slice(o.dev, range.offset, range.length))
  piece.target = try(device.slice(t.dev, range.offset, range.length))
  if whole then
    piece.map = try(map.new(range.length, true))
  else
    piece.map, piece.fs = map_of.of(piece.source, { mode = 'used_only' }, o.report)
    if not piece.fs.used_only then
      o.report:note(('all blocks of %s are taken: %s'):format(what, piece.fs.reason))
    end
  end
  return piece
end

-- What lies outside the partitions, then each partition; without a table its beginning last.
local function pieces_of(o, t)
  if o.edit then
    local limit = math.min(o.dev:size(), t.target.size_bytes)
    for _, range in ipairs(disk_write.outside(o, limit)) do
      piece_of(o, t, range, 'what lies outside the partitions', true)
    end
  end
  for _, part in ipairs(o.partitions) do
    if not part.container then
      local piece = piece_of(o, t, { offset = part.start_bytes, length = part.size_bytes },
        what_of(part))
      piece.part = part
    end
  end
  if not o.edit and t.target.type == 'block' then
    local head = math.min(t.edge, o.dev:size())
    o.list[1].map:set(0, head, 'free')
    o.list[1].has_head = true
    piece_of(o, t, { offset = 0, length = head }, 'its beginning', true).is_head = true
  end
  return o.list
end

-- The file system of the partition that was extended.
local function last_fs(o, grown)
  for _, piece in ipairs(o.list) do
    if piece.part and piece.part.start_bytes == grown.start_bytes then return piece.fs.type end
  end
  return ''
end

local function result_of(job, o, target, sum)
  sum.action, sum.image, sum.target, sum.offset = 'clone', job.source, job.target, 0
  sum.length, sum.table, sum.partitions = target.size_bytes, o.found.table, #o.partitions
  return sum
end

--- Run a checked job.
---@param job table
---@param report table
---@return table result
function M.run(job, report)
  local o <close> = open_origin(job, report)
  local c = { job = job, report = report }
  local decision, target = decide(c, o)
  if job.dry_run then
    return restore.planned(job, decision, function() return estimate_of(c, o, target) end)
  end
  restore.insist(job, decision, report)
  local result
  do
    local t <close> = disk_target.open(c, target)
    result = disk_write.run(c, t, {
      edit = o.edit, found = o.found, size_bytes = o.dev:size(),
      pieces = function() return pieces_of(o, t) end, write = write.clone,
      compare = write.check_clone,
    })
  end
  o:close_pieces()
  if result.grown then disk_target.grow(target, result, last_fs(o, result.grown)) end
  return result_of(job, o, target, result)
end

return M
