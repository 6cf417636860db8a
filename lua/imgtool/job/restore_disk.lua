--- Restore a whole disk from a set, to a disk or to a raw file. Plan, check everything, then write:
--- data first, the partition table last (docs/SAFETY.md, R4).
local confirm = require 'imgtool.job.confirm'
local disk_target = require 'imgtool.job.disk_target'
local facts = require 'imgtool.job.facts'
local fail = require 'imgtool.util.fail'
local layout = require 'imgtool.policy.layout'
local restore = require 'imgtool.job.restore'
local safety = require 'imgtool.policy.safety_disk'
local set_open = require 'imgtool.job.set_open'
local write = require 'imgtool.job.write'

local M = {}

local try = fail.try

-- What policy/safety_disk.lua asks about a set.
local function set_facts(set)
  local m = set.manifest
  local need, what = set:need()
  local out = {
    path = set.path, size_bytes = m.source.size_bytes, logical_bytes = m.source.logical_bytes,
    serial = m.source.serial, wwn = m.source.wwn, disk_id = m.table.id, table = m.table.type,
    whole_copy = m.table.type ~= 'gpt' or m.table.primary_valid or m.table.backup_valid,
    need_bytes = need, need_what = what, partitions = {},
  }
  for i, x in ipairs(set.parts) do
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
    new_guids = job.new_guids, grow_last = job.grow_last }
  local both = { source = set_facts(set), target = target }
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
  end
  if set.edit then
    local limit = math.min(set.manifest.source.size_bytes, t.target.size_bytes)
    for _, range in ipairs(layout.outside(limit, set.inside)) do
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
      add(x.image, x.known, 0, head, x.part.start_bytes, 'the beginning of ' .. x.what)
    end
  end
  return out
end

-- Change the table as it is to be on the target: nothing is written yet.
local function prepare_table(c, set, t)
  if not set.edit then return end
  if t.target.size_bytes ~= set.manifest.source.size_bytes then try(set.edit:fit(t.target.size_bytes)) end
  if c.job.new_guids then try(set.edit:new_ids()) end
  if c.job.grow_last then t.grown = try(set.edit:grow_last()) end
end

-- Data, then the table; each durable before the next.
local function write_all(c, set, t)
  local sum = {}
  local pieces = pieces_of(set, t)
  for _, piece in ipairs(pieces) do
    if piece.what:find('^the beginning of') then try(t.dev:flush()) end
    write.add(sum, write.range(c, piece))
  end
  try(t.dev:flush())
  if set.edit then
    try(set.edit:write(t.dev))
    try(t.dev:flush())
  end
  return sum, pieces
end

local function read_back(c, set, t, pieces)
  local found = {}
  for _, piece in ipairs(pieces) do write.add(found, write.compare(c, piece)) end
  if set.edit then
    local ok, message, code = set.edit:compare(t.dev)
    if not ok and found.code == 0 then found.code, found.message = code, message end
  end
  return found
end

local function result_of(c, set, t, sum)
  local m = set.manifest
  sum.action, sum.image, sum.target, sum.uuid = c.job.action, set.path, c.job.target, m.uuid
  sum.length, sum.offset, sum.table = t.target.size_bytes, 0, m.table.type
  sum.only_changed, sum.partitions = c.job.only_changed or nil, #set.parts
  sum.grown = t.grown
  if sum.code ~= 0 then
    sum.message = ('%s: %d bytes in %d places are damaged or bad in the images, and zeros in %s')
      :format(set.path, sum.loss_bytes, sum.loss_count, c.job.target)
  end
  return sum
end

-- The whole of it, to a target that is open.
local function to_target(c, set, t)
  prepare_table(c, set, t)
  t:begin()
  local sum, pieces = write_all(c, set, t)
  local result = result_of(c, set, t, sum)
  if c.job.verify_after then
    result.verified = read_back(c, set, t, pieces)
    if result.code == 0 and result.verified.code ~= 0 then
      result.code, result.message = result.verified.code, result.verified.message
    end
  end
  t:finish(result)
  return result
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
  if job.dry_run then return restore.planned(job, decision) end
  restore.insist(job, decision, report)
  local t <close> = disk_target.open(c, target)
  return to_target(c, set, t)
end

return M
