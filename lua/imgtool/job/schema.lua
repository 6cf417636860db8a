--- The one place of a job's fields: type, unit, default, limits, documentation. Command-line
--- options,
--- --help, the manual page, docs/job-files.md and the shell completion are made from it, and
--- job/check.lua holds jobs against it.
---
--- A field: name; type (see job/check.lua); actions (which jobs have it); doc; and, where they
--- apply, operand (it may stand on the command line without an option), default, default_text
--- (when the default depends on facts), min, max, choices, power_of_two, words (of which several
--- may be said), required; option (its name on the command line; none: job files only), argname,
--- unless (another field that stands in for this operand), flags (one option for each choice). What
--- differs by action is a table.
local exclude = require 'imgtool.policy.exclude'

local M = {}

local KiB <const>, MiB <const>, GiB <const>, TiB <const> = 1 << 10, 1 << 20, 1 << 30, 1 << 40

--- The actions of a job, in order, and what they do.
M.actions = {
  { name = 'image', doc = 'image a device or file' },
  { name = 'verify', doc = 'check an image' },
  { name = 'restore', doc = 'write an image back to a device or file' },
  { name = 'export', doc = 'write an image\'s content, or a part of it, to a raw file' },
  { name = 'repair', doc = 'make a complete image of one that is damaged or incomplete' },
  { name = 'backup-disk', doc = 'image all of a disk into a set' },
  { name = 'volumes', doc = 'image several volumes into one directory' },
  { name = 'verify-set', doc = 'check all images of a set' },
  { name = 'restore-set', doc = 'write the disk of a set to a raw file' },
  { name = 'restore-physical', doc = 'write the disk of a set to a disk' },
  { name = 'clone', doc = 'copy a disk to another one' },
}

local function actions(...)
  local set = {}
  for _, name in ipairs { ... } do set[name] = true end
  return set
end

local ALL = actions('image', 'verify', 'restore', 'export', 'backup-disk', 'volumes', 'verify-set',
  'restore-set', 'restore-physical', 'clone')
local EVERY = actions('image', 'verify', 'restore', 'export', 'repair', 'backup-disk', 'volumes',
  'verify-set', 'restore-set', 'restore-physical', 'clone')
local IMAGE = actions('image', 'backup-disk', 'volumes')
local READS = actions('image', 'backup-disk', 'volumes', 'clone')
local VERIFY = actions('verify', 'verify-set')
local WRITES = actions('image', 'restore', 'export', 'backup-disk', 'volumes', 'restore-set',
  'restore-physical', 'clone')
local MAKES = actions('image', 'restore', 'export', 'repair', 'backup-disk', 'volumes',
  'restore-set', 'restore-physical', 'clone')
local RESTORE = actions('restore', 'restore-physical', 'clone')
local READ_BACK = actions('restore', 'restore-set', 'restore-physical', 'clone')
local TO_DISK = actions('restore-set', 'restore-physical', 'clone')
local DISK = actions('backup-disk')

local PLAN <const> = 'Check everything, print the plan and an estimate of size and time, and write'
  .. ' nothing.'

M.fields = {
  { name = 'action', type = 'choice', actions = EVERY, default = 'image',
    choices = { 'image', 'verify', 'restore', 'export', 'repair', 'backup-disk', 'volumes',
      'verify-set', 'restore-set', 'restore-physical', 'clone' }, doc = 'What to do.' },
  { name = 'source', type = 'path', operand = true, unless = { restore = 'set_dir' },
    actions = actions('image', 'verify', 'restore', 'export', 'repair', 'clone'),
    required = actions('image', 'verify', 'export', 'repair', 'clone'),
    option = { image = '--device', verify = '--in', restore = '--in', export = '--in',
      repair = '--in', clone = '--from' },
    argname = { image = 'SRC', verify = 'IMG', restore = 'IMG', export = 'IMG', repair = 'IMG',
      clone = 'DISK' },
    doc = {
      image = 'The block device or file to image. It is opened read-only.',
      verify = 'The image.', restore = 'The image.', export = 'The image.',
      repair = 'The image that is damaged or incomplete. It is opened read-only.',
      clone = 'The disk to copy, a block device or a file. It is opened read-only.',
    } },
  { name = 'device', type = 'path', actions = DISK, operand = true, required = true,
    option = '--device', argname = 'DISK',
    doc = 'The disk, a block device or a file of a disk. It is opened read-only.' },
  { name = 'volumes', type = 'paths', actions = actions('volumes'), required = true,
    option = '--volumes', argname = 'A,B,...',
    doc = 'The volumes, block devices or files. They are opened read-only.' },
  { name = 'set_dir', type = 'path', option = '--set-dir', argname = 'DIR',
    actions = actions('backup-disk', 'verify-set', 'restore', 'restore-set', 'restore-physical'),
    operand = actions('backup-disk', 'verify-set', 'restore-set', 'restore-physical'),
    required = actions('backup-disk', 'verify-set', 'restore-set', 'restore-physical'),
    doc = {
      restore = 'The directory of a set, instead of IMG; with --partition.',
      ['restore-set'] = 'The directory of the set.',
      ['restore-physical'] = 'The directory of the set.',
      ['backup-disk'] = 'The directory of the set; it is made when it is not there.',
      ['verify-set'] = 'The directory of the set.',
    } },
  { name = 'target', type = 'path', operand = true, required = true,
    actions = actions('image', 'restore', 'export', 'repair', 'restore-set', 'restore-physical',
      'clone'),
    option = { image = '--out', restore = '--out', export = '--out', repair = '--out',
      ['restore-set'] = '--out-raw', ['restore-physical'] = '--device', clone = '--to' },
    argname = { image = 'IMG', restore = 'TARGET', export = 'FILE', repair = 'NEW',
      ['restore-set'] = 'FILE', ['restore-physical'] = 'DISK', clone = 'TARGET' },
    doc = {
      image = 'The image to make; a directory: a file in it, named after the source; -: stdout.',
      restore = 'The block device or file to write to.',
      export = 'The file to write.',
      repair = 'The new image.',
      ['restore-set'] = 'The file to write: a raw disk.',
      ['restore-physical'] = 'The disk to overwrite.',
      clone = 'The disk to overwrite, or the file to write.',
    } },
  { name = 'partition', type = 'text', actions = actions('restore'), option = '--partition',
    argname = 'WHICH',
    doc = 'Which partition or volume of the set: its number, GUID, mount point, label or name.' },
  { name = 'size', type = 'size', actions = actions('restore-set'), option = '--size',
    argname = 'SIZE', min = 512, default_text = 'that of the disk',
    doc = 'The size of the raw file: larger, or smaller when all that is used fits.' },
  { name = 'out_dir', type = 'path', actions = actions('volumes'), required = true,
    option = '--out-dir', argname = 'DIR',
    doc = 'The directory of the images; it is made when it is not there.' },
  { name = 'sector_size', type = 'size', actions = actions('backup-disk', 'clone'),
    option = '--sector-size', argname = 'SIZE', min = 512, max = 64 * KiB, power_of_two = true,
    default_text = 'what the device says; of a file 512',
    doc = 'How long the sectors are of a disk that is in a file.' },
  { name = 'unallocated', type = 'boolean', actions = DISK, option = '--unallocated',
    default = false,
    doc = 'Also keep what lies between the partitions and behind them.' },
  { name = 'name', type = 'text', actions = actions('image'), option = '--name', argname = 'NAME',
    default_text = 'from the label, the disk or the file name',
    doc = 'The file\'s name (without .img.zst) when the target is a directory.' },
  { name = 'mode', type = 'choice', actions = IMAGE, default = 'used_only',
    choices = { 'used_only', 'all_blocks' },
    flags = {
      { option = '--used-only', value = 'used_only',
        doc = 'Leave out what the file system does not use.' },
      { option = '--all-blocks', value = 'all_blocks', doc = 'Read every block.' },
    },
    doc = 'Whether free space is left out. Where it can\'t be known, all blocks are taken.' },
  { name = 'exclude', type = 'rules', actions = IMAGE, option = '--exclude', argname = 'RULES',
    words = exclude.names,
    doc = 'Leave out what these files contain: pagefile, hiberfil, swapfile (NTFS), swap (ext),'
      .. ' with commas between them. The files stay, and read as zeros.' },
  { name = 'chunk_size', type = 'size', actions = IMAGE, option = '--chunk-size', argname = 'SIZE',
    default = 512 * MiB, min = 64 * KiB, max = 4 * GiB,
    default_text = '512M, less for a small source, a small block or little memory',
    doc = 'The unit of commit and resume: a multiple of the block size, at most 65536 blocks.' },
  { name = 'block_size', type = 'size', actions = IMAGE, option = '--block-size', argname = 'SIZE',
    default = 256 * KiB, min = 64 * KiB, max = 16 * MiB, power_of_two = true,
    doc = 'The unit of compression, hashing and random access: a power of two.' },
  { name = 'level', type = 'integer', actions = IMAGE, option = '--level', argname = 'N',
    default = 3, min = 1, max = 19, doc = 'The zstd level.' },
  { name = 'hash', type = 'choice', actions = IMAGE, option = '--hash', argname = 'HASH',
    default = 'xxh3-128', choices = { 'xxh3-128', 'sha256' }, doc = 'The hash of each block.' },
  { name = 'verify', type = 'choice', actions = IMAGE, option = '--verify', argname = 'HOW',
    default = 'none', choices = { 'none', 'quick', 'full' },
    doc = 'Read the image back before it gets its final name.' },
  { name = 'quick', type = 'boolean', actions = VERIFY, option = '--quick', default = false,
    doc = 'Check a sample of the blocks of every chunk, and say which fraction.' },
  { name = 'sample', type = 'integer', actions = VERIFY, option = '--sample', argname = 'PERCENT',
    default = 10, min = 1, max = 100, doc = 'The percentage of blocks that --quick checks.' },
  { name = 'seed', type = 'integer', actions = VERIFY, option = '--seed', argname = 'N', min = 0,
    default_text = 'a new one each time',
    doc = 'Chooses the sample: the same seed, the same blocks.' },
  { name = 'offset', type = 'size', actions = { export = true }, option = '--offset',
    argname = 'OFFSET', default = 0, min = 0, doc = 'Where in the source to begin, in bytes.' },
  { name = 'length', type = 'size', actions = { export = true }, option = '--length',
    argname = 'LENGTH', min = 1, default_text = 'to the end', doc = 'How many bytes.' },
  { name = 'workers', type = 'integer', actions = ALL, option = '--parallel', argname = 'N',
    min = 1, max = 64, default_text = 'the number of cores, at most 4',
    doc = 'Threads that compress, or unpack and check.' },
  { name = 'pipeline_depth', type = 'integer', actions = ALL, option = '--pipeline-depth',
    argname = 'N', min = 2, max = 1024, default_text = 'from workers, block size and memory',
    doc = 'Blocks in flight. Each takes twice the block size of memory.' },
  { name = 'max_throughput', type = 'size', actions = ALL, option = '--max-throughput',
    argname = 'SIZE', default = 0, min = 0, max = 16 * TiB,
    doc = 'At most so many bytes of the source a second; 0: no limit.' },
  { name = 'stall_timeout', type = 'integer', actions = ALL, option = '--stall-timeout',
    argname = 'SECONDS', default = 600, min = 0, max = 86400,
    doc = 'Fail when no byte has moved for so long, and say what waits for what; 0: wait for'
      .. ' ever.' },
  { name = 'write_through', type = 'boolean', actions = IMAGE, option = '--write-through',
    default = false, doc = 'Make every buffer durable as it is written, not only at the commits.' },
  { name = 'on_read_error', type = 'choice', actions = WRITES, option = '--on-read-error',
    argname = 'WHAT', default = 'abort', choices = { 'abort', 'zero' },
    doc = {
      image = 'A range that can\'t be read: abort, or record it as bad and go on (exit status 12).',
      restore = 'A range that is damaged or bad in the image: abort, or write zeros there, list it'
        .. ' and go on (exit status 7 or 12).',
      export = 'A range that is damaged or bad in the image: abort, or write zeros there, list it'
        .. ' and go on (exit status 7 or 12).',
      ['backup-disk'] = 'A range that can\'t be read: abort, or record it as bad and go on (exit'
        .. ' status 12).',
      volumes = 'A range that can\'t be read: abort, or record it as bad and go on (exit status'
        .. ' 12).',
      ['restore-set'] = 'A range that is damaged or bad in an image: abort, or write zeros there,'
        .. ' list it and go on (exit status 7 or 12).',
      ['restore-physical'] = 'A range that is damaged or bad in an image: abort, or write zeros'
        .. ' there, list it and go on (exit status 7 or 12).',
      clone = 'A range of the source that can\'t be read: abort, or write zeros there, list it and'
        .. ' go on (exit status 12).',
    } },
  { name = 'read_retries', type = 'integer', actions = READS, option = '--read-retries',
    argname = 'N', default = 2, min = 0, max = 100,
    doc = 'How often a read that failed is repeated before it is split.' },
  { name = 'resume', type = 'boolean', actions = IMAGE, option = '--resume', default = false,
    doc = {
      image = 'Go on with the incomplete image IMG.partial. Its own settings hold.',
      ['backup-disk'] = 'Go on with the incomplete set in DIR: what is complete is kept, what is'
        .. ' under way is gone on with. Its own settings hold.',
      volumes = 'Go on with the incomplete set in DIR: what is complete is kept, what is under'
        .. ' way is gone on with. Its own settings hold.',
    } },
  { name = 'free', type = 'choice', actions = RESTORE, option = '--free', argname = 'WHAT',
    default = 'discard', choices = { 'leave', 'discard', 'zero' },
    doc = 'What becomes of free space on a block device: it stays as it is, is discarded where'
      .. ' the device can, or reads as zeros. In the first 4 MiB and the last MiB, where old'
      .. ' signatures would lie, it always reads as zeros.' },
  { name = 'only_changed', type = 'boolean', actions = actions('restore', 'restore-physical'),
    option = '--only-changed', default = false,
    doc = 'Read the target, and write only what differs; an existing file is changed in place,'
      .. ' under its partial name.' },
  { name = 'verify_after', type = 'boolean', actions = READ_BACK, option = '--verify-after',
    default = false,
    doc = 'Read the target back afterwards and hold it against the hashes of what was written.' },
  { name = 'new_guids', type = 'boolean', actions = TO_DISK, option = '--new-guids',
    default = false,
    doc = 'Give the disk and its partitions new GUIDs, or the MBR a new signature, so that both'
      .. ' disks can be in one machine. What names the old ones has to be changed by hand.' },
  { name = 'grow_last', type = 'boolean', actions = TO_DISK, option = '--grow-last',
    default = false,
    doc = 'On a larger target, extend the last partition to its end, and on a disk the file system'
      .. ' in it where its own tool can (ext2, ext3, ext4, NTFS).' },
  { name = 'undo_dir', type = 'path', actions = RESTORE, option = '--undo-dir', argname = 'DIR',
    default_text = '/var/lib/imgtool/undo for root, else ~/.local/state/imgtool/undo;'
      .. ' XDG_STATE_HOME changes both',
    doc = 'Where copies of the first and last MiB of a block device and of its partition table'
      .. ' are kept before it is written.' },
  { name = 'yes_destroy', type = 'text', actions = RESTORE, option = '--yes-destroy',
    argname = 'NAME',
    doc = 'Confirms that a block device may be overwritten: its kernel name (sdb), path, serial'
      .. ' number or WWN. On a terminal it can be typed instead.' },
  { name = 'force', type = 'boolean', actions = MAKES, option = '--force', default = false,
    doc = {
      image = 'Replace an existing image, or begin an incomplete one anew.',
      restore = 'Replace an existing file; restore in spite of a larger target, another disk or'
        .. ' another sector size.',
      ['restore-set'] = 'Replace an existing file.',
      ['restore-physical'] = 'Restore in spite of another size or another disk.',
      clone = 'Replace an existing file; copy in spite of another size.',
      export = 'Replace an existing file.',
      repair = 'Replace an existing file.',
      ['backup-disk'] = 'Replace an existing set, or begin an incomplete one anew.',
      volumes = 'Replace an existing set, or begin an incomplete one anew.',
    } },
  { name = 'dry_run', type = 'boolean', actions = EVERY, option = '--dry-run', default = false,
    doc = {
      image = PLAN,
      verify = 'Only say what would be verified.',
      restore = PLAN,
      export = PLAN,
      ['backup-disk'] = PLAN,
      volumes = PLAN,
      ['verify-set'] = 'Only say what would be verified.',
      ['restore-set'] = PLAN,
      ['restore-physical'] = PLAN,
      clone = PLAN,
      repair = 'Read everything, list what would be lost, and write nothing.',
    } },
  { name = 'auto_tune', type = 'boolean', actions = ALL, option = '--auto-tune', default = false,
    doc = 'Look for the best number of workers and depth while the job runs.' },
  { name = 'tune', type = 'function', actions = ALL,
    doc = 'A tuning strategy: a function from progress to settings (docs/TUNING.md).' },
  { name = 'created', type = 'time', actions = IMAGE, option = '--created', argname = 'TIME',
    default_text = 'now',
    doc = 'The creation time in the image: seconds since 1970 or YYYY-MM-DDTHH:MM:SSZ.'
      .. ' With --uuid, two images of the same source can be equal.' },
  { name = 'uuid', type = 'uuid', actions = IMAGE, option = '--uuid', argname = 'UUID',
    default_text = 'a new random one',
    doc = {
      image = 'The UUID of the image.',
      ['backup-disk'] = 'The UUID of the set; those of its images follow from it.',
      volumes = 'The UUID of the set; those of its images follow from it.',
    } },
}

--- The value of a property that may differ by action.
---@param value any
---@param action string
function M.of(value, action)
  if type(value) == 'table' then return value[action] end
  return value
end

--- The fields of an action, in order.
---@param action string
---@return table[]
function M.fields_of(action)
  local out = {}
  for _, field in ipairs(M.fields) do
    if field.actions[action] then out[#out + 1] = field end
  end
  return out
end

return M
