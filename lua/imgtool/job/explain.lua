--- Every range that is not in an image, or would not be, and why: free, zero, rule (a content rule
--- left out what a file contains), bad.
---
--- The kinds are laid into a map, which joins what touches, and told from there.
local exclude = require 'imgtool.policy.exclude'
local fail = require 'imgtool.util.fail'
local json = require 'imgtool.util.json'
local map = require 'img.map'
local ranges = require 'imgtool.report.ranges'

local M = {}

local try = fail.try

-- What a kind of the maps below means. In that of an image, data is what a rule left out: other
-- data is in no extent of it.
local OF_IMAGE <const> = { free = 'free', zero = 'zero', bad = 'bad', data = 'rule' }
local OF_SOURCE <const> = { free = 'free', zero = 'rule' }

--- The part of a source that is meant: from offset on, length bytes or all.
---@param size integer
---@param offset integer?
---@param length integer?
---@return {from: integer, to: integer}
function M.window(size, offset, length)
  offset = offset or 0
  length = length or math.max(0, size - offset)
  if offset > size or length > size - offset then
    fail.raise('usage', 'the range at %d, %d bytes, goes past the end: the source has %d', offset,
      length, size)
  end
  return { from = offset, to = offset + length }
end

-- ---- Telling ----

-- The first of the sorted ranges that ends after an offset.
local function find(left_out, offset)
  local low, high = 1, #left_out + 1
  while low < high do
    local middle = (low + high) // 2
    if left_out[middle].offset + left_out[middle].length > offset then
      high = middle
    else
      low = middle + 1
    end
  end
  return low
end

-- A run that rules left out, file by file.
local function tell_files(left_out, from, to, tell)
  local i = find(left_out, from)
  while from < to do
    local range = left_out[i]
    local stop = math.min(to, range.offset + range.length)
    tell { offset = from, length = stop - from, why = 'rule', rule = range.rule,
      path = range.path }
    from, i = stop, i + 1
  end
end

--- Tell all ranges in the window, in order; give the bytes by reason and those of data.
---@param kinds img.Map
---@param words table<string, string>
---@param left_out table[] of policy/exclude.lua: covers what `words` calls a rule
---@param window {from: integer, to: integer}
---@param tell fun(range: table)
---@return table totals
local function tell_all(kinds, words, left_out, window, tell)
  local totals = { ranges = 0, data_bytes = window.to - window.from }
  for _, why in ipairs(ranges.WHYS) do totals[why .. '_bytes'] = 0 end
  local function one(range)
    totals.ranges = totals.ranges + 1
    totals[range.why .. '_bytes'] = totals[range.why .. '_bytes'] + range.length
    totals.data_bytes = totals.data_bytes - range.length
    tell(range)
  end
  for offset, length, kind in kinds:each() do
    local from, to = math.max(offset, window.from), math.min(offset + length, window.to)
    local why = from < to and words[kind]
    if why == 'rule' then
      tell_files(left_out, from, to, one)
    elseif why then
      one { offset = from, length = to - from, why = why }
    end
  end
  return totals
end

-- ---- An image ----

-- Bad ranges lie in entries of data too, and win.
local function lay_chunk(kinds, chunk)
  for _, entry in ipairs(chunk.entries) do
    if entry.kind ~= 'data' then kinds:set(entry.offset, entry.length, entry.kind) end
  end
  for _, range in ipairs(chunk.bad) do kinds:set(range.offset, range.length, 'bad') end
end

-- What a rule left out is zeros in the image: where the tables say otherwise, they count.
local function lay_rule(kinds, range)
  local offset, stop = range.offset, range.offset + range.length
  while offset < stop do
    local _, run, kind = kinds:run(offset)
    local length = math.min(run, stop - offset)
    if kind == 'zero' or kind == 'none' then kinds:set(offset, length, 'data') end
    offset = offset + length
  end
end

--- Tell what an image does not hold.
---@param opened img.Image
---@param window {from: integer, to: integer}
---@param tell fun(range: table)
---@param report table
---@return table totals
function M.image(opened, window, tell, report)
  local facts = opened:facts()
  local kinds <close> = map.new(facts.source_bytes)
  for number = window.from // facts.chunk_bytes, facts.chunks - 1 do
    if number * facts.chunk_bytes >= window.to then break end
    lay_chunk(kinds, try(opened:chunk(number)))
  end
  local left_out, message = exclude.ranges(json.decode(facts.text), facts.source_bytes)
  if message then report:warn('the list of what rules left out makes no sense: ' .. message) end
  for _, range in ipairs(left_out) do lay_rule(kinds, range) end
  return tell_all(kinds, OF_IMAGE, left_out, window, tell)
end

-- ---- A source ----

--- Tell what an image of a source would not hold.
---@param whole img.Map
---@param described table? of job/map.lua
---@param window {from: integer, to: integer}
---@param tell fun(range: table)
---@return table totals
function M.source(whole, described, window, tell)
  local left_out = exclude.ranges({ exclude = described }, whole:size())
  return tell_all(whole, OF_SOURCE, left_out, window, tell)
end

return M
