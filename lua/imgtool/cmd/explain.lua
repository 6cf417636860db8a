--- imgtool explain: what an image does not hold, and why.
local device = require 'img.device'
local explain = require 'imgtool.job.explain'
local fail = require 'imgtool.util.fail'
local image = require 'img.image'
local ranges = require 'imgtool.report.ranges'
local text = require 'imgtool.report.text'

local M = {
  name = 'explain',
  summary = 'List every range that an image does not hold, and why: free, zero, rule, bad',
  args = {
    { name = 'source_operand', field_name = 'source', operand = 'IMG', doc = 'The image.' },
    { name = 'source', option = '--in', argname = 'IMG', doc = 'The same as IMG.' },
    table.unpack(ranges.args),
  },
}

local try = fail.try

local function show(values, report)
  local file <close> = try(device.open(values.source))
  local opened <close> = try(image.open(file))
  local window = explain.window(opened:facts().source_bytes, values.offset, values.length)
  local tell, finish = ranges.teller(report, values)
  local totals = explain.image(opened, window, tell, report)
  finish()
  totals.image, totals.offset, totals.length = values.source, window.from, window.to - window.from
  report:answer('explain', totals, text.totals(totals))
  return true
end

function M.run(values, report)
  return fail.catch(show, values, report)
end

return M
