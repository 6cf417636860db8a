--- Failures inside a module: raised as one object, so that resources declared <close> are let go on
--- the way, and turned into `nil, message, code` at the module's edge by `catch`.
local sys = require 'img.sys'

local M = {}

local Failure = {}
Failure.__index = Failure
Failure.__name = 'failure'
Failure.__tostring = function(failure) return failure.message end

--- Raise a failure. `word` is one of img.sys.codes.
---@param word string
---@param format string
function M.raise(word, format, ...)
  local code = assert(sys.codes[word], 'no such code')
  local message = select('#', ...) > 0 and format:format(...) or format
  M.throw(message, code)
end

--- Raise a failure that has a number already.
---@param message string
---@param code integer?
---@param trace string?
function M.throw(message, code, trace)
  error(setmetatable({
    message = message,
    code = code or sys.codes.internal,
    trace = trace or debug.traceback('', 2),
  }, Failure), 0)
end

--- The values of a call that answers `nil, message, code` when it fails: they, or a failure.
function M.try(value, message, code, ...)
  if value == nil then M.throw(tostring(message), code) end
  return value, message, code, ...
end

local function on_error(problem)
  if getmetatable(problem) == Failure then return problem end
  -- The loader of overridden modules raises tables with a code; anything else is a mistake in
  -- this program.
  return setmetatable({
    message = tostring(problem),
    code = type(problem) == 'table' and math.tointeger(problem.code) or sys.codes.internal,
    trace = debug.traceback('', 2),
  }, Failure)
end

local function finish(ok, first, ...)
  if ok then return first, ... end
  return nil, first.message, first.code, first.trace
end

--- Call f: its values, or `nil, message, code, trace`.
---@param f function
function M.catch(f, ...)
  return finish(xpcall(f, on_error, ...))
end

return M
