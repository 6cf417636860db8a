--- imgtool map: what an image of a device would not hold, and why, without making one.
local check = require 'imgtool.job.check'
local cli = require 'imgtool.util.cli'
local explain = require 'imgtool.job.explain'
local facts = require 'imgtool.job.facts'
local fail = require 'imgtool.util.fail'
local map = require 'imgtool.job.map'
local ranges = require 'imgtool.report.ranges'
local schema = require 'imgtool.job.schema'
local sys = require 'img.sys'
local text = require 'imgtool.report.text'

local OTHERS = {}
for _, field in ipairs(schema.fields_of 'image') do
  OTHERS[field.name] = field.name ~= 'source' and field.name ~= 'exclude'
end

local M = {
  name = 'map',
  summary = 'List every range that an image of a device would not hold, and why, and make none',
  args = cli.of_action('image', OTHERS, ranges.args),
}

local function show(values, report)
  sys.catch_signals()
  local checked, message = check.job { action = 'image', source = values.source, target = '-',
    exclude = values.exclude }
  if not checked then fail.raise('usage', '%s', message) end
  local source <close> = facts.open_source(checked.source)
  local window = explain.window(source:size(), values.offset, values.length)
  local whole, fs, described = map.of(source, checked, report)
  local kinds <close> = whole
  local tell, finish = ranges.teller(report, values)
  local totals = explain.source(kinds, described, window, tell)
  finish()
  totals.source, totals.offset, totals.length = checked.source, window.from,
    window.to - window.from
  totals.file_system = { type = fs.type, label = fs.label, uuid = fs.uuid,
    block_bytes = fs.block_bytes }
  totals.map, totals.reason, totals.note = fs.used_only and 'used' or 'all', fs.reason, fs.note
  totals.exclude_reason = described and described.reason
  report:answer('map', totals, text.map(totals))
  return true
end

function M.run(values, report)
  return fail.catch(show, values, report)
end

return M
