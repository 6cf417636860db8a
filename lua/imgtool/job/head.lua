--- The text of an image's HEAD (docs/image-format-v2.md, 8). Pure.
local time = require 'imgtool.util.time'

local M = {}

-- HEAD takes no larger sector (docs/image-format-v2.md, 3.1). What a device says about physical
-- ones may be larger: a ZFS volume says its block size.
local SECTOR_MAX <const> = 64 << 10

--- The physical sector size of a device as HEAD takes it.
---@param info {physical_bytes: integer} of a device
---@return integer bytes
function M.physical_bytes(info) return math.min(info.physical_bytes, SECTOR_MAX) end

-- JSON is UTF-8; names on disks and in file systems need not be.
local function text(value)
  if value == nil or value == '' then return nil end
  if utf8.len(value) then return value end
  return (value:gsub('[\128-\255]', '?'))
end

-- What content rules left out, file by file; nil when there are no rules.
local function exclude_of(exclude)
  if not exclude then return nil end
  return { files = exclude.files, bytes = exclude.bytes, reason = text(exclude.reason) }
end

local function unless_empty(object)
  return next(object) and object or nil
end

local function source_of(facts)
  local id, fs = facts.identity, facts.fs
  local partition
  if id.part_number > 0 then
    partition = {
      number = id.part_number, type = text(id.part_type), guid = text(id.part_guid),
      name = text(id.part_name), start_bytes = id.start_bytes,
    }
  end
  return {
    path = text(facts.path), kind = id.kind, model = text(id.model), serial = text(id.serial),
    wwn = text(id.wwn), size_bytes = facts.info.size_bytes,
    logical_bytes = facts.info.logical_bytes, physical_bytes = facts.info.physical_bytes,
    modified_s = facts.modified_s,
    disk = unless_empty { table = text(id.part_table), id = text(id.disk_id) },
    partition = partition,
    file_system = unless_empty { type = text(fs.type), label = text(fs.label),
      uuid = text(fs.uuid) },
  }
end

--- HEAD's text as a table.
---@param facts table tool, host, created_s, path, identity, info (of the device), fs, note,
---exclude (what became of content rules), modified_s (of a file)
---@param settings table level, hash, block_bytes, chunk_bytes, on_read_error
---@return table
function M.text(facts, settings)
  local notes = {}
  notes[#notes + 1] = text(facts.fs.note)
  notes[#notes + 1] = text(facts.note)
  return {
    tool = facts.tool, created = time.iso(facts.created_s), host = text(facts.host),
    source = source_of(facts),
    map = {
      kind = facts.fs.used_only and 'used' or 'all', reason = text(facts.fs.reason),
      note = text(table.concat(notes, '; ')),
    },
    settings = {
      level = settings.level, hash = settings.hash, block_bytes = settings.block_bytes,
      chunk_bytes = settings.chunk_bytes, on_read_error = settings.on_read_error,
      exclude = facts.exclude and facts.exclude.words,
    },
    exclude = exclude_of(facts.exclude),
  }
end

return M
