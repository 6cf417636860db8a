--- Image a device or file: facts, decisions (policy/), and carrying them out.
local device = require 'img.device'
local estimate = require 'imgtool.policy.estimate'
local facts = require 'imgtool.job.facts'
local fail = require 'imgtool.util.fail'
local head_text = require 'imgtool.job.head'
local image = require 'img.image'
local json = require 'imgtool.util.json'
local map = require 'imgtool.job.map'
local naming = require 'imgtool.policy.naming'
local output = require 'imgtool.job.output'
local pipeline = require 'img.pipeline'
local resume = require 'imgtool.policy.resume'
local safety = require 'imgtool.policy.safety'
local sample = require 'imgtool.job.sample'
local stored = require 'imgtool.job.stored'
local sys = require 'img.sys'
local tuning = require 'imgtool.policy.tuning'
local verify = require 'imgtool.job.verify'
local wait = require 'imgtool.job.wait'

local M = {}

local try = fail.try

local PIECE <const> = 1 << 20

-- Where the image goes, and what to do about files that are there.
local function plan_file(job, identity, report)
  if job.target == '-' then
    -- Anything else that is said would get among its bytes.
    if not report.data_on_stdout then
      fail.raise('usage', 'only imgtool image SOURCE - writes an image to stdout, no script does')
    end
    for _, name in ipairs { 'resume', 'force', 'name' } do
      if job.given[name] then
        fail.raise('usage', '%s has no meaning when the image goes to stdout', name)
      end
    end
    if job.verify ~= 'none' then
      fail.raise('usage', 'an image that goes to stdout can\'t be read back to verify it')
    end
    if sys.isatty(1) then fail.raise('usage', 'stdout is a terminal: redirect the image') end
    return { path = '-', action = 'pipe' }
  end
  local is_directory = job.target:sub(-1) == '/' or facts.type_of(job.target) == 'directory'
  if job.name and not is_directory then
    fail.raise('usage', 'name has no meaning: %s is no directory', job.target)
  end
  local path = naming.image_path {
    target = job.target, identity = identity, name = job.name, is_directory = is_directory,
  }
  local file = facts.image_file(path, job.source)
  local action, reason, word = safety.image_file(file, job)
  if not action then fail.raise(word, '%s', reason) end
  file.action = action
  return file
end

-- Nothing but zeros, which a file system may leave of a run before its first commit.
local function is_blank(dev)
  local size = dev:size()
  for offset = 0, size - 1, PIECE do
    if try(dev:read(offset, math.min(PIECE, size - offset))):find('[^\0]') then return false end
  end
  return true
end

-- The head, text and settings of the incomplete image, when it is one, and it may be gone on with;
-- nil when it is begun anew (docs/image-format-v2.md, 10).
local function stored_head(file, job)
  local dev <close> = try(device.open(file.partial))
  local head, message, code = image.read_head(dev)
  if not head then
    if code == sys.codes.format and is_blank(dev) then return nil end
    -- Whether HEAD is cut or broken is told apart by the writer, which refuses the latter.
    if code == sys.codes.damaged and not job.dry_run then return nil end
    fail.throw(('%s (--force begins anew)'):format(message), code)
  end
  local kept, decoded = stored.settings(head)
  if not kept then
    fail.raise('damaged', '%s: its metadata can\'t be read (--force begins anew)', file.partial)
  end
  local same, reason = resume.same_settings(kept, job)
  if not same then fail.raise('refused', 'resume %s: %s', file.partial, reason) end
  return head, decoded, kept
end

-- What decides the image's bytes, and how fast they are made.
local function settings_of(job, source_bytes, kept)
  kept = kept or {}
  local machine = facts.machine()
  machine.source_bytes = source_bytes
  local settings, reason = tuning.choose(machine, {
    block_size = kept.block_bytes or job.block_size,
    chunk_size = kept.chunk_bytes or job.given.chunk_size and job.chunk_size or nil,
    workers = job.workers, pipeline_depth = job.pipeline_depth,
  })
  if not settings then fail.raise('usage', '%s', reason) end
  settings.level = kept.level or job.level
  settings.hash = kept.hash or job.hash
  settings.on_read_error = kept.on_read_error or job.on_read_error
  settings.mode = job.mode
  return settings
end

-- A source that is written while it is read. Its image is of no single moment; to go on with one
-- later would mix two.
local function check_live(c)
  local points = facts.live_mounts(c.identity, c.job.source)
  if points == '' then return end
  if c.job.resume then
    fail.raise('refused', 'resume: %s is mounted for writing at %s, and has changed since',
      c.job.source, points)
  end
  c.live_note = ('the source was mounted for writing at %s'):format(points)
  c.report:warn(('%s is mounted for writing at %s: files that change while it is read may be'
    .. ' inconsistent in the image'):format(c.job.source, points))
end

local function make_head(c, old, old_text)
  local job, settings = c.job, c.settings
  local info = c.source:info()
  local created = job.created or os.time()
  local described = head_text.text({
    tool = 'imgtool ' .. sys.version().imgtool, host = sys.hostname(), created_s = created,
    path = job.source, identity = c.identity, info = info, fs = c.fs, note = c.live_note,
    exclude = c.exclude, modified_s = facts.modified_s(c.identity.path),
  }, settings)
  described.settings.mode = settings.mode
  if old then
    local same, reason = resume.same_source(old_text, described)
    if not same then fail.raise('refused', 'resume %s: %s', c.file.partial, reason) end
  end
  return {
    source_bytes = info.size_bytes, chunk_bytes = settings.chunk_bytes,
    block_bytes = settings.block_bytes, logical_bytes = info.logical_bytes,
    physical_bytes = head_text.physical_bytes(info), hash = settings.hash,
    uuid = old and old.uuid or job.uuid or sys.uuid(),
    created_s = old and old.created_s or created, text = json.encode(described),
  }
end

-- What a run knows; the map goes with it.
local Context = { __close = function(c) if c.map then c.map:close() end end }

local function gather(job, report, source, known)
  local c = setmetatable({ job = job, report = report, source = source }, Context)
  c.identity = known.identity or try(device.identity(source))
  c.live_note, c.what = known.live_note, known.what or job.source
  c.file = plan_file(job, c.identity, report)
  if not known.identity then check_live(c) end
  local old, old_text, kept
  if c.file.action == 'resume' then old, old_text, kept = stored_head(c.file, job) end
  if kept and not job.given.mode then job.mode = kept.mode end
  if known.map then
    c.map, c.fs = known.map()
  else
    c.map, c.fs, c.exclude = map.of(source, job, report, kept)
  end
  if job.mode == 'used_only' and not c.fs.used_only then
    report:note(('all blocks of %s are taken: %s'):format(c.what, c.fs.reason))
  end
  if c.fs.note ~= '' then report:note(('%s: %s'):format(c.what, c.fs.note)) end
  c.settings = settings_of(job, source:size(), kept)
  c.head = make_head(c, old, old_text)
  return c
end

-- What is said when a run ends early: what is there, and how to go on. The job has stopped the
-- writer already, under its watchdog; here is asked how that went.
local function give_up(c, writer, message, code)
  if c.file.action == 'pipe' then fail.throw(message, code) end
  local stopped = writer:stop()
  fail.throw(('%s; %s is incomplete, --resume goes on with %s'):format(message, c.file.partial,
    stopped and 'it' or 'what of it is on the disk'), code)
end

-- R7: every byte of the source is accounted for.
local function check_accounts(totals, source_bytes)
  local sum = totals.data_bytes + totals.zero_bytes + totals.free_bytes + totals.bad_bytes
  if sum ~= source_bytes then
    fail.raise('internal', 'the image accounts for %d bytes, the source has %d', sum, source_bytes)
  end
end

local function start(c, writer)
  local job, settings = c.job, c.settings
  return try(pipeline.capture {
    source = c.source, map = c.map, writer = writer, on_read_error = settings.on_read_error,
    read_retries = job.read_retries, workers = settings.workers, depth = settings.depth,
    level = settings.level, max_bytes_per_s = job.max_throughput,
    stall_s = job.stall_timeout,
  })
end

-- All of the source into an image on `target`: the result.
local function write_image(c, target)
  local writer <close> = try(image.writer(target, c.head, c.map, {
    write_through = c.job.write_through, resume = c.file.action == 'resume',
  }))
  local from = writer:offset()
  local handle <close> = start(c, writer)
  local now, done, message, code = wait.to_end(handle, 'image', c.report,
    wait.strategy(c.job, c.settings))
  if not done and code ~= sys.codes.bad_sectors then give_up(c, writer, message, code) end
  local root = try(writer:finish())
  local totals = writer:totals()
  check_accounts(totals, c.head.source_bytes)
  return M.result(c, writer:head(), totals, { root = root, from = from, now = now })
end

--- What is told about a finished image.
function M.result(c, head, totals, run)
  local result = {
    action = 'image', source = c.job.source, image = c.file.path, uuid = head.uuid,
    root = run.root, source_bytes = head.source_bytes, map = c.fs.used_only and 'used' or 'all',
    reason = c.fs.reason ~= '' and c.fs.reason or nil, resumed_at = run.from,
    workers = run.now.workers, depth = run.now.depth, level = c.settings.level,
    chunk_bytes = head.chunk_bytes, block_bytes = head.block_bytes, hash = head.hash,
    excluded_bytes = c.exclude and c.exclude.bytes or 0,
    excluded_files = c.exclude and #(c.exclude.files or {}) or 0,
    read_bytes = run.now.done_bytes, elapsed_ns = run.now.elapsed_ns, code = 0,
  }
  for key, value in pairs(totals) do result[key] = value end
  if totals.bad_range_count > 0 then
    result.code = sys.codes.bad_sectors
    result.message = ('%s: %d bytes in %d ranges could not be read, and are recorded as bad')
      :format(c.what, totals.bad_range_bytes, totals.bad_range_count)
  end
  return result
end

--- The size of an image and the time it takes, from its map and a sample of the source.
---@param c {job: table, report: table, source: img.Device, settings: table?}
---@param m img.Map
---@param share number? of the time for samples (job/sample.lua)
---@return table estimate of policy/estimate.lua
function M.estimate(c, m, share)
  local size = c.source:size()
  c.settings = c.settings or settings_of(c.job, size)
  return estimate.image({ read_bytes = m:bytes('data'), source_bytes = size,
    chunk_bytes = c.settings.chunk_bytes, block_bytes = c.settings.block_bytes,
    limit = c.job.max_throughput }, sample.source(c, m, share))
end

-- What would be done, for --dry-run.
local function plan(c)
  local data, taken = c.map:bytes('data'), M.estimate(c, c.map)
  return {
    uuid = c.head.uuid, data_bytes = data, zero_bytes = c.map:bytes('zero'),
    free_bytes = c.map:bytes('free'), excluded_bytes = c.exclude and c.exclude.bytes or 0,
    excluded_files = c.exclude and #(c.exclude.files or {}) or 0,
    estimated_bytes = taken.estimated_bytes, estimated_seconds = taken.estimated_seconds,
    sampled_bytes = taken.sampled_bytes, action = 'image', dry_run = true,
    source = c.job.source, image = c.file.path,
    source_bytes = c.head.source_bytes, read_bytes = data, map = c.fs.used_only and 'used' or 'all',
    reason = c.fs.reason ~= '' and c.fs.reason or nil, file_action = c.file.action,
    workers = c.settings.workers, depth = c.settings.depth, level = c.settings.level,
    chunk_bytes = c.settings.chunk_bytes, block_bytes = c.settings.block_bytes,
    hash = c.settings.hash, code = 0,
  }
end

-- The finished file is read back before it gets its name.
local function read_back(c)
  local checked = verify.image(c.file.partial, {
    sample_percent = c.job.verify == 'full' and 100 or tuning.default('sample'),
    seed = sys.clock_ns() & 0x7fffffff, job = c.job, report = c.report,
  })
  if checked.code ~= 0 then
    fail.throw(('the image does not verify, and stays %s: %s'):format(c.file.partial,
      checked.message), checked.code)
  end
  checked.image = c.file.path
  return checked
end

-- A run that ended after the last byte and before the file had its name: nothing is left to image,
-- but whether all of it reached the disk is seen only by reading it. nil: it is not complete.
local function already_complete(c, dev)
  local opened <close> = image.open(dev)
  if not opened then return nil end
  local known = opened:facts()
  -- It is whole, but it is an image of what the source was.
  if known.map_digest ~= c.map:digest() then
    fail.raise('refused', 'resume %s: it was written to its end, and the map of %s has changed'
      .. ' since', c.file.partial, c.job.source)
  end
  local checked = verify.image(c.file.partial, {
    sample_percent = 100, seed = 0, job = c.job, report = c.report,
  })
  if checked.code ~= 0 then
    fail.throw(('%s was written to its end, but does not verify (imgtool repair saves what is'
      .. ' good, --force begins anew): %s'):format(c.file.partial, checked.message), checked.code)
  end
  try(dev:flush())
  local totals = { stored_bytes = 0, bad_range_count = 0 }
  for key, value in pairs((stored.result(opened:meta()))) do totals[key] = value end
  totals.file_bytes = known.file_bytes
  return M.result(c, known, totals, { root = known.root, from = known.source_bytes,
    now = { workers = c.settings.workers, depth = c.settings.depth, done_bytes = 0,
      elapsed_ns = checked.elapsed_ns } })
end

--- Image an open device, which `job.source` names, to `job.target`. What is `known` is not asked of
--- the device: `identity`, with which its mounts were looked at too (`live_note` says what was
--- found); `map`, a function like fs.map; `what` it is, in messages.
---@param job table checked
---@param report table
---@param source img.Device
---@param known {identity: img.Identity?, live_note: string?, map: function?, what: string?}
---@return table result
function M.device(job, report, source, known)
  local c <close> = gather(job, report, source, known)
  if job.dry_run then return plan(c) end
  if c.file.action == 'pipe' then
    local target <close> = try(device.pipe(1, true))
    return write_image(c, target)
  end
  local out <close> = output.open(c.file.partial, c.file.action)
  local result = c.file.action == 'resume' and already_complete(c, out.device)
    or write_image(c, out.device)
  if job.verify ~= 'none' then result.verified = read_back(c) end
  try(sys.rename(c.file.partial, c.file.path, job.force))
  return result
end

--- Run a checked job.
---@param job table
---@param report table
---@return table result
function M.run(job, report)
  local source <close> = facts.open_source(job.source)
  return M.device(job, report, source, {})
end

return M
