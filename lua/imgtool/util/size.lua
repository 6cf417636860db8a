--- Sizes, rates and times as text. K, M, G and T are powers of 1024 everywhere.
local M = {}

local UNITS = { [''] = 1, k = 1 << 10, m = 1 << 20, g = 1 << 30, t = 1 << 40 }
local NAMES = { { 1 << 40, 'TiB', 'T' }, { 1 << 30, 'GiB', 'G' }, { 1 << 20, 'MiB', 'M' },
  { 1 << 10, 'KiB', 'K' } }

--- Bytes of a text such as `4096`, `64K`, `512M` or `2GiB`.
---@param text string
---@return integer? bytes, string? message
function M.parse(text)
  local digits, suffix = text:match('^%s*(%d+)%s*(%a*)%s*$')
  local unit = suffix and UNITS[suffix:lower():gsub('ib$', '')]
  if not unit or suffix:lower() == 'ib' then
    return nil, ("'%s' is no size: digits and K, M, G or T (powers of 1024) are"):format(text)
  end
  local number = math.tointeger(tonumber(digits))
  if not number or #digits > 19 or number > math.maxinteger // unit then
    return nil, ("'%s' is too large"):format(text)
  end
  return number * unit
end

--- The shortest exact text that `parse` takes back: `512M`, `1000`.
---@param bytes integer
---@return string
function M.exact(bytes)
  for _, row in ipairs(NAMES) do
    if bytes > 0 and bytes % row[1] == 0 then return ('%d%s'):format(bytes // row[1], row[3]) end
  end
  return ('%d'):format(bytes)
end

--- For people: `1.5 GiB`, `17 B`.
---@param bytes number
---@return string
function M.human(bytes)
  for _, row in ipairs(NAMES) do
    if bytes >= row[1] then
      local value = bytes / row[1]
      return (value < 10 and '%.2f %s' or '%.1f %s'):format(value, row[2])
    end
  end
  return ('%d B'):format(bytes // 1)
end

--- A length of time for people: `0.4 s`, `3:05`, `1:02:03`.
---@param seconds number
---@return string
function M.duration(seconds)
  if seconds < 60 then return ('%.1f s'):format(seconds) end
  local whole = seconds // 1
  local hours, minutes = whole // 3600, whole % 3600 // 60
  if hours == 0 then return ('%d:%02d'):format(minutes, whole % 60) end
  return ('%d:%02d:%02d'):format(hours, minutes, whole % 60)
end

return M
