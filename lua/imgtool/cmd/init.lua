--- The commands, in the order of --help. A file each: { name, summary, args, run }, and where it
--- applies stdout_is_data(values).
local nearest = require 'imgtool.util.nearest'

local M = {}

M.names = {
  'list', 'map', 'image', 'verify', 'info', 'explain', 'restore', 'export-raw', 'export-range',
  'repair', 'backup-disk', 'verify-set', 'dump-pt', 'restore-set', 'restore-physical', 'clone',
  'mount', 'serve-nbd', 'serve-proxy', 'run', 'check', 'repl', 'help',
}

--- A command by its name; nil and what to say when there is none.
---@param name string
---@return table? command, string? message
function M.find(name)
  for _, known in ipairs(M.names) do
    if known == name then return require('imgtool.cmd.' .. name:gsub('-', '_')) end
  end
  return nil, ("unknown command '%s'%s"):format(name, nearest.hint(name, M.names))
end

--- All commands, in order.
---@return table[]
function M.all()
  local out = {}
  for i, name in ipairs(M.names) do out[i] = M.find(name) end
  return out
end

return M
