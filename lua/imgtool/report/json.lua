--- Events as JSON, one object a line. Pure.
local json = require 'imgtool.util.json'
local progress = require 'imgtool.report.progress'

local M = {}

--- A line for an event: its fields and `event`, the name.
---@param name string
---@param fields table
---@return string
function M.line(name, fields)
  local object = { event = name }
  for key, value in pairs(fields) do object[key] = value end
  return json.encode(object) .. '\n'
end

--- The progress event of a job: the snapshot with percent and estimated time.
---@param what string the action
---@param now img.Progress
---@return string
function M.progress(what, now)
  local object = { action = what }
  for key, value in pairs(now) do object[key] = value end
  object.percent = math.floor(progress.percent(now) * 10 + 0.5) / 10
  local eta = progress.eta(now)
  object.eta_s = eta and math.floor(eta + 0.5) or nil
  return M.line('progress', object)
end

return M
