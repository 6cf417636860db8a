--- A set of a disk that is opened to be restored: every image is the one that the manifest means,
--- and its structure verified (docs/SAFETY.md, R4).
local disk = require 'img.disk'
local fail = require 'imgtool.util.fail'
local layout = require 'imgtool.policy.layout'
local manifest = require 'imgtool.job.manifest'
local open_set = require 'imgtool.job.set'
local sys = require 'img.sys'

local M = {}

local try = fail.try

local PIECE <const> = 1 << 20

local Opened = {}
Opened.__index = Opened

local function keep(set, handle)
  set.handles[#set.handles + 1] = handle
  return handle
end

local function open_image(set, member)
  set.files[#set.files + 1] = set.set:path(member.file)
  local opened = keep(set, try(set.set:open_image(member)))
  try(opened:check_root())
  return opened, opened:facts()
end

local function open_table(set)
  local m = set.manifest
  set.found = try(set.set:check_table())
  set.regions, set.regions_known = open_image(set, m.regions)
  if set.regions_known.logical_bytes ~= m.source.logical_bytes then
    fail.raise('damaged', '%s: the manifest has sectors of %d bytes, %s has %d', set.path,
      m.source.logical_bytes, m.regions.file, set.regions_known.logical_bytes)
  end
  set.regions_dev = keep(set, try(set.regions:device()))
  set.edit = keep(set, try(disk.edit(set.regions_dev, m.source.logical_bytes)))
  set.areas = set.edit:areas()
  local touched = layout.touched(m.partitions, set.areas)
  if touched then
    fail.raise('damaged', '%s: the partition table lies in partition %d', set.path, touched.index)
  end
  local inside = layout.of_partitions(m.partitions)
  set.inside = table.move(set.areas, 1, #set.areas, #inside + 1, inside)
end

local function what_of(part)
  local fs = part.file_system or {}
  if part.index == 0 then return 'the whole disk' end
  return ('partition %d%s'):format(part.index, fs.type and (' (%s)'):format(fs.type) or '')
end

local function open_all(set)
  local m = set.manifest
  if m.regions then open_table(set) end
  for _, part in ipairs(m.partitions) do
    if part.image then
      local opened, known = open_image(set, part.image)
      set.parts[#set.parts + 1] = { part = part, image = opened, known = known,
        what = what_of(part) }
    end
  end
end

--- Open a set of a disk; declare it <close>. It has path, manifest, files (what must not be
--- overwritten), parts (part, image, known, what), and where there is a table found (img.Table),
--- regions, regions_known, edit (img.DiskEdit), areas (of the table) and inside (ranges of
--- partitions and areas: what of the regions is not written as data).
---@param dir string
---@return table set
function M.open(dir)
  local inner = try(open_set.open(dir))
  local set = setmetatable({ set = inner, manifest = inner.manifest, path = dir,
    files = { dir, inner:path(manifest.FILE) }, parts = {}, handles = {} }, Opened)
  if set.manifest.kind ~= 'disk' then
    fail.raise('usage', '%s is no set of a disk (restore --set-dir gives single volumes)', dir)
  end
  local ok, message, code, trace = fail.catch(function() open_all(set) return true end)
  if ok then return set end
  set:close()
  fail.throw(message, code, trace)
end

function Opened:close()
  for i = #self.handles, 1, -1 do self.handles[i]:close() end
  self.handles = {}
end
Opened.__close = Opened.close

local UNREADABLE = { [sys.codes.source_io] = true, [sys.codes.damaged] = true,
  [sys.codes.bad_sectors] = true }

--- The last byte of [from, to) that is not zero, or nil. What can't be read may be anything.
---@param dev img.Device
---@param from integer
---@param to integer
---@return integer?
function M.last_byte(dev, from, to)
  while to > from do
    local n = math.min(PIECE, to - from)
    local bytes, message, code = dev:read(to - n, n)
    if not bytes and UNREADABLE[code] then return to - 1 end
    try(bytes, message, code)
    -- Greedy, and back from the end: linear.
    local used = bytes:match('^.*[^%z]')
    if used then return to - n + #used - 1 end
    to = to - n
  end
end

local USED = { data = true, bad = true }

-- The last used byte of a chunk of the regions that is no part of the table and lies behind `low`.
local function used_in_chunk(set, chunk, ranges, low)
  for i = #chunk.entries, 1, -1 do
    local entry = chunk.entries[i]
    if entry.offset + entry.length <= low then return nil end
    for k = #ranges, 1, -1 do
      local from = math.max(entry.offset, ranges[k].offset, low)
      local to = math.min(entry.offset + entry.length, ranges[k].offset + ranges[k].length)
      local last = USED[entry.kind] and from < to and M.last_byte(set.regions_dev, from, to)
      if last then return last end
    end
  end
end

--- How much of a disk the set needs: the partitions, what is used outside of them where the disk is
--- smaller than the source, and room for a GPT's backup; and what needs it.
---@param target_bytes integer
---@return integer bytes, string what
function Opened:need(target_bytes)
  local m = self.manifest
  if not self.edit then return m.source.size_bytes, 'it has no partition table' end
  local need, what = layout.end_of(m.partitions), 'a partition ends there'
  local ranges = layout.outside(m.source.size_bytes, self.inside)
  local chunks = target_bytes < m.source.size_bytes and self.regions_known.chunks or 0
  for number = chunks - 1, 0, -1 do
    local chunk = try(self.regions:chunk(number))
    if chunk.offset + chunk.length <= need then break end
    local last = used_in_chunk(self, chunk, ranges, need)
    if last then
      need, what = last + 1, 'used space outside the partitions ends there'
      break
    end
  end
  if m.table.type == 'gpt' then
    return layout.with_backup(need, self.areas, m.source.logical_bytes),
      what .. ', and the backup of the GPT'
  end
  return need, what
end

return M
