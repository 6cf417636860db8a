--- Run one job: check it against the schema, then do it.
local blank = require 'imgtool.job.blank'
local check = require 'imgtool.job.check'
local fail = require 'imgtool.util.fail'
local sys = require 'img.sys'

local M = {}

local RUNNERS = {
  image = 'imgtool.job.capture',
  verify = 'imgtool.job.verify',
  restore = 'imgtool.job.restore',
  export = 'imgtool.job.restore',
  repair = 'imgtool.job.repair',
  ['backup-disk'] = 'imgtool.job.backup_disk',
  volumes = 'imgtool.job.volumes',
  ['verify-set'] = 'imgtool.job.verify_set',
  ['restore-set'] = 'imgtool.job.restore_disk',
  ['restore-physical'] = 'imgtool.job.restore_disk',
  clone = 'imgtool.job.clone',
}

local function run(job, report)
  local checked, message = check.job(job)
  if not checked then fail.raise('usage', '%s', message) end
  local result = require(RUNNERS[checked.action]).run(checked, report)
  return checked.dry_run and blank.fill(result) or result
end

--- Run a job: its result, whose `code` is 0, or else the result's own verdict with `message`
--- (a damaged image that was verified, bad sectors recorded); or nil, message, code.
--- A signal from now on ends the job, not the program.
---@param job table fields of job/schema.lua
---@param report table of imgtool.report
---@return table? result, string? message, integer? code, string? trace
function M.run(job, report)
  sys.catch_signals()
  report.signals_before = report.signals_before or sys.signals()
  return fail.catch(run, job, report)
end

return M
