--- imgtool verify: check an image.
local cli = require 'imgtool.util.cli'
local run = require 'imgtool.job.run'

local M = {
  name = 'verify',
  summary = 'Check every block of an image, its tables and its root hash',
  args = cli.of_action('verify', nil, cli.reporting),
}

function M.run(values, report)
  local result, message, code, trace = run.run(cli.job('verify', values), report)
  if not result then return nil, message, code, trace end
  return report:result(result)
end

return M
