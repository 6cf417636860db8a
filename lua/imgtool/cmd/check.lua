--- imgtool check: a job script, checked without doing anything.
local cli = require 'imgtool.util.cli'
local load_script = require 'imgtool.job.load'
local text = require 'imgtool.report.text'

local M = {
  name = 'check',
  summary = 'Check a job script: run it with jobs that are only held against what jobs can say;'
    .. ' no device and no other file is opened',
  args = {
    { name = 'script', operand = 'SCRIPT', required = true,
      doc = 'The script (docs/job-files.md).' },
    { name = 'arguments', operand = 'ARGS', many = true,
      doc = 'The arguments of the script; -- before those that begin with a dash.' },
    table.unpack(cli.reporting),
  },
}

function M.run(values, report)
  local checked, message, code, trace = load_script.check(values.script, {
    arguments = values.arguments or {}, report = report,
  })
  if not checked then return nil, message, code, trace end
  report:answer('check', checked, ('%s: OK, %d job%s'):format(text.clean(checked.script),
    checked.jobs, checked.jobs == 1 and '' or 's'))
  return true
end

return M
