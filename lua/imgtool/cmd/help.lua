--- imgtool help: the commands, or one of them.
local cli = require 'imgtool.util.cli'

local M = {
  name = 'help',
  summary = 'Show the commands, or the options of one',
  args = { { name = 'command', operand = 'COMMAND', doc = 'The command.' } },
}

--- The page of all commands.
---@param commands table[]
---@return string
function M.page(commands)
  local lines = { 'Usage: imgtool [--verbose] COMMAND [ARGUMENTS]', '',
    'Image disks and volumes, check the images, and give the data back.', '', 'Commands:' }
  for _, command in ipairs(commands) do
    lines[#lines + 1] = ('  %-13s %s'):format(command.name, command.summary)
  end
  table.move({ '', 'Options:',
    '  -h, --help    Show this help; after a command, its options.',
    '  --version     Show the versions; with --verbose also which modules were overridden.',
    '  -v, --verbose When something fails, show where in the program.', '',
    'imgtool help COMMAND shows the options of a command.' }, 1, 8, #lines + 1, lines)
  return table.concat(lines, '\n')
end

function M.run(values, report)
  local commands = require 'imgtool.cmd'
  if not values.command then
    report:answer('help', {}, M.page(commands.all()))
    return true
  end
  local command, message = commands.find(values.command)
  if not command then return nil, message, require('img.sys').codes.usage end
  report:answer('help', {}, cli.parser(command):get_help())
  return true
end

return M
