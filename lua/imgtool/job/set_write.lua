--- Make a set: the images of a plan (job/set_plan.lua) one after the other, then the manifest.
local capture = require 'imgtool.job.capture'
local device = require 'img.device'
local disk = require 'img.disk'
local disk_set = require 'imgtool.policy.disk_set'
local estimate = require 'imgtool.policy.estimate'
local facts = require 'imgtool.job.facts'
local fail = require 'imgtool.util.fail'
local head_text = require 'imgtool.job.head'
local image = require 'img.image'
local json = require 'imgtool.util.json'
local manifest = require 'imgtool.job.manifest'
local map = require 'imgtool.job.map'
local naming = require 'imgtool.policy.naming'
local resume = require 'imgtool.policy.resume'
local set_dir = require 'imgtool.job.set_dir'
local set_manifest = require 'imgtool.job.set_manifest'
local size = require 'imgtool.util.size'
local sys = require 'img.sys'

local M = {}

local try = fail.try

-- ---- One image ----

-- The job of an entry: that of the set, with the entry's own file and UUID.
local function job_of(set, entry)
  local job = { given = {} }
  for key, value in pairs(set.job) do
    if key ~= 'given' then job[key] = value end
  end
  for key, value in pairs(set.job.given) do job.given[key] = value end
  job.source, job.target, job.name = entry.path or set.plan.path, set:path(entry), nil
  job.uuid, job.created = disk_set.image_uuid(set.state.uuid, entry.n), set.state.created
  job.given.uuid, job.given.created = true, true
  job.resume = set.action == 'resume' and facts.type_of(naming.partial(job.target)) ~= 'none'
  job.force = set.action ~= 'resume' and set.job.force
  return job
end

-- Whether an image that is there is this entry's, whole, and of the source as it is now.
local function check_kept(set, entry)
  local path = set:path(entry)
  local file <close> = try(device.open(path))
  local opened <close> = try(image.open(file))
  local known = opened:facts()
  -- A UUID that was asked for may be that of an older set, too.
  if known.uuid ~= disk_set.image_uuid(set.state.uuid, entry.n)
    or known.created_s ~= set.state.created then
    fail.raise('refused', 'resume: %s is no image of this set', path)
  end
  local source <close> = entry.open()
  local same, reason = resume.same_source(json.decode(known.text), head_text.text({
    tool = '', host = '', created_s = 0, path = '', identity = entry.known.identity,
    info = source:info(), fs = entry.fs, exclude = entry.exclude,
    modified_s = facts.modified_s(entry.known.identity.path),
  }, {}))
  if same and known.map_digest ~= entry.map_digest then
    same, reason = false, 'its file system has changed since'
  end
  if not same then fail.raise('refused', 'resume %s: %s', path, reason) end
  try(opened:check_root())
end

local function stop_on_signal(set)
  if sys.signals() > set.report.signals_before then
    fail.raise('cancelled', 'cancelled between two images')
  end
end

--- Image one entry, unless an earlier run has done so.
---@return table result of capture, or what is kept
local function write_entry(set, entry)
  stop_on_signal(set)
  if set.action == 'resume' and facts.type_of(set:path(entry)) == 'file' then
    check_kept(set, entry)
    set.report:note(('%s: %s is there already'):format(entry.what, entry.file))
    return { kept = true, resumed_at = 0, elapsed_ns = 0, read_bytes = 0 }
  end
  set.report:note(('%s (%s) to %s'):format(entry.what, size.human(entry.known.identity.size_bytes),
    entry.file))
  local source <close> = entry.open()
  return capture.device(job_of(set, entry), set.report, source, entry.known)
end

-- ---- The result ----

local SUMS = { 'data_bytes', 'zero_bytes', 'free_bytes', 'bad_bytes', 'bad_range_bytes',
  'file_bytes' }

local function image_result(set, entry, done)
  local member = set.images[entry.n]
  return {
    index = entry.index, file = entry.file, what = entry.what, kept = done.kept or false,
    resumed_at = done.resumed_at, elapsed_ns = done.elapsed_ns, read_bytes = done.read_bytes,
    root = member.root, source_bytes = member.source_bytes, map = member.map.kind,
    reason = member.map.reason, file_bytes = member.file_bytes, data_bytes = member.data_bytes,
    zero_bytes = member.zero_bytes, free_bytes = member.free_bytes, bad_bytes = member.bad_bytes,
    bad_range_bytes = member.bad_range_bytes, bad_range_count = member.bad_range_count,
    verified = done.verified, fs = entry.fs.type ~= '' and entry.fs.type or nil,
  }
end

-- R7: every byte of the disk is in one image, or known to be left out.
local function check_accounts(set, result)
  local plan = set.plan
  if plan.kind ~= 'disk' then return end
  local sum = plan.found.table == 'none' and 0 or plan.regions_bytes + plan.left_out_bytes
  for _, done in ipairs(result.images) do
    if done.index then sum = sum + done.source_bytes end
  end
  if sum ~= plan.source:size() then
    fail.raise('internal', 'the set accounts for %d bytes, the disk has %d', sum,
      plan.source:size())
  end
end

-- The images lie where the table says that they do: as long as it says so still.
local function check_table(plan)
  local found = try(disk.read(plan.source))
  if plan.found.table == 'none' and found.table == 'none' then return end
  local same, reason = disk_set.same_partitions(plan.found.partitions, found.partitions)
  if not same then
    fail.raise('refused', '%s: its partition table was changed while it was imaged: %s', plan.path,
      reason)
  end
end

local function new_result(set)
  local result = {
    action = set.plan.action, set_dir = set.dir, source = set.plan.path, uuid = set.state.uuid,
    table = set.plan.found and set.plan.found.table, left_out_bytes = set.plan.left_out_bytes,
    images = json.array {}, failures = json.array {}, elapsed_ns = 0, code = 0,
  }
  for _, key in ipairs(SUMS) do result[key] = 0 end
  return result
end

local function add_image(set, result, entry, done)
  set.images[entry.n] = set_manifest.image(set:path(entry), entry.file)
  local one = image_result(set, entry, done)
  result.images[#result.images + 1] = one
  for _, key in ipairs(SUMS) do result[key] = result[key] + one[key] end
  result.elapsed_ns = result.elapsed_ns + one.elapsed_ns
  if one.bad_range_count > 0 and result.code == 0 then
    result.code = sys.codes.bad_sectors
    result.message = ('%s: %d bytes in %d ranges could not be read, and are recorded as bad')
      :format(entry.what, one.bad_range_bytes, one.bad_range_count)
  end
end

-- Of a volume: what failed is kept, and the others are imaged all the same. It is worse than bad
-- sectors.
local function add_failure(set, result, entry, message, code)
  set.report:warn(('%s: %s'):format(entry.what, message))
  result.failures[#result.failures + 1] = { index = entry.index, what = entry.what,
    message = message, code = code }
  if #result.failures == 1 then result.code, result.message = code, message end
end

local function write_all(set)
  local result = new_result(set)
  for _, entry in ipairs(set.plan.entries) do
    local done, message, code, trace = fail.catch(write_entry, set, entry)
    if done then
      add_image(set, result, entry, done)
    elseif set.plan.kind == 'volumes' and code ~= sys.codes.cancelled
      and code ~= sys.codes.internal then
      add_failure(set, result, entry, message, code)
    else
      fail.throw(('%s: %s (the set in %s is incomplete, --resume goes on with it)'):format(
        entry.what, message, set.dir), code, trace)
    end
  end
  check_accounts(set, result)
  if set.plan.found then check_table(set.plan) end
  -- A set that lacks an image is none.
  if #result.failures == 0 then
    set_dir.write(set.dir, manifest.FILE, manifest.encode(set_manifest.make(set)))
    set_dir.finish(set.dir)
  end
  return result
end

-- ---- Before it begins ----

-- What is left to image: the entries, and how much they read.
local function left_of(set)
  local entries, needed = {}, 0
  for _, entry in ipairs(set.plan.entries) do
    local done = set.action == 'resume' and facts.type_of(set:path(entry)) == 'file'
    if not done then
      entries[#entries + 1], needed = entry, needed + entry.data_bytes
    end
  end
  return entries, needed
end

local function warn_of_space(set)
  local _, needed = left_of(set)
  local free = try(sys.space_available(set.dir))
  if needed > free then
    set.report:warn(('up to %s will be written before compression, and %s has %s left'):format(
      size.human(needed), set.dir, size.human(free)))
  end
end

-- The time for samples is divided as the data is.
local function estimate_all(set)
  local list = {}
  local entries, needed = left_of(set)
  for i, entry in ipairs(entries) do
    local source <close> = entry.open()
    local m <close> = entry.known.map and entry.known.map()
      or (map.of(source, set.job, set.report))
    list[i] = capture.estimate({ job = set.job, report = set.report, source = source }, m,
      entry.data_bytes / math.max(1, needed))
  end
  return estimate.all(list)
end

local function plan_result(set)
  local result = new_result(set)
  for key, value in pairs(estimate_all(set)) do result[key] = value end
  result.dry_run, result.dir_action = true, set.action
  for _, entry in ipairs(set.plan.entries) do
    result.images[#result.images + 1] = {
      index = entry.index, file = entry.file, what = entry.what, data_bytes = entry.data_bytes,
      source_bytes = entry.known.identity.size_bytes, map = entry.fs.used_only and 'used' or 'all',
      reason = entry.fs.reason ~= '' and entry.fs.reason or nil,
      fs = entry.fs.type ~= '' and entry.fs.type or nil,
    }
    result.data_bytes = result.data_bytes + entry.data_bytes
  end
  return result
end

-- A disk that no manifest can describe is found now, not when the last image is done.
local function try_manifest(set)
  local uuid = ('0'):rep(8) .. ('-0000'):rep(3) .. '-' .. ('0'):rep(12)
  local draft = { plan = set.plan, job = set.job, images = {},
    state = { uuid = uuid, created = 0 } }
  for _, entry in ipairs(set.plan.entries) do
    draft.images[entry.n] = set_manifest.placeholder(entry, disk_set.image_uuid(uuid, entry.n))
  end
  manifest.encode(set_manifest.make(draft))
end

local Set = {}
Set.__index = Set

function Set:path(entry) return set_dir.path(self.dir, entry.file) end

--- Make a set.
---@param job table checked
---@param report table
---@param dir string
---@param make_plan fun(): table the plan, once the settings of a set that is resumed are known
---@return table result
function M.run(job, report, dir, make_plan)
  local set = setmetatable({ job = job, report = report, dir = dir, images = {} }, Set)
  if job.resume and facts.type_of(set_dir.path(dir, manifest.STATE)) == 'file' then
    set.state = set_dir.load(dir)
    set_dir.settle(dir, job, set.state)
  end
  set.plan = make_plan()
  set.action = set_dir.look(dir, job, set.plan)
  if set.state then set_dir.check_source(set.state, set.plan) end
  if job.dry_run then
    set.state = set.state or { uuid = '' }
    return plan_result(set)
  end
  try_manifest(set)
  set_dir.prepare(dir, set.action, set.plan)
  set.state = set.state or set_dir.begin(dir, job, set.plan)
  local lock <close> = try(sys.lock(set_dir.path(dir, manifest.STATE)))
  warn_of_space(set)
  return write_all(set)
end

return M
