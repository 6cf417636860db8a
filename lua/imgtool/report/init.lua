--- Where messages go. stdout carries data or the answer, stderr everything else; with --json events are
--- objects, one a line, on stdout, or on stderr when stdout carries data.
local json = require 'imgtool.report.json'
local progress = require 'imgtool.report.progress'
local sys = require 'img.sys'
local time = require 'imgtool.util.time'

local M = {}

-- Lines when stderr is no terminal, and lines in a log.
local PLAIN_NS <const> = 5 * 1000000000

local Report = {}
Report.__index = Report

--- A report. `log_file` is appended to.
---@param options {json: boolean?, quiet: boolean?, verbose: boolean?, log_file: string?, data_on_stdout: boolean?}
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

function Report:to_log(text)
  if self.log then self.log:write(time.iso(os.time()), ' ', text, '\n') end
end

-- The progress line gives way to a message.
function Report:end_line()
  if self.line_open then io.stderr:write('\r\27[K') end
  self.line_open = false
end

function Report:to_stderr(text)
  self:end_line()
  io.stderr:write(text, '\n')
end

function Report:event(name, fields)
  self.events:write(json.line(name, fields))
  self.events:flush()
end

--- Something worth knowing.
---@param text string
function Report:note(text)
  self:to_log(text)
  if self.json then
    self:event('note', { text = text })
  elseif not self.quiet then
    self:to_stderr('imgtool: ' .. text)
  end
end

--- Something that may be wrong.
---@param text string
function Report:warn(text)
  self:to_log('warning: ' .. text)
  if self.json then self:event('warning', { text = text }) end
  self:to_stderr('imgtool: warning: ' .. text)
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
    self.events:write(json.progress(what, now))
    self.events:flush()
  elseif not self.quiet then
    self:show_progress(progress.line(what, now), now.elapsed_ns, last)
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
---@param text string without a newline at the end
function Report:answer(name, object, text)
  self:to_log((text:gsub('\n%s*', '; ')))
  if self.json then
    self:event(name, object)
  elseif not self.quiet then
    self:end_line()
    local out = self.data_on_stdout and io.stderr or io.stdout
    out:write(text, '\n')
    out:flush()
  end
end

--- What failed, once, at the very edge.
---@param message string
---@param code integer
---@param trace string?
function Report:fail(message, code, trace)
  self:to_log('failed: ' .. message)
  if self.json then
    self:event('error', { message = message, code = code, word = sys.word(code) })
  end
  self:to_stderr('imgtool: ' .. message)
  if self.verbose and trace then io.stderr:write((trace:gsub('^\n', '')), '\n') end
end

return M
