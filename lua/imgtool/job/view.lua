--- A view: what servers give to others. An image, a partition or all of a set, a partition of an
--- imaged disk, or a device or file as it is; and a window on that. It is looked for once, as paths
--- and offsets (`find`), and opened from these, here (`open`) or by another program (`plugin`).
local device = require 'img.device'
local disk = require 'img.disk'
local facts = require 'imgtool.job.facts'
local fail = require 'imgtool.util.fail'
local image = require 'img.image'
local open_set = require 'imgtool.job.set'
local pick = require 'imgtool.util.pick'
local size = require 'imgtool.util.size'
local sys = require 'img.sys'

local M = {}

local try = fail.try

local MiB <const>, GiB <const> = 1 << 20, 1 << 30
local MIN_CACHE <const>, MAX_CACHE <const> = 64 * MiB, 2 * GiB
local MAX_AHEAD <const> = 64

-- ---- The command line ----

local function count(max)
  return function(text)
    local number = text:match('^%d+$') and math.tointeger(tonumber(text))
    if not number or number > max then
      return nil, ('a number from 0 to %d is expected'):format(max)
    end
    return number
  end
end

--- Options that choose what is served, for every command that does.
M.selectors = {
  { name = 'source_operand', field_name = 'source', operand = 'IMG', unless = 'set_dir',
    doc = 'The image, the directory of a set, or a device or file as it is.' },
  { name = 'source', option = '--in', argname = 'IMG', doc = 'The same as IMG.' },
  { name = 'set_dir', option = '--set-dir', argname = 'DIR',
    doc = 'A set: all of its disk, or with --partition a part of it.' },
  { name = 'partition', option = '--partition', argname = 'WHICH',
    doc = 'A partition, by its number, GUID or name; of a set also by its label or mount point.' },
  { name = 'offset', option = '--offset', argname = 'OFFSET', convert = size.parse,
    default_text = '0', doc = 'Serve from here on, in bytes.' },
  { name = 'length', option = '--length', argname = 'LENGTH', convert = size.parse,
    default_text = 'to the end', doc = 'Serve so many bytes.' },
}

--- Options of the block cache.
M.cache_options = {
  { name = 'cache_size', option = '--cache-size', argname = 'SIZE', convert = size.parse,
    default_text = 'a quarter of the memory that can be had, from 64M to 2G',
    doc = 'Memory for unpacked blocks.' },
  { name = 'read_ahead', option = '--read-ahead', argname = 'N', convert = count(MAX_AHEAD),
    default_text = 'the number of cores, at most 4',
    doc = 'Threads that unpack ahead of a client that reads in order; 0: none.' },
}

--- All of them, and then `more`.
---@param more table[]
---@return table[]
function M.arguments(more)
  local out = {}
  for _, list in ipairs { M.selectors, M.cache_options, more } do
    table.move(list, 1, #list, #out + 1, out)
  end
  return out
end

--- The budget and threads of the cache.
---@param values table
---@return integer limit_bytes, integer workers
function M.cache_settings(values)
  local quarter = sys.memory_available() // 4
  return values.cache_size or math.max(MIN_CACHE, math.min(MAX_CACHE, quarter)),
    values.read_ahead or math.min(sys.cores(), 4)
end

-- ---- Finding ----

-- Every zstd file begins with the magic number of a frame or of a skippable frame (RFC 8878, 3.1):
-- what does so is an image or a damaged one, and never served as it is.
local function looks_packed(file)
  if file:size() < 4 then return false end
  local magic = string.unpack('<I4', (try(file:read(0, 4))))
  return magic == 0xFD2FB528 or magic & 0xFFFFFFF0 == 0x184D2A50
end

-- How a path is opened: `raw` when it is no image.
local function look_at(path)
  local kind = facts.type_of(path)
  if kind == 'none' then fail.raise('not_found', '%s does not exist', path) end
  local file <close> = try(device.open(path))
  if not looks_packed(file) then return { path = path, raw = true, bytes = file:size() } end
  local opened <close> = try(image.open(file))
  return { path = path, raw = false, bytes = opened:facts().source_bytes }
end

-- The first of the set's images is what the others are laid over.
local function find_disk(set)
  local m = set.manifest
  if m.kind ~= 'disk' then
    fail.raise('usage', '%s is a set of volumes: --partition chooses one', set.dir)
  end
  local view = { parts = {}, what = ('%s of %s'):format('the disk', set.dir) }
  local base = m.regions or m.partitions[1].image
  try(set:open_image(base)):close()
  view.base = { path = set:path(base.file), raw = false, bytes = base.source_bytes }
  if not m.regions then return view end
  for _, entry in ipairs(m.partitions) do
    if entry.image then
      try(set:open_image(entry.image)):close()
      view.parts[#view.parts + 1] = { offset = entry.start_bytes,
        path = set:path(entry.image.file), bytes = entry.image.source_bytes }
    end
  end
  return view
end

local function find_in_set(dir, partition)
  local set = try(open_set.open(dir))
  if not partition then return find_disk(set) end
  local entry = try(set:partition(partition))
  if not entry.image then
    fail.raise('usage', 'partition %d of %s holds other partitions, and has no image', entry.index,
      dir)
  end
  try(set:open_image(entry.image)):close()
  return { parts = {}, what = ('partition %d of %s'):format(entry.index, dir),
    base = { path = set:path(entry.image.file), raw = false, bytes = entry.image.source_bytes } }
end

-- What a text may mean, as for the partitions of a set; the first that fits any is meant.
local MEANINGS = {
  function(part, text) return ('%d'):format(part.index) == text end,
  function(part, text) return part.guid ~= '' and part.guid == text:lower() end,
  function(part, text) return part.name ~= '' and part.name == text end,
}

local function shown(partitions)
  local names = {}
  for i, part in ipairs(partitions) do names[i] = ('%d %s'):format(part.index, part.name) end
  return #names > 0 and table.concat(names, '; ') or 'none'
end

local function meant(partitions, text, view)
  local part, found = pick.one(partitions, MEANINGS, text)
  if part then return part end
  if #found > 1 then
    fail.raise('usage', "'%s' is more than one partition of %s: %s", text, view.what, shown(found))
  end
  fail.raise('not_found', "%s has no partition '%s'; it has: %s", view.what, text,
    shown(partitions))
end

-- A partition of a disk whose table is in the view itself.
local function narrow_to_partition(view, text)
  local whole <close> = M.open(view, nil)
  local part = meant(try(disk.read(whole)).partitions, text, view)
  view.offset, view.bytes = part.start_bytes, part.size_bytes
  view.what = ('partition %d of %s'):format(part.index, view.what)
end

-- --offset and --length, inside what was chosen so far.
local function narrow_to_window(view, offset, length)
  offset = offset or 0
  if offset > view.bytes then
    fail.raise('usage', '--offset %d is past the end: %s has %d bytes', offset, view.what,
      view.bytes)
  end
  if length and length > view.bytes - offset then
    fail.raise('usage', '%d bytes at %d go past the end: %s has %d bytes', length, offset,
      view.what, view.bytes)
  end
  view.offset, view.bytes = view.offset + offset, length or view.bytes - offset
end

--- The view that a command line asks for: base { path, raw, bytes }, parts { offset, path, bytes }
--- that ascend, offset and bytes of the window, what it is in words.
---@param values table source or set_dir; partition, offset, length
---@return table
function M.find(values)
  local dir = values.set_dir
  if (values.source and dir) or not (values.source or dir) then
    fail.raise('usage', 'one of IMG and --set-dir is needed')
  end
  if not dir and facts.type_of(values.source) == 'directory' then dir = values.source end
  local view
  if dir then
    view = find_in_set(dir, values.partition)
  else
    view = { base = look_at(values.source), parts = {}, what = values.source }
  end
  view.offset, view.bytes = 0, view.base.bytes
  if values.partition and not dir then narrow_to_partition(view, values.partition) end
  narrow_to_window(view, values.offset, values.length)
  return view
end

-- ---- Opening ----

local function open_part(part, cache)
  local file <close> = try(device.open(part.path))
  if part.raw then return device.slice(file, 0, file:size()) end
  local opened <close> = try(image.open(file))
  return opened:device(cache)
end

--- Open a view: a read-only device, which keeps all that it needs.
---@param view table
---@param cache img.Cache? the images of the view share it
---@return img.Device
function M.open(view, cache)
  local whole = try(open_part(view.base, cache))
  for _, part in ipairs(view.parts) do
    local under <close> = whole
    local over <close> = try(open_part(part, cache))
    whole = try(device.overlay(under, part.offset, over))
  end
  local under <close> = whole
  return (try(device.slice(under, view.offset, view.bytes)))
end

--- The same as parameters of the plugin for nbdkit (src/nbdkit_plugin.c).
---@param view table
---@return string[]
function M.plugin(view)
  local out = { (view.base.raw and 'raw=' or 'image=') .. view.base.path }
  for _, part in ipairs(view.parts) do
    out[#out + 1] = ('part=%d:%s'):format(part.offset, part.path)
  end
  out[#out + 1] = ('offset=%d'):format(view.offset)
  out[#out + 1] = ('length=%d'):format(view.bytes)
  return out
end

return M
