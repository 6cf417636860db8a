--- The members of results (docs/job-files.md) that are not known before a job has run: 0, '' and
--- empty, so that a script which prints a result gets through a dry run and `imgtool check`. Pure.
local json = require 'imgtool.util.json'
local naming = require 'imgtool.policy.naming'

local M = {}

local IMAGED = { 'data_bytes', 'zero_bytes', 'free_bytes', 'bad_bytes', 'source_bytes',
  'file_bytes', 'read_bytes', 'elapsed_ns', 'stored_bytes', 'chunks', 'resumed_at',
  'bad_range_bytes', 'bad_range_count', 'excluded_files', 'excluded_bytes' }
local WRITTEN = { 'data_bytes', 'zero_bytes', 'free_bytes', 'same_bytes', 'offset', 'length',
  'loss_count', 'loss_bytes', 'elapsed_ns' }
local DISK_WRITTEN = table.move({ 'partitions' }, 1, 1, #WRITTEN + 1,
  table.move(WRITTEN, 1, #WRITTEN, 1, {}))
local SET = { 'data_bytes', 'zero_bytes', 'free_bytes', 'bad_bytes', 'bad_range_bytes',
  'file_bytes', 'left_out_bytes', 'elapsed_ns' }

local MEMBERS = {
  image = { numbers = IMAGED, texts = { 'uuid', 'root', 'map' }, lists = {} },
  verify = { numbers = { 'blocks', 'blocks_checked', 'damaged_count', 'damaged_bytes',
    'bad_range_bytes', 'read_bytes', 'elapsed_ns' }, texts = { 'uuid', 'root' },
    lists = { 'damaged' } },
  restore = { numbers = WRITTEN, texts = { 'uuid' }, lists = { 'losses' } },
  export = { numbers = WRITTEN, texts = { 'uuid' }, lists = { 'losses' } },
  repair = { numbers = { 'data_bytes', 'zero_bytes', 'free_bytes', 'bad_bytes', 'lost_bytes',
    'lost_ranges', 'tables_lost', 'chunks_lost', 'bad_unknown', 'elapsed_ns' }, texts = {},
    lists = { 'losses' } },
  ['backup-disk'] = { numbers = SET, texts = { 'uuid', 'table' },
    lists = { 'images', 'failures' } },
  volumes = { numbers = SET, texts = { 'uuid' }, lists = { 'images', 'failures' } },
  ['verify-set'] = { numbers = { 'blocks', 'blocks_checked', 'bad_range_bytes', 'elapsed_ns' },
    texts = { 'uuid' }, lists = { 'images', 'damaged' } },
  ['restore-set'] = { numbers = DISK_WRITTEN, texts = { 'uuid', 'table' }, lists = { 'losses' } },
  ['restore-physical'] = { numbers = DISK_WRITTEN, texts = { 'uuid', 'table', 'undo_dir' },
    lists = { 'losses' } },
  clone = { numbers = DISK_WRITTEN, texts = { 'table', 'undo_dir' }, lists = { 'losses' } },
}

--- Give a result the members that it lacks.
---@param result table with its action
---@return table result
function M.fill(result)
  local members = MEMBERS[result.action]
  local function each(names, make)
    for _, name in ipairs(names) do
      if result[name] == nil then result[name] = make() end
    end
  end
  each(members.numbers, function() return 0 end)
  each(members.texts, function() return '' end)
  each(members.lists, function() return json.array {} end)
  return result
end

-- The path of an image: in a directory its name is the policy's, once the source is known.
local function image_path(job)
  if job.target:sub(-1) ~= '/' then return job.target end
  return job.target .. (job.name or 'NAME') .. naming.SUFFIX
end

--- The result of a job that was checked only.
---@param job table checked
---@return table result
function M.result(job)
  local result = { action = job.action, checked = true, source = job.source, target = job.target,
    set_dir = job.set_dir or job.out_dir, image = job.source, code = 0 }
  if job.action == 'image' then
    result.image = image_path(job)
  elseif job.action == 'repair' then
    result.image = job.target
  end
  return M.fill(result)
end

return M
