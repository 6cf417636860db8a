--- The program: a command line in, an exit status out. Here alone failures are shown and become
--- exit statuses (DESIGN.md, 7).
require 'imgtool.strict'

local cli = require 'imgtool.util.cli'
local commands = require 'imgtool.cmd'
local fail = require 'imgtool.util.fail'
local help = require 'imgtool.cmd.help'
local nearest = require 'imgtool.util.nearest'
local report = require 'imgtool.report'
local sys = require 'img.sys'

local M = {}

local VERSIONS = { 'lua', 'zstd', 'xxhash', 'openssl', 'ext2fs', 'ntfs3g', 'blkid', 'uring' }

--- The text of --version; with `verbose` also the overridden modules.
---@param verbose boolean?
---@return string
function M.version(verbose)
  local version = sys.version()
  local lines = {
    ('imgtool %s (%s), image format %s'):format(version.imgtool, version.commit, version.format),
  }
  local libraries = {}
  for _, name in ipairs(VERSIONS) do
    libraries[#libraries + 1] = ('%s %s'):format(name, version[name])
  end
  lines[2] = table.concat(libraries, ', ')
  if not verbose then return table.concat(lines, '\n') end
  local overrides = {}
  for name, path in pairs(sys.overrides()) do
    overrides[#overrides + 1] = ('overridden: %s by %s'):format(name, path)
  end
  table.sort(overrides)
  if #overrides == 0 then overrides[1] = 'no module is overridden' end
  return table.concat(table.move(overrides, 1, #overrides, 3, lines), '\n')
end

local ROOT_OPTIONS = { ['-h'] = 'help', ['--help'] = 'help', ['-v'] = 'verbose',
  ['--verbose'] = 'verbose', ['--version'] = 'version' }
local ROOT_NAMES = { '--help', '--verbose', '--version' }

-- Options before the command: they, and where the command is; or nil and what is wrong.
local function root_options(argv)
  local options, i = {}, 1
  while argv[i] and argv[i]:sub(1, 1) == '-' do
    local name = ROOT_OPTIONS[argv[i]]
    if not name then
      return nil, ("unknown option '%s'%s"):format(argv[i], nearest.hint(argv[i], ROOT_NAMES))
    end
    options[name], i = true, i + 1
  end
  return options, i
end

local function usage(message, command)
  local to = assert(report.new {})
  to:fail(('%s (imgtool help%s)'):format(message, command and ' ' .. command.name or ''),
    sys.codes.usage)
  return sys.codes.usage
end

-- Run a command: the exit status.
local function run_with(command, values, opened)
  local to <close> = opened
  to.signals_before = 0
  -- A second catch: what the command answers is a failure's values, what it throws is a mistake.
  local ok, message, code, trace = fail.catch(command.run, values, to)
  if ok then return sys.codes.ok end
  code = code or sys.codes.internal
  if code == sys.codes.internal then message = 'internal error: ' .. tostring(message) end
  to:fail(message, code, trace)
  return code
end

local function run(command, values)
  local to, message, code = report.new {
    json = values.json, quiet = values.quiet, verbose = values.verbose, log_file = values.log_file,
    data_on_stdout = command.stdout_is_data and command.stdout_is_data(values),
  }
  if to then return run_with(command, values, to) end
  assert(report.new {}):fail(message, code)
  return code
end

-- What --help and --version print, through a report so that a full disk is an error here too.
local function answer(text)
  local to = assert(report.new {})
  local ok, message, code = fail.catch(function() to:answer('text', {}, text) return true end)
  if ok then return sys.codes.ok end
  to:fail(message, code)
  return code
end

--- The exit status of a command line.
---@param argv string[]
---@return integer
function M.main(argv)
  local options, at = root_options(argv)
  if not options then return usage(at) end
  if options.version then return answer(M.version(options.verbose)) end
  if options.help then return answer(help.page(commands.all())) end
  if not argv[at] then return usage('a command is missing') end
  local command, message = commands.find(argv[at])
  if not command then return usage(message) end
  local values
  values, message = cli.parse(command, table.move(argv, at + 1, #argv, 1, {}))
  if not values then return usage(message, command) end
  if values.help then return answer(cli.parser(command):get_help()) end
  values.verbose = values.verbose or options.verbose
  return run(command, values)
end

return M
