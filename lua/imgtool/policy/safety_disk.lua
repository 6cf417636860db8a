--- When a whole disk is overwritten with a set or with another disk, and when that is refused
--- (docs/SAFETY.md: R4, R5, R8). Pure, as policy/safety.lua, whose rules hold here too.
local safety = require 'imgtool.policy.safety'
local size = require 'imgtool.util.size'

local M = {}

local refuse = safety.refuse

local function known(value) return value ~= nil and value ~= '' end

--- Whether the target is the disk that was imaged: true, false and the difference, or nil when
--- nobody can say. A target without a table has no disk ID, and may yet be that disk.
---@param source table serial, wwn, disk_id
---@param target table the same
---@return boolean? same, string? difference
function M.same_disk(source, target)
  local same, difference = safety.same_identity({ serial = source.serial, wwn = source.wwn },
    target)
  if same == false then return false, difference end
  if known(source.disk_id) and known(target.disk_id) then
    if source.disk_id:lower() ~= target.disk_id:lower() then
      return false, ("disk ID '%s', that of the source is '%s'"):format(target.disk_id,
        source.disk_id)
    end
    same = true
  end
  return same
end

-- Whether the partitions and all that is used elsewhere fit, with the numbers.
local function check_fit(d, source, target)
  -- A table goes to a disk of the source's size as it is, also where that is less than it knows.
  if target.size_bytes == source.size_bytes then return end
  if source.need_bytes > target.size_bytes then
    refuse(d, 'R4', nil, '%s is too small: %d bytes; the source has %d, and needs %d (%s)',
      target.path, target.size_bytes, source.size_bytes, source.need_bytes, source.need_what)
  end
end

local function check_size(d, source, target, rules)
  check_fit(d, source, target)
  if target.size_bytes == source.size_bytes or rules.force then return end
  local larger = target.size_bytes > source.size_bytes
  if larger or source.need_bytes <= target.size_bytes then
    refuse(d, 'R4', 'force', '%s is %s: %d bytes, the source has %d', target.path,
      larger and 'larger' or 'smaller', target.size_bytes, source.size_bytes)
  end
end

-- A table counts in sectors, and so do most file systems: partitions can't keep their place and be
-- read on a disk that counts otherwise.
local function check_sectors(d, source, target)
  if target.logical_bytes == source.logical_bytes then return end
  refuse(d, 'R4', nil, '%s has sectors of %d bytes, the source had %d: its partition table'
    .. ' counts in sectors of the source (single partitions can be restored with --partition)',
    target.path, target.logical_bytes, source.logical_bytes)
end

local function check_table(d, source, target, rules)
  if source.table == 'none' then
    for _, name in ipairs { 'new_guids', 'grow_last' } do
      if rules[name] then
        refuse(d, 'R4', nil, '%s has no meaning: the source has no partition table',
          name:gsub('_', '-'))
      end
    end
    if target.logical_bytes ~= source.logical_bytes and not rules.force then
      refuse(d, 'R4', 'force', '%s has sectors of %d bytes, the source had %d', target.path,
        target.logical_bytes, source.logical_bytes)
    end
    return
  end
  check_sectors(d, source, target)
  if not source.whole_copy and (rules.new_guids or rules.grow_last
    or target.size_bytes ~= source.size_bytes) then
    refuse(d, 'R4', nil, 'neither copy of the source\'s GPT is whole: it goes as it is to a disk of'
      .. ' the same size only')
  end
end

local function check_identity(d, source, target, rules)
  local same, difference = M.same_disk(source, target)
  if same ~= false or rules.any_disk then return end
  if rules.force then
    d.warnings[#d.warnings + 1] = ('%s is another disk: %s'):format(target.path, difference)
  else
    refuse(d, 'R4', 'force', '%s is another disk: %s', target.path, difference)
  end
end

-- What a whole disk is, as against one of its parts.
local function check_whole(d, target)
  if target.kind == 'partition' then
    refuse(d, 'R4', nil, '%s is a partition, not a disk', target.path)
  end
end

local function contents_of(target)
  local lines = {}
  for _, line in ipairs(target.contents or {}) do lines[#lines + 1] = 'lose ' .. line end
  return lines
end

local function plan_of(source, target, rules)
  local plan = { ('restore the disk of %s from %s'):format(size.human(source.size_bytes),
    source.path) }
  if target.type == 'block' then
    plan[#plan + 1] = ('overwrite %s'):format(safety.describe(target))
    table.move(contents_of(target), 1, #(target.contents or {}), #plan + 1, plan)
    plan[#plan + 1] = ('keep its first and last MiB and its partition table in %s')
      :format(target.undo_dir)
    plan[#plan + 1] = safety.free_text(rules.free)
  else
    plan[#plan + 1] = ('write %s, and rename it to %s when it is complete'):format(target.partial,
      target.path)
  end
  for _, part in ipairs(source.partitions) do
    plan[#plan + 1] = ('write %s at %d, %s'):format(part.what, part.start_bytes,
      size.human(part.size_bytes))
  end
  if source.table == 'none' then
    plan[#plan + 1] = 'write its beginning last'
    return plan
  end
  plan[#plan + 1] = ('write the %s partition table last%s'):format(source.table,
    target.size_bytes ~= source.size_bytes and source.table == 'gpt'
      and ', its backup at the end of the target' or '')
  if rules.new_guids then plan[#plan + 1] = 'give the disk and its partitions new identities' end
  if rules.grow_last then plan[#plan + 1] = 'grow the last partition to the end' end
  return plan
end

--- Whether a disk may be written, with all reasons why not.
--- source: path, size_bytes, logical_bytes, serial, wwn, disk_id, table ('gpt', 'dos', 'none'),
--- whole_copy (of a GPT), need_bytes and need_what (how much of a target is needed, and for what),
--- partitions (what, start_bytes, size_bytes), bad_range_bytes (of all images of a set).
--- target: as for safety.restore, and kind, disk_id, contents (lines), undo_dir, undo_on_target.
---@param facts {source: table, target: table}
---@param rules table force, yes_destroy, free, on_read_error, new_guids, grow_last, any_disk (a
---clone)
---@return {allowed: boolean, refusals: table[], warnings: string[], plan: string[]}
function M.restore(facts, rules)
  local d, source, target = safety.decision(), facts.source, facts.target
  safety.check_never(d, target)
  if target.type == 'block' then
    check_whole(d, target)
    check_size(d, source, target, rules)
    check_table(d, source, target, rules)
    check_identity(d, source, target, rules)
    safety.check_readable(d, source, rules)
    safety.check_confirmed(d, target, rules)
  else
    check_fit(d, source, target)
    check_table(d, source, target, rules)
    safety.check_file(d, target, rules)
  end
  d.plan = plan_of(source, target, rules)
  return d
end

return M
