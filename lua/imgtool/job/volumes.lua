--- Image several volumes into one directory with a manifest (docs/manifest.md).
local set_plan = require 'imgtool.job.set_plan'
local set_write = require 'imgtool.job.set_write'

local M = {}

--- Run a checked job.
---@param job table
---@param report table
---@return table result
function M.run(job, report)
  return set_write.run(job, report, job.out_dir, function()
    return set_plan.volumes(job, report)
  end)
end

return M
