--- Files under way: NAME.partial, locked while it is written, renamed when it is complete (R8).
local device = require 'img.device'
local fail = require 'imgtool.util.fail'
local sys = require 'img.sys'

local M = {}

local Output = {}

function Output:__close()
  self.device:close()
  self.lock:close()
end

--- Open an incomplete file for writing. 'create': it must not exist yet; 'restart': what is there
--- is cut; 'resume': it is gone on with. Another imgtool that writes it makes this fail as busy.
---@param partial string
---@param action 'create'|'restart'|'resume'
---@return {device: img.Device} output closes both with <close>
function M.open(partial, action)
  local created
  if action == 'create' then
    created = fail.try(device.open(partial, { write = true, direct = true, create = true }))
    -- What is committed to it is worth nothing after a power cut when its name is not there.
    local ok, message, code = sys.sync_directory(partial:match('^(.*/)') or '.')
    if not ok then
      created:close()
      os.remove(partial)
      fail.throw(message, code)
    end
  end
  local lock, message, code = sys.lock(partial)
  if not lock then
    if created then created:close() end
    fail.throw(message, code)
  end
  if created then return setmetatable({ device = created, lock = lock }, Output) end
  -- Only now: a file that another one writes must not be cut.
  local dev
  dev, message, code = device.open(partial, {
    write = true, direct = true, truncate = action == 'restart',
  })
  if not dev then
    lock:close()
    fail.throw(message, code)
  end
  return setmetatable({ device = dev, lock = lock }, Output)
end

return M
