--- Where things lie on a disk that is put together from a set: pure arithmetic on ranges. A range
--- is offset and length in bytes.
local M = {}

-- Sorted, and those that touch or overlap joined.
local function joined(ranges)
  local sorted, out = table.move(ranges, 1, #ranges, 1, {}), {}
  table.sort(sorted, function(a, b)
    if a.offset ~= b.offset then return a.offset < b.offset end
    return a.length < b.length
  end)
  for _, range in ipairs(sorted) do
    local last = out[#out]
    if last and range.offset <= last.offset + last.length then
      last.length = math.max(last.length, range.offset + range.length - last.offset)
    elseif range.length > 0 then
      out[#out + 1] = { offset = range.offset, length = range.length }
    end
  end
  return out
end

--- What of [0, size) is in none of the ranges, ascending.
---@param size integer
---@param ranges {offset: integer, length: integer}[]
---@return {offset: integer, length: integer}[]
function M.outside(size, ranges)
  local out, at = {}, 0
  for _, range in ipairs(joined(ranges)) do
    local stop = math.min(range.offset, size)
    if stop > at then out[#out + 1] = { offset = at, length = stop - at } end
    at = math.max(at, range.offset + range.length)
  end
  if at < size then out[#out + 1] = { offset = at, length = size - at } end
  return out
end

--- The ranges of a set's partitions that have images.
---@param partitions table[] of a manifest
---@return {offset: integer, length: integer}[]
function M.of_partitions(partitions)
  local out = {}
  for _, part in ipairs(partitions) do
    if not part.container then
      out[#out + 1] = { offset = part.start_bytes, length = part.size_bytes }
    end
  end
  return out
end

--- The first partition that one of the ranges touches, or nil: sectors of a partition table don't
--- lie in partitions.
---@param partitions table[] of a manifest
---@param ranges {offset: integer, length: integer}[]
---@return table? partition
function M.touched(partitions, ranges)
  for _, part in ipairs(partitions) do
    for _, range in ipairs(ranges) do
      if not part.container and range.offset < part.start_bytes + part.size_bytes
        and part.start_bytes < range.offset + range.length then
        return part
      end
    end
  end
end

--- Where the last partition ends: 0 without any.
---@param partitions table[] of a manifest
---@return integer
function M.end_of(partitions)
  local last = 0
  for _, part in ipairs(partitions) do
    last = math.max(last, part.start_bytes + part.size_bytes)
  end
  return last
end

--- How large a disk must be for `need` bytes and the backup of a GPT behind them: its header and
--- entries are as long as those of the first copy, the last two of the table's areas.
---@param need integer
---@param areas {offset: integer, length: integer}[] of img.DiskEdit
---@param sector_bytes integer
---@return integer
function M.with_backup(need, areas, sector_bytes)
  local bytes = need + areas[#areas].length + areas[#areas - 1].length
  return (bytes + sector_bytes - 1) // sector_bytes * sector_bytes
end

return M
