--- Recover what is good of an image into a new one (docs/image-format-v2.md, section 11).
local device = require 'img.device'
local facts = require 'imgtool.job.facts'
local fail = require 'imgtool.util.fail'
local image = require 'img.image'
local json = require 'imgtool.util.json'
local output = require 'imgtool.job.output'
local safety = require 'imgtool.policy.safety'
local sys = require 'img.sys'

local M = {}

local try = fail.try

local function result_of(job, report, elapsed_ns)
  local result = {
    action = 'repair', source = job.source, image = job.target, elapsed_ns = elapsed_ns, code = 0,
    dry_run = job.dry_run or nil,
  }
  for key, value in pairs(report) do result[key] = value end
  result.losses = json.array(result.losses)
  if result.lost_bytes > 0 then
    result.code = sys.codes.damaged
    result.message = ('%s: %d bytes in %d ranges are lost%s'):format(job.source,
      result.lost_bytes, result.lost_ranges,
      job.dry_run and '' or ', and recorded as bad in ' .. job.target)
  end
  return result
end

-- What was written before it ended is no use to anybody: a repair is begun anew.
local function write(job, file, action, source, seen)
  local out <close> = output.open(file.partial, action)
  local report, message, code = image.repair(source, out.device, seen)
  if not report then
    os.remove(file.partial)
    fail.throw(('%s; %s was not made'):format(message, job.target), code)
  end
  try(sys.rename(file.partial, file.path, job.force))
  return report
end

--- Run a checked job.
---@param job table
---@param report table
---@return table result
function M.run(job, report)
  local file = facts.image_file(job.target, job.source)
  local action, reason, word = safety.image_file(file, job)
  if not action then fail.raise(word, '%s', reason) end
  local source <close> = try(device.open(job.source))
  local started = sys.clock_ns()
  local seen = report.signals_before
  local found = job.dry_run and try(image.repair(source, nil, seen))
    or write(job, file, action, source, seen)
  return result_of(job, found, sys.clock_ns() - started)
end

return M
