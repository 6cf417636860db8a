--- imgtool image: make an image of a device or file, or of several.
local cli = require 'imgtool.util.cli'
local run = require 'imgtool.job.run'
local sys = require 'img.sys'

local M = {
  name = 'image',
  summary = 'Image a device or file, by default without its free space; or several volumes into one'
    .. ' directory',
  args = cli.of_action('image', nil, cli.of_fields('volumes', { 'volumes', 'out_dir' },
    cli.reporting)),
  instead = 'volumes',
}

--- The image itself may go to stdout.
function M.stdout_is_data(values) return values.target == '-' end

-- The job that is meant; or what contradicts itself.
local function job_of(values)
  if not values.volumes then
    if values.out_dir then return nil, '--out-dir has no meaning without --volumes' end
    return cli.job('image', values)
  end
  for name, option in pairs { source = '--device', target = '--out', name = '--name' } do
    if values[name] then
      return nil, ('%s (or its operand) has no meaning with --volumes'):format(option)
    end
  end
  if not values.out_dir then return nil, '--out-dir is missing' end
  return cli.job('volumes', values)
end

function M.run(values, report)
  local job, wrong = job_of(values)
  if not job then return nil, wrong, sys.codes.usage end
  local result, message, code, trace = run.run(job, report)
  if not result then return nil, message, code, trace end
  return report:result(result)
end

return M
