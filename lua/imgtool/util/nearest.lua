--- The known name that is nearest to a wrong one, for error messages.
local M = {}

--- Letters to insert, delete, replace or swap with a neighbour to get from one to the other.
---@param a string
---@param b string
---@return integer
function M.distance(a, b)
  local before, last = {}, {}
  for j = 0, #b do last[j] = j end
  for i = 1, #a do
    local row = { [0] = i }
    for j = 1, #b do
      local cost = a:byte(i) == b:byte(j) and 0 or 1
      row[j] = math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + cost)
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        row[j] = math.min(row[j], before[j - 2] + 1)
      end
    end
    before, last = last, row
  end
  return last[#b]
end

--- The nearest of `names`, or nil when none is near; of equals the first.
---@param wrong string
---@param names string[]
---@return string?
function M.name(wrong, names)
  local best, best_distance
  for _, name in ipairs(names) do
    local distance = M.distance(wrong:lower(), name:lower())
    -- What begins alike is meant more often than what has one letter less to change.
    if #wrong > 2 and name:sub(1, #wrong) == wrong then distance = 1 end
    if not best or distance < best_distance then best, best_distance = name, distance end
  end
  if best and best_distance <= math.max(1, math.max(#wrong, #best) * 2 // 5) then return best end
end

--- `, did you mean 'NAME'?`, or nothing.
---@param wrong string
---@param names string[]
---@return string
function M.hint(wrong, names)
  local name = M.name(wrong, names)
  return name and (", did you mean '%s'?"):format(name) or ''
end

return M
