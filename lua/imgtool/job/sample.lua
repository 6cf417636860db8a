--- A few seconds of a job for its estimate (policy/estimate.lua): some of what it would read goes
--- the pipeline's way into memory, or nowhere. Nothing is written anywhere else.
local device = require 'img.device'
local estimate = require 'imgtool.policy.estimate'
local fail = require 'imgtool.util.fail'
local image = require 'img.image'
local pipeline = require 'img.pipeline'
local sys = require 'img.sys'

local M = {}

local try = fail.try

local MiB <const> = 1 << 20

--- How long all samples of one job take, about; what is under way then is finished.
M.BUDGET_NS = 2000000000

-- A first sample tells how large the second one can be; neither has more than so much.
local FIRST_BYTES <const>, MOST_BYTES <const> = 8 * MiB, 128 * MiB
-- The largest chunk of an image (docs/image-format-v2.md, 3.1): fewest tables in memory.
local CHUNK_BLOCKS <const>, CHUNK_BYTES <const> = 65536, 1 << 32
-- What a chunk and a block take beside the data, more than enough of each.
local PER_CHUNK <const>, PER_BLOCK <const> = 8192, 128

-- Wait for so long; what is not done by then is left. The last snapshot, and the failure, if any.
local function run_for(handle, report, ns)
  local done, message, code = handle:wait(math.max(0, ns) / 1e9)
  if done == false then
    handle:cancel(false)
    done, message, code = handle:wait()
    if code == sys.codes.cancelled then done, code = true, nil end
  end
  if sys.signals() > report.signals_before then
    fail.raise('cancelled', 'cancelled while it was estimated')
  end
  return handle:progress(), not done and message or nil, code
end

local function empty() return { done_bytes = 0, stored_bytes = 0, elapsed_ns = 0 } end

local function add(sum, now)
  for key, value in pairs(sum) do sum[key] = value + now[key] end
end

-- A capture of what the map calls data into memory.
local function capture(c, m, ns)
  local chunk = math.min(CHUNK_BYTES, c.settings.block_bytes * CHUNK_BLOCKS)
  local size, data = c.source:size(), m:bytes('data')
  local info = c.source:info()
  local room = data + (data // c.settings.block_bytes + m:count() + 1) * PER_BLOCK
    + (size // chunk + 2) * PER_CHUNK + MiB
  local out <close> = try(device.mem(room))
  local writer <close> = try(image.writer(out, {
    source_bytes = size, chunk_bytes = chunk, block_bytes = c.settings.block_bytes,
    logical_bytes = info.logical_bytes, physical_bytes = info.physical_bytes,
    hash = c.settings.hash, uuid = sys.uuid(), created_s = 0, text = '{}',
  }, m, {}))
  local handle <close> = try(pipeline.capture {
    source = c.source, map = m, writer = writer, on_read_error = 'zero', read_retries = 0,
    workers = c.settings.workers, depth = c.settings.depth, level = c.settings.level,
    max_bytes_per_s = c.job.max_throughput, stall_s = c.job.stall_timeout,
  })
  local now, message, code = run_for(handle, c.report, ns)
  -- What can't be read now is the job's affair, by its own rules.
  if message and code ~= sys.codes.bad_sectors then fail.throw(message, code) end
  return now
end

--- A sample of a source, compressed as its image would be.
---@param c {job: table, report: table, source: img.Device, settings: table} settings of the image
---@param m img.Map
---@param share number? of M.BUDGET_NS, up to 1
---@return {done_bytes: integer, stored_bytes: integer, elapsed_ns: integer}
function M.source(c, m, share)
  local sum = empty()
  local data = m:bytes('data')
  if data == 0 then return sum end
  local budget = M.BUDGET_NS * (share or 1)
  do
    local first <close> = estimate.sample_map(m, FIRST_BYTES)
    add(sum, capture(c, first, budget))
  end
  local left = budget - sum.elapsed_ns
  if data <= sum.done_bytes or left <= 0 or sum.done_bytes == 0 then return sum end
  local second <close> = estimate.sample_map(m, math.min(MOST_BYTES,
    math.floor(left / math.max(1, sum.elapsed_ns) * sum.done_bytes)))
  local more = empty()
  add(more, capture(c, second, left))
  return more.done_bytes > sum.done_bytes and more or sum
end

--- A sample of an image, unpacked and checked as a restore does.
---@param c {job: table, report: table, settings: table}
---@param opened img.Image
---@param share number? as above
---@return {done_bytes: integer, stored_bytes: integer, elapsed_ns: integer}
function M.image(c, opened, share)
  local sum = empty()
  local known = opened:facts()
  if known.data_bytes == 0 then return sum end
  local percent = math.min(100, MOST_BYTES * 100 // known.data_bytes + 1)
  local handle <close> = try(pipeline.verify {
    image = opened, sample_percent = percent, seed = 1, workers = c.settings.workers,
    depth = c.settings.depth, max_bytes_per_s = c.job.max_throughput,
    stall_s = c.job.stall_timeout,
  })
  local now, message, code = run_for(handle, c.report, M.BUDGET_NS * (share or 1))
  if message then
    if code ~= sys.codes.damaged then fail.throw(message, code) end
    c.report:warn(('a sample of the image is damaged already: %s'):format(message))
  end
  add(sum, now)
  return sum
end

return M
