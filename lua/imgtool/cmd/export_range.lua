--- imgtool export-range: a range of an image's content to stdout.
local cli = require 'imgtool.util.cli'
local range = require 'imgtool.job.range'

local M = {
  name = 'export-range',
  summary = 'Write a range of an image\'s content to stdout, and nothing else',
  args = cli.of_action('export', {
    target = true, workers = true, pipeline_depth = true, max_throughput = true, auto_tune = true,
    force = true, dry_run = true, stall_timeout = true,
  }, { cli.json, cli.log_file }),
}

function M.stdout_is_data() return true end

function M.run(values, report)
  local job = cli.job('export', values)
  job.target = '-'
  return range.run(job, report)
end

return M
