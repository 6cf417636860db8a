--- A complete set (docs/manifest.md): `local set = set.open(dir)`; its partitions, its images as
--- devices. Functions answer nil, message, code when they fail.
local device = require 'img.device'
local disk = require 'img.disk'
local disk_set = require 'imgtool.policy.disk_set'
local fail = require 'imgtool.util.fail'
local image = require 'img.image'
local manifest = require 'imgtool.job.manifest'
local pick = require 'imgtool.util.pick'
local set_dir = require 'imgtool.job.set_dir'
local sys = require 'img.sys'

local M = {}

local try = fail.try

local Set = {}
Set.__index = Set

local function open(dir)
  local path = set_dir.path(dir, manifest.FILE)
  local stat = sys.stat(path)
  if not stat and sys.stat(set_dir.path(dir, manifest.STATE)) then
    fail.raise('not_found', '%s holds an incomplete set (--resume goes on with it)', dir)
  end
  if not stat then fail.raise('not_found', '%s holds no set: %s is missing', dir, path) end
  local checked, message, code = manifest.decode(set_dir.read(path, manifest.MAX_BYTES))
  if not checked then fail.throw(('%s: %s'):format(path, message), code) end
  return setmetatable({ dir = dir, manifest = checked }, Set)
end

--- The set in a directory, its manifest checked. No image is opened.
---@param dir string
---@return table? set dir, manifest
---@return string? message, integer? code
function M.open(dir)
  return fail.catch(open, dir)
end

--- The entries that have an image: { what, entry, image } in the order in which they were made.
---@return table[]
function Set:images()
  local m, out = self.manifest, {}
  if m.regions then out[1] = { what = 'outside the partitions', image = m.regions } end
  for _, entry in ipairs(m.partitions or m.volumes) do
    if entry.image then
      out[#out + 1] = { entry = entry, image = entry.image, what = m.kind == 'volumes'
        and entry.source.path or ('partition %d'):format(entry.index) }
    end
  end
  return out
end

--- The path of a file of the set.
---@param file string
function Set:path(file)
  return set_dir.path(self.dir, file)
end

-- ---- Which partition ----

local function shown(entry)
  local parts = { ('%d'):format(entry.index) }
  local fs = entry.file_system or {}
  for _, text in ipairs { entry.name or '', fs.label or '', entry.guid or '',
    entry.mount_point or '', entry.source and entry.source.path or '' } do
    if text ~= '' then parts[#parts + 1] = text end
  end
  return table.concat(parts, ' ')
end

local function list(entries)
  local out = {}
  for i, entry in ipairs(entries) do out[i] = shown(entry) end
  return table.concat(out, '; ')
end

-- What a text may mean, what tells most first; the first of these that fits any entry is meant.
local MEANINGS = {
  function(entry, text) return ('%d'):format(entry.index) == text end,
  function(entry, text) return entry.guid ~= nil and entry.guid == text:lower() end,
  function(entry, text) return entry.mount_point == text end,
  function(entry, text)
    return entry.file_system ~= nil and (entry.file_system.label == text
      or entry.file_system.uuid == text)
  end,
  function(entry, text) return entry.name == text end,
  function(entry, text) return entry.source ~= nil and entry.source.path == text end,
}

local function find(set, selector)
  local entries = set.manifest.partitions or set.manifest.volumes
  local entry, found = pick.one(entries, MEANINGS, selector)
  if entry then return entry end
  if #found > 1 then
    fail.raise('usage', "'%s' is more than one partition of %s: %s", selector, set.dir, list(found))
  end
  fail.raise('not_found', "%s has no partition '%s'; it has: %s", set.dir, selector,
    list(entries))
end

--- The entry of a partition or volume: by index, GUID, mount point, label or UUID of the file
--- system, name, or path.
---@param selector string|integer
---@return table? entry, string? message, integer? code
function Set:partition(selector)
  return fail.catch(find, self, tostring(selector))
end

-- ---- Images ----

local function open_image(set, member)
  local path = set:path(member.file)
  local file <close> = try(device.open(path))
  if file:size() ~= member.file_bytes then
    fail.raise('damaged', '%s has %d bytes, the manifest says %d', path, file:size(),
      member.file_bytes)
  end
  local opened = try(image.open(file))
  local known = opened:facts()
  for _, key in ipairs { 'uuid', 'root', 'source_bytes' } do
    if known[key] ~= member[key] then
      opened:close()
      fail.raise('damaged', '%s: its %s is %s, the manifest says %s', path, key, known[key],
        member[key])
    end
  end
  return opened
end

--- Open an image of the set; it is the one that the manifest means. The caller closes it.
---@param member table `regions`, or `image` of an entry
---@return img.Image? opened, string? message, integer? code
function Set:open_image(member)
  return fail.catch(open_image, self, member)
end

local function check_table(set)
  local m = set.manifest
  if not m.regions then return false end
  local opened <close> = open_image(set, m.regions)
  local source <close> = try(opened:device())
  local found, message = disk.read(source)
  if not found then fail.raise('damaged', '%s: %s', set:path(m.regions.file), message) end
  local same, difference = found.table == m.table.type, 'another kind of table'
  if same then same, difference = disk_set.same_partitions(m.partitions, found.partitions) end
  if not same then
    fail.raise('damaged', '%s: the manifest is not what the disk\'s table says: %s', set.dir,
      difference)
  end
  return found
end

--- Read the partition table out of the image of the regions, whose blocks are verified on the way,
--- and hold the manifest against it.
---@return img.Table|false|nil found false: there is none, or the set is one of volumes
---@return string? message, integer? code
function Set:check_table()
  return fail.catch(check_table, self)
end

return M
