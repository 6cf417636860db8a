--- imgtool restore: write an image back to a device or file.
local cli = require 'imgtool.util.cli'
local run = require 'imgtool.job.run'

local M = {
  name = 'restore',
  summary = 'Write an image back to a block device or a file',
  args = cli.of_action('restore', nil, cli.reporting),
}

function M.run(values, report)
  local result, message, code, trace = run.run(cli.job('restore', values), report)
  if not result then return nil, message, code, trace end
  return report:result(result)
end

return M
