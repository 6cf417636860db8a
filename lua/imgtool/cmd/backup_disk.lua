--- imgtool backup-disk: a disk into a set.
local cli = require 'imgtool.util.cli'
local run = require 'imgtool.job.run'

local M = {
  name = 'backup-disk',
  summary = 'Image all partitions of a disk, its table and boot code into a directory with a'
    .. ' manifest',
  args = cli.of_action('backup-disk', nil, cli.reporting),
}

function M.run(values, report)
  local result, message, code, trace = run.run(cli.job('backup-disk', values), report)
  if not result then return nil, message, code, trace end
  return report:result(result)
end

return M
