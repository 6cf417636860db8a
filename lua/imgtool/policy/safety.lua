--- When something is overwritten, and when that is refused (docs/SAFETY.md: R4, R5, R8). Pure:
--- facts and rules in; a decision, its reasons and a plan out. The last guard is in C: a block
--- device is opened exclusively.
local size = require 'imgtool.util.size'

local M = {}

--- A decision that nothing speaks against yet.
function M.decision()
  return { allowed = true, refusals = {}, warnings = {} }
end

--- Speak against it. `override` names what would allow it; nil: nothing does.
---@param d table
---@param rule string
---@param override string?
---@param reason string
function M.refuse(d, rule, override, reason, ...)
  d.allowed = false
  d.refusals[#d.refusals + 1] = { rule = rule, override = override, reason = reason:format(...) }
end
local refuse = M.refuse

local function known(value) return value ~= nil and value ~= '' end

-- What tells a disk or partition from another, in the order of what tells most.
local IDENTITY = { { 'serial', 'serial number' }, { 'wwn', 'WWN' },
  { 'part_guid', 'partition GUID' } }

--- Whether the target is what was imaged: true, false and the difference, or nil when nobody can
--- say.
---@param image table serial, wwn, part_guid of the source that was imaged
---@param target table the same of the target
---@return boolean? same, string? difference
function M.same_identity(image, target)
  local same
  for _, row in ipairs(IDENTITY) do
    local key, what = row[1], row[2]
    if known(image[key]) then
      if image[key] ~= target[key] then
        return false, ("%s '%s', the image was taken from '%s'"):format(what, target[key] or '',
          image[key])
      end
      same = true
    end
  end
  return same
end

--- Whether a text names the device: its kernel name, path, serial number or WWN.
---@param confirmed string?
---@param target table
function M.confirms(confirmed, target)
  if not known(confirmed) then return false end
  for _, key in ipairs { 'name', 'path', 'serial', 'wwn' } do
    if target[key] == confirmed then return true end
  end
  return false
end

--- R5: what no option allows.
---@param d table
---@param target table
function M.check_never(d, target)
  if target.is_image then
    refuse(d, 'R5', nil, '%s is %s', target.path, target.is_what or 'the image itself')
  elseif target.holds_image then
    refuse(d, 'R5', nil, '%s holds %s', target.path, target.holds_what or 'the image')
  end
  if target.in_use then
    refuse(d, 'R5', nil, '%s is in use: %s', target.path,
      (target.holders:gsub('%s*\n%s*', '; '):gsub('[;%s]+$', '')))
  end
  if target.type == 'block' then
    if target.read_only then refuse(d, 'R5', nil, '%s is read-only', target.path) end
    if target.undo_on_target then
      refuse(d, 'R4', 'undo-dir', '%s would be overwritten with the undo copies on it: %s',
        target.path, target.undo_dir)
    end
  elseif target.type ~= 'file' and target.type ~= 'none' then
    refuse(d, 'R4', nil, '%s is neither a block device nor a file', target.path)
  end
end

--- R4: the name of what is overwritten has to be said.
---@param d table
---@param target table
---@param rules table
function M.check_confirmed(d, target, rules)
  if M.confirms(rules.yes_destroy, target) then return end
  refuse(d, 'R4', 'yes-destroy ' .. M.name_of(target), '%s would be overwritten%s', target.path,
    known(rules.yes_destroy) and (", and '%s' is not its name, serial number or WWN")
      :format(rules.yes_destroy) or '')
end

--- R4: a restore that is known to end at a range which could not be read when it was imaged does
--- not begin: what is on the device would be gone, and half of the image there.
---@param d table
---@param source {path: string, bad_range_bytes: integer?} of an image, or all of a set
---@param rules {on_read_error: string?}
function M.check_readable(d, source, rules)
  local bytes = source.bad_range_bytes or 0
  if bytes == 0 then return end
  if rules.on_read_error == 'zero' then
    d.warnings[#d.warnings + 1] = ('%s: %d bytes could not be read when it was imaged, and become'
      .. ' zeros'):format(source.path, bytes)
  else
    refuse(d, 'R4', 'on-read-error zero', '%s: %d bytes could not be read when it was imaged',
      source.path, bytes)
  end
end

--- Whether nothing but the name of the target is missing.
---@param d table
---@return boolean
function M.only_unconfirmed(d)
  for _, refusal in ipairs(d.refusals) do
    if not (refusal.override or ''):find('^yes%-destroy ') then return false end
  end
  return #d.refusals > 0
end

local function check_block(d, image, target, rules)
  if target.size_bytes < image.source_bytes then
    refuse(d, 'R4', nil, '%s is too small: %d bytes, the image has %d', target.path,
      target.size_bytes, image.source_bytes)
  end
  if target.size_bytes > image.source_bytes and not rules.force then
    refuse(d, 'R4', 'force', '%s is larger: %d bytes, the image has %d', target.path,
      target.size_bytes, image.source_bytes)
  end
  if target.logical_bytes ~= image.logical_bytes and not rules.force then
    refuse(d, 'R4', 'force', '%s has sectors of %d bytes, the source had %d', target.path,
      target.logical_bytes, image.logical_bytes)
  end
  local same, difference = M.same_identity(image, target)
  if same == false then
    if not rules.force then
      refuse(d, 'R4', 'force', '%s is another device: %s', target.path, difference)
    else
      d.warnings[#d.warnings + 1] = ('%s is another device: %s'):format(target.path, difference)
    end
  end
  M.check_readable(d, image, rules)
  M.check_confirmed(d, target, rules)
end

--- R8: what is there stays unless asked.
---@param d table
---@param target table
---@param rules table
function M.check_file(d, target, rules)
  if target.type == 'file' and not rules.force then
    refuse(d, 'R8', 'force', '%s exists', target.path)
  end
  if target.partial_exists and not rules.force then
    refuse(d, 'R8', 'force', '%s exists: an earlier restore was not completed', target.partial)
  end
end

local FREE = {
  leave = 'is left as it is', discard = 'is discarded where the device can, else left as it is',
  zero = 'is made to read as zeros',
}

--- What becomes of free space.
---@param free string
function M.free_text(free) return 'free space of the file system ' .. FREE[free] end

--- The name by which a device is confirmed.
---@param target table
function M.name_of(target) return known(target.serial) and target.serial or target.name end

--- A device for people.
---@param target table
function M.describe(target)
  return ('%s (%s%s, %s)'):format(target.path, known(target.model) and target.model .. ', ' or '',
    known(target.serial) and target.serial or target.kind, size.human(target.size_bytes))
end

--- Whether an image may be restored, with all reasons why not.
---@param facts {image: table, target: table}
---@param rules {force: boolean, yes_destroy: string?, free: string, only_changed: boolean?,
---on_read_error: string?}
---@return {allowed: boolean, refusals: table[], warnings: string[], plan: string[]}
function M.restore(facts, rules)
  local d, image, target = M.decision(), facts.image, facts.target
  M.check_never(d, target)
  if target.type == 'block' then
    check_block(d, image, target, rules)
    d.plan = { 'overwrite ' .. M.describe(target) }
    for _, line in ipairs(target.contents or {}) do d.plan[#d.plan + 1] = 'lose ' .. line end
    d.plan[#d.plan + 1] = ('keep its first and last MiB in %s'):format(target.undo_dir)
    d.plan[#d.plan + 1] = M.free_text(rules.free)
  else
    if rules.only_changed and target.type == 'none' and not target.partial_exists then
      refuse(d, 'R4', nil, '%s does not exist: there is nothing to compare with', target.path)
    end
    M.check_file(d, target, rules)
    d.plan = { ('write %s, and rename it to %s when it is complete'):format(target.partial,
      target.path) }
  end
  table.insert(d.plan, 1, ('restore %s from %s'):format(size.human(image.source_bytes),
    image.path))
  return d
end

--- One line of all refusals, with what would allow each.
---@param d table a decision
---@return string
function M.reasons(d)
  local out = {}
  for _, refusal in ipairs(d.refusals) do
    out[#out + 1] = refusal.reason .. (refusal.override and (' (--%s allows it)')
      :format(refusal.override) or '')
  end
  return table.concat(out, '; ')
end

--- What to do about the file of a new image: 'create', 'restart' (cut the incomplete one and begin
--- anew) or 'resume'; or nil, the reason and the code's word.
---@param facts table path, type, partial, partial_type, is_source
---@param rules {force: boolean, resume: boolean}
---@return string? action, string? reason, string? word
function M.image_file(facts, rules)
  if facts.is_source then return nil, facts.path .. ' is the source itself', 'refused' end
  if facts.type ~= 'none' and facts.type ~= 'file' then
    return nil, ('%s is no regular file'):format(facts.path), 'usage'
  end
  if facts.partial_type ~= 'none' and facts.partial_type ~= 'file' then
    return nil, ('%s is no regular file'):format(facts.partial), 'usage'
  end
  if rules.resume then
    if facts.partial_type == 'none' then
      return nil, ('%s does not exist: there is nothing to resume'):format(facts.partial),
        'not_found'
    end
  end
  if facts.type == 'file' and not rules.force then
    return nil, ('%s exists (--force replaces it)'):format(facts.path), 'refused'
  end
  if rules.resume then return 'resume' end
  if facts.partial_type == 'none' then return 'create' end
  if rules.force then return 'restart' end
  return nil, ('%s exists: an earlier run was not completed (--resume goes on with it, --force'
    .. ' begins anew)'):format(facts.partial), 'refused'
end

return M
