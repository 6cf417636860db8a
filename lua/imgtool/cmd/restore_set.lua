--- imgtool restore-set: write the disk of a set to a raw file.
local cli = require 'imgtool.util.cli'
local run = require 'imgtool.job.run'

local M = {
  name = 'restore-set',
  summary = 'Write all of a disk from a set to a raw file',
  args = cli.of_action('restore-set', nil, cli.reporting),
}

function M.run(values, report)
  local result, message, code, trace = run.run(cli.job('restore-set', values), report)
  if not result then return nil, message, code, trace end
  return report:result(result)
end

return M
