--- imgtool image: make an image of a device or file.
local cli = require 'imgtool.util.cli'
local run = require 'imgtool.job.run'

local M = {
  name = 'image',
  summary = 'Image a device or file, by default without its free space',
  args = cli.of_action('image', nil, cli.reporting),
}

--- The image itself may go to stdout.
function M.stdout_is_data(values) return values.target == '-' end

function M.run(values, report)
  local result, message, code, trace = run.run(cli.job('image', values), report)
  if not result then return nil, message, code, trace end
  return report:result(result)
end

return M
