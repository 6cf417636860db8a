--- Wait for a job of img.pipeline: progress, signals, tuning.
local climb = require 'imgtool.policy.climb'
local fail = require 'imgtool.util.fail'
local limit = require 'imgtool.util.limit'
local sys = require 'img.sys'
local tuning = require 'imgtool.policy.tuning'

local M = {}

local STEP_S <const> = 0.5

-- For one answer of a strategy.
local INSTRUCTIONS <const> = 10000000

-- The first signal lets a capture finish its chunk, so that it can be resumed; the second doesn't
-- wait.
local function heed_signals(handle, report, seen)
  local count = sys.signals() - report.signals_before
  if count > seen then
    handle:cancel(count == 1)
    if count == 1 then report:note('stopping; a second signal stops at once') end
  end
  return count
end

-- The settings a strategy wants now. A mistake in it is the script's failure.
local function ask_strategy(strategy, now)
  local ok, answer = limit.call(INSTRUCTIONS, 'one answer', strategy, now)
  if not ok then fail.raise('script', '%s', tostring(answer)) end
  local settings, message = tuning.check_answer(answer)
  if message then fail.raise('script', '%s', message) end
  return settings
end

--- The strategy that a checked job asks for, or nil.
---@param job table
---@param settings table workers and depth at the start
function M.strategy(job, settings)
  if job.tune then return job.tune end
  if not job.auto_tune then return nil end
  local state = climb.new {
    workers = math.min(64, sys.cores() * 2),
    depth = tuning.depth_limit { block_bytes = settings.block_bytes,
      budget_bytes = tuning.budget { memory_bytes = sys.memory_available() } },
  }
  return function(now) return climb.step(state, now) end
end

-- How much will be read, of a sample: an estimate until it is over.
local function estimate(now, sample_percent)
  if sample_percent >= 100 then return end
  local estimated = now.total_bytes // 100 * sample_percent
  now.total_bytes = now.state == 'done' and now.done_bytes or math.max(estimated, now.done_bytes)
end

-- Threads that do not come back can't be waited for: the program ends at once.
local function leave_stalled(handle, report, message, code)
  if not handle:stalled() then return end
  report:fail(message, code)
  sys.exit_now(code)
end

--- Wait to the end. `what` is the action, for people. The last snapshot, and true or
--- nil, message, code as of Job:wait.
---@param handle img.Job
---@param what string
---@param report table
---@param strategy function?
---@param sample_percent integer? of what the job reads
---@return img.Progress now, boolean? done, string? message, integer? code
function M.wait(handle, what, report, strategy, sample_percent)
  local seen = 0
  report:start()
  while true do
    local done, message, code = handle:wait(STEP_S)
    local now = handle:progress()
    estimate(now, sample_percent or 100)
    report:progress(what, now, done ~= false)
    if code == sys.codes.cancelled then
      message = ('%s cancelled after %d of %d bytes'):format(what, now.done_bytes, now.total_bytes)
    end
    leave_stalled(handle, report, message, code)
    if done ~= false then return now, done, message, code end
    seen = heed_signals(handle, report, seen)
    local settings = strategy and ask_strategy(strategy, now)
    if settings then handle:set(settings) end
  end
end

--- The same for a job that leaves something behind. What is raised on the way (by a strategy, or
--- because stdout is closed) ends the job first: nil, nil, message, code, trace.
---@param handle img.Job
---@param what string
---@param report table
---@param strategy function?
---@return img.Progress? now, boolean? done, string? message, integer? code, string? trace
function M.to_end(handle, what, report, strategy)
  local found = table.pack(fail.catch(M.wait, handle, what, report, strategy))
  if found[1] then return table.unpack(found, 1, 4) end
  handle:cancel(false)
  local _, message, code = handle:wait()
  leave_stalled(handle, report, message, code)
  return nil, table.unpack(found, 1, 4)
end

return M
