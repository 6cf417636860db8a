--- imgtool restore-physical: write the disk of a set to a disk.
local cli = require 'imgtool.util.cli'
local run = require 'imgtool.job.run'

local M = {
  name = 'restore-physical',
  summary = 'Write all of a disk from a set to a disk',
  args = cli.of_action('restore-physical', nil, cli.reporting),
}

function M.run(values, report)
  local result, message, code, trace = run.run(cli.job('restore-physical', values), report)
  if not result then return nil, message, code, trace end
  return report:result(result)
end

return M
