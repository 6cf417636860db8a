--- Jobs for Lua code: `local job = require 'imgtool.job'; job.verify { source = 'x.img.zst' }`.
---
--- Each function takes the fields of an action (docs/job-files.md) and gives a result, or
--- nil, message, code. A result whose code is not 0 (damaged, bad sectors) also has a message.
local report = require 'imgtool.report'
local run = require 'imgtool.job.run'
local schema = require 'imgtool.job.schema'

local M = {}

--- Run a job with its action in it. Progress and messages go to stderr unless a report is given.
---@param job table
---@param to? table of imgtool.report
---@return table? result, string? message, integer? code
function M.run(job, to)
  if to then return run.run(job, to) end
  local own <close> = assert(report.new {})
  return run.run(job, own)
end

for _, action in ipairs(schema.actions) do
  M[action.name] = function(job, to)
    local copy = { action = action.name }
    for key, value in pairs(job) do copy[key] = value end
    return M.run(copy, to)
  end
end

return M
