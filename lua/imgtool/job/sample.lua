--- A few seconds of a job for its estimate (policy/estimate.lua): some of what it would read goes
--- the pipeline's way into memory, or nowhere. Nothing is written anywhere else.
local device = require 'img.device'
local estimate = require 'imgtool.policy.estimate'
local fail = require 'imgtool.util.fail'
local head_text = require 'imgtool.job.head'
local image = require 'img.image'
local map = require 'img.map'
local pipeline = require 'img.pipeline'
local sys = require 'img.sys'

local M = {}

local try = fail.try

local MiB <const> = 1 << 20

-- How long all samples of one job take, about, and the least for one of them: a small partition of
-- a large disk has its sample, too.
local BUDGET_NS <const>, LEAST_NS <const> = 2000000000, 200000000

-- Of an image at most about so much.
local IMAGE_BYTES <const> = 128 * MiB
-- What a block takes in memory beside the data, and all else: more than enough of each.
local PER_BLOCK <const>, BESIDE <const> = 128, MiB

local function budget(share)
  return math.max(LEAST_NS, math.floor(BUDGET_NS * (share or 1)))
end

-- Between two looks at signals.
local STEP_S <const> = 0.5

-- Wait for so long; what is not done by then is left. The last snapshot, and the failure, if any.
local function run_for(handle, report, ns)
  local deadline, left = sys.clock_ns() + ns, ns / 1e9
  local done, message, code
  repeat
    done, message, code = handle:wait(left > 0 and math.min(left, STEP_S) or STEP_S)
    if handle:stalled() then
      report:fail(message, code)
      sys.exit_now(code)
    end
    left = (deadline - sys.clock_ns()) / 1e9
    if done == false and (left <= 0 or sys.signals() > report.signals_before) then
      handle:cancel(false)
    end
  until done ~= false
  if sys.signals() > report.signals_before then
    fail.raise('cancelled', 'cancelled while it was estimated')
  end
  if done or code == sys.codes.cancelled then return handle:progress() end
  return handle:progress(), message, code
end

local function empty() return { done_bytes = 0, stored_bytes = 0, elapsed_ns = 0 } end

local function add(sum, now)
  for key, value in pairs(sum) do sum[key] = value + now[key] end
end

-- The part of a map that a window shows.
local function part_of(m, window)
  local out, at, stop = map.new(window.length), window.offset, window.offset + window.length
  while at < stop do
    local _, length, kind = m:run(at)
    length = math.min(length, stop - at)
    out:set(at - window.offset, length, kind == 'data' and 'data' or 'free')
    at = at + length
  end
  return out
end

-- What can't be read now is the job's affair, by its own rules; it says nothing about the rest.
local function finish(handle, c, ns)
  local now, message, code = run_for(handle, c.report, ns)
  if message and code ~= sys.codes.bad_sectors then fail.throw(message, code) end
  now.done_bytes = math.max(0, now.done_bytes - now.bad_bytes)
  return now
end

local function limits_of(c)
  return { on_read_error = 'zero', read_retries = 0, workers = c.settings.workers,
    depth = c.settings.depth, max_bytes_per_s = c.job.max_throughput,
    stall_s = c.job.stall_timeout }
end

-- A capture of a window into memory, as an image of one chunk.
local function capture(c, source, part, ns)
  local block, length = c.settings.block_bytes, source:size()
  local blocks = (length + block - 1) // block
  local info = source:info()
  local out <close> = try(device.mem(part:bytes('data') + blocks * PER_BLOCK + BESIDE))
  local writer <close> = try(image.writer(out, {
    source_bytes = length, chunk_bytes = blocks * block, block_bytes = block,
    logical_bytes = info.logical_bytes, physical_bytes = head_text.physical_bytes(info),
    hash = c.settings.hash, uuid = sys.uuid(), created_s = 0, text = '{}',
  }, part, {}))
  local how = limits_of(c)
  how.source, how.map, how.writer, how.level = source, part, writer, c.settings.level
  local handle <close> = try(pipeline.capture(how))
  local now = finish(handle, c, ns)
  -- Frames alone: what an image has around them is known (policy/estimate.lua).
  now.stored_bytes = writer:totals().stored_bytes
  return now
end

-- A copy of a window into memory.
local function copy(c, source, part, ns)
  local target <close> = try(device.mem(source:size()))
  local how = limits_of(c)
  how.source, how.map, how.target, how.block_bytes = source, part, target, c.settings.block_bytes
  how.free, how.target_is_zero = 'leave', true
  local handle <close> = try(pipeline.clone(how))
  return finish(handle, c, ns)
end

local function sample_with(way, c, m, share)
  local sum, left = empty(), budget(share)
  for _, window in ipairs(estimate.windows(m, c.settings.block_bytes)) do
    if left <= 0 then break end
    local source <close> = try(device.slice(c.source, window.offset, window.length))
    local part <close> = part_of(m, window)
    local now = way(c, source, part, left)
    add(sum, now)
    left = left - now.elapsed_ns
  end
  return sum
end

--- A sample of a source, compressed as its image would be.
---@param c {job: table, report: table, source: img.Device, settings: table} settings of the image
---@param m img.Map
---@param share number? of the time for all samples, up to 1
---@return {done_bytes: integer, stored_bytes: integer, elapsed_ns: integer}
function M.source(c, m, share) return sample_with(capture, c, m, share) end

--- A sample of a source, read as for a copy.
---@param c {job: table, report: table, source: img.Device, settings: table}
---@param m img.Map
---@return {done_bytes: integer, stored_bytes: integer, elapsed_ns: integer}
function M.copy(c, m) return sample_with(copy, c, m) end

--- A sample of an image, unpacked and checked as a restore does.
---@param c {job: table, report: table, settings: table}
---@param opened img.Image
---@param share number? as above
---@return {done_bytes: integer, stored_bytes: integer, elapsed_ns: integer}
function M.image(c, opened, share)
  local sum = empty()
  local known = opened:facts()
  if known.data_bytes == 0 then return sum end
  local percent = math.min(100, IMAGE_BYTES * 100 // known.data_bytes + 1)
  local handle <close> = try(pipeline.verify {
    image = opened, sample_percent = percent, seed = 1, workers = c.settings.workers,
    depth = c.settings.depth, max_bytes_per_s = c.job.max_throughput,
    stall_s = c.job.stall_timeout,
  })
  local now, message, code = run_for(handle, c.report, budget(share))
  if message then
    if code ~= sys.codes.damaged then fail.throw(message, code) end
    c.report:warn(('a sample of the image is damaged already: %s'):format(message))
  end
  add(sum, now)
  return sum
end

return M
