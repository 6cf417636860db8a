--- Give an image back: to a block device or a file. Plan, check everything, then write
--- (docs/SAFETY.md, R4).
local confirm = require 'imgtool.job.confirm'
local device = require 'img.device'
local estimate = require 'imgtool.policy.estimate'
local facts = require 'imgtool.job.facts'
local fail = require 'imgtool.util.fail'
local image = require 'img.image'
local open_set = require 'imgtool.job.set'
local output = require 'imgtool.job.output'
local safety = require 'imgtool.policy.safety'
local sample = require 'imgtool.job.sample'
local stored = require 'imgtool.job.stored'
local sys = require 'img.sys'
local undo = require 'imgtool.job.undo'
local verify = require 'imgtool.job.verify'
local write = require 'imgtool.job.write'

local M = {}

local try = fail.try

-- What policy/safety.lua asks about an image.
local function image_facts(job, known)
  local image_of = stored.source(known.text)
  image_of.path = job.source
  image_of.source_bytes, image_of.logical_bytes = known.source_bytes, known.logical_bytes
  image_of.bad_range_bytes = known.bad_range_bytes
  return image_of
end

-- Which part of the source: all of it, but for an export.
local function range_of(job, known)
  local offset = job.offset or 0
  if offset > known.source_bytes then
    fail.raise('usage', 'offset %d is past the end, the source has %d bytes', offset,
      known.source_bytes)
  end
  local length = job.length or known.source_bytes - offset
  if length > known.source_bytes - offset then
    fail.raise('usage', '%d bytes at %d go past the end, the source has %d bytes', length, offset,
      known.source_bytes)
  end
  return offset, length
end

-- The result's own verdict: what was lost, or what differs after all.
local function judge(c, result)
  if result.code ~= 0 then
    result.message = ('%s: %d bytes in %d places are damaged or bad in the image, and zeros in %s')
      :format(c.job.source, result.loss_bytes, result.loss_count, c.job.target)
  elseif result.verified and result.verified.code ~= 0 then
    result.code, result.message = result.verified.code, result.verified.message
  end
  return result
end

-- Write the range to a target that is open: the result. `how` says what is known about the target.
local function write_target(c, target, how)
  local part = {
    image = c.image, known = c.known, target = target, offset = c.offset, length = c.length,
    free = how.free, is_zero = how.is_zero, what = c.job.action, left = how.left,
  }
  local result = write.range(c, part)
  try(target:flush())
  result.action, result.image, result.target = c.job.action, c.job.source, c.job.target
  result.uuid, result.offset, result.length = c.known.uuid, c.offset, c.length
  result.only_changed = c.job.only_changed or nil
  if c.job.verify_after then result.verified = write.compare(c, part) end
  return judge(c, result)
end

-- A file under its partial name until it is complete: a new one, sparse, or with only_changed the
-- one that is there.
local function to_file(c, target)
  local action = target.partial_exists and 'restart' or 'create'
  if c.job.only_changed then
    if not target.partial_exists then try(sys.rename(target.path, target.partial)) end
    action = 'resume'
  end
  local out <close> = output.open(target.partial, action)
  try(out.device:set_size(c.length))
  local result = write_target(c, out.device, {
    free = c.job.only_changed and 'zero' or 'leave', is_zero = not c.job.only_changed,
    left = target.partial .. ' is incomplete',
  })
  if result.verified and result.verified.code ~= 0 then
    fail.throw(('%s; it stays %s'):format(result.verified.message, target.partial),
      result.verified.code)
  end
  try(sys.rename(target.partial, target.path, c.job.force))
  return result
end

local function to_device(c, target)
  local dev <close> = try(device.open(target.path, { write = true, direct = true,
    exclusive = true }))
  facts.check_again(dev, target)
  undo.keep(dev, target)
  c.report:note(('undo copies are in %s'):format(target.undo_dir))
  return write_target(c, dev, { free = c.job.free, is_zero = false,
    left = target.path .. ' is overwritten in part' })
end

local function check_usage(job, target)
  if job.action == 'export' and target.type == 'block' then
    fail.raise('usage', '%s is a block device: restore writes to devices', job.target)
  end
  for _, name in ipairs { 'free', 'undo_dir' } do
    if job.given[name] and target.type ~= 'block' then
      fail.raise('usage', '%s has no meaning: %s is no block device', name:gsub('_', '-'),
        job.target)
    end
  end
end

local function decide(c)
  local job = c.job
  local target = facts.restore_target(job.target, { job.source, job.set_dir }, job.undo_dir)
  check_usage(job, target)
  local rules = { force = job.force, yes_destroy = job.yes_destroy, free = job.free,
    only_changed = job.only_changed, on_read_error = job.on_read_error }
  local both = { image = image_facts(job, c.known), target = target }
  local decision = safety.restore(both, rules)
  local answer = confirm.ask(decision, target, job, c.report)
  if answer then
    rules.yes_destroy = answer
    decision = safety.restore(both, rules)
  end
  return decision, target
end

--- What is answered to --dry-run. What speaks against it for good needs no estimate.
---@param job table
---@param decision table
---@param estimated fun(): table of policy/estimate.lua
function M.planned(job, decision, estimated)
  local result = {
    action = job.action, dry_run = true, image = job.source, target = job.target,
    plan = decision.plan, refusals = decision.refusals, warnings = decision.warnings,
    code = decision.allowed and 0 or sys.codes.refused,
    message = not decision.allowed and safety.reasons(decision) or nil,
  }
  if decision.allowed or safety.only_unconfirmed(decision) then
    for key, value in pairs(estimated()) do result[key] = value end
  end
  return result
end

--- How long it takes to read some images, and how much is written, at least.
---@param c {job: table, report: table}
---@param images {image: img.Image, known: table, bytes: integer}[] bytes: of data that are written
---@return table of policy/estimate.lua
function M.estimate(c, images)
  local all, list = 0, {}
  for _, x in ipairs(images) do all = all + x.bytes end
  for i, x in ipairs(images) do
    local settings = verify.settings(c.job, x.known)
    local taken = sample.image({ job = c.job, report = c.report, settings = settings }, x.image,
      x.bytes / math.max(1, all))
    list[i] = estimate.copy(x.bytes, taken, c.job.max_throughput)
  end
  return estimate.all(list)
end

--- Raise what speaks against it; else say the warnings.
---@param job table
---@param decision table
---@param report table
function M.insist(job, decision, report)
  if not decision.allowed then
    fail.raise('refused', '%s to %s refused: %s', job.action:gsub('_', '-'), job.target,
      safety.reasons(decision))
  end
  for _, warning in ipairs(decision.warnings) do report:warn(warning) end
end

-- The image: said by its path, or by a set and one of its partitions.
local function open_image(job)
  if job.set_dir then
    if job.source then fail.raise('usage', 'an image and a set: one of them is meant') end
    if not job.partition then fail.raise('usage', 'set-dir has no meaning without partition') end
    local set = try(open_set.open(job.set_dir))
    local entry = try(set:partition(job.partition))
    if not entry.image then
      fail.raise('usage', "partition '%s' of %s is a container without an image", job.partition,
        job.set_dir)
    end
    job.source = set:path(entry.image.file)
    return try(set:open_image(entry.image))
  end
  if job.partition then fail.raise('usage', 'partition has no meaning without set-dir') end
  if not job.source then fail.raise('usage', 'job.source: is missing') end
  local file <close> = try(device.open(job.source))
  return (try(image.open(file)))
end

--- Run a checked job.
---@param job table
---@param report table
---@return table result
function M.run(job, report)
  if job.target == '-' then
    fail.raise('usage', 'the target must be a file or device (export-range writes to stdout)')
  end
  local opened <close> = open_image(job)
  local c = { job = job, report = report, image = opened, known = opened:facts() }
  c.offset, c.length = range_of(job, c.known)
  try(opened:check_root())
  local decision, target = decide(c)
  if job.dry_run then
    return M.planned(job, decision, function()
      return M.estimate(c, { { image = c.image, known = c.known,
        bytes = math.min(c.known.data_bytes, c.length) } })
    end)
  end
  M.insist(job, decision, report)
  return target.type == 'block' and to_device(c, target) or to_file(c, target)
end

return M
