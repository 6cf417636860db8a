--- What the members of a manifest say about each other (docs/manifest.md), once each of them has
--- its right type. Pure.
local M = {}

M.FILE = 'backup.manifest.json'
M.STATE = 'backup.state.json'
--- So many bad ranges are listed.
M.MAX_RANGES = 100

-- Caught in M.manifest.
local function refuse(path, reason, ...)
  error({ path = path, reason = reason:format(...) }, 0)
end

local function check_bad_ranges(image, bytes, path)
  if #image.bad_ranges ~= math.min(image.bad_range_count, M.MAX_RANGES) then
    refuse(path .. '.bad_ranges', 'does not fit bad_range_count')
  end
  local left, last = image.bad_range_bytes, 0
  for i, range in ipairs(image.bad_ranges) do
    if range[2] == 0 or range[1] < last or range[1] > bytes or range[2] > bytes - range[1] then
      refuse(('%s.bad_ranges[%d]'):format(path, i), 'past the end, or out of order')
    end
    left, last = left - range[2], range[1] + range[2]
  end
  -- Listed are all of them, or the first.
  if left < 0 or left > 0 and #image.bad_ranges == image.bad_range_count then
    refuse(path .. '.bad_range_bytes', 'does not fit bad_ranges')
  end
end

local function check_image(image, bytes, files, path)
  if files[image.file] then
    refuse(path .. '.file', "'%s' is the file of another image too", image.file)
  end
  files[image.file] = true
  if image.source_bytes ~= bytes then
    refuse(path .. '.source_bytes', 'is %d, not %d', image.source_bytes, bytes)
  end
  local left = bytes
  for _, kind in ipairs { 'data', 'zero', 'free', 'bad' } do
    left = left - image[kind .. '_bytes']
    if left < 0 then break end
  end
  if left ~= 0 then refuse(path, 'its bytes do not add up to source_bytes') end
  check_bad_ranges(image, bytes, path)
end

-- Places on the disk: each inside it, in order, and outside the others but for a container.
local function check_place(m, p, last, container, path)
  local size = m.source.size_bytes
  if p.size_bytes == 0 or p.start_bytes > size or p.size_bytes > size - p.start_bytes then
    refuse(path, 'lies outside the disk')
  end
  if p.logical then
    if p.container or not container or p.start_bytes < container.start_bytes
      or p.start_bytes + p.size_bytes > container.start_bytes + container.size_bytes then
      refuse(path, 'is logical, but not in an extended partition')
    end
  elseif container and p.start_bytes < container.start_bytes + container.size_bytes then
    refuse(path, 'overlaps partition %d', container.index)
  end
  if last and p.start_bytes < last.start_bytes + last.size_bytes then
    refuse(path, 'overlaps partition %d', last.index)
  end
end

local function check_partitions(m, files)
  local last, container
  local seen = {}
  for i, p in ipairs(m.partitions) do
    local path = ('partitions[%d]'):format(i)
    if seen[p.index] then refuse(path .. '.index', '%d is there twice', p.index) end
    seen[p.index] = true
    if (p.index == 0) ~= (m.table.type == 'none') then
      refuse(path .. '.index', 'is out of range')
    end
    check_place(m, p, last, container, path)
    if p.container == (p.image ~= nil) then
      refuse(path .. '.image', p.container and 'a container has none' or 'is missing')
    end
    if p.container then container = p else last = p end
    if p.image then check_image(p.image, p.size_bytes, files, path .. '.image') end
  end
end

local function check_disk(m, files)
  if m.source.size_bytes == 0 then refuse('source.size_bytes', 'is 0') end
  local none = m.table.type == 'none'
  if none == (m.regions ~= nil) then
    refuse('regions', none and 'has no place without a table' or 'is missing')
  end
  if m.regions then check_image(m.regions, m.source.size_bytes, files, 'regions') end
  check_partitions(m, files)
  local whole = m.partitions[1]
  if none and (#m.partitions ~= 1 or whole.size_bytes ~= m.source.size_bytes) then
    refuse('partitions', 'without a table, one entry covers the disk')
  end
end

local function check_volumes(m, files)
  if #m.volumes == 0 then refuse('volumes', 'is empty') end
  for i, volume in ipairs(m.volumes) do
    local path = ('volumes[%d]'):format(i)
    if volume.index ~= i then refuse(path .. '.index', 'is %d', volume.index) end
    check_image(volume.image, volume.source.size_bytes, files, path .. '.image')
  end
end

local CHECKS = { disk = check_disk, volumes = check_volumes }

--- The first member that makes no sense, and why; nil when all do.
---@param m table a manifest whose members have their types
---@return string? path, string? reason
function M.manifest(m)
  local ok, problem = pcall(CHECKS[m.kind], m, { [M.FILE] = true, [M.STATE] = true })
  if ok then return nil end
  if type(problem) ~= 'table' then error(problem, 0) end
  return problem.path, problem.reason
end

return M
