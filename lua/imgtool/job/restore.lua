--- Give an image back: to a block device or a file. Plan, check everything, then write
--- (docs/SAFETY.md, R4).
local device = require 'img.device'
local facts = require 'imgtool.job.facts'
local fail = require 'imgtool.util.fail'
local image = require 'img.image'
local output = require 'imgtool.job.output'
local pipeline = require 'img.pipeline'
local safety = require 'imgtool.policy.safety'
local stored = require 'imgtool.job.stored'
local sys = require 'img.sys'
local verify = require 'imgtool.job.verify'
local wait = require 'imgtool.job.wait'

local M = {}

local try = fail.try

-- What policy/safety.lua asks about an image.
local function image_facts(job, known)
  local image_of = stored.source(known.text)
  image_of.path = job.source
  image_of.source_bytes, image_of.logical_bytes = known.source_bytes, known.logical_bytes
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

-- R7: the end was reached, and for a whole image each kind has the bytes that the image says.
local function check_accounts(now, known, offset, length)
  if now.position ~= offset + length then
    fail.raise('internal', 'the restore ended at %d, not at %d', now.position, offset + length)
  end
  if length ~= known.source_bytes then return end
  for _, kind in ipairs { 'data_bytes', 'zero_bytes', 'free_bytes' } do
    if now[kind] ~= known[kind] then
      fail.raise('internal', 'the restore accounts for %d bytes as %s, the image has %d', now[kind],
        kind, known[kind])
    end
  end
end

local function result_of(c, handle, now, code)
  local result = {
    action = c.job.action, image = c.job.source, target = c.job.target, uuid = c.known.uuid,
    offset = c.offset, length = c.length, data_bytes = now.data_bytes,
    zero_bytes = now.zero_bytes, free_bytes = now.free_bytes, elapsed_ns = now.elapsed_ns,
    losses = verify.losses(handle), loss_count = now.bad_count, loss_bytes = now.bad_bytes,
    code = code,
  }
  if code ~= 0 then
    result.message = ('%s: %d bytes in %d places are damaged or bad in the image, and zeros in %s')
      :format(c.job.source, now.bad_bytes, now.bad_count, c.job.target)
  end
  return result
end

-- Whether a job that met damage went on to the end, as it was asked to.
local function went_through(c, now, code)
  if c.job.on_read_error ~= 'zero' or now.position ~= c.offset + c.length then return false end
  return code == sys.codes.bad_sectors or code == sys.codes.damaged
end

-- Write the range to a target that is open: the result. `how` says what is known about the target.
local function write_target(c, target, how)
  local job = c.job
  local settings = verify.settings(job, c.known)
  local handle <close> = try(pipeline.restore {
    image = c.image, target = target, offset = c.offset, length = c.length, target_offset = 0,
    free = how.free, target_is_zero = how.is_zero, on_read_error = job.on_read_error,
    workers = settings.workers, depth = settings.depth, max_bytes_per_s = job.max_throughput,
    stall_s = job.stall_timeout,
  })
  local now, done, message, code = wait.wait(handle, job.action, c.report,
    wait.strategy(job, settings))
  if not done and not went_through(c, now, code) then
    fail.throw(('%s; %s'):format(message, how.left), code)
  end
  check_accounts(now, c.known, c.offset, c.length)
  try(target:flush())
  return result_of(c, handle, now, done and 0 or code)
end

-- A new file: sparse, and under its partial name until it is complete.
local function to_file(c, target)
  local action = target.partial_exists and 'restart' or 'create'
  local out <close> = output.open(target.partial, action)
  try(out.device:set_size(c.length))
  local result = write_target(c, out.device, { free = 'leave', is_zero = true,
    left = target.partial .. ' is incomplete' })
  try(sys.rename(target.partial, target.path, c.job.force))
  return result
end

local function to_device(c, target)
  local dev <close> = try(device.open(target.path, { write = true, direct = true,
    exclusive = true }))
  -- What was checked is what is written to.
  if dev:size() ~= target.size_bytes then
    fail.raise('refused', '%s has changed its size', target.path)
  end
  return write_target(c, dev, { free = c.job.free, is_zero = false,
    left = target.path .. ' is overwritten in part' })
end

local function decide(c)
  local target = facts.restore_target(c.job.target, c.job.source)
  if c.job.action == 'export' and target.type == 'block' then
    fail.raise('usage', '%s is a block device: restore writes to devices', c.job.target)
  end
  if c.job.given.free and target.type ~= 'block' then
    fail.raise('usage', 'free has no meaning: %s is no block device', c.job.target)
  end
  local rules = { force = c.job.force, yes_destroy = c.job.yes_destroy, free = c.job.free }
  return safety.restore({ image = image_facts(c.job, c.known), target = target }, rules), target
end

local function refuse(c, decision)
  fail.raise('refused', '%s to %s refused: %s', c.job.action, c.job.target,
    safety.reasons(decision))
end

--- Run a checked job.
---@param job table
---@param report table
---@return table result
function M.run(job, report)
  if job.target == '-' then
    fail.raise('usage', 'the target must be a file or device (export-range writes to stdout)')
  end
  local file <close> = try(device.open(job.source))
  local opened <close> = try(image.open(file))
  local c = { job = job, report = report, image = opened, known = opened:facts() }
  c.offset, c.length = range_of(job, c.known)
  try(opened:check_root())
  local decision, target = decide(c)
  if job.dry_run then
    return {
      action = job.action, dry_run = true, image = job.source, target = job.target,
      plan = decision.plan, refusals = decision.refusals, warnings = decision.warnings,
      code = decision.allowed and 0 or sys.codes.refused,
      message = not decision.allowed and safety.reasons(decision) or nil,
    }
  end
  if not decision.allowed then refuse(c, decision) end
  for _, warning in ipairs(decision.warnings) do report:warn(warning) end
  return target.type == 'block' and to_device(c, target) or to_file(c, target)
end

return M
