--- Where things lie on a disk that is put together from a set: pure arithmetic on ranges. A range is
--- offset and length in bytes.
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

--- The partition of a set that a word names: its number, GUID, mount point or label; or nil and
--- what is wrong.
---@param partitions table[] of a manifest
---@param word string
---@return table? partition, string? message
function M.find(partitions, word)
  local found, names = {}, {}
  local number = word:match('^%d+$') and math.tointeger(tonumber(word))
  for _, part in ipairs(partitions) do
    local fs = part.file_system or {}
    names[#names + 1] = tostring(part.index)
    if part.image and (part.index == number or part.guid == word:lower()
      or part.mount_point == word or part.name == word or fs.label == word) then
      found[#found + 1] = part
    end
  end
  if #found == 1 then return found[1] end
  if #found > 1 then
    -- A number is a number first: a label that looks like one gives way.
    for _, part in ipairs(found) do
      if part.index == number then return part end
    end
    return nil, ("'%s' names %d partitions of the set"):format(word, #found)
  end
  return nil, ("the set has no partition with an image that '%s' names (it has %s)"):format(word,
    table.concat(names, ', '))
end

return M
