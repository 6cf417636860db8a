--- imgtool export-raw: the content of an image, or a part of it, as a raw file.
local cli = require 'imgtool.util.cli'
local run = require 'imgtool.job.run'

local M = {
  name = 'export-raw',
  summary = 'Write the content of an image, or a part of it, to a raw sparse file',
  args = cli.of_action('export', nil, cli.reporting),
}

function M.run(values, report)
  local result, message, code, trace = run.run(cli.job('export', values), report)
  if not result then return nil, message, code, trace end
  return report:result(result)
end

return M
