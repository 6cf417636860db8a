--- Where messages go. stdout carries data or the answer, stderr everything else; with --json events
--- are objects, one a line, on stdout, or on stderr when stdout carries data.
local fail = require 'imgtool.util.fail'
local json = require 'imgtool.report.json'
local progress = require 'imgtool.report.progress'
local sys = require 'img.sys'
local text = require 'imgtool.report.text'
local time = require 'imgtool.util.time'

local M = {}

-- Lines when stderr is no terminal, and lines in a log.
local PLAIN_NS <const> = 5 * 1000000000

local Report = {}
Report.__index = Report

--- A report. `log_file` is appended to.
---@param options table json, quiet, verbose, data_on_stdout: booleans; log_file: a path
---@return table? report, string? message, integer? code
function M.new(options)
  local self = setmetatable({
    json = options.json, quiet = options.quiet, verbose = options.verbose,
    events = options.data_on_stdout and io.stderr or io.stdout,
    data_on_stdout = options.data_on_stdout,
    terminal = sys.isatty(2), line_open = false, next_ns = PLAIN_NS,
    next_log_ns = PLAIN_NS,
  }, Report)
  if options.log_file then
    local file, message = io.open(options.log_file, 'a')
    if not file then return nil, ('open the log file %s'):format(message), sys.codes.target_io end
    file:setvbuf('line')
    self.log = file
  end
  return self
end

function Report:close()
  self:end_line()
  if self.log then self.log:close() end
  self.log = nil
end
Report.__close = Report.close

function Report:to_log(message)
  if self.log then self.log:write(time.iso(os.time()), ' ', text.clean(message), '\n') end
end

-- The progress line gives way to a message.
function Report:end_line()
  if self.line_open then io.stderr:write('\r\27[K') end
  self.line_open = false
end

function Report:to_stderr(message)
  self:end_line()
  io.stderr:write(text.clean(message), '\n')
end

-- An answer that did not arrive is a failure.
local function put(out, line)
  local ok, message = out:write(line)
  if ok then ok, message = out:flush() end
  if not ok and out == io.stdout then
    fail.throw(('write stdout: %s'):format(message), sys.codes.target_io)
  end
end

function Report:event(name, fields)
  put(self.events, json.line(name, fields))
end

--- Something worth knowing.
---@param message string
function Report:note(message)
  self:to_log(message)
  if self.json then
    self:event('note', { text = message })
  elseif not self.quiet then
    self:to_stderr('imgtool: ' .. message)
  end
end

--- Something that may be wrong.
---@param message string
function Report:warn(message)
  self:to_log('warning: ' .. message)
  if self.json then self:event('warning', { text = message }) end
  self:to_stderr('imgtool: warning: ' .. message)
end

--- A snapshot of a job under way; `last`: there won't be another.
---@param what string
---@param now img.Progress
---@param last boolean?
function Report:progress(what, now, last)
  if self.log and (last or now.elapsed_ns >= self.next_log_ns) then
    self.next_log_ns = now.elapsed_ns + PLAIN_NS
    self:to_log(progress.line(what, now))
  end
  if self.json then
    put(self.events, json.progress(what, now))
  elseif not self.quiet then
    self:show_progress(text.clean(progress.line(what, now)), now.elapsed_ns, last)
  end
end

function Report:show_progress(line, elapsed_ns, last)
  if self.terminal then
    io.stderr:write(progress.on_terminal(line, sys.columns(2)))
    self.line_open = true
    if last then
      io.stderr:write('\n')
      self.line_open = false
    end
  elseif last or elapsed_ns >= self.next_ns then
    self.next_ns = elapsed_ns + PLAIN_NS
    io.stderr:write(line, '\n')
  end
end

--- A new job begins: its progress starts anew.
function Report:start()
  self.next_ns, self.next_log_ns = PLAIN_NS, PLAIN_NS
end

--- The answer of a command: an object for programs, text for people.
---@param name string
---@param object table
---@param lines string without a newline at the end
function Report:answer(name, object, lines)
  self:to_log((lines:gsub('\n%s*', '; ')))
  if self.json then
    self:event(name, object)
  elseif not self.quiet then
    self:end_line()
    local out = self.data_on_stdout and io.stderr or io.stdout
    put(out, lines .. '\n')
  end
end

--- The result of a job: its answer, and true; or, when its own verdict is not good,
--- nil, message, code for the exit status.
---@param result table
function Report:result(result)
  self:answer(result.action, result, text.result(result))
  if result.code == 0 then return true end
  return nil, result.message, result.code
end

--- What failed, once, at the very edge.
---@param message string
---@param code integer
---@param trace string?
function Report:fail(message, code, trace)
  self:to_log('failed: ' .. message)
  -- Not through put: an error about stdout must not meet itself.
  if self.json then
    self.events:write(json.line('error', { message = message, code = code, word = sys.word(code) }))
    self.events:flush()
  end
  self:to_stderr('imgtool: ' .. message)
  if self.verbose and trace then io.stderr:write((trace:gsub('^\n', '')), '\n') end
end

return M
