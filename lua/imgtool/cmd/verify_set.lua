--- imgtool verify-set: check a set.
local cli = require 'imgtool.util.cli'
local run = require 'imgtool.job.run'

local M = {
  name = 'verify-set',
  summary = 'Check a set: its manifest, its files, every block of its images',
  args = cli.of_action('verify-set', nil, cli.reporting),
}

function M.run(values, report)
  local result, message, code, trace = run.run(cli.job('verify-set', values), report)
  if not result then return nil, message, code, trace end
  return report:result(result)
end

return M
