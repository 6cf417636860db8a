--- Restore a whole disk from a set, to a disk or to a raw file. Plan, check everything, then write:
--- data first, the partition table last (docs/SAFETY.md, R4).
local confirm = require 'imgtool.job.confirm'
local disk_target = require 'imgtool.job.disk_target'
local disk_write = require 'imgtool.job.disk_write'
local facts = require 'imgtool.job.facts'
local fail = require 'imgtool.util.fail'
local restore = require 'imgtool.job.restore'
local safety = require 'imgtool.policy.safety_disk'
local set_open = require 'imgtool.job.set_open'
local write = require 'imgtool.job.write'

local M = {}

-- What policy/safety_disk.lua asks about a set.
local function set_facts(set, target)
  local m = set.manifest
  local need, what = set:need(target.size_bytes)
  local out = {
    path = set.path, size_bytes = m.source.size_bytes, logical_bytes = m.source.logical_bytes,
    serial = m.source.serial, wwn = m.source.wwn, disk_id = m.table.id, table = m.table.type,
    whole_copy = m.table.type ~= 'gpt' or m.table.primary_valid or m.table.backup_valid,
    need_bytes = need, need_what = what, partitions = {},
    bad_range_bytes = set.edit and set.regions_known.bad_range_bytes or 0,
  }
  for i, x in ipairs(set.parts) do
    out.bad_range_bytes = out.bad_range_bytes + x.known.bad_range_bytes
    out.partitions[i] = { what = x.what, start_bytes = x.part.start_bytes,
      size_bytes = x.part.size_bytes }
  end
  return out
end

local function target_facts(job, set)
  local target = facts.restore_target(job.target, set.files, job.undo_dir)
  target.holds_what = 'the set'
  if target.type ~= 'block' then
    target.size_bytes = job.size or set.manifest.source.size_bytes
    target.logical_bytes = set.manifest.source.logical_bytes
  end
  return target
end

local function check_usage(job, target)
  if job.action == 'restore-set' and target.type == 'block' then
    fail.raise('usage', '%s is a block device: restore-physical writes to disks', job.target)
  end
  if job.action == 'restore-physical' and target.type ~= 'block' then
    fail.raise('usage', '%s is no block device: restore-set writes raw files', job.target)
  end
end

local function decide(c, set)
  local job = c.job
  local target = target_facts(job, set)
  check_usage(job, target)
  local rules = { force = job.force, yes_destroy = job.yes_destroy, free = job.free or 'leave',
    new_guids = job.new_guids, grow_last = job.grow_last, on_read_error = job.on_read_error }
  local both = { source = set_facts(set, target), target = target }
  local decision = safety.restore(both, rules)
  local answer = confirm.ask(decision, target, job, c.report)
  if answer then
    rules.yes_destroy = answer
    decision = safety.restore(both, rules)
  end
  return decision, target
end

-- The pieces in the order of writing: what lies outside the partitions, then each partition. What
-- has no table is written from behind, so that its beginning is last.
local function pieces_of(set, t)
  local out = {}
  local function add(image, known, offset, length, target_offset, what)
    out[#out + 1] = { image = image, known = known, target = t.dev, offset = offset,
      length = length, target_offset = target_offset, free = t.free, is_zero = t.is_zero,
      what = what, left = t.left }
    return out[#out]
  end
  if set.edit then
    local limit = math.min(set.manifest.source.size_bytes, t.target.size_bytes)
    for _, range in ipairs(disk_write.outside(set, limit)) do
      add(set.regions, set.regions_known, range.offset, range.length, range.offset,
        'what lies outside the partitions')
    end
  end
  for _, x in ipairs(set.parts) do
    local head = set.edit and 0 or math.min(t.edge, x.part.size_bytes)
    if x.part.size_bytes > head then
      add(x.image, x.known, head, x.part.size_bytes - head, x.part.start_bytes + head, x.what)
    end
    if head > 0 then
      add(x.image, x.known, 0, head, x.part.start_bytes,
        'the beginning of ' .. x.what).is_head = true
    end
  end
  return out
end

-- What is read, for an estimate.
local function images_of(set)
  local out = {}
  local function add(image, known)
    out[#out + 1] = { image = image, known = known, bytes = known.data_bytes }
  end
  if set.edit then add(set.regions, set.regions_known) end
  for _, x in ipairs(set.parts) do add(x.image, x.known) end
  return out
end

local function result_of(c, set, target, sum)
  local m = set.manifest
  sum.action, sum.image, sum.target, sum.uuid = c.job.action, set.path, c.job.target, m.uuid
  sum.length, sum.offset, sum.table = target.size_bytes, 0, m.table.type
  sum.only_changed, sum.partitions = c.job.only_changed or nil, #set.parts
  if sum.loss_count > 0 then
    sum.message = ('%s: %d bytes in %d places are damaged or bad in the images, and zeros in %s')
      :format(set.path, sum.loss_bytes, sum.loss_count, c.job.target)
  end
  return sum
end

-- The file system of the partition that was extended, by the manifest.
local function last_fs(set, grown)
  for _, x in ipairs(set.parts) do
    if x.part.start_bytes == grown.start_bytes then
      return x.part.file_system and x.part.file_system.type or ''
    end
  end
  return ''
end

--- Run a checked job.
---@param job table
---@param report table
---@return table result
function M.run(job, report)
  job.source = job.set_dir
  local set <close> = set_open.open(job.set_dir)
  local c = { job = job, report = report }
  local decision, target = decide(c, set)
  if job.dry_run then
    return restore.planned(job, decision, function()
      return restore.estimate(c, images_of(set))
    end)
  end
  restore.insist(job, decision, report)
  local result
  do
    local t <close> = disk_target.open(c, target)
    result = disk_write.run(c, t, {
      edit = set.edit, found = set.found, size_bytes = set.manifest.source.size_bytes,
      pieces = function() return pieces_of(set, t) end, write = write.range,
      compare = write.compare,
    })
  end
  if result.grown then disk_target.grow(target, result, last_fs(set, result.grown)) end
  return result_of(c, set, target, result)
end

return M
