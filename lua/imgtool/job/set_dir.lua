--- The directory of a set that is being made: what may be done with it, its small files, its state.
local check = require 'imgtool.job.check'
local device = require 'img.device'
local disk_set = require 'imgtool.policy.disk_set'
local exclude = require 'imgtool.policy.exclude'
local facts = require 'imgtool.job.facts'
local fail = require 'imgtool.util.fail'
local json = require 'imgtool.util.json'
local lfs = require 'lfs'
local manifest = require 'imgtool.job.manifest'
local naming = require 'imgtool.policy.naming'
local resume = require 'imgtool.policy.resume'
local safety = require 'imgtool.policy.safety'
local schema = require 'imgtool.job.schema'
local sys = require 'img.sys'

local M = {}

local try = fail.try

local STATE_FORMAT <const> = 'imgtool-set-state'
local STATE_VERSION <const> = 1

-- Fields of the job that decide the bytes of the images: those of the first run hold.
local DECIDING = { 'mode', 'unallocated', 'sector_size', 'chunk_size', 'block_size', 'level',
  'hash', 'on_read_error' }

function M.path(dir, file)
  return (dir:gsub('/*$', '/', 1)) .. file
end

--- A small file, whole or not at all: under another name first, durable, then renamed.
---@param dir string
---@param file string
---@param text string
function M.write(dir, file, text)
  local path = M.path(dir, file)
  local partial = naming.partial(path)
  -- What a run that was killed left there.
  if facts.type_of(partial) == 'file' then os.remove(partial) end
  do
    local out <close> = try(device.open(partial, { write = true, create = true }))
    try(out:write(0, text))
    try(out:flush())
  end
  try(sys.rename(partial, path))
end

--- The text of a small file.
---@param path string
---@param max_bytes integer
---@return string
function M.read(path, max_bytes)
  local file <close> = try(device.open(path))
  if file:size() > max_bytes then
    fail.raise('format', '%s has more than %d bytes', path, max_bytes)
  end
  return (try(file:read(0, file:size())))
end

local function remove(path)
  if facts.type_of(path) == 'none' then return end
  local ok, message = os.remove(path)
  if not ok then fail.raise('target_io', 'remove %s', message) end
end

-- ---- What is there ----

local function parent_of(dir)
  local parent = dir:gsub('/+$', ''):match('^(.*)/[^/]*$') or '.'
  return parent == '' and '/' or parent
end

-- Images must not be written to what they are made of.
local function check_not_on_source(dir, plan)
  local identities = { plan.identity }
  for i, entry in ipairs(plan.identity and {} or plan.entries) do
    identities[i] = entry.known.identity
  end
  for _, identity in ipairs(identities) do
    if facts.holds(identity, dir) then
      fail.raise('refused', '%s lies on %s, which is to be imaged', dir, identity.path)
    end
  end
end

-- Nothing is begun, and no old set given up, that an existing file will stop later. The file of one
-- image may be the source of another.
local function check_files(dir, job, plan)
  local sources = { plan.path }
  for i, entry in ipairs(plan.path and {} or plan.entries) do sources[i] = entry.path end
  for _, entry in ipairs(plan.entries) do
    for _, source in ipairs(sources) do
      local file = facts.image_file(M.path(dir, entry.file), source)
      local allowed, reason, word = safety.image_file(file, job)
      if not allowed then fail.raise(word, '%s', reason) end
    end
  end
end

--- What becomes of the directory: 'create', 'resume' or 'replace'. Raises when nothing may be done.
---@param dir string
---@param job table
---@param plan table of job/set_plan.lua
---@return string action
function M.look(dir, job, plan)
  local kind = facts.type_of(dir)
  local is_directory = kind == 'directory'
  local action, reason, word = disk_set.directory({
    path = dir, type = kind,
    manifest = is_directory and facts.type_of(M.path(dir, manifest.FILE)) ~= 'none',
    state = is_directory and facts.type_of(M.path(dir, manifest.STATE)) ~= 'none',
  }, job)
  if not action then fail.raise(word, '%s', reason) end
  check_not_on_source(is_directory and dir or parent_of(dir), plan)
  if action ~= 'resume' then check_files(dir, job, plan) end
  return action
end

-- Images that were there before the set was begun: --resume would take one for its own.
local function remove_images(dir, plan)
  for _, entry in ipairs(plan.entries) do
    local path = M.path(dir, entry.file)
    remove(path)
    remove(naming.partial(path))
  end
end

--- Make the directory ready: it is there, and nothing in it says that it is a set, or is an image
--- of an old one.
---@param dir string
---@param action string of M.look
---@param plan table
function M.prepare(dir, action, plan)
  if facts.type_of(dir) == 'none' then
    local ok, message = lfs.mkdir(dir)
    if not ok then fail.raise('target_io', 'make the directory %s: %s', dir, message) end
  end
  if action == 'resume' then return end
  local state = M.path(dir, manifest.STATE)
  if facts.type_of(state) ~= 'none' then
    local lock = try(sys.lock(state))
    lock:close()
  end
  -- Before the first image is replaced: images of two runs are no set.
  remove(M.path(dir, manifest.FILE))
  remove(state)
  try(sys.sync_directory(dir))
  remove_images(dir, plan)
  try(sys.sync_directory(dir))
end

-- ---- The state ----

--- Begin a set: its state, on the disk.
---@param dir string
---@param job table
---@param plan table
---@return table state
function M.begin(dir, job, plan)
  local settings = {}
  for _, name in ipairs(DECIDING) do
    if job.given[name] then settings[name] = job[name] end
  end
  if job.exclude then settings.exclude = exclude.words(job.exclude) end
  local state = {
    format = STATE_FORMAT, version = STATE_VERSION, kind = plan.kind, settings = settings,
    uuid = job.uuid or sys.uuid(), created = job.created or os.time(),
    sources = json.array(plan.sources), partitions = plan.partitions and
      json.array(plan.partitions), files = json.array {},
  }
  for i, entry in ipairs(plan.entries) do state.files[i] = entry.file end
  M.write(dir, manifest.STATE, json.encode(state) .. '\n')
  return state
end

local function known_field(name)
  for _, field in ipairs(schema.fields) do
    if field.name == name then return field end
  end
end

local function checked_value(path, name, value)
  local checked, message = check.value(known_field(name), value)
  if checked == nil then fail.raise('damaged', '%s: %s: %s', path, name, message) end
  return checked
end

local function differs(what, stored, now)
  fail.raise('refused', 'resume: %s is %s in the set, not %s', what, tostring(stored),
    tostring(now))
end

--- The state of an incomplete set.
---@param dir string
---@return table state
function M.load(dir)
  local path = M.path(dir, manifest.STATE)
  local state, message = json.decode(M.read(path, manifest.MAX_BYTES))
  if type(state) ~= 'table' or state.format ~= STATE_FORMAT then
    fail.raise('damaged', '%s can\'t be read%s (--force begins anew)', path,
      message and ': ' .. message or '')
  end
  if state.version ~= STATE_VERSION then
    fail.raise('format', '%s: version %s is not supported', path, tostring(state.version))
  end
  for _, name in ipairs { 'settings', 'sources', 'files' } do
    if type(state[name]) ~= 'table' then fail.raise('damaged', '%s: %s', path, name) end
  end
  state.uuid = checked_value(path, 'uuid', state.uuid)
  state.created = checked_value(path, 'created', state.created)
  return state
end

-- Rules by name are taken over, a function has to be given again.
local function settle_rules(job, stored)
  local rules, reason = resume.rules(stored, job, 'set')
  if reason then fail.raise('refused', 'resume: %s', reason) end
  job.exclude, job.given.exclude = rules, rules ~= nil
end

--- Take over the settings of the first run; those that are said now must be the same.
---@param dir string
---@param job table changed
---@param state table
function M.settle(dir, job, state)
  local path = M.path(dir, manifest.STATE)
  for _, name in ipairs(DECIDING) do
    local stored = state.settings[name]
    if stored ~= nil then stored = checked_value(path, name, stored) end
    if job.given[name] then
      local before = stored
      if before == nil then before = known_field(name).default end
      if job[name] ~= before then differs(name, before, job[name]) end
    elseif stored ~= nil then
      job[name], job.given[name] = stored, true
    end
  end
  settle_rules(job, state.settings)
  for _, name in ipairs { 'uuid', 'created' } do
    if job.given[name] and job[name] ~= state[name] then differs(name, state[name], job[name]) end
  end
end

--- Is the source still what the set was begun with?
---@param state table
---@param plan table
function M.check_source(state, plan)
  if state.kind ~= plan.kind then differs('kind', state.kind, plan.kind) end
  if #state.sources ~= #plan.sources then
    differs('the number of volumes', #state.sources, #plan.sources)
  end
  for i, source in ipairs(plan.sources) do
    local same, reason = resume.same_source({ source = state.sources[i] }, { source = source })
    if not same then fail.raise('refused', 'resume: %s', reason) end
  end
  if plan.partitions then
    local same, reason = disk_set.same_partitions(type(state.partitions) == 'table'
      and state.partitions or {}, plan.partitions)
    if not same then fail.raise('refused', 'resume: the disk has changed: %s', reason) end
  end
  for i, entry in ipairs(plan.entries) do
    if state.files[i] ~= entry.file then differs('an image', state.files[i], entry.file) end
  end
end

--- Forget the state of a set that has its manifest.
---@param dir string
function M.finish(dir)
  remove(M.path(dir, manifest.STATE))
  try(sys.sync_directory(dir))
end

return M
