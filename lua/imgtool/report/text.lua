--- Results as text for people. Pure.
local size = require 'imgtool.util.size'
local time = require 'imgtool.util.time'
local progress = require 'imgtool.report.progress'

local M = {}

--- A text from a disk or an image, fit for a terminal: no control characters.
---@param value any
---@return string
function M.clean(value)
  return (tostring(value):gsub('[\0-\31\127]', '?'):gsub('\xC2[\x80-\x9F]', '?'))
end

local function count(n, one)
  return ('%d %s%s'):format(n, one, n == 1 and '' or 's')
end

local function speed(bytes, ns)
  if ns <= 0 then return '' end
  return (' (%s/s)'):format(size.human(bytes * 1e9 / ns))
end

local function seconds(ns) return size.duration(ns / 1e9) end

local function kinds(r)
  return ('data %s, zero %s, free %s, bad %s'):format(size.human(r.data_bytes),
    size.human(r.zero_bytes), size.human(r.free_bytes), size.human(r.bad_bytes or 0))
end

--- Lines about what was lost, the first of them only.
---@param losses table[]
---@param all integer
---@return string[]
function M.losses(losses, all)
  local lines = {}
  for _, loss in ipairs(losses) do
    lines[#lines + 1] = ('  at %d, %d bytes: %s'):format(loss.offset, loss.length,
      M.clean(loss.why))
  end
  if all > #losses then lines[#lines + 1] = ('  and %d more'):format(all - #losses) end
  return lines
end

local function append(lines, more)
  for _, line in ipairs(more) do lines[#lines + 1] = line end
end

-- A line about what content rules left out, or nothing.
local function excluded(r)
  if r.excluded_files == 0 then return '' end
  return ('\n  left out %s that %s contained'):format(size.human(r.excluded_bytes),
    count(r.excluded_files, 'file'))
end

--- Lines about a target that was read back; none when it was not.
---@param v table?
---@return string[]
function M.verified(v)
  if not v then return {} end
  local lines = { ('  read back: %s, %s in %s'):format(v.code == 0 and 'OK' or 'DIFFERS',
    size.human(v.same_bytes), seconds(v.elapsed_ns)) }
  append(lines, M.losses(v.losses, v.loss_count))
  return lines
end

-- A length of time that is no better than an estimate.
local function about_time(s)
  if s < 90 then return ('%d s'):format(math.ceil(math.max(1, s))) end
  if s < 90 * 60 then return ('%d min'):format((s + 30) // 60) end
  return ('%.1f h'):format(s / 3600)
end

--- What a dry run expects, as a line; none when it was not asked.
---@param r table
---@param what string what has so many bytes
---@return string[]
function M.estimate(r, what)
  if not r.sampled_bytes then return {} end
  if not r.estimated_bytes or not r.estimated_seconds then
    return { '  no estimate: nothing of it could be read' }
  end
  return { ('  %sabout %s in about %s, by a sample of %s'):format(what,
    size.human(r.estimated_bytes), about_time(r.estimated_seconds), size.human(r.sampled_bytes)) }
end

local RESULT = {}

function RESULT.image(r)
  local name, source = r.image == '-' and 'stdout' or M.clean(r.image), M.clean(r.source)
  if r.dry_run then
    local lines = { ('would image %s (%s, %s to read) to %s\n  %s blocks, chunks of %s, blocks of'
      .. ' %s, level %d, %s, %s, depth %d%s'):format(source, size.human(r.source_bytes),
      size.human(r.read_bytes), name, r.map, size.exact(r.chunk_bytes), size.exact(r.block_bytes),
      r.level, r.hash, count(r.workers, 'worker'), r.depth, excluded(r)) }
    append(lines, M.estimate(r, ''))
    return table.concat(lines, '\n')
  end
  local ratio = progress.ratio(r.source_bytes, r.file_bytes)
  local lines = {
    ('%s: %s of %s in %s%s'):format(name, size.human(r.source_bytes), source,
      seconds(r.elapsed_ns), speed(r.read_bytes, r.elapsed_ns)),
    '  ' .. kinds(r),
    ('  image of %s%s, root hash %s%s'):format(size.human(r.file_bytes),
      ratio == '' and '' or ', ' .. ratio, r.root, excluded(r)),
  }
  if r.resumed_at > 0 then
    lines[#lines + 1] = ('  resumed at %s'):format(size.human(r.resumed_at))
  end
  if r.verified then lines[#lines + 1] = '  ' .. RESULT.verify(r.verified) end
  return table.concat(lines, '\n')
end

function RESULT.verify(r)
  local name = M.clean(r.image)
  if r.dry_run then return ('would verify %d %% of %s'):format(r.sample_percent, name) end
  local what = r.sample_percent >= 100 and count(r.blocks, 'frame')
    or ('%d of %s (%.1f %%, seed %d)'):format(r.blocks_checked, count(r.blocks, 'frame'),
      100 * r.blocks_checked / math.max(1, r.blocks), r.seed)
  local lines = { ('%s: %s: %s checked in %s%s'):format(name, r.code == 0 and 'OK' or 'DAMAGED',
    what, seconds(r.elapsed_ns), speed(r.read_bytes, r.elapsed_ns)) }
  if r.bad_range_bytes > 0 then
    lines[1] = lines[1] .. (', %s of the source were unreadable when it was imaged'):format(
      size.human(r.bad_range_bytes))
  end
  append(lines, M.losses(r.damaged, r.damaged_count))
  return table.concat(lines, '\n')
end

function RESULT.restore(r)
  if r.dry_run then
    local lines = {}
    for _, step in ipairs(r.plan) do lines[#lines + 1] = 'would ' .. M.clean(step) end
    for _, refusal in ipairs(r.refusals) do
      lines[#lines + 1] = ('refused (%s): %s%s'):format(refusal.rule, M.clean(refusal.reason),
        refusal.override and (' (--%s allows it)'):format(refusal.override) or '')
    end
    append(lines, M.estimate(r, 'to write '))
    return table.concat(lines, '\n')
  end
  local lines = {
    ('%s: %s of %s in %s%s'):format(M.clean(r.target), size.human(r.length), M.clean(r.image),
      seconds(r.elapsed_ns), speed(r.data_bytes, r.elapsed_ns)),
    ('  data %s, zero %s, free %s'):format(size.human(r.data_bytes), size.human(r.zero_bytes),
      size.human(r.free_bytes)),
  }
  if r.only_changed then
    lines[#lines + 1] = ('  %s were there already, and were not written'):format(
      size.human(r.same_bytes))
  end
  append(lines, M.losses(r.losses, r.loss_count))
  append(lines, M.verified(r.verified))
  return table.concat(lines, '\n')
end
RESULT.export = RESULT.restore

local function grown_line(g)
  if g.new_bytes == g.old_bytes then return '  there is no room to grow the last partition' end
  return ('  the last partition has %s now, it had %s%s'):format(size.human(g.new_bytes),
    size.human(g.old_bytes), g.file_system and '; ' .. M.clean(g.file_system) or '')
end

local function ids_lines(ids)
  local lines = { ('  new disk ID %s, it was %s'):format(ids.new, ids.old) }
  for _, part in ipairs(ids.partitions) do
    lines[#lines + 1] = ('  new GUID of partition %d: %s, it was %s'):format(part.index, part.new,
      part.old)
  end
  lines[#lines + 1] = '  what names the old ones has to be changed: boot loaders, firmware boot'
    .. ' entries, PARTUUID in fstab'
  return lines
end

RESULT['restore-physical'] = function(r)
  local text = RESULT.restore(r)
  if r.dry_run then return text end
  local lines = { text }
  if r.grown then lines[#lines + 1] = grown_line(r.grown) end
  if r.ids then append(lines, ids_lines(r.ids)) end
  if r.undo_dir then lines[#lines + 1] = '  undo copies are in ' .. M.clean(r.undo_dir) end
  return table.concat(lines, '\n')
end
RESULT['restore-set'] = RESULT['restore-physical']
RESULT.clone = RESULT['restore-physical']

-- What sets say is a file of its own.
for _, action in ipairs { 'backup-disk', 'volumes', 'verify-set' } do
  RESULT[action] = function(r) return require('imgtool.report.set').result(r) end
end

function RESULT.repair(r)
  local what = {}
  if r.head_copied then what[#what + 1] = 'its head was lost, the copy was used' end
  if r.index_lost then what[#what + 1] = 'its index was lost' end
  if r.tables_lost > 0 then what[#what + 1] = count(r.tables_lost, 'table') .. ' lost' end
  if r.chunks_lost > 0 then what[#what + 1] = count(r.chunks_lost, 'chunk') .. ' not found' end
  local lines = {
    (r.dry_run and 'would make %s of %s; read in %s%s' or '%s: made of %s in %s%s'):format(
      M.clean(r.image), M.clean(r.source), seconds(r.elapsed_ns),
      #what > 0 and ': ' .. table.concat(what, ', ') or ''),
    '  ' .. kinds(r),
  }
  if r.lost_bytes > 0 then
    lines[#lines + 1] = ('  lost: %s in %s'):format(size.human(r.lost_bytes),
      count(r.lost_ranges, 'range'))
  elseif r.bad_unknown == 0 then
    lines[#lines + 1] = '  nothing is lost'
  end
  if r.bad_unknown > 0 then
    lines[#lines + 1] = ('  in %s it is not known what could not be read when it was imaged')
      :format(count(r.bad_unknown, 'chunk'))
  end
  append(lines, M.losses(r.losses, r.lost_ranges))
  return table.concat(lines, '\n')
end

--- The text of a job's result.
---@param result table
---@return string
function M.result(result)
  return RESULT[result.action](result)
end

local function utf8_length(s) return utf8.len(s) or #s end

--- Columns, the first line being the head; a column of `right` is aligned to the right.
---@param rows string[][]
---@param right table<integer, boolean>
---@return string
function M.table(rows, right)
  local widths, lines = {}, {}
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do widths[i] = math.max(widths[i] or 0, utf8_length(cell)) end
  end
  for _, row in ipairs(rows) do
    local cells = {}
    for i, cell in ipairs(row) do
      local gap = (' '):rep(widths[i] - utf8_length(cell))
      cells[i] = right[i] and gap .. cell or cell .. gap
    end
    lines[#lines + 1] = (table.concat(cells, '  '):gsub('%s+$', ''))
  end
  return table.concat(lines, '\n')
end

--- Lines of an information page; nil and '' are left out.
---@param rows any[][] a word and a value each
---@return string[]
function M.pairs(rows)
  local lines = {}
  for _, row in ipairs(rows) do
    if row[2] ~= nil and row[2] ~= '' then
      lines[#lines + 1] = ('%-15s %s'):format(row[1], M.clean(row[2]))
    end
  end
  return lines
end

--- What is known of some values, with commas.
function M.joined(...)
  local parts = {}
  for i = 1, select('#', ...) do
    local value = select(i, ...)
    if value ~= nil and value ~= '' then parts[#parts + 1] = tostring(value) end
  end
  return table.concat(parts, ', ')
end

local function object(value) return type(value) == 'table' and value or {} end

-- What content rules were asked for, and what became of them.
local function left_out(rules, exclude)
  if type(rules) ~= 'table' then return nil end
  local names = {}
  for i, rule in ipairs(rules) do names[i] = tostring(rule) end
  local bytes = math.type(exclude.bytes) == 'integer' and exclude.bytes or 0
  return M.joined(('%s of %s'):format(size.human(bytes), count(#object(exclude.files), 'file')),
    'rules: ' .. table.concat(names, ' '), exclude.reason)
end

--- The page of `info`. `head` is the decoded text of HEAD.
---@param i table what cmd/info.lua gathered
---@return string
function M.info(i)
  local head = object(i.head)
  local source, map = object(head.source), object(head.map)
  local part, fs, disk = object(source.partition), object(source.file_system), object(source.disk)
  local settings = object(head.settings)
  local lines = M.pairs {
    { 'image', i.image }, { 'format', i.version }, { 'uuid', i.uuid },
    { 'created', M.joined(time.iso(i.created_s), head.tool) }, { 'host', head.host },
    { 'source', M.joined(source.path, source.kind, source.model, source.serial, source.wwn) },
    { 'size', ('%s (%d bytes), sectors %d/%d'):format(size.human(i.source_bytes), i.source_bytes,
      i.logical_bytes, i.physical_bytes) },
    { 'disk', M.joined(disk.table, disk.id) },
    { 'partition', M.joined(part.number, part.name, part.guid, part.type) },
    { 'file system', M.joined(fs.type, fs.label, fs.uuid) },
    { 'map', M.joined(map.kind, map.reason, map.note) },
    { 'settings', ('level %s, %s, blocks of %s, chunks of %s'):format(settings.level or '?', i.hash,
      size.exact(i.block_bytes), size.exact(i.chunk_bytes)) },
    { 'left out', left_out(settings.exclude, object(head.exclude)) },
    { 'kinds', kinds(i) },
    { 'image file', ('%s, ratio %s of the source, %s of the data'):format(size.human(i.file_bytes),
      progress.ratio(i.source_bytes, i.file_bytes), progress.ratio(i.data_bytes, i.file_bytes)) },
    { 'chunks', i.chunks }, { 'root hash', i.root },
  }
  if i.bad_range_count > 0 then
    lines[#lines + 1] = ('%-15s %s, %s'):format('bad ranges', count(i.bad_range_count, 'range'),
      size.human(i.bad_range_bytes))
    for _, range in ipairs(i.bad_ranges) do
      lines[#lines + 1] = ('  at %d, %d bytes'):format(range[1], range[2])
    end
  end
  return table.concat(lines, '\n')
end

local function by_reason(t)
  return ('data %s, free %s, zero %s, rule %s, bad %s, in %s'):format(size.human(t.data_bytes),
    size.human(t.free_bytes), size.human(t.zero_bytes), size.human(t.rule_bytes),
    size.human(t.bad_bytes), count(t.ranges, 'range'))
end

--- The totals of `explain`.
---@param t table of job/explain.lua, with image, offset and length
---@return string
function M.totals(t)
  return ('%s, %d bytes at %d: %s'):format(M.clean(t.image), t.length, t.offset, by_reason(t))
end

--- The page of `map`.
---@param t table what cmd/map.lua gathered
---@return string
function M.map(t)
  local fs = t.file_system
  return table.concat(M.pairs {
    { 'source', t.source },
    { 'file system', M.joined(fs.type, fs.label, fs.uuid) },
    { 'allocation unit', fs.block_bytes > 0 and size.exact(fs.block_bytes) or nil },
    { 'map', M.joined(t.map, t.reason) }, { 'note', t.note },
    { 'no rule applied', t.exclude_reason },
    { 'totals', ('%d bytes at %d: %s'):format(t.length, t.offset, by_reason(t)) },
  }, '\n')
end

return M
