--- Check a set: its manifest, its files and root hashes, then the blocks of each image.
local fail = require 'imgtool.util.fail'
local json = require 'imgtool.util.json'
local lfs = require 'lfs'
local naming = require 'imgtool.policy.naming'
local open_set = require 'imgtool.job.set'
local sys = require 'img.sys'
local verify = require 'imgtool.job.verify'

local M = {}

local try = fail.try

-- Only what is wrong with the set is its verdict; a signal or a mistake ends the run.
local VERDICTS = { [sys.codes.damaged] = true, [sys.codes.not_found] = true,
  [sys.codes.format] = true, [sys.codes.source_io] = true }

local function note_failure(result, what, message, code)
  if not VERDICTS[code] then fail.throw(message, code) end
  result.damaged[#result.damaged + 1] = { what = what, why = message }
  if result.code == 0 then result.code, result.message = sys.codes.damaged, message end
end

-- The manifest's word against the file: there, as long as it was, and the image that it names.
local function check_file(set, found)
  local opened <close> = try(set:open_image(found.image))
  try(opened:check_root())
  return true
end

local function check_blocks(set, found, how)
  how.report:note(('%s: %s'):format(found.what, found.image.file))
  local checked = verify.image(set:path(found.image.file), how)
  if checked.code ~= 0 then fail.throw(checked.message, checked.code) end
  return checked
end

local function check_image(set, found, how, result)
  local ok, message, code = fail.catch(check_file, set, found)
  local checked
  if ok then checked, message, code = fail.catch(check_blocks, set, found, how) end
  local one = { what = found.what, file = found.image.file, ok = message == nil }
  if message then
    one.message = message
    note_failure(result, found.image.file, message, code)
  end
  if checked then
    one.blocks, one.blocks_checked = checked.blocks, checked.blocks_checked
    result.blocks = result.blocks + checked.blocks
    result.blocks_checked = result.blocks_checked + checked.blocks_checked
    result.read_bytes = result.read_bytes + checked.read_bytes
    result.elapsed_ns = result.elapsed_ns + checked.elapsed_ns
  end
  result.images[#result.images + 1] = one
end

-- Images in the directory that the manifest does not know: of an older set, or put there by hand.
local function note_strays(set, report)
  local known = {}
  for _, found in ipairs(set:images()) do known[found.image.file] = true end
  local strays = {}
  for name in lfs.dir(set.dir) do
    if name:sub(-#naming.SUFFIX) == naming.SUFFIX and not known[name] then
      strays[#strays + 1] = name
    end
  end
  table.sort(strays)
  for _, name in ipairs(strays) do
    report:note(('%s is no part of the set'):format(set:path(name)))
  end
end

--- Run a checked job.
---@param job table
---@param report table
---@return table result
function M.run(job, report)
  verify.check_sample(job)
  local how = { sample_percent = job.quick and job.sample or 100,
    seed = job.seed or sys.clock_ns() & 0x7fffffff, job = job, report = report }
  local result = {
    action = 'verify-set', set_dir = job.set_dir, uuid = '', dry_run = job.dry_run,
    sample_percent = how.sample_percent, seed = how.seed, images = json.array {},
    damaged = json.array {}, blocks = 0, blocks_checked = 0, read_bytes = 0, elapsed_ns = 0,
    bad_range_bytes = 0, code = 0,
  }
  if job.dry_run then return result end
  local set = try(open_set.open(job.set_dir))
  result.uuid = set.manifest.uuid
  for _, found in ipairs(set:images()) do
    check_image(set, found, how, result)
    result.bad_range_bytes = result.bad_range_bytes + found.image.bad_range_bytes
  end
  note_strays(set, report)
  local regions = result.images[1]
  if set.manifest.regions and regions.ok then
    local found, message, code = set:check_table()
    if found == nil then note_failure(result, 'the partition table', message, code) end
  end
  return result
end

return M
