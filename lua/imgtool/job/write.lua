--- An image, or a range of it, onto a target that is open; and the same read back.
local fail = require 'imgtool.util.fail'
local json = require 'imgtool.util.json'
local pipeline = require 'img.pipeline'
local sys = require 'img.sys'
local verify = require 'imgtool.job.verify'
local wait = require 'imgtool.job.wait'

local M = {}

local try = fail.try

local SUMS = { 'data_bytes', 'zero_bytes', 'free_bytes', 'same_bytes', 'elapsed_ns', 'loss_bytes',
  'loss_count' }

-- R7: the end was reached, and for a whole image each kind has the bytes that the image says.
local function check_accounts(now, part)
  local known = part.known
  if now.position ~= part.offset + part.length then
    fail.raise('internal', 'the restore ended at %d, not at %d', now.position,
      part.offset + part.length)
  end
  if part.length ~= known.source_bytes then return end
  for _, kind in ipairs { 'data_bytes', 'zero_bytes', 'free_bytes' } do
    if now[kind] ~= known[kind] then
      fail.raise('internal', 'the restore accounts for %d bytes as %s, the image has %d', now[kind],
        kind, known[kind])
    end
  end
end

-- Whether a job that met damage went on to the end, as it was asked to.
local function went_through(job, part, now, code)
  if not now then return false end
  if job.on_read_error ~= 'zero' or now.position ~= part.offset + part.length then return false end
  return code == sys.codes.bad_sectors or code == sys.codes.damaged
end

-- What both kinds of job are told.
local function settings_of(c, part)
  local job = c.job
  local settings = verify.settings(job, part.known)
  return {
    image = part.image, target = part.target, offset = part.offset, length = part.length,
    target_offset = part.target_offset or 0, workers = settings.workers, depth = settings.depth,
    max_bytes_per_s = job.max_throughput, stall_s = job.stall_timeout,
  }, settings
end

-- What is told of a range without a byte, for which there is no job.
local function nothing()
  return { data_bytes = 0, zero_bytes = 0, free_bytes = 0, same_bytes = 0, elapsed_ns = 0,
    losses = json.array {}, loss_count = 0, loss_bytes = 0, code = 0 }
end

-- The length of each loss by its offset. Of very many a job keeps the first ones only.
local function lost_by(handle)
  local lost = {}
  for _, loss in ipairs(handle:losses()) do lost[loss.offset] = loss.length end
  return lost
end

--- Write a range of an image: what was done, whose code is 0 or says what was lost.
---
--- part: image, known (its facts), target, offset, length, target_offset (default 0), free,
--- is_zero (the target is new), what (for people), left (what is said of the target on failure).
--- `lost` is noted in it for M.compare.
---@param c {job: table, report: table}
---@param part table
---@return table done
function M.range(c, part)
  if part.length == 0 then return nothing() end
  local job = c.job
  local how, settings = settings_of(c, part)
  how.free, how.target_is_zero, how.on_read_error = part.free, part.is_zero, job.on_read_error
  how.only_changed = job.only_changed
  local handle <close> = try(pipeline.restore(how))
  local now, done, message, code, trace = wait.to_end(handle, part.what, c.report,
    wait.strategy(job, settings))
  if not done and not went_through(job, part, now, code) then
    fail.throw(('%s; %s'):format(message, part.left), code, trace)
  end
  check_accounts(now, part)
  part.lost = lost_by(handle)
  return {
    data_bytes = now.data_bytes, zero_bytes = now.zero_bytes, free_bytes = now.free_bytes,
    same_bytes = now.same_bytes, elapsed_ns = now.elapsed_ns, losses = verify.losses(handle),
    loss_count = now.bad_count, loss_bytes = now.bad_bytes, code = done and 0 or code,
  }
end

-- The verdict of a job that read a target back.
local function found_by(handle, c, piece, strategy)
  local now, done, message, code, trace = wait.to_end(handle, 'verify ' .. piece.what, c.report,
    strategy)
  if not done and not (now and code == sys.codes.target_io and now.bad_count > 0) then
    fail.throw(('reading %s back: %s'):format(piece.target:name(), message), code, trace)
  end
  return {
    same_bytes = now.same_bytes, elapsed_ns = now.elapsed_ns, losses = verify.losses(handle),
    loss_count = now.bad_count, loss_bytes = now.bad_bytes, code = done and 0 or code,
    message = not done and message or nil,
  }
end

-- Whether a difference is a block that was lost when it was written, and is the zeros that were
-- written for it.
local function is_known(part, difference)
  local at = difference.offset
  if not part.lost or part.lost[at] ~= difference.length then return false end
  local bytes = part.target:read((part.target_offset or 0) + at - part.offset, difference.length)
  return bytes ~= nil and not bytes:find('[^\0]')
end

-- Take what the write told of already out of what was found.
local function without_known(handle, part, found)
  local differences, new = handle:losses(), {}
  for _, difference in ipairs(differences) do
    if is_known(part, difference) then
      found.loss_count = found.loss_count - 1
      found.loss_bytes = found.loss_bytes - difference.length
    else
      new[#new + 1] = difference
    end
  end
  if #new == #differences then return found end
  found.losses = verify.listed(new)
  found.message = ('%s does not hold what was written: %d bytes in %d places differ from the image')
    :format(part.target:name(), found.loss_bytes, found.loss_count)
  if found.loss_count == 0 then found.code, found.message = 0, nil end
  return found
end

--- Read a range back and hold it against the image's hashes: what was found, whose code is 0 or
--- says that something differs. What M.range told of as lost is no difference.
---@param c {job: table, report: table}
---@param part table as above
---@return table found
function M.compare(c, part)
  if part.length == 0 then return nothing() end
  local how, settings = settings_of(c, part)
  how.free_is_zero = part.free == 'zero' and not part.is_zero
  local handle <close> = try(pipeline.compare(how))
  return without_known(handle, part, found_by(handle, c, part, wait.strategy(c.job, settings)))
end

--- The unit in which a copy is written and remembered as a hash.
M.CLONE_BLOCK = 1 << 20

--- Copy a range of a device: what was done, as M.range. The job stays open in the piece for
--- M.check_clone; whoever made the piece closes it (piece.handle).
---
--- piece: source and target (devices of one length), map, known (source_bytes, block_bytes), free,
--- is_zero, what, left; has_head: its beginning is written by another piece, later.
---@param c {job: table, report: table}
---@param piece table
---@return table done
function M.clone(c, piece)
  local job = c.job
  local settings = verify.settings(job, piece.known)
  piece.handle = try(pipeline.clone {
    source = piece.source, map = piece.map, target = piece.target, block_bytes = M.CLONE_BLOCK,
    free = piece.free, target_is_zero = piece.is_zero, on_read_error = job.on_read_error,
    read_retries = job.read_retries, workers = settings.workers, depth = settings.depth,
    max_bytes_per_s = job.max_throughput, stall_s = job.stall_timeout,
  })
  local now, done, message, code, trace = wait.to_end(piece.handle, piece.what, c.report,
    wait.strategy(job, settings))
  if not done and code ~= sys.codes.bad_sectors then
    fail.throw(('%s; %s'):format(message, piece.left), code, trace)
  end
  return {
    data_bytes = now.data_bytes, zero_bytes = now.zero_bytes, free_bytes = now.free_bytes,
    elapsed_ns = now.elapsed_ns, losses = verify.losses(piece.handle),
    loss_count = now.bad_count, loss_bytes = now.bad_bytes, code = done and 0 or code,
    message = not done and message or nil,
  }
end

--- Read a copied range back and hold it against what was written; as M.compare.
---@param c {job: table, report: table}
---@param piece table
---@return table found
function M.check_clone(c, piece)
  local settings = verify.settings(c.job, piece.known)
  local handle <close> = try(pipeline.clone_check {
    clone = piece.handle, target = piece.target,
    -- A piece whose beginning is another one has data where its map says free.
    free_is_zero = piece.free == 'zero' and not piece.is_zero and not piece.has_head,
    workers = settings.workers, depth = settings.depth, max_bytes_per_s = c.job.max_throughput,
    stall_s = c.job.stall_timeout,
  })
  return found_by(handle, c, piece, wait.strategy(c.job, settings))
end

--- Add what was done for one range to a sum, which begins as an empty table.
---@param sum table
---@param done table
---@return table sum
function M.add(sum, done)
  for _, name in ipairs(SUMS) do sum[name] = (sum[name] or 0) + (done[name] or 0) end
  sum.losses = sum.losses or json.array {}
  table.move(done.losses, 1, #done.losses, #sum.losses + 1, sum.losses)
  if (sum.code or 0) == 0 then sum.code, sum.message = done.code, done.message end
  return sum
end

return M
