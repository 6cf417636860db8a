--- Sets as text for people: results, and the page of `info`. Pure.
local part_type = require 'imgtool.util.part_type'
local size = require 'imgtool.util.size'
local text = require 'imgtool.report.text'

local M = {}

local function cells(...)
  local out = {}
  for i = 1, select('#', ...) do out[i] = text.clean((select(i, ...)) or '') end
  return out
end

local function bad_of(image)
  local bytes = image.bad_range_bytes or 0
  return bytes > 0 and size.human(bytes) or ''
end

local function how(image)
  if image.kept then return 'kept' end
  if image.resumed_at and image.resumed_at > 0 then
    return 'resumed at ' .. size.human(image.resumed_at)
  end
  return ''
end

local function image_table(r)
  local rows = { { 'FILE', 'OF', 'SIZE', 'FS', 'MAP', 'DATA', 'BAD', 'IMAGE', '' } }
  for _, image in ipairs(r.images) do
    rows[#rows + 1] = cells(image.file, image.what, size.human(image.source_bytes), image.fs,
      image.map, size.human(image.data_bytes),
      bad_of(image),
      image.file_bytes and size.human(image.file_bytes) or '', how(image))
  end
  return text.table(rows, { [3] = true, [6] = true, [7] = true, [8] = true })
end

-- Both kinds of sets that are made.
local function made(r)
  if r.dry_run then
    local lines = { ('would make the set %s (%s to read):\n%s'):format(text.clean(r.set_dir),
      size.human(r.data_bytes), image_table(r)) }
    table.move(text.estimate(r, ''), 1, 1, #lines + 1, lines)
    return table.concat(lines, '\n')
  end
  local lines = { image_table(r) }
  if r.left_out_bytes and r.left_out_bytes > 0 then
    lines[#lines + 1] = ('%s outside the partitions were left out (--unallocated keeps them)')
      :format(size.human(r.left_out_bytes))
  end
  for _, failure in ipairs(r.failures) do
    lines[#lines + 1] = ('FAILED: %s: %s'):format(text.clean(failure.what),
      text.clean(failure.message))
  end
  lines[#lines + 1] = #r.failures > 0
    and ('%s: INCOMPLETE, no manifest was written (--resume goes on)'):format(
      text.clean(r.set_dir))
    or ('%s: %s in %d images, set %s'):format(text.clean(r.set_dir), size.human(r.file_bytes),
      #r.images, r.uuid)
  return table.concat(lines, '\n')
end

local function verified(r)
  if r.dry_run then
    return ('would verify %d %% of the set %s'):format(r.sample_percent, text.clean(r.set_dir))
  end
  local lines = {}
  for _, image in ipairs(r.images) do
    local state = not image.ok and 'DAMAGED: ' .. image.message
      or ('OK, %d of %d frames checked'):format(image.blocks_checked, image.blocks)
    lines[#lines + 1] = ('  %s (%s): %s'):format(text.clean(image.file), text.clean(image.what),
      text.clean(state))
  end
  for _, damage in ipairs(r.damaged) do
    if damage.what == 'the partition table' then
      lines[#lines + 1] = '  the partition table: ' .. text.clean(damage.why)
    end
  end
  table.insert(lines, 1, ('%s: %s%s'):format(text.clean(r.set_dir),
    r.code == 0 and 'OK' or 'DAMAGED', r.bad_range_bytes > 0
    and (', %s of the source were unreadable when it was imaged'):format(
      size.human(r.bad_range_bytes))
    or ''))
  return table.concat(lines, '\n')
end

local RESULT = { ['backup-disk'] = made, volumes = made, ['verify-set'] = verified }

--- The text of a result.
---@param r table
---@return string
function M.result(r)
  return RESULT[r.action](r)
end

-- ---- info ----

local function flags_of(p)
  return text.joined(p.active and 'active' or nil, p.logical and 'logical' or nil,
    p.container and 'extended' or nil, p.attributes)
end

local function partition_table(m)
  local rows = { { 'NO', 'START', 'SIZE', 'TYPE', 'NAME', 'FS', 'LABEL', 'MOUNTED', 'IMAGE', 'BAD',
    'FLAGS' } }
  for _, p in ipairs(m.partitions) do
    local fs, image = p.file_system or {}, p.image or {}
    rows[#rows + 1] = cells(p.index, p.start_bytes, size.human(p.size_bytes),
      part_type.name(p.type or ''), p.name, fs.type, fs.label, p.mount_point, image.file,
      bad_of(image), flags_of(p))
  end
  return text.table(rows, { true, true, true })
end

local function volume_table(m)
  local rows = { { 'NO', 'SOURCE', 'SIZE', 'FS', 'LABEL', 'MOUNTED', 'IMAGE', 'BAD' } }
  for _, v in ipairs(m.volumes) do
    local fs = v.file_system or {}
    rows[#rows + 1] = cells(v.index, v.source.path, size.human(v.source.size_bytes), fs.type,
      fs.label, v.mount_point, v.image.file,
      bad_of(v.image))
  end
  return text.table(rows, { true, false, true })
end

--- The page of a set.
---@param m table a manifest, with set_dir
---@return string
function M.info(m)
  local rows = { { 'set', m.set_dir }, { 'kind', m.kind }, { 'uuid', m.uuid },
    { 'made', text.joined(m.started, m.tool, m.host) }, { 'snapshot', m.snapshot } }
  local s, t = m.source, m.table
  if s then
    rows[#rows + 1] = { 'disk', text.joined(s.path, s.kind, s.model, s.serial, s.wwn) }
    rows[#rows + 1] = { 'size', ('%s (%d bytes), sectors %d/%d'):format(size.human(s.size_bytes),
      s.size_bytes, s.logical_bytes, s.physical_bytes) }
    rows[#rows + 1] = { 'table', text.joined(t.type, t.id, t.note) }
    rows[#rows + 1] = { 'unallocated', t.type ~= 'none' and (t.unallocated and 'kept'
      or 'left out') or nil }
    rows[#rows + 1] = { 'regions', m.regions and m.regions.file }
  end
  local lines = text.pairs(rows)
  lines[#lines + 1] = ''
  lines[#lines + 1] = m.partitions and partition_table(m) or volume_table(m)
  return table.concat(lines, '\n')
end

return M
