--- Points in time as text, UTC always.
local M = {}

--- The last second of the year 9999: there is no text of four digits for what comes after it.
M.MAX = 253402300799

--- The time as text; the number itself when that time is out of range, as a hostile image may say.
---@param seconds integer since 1970
---@return string
function M.iso(seconds)
  if seconds < 0 or seconds > M.MAX then return ('%d s since 1970'):format(seconds) end
  return os.date('!%Y-%m-%dT%H:%M:%SZ', seconds) --[[@as string]]
end

-- Days since 1970-01-01 of a date of the proleptic Gregorian calendar: count from 1 March, so that
-- the leap day is the last one of a year.
local function days(year, month, day)
  local y = month <= 2 and year - 1 or year
  local of_year = (153 * (month + (month > 2 and -3 or 9)) + 2) // 5 + day - 1
  return y * 365 + y // 4 - y // 100 + y // 400 + of_year - 719468
end

--- Seconds since 1970 of `2026-01-31T12:00:00Z` or of a number of seconds.
---@param text string
---@return integer? seconds, string? message
function M.parse(text)
  if text:find('^%d+$') then
    local number = math.tointeger(tonumber(text))
    if number and number <= M.MAX then return number end
    return nil, ("'%s' is past the year 9999"):format(text)
  end
  local parts = { text:match('^(%d%d%d%d)%-(%d%d)%-(%d%d)T(%d%d):(%d%d):(%d%d)Z$') }
  for i, part in ipairs(parts) do parts[i] = math.tointeger(tonumber(part)) end
  if #parts == 6 then
    local seconds = days(parts[1], parts[2], parts[3]) * 86400
      + parts[4] * 3600 + parts[5] * 60 + parts[6]
    -- What was normalised (31 February) was no date.
    if seconds >= 0 and M.iso(seconds) == text then return seconds end
  end
  return nil, ("'%s' is no time: seconds since 1970 or YYYY-MM-DDTHH:MM:SSZ are"):format(text)
end

return M
