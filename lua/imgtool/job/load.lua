--- Job scripts: Lua text, run in an environment of its own. A script says `job { ... }` for each
--- job; the jobs run at once and in order.
local fail = require 'imgtool.util.fail'
local run = require 'imgtool.job.run'
local sys = require 'img.sys'

local M = {}

-- Between two jobs a script may do this much: a loop without end is a mistake in it.
local INSTRUCTIONS <const> = 200000000
local STEP <const> = 1000000
local MAX_SCRIPT_BYTES <const> = 4 << 20

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

-- ---- The limit ----

local function limiter()
  local left = INSTRUCTIONS
  local function hook()
    left = left - STEP
    if left < 0 then
      error(('more than %d instructions between two jobs: an endless loop?')
        :format(INSTRUCTIONS), 2)
    end
  end
  local limit = {}
  function limit.on()
    left = INSTRUCTIONS
    debug.sethook(hook, '', STEP)
  end
  function limit.off() debug.sethook() end
  return limit
end

-- ---- The words ----

-- A failed job ends the script with the job's own exit status; it carries its code through the
-- script.
local JobFailed = { __name = 'failed job', __tostring = function(self) return self.message end }

local function note_failure(state, message, code)
  if not state.code then state.code, state.message = code, message end
end

-- Run one job for the script, whose own instructions alone are counted.
local function run_one(state, job)
  if type(job) ~= 'table' then error('job: a table is expected', 3) end
  if state.dry_run then
    local copy = {}
    for key, value in pairs(job) do copy[key] = value end
    job, copy.dry_run = copy, true
  end
  state.limit.off()
  local result, message, code, trace = run.run(job, state.report)
  if result then
    local _
    _, message, code = state.report:result(result)
  end
  state.limit.on()
  if code then note_failure(state, message, code) end
  return result, message, code, trace
end

local function job_words(state)
  local words = {}
  --- Run a job and go on whatever becomes of it: its result, or nil, message, word.
  function words.try(job)
    local result, message, code = run_one(state, job)
    if code then return nil, message, sys.word(code) end
    return result
  end
  return setmetatable(words, {
    __call = function(_, job)
      local result, message, code, trace = run_one(state, job)
      if not code then return result end
      local where = debug.getinfo(2, 'Sl')
      error(setmetatable({
        message = ('%s:%d: %s'):format(where.short_src, where.currentline, message),
        code = code, trace = trace,
      }, JobFailed), 0)
    end,
  })
end

local function say(report, ...)
  local parts = table.pack(...)
  for i = 1, parts.n do parts[i] = tostring(parts[i]) end
  report:answer('print', { text = table.concat(parts, '\t') }, table.concat(parts, '\t'))
end

--- The environment of a script.
---@param state table
local function environment(state)
  local env = {}
  for name in pairs(SAFE) do env[name] = _G[name] end
  for library, names in pairs(SAFE_LIBRARIES) do
    env[library] = {}
    for _, name in ipairs(names) do env[library][name] = _G[library][name] end
  end
  for name, value in pairs(M.units) do env[name] = value end
  env.args = table.move(state.arguments, 1, #state.arguments, 1, {})
  env.job = job_words(state)
  env.print = function(...) say(state.report, ...) end
  --- The time now, UTC, in the form of strftime.
  env.date = function(format) return os.date('!' .. (format or '%Y-%m-%d')) end
  return setmetatable(env, {
    __index = function(_, name)
      error(("'%s' is not known here (docs/job-files.md)"):format(tostring(name)), 2)
    end,
  })
end

-- ---- Loading and running ----

-- errno of open and read, on Linux.
local WORDS = { [2] = 'not_found', [13] = 'permission', [21] = 'usage' }

local function read_script(path)
  local file <close>, message, errno = io.open(path, 'r')
  local text = ''
  if file then text, message, errno = file:read(MAX_SCRIPT_BYTES + 1) end
  if errno then
    fail.raise(WORDS[errno] or 'source_io', 'read %s: %s', path, (message:gsub('^.*: ', '')))
  end
  if text and #text > MAX_SCRIPT_BYTES then
    fail.raise('script', '%s: too long for a script', path)
  end
  return text or ''
end

-- What a script raised, as a failure of the program.
local function script_failure(problem, trace)
  if getmetatable(problem) == JobFailed then
    fail.throw(problem.message, problem.code, problem.trace)
  end
  fail.throw(tostring(problem), sys.codes.script, trace)
end

local function run_script(path, state)
  local chunk, message = load(read_script(path), '@' .. path, 't', environment(state))
  if not chunk then fail.raise('script', '%s', message) end
  local problem, trace
  state.limit.on()
  local ok = xpcall(chunk, function(raised)
    problem, trace = raised, debug.traceback('', 2)
  end, table.unpack(state.arguments))
  state.limit.off()
  if not ok then script_failure(problem, trace) end
  -- Jobs that failed under job.try are failures of the run all the same.
  if state.code then fail.throw(state.message, state.code) end
  return true
end

--- Run a script: true, or nil, message, code.
---@param path string
---@param how {arguments: string[], dry_run: boolean?, report: table}
function M.run(path, how)
  local state = { arguments = how.arguments, dry_run = how.dry_run, report = how.report,
    limit = limiter() }
  return fail.catch(run_script, path, state)
end


return M
