--- imgtool dump-pt: the partition table of a disk or a set as text.
local check = require 'imgtool.job.check'
local cli = require 'imgtool.util.cli'
local device = require 'img.device'
local disk = require 'img.disk'
local facts = require 'imgtool.job.facts'
local fail = require 'imgtool.util.fail'
local open_set = require 'imgtool.job.set'
local schema = require 'imgtool.job.schema'
local sfdisk = require 'imgtool.util.sfdisk'

local M = {
  name = 'dump-pt',
  summary = 'Print the partition table of a disk or a set, as sfdisk takes it',
  args = {
    { name = 'source_operand', field_name = 'source', operand = 'DISK',
      doc = 'The disk, a block device or a file, or the directory of a set.' },
    { name = 'source', option = '--device', argname = 'DISK', doc = 'The same as DISK.' },
    { name = 'sector_size', option = '--sector-size', argname = 'SIZE',
      default_text = 'what the device says; of a file 512',
      doc = 'How long the sectors are of a disk that is in a file.',
      convert = function(text)
        for _, field in ipairs(schema.fields) do
          if field.name == 'sector_size' then return check.value(field, text) end
        end
      end },
    cli.json,
  },
}

local try = fail.try

-- The table of a set is that in its image of the regions, if the manifest agrees.
local function of_set(dir)
  local set = try(open_set.open(dir))
  if set.manifest.kind ~= 'disk' then fail.raise('usage', '%s is no set of a disk', dir) end
  return try(set:check_table()), set.manifest.source.path
end

local function of_disk(values)
  local source <close> = try(device.open(values.source))
  if values.sector_size then try(source:set_sector_bytes(values.sector_size)) end
  return try(disk.read(source)), values.source
end

local function show(values, report)
  local found, path
  if facts.type_of(values.source) == 'directory' then
    if values.sector_size then
      fail.raise('usage', '--sector-size has no meaning for a set, which knows it')
    end
    found, path = of_set(values.source)
  else
    found, path = of_disk(values)
  end
  if not found or found.table == 'none' then
    fail.raise('not_found', '%s has no partition table', values.source)
  end
  found.device = path
  report:answer('partition_table', found, sfdisk.dump(found, path))
  return true
end

function M.run(values, report)
  return fail.catch(show, values, report)
end

return M
