--- Ranges as lines or events, as they come: there may be millions.
local text = require 'imgtool.report.text'

local M = {}

local BATCH <const> = 512

local HEAD <const> = '           OFFSET           LENGTH  WHY'

local function line_of(range)
  local line = ('%17d %16d  %s'):format(range.offset, range.length, range.why)
  if not range.path then return line end
  return ('%s  %s  %s'):format(line, text.clean(range.rule), text.clean(range.path))
end

--- A function that takes ranges, and one to be called at the end. `why`: only those of this reason.
---@param report table
---@param options {totals: boolean?, why: string?}
---@return fun(range: table) tell, fun() finish
function M.teller(report, options)
  local lines = { HEAD }
  local function finish()
    if not report.json and #lines > 0 then report:answer('ranges', {}, table.concat(lines, '\n')) end
    lines = {}
  end
  local function tell(range)
    if options.totals or options.why and range.why ~= options.why then return end
    if report.json then
      report:event('range', range)
      return
    end
    lines[#lines + 1] = line_of(range)
    if #lines >= BATCH then finish() end
  end
  if options.totals then lines = {} end
  return tell, finish
end

return M
