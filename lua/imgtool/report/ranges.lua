--- Ranges of a source that an image does not hold, as lines or events, as they come: there may be
--- millions.
local check = require 'imgtool.job.check'
local cli = require 'imgtool.util.cli'
local text = require 'imgtool.report.text'

local M = {}

--- The reasons, in the order in which they are counted up.
M.WHYS = { 'free', 'zero', 'rule', 'bad' }

local function to(field)
  return function(argument) return check.value(field, argument) end
end

--- What the commands that list ranges take.
M.args = {
  { name = 'offset', option = '--offset', argname = 'OFFSET', default_text = '0',
    convert = to { type = 'size', min = 0 }, doc = 'Where in the source to begin, in bytes.' },
  { name = 'length', option = '--length', argname = 'LENGTH', default_text = 'to the end',
    convert = to { type = 'size', min = 1 }, doc = 'How many bytes.' },
  { name = 'why', option = '--why', argname = 'WHY', choices = M.WHYS,
    doc = 'List only the ranges that are left out for this reason.' },
  { name = 'totals', flag = '--totals', doc = 'List no ranges, only the totals.' },
  cli.json,
}

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
    if not report.json and #lines > 0 then
      report:answer('ranges', {}, table.concat(lines, '\n'))
    end
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
