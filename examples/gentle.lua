-- A tuning strategy: image a machine that people work on.
--
--   imgtool run examples/gentle.lua SOURCE IMAGE
--
-- In working hours one worker and 50 MiB a second; at night all that the machine gives. The
-- strategy is asked twice a second with a snapshot of progress (docs/TUNING.md), and gives the
-- settings that it wants to change.
local source, target = ...
if not target then error('usage: gentle.lua SOURCE IMAGE', 0) end

local function gentle(now)
  local hour_of_day = tonumber(date('%H'))
  local working = hour_of_day >= 6 and hour_of_day < 20
  local wanted = working and { workers = 1, max_bytes_per_s = 50 * MiB }
    or { workers = 4, max_bytes_per_s = 0 }
  if now.workers == wanted.workers and now.max_bytes_per_s == wanted.max_bytes_per_s then
    return nil
  end
  return wanted
end

job { source = source, target = target, tune = gentle }
