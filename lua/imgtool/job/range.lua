--- A range of an image's content to stdout. A pipe takes bytes in order only, so it is read through
--- the image as a device; each block is verified on the way (R6).
local check = require 'imgtool.job.check'
local device = require 'img.device'
local fail = require 'imgtool.util.fail'
local image = require 'img.image'
local json = require 'imgtool.util.json'
local sys = require 'img.sys'

local M = {}

local try = fail.try

local PIECE <const> = 1 << 20

-- Bad ranges of the image that touch [offset, offset + length): they were lost when it was made.
local function bad_ranges(c, offset, length)
  local chunk = c.image:chunk(offset // c.known.chunk_bytes)
  local out = {}
  for _, range in ipairs(chunk and chunk.bad or {}) do
    local from = math.max(range.offset, offset)
    local to = math.min(range.offset + range.length, offset + length)
    if from < to then out[#out + 1] = { from, to } end
  end
  return out
end

-- Without `why` it was lost when the image was made; else the image is damaged.
local function put_zeros(c, offset, length, why)
  c.damaged = c.damaged or why ~= nil
  why = why or 'unreadable when it was imaged'
  c.losses[#c.losses + 1] = { offset = offset, length = length, why = why }
  c.loss_bytes = c.loss_bytes + length
  c.put(('\0'):rep(length))
end

-- A block or a part of one that can't be read as a whole: what is good of it, and zeros.
local function salvage(c, offset, length)
  local at, stop = offset, offset + length
  local function put_up_to(to)
    if to <= at then return end
    local bytes, why = c.source:read(at, to - at)
    if bytes then c.put(bytes) else put_zeros(c, at, to - at, why) end
  end
  for _, range in ipairs(bad_ranges(c, offset, length)) do
    put_up_to(range[1])
    put_zeros(c, range[1], range[2] - range[1])
    at = range[2]
  end
  put_up_to(stop)
end

-- Parts of a piece at block borders, which are what can be damaged.
local function by_block(c, offset, length)
  local stop = offset + length
  while offset < stop do
    local block = c.known.block_bytes
    local n = math.min(stop, (offset // block + 1) * block) - offset
    local bytes = c.source:read(offset, n)
    if bytes then
      c.put(bytes)
    else
      salvage(c, offset, n)
    end
    offset = offset + n
  end
end

local function copy(c, offset, length)
  local stop = offset + length
  while offset < stop do
    if sys.signals() > c.report.signals_before then
      fail.raise('cancelled', 'cancelled at source offset %d', offset)
    end
    local n = math.min(PIECE, stop - offset)
    local bytes, message, code = c.source:read(offset, n)
    if bytes then
      c.put(bytes)
    elseif c.job.on_read_error == 'zero' then
      by_block(c, offset, n)
    else
      fail.throw(message, code)
    end
    offset = offset + n
  end
end

-- The range that is meant, inside the source.
local function check_range(job, size)
  local offset = job.offset
  local length = job.length or math.max(0, size - offset)
  if offset > size or length > size - offset then
    fail.raise('usage', 'the range at %d, %d bytes, goes past the end: the source has %d', offset,
      length, size)
  end
  return offset, length
end

local function run(job, report)
  local checked, message = check.job(job)
  if not checked then fail.raise('usage', '%s', message) end
  if sys.isatty(1) then fail.raise('usage', 'stdout is a terminal: redirect the data') end
  local file <close> = try(device.open(checked.source))
  local opened <close> = try(image.open(file))
  local source <close> = try(opened:device())
  local target <close> = try(device.pipe(1, true))
  local c = { job = checked, report = report, image = opened, known = opened:facts(),
    source = source, losses = json.array {}, loss_bytes = 0 }
  local position = 0
  function c.put(bytes)
    try(target:write(position, bytes))
    position = position + #bytes
  end
  local offset, length = check_range(checked, source:size())
  copy(c, offset, length)
  if position ~= length then
    fail.raise('internal', '%d bytes were written, not %d', position, length)
  end
  try(target:flush())
  return c
end

--- Run an export job to stdout: true, or nil, message, code.
---@param job table fields of an export job
---@param report table
function M.run(job, report)
  sys.catch_signals()
  local c, message, code, trace = fail.catch(run, job, report)
  if not c then return nil, message, code, trace end
  if #c.losses == 0 then return true end
  for _, loss in ipairs(c.losses) do
    report:warn(('zeros at %d, %d bytes: %s'):format(loss.offset, loss.length, loss.why))
  end
  return nil, ('%s: %d bytes in %d places are damaged or bad in the image, and zeros in the output')
    :format(job.source, c.loss_bytes, #c.losses),
    c.damaged and sys.codes.damaged or sys.codes.bad_sectors
end

return M
