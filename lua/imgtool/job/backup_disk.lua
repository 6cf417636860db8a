--- Image a whole disk into a set: its regions, each partition, a manifest (docs/manifest.md).
local facts = require 'imgtool.job.facts'
local set_plan = require 'imgtool.job.set_plan'
local set_write = require 'imgtool.job.set_write'

local M = {}

--- Run a checked job.
---@param job table
---@param report table
---@return table result
function M.run(job, report)
  local source <close> = facts.open_source(job.device)
  return set_write.run(job, report, job.set_dir, function()
    return set_plan.disk(job, report, source)
  end)
end

return M
