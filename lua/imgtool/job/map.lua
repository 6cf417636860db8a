--- Which bytes of a source an image takes: the allocation map, and content rules applied to it
--- (policy/exclude.lua).
---
--- Rules are applied as a whole or not at all. What they leave out must be data of the map, whole
--- allocation units, and claimed once by the files of the volume: anything else is a volume that
--- nobody understands, and all of it is taken.
local exclude = require 'imgtool.policy.exclude'
local fail = require 'imgtool.util.fail'
local fs = require 'img.fs'
local limit = require 'imgtool.util.limit'
local map = require 'img.map'
local resume = require 'imgtool.policy.resume'
local size = require 'imgtool.util.size'
local sys = require 'img.sys'

local M = {}

local try = fail.try

-- What can't be done is a reason to leave nothing out; that it was cancelled is none.
local function unless_cancelled(value, message, code)
  if code == sys.codes.cancelled then fail.throw(message, code) end
  return value, message
end

-- ---- Looking at the files ----

-- For one file.
local INSTRUCTIONS <const> = 10000000

-- What the rules choose; or nil and why the files can't be listed.
local function look(source, plan, report)
  local chosen, failure = exclude.chosen(), nil
  local function visit(file)
    local ok, word = limit.call(INSTRUCTIONS, 'one file', exclude.choose, plan, exclude.facts(file))
    if not ok then
      failure = { 'script', tostring(word) }
    elseif sys.signals() > report.signals_before then
      failure = { 'cancelled', 'cancelled while the files were listed' }
    elseif word then
      chosen:add(word, file)
    end
    return failure == nil
  end
  local listed, message, code = fs.files(source, plan.tree, visit, report.signals_before)
  if failure then fail.raise(failure[1], '%s', failure[2]) end
  unless_cancelled(listed, message, code)
  if not listed then return nil, message end
  return chosen
end

-- ---- Applying ----

-- Lay one range into both maps; nil and what is wrong with it.
local function leave_out(whole, ranges, range, unit)
  local offset, length = range[1], range[2]
  if offset % unit ~= 0 or length % unit ~= 0 then return nil, 'is no whole block' end
  local _, run, kind = whole:run(offset)
  if kind == 'zero' then return nil, 'belongs to two files' end
  if kind ~= 'data' then return nil, 'is marked free' end
  if run < length then return nil, 'is in part marked free, or of another file' end
  whole:set(offset, length, 'zero')
  ranges:set(offset, length, 'zero')
  return true
end

-- The map without what the files hold; or nil and why not.
local function apply(source, whole, unit, files, bytes, report)
  local changed = try(map.decode(whole:encode()))
  local ranges <close> = map.new(source:size())
  for _, file in ipairs(files) do
    for _, range in ipairs(file.ranges) do
      local ok, why = leave_out(changed, ranges, range, math.max(1, unit))
      if not ok then return nil, ('%s at %d %s'):format(file.path, range[1], why) end
    end
  end
  local claimed, message = unless_cancelled(fs.claims(source, ranges, report.signals_before))
  if not claimed then return nil, message end
  if claimed ~= bytes then
    return nil, ('the files of the volume claim %d bytes of these %d: it is damaged')
      :format(claimed, bytes)
  end
  return changed
end

-- ---- Saying so ----

local function say_what_stays(chosen, words, fs_type, report)
  for _, word in ipairs(words) do
    if not chosen.found[word] then
      report:note(("exclude: '%s' finds no file (%s)"):format(word, fs_type))
    end
  end
  for _, file in ipairs(chosen.kept) do
    report:note(('exclude: %s stays: %s'):format(file.path, file.why))
  end
  if chosen.kept_count > #chosen.kept then
    report:note(('exclude: and %d more'):format(chosen.kept_count - #chosen.kept))
  end
  if chosen.skipped > 0 then
    report:note(('exclude: %d files with %s stay: the list of what is left out has no more room')
      :format(chosen.skipped, size.human(chosen.skipped_bytes)))
  end
end

-- Nothing is left out, because.
local function refuse(whole, described, reason, report)
  report:warn('exclude: nothing is left out: ' .. reason)
  described.reason = reason
  return whole, described
end

-- The map with the rules applied, and what an image says of them.
local function with_rules(source, whole, fs_report, rules, report)
  local described = { words = exclude.words(rules), bytes = 0 }
  if not fs_report.used_only then
    return refuse(whole, described, fs_report.reason, report)
  end
  local plan = exclude.plan(rules, fs_report.type)
  local chosen, message = exclude.chosen(), nil
  if #plan.tests > 0 then chosen, message = look(source, plan, report) end
  if not chosen then return refuse(whole, described, message, report) end
  local files, bytes = chosen:select()
  if #files > 0 then
    local changed
    changed, message = apply(source, whole, fs_report.block_bytes, files, bytes, report)
    if not changed then return refuse(whole, described, message, report) end
    whole:close()
    whole, described.files, described.bytes = changed, files, bytes
  end
  say_what_stays(chosen, described.words, fs_report.type, report)
  return whole, described
end

-- The content rules: what the job says, or what the image to go on with was begun with.
local function rules_of(job, stored)
  if job.mode == 'all_blocks' and job.exclude then
    fail.raise('usage', 'exclude has no meaning when all blocks are taken')
  end
  if not stored then return job.exclude end
  local rules, reason = resume.rules(stored, job)
  if reason then fail.raise('refused', 'resume: %s', reason) end
  return rules
end

--- The map of a source, the file system's report, and when there are rules what became of them:
--- `words` (their names), `files` (left out; absent: none), `bytes`, `reason` (why none was).
---@param source img.Device
---@param job {mode: string, exclude: table?}
---@param report table
---@param stored table? settings of the image that is gone on with
---@return img.Map map, img.FsReport fs_report, table? described
function M.of(source, job, report, stored)
  local rules = rules_of(job, stored)
  if job.mode == 'all_blocks' then
    local fs_report = try(fs.probe(source))
    fs_report.used_only, fs_report.reason = false, 'asked for'
    return map.new(source:size(), true), fs_report
  end
  local whole, fs_report = try(fs.map(source, report.signals_before))
  if not rules then return whole, fs_report end
  local changed, described = with_rules(source, whole, fs_report, rules, report)
  return changed, fs_report, described
end

return M
