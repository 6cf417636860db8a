--- Recover what is good of an image into a new one (docs/image-format-v2.md, section 11).
local device = require 'img.device'
local facts = require 'imgtool.job.facts'
local fail = require 'imgtool.util.fail'
local image = require 'img.image'
local json = require 'imgtool.util.json'
local output = require 'imgtool.job.output'
local safety = require 'imgtool.policy.safety'
local stored = require 'imgtool.job.stored'
local sys = require 'img.sys'

local M = {}

local try = fail.try

-- Of how many chunks it is not known any more what could not be read when they were imaged. A run
-- that ends at the first bad sector leaves none in its image; a repair may, whatever that run did.
local function bad_unknown(source, report)
  if report.bad_unknown == 0 or report.bad_seen then return report.bad_unknown end
  local head = image.read_head(source)
  local settings = head and stored.settings(head)
  return settings and settings.on_read_error == 'abort' and 0 or report.bad_unknown
end

-- What there is to say against the new image.
local function verdict_of(job, result)
  local parts = {}
  if result.lost_bytes > 0 then
    parts[1] = ('%d bytes in %d ranges are lost%s'):format(result.lost_bytes, result.lost_ranges,
      job.dry_run and '' or ', and recorded as bad in ' .. job.target)
  end
  if result.bad_unknown > 0 then
    parts[#parts + 1] = ('the tables of %d chunks are lost, and with them which ranges could not be'
      .. ' read when it was made: such ranges read as zeros%s'):format(result.bad_unknown,
      job.dry_run and '' or ' in ' .. job.target)
  end
  return #parts > 0 and job.source .. ': ' .. table.concat(parts, '; ') or nil
end

local function result_of(job, report, elapsed_ns)
  local result = {
    action = 'repair', source = job.source, image = job.target, elapsed_ns = elapsed_ns, code = 0,
    dry_run = job.dry_run or nil,
  }
  for key, value in pairs(report) do result[key] = value end
  result.losses = json.array(result.losses)
  result.message = verdict_of(job, result)
  if result.message then result.code = sys.codes.damaged end
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
  found.bad_unknown, found.bad_seen = bad_unknown(source, found), nil
  return result_of(job, found, sys.clock_ns() - started)
end

return M
