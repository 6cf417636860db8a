--- The manifest of a set that is made: what each image says about itself, and what the plan
--- (job/set_plan.lua) says about the source.
local device = require 'img.device'
local disk_set = require 'imgtool.policy.disk_set'
local fail = require 'imgtool.util.fail'
local image = require 'img.image'
local json = require 'imgtool.util.json'
local manifest = require 'imgtool.job.manifest'
local sys = require 'img.sys'
local time = require 'imgtool.util.time'

local M = {}

local try = fail.try

--- What an image says about itself, as a member of the manifest.
---@param path string
---@param name string of its file in the set
function M.image(path, name)
  local file <close> = try(device.open(path))
  local opened <close> = try(image.open(file))
  local known = opened:facts()
  local result = json.decode(known.meta).result
  local map = json.decode(known.text).map
  return {
    file = name, file_bytes = known.file_bytes, uuid = known.uuid, root = known.root,
    source_bytes = known.source_bytes, finished = time.iso(try(sys.stat(path)).modified_s),
    map = { kind = map.kind, reason = manifest.text(map.reason) },
    data_bytes = known.data_bytes, zero_bytes = known.zero_bytes, free_bytes = known.free_bytes,
    bad_bytes = known.bad_bytes, bad_range_bytes = known.bad_range_bytes,
    bad_range_count = result.bad_range_count,
    bad_ranges = json.array(table.move(result.bad_ranges, 1,
      math.min(#result.bad_ranges, manifest.MAX_RANGES), 1, {})),
  }
end

--- What stands for an image that is not made yet.
---@param entry table of job/set_plan.lua
---@param uuid string of the image
function M.placeholder(entry, uuid)
  local bytes = entry.known.identity.size_bytes
  return {
    file = entry.file, file_bytes = 0, uuid = uuid, root = ('0'):rep(64), source_bytes = bytes,
    finished = time.iso(0), map = { kind = 'all' }, data_bytes = bytes, zero_bytes = 0,
    free_bytes = 0, bad_bytes = 0, bad_range_bytes = 0, bad_range_count = 0,
    bad_ranges = json.array {},
  }
end

local function source_member(identity, path, info)
  return {
    path = manifest.text(path), kind = identity.kind, model = manifest.text(identity.model),
    serial = manifest.text(identity.serial), wwn = manifest.text(identity.wwn),
    size_bytes = info.size_bytes, logical_bytes = info.logical_bytes,
    physical_bytes = info.physical_bytes,
  }
end

local function file_system_member(fs)
  local out = { type = manifest.text(fs.type), label = manifest.text(fs.label),
    uuid = manifest.text(fs.uuid) }
  return next(out) and out or nil
end

local function table_member(set)
  local found = set.plan.found
  return {
    type = found.table, id = manifest.text(found.id), first_usable_bytes = found.first_usable_bytes,
    end_usable_bytes = found.end_usable_bytes, primary_valid = found.primary_valid,
    backup_valid = found.backup_valid, unallocated = set.job.unallocated,
    note = manifest.text(found.note),
  }
end

local function disk_members(set, m)
  local plan, by_index = set.plan, {}
  for _, entry in ipairs(plan.entries) do
    if entry.part then
      by_index[entry.index] = entry
    else
      m.regions = set.images[entry.n]
    end
  end
  m.source = source_member(plan.identity, plan.path, plan.source:info())
  m.table = table_member(set)
  m.partitions = json.array {}
  for i, part in ipairs(plan.found.partitions) do
    local entry, member = by_index[part.index], disk_set.entry(part)
    member.type, member.name = manifest.text(part.type), manifest.text(part.name)
    if entry then
      member.image = set.images[entry.n]
      member.file_system = file_system_member(entry.fs)
      member.mount_point = manifest.text(entry.mount_point)
    end
    m.partitions[i] = member
  end
end

local function volume_members(set, m)
  m.volumes = json.array {}
  for i, entry in ipairs(set.plan.entries) do
    local identity = entry.known.identity
    m.volumes[i] = {
      index = i, image = set.images[i], file_system = file_system_member(entry.fs),
      mount_point = manifest.text(entry.mount_point),
      source = source_member(identity, entry.path, identity),
    }
  end
end

local MEMBERS = { disk = disk_members, volumes = volume_members }

--- The manifest of a set, with an image for each entry.
---@param set table job, plan, state, images (of M.image, by the entries' n)
---@return table
function M.make(set)
  local m = {
    format = manifest.FORMAT, version = manifest.VERSION, kind = set.plan.kind,
    uuid = set.state.uuid, tool = 'imgtool ' .. sys.version().imgtool,
    host = manifest.text(sys.hostname()), started = time.iso(set.state.created),
    finished = time.iso(os.time()), snapshot = 'none',
  }
  MEMBERS[set.plan.kind](set, m)
  return m
end

return M
