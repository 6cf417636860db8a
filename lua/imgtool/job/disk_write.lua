--- Put a disk together on an open target: data first, the partition table last, each durable before
--- the next (docs/SAFETY.md, R4 and R7).
local fail = require 'imgtool.util.fail'
local layout = require 'imgtool.policy.layout'
local write = require 'imgtool.job.write'

local M = {}

local try = fail.try

-- Change the table as it is to be on the target: nothing is written yet.
local function prepare_table(c, t, from)
  if not from.edit then return nil end
  if t.target.size_bytes ~= from.size_bytes then try(from.edit:fit(t.target.size_bytes)) end
  if c.job.new_guids then try(from.edit:new_ids()) end
  return c.job.grow_last and try(from.edit:grow_last()) or nil
end

local function write_all(c, t, from, pieces)
  local sum = { loss_count = 0 }
  for _, piece in ipairs(pieces) do
    if piece.is_head then try(t.dev:flush()) end
    write.add(sum, from.write(c, piece))
  end
  try(t.dev:flush())
  if from.edit then
    try(from.edit:write(t.dev))
    try(t.dev:flush())
  end
  return sum
end

local function read_back(c, t, from, pieces)
  local found = {}
  for _, piece in ipairs(pieces) do write.add(found, from.compare(c, piece)) end
  if from.edit then
    local ok, message, code = from.edit:compare(t.dev)
    if not ok and found.code == 0 then found.code, found.message = code, message end
  end
  return found
end

--- What of a disk is written as data, besides the partitions: not where its table was, nor where it
--- will be.
---@param from {edit: img.DiskEdit, inside: table[]} the table as it is to be; what it was
---@param limit integer
---@return {offset: integer, length: integer}[]
function M.outside(from, limit)
  local areas = from.edit:areas()
  local inside = table.move(from.inside, 1, #from.inside, #areas + 1, areas)
  return layout.outside(limit, inside)
end

--- Write it all, read it back when that is asked for, and finish the target: what was done.
---
--- from: edit (img.DiskEdit) and found (img.Table), both nil without a table; size_bytes of the
--- source; pieces (a function: what is written, in order; is_head marks what must come after all
--- the rest); write and compare (functions of the context and a piece, as those of job/write.lua).
---@param c {job: table, report: table}
---@param t table of job/disk_target.lua
---@param from table
---@return table result
function M.run(c, t, from)
  local grown = prepare_table(c, t, from)
  t:begin()
  local pieces = from.pieces()
  local result = write_all(c, t, from, pieces)
  result.grown = grown
  if c.job.new_guids then result.ids = t:new_ids(from.found) end
  if c.job.verify_after then
    result.verified = read_back(c, t, from, pieces)
    if result.code == 0 and result.verified.code ~= 0 then
      result.code, result.message = result.verified.code, result.verified.message
    end
  end
  t:finish(result)
  return result
end

return M
