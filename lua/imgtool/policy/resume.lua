--- Whether an incomplete image may be gone on with (docs/image-format-v2.md, 10). Pure.
local exclude = require 'imgtool.policy.exclude'
local json = require 'imgtool.util.json'

local M = {}

-- Where to look in HEAD's text, and what to call it. In the order of what tells most.
local IDENTITY = {
  { 'serial number', 'source', 'serial' },
  { 'WWN', 'source', 'wwn' },
  { 'disk id', 'source', 'disk', 'id' },
  { 'partition GUID', 'source', 'partition', 'guid' },
  { 'partition number', 'source', 'partition', 'number' },
  { 'partition start', 'source', 'partition', 'start_bytes' },
  { 'file system UUID', 'source', 'file_system', 'uuid' },
  { 'file system type', 'source', 'file_system', 'type' },
  { 'size', 'source', 'size_bytes' },
  { 'time of its last change', 'source', 'modified_s' },
  { 'logical sector size', 'source', 'logical_bytes' },
  { 'physical sector size', 'source', 'physical_bytes' },
  { 'map', 'map', 'kind' },
}

local function at(text, row)
  local value = text
  for i = 2, #row do
    if type(value) ~= 'table' then return nil end
    value = value[row[i]]
  end
  return value
end

local function show(value)
  return value == nil and 'none' or ("'%s'"):format(value)
end

-- One has been through JSON, and the other has not.
local function same_value(stored, now)
  local function text(value) return value ~= nil and json.encode(value) or '' end
  return text(stored) == text(json.decode(text(now)))
end

--- Compare the source of an incomplete image with the source now. Both are decoded HEAD texts.
---@param stored table
---@param now table
---@return boolean same, string? reason which field differs, and how
function M.same_source(stored, now)
  for _, row in ipairs(IDENTITY) do
    local before, after = at(stored, row), at(now, row)
    if before ~= after then
      return false, ('the source\'s %s is %s now, and was %s'):format(row[1], show(after),
        show(before))
    end
  end
  if not same_value(stored.exclude, now.exclude) then
    return false, 'the rules leave out something else now'
  end
  return true
end

-- Settings that an image keeps for its whole length: field of the job, member of the stored
-- settings.
local SETTINGS = {
  { 'block_size', 'block_bytes' }, { 'chunk_size', 'chunk_bytes' }, { 'hash', 'hash' },
  { 'level', 'level' }, { 'on_read_error', 'on_read_error' }, { 'uuid', 'uuid' },
  { 'created', 'created' },
}

--- Settings that were said, held against those of the image.
---@param stored table settings of the image
---@param job table a checked job
---@return boolean same, string? reason
function M.same_settings(stored, job)
  for _, row in ipairs(SETTINGS) do
    if job.given[row[1]] and job[row[1]] ~= stored[row[2]] then
      return false, ('%s is %s in the image, not %s'):format(row[1], show(stored[row[2]]),
        show(job[row[1]]))
    end
  end
  return true
end

--- The content rules that an image or a set was begun with: those of the job, which must be the
--- same where it says some; nil when there are none. nil and a reason when they can't be had.
---@param stored table settings of the image
---@param job table a checked job
---@param what? string how it is called
---@return table? rules, string? reason
function M.rules(stored, job, what)
  local rules = {}
  what = what or 'image'
  for i, word in ipairs(type(stored.exclude) == 'table' and stored.exclude or {}) do
    rules[i] = tostring(word)
    if word == exclude.FUNCTION and not job.exclude then
      return nil, ('the %s was begun with an exclude function, which must be given again')
        :format(what)
    elseif word ~= exclude.FUNCTION and not exclude.rules[word] then
      return nil, ("the %s was begun with a rule '%s' that is not known"):format(what, rules[i])
    end
  end
  if not job.exclude then return #rules > 0 and rules or nil end
  local was, said = table.concat(rules, ','), table.concat(exclude.words(job.exclude), ',')
  if said ~= was then
    return nil, ('exclude is %s in the %s, not %s'):format(show(was ~= '' and was or nil), what,
      show(said))
  end
  return job.exclude
end

return M
