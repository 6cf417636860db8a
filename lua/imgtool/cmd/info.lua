--- imgtool info: what an image or a set is.
local cli = require 'imgtool.util.cli'
local device = require 'img.device'
local facts_of = require 'imgtool.job.facts'
local fail = require 'imgtool.util.fail'
local image = require 'img.image'
local json = require 'imgtool.util.json'
local open_set = require 'imgtool.job.set'
local set_text = require 'imgtool.report.set'
local stored = require 'imgtool.job.stored'
local text = require 'imgtool.report.text'

local M = {
  name = 'info',
  summary = 'Show what an image is: source, settings, ratio, kinds, chunks, bad ranges; or a set',
  args = {
    { name = 'source_operand', field_name = 'source', operand = 'IMG',
      doc = 'The image, or the directory of a set.' },
    { name = 'source', option = '--in', argname = 'IMG', doc = 'The same as IMG.' },
    { name = 'chunks', flag = '--chunks', doc = 'Also one line for each chunk.' },
    cli.json,
  },
}

local try = fail.try

--- Facts of an image, with its texts decoded.
---@param opened img.Image
---@param path string
---@return table
function M.gather(opened, path)
  local facts = opened:facts()
  local result, bad_ranges = stored.result(opened:meta())
  facts.image, facts.head, facts.text = path, json.decode(facts.text), nil
  facts.bad_ranges = bad_ranges
  facts.bad_range_count = result.bad_range_count or #facts.bad_ranges
  facts.stored_bytes, facts.frames = result.stored_bytes, result.frames
  return facts
end

--- What a chunk holds.
---@param opened img.Image
---@param number integer
---@return table
function M.chunk(opened, number)
  local chunk = try(opened:chunk(number))
  local out = {
    chunk = number, offset = chunk.offset, length = chunk.length, frames = #chunk.entries,
    stored_bytes = 0, data_bytes = 0, zero_bytes = 0, free_bytes = 0, bad_bytes = 0,
    bad_ranges = #chunk.bad,
  }
  for _, entry in ipairs(chunk.entries) do
    local key = entry.kind .. '_bytes'
    out[key] = out[key] + entry.length
    out.stored_bytes = out.stored_bytes + entry.stored
  end
  return out
end

local CHUNK_HEAD = { 'CHUNK', 'OFFSET', 'LENGTH', 'FRAMES', 'STORED', 'DATA', 'ZERO', 'FREE',
  'BAD' }
local ALL_RIGHT = { true, true, true, true, true, true, true, true, true }

local function chunk_row(c)
  local row = {}
  for i, key in ipairs { 'chunk', 'offset', 'length', 'frames', 'stored_bytes', 'data_bytes',
    'zero_bytes', 'free_bytes', 'bad_bytes' } do
    row[i] = tostring(c[key])
  end
  return row
end

local function show_set(values, report)
  if values.chunks then fail.raise('usage', '--chunks has no meaning for a set') end
  local set = try(open_set.open(values.source))
  set.manifest.set_dir = values.source
  report:answer('set', set.manifest, set_text.info(set.manifest))
  return true
end

local function show(values, report)
  if facts_of.type_of(values.source) == 'directory' then return show_set(values, report) end
  local file <close> = try(device.open(values.source))
  local opened <close> = try(image.open(file))
  local facts = M.gather(opened, values.source)
  report:answer('info', facts, text.info(facts))
  if not values.chunks then return true end
  local rows = { CHUNK_HEAD }
  for number = 0, facts.chunks - 1 do
    local chunk = M.chunk(opened, number)
    rows[#rows + 1] = chunk_row(chunk)
    if report.json then report:event('chunk', chunk) end
  end
  if not report.json then report:answer('chunks', {}, text.table(rows, ALL_RIGHT)) end
  return true
end

function M.run(values, report)
  return fail.catch(show, values, report)
end

return M
