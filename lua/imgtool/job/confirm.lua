--- The name of a target, typed on a terminal instead of given with --yes-destroy.
local safety = require 'imgtool.policy.safety'
local sys = require 'img.sys'
local text = require 'imgtool.report.text'

local M = {}

--- What somebody types when nothing but the name is missing and there is a terminal; or nil.
---@param decision table of a policy
---@param target table facts
---@param job table
---@param report table
---@return string?
function M.ask(decision, target, job, report)
  if job.dry_run or report.json or not safety.only_unconfirmed(decision) then return nil end
  if not sys.isatty(0) or not sys.isatty(2) then return nil end
  for _, step in ipairs(decision.plan) do report:to_stderr('would ' .. step) end
  report:end_line()
  io.stderr:write(('Type %s to go on, anything else to stop: '):format(
    text.clean(safety.name_of(target))))
  return io.read('l')
end

return M
