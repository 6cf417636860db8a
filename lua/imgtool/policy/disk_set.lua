--- What of a disk goes where in a set (docs/manifest.md): the image of the regions, the names of
--- the files, their UUIDs. Pure.
local map = require 'img.map'
local naming = require 'imgtool.policy.naming'

local M = {}

-- RAID metadata and the database of Windows' dynamic disks lie in the last MiB of a disk.
local TAIL_BYTES <const> = 1 << 20

M.REGIONS_FILE = 'disk' .. naming.SUFFIX

--- The file of a partition's image; index 0 is a whole disk without a table.
---@param index integer
---@return string
function M.partition_file(index)
  if index == 0 then return 'whole' .. naming.SUFFIX end
  return ('part-%d%s'):format(index, naming.SUFFIX)
end

--- Names for the images of volumes, each another one.
---@param identities img.Identity[]
---@return string[]
function M.volume_files(identities)
  local taken, out = {}, {}
  for i, identity in ipairs(identities) do
    local name, n = naming.of_source(identity), 1
    local file = name .. naming.SUFFIX
    while taken[file] do
      n = n + 1
      file = ('%s-%d%s'):format(name, n, naming.SUFFIX)
    end
    taken[file] = true
    out[i] = file
  end
  return out
end

--- The UUID of image `n` of a set (docs/manifest.md, UUIDs).
---@param uuid string of the set
---@param n integer from 1
---@return string
function M.image_uuid(uuid, n)
  local node = (tonumber(uuid:sub(-12), 16) + n) & 0xFFFFFFFFFFFF
  return ('%s%012x'):format(uuid:sub(1, -13), node)
end

-- Where the first partition begins. Without any, what lies behind the tables is unallocated.
local function first_start(found)
  local first = found.partitions[1]
  return first and first.start_bytes or found.first_usable_bytes or 0
end

--- The map of the image of the regions: data outside the partitions where a set keeps it, free
--- elsewhere; and how many bytes belong to no partition and are left out.
---@param found img.Table
---@param unallocated boolean keep all that lies outside the partitions
---@return img.Map map, integer left_out_bytes
function M.regions_map(found, unallocated)
  local size = found.size_bytes
  local m = map.new(size)
  m:set(0, size, unallocated and 'data' or 'free')
  m:set(0, math.min(size, first_start(found)), 'data')
  m:set(math.max(0, size - TAIL_BYTES), TAIL_BYTES, 'data')
  for _, region in ipairs(found.regions) do m:set(region.offset, region.length, 'data') end
  local partitions_bytes = 0
  for _, p in ipairs(found.partitions) do
    if not p.container then
      m:set(p.start_bytes, p.size_bytes, 'free')
      partitions_bytes = partitions_bytes + p.size_bytes
    end
  end
  return m, m:bytes('free') - partitions_bytes
end

-- Members of a partition that are its entry in the table.
local ENTRY = { 'index', 'type', 'guid', 'name', 'attributes', 'active', 'logical', 'container',
  'start_bytes', 'size_bytes' }

local function shown(value)
  return (value == nil or value == '') and 'none' or ("'%s'"):format(value)
end

--- Hold two lists of partitions against each other: img.Table's or a manifest's.
---@param before table[]
---@param now table[]
---@return boolean same, string? difference
function M.same_partitions(before, now)
  for i = 1, math.max(#before, #now) do
    local a, b = before[i], now[i]
    if not a then return false, ('partition %d is new'):format(b.index) end
    if not b then return false, ('partition %d is gone'):format(a.index) end
    for _, key in ipairs(ENTRY) do
      local x, y = a[key], b[key]
      if x ~= y and not (shown(x) == 'none' and shown(y) == 'none') then
        return false, ('the %s of partition %d is %s, and was %s'):format(key, a.index, shown(y),
          shown(x))
      end
    end
  end
  return true
end

--- The entry of the table that a manifest keeps of a partition.
---@param p img.Partition
---@return table
function M.entry(p)
  local out = {}
  for _, key in ipairs(ENTRY) do
    if p[key] ~= '' then out[key] = p[key] end
  end
  return out
end

--- What becomes of the directory of a set: 'create' in an empty or new one, 'resume', or 'replace'
--- what is there; nil, the reason and the code's word when nothing may be done (R8).
---@param facts {path: string, type: string, manifest: boolean, state: boolean}
---@param rules {resume: boolean, force: boolean}
---@return string? action, string? reason, string? word
function M.directory(facts, rules)
  if facts.type ~= 'none' and facts.type ~= 'directory' then
    return nil, ('%s is no directory'):format(facts.path), 'usage'
  end
  if rules.resume then
    if facts.manifest then
      return nil, ('%s holds a complete set: there is nothing to resume'):format(facts.path),
        'refused'
    end
    if facts.state then return 'resume' end
    return nil, ('%s holds no incomplete set: there is nothing to resume'):format(facts.path),
      'not_found'
  end
  if not facts.manifest and not facts.state then return 'create' end
  if rules.force then return 'replace' end
  if facts.manifest then
    return nil, ('%s holds a set (--force replaces it)'):format(facts.path), 'refused'
  end
  return nil, ('%s holds an incomplete set (--resume goes on with it, --force begins anew)')
    :format(facts.path), 'refused'
end

return M
