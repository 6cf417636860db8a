--- The words of a job script. What they do is a doer's: jobs and disks of the machine
--- (M.machine), or the mistakes in what they are given (M.checker).
local blank = require 'imgtool.job.blank'
local check = require 'imgtool.job.check'
local disk_choice = require 'imgtool.policy.disk_choice'
local disks = require 'imgtool.job.disks'
local fail = require 'imgtool.util.fail'
local run = require 'imgtool.job.run'
local schema = require 'imgtool.job.schema'
local sys = require 'img.sys'

local M = {}

local SAFE = {
  _VERSION = true, assert = true, error = true, ipairs = true, next = true, pairs = true,
  select = true, tonumber = true, tostring = true, type = true,
}
local SAFE_LIBRARIES = {
  string = { 'byte', 'char', 'find', 'format', 'gmatch', 'gsub', 'len', 'lower', 'match', 'rep',
    'reverse', 'sub', 'upper' },
  table = { 'concat', 'insert', 'move', 'pack', 'remove', 'sort', 'unpack' },
  math = { 'abs', 'ceil', 'floor', 'fmod', 'huge', 'max', 'maxinteger', 'min', 'mininteger', 'modf',
    'tointeger', 'type', 'ult' },
  utf8 = { 'char', 'charpattern', 'codepoint', 'len', 'offset' },
}

--- Units, as the words of a job script.
M.units = {
  KiB = 1 << 10, MiB = 1 << 20, GiB = 1 << 30, TiB = 1 << 40,
  second = 1, minute = 60, hour = 3600, day = 86400, week = 604800,
}

-- ---- What words do ----

local Machine = {}
Machine.__index = Machine

--- Words that act. A doer has job(job): result, or nil, message, code, trace of one that failed;
--- disks(criteria, one): a list, or with `one` a disk; or the same failure. Both also get the line
--- of the script.
---@param how {dry_run: boolean?, report: table}
function M.machine(how) return setmetatable(how, Machine) end

function Machine:job(job)
  if self.dry_run then
    local copy = {}
    for key, value in pairs(job) do copy[key] = value end
    job, copy.dry_run = copy, true
  end
  local result, message, code, trace = run.run(job, self.report)
  if result then
    local _
    _, message, code = self.report:result(result)
  end
  return result, message, code, trace
end

local function find_disks(criteria, one)
  local wrong = disk_choice.mistakes(criteria, one)[1]
  if wrong then fail.raise('usage', '%s', wrong.message) end
  local all = disks.gather(criteria.path)
  if not one then return disk_choice.all(all, criteria) end
  local found, message, word = disk_choice.one(all, criteria)
  if not found then fail.raise(word, '%s', message) end
  return found
end

function Machine.disks(_, criteria, one)
  return fail.catch(find_disks, criteria, one)
end

local Checker = {}
Checker.__index = Checker

--- Words that only hold what they are given against the schema, and answer what is plausible.
--- `jobs` counts the jobs.
---@param note fun(mistake: table, line: integer?) gets each mistake
function M.checker(note)
  return setmetatable({ note = note, jobs = 0, disks_given = 0 }, Checker)
end

function Checker:job(job, line)
  self.jobs = self.jobs + 1
  local checked, mistakes = check.examine(job)
  for _, mistake in ipairs(mistakes) do self.note(mistake, line) end
  -- What is wrong is not there, and a script that uses it must not fail of that.
  checked.action = checked.action or schema.fields[1].default
  for _, field in ipairs(schema.fields_of(checked.action)) do
    if field.type == 'path' and schema.of(field.required, checked.action) then
      checked[field.name] = checked[field.name] or ''
    end
  end
  return blank.result(checked)
end

function Checker:disks(criteria, one, line)
  for _, mistake in ipairs(disk_choice.mistakes(criteria, one)) do self.note(mistake, line) end
  self.disks_given = self.disks_given + 1
  local found = disks.placeholder(type(criteria) == 'table' and criteria or {},
    self.disks_given)
  return one and found or { found }
end

-- ---- The words ----

-- What a word could not do ends the script with its own exit status; it carries the code through
-- the script.
local WordFailed = { __name = 'failed job', __tostring = function(self) return self.message end }

--- The message, code and trace of what a script ended with, when a word of it has failed.
---@return string? message, integer? code, string? trace
function M.failure(problem)
  if getmetatable(problem) ~= WordFailed then return nil end
  return problem.message, problem.code, problem.trace
end

-- Where in the script a word stands: of a tail call only the script is known.
local function where(state)
  for level = 3, 8 do
    local info = debug.getinfo(level, 'Sl')
    if info and info.source == state.source then return info.short_src, info.currentline end
  end
  return state.source:sub(2), nil
end

local function throw(state, message, code, trace)
  local file, line = where(state)
  error(setmetatable({
    message = line and ('%s:%d: %s'):format(file, line, message)
      or ('%s: %s'):format(file, message),
    code = code, trace = trace,
  }, WordFailed), 0)
end

-- Call a doer for the script, whose own instructions alone are counted.
local function call(state, method, ...)
  state.limit.off()
  local result, message, code, trace = state.doer[method](state.doer, ...)
  state.limit.on()
  if code and not state.code then state.code, state.message = code, message end
  return result, message, code, trace
end

local function call_job(state, job, line)
  if type(job) ~= 'table' then error('job: a table is expected', 3) end
  return call(state, 'job', job, line)
end

local function job_words(state)
  local words = {}
  --- Run a job and go on whatever becomes of it: its result, or nil, message, word.
  function words.try(job)
    local _, line = where(state)
    local result, message, code = call_job(state, job, line)
    if code then return nil, message, sys.word(code) end
    return result
  end
  return setmetatable(words, {
    __call = function(_, job)
      local _, line = where(state)
      local result, message, code, trace = call_job(state, job, line)
      if code then throw(state, message, code, trace) end
      return result
    end,
  })
end

local function disk_word(state, one)
  return function(criteria)
    local _, line = where(state)
    if not one and criteria == nil then criteria = {} end
    local found, message, code, trace = call(state, 'disks', criteria, one, line)
    if code then throw(state, message, code, trace) end
    return found
  end
end

local function say(report, ...)
  local parts = table.pack(...)
  for i = 1, parts.n do parts[i] = tostring(parts[i]) end
  report:answer('print', { text = table.concat(parts, '\t') }, table.concat(parts, '\t'))
end

--- The environment of a script. state: source ('@' and the path), arguments, doer, report, limit
--- (on and off); code and message become those of the first word that failed.
---@param state table
function M.environment(state)
  local env = {}
  for name in pairs(SAFE) do env[name] = _G[name] end
  for library, names in pairs(SAFE_LIBRARIES) do
    env[library] = {}
    for _, name in ipairs(names) do env[library][name] = _G[library][name] end
  end
  for name, value in pairs(M.units) do env[name] = value end
  env.args = table.move(state.arguments, 1, #state.arguments, 1, {})
  env.job = job_words(state)
  env.disk, env.disks = disk_word(state, true), disk_word(state, false)
  env.print = function(...) say(state.report, ...) end
  --- The time now, UTC, in the form of strftime.
  env.date = function(format) return os.date('!' .. (format or '%Y-%m-%d')) end
  return setmetatable(env, {
    __index = function(_, name)
      error(("'%s' is not known here (docs/job-files.md)"):format(tostring(name)), 2)
    end,
  })
end

return M
