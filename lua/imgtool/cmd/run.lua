--- imgtool run: a job script.
local cli = require 'imgtool.util.cli'
local load_script = require 'imgtool.job.load'

local M = {
  name = 'run',
  summary = 'Run a job script: Lua that says what to image, verify and restore',
  args = {
    { name = 'script', operand = 'SCRIPT', required = true,
      doc = 'The script (docs/job-files.md).' },
    { name = 'arguments', operand = 'ARGS', many = true,
      doc = 'The arguments of the script; -- before those that begin with a dash.' },
    { name = 'dry_run', flag = '--dry-run',
      doc = 'Let each job that writes only check everything, and print its plan and an estimate of'
        .. ' size and time.' },
    table.unpack(cli.reporting),
  },
}

function M.run(values, report)
  return load_script.run(values.script, {
    arguments = values.arguments or {}, dry_run = values.dry_run, report = report,
  })
end

return M
