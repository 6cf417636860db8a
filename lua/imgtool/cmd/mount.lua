--- imgtool mount: an image as files of a directory.
local cli = require 'imgtool.util.cli'
local device = require 'img.device'
local disk = require 'img.disk'
local fail = require 'imgtool.util.fail'
local file_tree = require 'img.files'
local json = require 'imgtool.util.json'
local server = require 'img.server'
local serving = require 'imgtool.job.serving'
local sys = require 'img.sys'
local view = require 'imgtool.job.view'

local M = {
  name = 'mount',
  summary = 'Show an image as files: disk.img, partition-N.img, info.json; or the files in it',
}

M.args = view.arguments {
  { name = 'dir_operand', field_name = 'dir', operand = 'DIR', doc = 'Where: an empty directory.' },
  { name = 'dir', option = '--mount-point', argname = 'DIR', doc = 'The same as DIR.' },
  { name = 'files', flag = '--files',
    doc = 'Mount the files inside a volume (ext2, ext3, ext4, NTFS) instead.' },
  { name = 'allow_other', flag = '--allow-other',
    doc = 'Other users may look in too (as a user: when /etc/fuse.conf allows it).' },
  cli.json, cli.quiet, cli.log_file,
}

-- A file for each partition that a whole disk has; what holds others is none of them. A table that
-- cannot be read is no reason to keep the rest of the disk from who wants to rescue it.
local function partition_files(dev, files, report)
  local found, message = disk.read(dev)
  local listed = json.array {}
  if not found then
    report:warn(('no files of partitions: %s'):format(message))
    return listed, message
  end
  for _, part in ipairs(found.partitions) do
    if not part.container then
      local name = ('partition-%d.img'):format(part.index)
      files[#files + 1] = { name = name,
        device = fail.try(device.slice(dev, part.start_bytes, part.size_bytes)) }
      listed[#listed + 1] = { file = name, index = part.index, type = part.type,
        guid = part.guid, name = part.name, start_bytes = part.start_bytes,
        size_bytes = part.size_bytes }
    end
  end
  return listed
end

local function close_all(files)
  for _, file in ipairs(files) do file.device:close() end
end

-- The files, and the mount on them, which keeps what it needs of them.
local function start(values, dev, what, report)
  local files <close> = setmetatable({
    { name = 'disk.img', device = fail.try(device.slice(dev, 0, dev:size())) },
  }, { __close = close_all })
  local info = { what = what.what, source = what.base.path, offset = what.offset,
    bytes = what.bytes }
  info.partitions, info.partitions_error = partition_files(dev, files, report)
  files[#files + 1] = { name = 'info.json',
    device = fail.try(device.mem(json.encode(info) .. '\n')) }
  return fail.try(server.mount(values.dir, files, { allow_other = values.allow_other }))
end

-- A disk has no files, its partitions have; nil when it is none.
local function say_partitions(dev, what)
  local found = disk.read(dev)
  local listed = {}
  for _, part in ipairs(found and found.partitions or {}) do
    if not part.container then
      listed[#listed + 1] = ('%d %s'):format(part.index, part.name):match('^(.-)%s*$')
    end
  end
  if #listed == 0 then return nil end
  return ('%s is a disk: --files needs one of its partitions, by --partition: %s'):format(
    what.what, table.concat(listed, '; '))
end

-- The mount of the files inside, which keeps the tree.
local function start_files(values, dev, what, report)
  local tree <close>, message, code = file_tree.open(dev)
  if not tree then
    local hint = code == sys.codes.format and say_partitions(dev, what)
    if hint then fail.raise('usage', '%s', hint) end
    fail.throw(('%s: %s'):format(what.what, message), code)
  end
  local note = tree:info().note
  if note ~= '' then report:warn(('%s: %s'):format(what.what, note)) end
  return fail.try(server.mount_files(values.dir, tree, { allow_other = values.allow_other }))
end

function M.run(values, report)
  local starter = values.files and start_files or start
  return fail.catch(serving.run, values, report, function(dev, what)
    return starter(values, dev, what, report), values.dir
  end)
end

return M
