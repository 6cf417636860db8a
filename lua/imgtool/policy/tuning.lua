--- Settings from facts: chunk size, workers, depth. Pure.
local schema = require 'imgtool.job.schema'
local size = require 'imgtool.util.size'

local M = {}

local MiB <const> = 1 << 20
-- Limits of the image format (docs/image-format-v2.md, 3.1).
local BLOCKS_PER_CHUNK <const> = 65536
local CHUNKS <const> = 1 << 20
-- What a chunk's table takes for one block, with the longest hash (3.3).
local TABLE_ENTRY <const> = 44

--- The default of a field of the schema.
---@param name string
function M.default(name)
  for _, field in ipairs(schema.fields) do
    if field.name == name then return field.default end
  end
end

-- The least power of two that is at least n.
local function power_of_two(n)
  local power = 1
  while power < n do power = power * 2 end
  return power
end

--- The default chunk size for a source. Smaller than the schema's default where
--- - the source is small: about 16 chunks, so that an interrupted run has something to keep, but
---   not under 16 MiB, because each chunk costs some KiB in the file;
--- - the block is small: 65536 blocks at most;
--- - memory is small: a chunk's table takes at most 1/64 of the budget.
--- Larger where the source would have too many chunks.
---@param facts {source_bytes: integer, block_bytes: integer, budget_bytes: integer}
---@return integer
function M.chunk_bytes(facts)
  local block = facts.block_bytes
  local by_source = math.max(16 * MiB, power_of_two(facts.source_bytes // 16))
  local by_block = block * BLOCKS_PER_CHUNK
  local by_memory = block * power_of_two(math.max(1, facts.budget_bytes // 64 // TABLE_ENTRY) // 2)
  local chunk = math.min(M.default('chunk_size'), by_source, by_block, math.max(by_memory, block))
  local least = power_of_two(math.max(1, facts.source_bytes // CHUNKS))
  return math.max(chunk, least, block)
end

-- A chunk size that was asked for: nil, and why it can't be.
local function check_chunk(chunk, block, source_bytes)
  if chunk % block ~= 0 then
    return nil, ('chunk size %s is no multiple of the block size %s'):format(size.exact(chunk),
      size.exact(block))
  end
  if chunk // block > BLOCKS_PER_CHUNK then
    return nil, ('chunk size %s has more than %d blocks of %s'):format(size.exact(chunk),
      BLOCKS_PER_CHUNK, size.exact(block))
  end
  if source_bytes > chunk * CHUNKS then
    return nil, ('chunk size %s gives more than %d chunks'):format(size.exact(chunk), CHUNKS)
  end
  return chunk
end

--- Workers that are worth having.
---@param facts {cores: integer}
function M.workers(facts)
  return math.max(1, math.min(facts.cores, 4))
end

--- Blocks in flight: 16 MiB of source for a fast disk's queue, but at least two blocks for each
--- worker and two for the ends; each block takes twice its size, all together at most the budget.
---@param facts {workers: integer, block_bytes: integer, budget_bytes: integer}
function M.depth(facts)
  local wanted = math.max(16 * MiB // facts.block_bytes, 2 * facts.workers + 2)
  return math.min(wanted, M.depth_limit(facts))
end

--- The most blocks in flight that the budget allows.
---@param facts {block_bytes: integer, budget_bytes: integer}
function M.depth_limit(facts)
  return math.max(2, math.min(facts.budget_bytes // (2 * facts.block_bytes), 1024))
end

--- A quarter of the memory that can be had, at most 512 MiB.
---@param facts {memory_bytes: integer}
function M.budget(facts)
  return math.min(facts.memory_bytes // 4, 512 * MiB)
end

--- The settings of a job. `asked` holds what the user said: block_size, chunk_size, workers,
--- pipeline_depth; what is not there is chosen.
---@param facts table cores, memory_bytes, source_bytes, and block_bytes when it is fixed
---@param asked table
---@return {block_bytes: integer, chunk_bytes: integer, workers: integer, depth: integer}? settings
---@return string? reason
function M.choose(facts, asked)
  local block = facts.block_bytes or asked.block_size or M.default('block_size')
  local budget = M.budget(facts)
  local chunk = asked.chunk_size
  if chunk then
    local message
    chunk, message = check_chunk(chunk, block, facts.source_bytes)
    if not chunk then return nil, message end
  else
    chunk = M.chunk_bytes { source_bytes = facts.source_bytes, block_bytes = block,
      budget_bytes = budget }
  end
  local workers = asked.workers or M.workers(facts)
  local depth = asked.pipeline_depth
    or M.depth { workers = workers, block_bytes = block, budget_bytes = budget }
  return { block_bytes = block, chunk_bytes = chunk, workers = workers, depth = depth }
end

-- What a strategy may change while a job runs, with the limits of img.pipeline. Not the level: it
-- is in the image's settings, and blocks that depend on timing would make a resumed image another
-- one.
local LIVE = { workers = { 1, 64 }, depth = { 2, 1024 }, max_bytes_per_s = { 0, math.maxinteger } }

--- What a strategy answered, held against the limits: settings for Job:set (nil: no change), or nil
--- and what is wrong.
---@param answer any
---@return table? settings, string? message
function M.check_answer(answer)
  if answer == nil then return nil end
  if type(answer) ~= 'table' then return nil, 'a tuning strategy gives a table or nil' end
  local settings, any, wrong = {}, false, {}
  for key, value in pairs(answer) do
    local limits, number = LIVE[key], math.tointeger(value)
    if not limits then
      wrong[#wrong + 1] = ("'%s' is no live setting"):format(key)
    elseif not number or number < limits[1] then
      wrong[#wrong + 1] = ('%s: %s is no setting'):format(key, value)
    else
      settings[key], any = math.min(number, limits[2]), true
    end
  end
  table.sort(wrong)
  if wrong[1] then return nil, 'tuning strategy: ' .. wrong[1] end
  return any and settings or nil
end

return M
