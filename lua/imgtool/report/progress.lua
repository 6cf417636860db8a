--- Progress as text. Pure.
local size = require 'imgtool.util.size'

local M = {}

--- Percent of the bytes that will really be read; 100 when there are none.
---@param now img.Progress
function M.percent(now)
  if now.total_bytes <= 0 then return now.state == 'done' and 100 or 0 end
  return 100 * now.done_bytes / now.total_bytes
end

--- Seconds to the end at the moving average, or nil when nobody can say.
---@param now img.Progress
function M.eta(now)
  if now.rate_bytes_per_s <= 0 or now.state ~= 'running' then return nil end
  return (now.total_bytes - now.done_bytes) / now.rate_bytes_per_s
end

--- `2.1:1` of raw to packed bytes, or '' when there are none.
---@param raw integer
---@param packed integer
function M.ratio(raw, packed)
  if raw <= 0 or packed <= 0 then return '' end
  return ('%.1f:1'):format(raw / packed)
end

local function in_parentheses(text) return text == '' and '' or (' (%s)'):format(text) end

--- One line about a job under way.
---@param what string the action
---@param now img.Progress
---@return string
function M.line(what, now)
  local eta = M.eta(now)
  local parts = {
    ('%s %5.1f %%'):format(what, M.percent(now)),
    ('%s of %s'):format(size.human(now.done_bytes), size.human(now.total_bytes)),
    size.human(now.rate_bytes_per_s) .. '/s',
  }
  if eta then parts[#parts + 1] = 'ETA ' .. size.duration(eta) end
  parts[#parts + 1] = ('packed %s%s'):format(size.human(now.stored_bytes),
    in_parentheses(M.ratio(now.data_bytes, now.stored_bytes)))
  if now.bad_bytes > 0 then parts[#parts + 1] = size.human(now.bad_bytes) .. ' BAD' end
  parts[#parts + 1] = ('%d worker%s, depth %d'):format(now.workers, now.workers == 1 and '' or 's',
    now.depth)
  if now.state == 'paused' then parts[#parts + 1] = 'paused' end
  return table.concat(parts, '  ')
end

--- The line as it stands on a terminal: begun at the left, cut to its width, the rest cleared.
---@param line string
---@param columns integer
function M.on_terminal(line, columns)
  return '\r' .. line:sub(1, math.max(1, columns - 1)) .. '\27[K'
end

return M
