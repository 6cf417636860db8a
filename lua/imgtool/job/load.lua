--- Job scripts: Lua text, run in an environment of its own. A script says `job { ... }` for each
--- job; the jobs run at once and in order.
local fail = require 'imgtool.util.fail'
local sys = require 'img.sys'
local words = require 'imgtool.job.words'

local M = {}

-- Between two jobs a script may do this much: a loop without end is a mistake in it.
local INSTRUCTIONS <const> = 200000000
local STEP <const> = 1000000
local MAX_SCRIPT_BYTES <const> = 4 << 20

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
  local message, code, inner = words.failure(problem)
  if message then fail.throw(message, code, inner) end
  fail.throw(tostring(problem), sys.codes.script, trace)
end

local function run_script(path, state)
  local chunk, message = load(read_script(path), state.source, 't', words.environment(state))
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

local function run(path, how, doer)
  return fail.catch(run_script, path, { source = '@' .. path, arguments = how.arguments,
    doer = doer, report = how.report, limit = limiter() })
end

--- Run a script: true, or nil, message, code.
---@param path string
---@param how {arguments: string[], dry_run: boolean?, report: table}
function M.run(path, how)
  return run(path, how, words.machine { dry_run = how.dry_run, report = how.report })
end

-- A mistake as an event, or a line; it is an error, which --quiet does not hide.
local function tell(report, path, mistake, line)
  local text = line and ('%s:%d: %s'):format(path, line, mistake.message)
    or ('%s: %s'):format(path, mistake.message)
  report:to_log(text)
  if not report.json then return report:to_stderr(text) end
  report:event('mistake', { script = path, line = line, field = mistake.field,
    message = mistake.message, nearest = mistake.nearest })
end

-- What a script prints of results that are none would be a false answer.
local function without_prints(report)
  return setmetatable({ answer = function() end }, { __index = report })
end

--- Run a script without doing anything: every mistake in its jobs is told, on the way, and their
--- results are blank (job/blank.lua). True, or nil, message, code: usage when there are mistakes,
--- script when the script itself fails.
---@param path string
---@param how {arguments: string[], report: table}
---@return {jobs: integer}? checked, string? message, integer? code, string? trace
function M.check(path, how)
  local mistakes = 0
  local doer = words.checker(function(mistake, line)
    mistakes = mistakes + 1
    tell(how.report, path, mistake, line)
  end)
  local ok, message, code, trace = run(path, { arguments = how.arguments,
    report = without_prints(how.report) }, doer)
  if not ok then return nil, message, code, trace end
  if mistakes > 0 then
    return nil, ('%s: %d mistake%s'):format(path, mistakes, mistakes == 1 and '' or 's'),
      sys.codes.usage
  end
  return { script = path, jobs = doer.jobs }
end

return M
