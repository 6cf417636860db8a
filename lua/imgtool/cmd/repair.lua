--- imgtool repair: a complete image of what is still good of another.
local cli = require 'imgtool.util.cli'
local run = require 'imgtool.job.run'

local M = {
  name = 'repair',
  summary = 'Make a complete image of one that is damaged or incomplete, and list what is lost',
  args = cli.of_action('repair', nil, cli.reporting),
}

function M.run(values, report)
  local result, message, code, trace = run.run(cli.job('repair', values), report)
  if not result then return nil, message, code, trace end
  return report:result(result)
end

return M
