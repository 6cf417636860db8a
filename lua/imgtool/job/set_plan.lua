--- What a new set will hold: facts of the disk or the volumes, an entry for each image. Nothing is
--- written here.
---
--- A plan: kind, action (of the result), sources (HEAD's source objects, by which a resumed set is
--- known again), entries. An entry: n (from 1), index, file, what (for people), open (a function:
--- its device), known (of capture.device), fs (its report), data_bytes (an estimate), map_digest,
--- exclude (what content rules leave out, of map.of), mount_point; of a disk also part.
local device = require 'img.device'
local disk = require 'img.disk'
local disk_set = require 'imgtool.policy.disk_set'
local facts = require 'imgtool.job.facts'
local fail = require 'imgtool.util.fail'
local head_text = require 'imgtool.job.head'
local map = require 'imgtool.job.map'
local sys = require 'img.sys'

local M = {}

local try = fail.try

-- HEAD's description of a source.
local function source_text(identity, source, report)
  return head_text.text({
    tool = '', host = '', created_s = 0, path = identity.path, identity = identity,
    info = source:info(), fs = report,
  }, {}).source
end

local function say_nothing() end

-- The report of the map that an image will have, and what it will hold. What content rules do is
-- said when the image is made, or its sample is taken.
local function look(entry, job, source, report)
  local silent = { note = say_nothing, warn = say_nothing, signals_before = report.signals_before }
  local m <close>, fs_report, described = map.of(source, job, silent)
  entry.fs, entry.data_bytes, entry.map_digest = fs_report, m:bytes('data'), m:digest()
  entry.exclude = described
  entry.source_text = source_text(entry.known.identity, source, fs_report)
end

-- Written while it is read: said once, and in every HEAD.
local function live_note(job, report, identity, path)
  local points = facts.live_mounts(identity, path)
  if points == '' then return nil end
  if job.resume then
    fail.raise('refused', 'resume: %s is mounted for writing at %s, and has changed since', path,
      points)
  end
  report:warn(('%s is mounted for writing at %s: files that change while it is read may be'
    .. ' inconsistent in the image'):format(path, points))
  return ('the source was mounted for writing at %s'):format(points)
end

-- ---- A disk ----

-- The kernel's node of a partition; nil where it has none (a file, a loop device).
local function node_of(nodes, whole, part)
  for _, node in ipairs(nodes) do
    if whole.name ~= '' and node.parent == whole.name and node.start_bytes == part.start_bytes
      and node.size_bytes == part.size_bytes then
      return node
    end
  end
end

-- Who a partition is: what the kernel would say, from the disk and its table.
local function part_identity(whole, found, part, node)
  local identity = {}
  for key, value in pairs(whole) do identity[key] = value end
  identity.kind, identity.parent, identity.part_table = 'partition', whole.name, ''
  identity.name = node and node.name or ''
  identity.disk_id, identity.part_number = found.id, part.index
  identity.part_type, identity.part_guid, identity.part_name = part.type, part.guid, part.name
  identity.start_bytes, identity.size_bytes = part.start_bytes, part.size_bytes
  return identity
end

local function part_entry(job, plan, part, nodes, report)
  local node = node_of(nodes, plan.identity, part)
  local entry = {
    index = part.index, part = part, file = disk_set.partition_file(part.index),
    what = ('partition %d'):format(part.index),
    open = function()
      return try(device.slice(plan.source, part.start_bytes, part.size_bytes))
    end,
    known = { identity = part_identity(plan.identity, plan.found, part, node),
      live_note = plan.live_note, what = ('%s, partition %d'):format(job.device, part.index) },
    mount_point = node and facts.mount_point(node),
  }
  local slice <close> = entry.open()
  look(entry, job, slice, report)
  return entry
end

local function regions_entry(job, plan)
  local entry = {
    file = disk_set.REGIONS_FILE, what = 'what lies outside the partitions',
    open = function() return try(device.slice(plan.source, 0, plan.source:size())) end,
    known = {
      identity = plan.identity, live_note = plan.live_note,
      map = function()
        local m = disk_set.regions_map(plan.found, job.unallocated)
        return m, { type = '', label = '', uuid = '', used_only = true, reason = '', note = '' }
      end,
    },
  }
  local m <close>, report = entry.known.map()
  entry.fs, entry.data_bytes, entry.map_digest = report, m:bytes('data'), m:digest()
  entry.source_text = source_text(plan.identity, plan.source, report)
  return entry
end

-- A disk without a table is one entry with all of it.
local function whole_entry(job, plan, report)
  plan.found.partitions[1] = {
    index = 0, type = '', guid = '', name = '', attributes = '', active = false, logical = false,
    container = false, start_bytes = 0, size_bytes = plan.source:size(),
  }
  local entry = {
    index = 0, part = plan.found.partitions[1], file = disk_set.partition_file(0),
    what = 'the whole disk',
    open = function() return try(device.slice(plan.source, 0, plan.source:size())) end,
    known = { identity = plan.identity, live_note = plan.live_note },
    mount_point = facts.mount_point(plan.identity),
  }
  look(entry, job, plan.source, report)
  return entry
end

local function disk_entries(job, plan, report)
  if plan.found.table == 'none' then return { whole_entry(job, plan, report) } end
  local entries, nodes = { regions_entry(job, plan) }, {}
  if plan.identity.name ~= '' then nodes = try(device.list()) end
  for _, part in ipairs(plan.found.partitions) do
    if not part.container then
      entries[#entries + 1] = part_entry(job, plan, part, nodes, report)
    end
  end
  return entries
end

local function number(entries)
  for n, entry in ipairs(entries) do entry.n = n end
  return entries
end

-- A table that can't be trusted can't say what to image: but all blocks can.
local function read_table(source)
  local found, message, code = disk.read(source)
  if code == sys.codes.refused then
    message = message .. ' (imgtool image --all-blocks takes the disk as it is)'
  end
  return try(found, message, code)
end

--- The plan of a backup of a disk, which the caller opened and keeps open.
---@param job table checked
---@param report table
---@param source img.Device
---@return table plan
function M.disk(job, report, source)
  if job.sector_size then try(source:set_sector_bytes(job.sector_size)) end
  if source:size() == 0 then fail.raise('source_io', '%s is empty', job.device) end
  local plan = { kind = 'disk', action = 'backup-disk', source = source, path = job.device }
  plan.identity = try(device.identity(source))
  if plan.identity.kind == 'partition' then
    fail.raise('usage', '%s is a partition, not a disk (imgtool image makes an image of it)',
      job.device)
  end
  plan.found = read_table(source)
  if plan.found.note ~= '' then report:warn(('%s: %s'):format(job.device, plan.found.note)) end
  plan.identity.part_table = plan.found.table ~= 'none' and plan.found.table or ''
  plan.identity.disk_id = plan.found.id
  plan.live_note = live_note(job, report, plan.identity, job.device)
  plan.entries = number(disk_entries(job, plan, report))
  plan.sources = { plan.entries[1].source_text }
  plan.partitions = {}
  for i, part in ipairs(plan.found.partitions) do plan.partitions[i] = disk_set.entry(part) end
  local m <close>, left_out = disk_set.regions_map(plan.found, job.unallocated)
  plan.left_out_bytes, plan.regions_bytes = left_out, m:bytes('data')
  return plan
end

-- ---- Volumes ----

--- The plan of a set of volumes, each opened when it is imaged.
---@param job table checked
---@param report table
---@return table plan
function M.volumes(job, report)
  local plan = { kind = 'volumes', action = 'volumes', entries = {}, sources = {} }
  local identities, seen = {}, {}
  for i, path in ipairs(job.volumes) do
    local real = sys.realpath(path) or path
    if seen[real] then fail.raise('usage', '%s is named twice', path) end
    seen[real] = true
    local source <close> = facts.open_source(path)
    local identity = try(device.identity(source))
    identities[i] = identity
    local entry = {
      index = i, what = path, path = path, open = function() return facts.open_source(path) end,
      known = { identity = identity, live_note = live_note(job, report, identity, path) },
      mount_point = facts.mount_point(identity),
    }
    look(entry, job, source, report)
    plan.entries[i], plan.sources[i] = entry, entry.source_text
  end
  for i, file in ipairs(disk_set.volume_files(identities)) do plan.entries[i].file = file end
  plan.entries = number(plan.entries)
  return plan
end

return M
