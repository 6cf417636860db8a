--- What a job will take in bytes and seconds, from its maps and a sample of what they call data.
--- Pure.
---
--- A sample is what was read: done_bytes (of the source), stored_bytes (compressed), elapsed_ns.
local M = {}

local MiB <const> = 1 << 20

-- A window of the source is large enough that a disk with heads reads more than it seeks, and that
-- the workers have something to share; holes make it longer, up to a limit.
local WINDOW_BYTES <const>, WINDOW_BLOCKS <const>, SPAN <const> = 8 * MiB, 4, 8
local WINDOWS <const> = 16
-- In such an order that those before any of them are spread evenly, too.
local ORDER <const> = { 0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15 }
-- What an image takes beside the data (docs/image-format-v2.md, 3.3 and 4): for each chunk, each
-- block and each byte of holes, and once.
local CHUNK_BYTES <const>, BLOCK_BYTES <const>, HOLE_SHARE <const> = 2048, 44, 32768
local ONCE_BYTES <const> = 8192

-- Call f(offset, length) for each window that all data is divided into.
local function each_window(m, block_bytes, f)
  local most = math.max(WINDOW_BYTES, WINDOW_BLOCKS * block_bytes)
  local span = SPAN * most
  local start, stop, data
  for offset, length, kind in m:each() do
    local at = offset
    while kind == 'data' and at < offset + length do
      if start and (data >= most or at - start >= span) then
        f(start, stop - start)
        start = nil
      end
      if not start then start, data = at, 0 end
      local n = math.min(offset + length - at, most - data, start + span - at)
      at, data = at + n, data + n
      stop = at
    end
  end
  if start then f(start, stop - start) end
end

--- Windows of a source to sample: all of its data when it is little, else some that are spread
--- evenly over it, in an order to stop in at any time.
---@param m img.Map
---@param block_bytes integer
---@return {offset: integer, length: integer}[]
function M.windows(m, block_bytes)
  local all, wanted, out = 0, {}, {}
  each_window(m, block_bytes, function() all = all + 1 end)
  for k, place in ipairs(ORDER) do
    local n = all <= WINDOWS and place or (2 * place + 1) * all // (2 * WINDOWS)
    wanted[n] = k
  end
  local n, found = 0, {}
  each_window(m, block_bytes, function(offset, length)
    if wanted[n] then found[wanted[n]] = { offset = offset, length = length } end
    n = n + 1
  end)
  for k = 1, WINDOWS do out[#out + 1] = found[k] end
  return out
end

-- Seconds for so many bytes at the pace of the sample, or at the limit when that is slower.
local function seconds_of(bytes, sample, limit)
  local seconds = bytes * (sample.elapsed_ns / 1e9) / sample.done_bytes
  if limit > 0 then seconds = math.max(seconds, bytes / limit) end
  return seconds
end

--- How large an image becomes and how long it takes; the size is nil as well as the time when
--- nothing could be read of what there is.
---@param what table read_bytes, source_bytes, chunk_bytes, block_bytes, limit (bytes a second; 0:
--- none)
---@param sample table
---@return {estimated_bytes: integer?, estimated_seconds: number?, sampled_bytes: integer}
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
    + (what.source_bytes - what.read_bytes) // HOLE_SHARE + ONCE_BYTES
  return out
end

--- How much is written, and how long that takes when the target keeps pace with what is read; nil
--- as above.
---@param bytes integer of data
---@param sample table
---@param limit integer bytes a second, 0: none
---@return {estimated_bytes: integer, estimated_seconds: number?, sampled_bytes: integer}
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
