--- A set that is opened to be restored: the manifest, and every image checked to be the one that it
--- means, its structure verified (docs/SAFETY.md, R4).
local device = require 'img.device'
local disk = require 'img.disk'
local fail = require 'imgtool.util.fail'
local image = require 'img.image'
local layout = require 'imgtool.policy.layout'
local manifest = require 'imgtool.job.manifest'

local M = {}

local try = fail.try

local PIECE <const> = 1 << 20

local Set = {}
Set.__index = Set

--- The manifest in a directory.
---@param dir string
---@return table manifest
function M.manifest(dir)
  local path = dir .. '/' .. manifest.FILE
  local file <close> = try(device.open(path))
  if file:size() > manifest.MAX_BYTES then
    fail.raise('format', '%s has more than %d bytes', path, manifest.MAX_BYTES)
  end
  local m, message, code = manifest.decode(try(file:read(0, file:size())))
  if not m then fail.throw(('%s: %s'):format(path, message), code) end
  return m
end

--- The partition that a word names, and its image's path.
---@param dir string
---@param word string
---@return table partition, string path, table manifest
function M.partition(dir, word)
  local m = M.manifest(dir)
  if m.kind ~= 'disk' then fail.raise('usage', '%s is no set of a disk', dir) end
  local part, message = layout.find(m.partitions, word)
  if not part then fail.raise('not_found', '%s: %s', dir, message) end
  return part, ('%s/%s'):format(dir, part.image.file), m
end

--- Raise unless an open image is the one that a manifest means.
---@param known img.ImageFacts
---@param meant table image of a manifest
---@param path string
function M.check_image(known, meant, path)
  for _, key in ipairs { 'uuid', 'root', 'source_bytes' } do
    if known[key] ~= meant[key] then
      fail.raise('damaged', '%s is not the image that the manifest means: %s is %s, not %s', path,
        key, known[key], meant[key])
    end
  end
end

local function keep(set, handle)
  set.handles[#set.handles + 1] = handle
  return handle
end

local function open_image(set, meant)
  local path = ('%s/%s'):format(set.path, meant.file)
  set.files[#set.files + 1] = path
  local file = keep(set, try(device.open(path)))
  local opened = keep(set, try(image.open(file)))
  local known = opened:facts()
  M.check_image(known, meant, path)
  try(opened:check_root())
  return opened, known
end

local SAME = { 'index', 'start_bytes', 'size_bytes', 'container', 'active' }

-- The table in the regions' image is what will be written; the manifest says the same, or lies.
local function check_table(set)
  local m = set.manifest
  local found = try(disk.read(set.regions_dev))
  if found.table ~= m.table.type or #found.partitions ~= #m.partitions then
    fail.raise('damaged', '%s: the manifest does not fit the partition table in %s', set.path,
      m.regions.file)
  end
  for i, part in ipairs(m.partitions) do
    for _, key in ipairs(SAME) do
      if found.partitions[i][key] ~= part[key] then
        fail.raise('damaged', '%s: the manifest does not fit the partition table: %s of partition'
          .. ' %d', set.path, key, part.index)
      end
    end
  end
end

local function open_table(set)
  local m = set.manifest
  set.edit = keep(set, try(disk.edit(set.regions_dev, m.source.logical_bytes)))
  set.areas = set.edit:areas()
  local touched = layout.touched(m.partitions, set.areas)
  if touched then
    fail.raise('damaged', '%s: the partition table lies in partition %d', set.path, touched.index)
  end
  local inside = layout.of_partitions(m.partitions)
  table.move(set.areas, 1, #set.areas, #inside + 1, inside)
  set.outside = inside
end

local function what_of(part)
  local fs = part.file_system or {}
  if part.index == 0 then return 'the whole disk' end
  return ('partition %d%s'):format(part.index, fs.type and (' (%s)'):format(fs.type) or '')
end

local function open_all(set)
  local m = set.manifest
  if m.regions then
    set.regions, set.regions_known = open_image(set, m.regions)
    set.regions_dev = keep(set, try(set.regions:device()))
    check_table(set)
    open_table(set)
  end
  for _, part in ipairs(m.partitions) do
    if part.image then
      local opened, known = open_image(set, part.image)
      set.parts[#set.parts + 1] = { part = part, image = opened, known = known,
        what = what_of(part) }
    end
  end
end

--- Open a set of a disk; declare it <close>. It has path, manifest, files (what must not be
--- overwritten), parts (part, image, known, what), and where there is a table regions,
--- regions_known, edit (img.DiskEdit), areas (of the table) and outside (ranges of partitions and
--- areas: what of the regions is not written with them).
---@param dir string
---@return table set
function M.open(dir)
  local set = setmetatable({ path = dir, files = { dir, dir .. '/' .. manifest.FILE }, parts = {},
    handles = {} }, Set)
  set.manifest = M.manifest(dir)
  if set.manifest.kind ~= 'disk' then fail.raise('usage', '%s is no set of a disk', dir) end
  local ok, message, code, trace = fail.catch(function() open_all(set) return true end)
  if ok then return set end
  set:close()
  fail.throw(message, code, trace)
end

function Set:close()
  for i = #self.handles, 1, -1 do self.handles[i]:close() end
  self.handles = {}
end
Set.__close = Set.close

-- The last byte of [from, to) that is not zero, or nil.
local function last_byte(dev, from, to)
  while to > from do
    local n = math.min(PIECE, to - from)
    local bytes = try(dev:read(to - n, n))
    local trimmed = bytes:find('%z*$')
    if trimmed > 1 then return to - n + trimmed - 2 end
    to = to - n
  end
end

-- The last used byte of a chunk of the regions that is no part of the table and lies behind `low`.
local function used_in_chunk(set, chunk, ranges, low)
  for i = #chunk.entries, 1, -1 do
    local entry = chunk.entries[i]
    if entry.offset + entry.length <= low then return nil end
    for k = #ranges, 1, -1 do
      local from = math.max(entry.offset, ranges[k].offset, low)
      local to = math.min(entry.offset + entry.length, ranges[k].offset + ranges[k].length)
      local last = entry.kind == 'data' and from < to and last_byte(set.regions_dev, from, to)
      if last then return last end
    end
  end
end

--- How much of a disk the set needs: the partitions, what is used outside of them, and room for a
--- GPT's backup; and what needs it.
---@return integer bytes, string what
function Set:need()
  local m = self.manifest
  if not self.edit then return m.source.size_bytes, 'it has no partition table' end
  local need, what = layout.end_of(m.partitions), 'a partition ends there'
  local ranges = layout.outside(m.source.size_bytes, self.outside)
  for number = self.regions_known.chunks - 1, 0, -1 do
    local chunk = try(self.regions:chunk(number))
    if chunk.offset + chunk.length <= need then break end
    local last = used_in_chunk(self, chunk, ranges, need)
    if last then
      need, what = last + 1, 'used space outside the partitions ends there'
      break
    end
  end
  if m.table.type ~= 'gpt' then return need, what end
  local sector = m.source.logical_bytes
  for _, area in ipairs(self.areas) do
    -- The backup of the GPT: both its pieces lie behind the middle of the disk.
    if area.offset > m.source.size_bytes // 2 then need = need + area.length end
  end
  return (need + sector - 1) // sector * sector, what .. ', and the backup of the GPT'
end

return M
