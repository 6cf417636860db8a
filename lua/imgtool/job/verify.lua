--- Check an image: all blocks or a sample of every chunk, and the root hash.
local device = require 'img.device'
local facts = require 'imgtool.job.facts'
local fail = require 'imgtool.util.fail'
local image = require 'img.image'
local json = require 'imgtool.util.json'
local pipeline = require 'img.pipeline'
local sys = require 'img.sys'
local tuning = require 'imgtool.policy.tuning'
local wait = require 'imgtool.job.wait'

local M = {}

local try = fail.try

-- All losses are counted, so many are listed.
local LISTED <const> = 100

--- Settings for a job that reads an image.
---@param job table
---@param head img.Head
function M.settings(job, head)
  local machine = facts.machine()
  machine.source_bytes, machine.block_bytes = head.source_bytes, head.block_bytes
  return (try(tuning.choose(machine, {
    workers = job.workers, pipeline_depth = job.pipeline_depth,
  })))
end

--- As many losses as are listed.
---@param all table[]
---@return table[]
function M.listed(all)
  return json.array(table.move(all, 1, math.min(#all, LISTED), 1, {}))
end

--- The first losses of a job that has ended.
---@param handle img.Job
---@return table[]
function M.losses(handle) return M.listed(handle:losses()) end

local function result_of(path, handle, now, known)
  local checked, all = handle:blocks()
  return {
    action = 'verify', image = path, uuid = known.uuid, root = known.root,
    blocks_checked = checked, blocks = all, read_bytes = now.done_bytes,
    elapsed_ns = now.elapsed_ns, damaged = M.losses(handle), damaged_count = now.bad_count,
    damaged_bytes = now.bad_bytes, bad_range_bytes = known.bad_range_bytes, code = 0,
  }
end

-- The first reason: damaged blocks, then the tables as a whole.
local function judge(result, opened)
  if result.damaged_count > 0 then
    result.code = sys.codes.damaged
    result.message = ('%s is damaged: %d of %d blocks checked do not verify'):format(result.image,
      result.damaged_count, result.blocks_checked)
    return result
  end
  local ok, message, code = opened:check_root()
  if not ok then
    result.code, result.message = code, message
  end
  return result
end

--- Verify an image file: the result, whose code says whether it is good.
---@param path string
---@param how {sample_percent: integer, seed: integer, job: table, report: table}
function M.image(path, how)
  local file <close> = try(device.open(path))
  local opened <close> = try(image.open(file))
  local known = opened:facts()
  local settings = M.settings(how.job, known)
  local handle <close> = try(pipeline.verify {
    image = opened, sample_percent = how.sample_percent, seed = how.seed,
    workers = settings.workers, depth = settings.depth, max_bytes_per_s = how.job.max_throughput,
    stall_s = how.job.stall_timeout,
  })
  local now, done, message, code = wait.wait(handle, 'verify', how.report,
    wait.strategy(how.job, settings), how.sample_percent)
  local result = result_of(path, handle, now, known)
  if not done and not (code == sys.codes.damaged and result.damaged_count > 0) then
    fail.throw(message, code)
  end
  result.sample_percent, result.seed = how.sample_percent, how.seed
  return judge(result, opened)
end

--- Raise what has no meaning without --quick.
---@param job table
function M.check_sample(job)
  for _, name in ipairs { 'sample', 'seed' } do
    if job.given[name] and not job.quick then
      fail.raise('usage', '%s has no meaning without quick', name)
    end
  end
end

--- Run a checked job.
---@param job table
---@param report table
---@return table result
function M.run(job, report)
  M.check_sample(job)
  local percent = job.quick and job.sample or 100
  if job.dry_run then
    return { action = 'verify', dry_run = true, image = job.source, sample_percent = percent,
      root = '', blocks = 0, blocks_checked = 0, damaged = json.array {}, damaged_count = 0,
      damaged_bytes = 0, elapsed_ns = 0, code = 0 }
  end
  return M.image(job.source, {
    sample_percent = percent,
    seed = job.seed or sys.clock_ns() & 0x7fffffff, job = job, report = report,
  })
end

return M
