--- Give an image back: to a block device, a file, or (export) a pipe. Plan, check everything, then
--- write (docs/SAFETY.md, R4).
local device = require 'img.device'
local facts = require 'imgtool.job.facts'
local fail = require 'imgtool.util.fail'
local image = require 'img.image'
local json = require 'imgtool.util.json'
local output = require 'imgtool.job.output'
local pipeline = require 'img.pipeline'
local safety = require 'imgtool.policy.safety'
local sys = require 'img.sys'
local verify = require 'imgtool.job.verify'
local wait = require 'imgtool.job.wait'

local M = {}

local try = fail.try

-- What policy/safety.lua asks about an image.
local function image_facts(job, known)
  local stored = json.decode(known.text)
  local source = type(stored) == 'table' and stored.source
  if type(source) ~= 'table' then source = {} end
  local partition = type(source.partition) == 'table' and source.partition or {}
  return {
    path = job.source, source_bytes = known.source_bytes, logical_bytes = known.logical_bytes,
    serial = source.serial, wwn = source.wwn, part_guid = partition.guid,
  }
end

-- Which part of the source: all of it, but for an export.
local function range_of(job, known)
  local offset = job.offset or 0
  if offset > known.source_bytes then
    fail.raise('usage', 'offset %d is past the end, the source has %d bytes', offset,
      known.source_bytes)
  end
  local length = job.length or known.source_bytes - offset
  if length > known.source_bytes - offset then
    fail.raise('usage', '%d bytes at %d go past the end, the source has %d bytes', length, offset,
      known.source_bytes)
  end
  return offset, length
end

-- R7: every byte of the range was written, left or recorded as lost.
local function check_accounts(now, length)
  local sum = now.data_bytes + now.zero_bytes + now.free_bytes + now.kind_bad_bytes
  if sum ~= length then
    fail.raise('internal', '%d bytes were restored, the image has %d', sum, length)
  end
end

return M
