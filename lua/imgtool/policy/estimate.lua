--- What a job will take in bytes and seconds, from its maps and a sample of what they call data.
--- Pure.
---
--- A sample is what was read: done_bytes (of the source), stored_bytes (compressed), elapsed_ns.
local map = require 'img.map'

local M = {}

local MiB <const> = 1 << 20

-- A run is long enough that a disk with heads reads more than it seeks.
local RUN_BYTES <const> = 1 * MiB
-- What an image takes for each chunk and block beside the data, at most
-- (docs/image-format-v2.md, 3.3), and once.
local CHUNK_BYTES <const>, BLOCK_BYTES <const>, ONCE_BYTES <const> = 256, 44, 4096

--- A map of the same size that keeps about `wanted_bytes` of the data, in runs that are spread
--- evenly over it; all else is free.
---@param m img.Map
---@param wanted_bytes integer
---@return img.Map
function M.sample_map(m, wanted_bytes)
  local data, out = m:bytes('data'), map.new(m:size())
  out:set(0, m:size(), 'free')
  local runs = math.max(1, wanted_bytes // RUN_BYTES)
  local run, step = RUN_BYTES, data // runs
  if step <= run then run, step = data, data end
  -- Positions count the data alone: `base` is that of an extent, `start` that of the next run.
  local base, start, left = 0, (step - run) // 2, 0
  for offset, length, kind in m:each() do
    local done = 0
    while kind == 'data' and done < length do
      if left == 0 then
        done = math.min(length, start - base)
        if done == length then break end
        left, start = run, start + step
      end
      local n = math.min(left, length - done)
      out:set(offset + done, n, 'data')
      done, left = done + n, left - n
    end
    if kind == 'data' then base = base + length end
  end
  return out
end

--- The sum of samples.
---@param samples table[]
---@return {done_bytes: integer, stored_bytes: integer, elapsed_ns: integer}
function M.sum(samples)
  local sum = { done_bytes = 0, stored_bytes = 0, elapsed_ns = 0 }
  for _, sample in ipairs(samples) do
    for key in pairs(sum) do sum[key] = sum[key] + sample[key] end
  end
  return sum
end

-- Seconds for so many bytes at the pace of the sample, or at the limit when that is slower.
local function seconds_of(bytes, sample, limit)
  local seconds = bytes * (sample.elapsed_ns / 1e9) / sample.done_bytes
  if limit > 0 then seconds = math.max(seconds, bytes / limit) end
  return math.ceil(seconds)
end

--- How large an image becomes and how long it takes; the size is nil as well as the time when
--- nothing could be read of what there is.
---@param what {read_bytes: integer, source_bytes: integer, chunk_bytes: integer, block_bytes: integer, limit: integer}
---@param sample table
---@return {estimated_bytes: integer?, estimated_seconds: integer?, sampled_bytes: integer}
function M.image(what, sample)
  local out = { sampled_bytes = sample.done_bytes }
  if what.read_bytes > 0 and sample.done_bytes == 0 then return out end
  local chunks = (what.source_bytes + what.chunk_bytes - 1) // what.chunk_bytes
  local blocks = (what.read_bytes + what.block_bytes - 1) // what.block_bytes
  local stored = 0
  out.estimated_seconds = 0
  if what.read_bytes > 0 then
    stored = what.read_bytes * (sample.stored_bytes / sample.done_bytes)
    out.estimated_seconds = seconds_of(what.read_bytes, sample, what.limit)
  end
  out.estimated_bytes = math.ceil(stored) + chunks * CHUNK_BYTES + blocks * BLOCK_BYTES
    + ONCE_BYTES
  return out
end

--- How much is written, and how long that takes when the target keeps pace with what is read; nil
--- as above.
---@param bytes integer of data
---@param sample table
---@param limit integer bytes a second, 0: none
---@return {estimated_bytes: integer, estimated_seconds: integer?, sampled_bytes: integer}
function M.copy(bytes, sample, limit)
  local out = { estimated_bytes = bytes, sampled_bytes = sample.done_bytes }
  if bytes == 0 then
    out.estimated_seconds = 0
  elseif sample.done_bytes > 0 then
    out.estimated_seconds = seconds_of(bytes, sample, limit)
  end
  return out
end

--- The estimate of several jobs, one after the other: what one of them can't say, nobody can.
---@param list table[] of M.image or M.copy
---@return table
function M.all(list)
  local sum = { estimated_bytes = 0, estimated_seconds = 0, sampled_bytes = 0 }
  for _, one in ipairs(list) do
    for key, value in pairs(sum) do sum[key] = one[key] and value + one[key] end
  end
  return sum
end

return M
