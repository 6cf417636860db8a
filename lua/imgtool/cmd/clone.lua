--- imgtool clone: copy a disk to another one.
local cli = require 'imgtool.util.cli'
local run = require 'imgtool.job.run'

local M = {
  name = 'clone',
  summary = 'Copy what is used of a disk to another disk, or to a raw file',
  args = cli.of_action('clone', nil, cli.reporting),
}

function M.run(values, report)
  local result, message, code, trace = run.run(cli.job('clone', values), report)
  if not result then return nil, message, code, trace end
  return report:result(result)
end

return M
